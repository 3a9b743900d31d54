# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Owner, mode, ACL and context of what replaces a file: named by the task, else, where nobody else can have set them, as before."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import acl, attributes, replacing, staging
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    NOBODY,
    acl_of,
    as_user,
    file_of,
    folder_of,
    give_acl,
    has_acl,
    root_only,
)

READER = ("user", ALICE, 4)


def replace(path, given=(), kind="key", content=b"new"):
    """Replace a file as the renewer does; warnings."""
    said = staging.stage(str(path), content, "new", lambda staged: attributes.dress(staged, dict(given), kind))
    replacing.replace_set([(str(path), "new")])
    return said


def shown(path) -> tuple:
    """(owner, group, mode)."""
    status = os.stat(path)
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def test_modes_that_nobody_names():
    assert [attributes.default_mode(kind) for kind in ("key", "certificate", "root", "record")] == [
        0o600,
        0o644,
        0o644,
        0o644,
    ]


@table(
    "given, named",
    {
        "nothing": ({}, False),
        "a group": ({"group": "ssl-cert"}, False),
        "a context": ({"setype": "cert_t"}, False),
        "nothing, in words": ({"owner": None, "mode": ""}, False),
        "an owner": ({"owner": "postgres"}, True),
        "root": ({"owner": 0}, True),
        "a mode": ({"mode": "0640"}, True),
    },
)
def test_who_names_owner_or_mode_settles_who_may_read(given, named):
    assert attributes.names_mode(given) is named


# named


@root_only
@table(
    "given, expected",
    {
        "numbers": ({"owner": str(ALICE), "group": MALLORY}, (ALICE, MALLORY, 0o600)),
        "an owner alone": ({"owner": ALICE}, (ALICE, 0, 0o600)),
        "a name": ({"owner": "root", "group": "root", "mode": "0400"}, (0, 0, 0o400)),
        "a mode": ({"mode": "0640"}, (0, 0, 0o640)),
        "three digits": ({"mode": "444"}, (0, 0, 0o444)),
        "nothing": ({"owner": None, "group": "", "mode": None}, (0, 0, 0o600)),
        "ansible's own notation": ({"mode": "u=rw"}, (0, 0, 0o600)),
    },
)
@pytest.mark.parametrize("place", ["ours", "theirs"])
def test_what_is_named_is_so_wherever_the_file_is(tmp_path, given, expected, place):
    folder = folder_of(tmp_path / "folder", 0 if place == "ours" else MALLORY)
    assert replace(folder / "site.key", given) == []
    assert shown(folder / "site.key") == expected
    assert (folder / "site.key").read_bytes() == b"new"


def test_a_new_file_has_the_mode_of_its_kind(tmp_path):
    for kind, mode in (("key", 0o600), ("certificate", 0o644)):
        replace(tmp_path / kind, kind=kind)
        assert shown(tmp_path / kind) == (os.geteuid(), os.getegid(), mode)


@table("given", {"owner": {"owner": "nobody-of-this-name"}, "group": {"group": "nobody-of-this-name"}})
def test_a_name_that_nobody_has_is_explained(tmp_path, given):
    with pytest.raises(HostFileError, match="Cannot set the owner of .*site.key: .*nobody-of-this-name"):
        replace(tmp_path / "site.key", given)
    assert os.listdir(tmp_path) == []


@root_only
def test_who_may_not_give_files_away_is_told_so(open_folder):
    home = folder_of(open_folder / "home", ALICE, 0o755)
    with pytest.raises(
        HostFileError, match="Cannot set owner or mode of .*site.key: Operation not permitted. .* become"
    ):
        as_user(ALICE, replace, home / "site.key", {"owner": MALLORY})
    assert os.listdir(home) == []
    as_user(ALICE, replace, home / "site.key", {"owner": ALICE, "mode": "0640"})
    assert shown(home / "site.key") == (ALICE, ALICE, 0o640)


@root_only
@table(
    "given",
    {"owner": {"owner": ALICE}, "mode": {"mode": "0600"}, "both": {"owner": ALICE, "group": ALICE, "mode": "0640"}},
)
def test_what_is_named_drops_what_others_had_by_an_acl(tmp_path, given):
    file_of(tmp_path / "site.key", uid=0)
    give_acl(tmp_path / "site.key", acl_of(0o600, READER))
    assert replace(tmp_path / "site.key", given) == []
    assert not has_acl(tmp_path / "site.key")
    assert shown(tmp_path / "site.key")[2] == int(given.get("mode", "0600"), 8), "a mask is nobody's rights"


@root_only
def test_an_owner_of_before_cannot_read_a_key_that_is_to_be_another_ones(tmp_path):
    """Not even while it is made: what is not in its place yet is readable by nobody else."""
    file_of(tmp_path / "site.key", b"former", NOBODY, 0o640)
    seen = []

    def dress(staged):
        found = os.stat(staged.path)
        seen.append((found.st_uid, found.st_mode & 0o077))
        return attributes.dress(staged, {"owner": ALICE, "group": ALICE, "mode": "0400"}, "key")

    staging.stage(str(tmp_path / "site.key"), b"secret", "new", dress)
    assert seen == [(0, 0)]
    assert shown(tmp_path / ".site.key.stepca-new") == (ALICE, ALICE, 0o400)


# not named, where only root or the task's user can have set what is there


