# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Judges that share no code with the collection: openssl, the disk, the CA's log, what Ansible left on a host."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from ssl import create_default_context
from typing import Any

from tests.integration.support import Run, openssl_verify
from tools.authority import Authority
from tools.commands import wait_until
from tools.hosts import Host

# What `openssl pkey -text` says of each key_type.
KEY_WORDS = {
    "ec-p256": "prime256v1",
    "ec-p384": "secp384r1",
    "ec-p521": "secp521r1",
    "rsa-2048": "(2048 bit",
    "rsa-3072": "(3072 bit",
    "rsa-4096": "(4096 bit",
    "ed25519": "ED25519",
}


def openssl(*arguments: object) -> str:
    """Run openssl, which must succeed, and return what it prints."""
    words = ["openssl", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, "%s\n%s%s" % (words, done.stdout, done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Seen:
    """What openssl says of a certificate."""

    serial: str
    common_name: str
    names: list[str]
    not_before: datetime
    not_after: datetime
    text: str

    @property
    def seconds(self) -> float:
        """The span from its start to its end."""
        return (self.not_after - self.not_before).total_seconds()

    def provisioner_is(self, name: str) -> bool:
        """Whether step-ca's extension holds this name: openssl dumps it as text."""
        return name in self.text.partition("1.3.6.1.4.1.37476.9000.64.1")[2]


def see(certificate: Path) -> Seen:
    """Let openssl read a certificate."""
    fields = {}
    for line in openssl(
        "x509", "-in", certificate, "-noout", "-serial", "-dates", "-subject", "-nameopt", "RFC2253"
    ).splitlines():
        name, _equals, value = line.partition("=")
        fields[name] = value.strip()
    names = openssl("x509", "-in", certificate, "-noout", "-ext", "subjectAltName").splitlines()[1:]
    return Seen(
        serial=str(int(fields["serial"], 16)),
        common_name=fields["subject"].rpartition("CN=")[2],
        names=sorted("".join(names).strip().split(", ")),
        not_before=_instant(fields["notBefore"]),
        not_after=_instant(fields["notAfter"]),
        text=openssl("x509", "-in", certificate, "-noout", "-text"),
    )


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%b %d %H:%M:%S %Y %Z").replace(tzinfo=timezone.utc)


def judge(authority: Authority, certificate: Path, key: Path, key_type: str = "ec-p256") -> Seen:
    """Fail unless openssl finds a chain to the root, and a PKCS#8 key of this type that belongs to the certificate."""
    assert openssl_verify(authority, certificate) == ""
    assert certificate.read_text(encoding="ascii").count("BEGIN CERTIFICATE") == 2, "leaf and intermediate"
    assert key.read_text(encoding="ascii").startswith("-----BEGIN PRIVATE KEY-----\n")
    assert openssl("x509", "-in", certificate, "-noout", "-pubkey") == openssl("pkey", "-in", key, "-pubout")
    assert KEY_WORDS[key_type] in openssl("pkey", "-in", key, "-noout", "-text")
    return see(certificate)


def mode(path: Path) -> str:
    """The mode of a file as people write it."""
    return "%04o" % stat.S_IMODE(path.stat().st_mode)


def owner(path: Path) -> tuple[str, str]:
    """Names of a file's owner and group."""
    return pwd.getpwuid(path.stat().st_uid).pw_name, grp.getgrgid(path.stat().st_gid).gr_name


def somebody() -> tuple[str, str]:
    """An owner and a group that the tests may give files to: other than their own where they may choose."""
    user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    return user.pw_name, grp.getgrgid(user.pw_gid).gr_name


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder, as it is: kind, mode, owner, time of change, content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            content,
        )
    return found


def leftovers(host: Host) -> list[str]:
    """Staged files, locks, links to former files: whatever of ours should not outlive a task, as backups do."""
    kept = (".stepca.json", ".stepca.backup")
    return [path.name for path in host.path("/etc").rglob(".*") if not path.name.endswith(kept)]


def backups(host: Host) -> set[str]:
    """The files whose former content is kept beside them."""
    mark = ".stepca.backup"
    return {path.name[1 : -len(mark)] for path in host.path("/etc").rglob(".*") if path.name.endswith(mark)}


def round_trips(run: Run) -> int:
    """How often a run that was verbose (3) and pipelined did something on a host."""
    return sum("EXEC /bin/sh" in line for line in run.stdout.splitlines())


class Traffic(list):
    """Requests as (method, path), and the POSTs among them."""

    @property
    def posts(self) -> list[tuple[str, str]]:
        return [request for request in self if request[0] == "POST"]


@contextmanager
def traffic(authority: Authority) -> Iterator[Traffic]:
    """Fills, at the end of the block, with the requests that reached the CA meanwhile."""
    before = len(authority.requests())
    seen = Traffic()
    yield seen
    seen += [(line["method"], line["path"]) for line in authority.requests()[before:]]


def wait_until_aged(certificate: Path, seconds: float) -> None:
    """Wait until a certificate has lain there for so long, so that a renewal may be asked for."""
    wait_until(lambda: time.time() - certificate.stat().st_mtime > seconds, 60, "a certificate of some seconds")


def post(authority: Authority, path: str, body: Mapping[str, Any]) -> tuple[int, str]:
    """POST to the CA; return status and text."""
    context = create_default_context(cadata=authority.root_pem)
    request = urllib.request.Request(
        authority.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def make_request(folder: Path, name: str, *names: str) -> str:
    """A request of openssl's making; return its PEM text."""
    alternative = "subjectAltName=" + ",".join("DNS:" + one for one in names)
    command = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=" + names[0], "-addext", alternative]
    command += ["-keyout", folder / (name + ".key"), "-out", folder / (name + ".csr")]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / (name + ".csr")).read_text(encoding="ascii")
