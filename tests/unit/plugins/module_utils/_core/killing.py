# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Runs of the exchange that end, or fail, at any one of the calls by which they change files."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import examine, issue, record
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import locks, places
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, ISSUED_AT, ask, context, enrol

#: Calls that change a file by its path or descriptor; opening counts where it is for writing.
CALLS = ("fsync", "link", "rename", "unlink", "chmod", "chown", "mkdir", "rmdir", "truncate", "symlink", "replace")
#: What is added to the folder's name once the former set is there.
BEGUN = "-begun"
PASSWORD = "a password for the test"
#: Of an ordinary user: root's are elsewhere. It is removed by its next run where it could not be removed by this one.
LOCK = ".stepca.%d.lock" % os.geteuid()
HOUR = timedelta(hours=1)


class Points:
    """Counts the calls that change files; before the one with this number it acts.

    lasting: at all later ones too. A write is two points, since it may end halfway. changing: the numbers of those that
    changed something: to be killed before one that did not is to be killed before the next.
    """

    def __init__(self, number=0, act=None, lasting=False):
        self.names = []
        self.changing = []
        self._number = number
        self._act = act
        self._lasting = lasting

    def install(self, put=setattr) -> Points:
        """Take the place of the calls; put: setattr, or what undoes itself."""
        for name in CALLS:
            put(os, name, self._counting(name, getattr(os, name)))
        opening, reopening = os.open, os.fdopen
        counted = self._counting("open", opening)

        def open_(path, flags, *args, **kwargs):
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            return (counted if writes else opening)(path, flags, *args, **kwargs)

        def fdopen(descriptor, mode="r", *args, **kwargs):
            return _Stream(descriptor, self) if "w" in mode else reopening(descriptor, mode, *args, **kwargs)

        put(os, "open", open_)
        put(os, "fdopen", fdopen)
        return self

    def _counting(self, name, function):
        return lambda *args, **kwargs: self.pass_by(name, function, *args, **kwargs)

    def pass_by(self, name, function, *args, **kwargs):
        """Call the function, which is a point."""
        self.names.append(name)
        count = len(self.names)
        chosen = self._act and (count == self._number or (self._lasting and count > self._number))
        if chosen:
            self._act()
        result = function(*args, **kwargs)
        if name != "fsync":
            self.changing.append(count)
        return result


class _Stream:
    """A file open for writing that holds nothing back: what is written so far is in the file."""

    def __init__(self, descriptor, points):
        self._descriptor = descriptor
        self._points = points

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        os.close(self._descriptor)

    def write(self, content):
        half = len(content) // 2
        for part in filter(None, (content[:half], content[half:])):
            self._points.pass_by("write", os.write, self._descriptor, part)

    def flush(self):
        pass

    def fileno(self):
        return self._descriptor


class CAAsked(Exception):
    """The CA was needed."""


@dataclass
class Scenario:
    """What lies there before, and what a run then makes of it.

    wanted: options; before: options of the former set, None for none; life, former_life: (begin, end) of what the CA
    gives, as offsets from now.
    """

    wanted: dict
    before: dict = None
    life: tuple = (-HOUR, 9 * HOUR)
    former_life: tuple = (-HOUR, 9 * HOUR)
    outputs: tuple = field(default=())

    def options(self, folder: Path, chosen: dict) -> dict:
        paths = {name + "_path": str(folder / ("site." + name)) for name in self.outputs}
        if "pkcs12" in self.outputs:
            paths.update(pkcs12_password=PASSWORD, pkcs12_encryption="modern")
        return {**paths, **chosen}

    def prepare(self, folder: Path) -> None:
        """The former set. The lock is made once and stays, so it is made before anything is counted."""
        with locks.locked(str(folder / "site.crt")):
            pass
        if self.before is not None:
            then = context(now=pki.NOW + self.former_life[0] + HOUR / 60)
            enrol(folder, _Signer(self.former_life), then, **self.options(folder, self.before))

    def run(self, folder: Path, ca=True) -> dict:
        """One run of a play; CAAsked where it needs the CA and there is none."""
        return play_once(folder, self.options(folder, self.wanted), _Signer(self.life) if ca else None)


def play_once(folder: Path, options: dict, signer) -> dict:
    """Both steps of the exchange, the second where something is due."""
    answer = examine.examine(ask(folder, **options), context())
    if answer.outcome in ("issued", "renewed"):
        if signer is None:
            raise CAAsked(answer.reasons)
        renewal = answer.outcome == "renewed"
        chain = signer.renew(folder / "site.crt") if renewal else signer.sign(answer.csr)
        issue.accept(ask(folder, **options), context(), chain, answer.digest, ISSUED_AT, renewal)
    return answer


