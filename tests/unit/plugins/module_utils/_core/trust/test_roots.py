# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Roots on a host: a file that holds exactly them, the system's store, and the place where step looks."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import ApiError, HostFileError, OptionError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.trust import roots
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.trust.trusting import (
    EXPIRED,
    FOREIGN,
    NEW,
    OLD,
    bring_about,
    examine,
    nothing,
    want,
)


@pytest.fixture(name="roots_file")
def fixture_roots_file(tmp_path):
    return tmp_path / "roots.pem"


# a file


def test_a_file_of_roots_is_made_once(roots_file):
    plan = bring_about(want(OLD, NEW, root_path=roots_file))
    assert plan.reasons == ["%s is missing" % roots_file]
    assert roots_file.read_text(encoding="ascii") == OLD.root_pem + NEW.root_pem
    assert [root["fingerprint"] for root in plan.roots] == [OLD.fingerprint, NEW.fingerprint]
    assert plan.roots[0]["subject"] == "CN=Old Root" and plan.roots[0]["not_after"].endswith("Z")
    before = pki.snapshot(roots_file.parent)
    assert bring_about(want(OLD, NEW, root_path=roots_file), given=False).writes == {}
    assert pki.snapshot(roots_file.parent) == before


def test_the_order_of_roots_is_no_drift(roots_file):
    bring_about(want(OLD, NEW, root_path=roots_file))
    assert examine(want(NEW, OLD, root_path=roots_file), given=False).reasons == []


@pytest.mark.parametrize("steps", [[(OLD, NEW), (NEW,)], [(OLD,), (OLD, NEW), (NEW,)]])
def test_a_root_is_rotated(roots_file, steps):
    for step in steps:
        plan = bring_about(want(*step, root_path=roots_file))
        assert roots_file.read_text(encoding="ascii") == "".join(one.root_pem for one in step)
    assert "holds the roots %s..." % min(OLD.fingerprint, NEW.fingerprint)[:16] in plan.reasons[0]
    assert plan.reasons[0].endswith("expected %s..." % NEW.fingerprint[:16])


def test_the_end_of_a_rotation_needs_nobody(roots_file):
    bring_about(want(OLD, NEW, root_path=roots_file))
    plan = examine(want(NEW, root_path=roots_file), given=False)
    assert not plan.needs_roots and plan.writes[str(roots_file)] == NEW.root_pem.encode("ascii")


def test_an_authority_of_somebody_else_is_not_replaced(roots_file):
    roots_file.write_text(FOREIGN.root_pem, encoding="ascii")
    with pytest.raises(HostFileError) as caught:
        examine(want(OLD, root_path=roots_file))
    assert str(roots_file) in str(caught.value) and FOREIGN.fingerprint in str(caught.value)
    assert "accept_new_root: true" in str(caught.value)
    assert roots_file.read_text(encoding="ascii") == FOREIGN.root_pem
    bring_about(want(OLD, root_path=roots_file, accept_new_root=True))
    assert roots_file.read_text(encoding="ascii") == OLD.root_pem


def test_a_root_beside_trusted_ones_is_taken_out(roots_file):
    roots_file.write_text(OLD.root_pem + FOREIGN.root_pem, encoding="ascii")
    bring_about(want(OLD, root_path=roots_file))
    assert roots_file.read_text(encoding="ascii") == OLD.root_pem


@pytest.mark.parametrize("present", [True, False])
def test_the_bundle_of_the_system_is_not_replaced(roots_file, present):
    bundle = "".join(pki.Authority("Web %d" % number).root_pem for number in range(11))
    roots_file.write_text(bundle, encoding="ascii")
    with pytest.raises(HostFileError):
        bring_about(want(OLD, root_path=roots_file, present=present))
    assert roots_file.read_text(encoding="ascii") == bundle


def test_attributes_of_the_file_are_looked_at(roots_file):
    def finish(target, kind, staged=None, look=False):
        assert staged is None and look is False
        return ["%s of %s" % (kind, os.path.basename(target))]

    bring_about(want(OLD, root_path=roots_file))
    plan = examine(want(OLD, root_path=roots_file), given=False, finish=finish)
    assert (plan.reasons, plan.writes) == (["root of roots.pem"], {})


def test_a_new_file_is_dressed_before_it_is_in_place(roots_file):
    calls = []
    asked = want(OLD, root_path=roots_file)

    def finish(target, kind, staged):
        calls.append((target, kind, staged.path))
        return []

    roots.apply(asked, examine(asked), finish, None)
    assert len(calls) == 1 and calls[0][:2] == (str(roots_file), "root") and calls[0][2] != str(roots_file)
    assert pki.dot_files(roots_file.parent) == []


