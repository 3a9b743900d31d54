# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Files: staged in safety, and replaced as a set or not at all, whatever the disk does."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import files
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError, OptionError
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

FAULTS = [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS]


def fail_at(monkeypatch, name, number, code, for_ever=False):
    """Have os.<name> fail at this call of it, and with for_ever at all later ones too; returns the calls seen."""
    real = getattr(os, name)
    calls = []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == number or (for_ever and len(calls) > number):
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, call)
    return calls


def write(path, text):
    path.write_text(text, encoding="ascii")
    return str(path)


@pytest.fixture(name="three")
def fixture_three(tmp_path):
    """Three targets, the last of them new, with what is to replace them staged."""
    names = ["site.crt", "site.key", ".site.crt.stepca.json"]
    targets = [tmp_path / name for name in names]
    for target in targets[:2]:
        write(target, "old " + target.name)
    return [(files.stage(str(target), b"new " + target.name.encode("ascii"), "new"), str(target)) for target in targets]


def contents(moves):
    return [files.read(target) for _staged, target in moves]


OLD = [b"old site.crt", b"old site.key", None]
NEW = [b"new site.crt", b"new site.key", b"new .site.crt.stepca.json"]


# paths


def test_a_path_is_absolute(tmp_path):
    with pytest.raises(OptionError, match="key_path: 'tls/site.key' is not an absolute path"):
        files.resolve("tls/site.key", "key_path")
    assert files.resolve(str(tmp_path / "site.key"), "key_path") == os.path.realpath(str(tmp_path / "site.key"))


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real" / "site.key")
    assert files.resolve(str(tmp_path / "link"), "key_path") == os.path.realpath(str(tmp_path / "real" / "site.key"))


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (str(tmp_path), str(tmp_path / "link")):
        with pytest.raises(HostFileError, match="key_path: .* is a folder. Name a file in it"):
            files.resolve(path, "key_path")


def test_the_folder_that_is_missing_is_named(tmp_path):
    assert files.missing_folder(str(tmp_path / "site.key")) is None
    assert files.missing_folder(str(tmp_path / "no" / "site.key")) == str(tmp_path / "no")


# reading


def test_what_is_not_there_reads_as_none(tmp_path):
    assert files.read(str(tmp_path / "nothing")) is None
    assert files.read(write(tmp_path / "empty", "")) == b""


def test_more_than_a_mebibyte_is_not_read(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 1024 * 1024)
    assert len(files.read(str(tmp_path / "big"))) == 1024 * 1024
    (tmp_path / "big").write_bytes(b"x" * (1024 * 1024 + 1))
    with pytest.raises(HostFileError, match="larger than 1 MiB"):
        files.read(str(tmp_path / "big"))


def test_a_part_of_the_path_that_is_a_file_is_explained(tmp_path):
    write(tmp_path / "file", "")
    with pytest.raises(
        HostFileError, match="Cannot read .*file/site.key: Not a directory. A part of the path is a file."
    ):
        files.read(str(tmp_path / "file" / "site.key"))


@pytest.mark.parametrize(
    "code, advice",
    [
        (errno.EACCES, "use become, or another path"),
        (errno.EPERM, "use become, or another path"),
        (errno.EROFS, "mount it writable, or use another path"),
        (errno.ENOSPC, "make room, then run again"),
        (errno.EDQUOT, "make room, then run again"),
    ],
)
def test_a_message_names_the_path_and_the_next_step(tmp_path, monkeypatch, code, advice):
    fail_at(monkeypatch, "open", 1, code)
    with pytest.raises(HostFileError) as caught:
        files.stage(str(tmp_path / "site.key"), b"", "new")
    assert str(caught.value).startswith(
        "Cannot write %s: %s. " % (tmp_path / ".site.key.stepca-new", os.strerror(code))
    )
    assert advice in str(caught.value) and str(caught.value).endswith(".")


def test_a_fault_without_advice_is_still_a_sentence(tmp_path, monkeypatch):
    fail_at(monkeypatch, "fsync", 1, errno.ENXIO)
    with pytest.raises(HostFileError, match=r"Cannot write .*: %s\.$" % os.strerror(errno.ENXIO)):
        files.stage(str(tmp_path / "site.key"), b"", "new")


# staging


def test_a_staged_file_is_hidden_beside_its_target_and_for_its_owner_alone(tmp_path):
    former = os.umask(0)
    try:
        staged = files.stage(str(tmp_path / "site.key"), b"secret", "abc")
    finally:
        os.umask(former)
    assert staged == str(tmp_path / ".site.key.stepca-abc") == files.staged_path(str(tmp_path / "site.key"), "abc")
    assert stat.S_IMODE(os.stat(staged).st_mode) == 0o600
    assert files.read(staged) == b"secret"


def test_a_staged_file_is_opened_for_nobody_else_and_only_if_it_is_new(tmp_path, monkeypatch):
    opened = []
    real = os.open

    def watched(path, flags, *mode, **more):
        opened.append((flags, mode))
        return real(path, flags, *mode, **more)

    monkeypatch.setattr(os, "open", watched)
    files.stage(str(tmp_path / "site.key"), b"", "new")
    flags, mode = opened[0]
    assert flags & os.O_EXCL and flags & os.O_CREAT and mode == (0o600,)