class _Signer:
    """The local authority, which gives this life whatever was asked for."""

    def __init__(self, life):
        self._life = {"begin": pki.NOW + life[0], "end": pki.NOW + life[1]}

    def sign(self, request):
        return CA.sign(request, **self._life)

    def renew(self, certificate):
        former = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = former.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        texts = [str(name.value) for name in names]
        return pki.pem_of(CA.leaf(former.public_key(), texts, **self._life), CA.intermediate)


ALL = ("chain", "leaf", "root", "combined", "pkcs12")
SCENARIOS = {
    # The CA gives less than is asked for: what only the record can tell must survive too.
    "first": Scenario({"sans": ["b.example"], "not_after": "20h"}),
    "first for a proxy": Scenario({"sans": ["b.example"]}, outputs=("combined",)),
    "replaced": Scenario(
        {"sans": ["b.example"], "not_after": "20h", "backup": True},
        before={"sans": ["a.example"]},
        outputs=("chain", "leaf", "combined"),
    ),
    "issued anew for the same key": Scenario(
        {"sans": ["a.example"], "not_after": "20h", "key_policy": "keep"}, before={"sans": ["a.example"]}
    ),
    "renewed": Scenario({}, before={}, former_life=(-9 * HOUR, HOUR), outputs=("root", "pkcs12")),
    "removed": Scenario({"state": "absent"}, before={"backup": True}, outputs=ALL),
}


# what lies there


def save(folder: Path) -> dict:
    """All files with their modes."""
    return {path.name: (path.stat().st_mode & 0o7777, path.read_bytes()) for path in folder.iterdir()}


def restore(folder: Path, state: dict) -> None:
    """The files as they were saved, and no others."""
    for path in folder.iterdir():
        path.unlink()
    for name, (mode, content) in state.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(mode)


def visible(state: dict) -> dict:
    """The set without what waits beside it and without backups: the record belongs to it."""
    return {name: one for name, one in state.items() if not name.startswith(".") or name.endswith(".stepca.json")}


def waiting(state: dict) -> list:
    """Names of what waits beside the set."""
    return sorted(name for name in state if ".stepca-" in name)


def assert_private(state: dict) -> None:
    """Nobody else may read a file with a key in it, staged, half written, kept or in place."""
    for name, (mode, content) in state.items():
        if any(word in name for word in ("site.key", "site.combined", "site.pkcs12")) or b"PRIVATE KEY" in content:
            assert mode & 0o077 == 0, "%s has mode %o" % (name, mode)


def assert_whole(folder: Path, scenario: Scenario) -> None:
    """Every file of the set is of one certificate and its key, as it was asked for; the record is about it."""
    state = save(folder)
    if scenario.wanted.get("state") == "absent":
        assert [name for name in state if not name.endswith(".stepca.backup") and name != LOCK] == []
        return
    leaf = x509.load_pem_x509_certificate(state["site.crt"][1])
    key = serialization.load_pem_private_key(state["site.key"][1], None)
    assert leaf.public_key() == key.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == scenario.wanted.get("sans", ["a.example"])
    kept = record.read(str(folder / "site.crt"))
    assert kept["given"]["serial"] == str(leaf.serial_number) and kept["key_sha256"]
    pem, above, pair_key = pki.pem_of(leaf), pki.pem_of(CA.intermediate), state["site.key"][1].decode("ascii")
    expected = {"chain": above, "leaf": pem, "root": pki.pem_of(CA.root), "combined": pair_key + pem + above}
    for name in scenario.outputs:
        content = state["site." + name][1]
        if name != "pkcs12":
            assert content.decode("ascii") == expected[name]
        else:
            bundle = pkcs12.load_pkcs12(content, PASSWORD.encode("ascii"))
            assert (bundle.key.public_key(), bundle.cert.certificate) == (leaf.public_key(), leaf)


# in a process of its own


def main() -> None:
    """Play a scenario in a folder: for strace. What comes before the scenario's own run ends with a mkdir."""
    scenario, folder = SCENARIOS[sys.argv[1]], Path(sys.argv[2])
    places.STATE = str(folder.parent / "state")  # of this host nothing is touched
    scenario.prepare(folder)
    os.mkdir(str(folder) + BEGUN)
    scenario.run(folder)


def run_killed(folder: Path, scenario: Scenario, number: int) -> bool:
    """Run in a process that is killed before this point; whether it got there."""
    pid = os.fork()
    if pid == 0:
        try:
            os.umask(0)  # what is private must not be so by the grace of the umask
            Points(number, lambda: os.kill(os.getpid(), signal.SIGKILL)).install()
            scenario.run(folder)
            os._exit(0)
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert status == 0 or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
    return status != 0
