# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A renewal that is killed, or whose disk fails, at any one of the calls by which it changes files.

The next run finishes. Services hear of each change, once at least, and never while key and certificate differ.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sys
import traceback

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HalfReplaced, StepCAError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import reading
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import services
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import pair_of
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.killing import Points, assert_private
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.renewer.renewing import start

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
SAME, NEW = "on_issue", "always"  # key_policy
both = pytest.mark.parametrize("policy", [SAME, NEW], ids=["same key", "new key"])


class Recorder:
    """In the place of the services: writes down which certificate they were told of, in a file beside the set.

    taken: the content of the one certificate that they take, None where they take any; told_at: how many points a run
    had passed when they were first told.
    """

    def __init__(self, host, refuses=False):
        self.host = host
        self.log = host.tls.parent / "log"
        self.taken = certificate(host) if refuses else None
        self.passed, self.told_at = [], 0

    def __call__(self, changed):
        public, key, _names = pair_of(self.host.tls)
        now = certificate(self.host)
        self.told_at = self.told_at or len(self.passed)
        with open(self.log, "ab") as stream:
            stream.write(b"%s %s\n" % (b"whole" if public == key else b"MIXED", fingerprint(now)))
        refused = self.taken not in (None, now)
        return [], {one.certificate_path: "refused." for one in changed if refused}

    def lines(self) -> list:
        return self.log.read_text(encoding="ascii").splitlines() if self.log.exists() else []


def certificate(host) -> bytes:
    return reading.read(str(host.tls / "site.crt"))


def fingerprint(pem: bytes) -> bytes:
    return b"%d" % (hash(pem) & 0xFFFFFFFF)


class Site:
    """A host whose certificate is due, each time again."""

    def __init__(self, folder, monkeypatch, policy, rollback=False):
        self.host = start(folder, monkeypatch)
        outputs = {name: str(self.host.tls / ("site." + name[:-5])) for name in ("combined_path", "chain_path")}
        self.host.enrol(key_policy=policy, rollback=rollback, **outputs)
        self.recorder = Recorder(self.host, refuses=rollback)
        monkeypatch.setattr(services, "tell", self.recorder)
        # What is killed is a process, not the machine.
        monkeypatch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
        self.kept = folder / "kept"
        for one in (self.host.tls, self.host.state):
            shutil.copytree(one, self.kept / one.name)
        self.old = self.host.save()

    def again(self) -> None:
        """As it was at first."""
        for one in (self.host.tls, self.host.state):
            shutil.rmtree(one)
            shutil.copytree(self.kept / one.name, one)
        self.recorder.log.unlink(missing_ok=True)

    def run(self) -> None:
        """One run; where the services refuse, that is not the end."""
        try:
            self.host.renew()
        except services.HookError as error:
            assert "refused" in str(error)

    def points(self, monkeypatch) -> Points:
        """The points of a run that nothing disturbs."""
        with monkeypatch.context() as patched:
            points = Points().install(patched.setattr)
            self.recorder.passed = points.names
            self.run()
        self.recorder.passed = []
        self.again()
        return points

    def run_killed(self, number) -> None:
        """Run in a process that is killed at this point."""
        pid = os.fork()
        if pid == 0:
            try:
                os.umask(0)
                Points(number, lambda: os.kill(os.getpid(), signal.SIGKILL)).install()
                self.run()
            except BaseException:
                traceback.print_exc(file=sys.stderr)
            finally:
                os._exit(1)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])

    def assert_whole(self) -> None:
        """Every file of the set is of one certificate and its key; nobody was told of a mixture."""
        public, key, _names = pair_of(self.host.tls)
        assert public == key
        leaf, pem = certificate(self.host), (self.host.tls / "site.key").read_bytes()
        assert (self.host.tls / "site.combined").read_bytes() == pem + leaf
        assert (self.host.tls / "site.chain").read_bytes() == leaf[leaf.index(b"-----BEGIN", 20) :]
        assert_private({name: (one[2] & 0o777, one[3]) for name, one in self.host.save().items()})
        assert "MIXED" not in " ".join(self.recorder.lines())

    def assert_told(self) -> None:
        """The last of which the services know is what lies there."""
        assert self.recorder.lines()[-1].split()[1].encode("ascii") == fingerprint(certificate(self.host))
        assert not self.host.history().pending

    def settle(self) -> None:
        """The next run."""
        self.run()
        self.assert_whole()
        self.assert_told()


