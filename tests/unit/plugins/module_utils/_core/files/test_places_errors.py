# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""An error names the path, what failed, and what to do next; root is never told to become root."""

from __future__ import annotations

import errno
import os

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import places
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    NOBODY,
    folder_of,
    name_of,
    root_only,
)


@pytest.mark.parametrize(
    "code, advice",
    [
        (errno.EACCES, "use become, or another path"),
        (errno.EPERM, "use become, or another path"),
        (errno.EROFS, "mount it writable, or use another path"),
        (errno.ENOSPC, "make room, then run again"),
        (errno.EDQUOT, "make room, then run again"),
        (errno.EIO, "look at the kernel's log"),
        (errno.EISDIR, "name a file in it"),
        (errno.ENOENT, "Make the folder first"),
        (errno.ENOTDIR, "A part of the path is a file"),
        (errno.ELOOP, "go in a circle"),
        (errno.ENXIO, ""),
    ],
)
@pytest.mark.parametrize("user", [1001, 0], ids=["user", "root"])
def test_a_message_names_the_path_and_the_next_step(tmp_path, monkeypatch, code, advice, user):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(HostFileError) as caught, places.explained("write", str(tmp_path / "site.key")):
        raise OSError(code, os.strerror(code))
    text = str(caught.value)
    assert text.startswith("Cannot write %s: %s." % (tmp_path / "site.key", os.strerror(code)))
    assert text.endswith(".")
    if user == 0 and code in (errno.EACCES, errno.EPERM):
        assert "use become" not in text, "it is root already"
    else:
        assert advice in text
    assert bool(advice) is (text != "Cannot write %s: %s." % (tmp_path / "site.key", os.strerror(code)))


@root_only
@table(
    "code, words",
    {
        "refused": (
            errno.EACCES,
            "Root is nobody here, as on NFS with root_squash, or is confined: run this task with `become_user: %s`"
            % name_of(NOBODY),
        ),
        "forbidden": (
            errno.EPERM,
            "Even root may not do this: a flag of the file or its folder forbids it (lsattr shows it)",
        ),
    },
)
def test_what_root_is_told_who_may_do_anything(tmp_path, code, words):
    theirs = folder_of(tmp_path / "theirs", NOBODY)
    with pytest.raises(HostFileError) as caught, places.explained("write", str(theirs / "site.key")):
        raise OSError(code, os.strerror(code))
    assert words in str(caught.value)


def test_root_is_told_to_be_the_owner_even_where_that_cannot_be_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with (
        pytest.raises(HostFileError, match="`become_user: the owner of the folder`"),
        places.explained("write", str(tmp_path / "no" / "file")),
    ):
        raise OSError(errno.EACCES, "Permission denied")


def test_a_part_of_the_path_that_is_a_file_is_explained(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        HostFileError, match="Cannot look for .*file/site.key: Not a directory. A part of the path is a file."
    ):
        places.exists(str(tmp_path / "file" / "site.key"))


def test_a_name_that_is_too_long_is_explained(tmp_path):
    with pytest.raises(HostFileError, match="Cannot look for .*: File name too long"):
        places.exists(str(tmp_path / ("x" * 300)))
