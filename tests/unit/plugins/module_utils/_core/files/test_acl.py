# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""POSIX ACLs as bytes: read, changed, taken away, and asked who may write."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import acl
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    acl_of,
    give_acl,
    has_acl,
)

NAMED = [("user", ALICE, 4), ("group", MALLORY, 6)]


@pytest.fixture(name="file")
def fixture_file(tmp_path):
    """A file that has an ACL."""
    path = tmp_path / "site.key"
    path.write_bytes(b"")
    give_acl(path, acl_of(0o640, *NAMED))
    return path


def test_a_file_without_one_has_none(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert acl.read(str(tmp_path / "file")) is None
    assert acl.read(str(tmp_path / "nothing")) is None
    acl.drop(str(tmp_path / "file"))


def test_it_is_read_by_path_and_by_descriptor_and_never_through_a_link(file):
    assert acl.read(str(file)) == acl_of(0o640, *NAMED)
    with open(file, "rb") as stream:
        assert acl.read(stream.fileno()) == acl.read(str(file))
    file.with_name("link").symlink_to(file)
    assert acl.read(str(file.with_name("link"))) is None


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o444, 0o777, 0o007])
def test_the_mode_without_it(mode):
    """The middle of what stat shows is the mask."""
    assert acl.base_mode(acl_of(mode, *NAMED)) == mode == acl.base_mode(acl_of(mode))


def test_the_mode_is_changed_and_the_rest_stays(file):
    assert stat.S_IMODE(file.stat().st_mode) == 0o670
    acl.set_base_mode(str(file), acl.read(str(file)), 0o604)
    assert acl.read(str(file)) == acl_of(0o604, *NAMED)
    assert acl.base_mode(acl.read(str(file))) == 0o604


def test_what_the_system_says_of_it(file):
    """getfacl knows nothing of us."""
    program = shutil.which("getfacl")
    if not program:
        pytest.skip("not applicable: no getfacl here to read it with")
    shown = subprocess.run([program, "-cn", str(file)], capture_output=True, text=True, check=True).stdout.split()
    assert shown == [
        "user::rw-",
        "user:%d:r--" % ALICE,
        "group::r--",
        "group:%d:rw-" % MALLORY,
        "mask::rwx",
        "other::---",
    ]
    acl.write(str(file), acl_of(0o600, ("user", MALLORY, 6)))
    shown = subprocess.run([program, "-cn", str(file)], capture_output=True, text=True, check=True).stdout.split()
    assert shown == ["user::rw-", "user:%d:rw-" % MALLORY, "group::---", "mask::rwx", "other::---"]


def test_it_is_taken_away(file, tmp_path):
    acl.drop(str(file))
    assert not has_acl(file)
    give_acl(tmp_path, acl_of(0o755, *NAMED))
    give_acl(tmp_path, acl_of(0o755, *NAMED), default=True)
    acl.drop(str(tmp_path), default=True)
    assert has_acl(tmp_path) and not has_acl(tmp_path, default=True)


@table(
    "mode, named, users, groups",
    {
        "nobody": (0o755, [], [], []),
        "its group": (0o775, [], [], [7]),
        "a user": (0o755, [("user", ALICE, 7), ("user", MALLORY, 5)], [ALICE], []),
        "a group": (0o755, [("group", ALICE, 5), ("group", MALLORY, 3)], [], [MALLORY]),
        "all of them": (0o775, [("user", ALICE, 2), ("group", MALLORY, 2)], [ALICE], [MALLORY, 7]),
    },
)
def test_who_may_write(tmp_path, mode, named, users, groups):
    give_acl(tmp_path, acl_of(mode, *named))
    tmp_path.chmod(0o775 if named else mode)
    status = os.stat_result((mode, 0, 0, 1, 0, 7, 0, 0, 0, 0))
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        found = acl.writers(descriptor, status)
    finally:
        os.close(descriptor)
    assert found == ((users, groups) if named or groups else ([], [7])), "without an ACL the mode was looked at before"


def test_where_there_are_none_at_all(tmp_path, monkeypatch):
    """As on macOS, and on file systems without them."""
    for name in ("getxattr", "removexattr"):
        monkeypatch.delattr(os, name, raising=False)
    (tmp_path / "file").write_bytes(b"")
    assert acl.read(str(tmp_path / "file")) is None
    assert acl.attribute(str(tmp_path / "file"), "security.selinux") is None
    acl.drop(str(tmp_path / "file"))
