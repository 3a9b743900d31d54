# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The system's trust store: roots join and leave it, each for those who named it, and Java's store follows."""

from __future__ import annotations

import json

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError, OptionError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.trust import stores
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.trust.trusting import (
    FOREIGN,
    NEW,
    OLD,
    bring_about,
    examine,
    want,
)

#: Writes down what it is told to leave out, then makes the bundle, as Debian's does.
PROGRAM = """#!/bin/sh
cd %s || exit 1
%s
if [ "$2" = --certsconf ]; then grep '^!' "$3" >> left_out; fi
cat anchors/*.crt 2>/dev/null | sed 's/$/\r/' > bundle.crt
%s
"""


class System:
    """A system with a trust store; `begin`, `end`: what its program does first and last."""

    def __init__(self, folder, monkeypatch):
        self.anchors, self.bundle, self.left_out = folder / "anchors", folder / "bundle.crt", folder / "left_out"
        self.program, self._folder = folder / "update", folder
        self.anchors.mkdir()
        (folder / "selection").write_text("mozilla/One.crt", encoding="ascii")
        self.make_program()
        missing = stores.Store(("Nowhere",), str(folder / "no"), ["true"])
        here = stores.Store(
            ("Here",), str(self.anchors), [str(self.program), "now"], str(self.bundle), str(folder / "selection")
        )
        monkeypatch.setattr(stores, "STORES", (missing, here))

    def make_program(self, begin="", end=""):
        self.program.write_text(PROGRAM % (self._folder, begin, end), encoding="ascii")
        self.program.chmod(0o755)

    @property
    def files(self):
        return sorted(path.name for path in self.anchors.iterdir())

    def trusts(self, one):
        return one.root_pem.replace("\n", "\r\n").encode("ascii") in self.bundle.read_bytes()


@pytest.fixture(name="system")
def fixture_system(tmp_path, monkeypatch):
    return System(tmp_path, monkeypatch)


@pytest.fixture(name="roots_file")
def fixture_roots_file(tmp_path):
    return tmp_path / "roots.pem"


def in_store(authority):
    return "stepca-%s.crt" % authority.fingerprint[:16]


def test_roots_join_the_store_of_the_system(system):
    asked = want(OLD, NEW, system_trust=True)
    plan = bring_about(asked)
    assert plan.ran == [[str(system.program), "now"]]
    assert system.files == sorted([in_store(OLD), in_store(NEW)]) and system.trusts(OLD) and system.trusts(NEW)
    assert (system.anchors / in_store(OLD)).read_text(encoding="ascii").endswith("\n" + OLD.root_pem)
    assert plan.roots[0]["system_trust_path"] == str(system.anchors / in_store(OLD))
    steady = examine(asked, given=False)
    assert (steady.reasons, steady.update, steady.needs_roots) == ([], False, False)


def test_a_bundle_that_lacks_the_root_is_made_anew(system):
    bring_about(want(OLD, system_trust=True))
    system.bundle.unlink()
    plan = bring_about(want(OLD, system_trust=True), given=False)
    assert plan.anchors == {} and plan.reasons == [
        "the system's bundle %s lacks the root %s" % (system.bundle, OLD.fingerprint)
    ]


@pytest.mark.parametrize("content", ["nonsense", NEW.root_pem, OLD.root_pem + NEW.root_pem])
def test_something_else_in_the_place_of_a_root_is_replaced(system, content):
    (system.anchors / in_store(OLD)).write_text(content, encoding="ascii")
    plan = bring_about(want(OLD, system_trust=True))
    assert "holds something else than this root" in plan.reasons[0] and system.trusts(OLD)
    (backup,) = plan.backups
    assert (system.anchors / backup).read_text(encoding="ascii") == content and backup in plan.told[0]


@pytest.mark.parametrize("place", [{"root_path": "roots.pem"}, {"step_path": "step", "url": "https://ca.internal"}, {}])
def test_a_rotation_takes_the_old_root_out_of_the_store(system, tmp_path, place):
    place = {name: tmp_path / value if name.endswith("_path") else value for name, value in place.items()}
    for roots in ((OLD,), (OLD, NEW), (NEW,)):
        bring_about(want(*roots, system_trust=True, **place))
    assert system.files == [in_store(NEW)] and system.trusts(NEW) and not system.trusts(OLD)
    assert system.left_out.read_text(encoding="ascii") == "!%s\n" % in_store(OLD), "or Java would keep it"