def test_a_planted_link_is_not_written_through(tmp_path):
    victim = write(tmp_path / "victim", "mine")
    (tmp_path / ".site.key.stepca-new").symlink_to(victim)
    staged = files.stage(str(tmp_path / "site.key"), b"secret", "new")
    assert not os.path.islink(staged)
    assert files.read(victim) == b"mine"


def test_what_lies_staged_already_is_replaced_with_its_mode(tmp_path):
    before = tmp_path / ".site.key.stepca-new"
    write(before, "old")
    before.chmod(0o666)
    staged = files.stage(str(tmp_path / "site.key"), b"new", "new")
    assert files.read(staged) == b"new"
    assert stat.S_IMODE(os.stat(staged).st_mode) == 0o600


@pytest.mark.parametrize(
    "mode, refused", [(0o777, True), (0o773, True), (0o1777, False), (0o775, False), (0o755, False)]
)
def test_a_folder_that_everybody_writes_to_holds_no_key(tmp_path, mode, refused):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    if refused:
        with pytest.raises(HostFileError, match="Everybody may write to the folder .*open.* 0755 or stricter"):
            files.stage(str(folder / "site.key"), b"", "new")
        assert os.listdir(str(folder)) == []
    else:
        files.stage(str(folder / "site.key"), b"", "new")


@pytest.mark.parametrize("code", FAULTS)
def test_a_file_that_could_not_be_made_safe_is_not_left_behind(tmp_path, monkeypatch, code):
    fail_at(monkeypatch, "fsync", 1, code)
    with pytest.raises(HostFileError):
        files.stage(str(tmp_path / "site.key"), b"secret", "new")
    assert os.listdir(str(tmp_path)) == []


def test_a_folder_that_is_missing_is_explained(tmp_path):
    with pytest.raises(HostFileError, match="state: directory"):
        files.stage(str(tmp_path / "no" / "site.key"), b"", "new")


def test_a_probe_is_dressed_and_leaves_nothing(tmp_path):
    dressed = []
    files.probe(str(tmp_path / "site.crt"), lambda staged: dressed.append(os.path.basename(staged)))
    assert len(dressed) == 1 and dressed[0].startswith(".site.crt.stepca-probe")
    assert os.listdir(str(tmp_path)) == []


def test_a_probe_that_cannot_be_made_or_dressed_fails_and_leaves_nothing(tmp_path):
    def dress(staged):
        raise HostFileError("no such group")

    with pytest.raises(HostFileError, match="no such group"):
        files.probe(str(tmp_path / "site.crt"), dress)
    assert os.listdir(str(tmp_path)) == []
    with pytest.raises(HostFileError, match="Make the folder first"):
        files.probe(str(tmp_path / "no" / "site.crt"), dress)


def test_a_staged_file_inherits_the_owner_of_what_it_replaces(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(os, "chown", lambda *args: given.append(args))
    target = write(tmp_path / "site.key", "")
    files.inherit_owner(str(tmp_path / "staged"), target)
    files.inherit_owner(str(tmp_path / "staged"), str(tmp_path / "nothing"))
    status = os.stat(target)
    assert given == [(str(tmp_path / "staged"), status.st_uid, status.st_gid)]


def test_a_new_file_is_dressed_as_asked(tmp_path):
    path = write(tmp_path / "staged", "")
    files.dress(path, {"owner": str(os.geteuid()), "group": os.getegid(), "mode": "0640"})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640 and os.stat(path).st_uid == os.geteuid()
    files.dress(path, {"mode": "u=rw"})
    files.dress(path, {"owner": None, "mode": None})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    with pytest.raises(HostFileError, match="Cannot set the owner of .*staged: .*nobody-of-this-name"):
        files.dress(path, {"owner": "nobody-of-this-name"})


def test_a_folder_that_is_made_is_open_to_all_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        files.make_folder(str(tmp_path / "a" / "b"))
    finally:
        os.umask(before)
    assert [stat.S_IMODE(os.stat(tmp_path / one).st_mode) for one in ("a", "a/b")] == [0o755, 0o755]
    files.make_folder(str(tmp_path / "a" / "b"))


def test_a_folder_named_from_here_is_made_once_whoever_is_faster(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.make_folder("a/b")
    assert (tmp_path / "a" / "b").is_dir() and files.missing_folders("a/b") == []
    monkeypatch.setattr(files, "missing_folders", lambda folder: [folder])
    files.make_folder("a/b")
    write(tmp_path / "file", "")
    before = os.stat(tmp_path / "file").st_mode
    with pytest.raises(HostFileError, match="Cannot make .*file: File exists"):
        files.make_folder(str(tmp_path / "file"))
    assert os.stat(tmp_path / "file").st_mode == before


# replacing


def test_a_set_is_replaced_and_nothing_else_stays(tmp_path, three):
    files.replace_set(three)
    assert contents(three) == NEW
    assert pki.dot_files(tmp_path) == []


def test_the_first_of_a_set_commits_and_each_rename_is_made_safe(monkeypatch, three):
    order = []
    rename, fsync = os.rename, os.fsync
    monkeypatch.setattr(os, "rename", lambda old, new: (order.append(os.path.basename(new)), rename(old, new)))
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("fsync"), fsync(descriptor)))
    files.replace_set(three)
    assert order == ["site.crt", "fsync", "site.key", "fsync", ".site.crt.stepca.json", "fsync"]


