# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A run that is killed, or whose disk fails, at any one of the calls by which it changes files.

The outcome is the old set, the new set, or one that the next run completes without the CA.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HalfReplaced, HostFileError
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.killing import (
    BEGUN,
    SCENARIOS,
    CAAsked,
    Points,
    assert_private,
    assert_whole,
    restore,
    run_killed,
    save,
    visible,
    waiting,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table

CHECKOUT = Path(__file__).resolve().parents[5]
FULL, OTHER_FAULTS = (errno.ENOSPC,), (errno.EACCES, errno.EROFS, errno.EIO)
#: Of all pairs of a kill and a kill of its recovery so many are tried for each scenario, spread evenly.
FIRST_KILLS, SECOND_KILLS = 24, 48

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


class Site:
    """A folder in which one scenario is played again and again, each time from the same former set."""

    def __init__(self, folder, name):
        folder.mkdir()
        self.folder = folder
        self.scenario = SCENARIOS[name]
        self.scenario.prepare(folder)
        self.old = save(folder)

    def points(self, monkeypatch) -> Points:
        """The points of a run that nothing disturbs; the folder is then as before."""
        before = save(self.folder)
        with monkeypatch.context() as patched:
            points = Points().install(patched.setattr)
            self.scenario.run(self.folder)
        assert_whole(self.folder, self.scenario)
        restore(self.folder, before)
        return points

    def assert_recovers(self, anew=True) -> None:
        """The next run completes the new set; only where it finds the old one untouched (anew) it asks the CA."""
        assert_private(save(self.folder))
        try:
            self.scenario.run(self.folder, ca=False)
        except CAAsked:
            assert anew and visible(save(self.folder)) == visible(self.old)
            self.scenario.run(self.folder)
        self.assert_complete()

    def assert_complete(self) -> None:
        """The new set, private, steady, with its backup; what waits beside it is gone after an hour at the latest."""
        assert_whole(self.folder, self.scenario)
        state = save(self.folder)
        assert_private(state)
        assert all("-probe-" in name or ".site.key.stepca-" in name for name in waiting(state)), waiting(state)
        if self.scenario.wanted.get("backup"):
            assert {name: state[".%s.stepca.backup" % name] for name in ("site.crt", "site.key")} == {
                name: self.old[name] for name in ("site.crt", "site.key")
            }
        past = time.time() - 3700
        for name in waiting(state):
            os.utime(str(self.folder / name), (past, past))
        again = self.scenario.run(self.folder, ca=False)
        assert (again.outcome, again.reasons) == ("none", [])
        assert waiting(save(self.folder)) == []


@pytest.fixture(name="site", params=list(SCENARIOS))
def fixture_site(tmp_path, monkeypatch, request):
    # What is killed is a process, not the machine: nothing need reach the disk, and thousands of waits are spared.
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
    return Site(tmp_path / "site", request.param)


def test_a_run_killed_at_any_point(site, monkeypatch, record_property):
    """Before each call that changes something, which is after the one before."""
    points = site.points(monkeypatch)
    for number in points.changing:
        restore(site.folder, site.old)
        assert run_killed(site.folder, site.scenario, number)
        site.assert_recovers()
    found = [points.names[number - 1] for number in points.changing]
    record_property("points", "%d kills: %s" % (len(found), tally(found)))


@pytest.mark.parametrize("failing", [False, True], ids=["killed", "failing"])
def test_a_recovery_disturbed_at_any_point(site, monkeypatch, record_property, failing):
    """Every pair of points would take minutes: each n-th kill is recovered from, each m-th recovery is disturbed."""
    kills = site.points(monkeypatch).changing
    pairs, killed = [], {}
    for first in every(kills, FIRST_KILLS):
        restore(site.folder, site.old)
        run_killed(site.folder, site.scenario, first)
        killed[first] = save(site.folder)
        again = site.points(monkeypatch)
        pairs += [(first, second) for second in (range(1, len(again.names) + 1) if failing else again.changing)]
    chosen = every(pairs, SECOND_KILLS)
    for first, second in chosen:
        restore(site.folder, killed[first])
        if failing:
            error = run_failing(site, monkeypatch, second, errno.ENOSPC, lasting=False)
        else:
            assert run_killed(site.folder, site.scenario, second)
        site.assert_recovers(anew=not failing or error is not None)
    found = "%d of %d points of the recoveries from %d of %d kills"
    record_property("points", found % (len(chosen), len(pairs), len(killed), len(kills)))


def every(some, most) -> list:
    """So many of these at most, spread evenly."""
    return list(some)[:: -(-len(some) // most)]


@table("codes, lasting", {"full": (FULL, False), "full for good": (FULL, True), "other faults": (OTHER_FAULTS, False)})
def test_a_call_that_fails(site, monkeypatch, record_property, codes, lasting):
    """The other faults by turns."""
    names = site.points(monkeypatch).names
    for number in range(1, len(names) + 1):
        code = codes[number % len(codes)]
        restore(site.folder, site.old)
        error = run_failing(site, monkeypatch, number, code, lasting)
        if error is None:
            assert_whole(site.folder, site.scenario)
        else:
            assert_explained(site, names[number - 1], error, code, lasting)
        if codes == FULL:  # what is left to recover from is the same with any of them
            site.assert_recovers(anew=error is not None)
    record_property("points", "%d calls failed: %s" % (len(names), tally(names)))


def run_failing(site, monkeypatch, number, code, lasting):
    """Run with this call failing; the HostFileError, or None where it was of no consequence."""

    def fail():
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        Points(number, fail, lasting=lasting).install(patched.setattr)
        try:
            site.scenario.run(site.folder)
        except HostFileError as error:
            return error
    return None


def assert_explained(site, name, error, code, lasting) -> None:
    """What was tried, why it failed, what to do; the old set is there, unless it is said that it is not."""
    state = save(site.folder)
    assert_private(state)
    assert os.strerror(code) in str(error) and str(error).count(". ") >= 1 and str(site.folder) in str(error)
    if isinstance(error, HalfReplaced):
        assert lasting and "the next run finishes" in str(error)
    elif site.scenario.wanted.get("state") != "absent":
        assert visible(state) == visible(site.old)
        assert lasting or name == "unlink" or waiting(state) == []


SYSTEM_CALLS = {
    "open": "open openat creat",
    "write": "write pwrite64 writev",
    "fsync": "fsync fdatasync",
    "link": "link linkat",
    "rename": "rename renameat renameat2",
    "unlink": "unlink unlinkat",
    "chmod": "chmod fchmod fchmodat",
    "chown": "chown fchown lchown fchownat",
    "mkdir": "mkdir mkdirat",
    "truncate": "truncate ftruncate",
    "symlink": "symlink symlinkat",
}


def test_strace_counts_the_same_points(site, tmp_path, monkeypatch):
    """No call that changes a file of the set goes uncounted."""
    if not shutil.which("strace"):
        pytest.skip("no strace here to count the points a second time")
    expected = Counter(site.points(monkeypatch).names)
    expected["write"] //= 2  # each write is two points
    traced = trace(tmp_path, next(name for name, one in SCENARIOS.items() if one is site.scenario))
    assert traced == +expected


def trace(tmp_path, name) -> Counter:
    """The system calls of a scenario that change files of its set, by the names of the points."""
    folder, log = tmp_path / "traced", tmp_path / "strace"
    folder.mkdir()
    calls = ",".join("?" + call for calls in SYSTEM_CALLS.values() for call in calls.split())
    script = "import tests.unit.conftest\nfrom %s import main\nmain()" % Points.__module__
    command = ["strace", "-f", "-y", "-o", str(log), "-e", "trace=" + calls, sys.executable, "-c", script]
    done = subprocess.run(command + [name, str(folder)], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode and "ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here: %s" % done.stderr.strip())
    assert done.returncode == 0, done.stderr
    lines = log.read_text(encoding="utf-8", errors="replace").partition(str(folder) + BEGUN)[2].splitlines()[1:]
    kinds = {call: kind for kind, calls in SYSTEM_CALLS.items() for call in calls.split()}
    found = [re.match(r"\d+ +(\w+)\(", line) for line in lines if str(folder) in line]
    return Counter(
        kinds[call.group(1)]
        for call in found
        if call and (kinds[call.group(1)] != "open" or re.search("O_WRONLY|O_RDWR|O_CREAT", call.string))
    )


def tally(names) -> str:
    """How often each name is there."""
    return ", ".join("%d %s" % (names.count(name), name) for name in dict.fromkeys(names))