def test_without_any_path_a_root_of_another_task_stays(system):
    """Nothing says that they are of one CA: that is what documentation tells users."""
    for one in (OLD, NEW):
        bring_about(want(one, system_trust=True))
    assert [examine(want(one, system_trust=True)).reasons for one in (OLD, NEW)] == [[], []]
    bring_about(want(OLD, system_trust=True, present=False), given=False)
    assert system.files == [in_store(NEW)]


def test_two_authorities_side_by_side(system, tmp_path):
    """One is rotated, then taken out; the other's root is touched by neither."""
    one, other = {"root_path": tmp_path / "one.pem"}, {"root_path": tmp_path / "other.pem"}
    bring_about(want(OLD, system_trust=True, **one))
    bring_about(want(FOREIGN, system_trust=True, **other))
    for roots in ((OLD, NEW), (NEW,)):
        bring_about(want(*roots, system_trust=True, **one))
    assert system.files == sorted([in_store(NEW), in_store(FOREIGN)])
    bring_about(want(NEW, system_trust=True, present=False, **one), given=False)
    assert system.files == [in_store(FOREIGN)] and system.trusts(FOREIGN) and not system.trusts(NEW)
    assert examine(want(FOREIGN, system_trust=True, **other), given=False).reasons == []


def test_a_root_that_two_tasks_named_leaves_with_the_second(system, tmp_path):
    tasks = [{"root_path": tmp_path / "one.pem"}, {"root_path": tmp_path / "other.pem"}]
    for place in tasks:
        bring_about(want(OLD, system_trust=True, **place))
    assert [examine(want(OLD, system_trust=True, **place)).reasons for place in tasks] == [[], []]
    bring_about(want(OLD, system_trust=True, present=False, **tasks[0]), given=False)
    assert system.trusts(OLD) and examine(want(OLD, system_trust=True, **tasks[1])).reasons == []
    bring_about(want(OLD, system_trust=True, present=False, **tasks[1]), given=False)
    assert system.files == [] and not system.trusts(OLD)


def test_tasks_with_and_without_a_path_do_not_disturb_each_other(system, roots_file):
    alone, filed = want(OLD, system_trust=True), want(OLD, system_trust=True, root_path=roots_file)
    for asked in (alone, filed):
        bring_about(asked)
    assert [examine(asked, given=False).reasons for asked in (alone, filed)] == [[], []]
    bring_about(want(OLD, NEW, system_trust=True, root_path=roots_file))
    bring_about(want(NEW, system_trust=True, root_path=roots_file))
    assert system.trusts(OLD) and examine(alone, given=False).reasons == []


def test_a_fingerprint_alone_takes_the_root_out_whoever_named_it(system, roots_file):
    bring_about(want(OLD, NEW, system_trust=True, root_path=roots_file))
    bring_about(want(OLD, system_trust=True, present=False), given=False)
    assert system.files == [in_store(NEW)] and not system.trusts(OLD)


def test_a_task_that_was_given_a_path_later_leaves_nothing_behind(system, roots_file):
    bring_about(want(OLD, system_trust=True))
    bring_about(want(OLD, system_trust=True, root_path=roots_file))
    bring_about(want(OLD, system_trust=True, root_path=roots_file, present=False), given=False)
    assert system.files == [] and not roots_file.exists()


def test_the_store_is_left_as_it_was_found(system):
    (system.anchors / "mine.crt").write_text(FOREIGN.root_pem, encoding="ascii")
    (system.anchors / "stepca-of-somebody.crt").write_text(NEW.root_pem, encoding="ascii")
    (system.anchors / in_store(NEW)).write_text(NEW.root_pem, encoding="ascii")
    before = pki.snapshot(system.anchors)
    bring_about(want(OLD, system_trust=True))
    plan = bring_about(want(OLD, system_trust=True, present=False), given=False)
    assert plan.ran and pki.snapshot(system.anchors) == before
    again = examine(want(OLD, system_trust=True, present=False), given=False)
    assert (again.reasons, again.update) == ([], False)