@pytest.mark.parametrize("code", FAULTS)
@pytest.mark.parametrize(
    "name, number",
    [("link", 1), ("link", 2), ("link", 3)] + [(name, n) for name in ("rename", "fsync") for n in (1, 2, 3)],
)
def test_a_set_that_cannot_be_replaced_is_put_back(monkeypatch, three, name, number, code):
    with monkeypatch.context() as patched:
        calls = fail_at(patched, name, number, code)
        with pytest.raises(HostFileError, match="Cannot replace .*site.crt"):
            files.replace_set(three)
    assert len(calls) >= number
    assert contents(three) == OLD


@pytest.mark.parametrize("name, number", [("link", 2), ("rename", 1), ("rename", 2), ("rename", 3), ("fsync", 2)])
def test_a_set_that_is_put_back_leaves_only_what_was_staged(tmp_path, monkeypatch, three, name, number):
    staged = {os.path.basename(path) for path, _target in three}
    with monkeypatch.context() as patched:
        fail_at(patched, name, number, errno.EIO)
        with pytest.raises(HostFileError):
            files.replace_set(three)
    assert set(pki.dot_files(tmp_path)) <= staged


def test_a_file_put_back_is_the_former_one_itself(monkeypatch, three):
    before = os.stat(three[0][1])
    with monkeypatch.context() as patched:
        fail_at(patched, "rename", 2, errno.ENOSPC)
        with pytest.raises(HostFileError):
            files.replace_set(three)
    after = os.stat(three[0][1])
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)


def test_a_file_that_cannot_be_put_back_is_not_lost(tmp_path, monkeypatch, three):
    with monkeypatch.context() as patched:
        fail_at(patched, "rename", 2, errno.EIO, for_ever=True)
        with pytest.raises(HostFileError):
            files.replace_set(three)
    everything = [path.read_bytes() for path in tmp_path.iterdir()]
    assert b"old site.crt" in everything and b"new site.key" in everything


# locks


def test_a_lock_is_held_and_let_go(tmp_path):
    path = str(tmp_path / "site.crt")
    refused = pytest.raises(HostFileError, match="Another run is replacing certificates in %s" % tmp_path)
    with files.locked(path), refused, files.locked(path, patience=0.0):
        pytest.fail("two hold one lock")
    with files.locked(path, patience=0.0):
        pass
    assert os.listdir(str(tmp_path)) == []


def test_a_lock_is_let_go_after_a_failure(tmp_path):
    with pytest.raises(RuntimeError), files.locked(str(tmp_path / "site.crt")):
        raise RuntimeError
    with files.locked(str(tmp_path / "site.crt"), patience=0.0):
        pass


def test_a_lock_is_waited_for(tmp_path):
    held = os.open(str(tmp_path), os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    letting_go = threading.Timer(0.2, os.close, [held])
    letting_go.start()
    begin = time.monotonic()
    with files.locked(str(tmp_path / "site.crt"), patience=30.0):
        assert 0.1 < time.monotonic() - begin < 5
    letting_go.join()


def test_a_lock_in_a_folder_that_is_missing_is_explained(tmp_path):
    explained = pytest.raises(HostFileError, match="Cannot lock .*no: No such file or directory. Make the folder first")
    with explained, files.locked(str(tmp_path / "no" / "site.crt")):
        pytest.fail("nothing there to lock")


# tidying up


def test_what_was_staged_more_than_an_hour_ago_is_removed(tmp_path):
    target = str(tmp_path / "site.key")
    old, young = files.stage(target, b"", "probe-1"), files.stage(target, b"", "young")
    others = [
        files.stage(str(tmp_path / "other.key"), b"", "old"),
        write(tmp_path / "site.key", ""),
        write(tmp_path / ".site.key", ""),
    ]
    past = time.time() - 3700
    for path in [old] + others:
        os.utime(path, (past, past))
    files.forget_stale(target)
    assert not os.path.exists(old)
    assert all(os.path.exists(path) for path in [young] + others)


def test_tidying_up_never_fails(tmp_path, monkeypatch):
    files.forget_stale(str(tmp_path / "no" / "site.key"))
    staged = files.stage(str(tmp_path / "site.key"), b"", "old")
    os.utime(staged, (0, 0))
    with monkeypatch.context() as patched:
        calls = fail_at(patched, "unlink", 1, errno.EROFS)
        files.forget_stale(str(tmp_path / "site.key"))
    assert calls


def test_forgetting_what_is_not_there_is_no_failure(tmp_path):
    files.forget(str(tmp_path / "nothing"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(HostFileError, match="Cannot remove .*folder"):
        files.forget(str(tmp_path / "folder"))
