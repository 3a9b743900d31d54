# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Owners and modes as Ansible sets them: on what waits, or in its place; what cannot be set fails the entry with a sentence."""

from __future__ import annotations

import errno
import os

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._attributes import Attributes
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import acl, replacing, staging
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    acl_of,
    file_of,
    folder_of,
    give_acl,
    root_only,
    seen,
)


class Module:
    """What Attributes needs of an AnsibleModule, whose way of setting a mode fails."""

    check_mode = False

    def __init__(self, fail):
        self._fail = fail

    def load_file_common_arguments(self, params, path=None):
        return dict(params)

    def set_fs_attributes_if_different(self, arguments, changed, diff=None):
        self._fail(self)

    def fail_json(self, msg="", **details):
        pytest.fail("the whole module ended")


def raise_as_chmod_does(module):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize(
    "fail, words",
    [
        (raise_as_chmod_does, ["Cannot set owner, group or mode of /etc/site.crt: Read-only", "mount it writable"]),
        (
            lambda module: module.fail_json(path="/x", msg="chown failed: no such user"),
            ["Owner, group or mode of /etc/site.crt cannot be set: chown failed: no such user."],
        ),
    ],
)
def test_what_cannot_be_set_fails_the_entry(fail, words):
    module = Module(fail)
    with pytest.raises(HostFileError) as caught:
        Attributes(module, {"certificate": {"mode": "0644"}}, dry=False)("/etc/site.crt", "certificate")
    assert [word for word in words if word not in str(caught.value)] == []
    assert module.fail_json.__func__ is Module.fail_json and module.check_mode is False


# whose file it is


class Ansible(Module):
    """As Ansible sets owner and mode: by path, and says what differed. asked: what it was asked for."""

    def __init__(self):
        self.asked = []
        self.modes_of_check = []

    def load_file_common_arguments(self, params, path=None):
        return dict(params, path=path, context_of=path)

    def set_fs_attributes_if_different(self, arguments, changed, diff=None):
        self.asked.append(arguments)
        self.modes_of_check.append(self.check_mode)
        found, wanted = os.stat(arguments["path"]).st_mode & 0o7777, int(arguments.get("mode", "-1"), 8)
        if wanted >= 0 and found != wanted:
            diff.update(before={"path": "x", "mode": "%04o" % found}, after={"path": "x", "mode": "%04o" % wanted})
            if not self.check_mode:
                os.chmod(arguments["path"], wanted)


def staged(path, attributes, kind="key"):
    """Replace a file; warnings."""
    said = staging.stage(str(path), b"new", "new", lambda one: attributes(str(path), kind, one))
    replacing.replace_set([(str(path), "new")])
    return said


def test_what_waits_is_given_its_attributes_with_the_context_of_its_target(tmp_path):
    module = Ansible()
    assert staged(tmp_path / "site.key", Attributes(module, {"key": {"owner": None, "group": ""}}, dry=True)) == []
    (asked,) = module.asked
    assert asked == {
        "path": str(tmp_path / ".site.key.stepca-new"),
        "context_of": str(tmp_path / "site.key"),
        "mode": "0600",
    }
    assert module.modes_of_check == [False], "what is to be put there is dressed for real"


@root_only
def test_in_a_place_of_others_it_is_named_by_its_descriptor(tmp_path):
    module = Ansible()
    theirs = folder_of(tmp_path / "theirs")
    staged(theirs / "site.key", Attributes(module, {"key": {"mode": "0640"}}, dry=False))
    assert (
        module.asked[0]["path"].startswith("/proc/self/fd/") and os.stat(theirs / "site.key").st_mode & 0o777 == 0o640
    )


@root_only
def test_owner_and_group_of_the_former_file_stay_in_a_place_of_ours_alone(tmp_path):
    theirs = folder_of(tmp_path / "theirs")
    for folder, owner in ((tmp_path, ALICE), (theirs, 0)):
        file_of(folder / "site.key", uid=ALICE)
        staged(folder / "site.key", Attributes(Ansible(), {"key": {}}, dry=False))
        assert seen(folder / "site.key")[:2] == (owner, owner)


@pytest.mark.parametrize("dry, look", [(True, False), (False, True), (False, False)])
def test_a_file_in_its_place_is_looked_at_or_mended(tmp_path, dry, look):
    path = tmp_path / "site.key"
    path.write_bytes(b"")
    path.chmod(0o644)
    module = Ansible()
    said = Attributes(module, {"key": {}}, dry)(str(path), "key", look=look)
    assert said == ["the mode of %s is 0644, expected 0600" % path]
    assert path.stat().st_mode & 0o777 == (0o644 if dry or look else 0o600)
    assert module.check_mode is False


def test_with_an_acl_the_mode_without_it_counts(tmp_path):
    """In the place of the group's part of the mode stands the mask: chmod would take the ACL's effect away."""
    path = tmp_path / "site.key"
    path.write_bytes(b"")
    give_acl(path, acl_of(0o640, ("user", ALICE, 4)))
    attributes = Attributes(Ansible(), {"key": {}}, dry=False)
    said = ["the mode of %s, without its ACL, is 0640, expected 0600" % path]
    assert Attributes(Ansible(), {"key": {}}, dry=True)(str(path), "key") == said
    assert attributes(str(path), "key", look=True) == said
    assert acl.read(str(path)) == acl_of(0o640, ("user", ALICE, 4))
    assert attributes(str(path), "key") == said
    assert acl.read(str(path)) == acl_of(0o600, ("user", ALICE, 4))
    assert attributes(str(path), "key") == []
    staged(path, attributes)
    assert acl.read(str(path)) == acl_of(0o600, ("user", ALICE, 4)) and path.read_bytes() == b"new"


@pytest.mark.parametrize("given", [{"mode": "0600"}, {"owner": "root"}])
def test_a_named_owner_or_mode_drops_the_acl_of_what_is_replaced(tmp_path, given):
    path = tmp_path / "site.key"
    path.write_bytes(b"")
    give_acl(path, acl_of(0o600, ("user", ALICE, 4)))
    staged(path, Attributes(Ansible(), {"key": given}, dry=False))
    assert acl.read(str(path)) is None and path.stat().st_mode & 0o777 == 0o600


@root_only
def test_where_no_path_leads_to_what_waits_it_is_refused(tmp_path, monkeypatch):
    theirs = folder_of(tmp_path / "theirs")
    monkeypatch.setattr(staging.Staged, "require_path", lambda _one: raise_as_chmod_does(None))
    module = Ansible()
    with pytest.raises(HostFileError):
        staged(theirs / "site.key", Attributes(module, {"key": {}}, dry=False))
    assert module.asked == [] and os.listdir(theirs) == []