def test_a_missing_folder_fails_but_in_check_mode(tmp_path):
    asked = want(OLD, root_path=tmp_path / "no" / "roots.pem")
    with pytest.raises(HostFileError, match="The folder .*no of root_path is missing. Make it first"):
        examine(asked)
    assert examine(asked, dry=True).reasons[-1] == "the folder %s is missing" % (tmp_path / "no")
    assert os.listdir(str(tmp_path)) == []


def test_folders_that_were_made_go_with_the_file(tmp_path):
    path = tmp_path / "etc" / "of" / "roots.pem"
    umask = os.umask(0o077)
    try:
        plan = bring_about(want(OLD, root_path=path, make_folder=True))
    finally:
        os.umask(umask)
    assert plan.reasons == ["%s is missing" % path, "the folder %s is missing" % path.parent]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755 and path.read_text(encoding="ascii") == OLD.root_pem
    bring_about(want(NEW, OLD, root_path=path, make_folder=True), given=True)
    bring_about(want(NEW, root_path=path, present=False), given=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays(tmp_path):
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc" / "roots.pem"
    for present in (True, False):
        bring_about(want(OLD, root_path=path, make_folder=True, present=present), given=present)
    assert list(tmp_path.rglob("*")) == [path.parent]


def test_a_folder_that_was_made_stays_while_others_use_it(tmp_path):
    path = tmp_path / "etc" / "roots.pem"
    bring_about(want(OLD, root_path=path, make_folder=True))
    other = path.parent / "renew.d"
    other.mkdir()
    gone = want(OLD, root_path=path, present=False)
    bring_about(gone, given=False)
    assert sorted(os.listdir(path.parent)) == [".stepca.folder", "renew.d"]
    assert bring_about(gone, given=False).reasons == [], "a second run has nothing to do"
    other.rmdir()
    assert bring_about(gone, given=False).reasons == ["the folder %s is there, expected none" % path.parent]
    assert os.listdir(tmp_path) == []


def test_folders_that_an_older_version_listed_go_with_the_file(tmp_path):
    path = tmp_path / "etc" / "of" / "roots.pem"
    path.parent.mkdir(parents=True)
    path.write_text(OLD.root_pem, encoding="ascii")
    listed = path.parent / ".roots.pem.stepca.json"
    content = {"version": 1, "folders": [str(path.parent.parent), str(path.parent)]}
    listed.write_text(json.dumps(content), encoding="ascii")
    bring_about(want(OLD, root_path=path, present=False), given=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", ["", "[]", '{"folders": 1}', '{"folders": [1]}', '{"folders": ["/nowhere", "/"]}'])
def test_a_record_of_folders_that_is_none_takes_no_folder_away(tmp_path, content):
    path = tmp_path / "etc" / "roots.pem"
    path.parent.mkdir()
    (path.parent / ".roots.pem.stepca.json").write_text(content, encoding="ascii")
    bring_about(want(OLD, root_path=path, present=False), given=False)
    assert list(tmp_path.rglob("*")) == [path.parent]


# roots that expired


def test_a_root_that_expired_is_told_while_another_is_trusted(roots_file):
    plan = bring_about(want(EXPIRED, NEW, root_path=roots_file))
    (warning,) = plan.told
    assert "CN=Expired Root" in warning and EXPIRED.fingerprint in warning and "ca_fingerprint" in warning
    assert bring_about(want(EXPIRED, NEW, root_path=roots_file), given=False).told == [warning], "each time"


def test_roots_that_all_expired_are_refused(roots_file):
    roots_file.write_text(EXPIRED.root_pem, encoding="ascii")
    for given in (True, False):
        with pytest.raises(HostFileError, match="expired at .*nothing was changed.*ca_fingerprint"):
            examine(want(EXPIRED, root_path=roots_file), given=given)
    bring_about(want(EXPIRED, root_path=roots_file, present=False), given=False)
    assert not roots_file.exists()


def test_a_place_is_required():
    with pytest.raises(OptionError, match="One of root_path, system_trust and step_path is required"):
        examine(want(OLD))


# who has the roots


def test_roots_that_nobody_has_are_needed(roots_file):
    plan = examine(want(OLD, root_path=roots_file), given=False)
    assert plan.needs_roots and plan.writes == {}


def test_roots_of_which_the_host_lacks_one_are_needed(roots_file):
    bring_about(want(OLD, root_path=roots_file))
    assert examine(want(OLD, NEW, root_path=roots_file), given=False).needs_roots


def test_a_host_that_may_ask_asks_once_it_lacks_roots(roots_file):
    asked = []

    def ask():
        asked.append(1)
        return [OLD.root]

    bring_about(want(OLD, root_path=roots_file), given=False, ask=ask)
    assert (len(asked), roots_file.read_text(encoding="ascii")) == (1, OLD.root_pem)


def test_a_root_that_the_authority_does_not_offer_is_named(roots_file):
    with pytest.raises(ApiError, match="does not offer the root %s" % NEW.fingerprint):
        examine(want(OLD, NEW, root_path=roots_file), given=False, ask=lambda: [OLD.root])


# absent


def test_roots_are_taken_away_with_nobodys_help(roots_file):
    bring_about(want(OLD, NEW, root_path=roots_file))
    plan = bring_about(want(OLD, NEW, root_path=roots_file, present=False), given=False)
    assert not roots_file.exists() and plan.reasons == ["%s is there, expected none" % roots_file]
    assert bring_about(want(OLD, root_path=roots_file, present=False), given=False).reasons == []


def test_roots_of_somebody_else_are_not_taken_away(roots_file):
    roots_file.write_text(FOREIGN.root_pem, encoding="ascii")
    with pytest.raises(HostFileError, match="accept_new_root"):
        examine(want(OLD, root_path=roots_file, present=False), given=False)
    assert roots_file.exists()


def test_nobody_is_asked_for_roots_that_go_away(roots_file):
    examine(want(OLD, root_path=roots_file, present=False), given=False, ask=lambda: pytest.fail("asked the CA"))


# where step looks


def test_the_step_client_finds_authority_and_root(tmp_path):
    asked = want(OLD, NEW, step_path=tmp_path / "step", url="https://ca.internal")
    plan = bring_about(asked)
    root = tmp_path / "step" / "certs" / "root_ca.crt"
    defaults = json.loads((tmp_path / "step" / "config" / "defaults.json").read_text(encoding="utf-8"))
    assert root.read_text(encoding="ascii") == OLD.root_pem + NEW.root_pem
    assert defaults == {"ca-url": "https://ca.internal", "fingerprint": OLD.fingerprint, "root": str(root)}
    assert stat.S_IMODE(root.stat().st_mode) == 0o644 and len(plan.writes) == 2
    assert stat.S_IMODE((tmp_path / "step" / "config").stat().st_mode) == 0o755


def test_what_else_is_in_the_defaults_of_step_stays(tmp_path):
    asked = want(OLD, step_path=tmp_path, url="https://ca.internal")
    bring_about(asked)
    path = tmp_path / "config" / "defaults.json"
    path.write_text(json.dumps({"ca-url": "https://other", "redirect-url": "mine"}), encoding="utf-8")
    plan = bring_about(asked)
    assert "ca-url in %s is https://other, expected https://ca.internal" % path in plan.reasons
    assert json.loads(path.read_text(encoding="utf-8"))["redirect-url"] == "mine"


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_defaults_of_step_that_are_none_are_written_anew(tmp_path, content):
    asked = want(OLD, step_path=tmp_path, url="https://ca.internal")
    bring_about(asked)
    (tmp_path / "config" / "defaults.json").write_text(content, encoding="utf-8")
    plan = bring_about(asked)
    assert len(plan.reasons) == 3
    assert [Path(path).read_text(encoding="utf-8") for path in plan.backups] == ([content] if content else [])
    assert [plan.backups[0] in told for told in plan.told] == [True] * bool(content)


def test_what_step_had_is_taken_away(tmp_path):
    bring_about(want(OLD, step_path=tmp_path, url="https://ca.internal"))
    bring_about(want(OLD, step_path=tmp_path, present=False), given=False)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_else_is_in_the_defaults_of_step_stays_when_ours_is_taken_away(tmp_path):
    bring_about(want(OLD, step_path=tmp_path, url="https://ca.internal"))
    path = tmp_path / "config" / "defaults.json"
    mine = {"redirect-url": "mine", "password-file": None}
    path.write_text(json.dumps(dict(json.loads(path.read_text(encoding="utf-8")), **mine)), encoding="utf-8")
    plan = bring_about(want(OLD, step_path=tmp_path, present=False), given=False)
    assert "ca-url in %s is https://ca.internal, expected none" % path in plan.reasons
    assert json.loads(path.read_text(encoding="utf-8")) == mine
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]


@pytest.mark.parametrize("content", ["", "{}", "[]", "{", '{"redirect-url": "mine"}'])
def test_defaults_of_step_without_anything_of_ours_are_not_taken_away(tmp_path, content):
    path = tmp_path / "config" / "defaults.json"
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    assert bring_about(want(OLD, step_path=tmp_path, present=False), given=False).reasons == []
    assert path.read_text(encoding="utf-8") == content


def test_the_step_client_needs_a_url(tmp_path):
    with pytest.raises(OptionError, match="ca_url is required with step_path"):
        examine(want(OLD, step_path=tmp_path))


def test_a_folder_of_step_that_cannot_be_made_is_explained(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    asked = want(OLD, step_path=tmp_path / "step", url="https://ca.internal")
    plan = examine(asked)
    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(HostFileError):
        roots.apply(asked, plan, nothing, None)
