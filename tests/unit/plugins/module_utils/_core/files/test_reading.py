# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What lies in a file: nothing but a regular file is read, and where others could have put it, none with other names."""

from __future__ import annotations

import os
import socket
import stat

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import areas, reading, replacing
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    MALLORY,
    file_of,
    folder_of,
    give,
    in_time,
    link_of,
    meanwhile,
    root_only,
    seen,
)


@pytest.fixture(name="theirs")
def fixture_theirs(tmp_path):
    """A folder of somebody else's."""
    return folder_of(tmp_path / "theirs")


def read(path):
    with in_time():
        return reading.read(str(path))


def test_what_is_not_there_reads_as_none(tmp_path):
    assert read(tmp_path / "nothing") is None
    assert read(tmp_path / "no" / "nothing") is None
    assert reading.load(str(tmp_path / "nothing")) == (None, None)
    (tmp_path / "empty").write_bytes(b"")
    assert read(tmp_path / "empty") == b""


def test_content_and_status_are_of_one_file(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    content, status = reading.load(str(tmp_path / "file"))
    assert content == b"content" and os.path.samestat(status, os.stat(tmp_path / "file"))


def test_more_than_a_mebibyte_is_not_read(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 1024 * 1024)
    assert len(read(tmp_path / "big")) == 1024 * 1024
    (tmp_path / "big").write_bytes(b"x" * (1024 * 1024 + 1))
    with pytest.raises(HostFileError, match="larger than 1 MiB"):
        read(tmp_path / "big")


def test_a_part_of_the_path_that_is_a_file_is_explained(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        HostFileError, match="Cannot read .*file/site.key: Not a directory. A part of the path is a file."
    ):
        read(tmp_path / "file" / "site.key")


def make_socket(path):
    server = socket.socket(socket.AF_UNIX)
    try:
        os.chdir(path.parent)  # names of sockets are short
        server.bind(path.name)
    finally:
        server.close()


KINDS = {
    "folder": (os.mkdir, "a folder"),
    "pipe": (os.mkfifo, "a pipe"),
    "socket": (make_socket, "a device or socket"),
    "device": (lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3)), "a device or socket"),
    "disk": (lambda path: os.mknod(path, stat.S_IFBLK | 0o666, os.makedev(7, 200)), "a device or socket"),
}


@root_only
@table("make, kind", KINDS)
@pytest.mark.parametrize("place", ["ours", "theirs"])
def test_what_is_no_file_is_refused_and_nobody_waits_for_it(tmp_path, monkeypatch, make, kind, place):
    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path / "folder", 0 if place == "ours" else MALLORY)
    make(folder / "site.key")
    before, descriptors = seen(folder / "site.key"), os.listdir("/dev/fd")
    words = "site.key is no file, but %s" % kind
    if place == "ours" and kind == "a device or socket":
        words = "(%s|Cannot read .*site.key: No such device)" % words  # a socket, and a disk that is not there
    with pytest.raises(HostFileError, match=words):
        read(folder / "site.key")
    assert seen(folder / "site.key") == before and os.listdir("/dev/fd") == descriptors


@root_only
@table("make, kind", KINDS)
def test_what_somebody_else_put_there_is_not_opened_before_it_is_known_to_be_a_file(theirs, monkeypatch, make, kind):
    """To open a device, or a pipe, is to act on it."""
    monkeypatch.chdir(theirs)
    make(theirs / "site.key")
    opened = meanwhile(monkeypatch, "open", None, number=0, when=lambda path, *_rest: path == "site.key")
    with pytest.raises(HostFileError, match="is no file, but %s" % kind):
        read(theirs / "site.key")
    assert [flags & (os.O_PATH | os.O_NOFOLLOW) for _name, flags in opened] == [os.O_PATH | os.O_NOFOLLOW]


# in a place of others


@root_only
def test_a_file_of_theirs_is_read(theirs):
    file_of(theirs / "site.key", b"theirs", mode=0o600)
    before = seen(theirs / "site.key")
    assert read(theirs / "site.key") == b"theirs"
    assert seen(theirs / "site.key") == before and os.listdir(theirs) == ["site.key"]


@root_only
def test_a_file_with_another_name_is_refused(tmp_path, theirs):
    """It may be one of root's: who owns a folder can give it a name there, unless protected_hardlinks forbids it."""
    (tmp_path / "shadow").write_bytes(b"secret")
    os.link(tmp_path / "shadow", theirs / "site.key")
    descriptors = os.listdir("/dev/fd")
    with pytest.raises(HostFileError) as caught:
        read(theirs / "site.key")
    assert str(caught.value) == (
        "%s has another name somewhere (a hard link), and %s belongs to the user %d: it may be anybody's file. Replace it by a "
        "copy of its own." % (theirs / "site.key", theirs, MALLORY)
    )
    assert os.listdir("/dev/fd") == descriptors


@root_only
def test_a_file_with_another_name_in_a_folder_that_others_can_rename(tmp_path, theirs):
    (theirs / "ours").mkdir()
    (tmp_path / "shadow").write_bytes(b"secret")
    os.link(tmp_path / "shadow", theirs / "ours" / "site.key")
    with pytest.raises(
        HostFileError, match="a hard link., and others can (change that folder|rename .*theirs/ours): it"
    ):
        read(theirs / "ours" / "site.key")


def test_in_a_place_of_ours_a_file_may_have_as_many_names_as_it_likes(tmp_path):
    (tmp_path / "site.key").write_bytes(b"ours")
    for number in range(3):
        os.link(tmp_path / "site.key", tmp_path / str(number))
    assert read(tmp_path / "site.key") == b"ours"