@pytest.mark.parametrize("line", ["nonsense", "[", "1", '{"a": 1}', '["\\ud800", 3]'])
def test_lines_of_owners_that_somebody_changed(system, line):
    asked = want(OLD, system_trust=True)
    bring_about(asked)
    (system.anchors / in_store(OLD)).write_text("# privatepki.stepca: %s\n" % line + OLD.root_pem, encoding="ascii")
    bring_about(asked)
    bring_about(want(OLD, system_trust=True, present=False), given=False)
    bring_about(want(OLD, system_trust=True, present=False), given=False)


def test_a_run_that_broke_off_before_the_system_took_over_is_taken_up_again(system, roots_file):
    bring_about(want(OLD, NEW, system_trust=True, root_path=roots_file))
    (system.anchors / in_store(OLD)).unlink()
    plan = bring_about(want(NEW, system_trust=True, root_path=roots_file), given=False)
    assert "still has the root %s" % OLD.fingerprint in " ".join(plan.reasons)
    assert not system.trusts(OLD) and system.left_out.read_text(encoding="ascii") == "!%s\n" % in_store(OLD)


def test_a_system_that_does_not_take_over_fails_until_it_does(system, roots_file):
    asked = want(OLD, system_trust=True, root_path=roots_file)
    system.make_program("echo no room >&2; exit 3")
    with pytest.raises(HostFileError, match="update now.* failed: no room. Mend that"):
        bring_about(asked)
    assert not roots_file.exists()
    system.make_program(end="rm bundle.crt")
    with pytest.raises(HostFileError, match="lacks the root %s all the same" % OLD.fingerprint):
        bring_about(asked)
    system.make_program()
    bring_about(asked)


def test_a_hook_that_fails_is_a_warning(system):
    system.make_program(end="echo 'E: /etc/ca-certificates/update.d/jks-keystore exited with code 1.'")
    (warning,) = bring_about(want(OLD, system_trust=True)).told
    assert "not all of it: /etc/ca-certificates/update.d/jks-keystore exited with code 1." in warning


@pytest.mark.parametrize("given", [True, False])
def test_check_mode_writes_nothing(system, tmp_path, roots_file, given):
    before = pki.snapshot(tmp_path)
    asked = want(OLD, root_path=roots_file, step_path=tmp_path / "step", system_trust=True, url="https://ca.internal")
    dry = examine(asked, dry=True, ask=lambda: [OLD.root], given=given)
    assert pki.snapshot(tmp_path) == before
    assert dry.reasons == examine(asked).reasons and len(dry.reasons) == 6
    assert str(roots_file) in json.dumps(dry.after[str(system.anchors / in_store(OLD))])


# systems that are not known


def test_a_system_that_is_not_known_is_said(monkeypatch):
    monkeypatch.setattr(stores, "STORES", stores.STORES[:0] + (stores.Store(("Debian", "EL"), "/no", ["no"]),))
    with pytest.raises(HostFileError) as caught:
        examine(want(OLD, system_trust=True))
    for words in ("Debian, EL", "ca-certificates", "system_trust_folder", "system_trust_command", "root_path"):
        assert words in str(caught.value)


def test_a_store_that_the_user_describes(system, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    mine = {"system_trust_folder": str(folder), "system_trust_command": [str(system.program), "mine"]}
    plan = bring_about(want(OLD, system_trust=True, **mine))
    assert plan.ran == [[str(system.program), "mine"]] and (folder / in_store(OLD)).exists() and system.files == []
    plan = bring_about(want(OLD, system_trust=True, present=False, **mine), given=False)
    assert plan.ran == [[str(system.program), "mine"]] and list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"system_trust_folder": "/etc"}, OptionError, "need each other"),
        ({"system_trust_command": ["true"]}, OptionError, "need each other"),
        ({"system_trust_folder": "etc", "system_trust_command": ["true"]}, OptionError, "'etc' is not an absolute"),
        ({"system_trust_folder": "/no", "system_trust_command": ["true"]}, HostFileError, "there is no folder /no"),
        ({"system_trust_folder": "/etc", "system_trust_command": ["nope"]}, HostFileError, "there is no program nope"),
    ],
)
def test_a_store_that_cannot_be(options, error, words):
    with pytest.raises(error, match=words):
        examine(want(OLD, system_trust=True, **options))
