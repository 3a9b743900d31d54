# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Roots where something else lies already, and where others can write."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.trust import roots
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    MALLORY,
    file_of,
    folder_of,
    in_time,
    link_of,
    root_only,
    seen,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.trust.trusting import (
    NEW,
    OLD,
    bring_about,
    examine,
    want,
)


@pytest.fixture(name="roots_file")
def fixture_roots_file(tmp_path):
    return tmp_path / "roots.pem"


def text_of(path):
    return Path(path).read_text(encoding="utf-8")


# what is not ours


@table(
    "content, kept",
    {
        "a key": (pki.key_pem(pki.new_key()).decode("ascii"), True),
        "a text": ("do not lose this\n", True),
        "a root with a note": ("# of the old authority\n" + OLD.root_pem, True),
        "half a root": (OLD.root_pem[:90], True),
        "roots as we write them": (OLD.root_pem, False),
        "nothing": ("", False),
        "an empty line": ("\n", False),
    },
)
@pytest.mark.parametrize("present", [True, False])
def test_what_is_not_understood_in_the_place_of_roots_is_kept(roots_file, content, kept, present):
    roots_file.write_text(content, encoding="ascii")
    plan = bring_about(want(OLD, NEW, root_path=roots_file, present=present), given=present)
    assert [text_of(path) for path in plan.backups] == [content] * kept
    assert plan.told == [
        "%s held what is not of our making, or cannot be read. It is kept as %s." % (roots_file, path)
        for path in plan.backups
    ]
    assert roots_file.exists() is present
    if kept and present:
        roots_file.write_text("another\n", encoding="ascii")
        again = bring_about(want(OLD, NEW, root_path=roots_file))
        assert [text_of(path) for path in plan.backups + again.backups] == [content, "another\n"]


# where others can write


@root_only
def test_roots_in_a_folder_of_others(tmp_path):
    theirs = folder_of(tmp_path / "theirs")
    path = theirs / "tls" / "roots.pem"
    bring_about(want(OLD, root_path=path, make_folder=True))
    assert seen(path)[:2] == (0, 0) and sorted(os.listdir(path.parent)) == [".stepca.folder", "roots.pem"]
    assert seen(path.parent / ".stepca.folder")[:2] == (0, 0), "a mark counts that root has set"
    bring_about(want(OLD, root_path=path, present=False), given=False)
    assert os.listdir(theirs) == []


@root_only
def test_a_record_of_folders_that_others_wrote_takes_no_folder_away(tmp_path):
    theirs = folder_of(tmp_path / "theirs")
    path = theirs / "a" / "roots.pem"
    path.parent.mkdir()
    content = json.dumps({"folders": [str(path.parent)]}).encode()
    file_of(path.parent / ".roots.pem.stepca.json", content)
    bring_about(want(OLD, root_path=path, present=False), given=False)
    assert os.listdir(path.parent) == [".roots.pem.stepca.json"]


@root_only
def test_there_a_mode_is_mended_by_a_fresh_copy(tmp_path):
    theirs = folder_of(tmp_path / "theirs")
    path = theirs / "roots.pem"
    asked = want(OLD, root_path=path)
    bring_about(asked)
    before = seen(path)

    def finish(target, kind, staged=None, look=False):
        assert staged or look, "what lies there is only looked at"
        return [] if staged else ["the mode of %s differs" % target]

    plan = examine(asked, given=False, finish=finish)
    assert (plan.reasons, list(plan.writes)) == (["the mode of %s differs" % path], [str(path)])
    roots.apply(asked, plan, finish, None)
    assert seen(path)[3] != before[3] and seen(path)[4] == before[4]


@root_only
@table("name", {"the root": "certs/root_ca.crt", "the defaults": "config/defaults.json"})
@table(
    "plant, words",
    {
        "a link": (link_of, "is a symbolic link of the user %d" % MALLORY),
        "a pipe": (lambda path, victim: os.mkfifo(path), "is no file, but a pipe"),
        "another name": (lambda path, victim: os.link(victim, path), "has another name somewhere"),
    },
)
def test_what_a_user_planted_where_step_looks(tmp_path, name, plant, words):
    """step_path is in somebody's home, as a rule."""
    home, victim = folder_of(tmp_path / "home"), tmp_path / "victim"
    victim.write_bytes(b"{}")
    (home / name).parent.mkdir()
    plant(home / name, victim)
    before = seen(victim)
    with in_time(), pytest.raises(HostFileError, match=words):
        bring_about(want(OLD, step_path=home, url="https://ca.internal"))
    assert seen(victim) == before


@root_only
def test_a_user_of_step_gets_files_that_only_root_changes(tmp_path):
    home = folder_of(tmp_path / "home")
    folder_of(home / "config")
    mine = {"redirect-url": "mine"}
    file_of(home / "config" / "defaults.json", json.dumps(mine).encode())
    bring_about(want(OLD, step_path=home, url="https://ca.internal"))
    assert json.loads((home / "config" / "defaults.json").read_bytes())["redirect-url"] == "mine"
    assert [seen(home / name)[:3] for name in ("config/defaults.json", "certs/root_ca.crt")] == [(0, 0, 0o100644)] * 2
    assert seen(home / "config")[0] == MALLORY


@root_only
def test_defaults_that_nobody_else_may_read_are_not_merged_into_a_file_that_all_may(tmp_path):
    home = folder_of(tmp_path / "home")
    folder_of(home / "config")
    secret = json.dumps({"token": "secret"})
    file_of(home / "config" / "defaults.json", secret.encode(), mode=0o600)
    plan = bring_about(want(OLD, step_path=home, url="https://ca.internal"))
    assert "secret" not in text_of(home / "config" / "defaults.json")
    (backup,) = plan.backups
    assert text_of(backup) == secret and seen(backup)[:3] == (MALLORY, MALLORY, 0o100600)