@both
def test_a_renewal_killed_at_any_point(tmp_path, monkeypatch, record_property, policy):
    site = Site(tmp_path, monkeypatch, policy)
    kills = site.points(monkeypatch).changing
    for number in kills:
        site.again()
        site.run_killed(number)
        site.settle()
        assert certificate(site.host) != site.old["site.crt"][3]
        assert len(site.recorder.lines()) <= 2
    record_property("points", "%d kills of a renewal" % len(kills))


@both
def test_a_rollback_killed_at_any_point(tmp_path, monkeypatch, record_property, policy):
    """Whichever set the next run finds or makes, in the end the former one is back, and the services know."""
    site = Site(tmp_path, monkeypatch, policy, rollback=True)
    points = site.points(monkeypatch)
    assert "rename" in points.names[site.recorder.told_at :]
    kills = [number for number in points.changing if number > site.recorder.told_at]
    for number in kills:
        site.again()
        site.run_killed(number)
        site.run()
        site.assert_whole()
        found = site.host.history()
        if certificate(site.host) == site.old["site.crt"][3]:
            site.assert_told()
            shown = {name: one for name, one in site.host.save().items() if not name.startswith(".")}
            assert shown == {name: one for name, one in site.old.items() if not name.startswith(".")}
        else:  # it ended after the new set was in its place, of which the services want nothing
            assert found.pending and "was replaced, but: refused." in found.error
    record_property("points", "%d kills of a rollback" % len(kills))


#: (policy, what the calls fail with by turns, for good)
DISKS = {
    "full": (SAME, (errno.ENOSPC,), False),
    "full, new key": (NEW, (errno.ENOSPC,), False),
    "full for good, new key": (NEW, (errno.ENOSPC,), True),
    "forbidden or read-only, new key": (NEW, (errno.EACCES, errno.EROFS), False),
}


@table("policy, codes, lasting", DISKS)
def test_a_disk_that_fails_at_any_point(tmp_path, monkeypatch, record_property, policy, codes, lasting):
    site = Site(tmp_path, monkeypatch, policy)
    names = site.points(monkeypatch).names

    def fail():
        raise OSError(code, os.strerror(code))

    for number, name in enumerate(names, 1):
        code = codes[number % len(codes)]
        site.again()
        error = None
        with monkeypatch.context() as patched:
            Points(number, fail, lasting=lasting).install(patched.setattr)
            try:
                site.host.renew()
            except StepCAError as caught:
                error = caught
        if error is not None:
            assert os.strerror(code) in str(error) and "This should not happen" not in str(error), name
            told = bool(site.recorder.lines())
            if not told and not isinstance(error, HalfReplaced):
                shown = {one: content for one, content in site.host.save().items() if not one.startswith(".")}
                assert shown == {one: content for one, content in site.old.items() if not one.startswith(".")}, name
            if not lasting:
                assert os.strerror(code) in site.host.history().error
                assert re.search(r"\. \w.*\.$", str(error)), "what to do next"
        if code == errno.ENOSPC:  # what is left to recover from is the same with any of them
            site.settle()
    record_property("points", "%d calls of a renewal failed" % len(names))


def test_a_key_that_waits_for_the_next_run_is_not_thrown_away(tmp_path, monkeypatch):
    """The certificate is in its place, its key is not, and the disk lets nothing be put back."""
    site = Site(tmp_path, monkeypatch, "always")
    rename = os.rename
    failed = []

    def failing(source, target, **folders):
        if target == "site.key" or (failed and target == "site.crt"):
            failed.append(target)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target, **folders)

    with monkeypatch.context() as patched, pytest.raises(HalfReplaced, match="the next run finishes"):
        patched.setattr(os, "rename", failing)
        site.host.renew()
    assert failed == ["site.key", "site.crt"]
    assert site.host.history().pending and site.recorder.lines() == []
    site.host.stand_in.asked.clear()
    site.settle()
    assert site.host.stand_in.asked == [] and len(site.recorder.lines()) == 1
