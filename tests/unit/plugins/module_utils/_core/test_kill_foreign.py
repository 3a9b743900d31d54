# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A run of root's that is killed, or whose disk fails, in a folder of somebody else's: it recovers as in one of root's."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import record
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import assert_whole
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.killing import (
    CAAsked,
    Points,
    Scenario,
    run_killed,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import folder_of, root_only

pytestmark = [root_only, pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")]
AREA = ".stepca.%d" % os.geteuid()
SCENARIOS = {
    "first": Scenario({"sans": ["b.example"]}, outputs=("combined",)),
    "replaced": Scenario(
        {"sans": ["b.example"], "backup": True}, before={"sans": ["a.example"]}, outputs=("combined",)
    ),
}


class Site:
    """A folder in which a scenario is played again and again, and what root keeps of it elsewhere."""

    def __init__(self, folder, state, scenario):
        self.folder = folder_of(folder)
        self.records = state / "records"
        self.scenario = scenario
        self.records.mkdir(parents=True)
        scenario.prepare(self.folder)
        self.old = self.save()

    def save(self) -> dict:
        """All files, with their modes."""
        paths = [path for place in (self.folder, self.records) for path in place.rglob("*") if path.is_file()]
        return {path: (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) for path in paths}

    def restore(self) -> None:
        """The former set, and nothing else."""
        shutil.rmtree(self.folder / AREA, ignore_errors=True)
        for path in self.save():
            path.unlink()
        for path, (mode, content) in self.old.items():
            path.write_bytes(content)
            path.chmod(mode)

    def set(self) -> dict:
        """What others see, and the record."""
        return {path: one for path, one in self.save().items() if not path.name.startswith(".")}

    def points(self, monkeypatch) -> Points:
        """The points of a run that nothing disturbs; all is then as before."""
        with monkeypatch.context() as patched:
            points = Points().install(patched.setattr)
            self.scenario.run(self.folder)
        self.restore()
        return points

    def assert_private(self) -> None:
        """Nobody else can read a key, in place or in the folder that is ours, or anything that is not finished."""
        for path, (mode, content) in self.save().items():
            assert path.stat().st_uid == 0
            if b"PRIVATE KEY" in content or path.parent.name == AREA:
                assert mode & 0o077 == 0 or stat.S_IMODE(path.parent.stat().st_mode) == 0o700, path

    def assert_recovers(self) -> None:
        self.assert_private()
        try:
            self.scenario.run(self.folder, ca=False)
        except CAAsked:
            assert self.set() == {path: one for path, one in self.old.items() if not path.name.startswith(".")}
            self.scenario.run(self.folder)
        self.assert_private()
        assert_whole(self.folder, ["b.example"])
        pair = (self.folder / "site.key").read_bytes() + (self.folder / "site.crt").read_bytes()
        assert (self.folder / "site.combined").read_bytes() == pair
        assert record.read(str(self.folder / "site.crt"))["asked"]["names"] == ["dns:b.example"]
        if self.old:
            for name in ("site.crt", "site.key", "site.combined"):
                kept = (self.folder / (".%s.stepca.backup" % name)).read_bytes()
                assert kept == self.old[self.folder / name][1]
        past = time.time() - 3700
        for path in self.save():
            if ".stepca-" in path.name:
                os.utime(path, (past, past))
        again = self.scenario.run(self.folder, ca=False)
        assert (again.outcome, again.reasons) == ("none", [])
        assert [name for name in os.listdir(self.folder) if "stepca-" in name or name == AREA] == []


@pytest.fixture(name="site", params=list(SCENARIOS))
def fixture_site(tmp_path, monkeypatch, request, fixture_state):
    # What is killed is a process, not the machine.
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
    return Site(tmp_path / "theirs", fixture_state, SCENARIOS[request.param])


def test_a_run_killed_at_any_point(site, monkeypatch, record_property):
    points = site.points(monkeypatch)
    assert points.names.count("rename") > 3 and "mkdir" in points.names
    for number in points.changing:
        site.restore()
        assert run_killed(site.folder, site.scenario, number)
        site.assert_recovers()
    record_property("points", "%d kills" % len(points.changing))


@table("code, lasting", {"full": (errno.ENOSPC, False), "for good": (errno.ENOSPC, True)})
def test_a_call_that_fails(site, monkeypatch, record_property, code, lasting):
    names = site.points(monkeypatch).names

    def fail():
        raise OSError(code, os.strerror(code))

    for number in range(1, len(names) + 1):
        site.restore()
        with monkeypatch.context() as patched:
            Points(number, fail, lasting=lasting).install(patched.setattr)
            try:
                site.scenario.run(site.folder)
            except HostFileError as error:
                assert os.strerror(code) in str(error), names[number - 1]
        site.assert_recovers()
    record_property("points", "%d calls failed" % len(names))