@root_only
@pytest.mark.parametrize("kind", ["key", "certificate"])
def test_in_a_place_of_ours_the_successor_has_owner_group_and_mode_of_the_former_file(tmp_path, kind):
    file_of(tmp_path / "file", uid=ALICE, mode=0o640)
    os.chown(tmp_path / "file", ALICE, MALLORY)
    replace(tmp_path / "file", kind=kind)
    assert shown(tmp_path / "file") == (ALICE, MALLORY, 0o640)
    replace(tmp_path / "file", {"group": ALICE}, kind=kind)
    assert shown(tmp_path / "file") == (ALICE, ALICE, 0o640)
    replace(tmp_path / "file", {"owner": MALLORY}, kind=kind)
    assert shown(tmp_path / "file") == (MALLORY, ALICE, 0o640)


@root_only
def test_no_bit_beyond_reading_writing_and_executing_is_taken_over(tmp_path):
    file_of(tmp_path / "file", uid=ALICE, mode=0o6755)
    replace(tmp_path / "file")
    assert shown(tmp_path / "file") == (ALICE, ALICE, 0o755)


@root_only
@table("given", {"nothing": {}, "a group": {"group": MALLORY}})
def test_in_a_place_of_ours_who_could_read_by_an_acl_can_read_the_successor(tmp_path, given):
    file_of(tmp_path / "site.key", uid=0, mode=0o600)
    give_acl(tmp_path / "site.key", acl_of(0o600, READER))
    assert replace(tmp_path / "site.key", given) == []
    assert acl.read(str(tmp_path / "site.key")) == acl_of(0o600, READER)


@root_only
def test_an_acl_that_cannot_be_carried_over_is_told(tmp_path, monkeypatch):
    file_of(tmp_path / "site.key", uid=0, mode=0o600)
    give_acl(tmp_path / "site.key", acl_of(0o600, READER))

    def setxattr(*_all):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", setxattr)
    assert replace(tmp_path / "site.key") == [
        "The ACL of %s cannot be carried over to its successor: Operation not supported. Who may read it by that ACL alone will "
        "lose access." % (tmp_path / "site.key")
    ]
    assert not has_acl(tmp_path / "site.key") and shown(tmp_path / "site.key")[2] & 0o077 == 0


@root_only
def test_what_a_folder_hands_on_stays_where_it_is_ours(tmp_path):
    """Only root can have set it, and it is how one lets a group read what is made there."""
    give_acl(tmp_path, acl_of(0o755, ("user", ALICE, 5)), default=True)
    replace(tmp_path / "site.crt", kind="certificate")
    assert acl.base_mode(acl.read(str(tmp_path / "site.crt"))) & 0o700 == 0o600
    replace(tmp_path / "site.key", {"mode": "0600"})
    assert not has_acl(tmp_path / "site.key"), "a named mode says all"


@pytest.mark.skipif(not hasattr(os, "getxattr"), reason="not applicable: no SELinux here")
def test_the_context_of_selinux_is_that_of_the_former_file(tmp_path, monkeypatch):
    given, real = [], os.getxattr
    monkeypatch.setattr(
        os,
        "getxattr",
        lambda path, name, **more: b"u:r:cert_t:s0" if name == "security.selinux" else real(path, name, **more),
    )
    monkeypatch.setattr(os, "setxattr", lambda _file, name, value: given.append((name, value)))
    replace(tmp_path / "site.key")
    assert given == []
    replace(tmp_path / "site.key")
    assert given == [("security.selinux", b"u:r:cert_t:s0")]

    def refuse(*_all):
        raise PermissionError(13, "denied by policy")

    monkeypatch.setattr(os, "setxattr", refuse)
    assert replace(tmp_path / "site.key") == []


# not named, where others may have put what is there


@root_only
@table("kind, mode", {"key": ("key", 0o600), "certificate": ("certificate", 0o644)})
def test_in_a_place_of_theirs_nothing_is_taken_over(tmp_path, kind, mode):
    theirs = folder_of(tmp_path / "theirs")
    file_of(theirs / "file", mode=0o666)
    give_acl(theirs / "file", acl_of(0o666, ("user", NOBODY, 6)))
    replace(theirs / "file", kind=kind)
    assert shown(theirs / "file") == (0, 0, mode) and not has_acl(theirs / "file")


@root_only
def test_in_a_place_of_theirs_nothing_is_handed_on_by_the_folder(tmp_path):
    theirs = folder_of(tmp_path / "theirs", mode=0o2755)
    give_acl(theirs, acl_of(0o777, ("user", NOBODY, 7), ("group", MALLORY, 7)), default=True)
    for given, mode in (({}, 0o600), ({"mode": "0640"}, 0o640)):
        replace(theirs / "site.key", given)
        assert shown(theirs / "site.key") == (0, 0, mode) and not has_acl(theirs / "site.key")


@root_only
def test_a_file_that_has_nothing_to_inherit_may_take_another_one_for_its_model(tmp_path):
    """The renewer: what is made of the pair is as the pair is."""
    file_of(tmp_path / "site.key", uid=ALICE, mode=0o640)

    def dress(staged):
        staged.former = attributes.Former(str(tmp_path / "site.key"))
        return attributes.dress(staged, {}, "key")

    staging.stage(str(tmp_path / "site.pem"), b"", "new", dress)
    assert shown(tmp_path / ".site.pem.stepca-new") == (ALICE, ALICE, 0o640)