@root_only
@table("spared", {"the first": (), "a later one": None})
def test_a_backup_of_ours_is_no_other_name(theirs, spared):
    """A run that ends after the backup leaves both names."""
    file_of(theirs / "site.key", b"first")
    replacing.back_up(str(theirs / "site.key"), spared)
    assert os.stat(theirs / "site.key").st_nlink == 2
    assert read(theirs / "site.key") == b"first"
    os.unlink(theirs / "site.key")
    file_of(theirs / "site.key", b"second")
    backup = replacing.back_up(str(theirs / "site.key"), spared)
    assert backup.endswith("-2" if spared is None else ".backup")
    assert read(theirs / "site.key") == b"second"


@root_only
@table("tag", {tag: tag for tag in areas.UNDER_LOCK})
def test_what_a_run_that_ended_midway_keeps_it_by_is_no_other_name(theirs, tag):
    file_of(theirs / "site.key")
    area = folder_of(theirs / (".stepca.%d" % os.geteuid()), 0, 0o700)
    os.link(theirs / "site.key", area / (".site.key.stepca-" + tag))
    assert read(theirs / "site.key") == b"theirs"
    os.link(theirs / "site.key", theirs / "third")
    with pytest.raises(HostFileError, match="has another name somewhere"):
        read(theirs / "site.key")


@root_only
def test_what_others_planted_as_the_names_that_a_run_keeps_counts_for_nothing(tmp_path, theirs):
    (tmp_path / "shadow").write_bytes(b"secret")
    os.link(tmp_path / "shadow", theirs / "site.key")
    os.link(tmp_path / "shadow", theirs / ".site.key.stepca-old")
    file_of(theirs / ".site.key.stepca.backup", b"secret")
    with pytest.raises(HostFileError, match="has another name somewhere"):
        read(theirs / "site.key")


# meanwhile


@root_only
@pytest.mark.parametrize("place", ["ours", "theirs"])
def test_a_file_that_becomes_a_link_before_it_is_opened(tmp_path, monkeypatch, place):
    folder = folder_of(tmp_path / "folder", 0 if place == "ours" else MALLORY)
    (tmp_path / "shadow").write_bytes(b"secret")
    file_of(folder / "site.key")

    def swap():
        (folder / "site.key").unlink()
        link_of(folder / "site.key", tmp_path / "shadow")

    swapped = meanwhile(monkeypatch, "open", swap, when=lambda path, *_rest: path == "site.key")
    with pytest.raises(
        HostFileError, match="site.key(: Too many levels of symbolic links| is no file, but a symbolic)"
    ):
        read(folder / "site.key")
    assert swapped


@root_only
@table(
    "then",
    {
        "a link": link_of,
        "a hard link": lambda path, shadow: os.link(shadow, path),
        "another file": lambda path, shadow: file_of(path, b"another"),
        "a pipe": lambda path, shadow: os.mkfifo(path),
        "nothing": lambda path, shadow: None,
    },
)
def test_a_name_that_leads_elsewhere_after_the_file_was_found(tmp_path, theirs, monkeypatch, then):
    """What was looked at is what is read."""
    (tmp_path / "shadow").write_bytes(b"secret")
    file_of(theirs / "site.key", b"found")

    def swap():
        (theirs / "site.key").unlink()
        then(theirs / "site.key", tmp_path / "shadow")

    swapped = meanwhile(monkeypatch, "open", swap, when=lambda path, *_rest: path.startswith("/proc/self/fd/"))
    assert read(theirs / "site.key") == b"found" and swapped


@root_only
@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError], ids=["none", "closed"])
def test_without_proc_what_is_read_is_still_what_was_looked_at(tmp_path, theirs, monkeypatch, error):
    (tmp_path / "shadow").write_bytes(b"secret")
    file_of(theirs / "site.key", b"found")
    real = os.open

    def open_(path, *args, **kwargs):
        if path.startswith("/proc/"):
            raise error(2, "no /proc here")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_)
    assert read(theirs / "site.key") == b"found"

    def swap():
        (theirs / "site.key").unlink()
        os.link(tmp_path / "shadow", theirs / "site.key")

    descriptors = os.listdir("/dev/fd")
    meanwhile(monkeypatch, "open", swap, number=2, when=lambda path, *_rest: path == "site.key")
    with pytest.raises(HostFileError, match="site.key was replaced while it was read: somebody else is at work there."):
        read(theirs / "site.key")
    assert os.listdir("/dev/fd") == descriptors


@root_only
def test_without_o_path_too_nothing_hangs_and_no_link_is_followed(tmp_path, theirs, monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(os, "O_PATH")
    (tmp_path / "shadow").write_bytes(b"secret")
    file_of(theirs / "site.key")
    os.mkfifo(theirs / "pipe")
    os.link(tmp_path / "shadow", theirs / "other")
    assert read(theirs / "site.key") == b"theirs"
    with pytest.raises(HostFileError, match="pipe is no file, but a pipe"):
        read(theirs / "pipe")
    with pytest.raises(HostFileError, match="has another name somewhere"):
        read(theirs / "other")

    def swap():
        (theirs / "site.key").unlink()
        link_of(theirs / "site.key", tmp_path / "shadow")

    meanwhile(monkeypatch, "open", swap, when=lambda path, *_rest: path == "site.key")
    with pytest.raises(HostFileError, match="Too many levels of symbolic links"):
        read(theirs / "site.key")


@root_only
def test_a_pipe_that_has_a_writer_is_refused_too(theirs):
    os.mkfifo(theirs / "site.key")
    give(theirs / "site.key", mode=0o666)
    writer = os.open(theirs / "site.key", os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(writer, b"-----BEGIN")
        with pytest.raises(HostFileError, match="is no file, but a pipe"):
            read(theirs / "site.key")
        assert os.read(writer, 10) == b"-----BEGIN", "nobody took anything out"
    finally:
        os.close(writer)
