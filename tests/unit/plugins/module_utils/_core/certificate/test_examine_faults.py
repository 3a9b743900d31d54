# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What a full or failing disk in the middle of `accept` leaves, and how an interrupted one is finished; see test_kill.py."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import examine, issue, record
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import replacing
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import (
    CA,
    ISSUED_AT,
    ask,
    assert_whole,
    context,
    enrol,
    pair_of,
)

FAULTS = [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS]
OLD, NEW = ["a.example"], ["b.example"]
#: How often a replacement of an existing set calls these: three links, three renames, two files and three folders.
CALLS = {"link": 3, "rename": 3, "fsync": 5}
EACH_CALL = [(name, number) for name, most in CALLS.items() for number in range(1, most + 1)]
#: Where no link can be made, the former file is copied.
NO_LINKS = [errno.EPERM, errno.EXDEV, errno.EMLINK]


def prepare(folder, fresh=False):
    """A pair on the host unless fresh, and a chain for another one; returns a function that accepts it."""
    if not fresh:
        enrol(folder)
    answer = examine.examine(ask(folder, sans=NEW), context())
    chain = CA.sign(answer.csr)
    return lambda: issue.accept(ask(folder, sans=NEW), context(), chain, answer.digest, ISSUED_AT)


def at_call(name, number, act, later=False):
    """os.<name> that acts at this call of it, or from this call on."""
    real = getattr(os, name)
    count = []

    def call(*args, **kwargs):
        count.append(args)
        if len(count) == number or (later and len(count) > number):
            act()
        return real(*args, **kwargs)

    return call


def failing(code):
    def fail():
        raise OSError(code, os.strerror(code))

    return fail


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


# a call that fails


def test_the_calls_are_counted_right(tmp_path, monkeypatch):
    accept = prepare(tmp_path)
    counts = {}
    for name in CALLS:
        real = getattr(os, name)

        def call(*args, name=name, real=real, **kwargs):
            counts[name] = counts.get(name, 0) + 1
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)
    accept()
    assert counts == CALLS


@pytest.mark.parametrize("code", FAULTS)
@pytest.mark.parametrize("name, number", EACH_CALL)
def test_a_failed_call_leaves_the_old_set(tmp_path, monkeypatch, name, number, code):
    accept = prepare(tmp_path)
    before = {path: (tmp_path / path).read_bytes() for path in ("site.crt", "site.key", ".site.crt.stepca.json")}
    with monkeypatch.context() as patched:
        patched.setattr(os, name, at_call(name, number, failing(code)))
        with pytest.raises(HostFileError, match="Cannot (write|replace) .*site.*: %s" % os.strerror(code)):
            accept()
    assert {path: (tmp_path / path).read_bytes() for path in before} == before
    assert sorted(os.listdir(str(tmp_path))) == sorted(before)


@pytest.mark.parametrize("code", NO_LINKS)
@pytest.mark.parametrize("number", range(1, CALLS["link"] + 1))
def test_where_a_link_cannot_be_made_the_former_file_is_copied(tmp_path, monkeypatch, number, code):
    accept = prepare(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", at_call("link", number, failing(code)))
        patched.setattr(replacing, "_is_mounted", lambda _place: False)
        accept()
    assert_whole(tmp_path, NEW)
    assert pki.dot_files(tmp_path) == []


@pytest.mark.parametrize(
    "name, number",
    [("rename", n) for n in range(1, CALLS["rename"] + 1)]
    + [("fsync", n) for n in range(1, CALLS["fsync"] + CALLS["link"] + 1)],
)
def test_a_failed_call_leaves_the_old_set_where_there_are_no_links(tmp_path, monkeypatch, name, number):
    accept = prepare(tmp_path)
    before = {one: content for one, content in contents(tmp_path).items() if ".stepca-" not in one}
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", at_call("link", 1, failing(errno.EPERM), later=True))
        patched.setattr(os, name, at_call(name, number, failing(errno.ENOSPC)))
        with pytest.raises(HostFileError, match="Cannot (write|replace) .*site.*: %s" % os.strerror(errno.ENOSPC)):
            accept()
    assert contents(tmp_path) == before
    enrol(tmp_path, sans=NEW)
    assert_whole(tmp_path, NEW)


def contents(folder) -> dict:
    """{name: (mode, content)}."""
    return {path.name: (path.stat().st_mode, path.read_bytes()) for path in folder.iterdir()}


@pytest.mark.parametrize("name, number", [pair for pair in EACH_CALL if pair[0] != "link"])
def test_a_failed_call_of_a_first_certificate_leaves_nothing(tmp_path, monkeypatch, name, number):
    accept = prepare(tmp_path, fresh=True)
    with monkeypatch.context() as patched:
        patched.setattr(os, name, at_call(name, number, failing(errno.ENOSPC)))
        with pytest.raises(HostFileError):
            accept()
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize("name, number", EACH_CALL + [("unlink", n) for n in range(1, 6)])
def test_a_disk_that_fails_from_some_call_on_is_healed_later(tmp_path, monkeypatch, name, number):
    accept = prepare(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, name, at_call(name, number, failing(errno.EIO), later=True))
        with pytest.raises(HostFileError):
            accept()
    examine.examine(ask(tmp_path, sans=NEW), context())
    assert_whole(tmp_path, pair_of(tmp_path)[2])


@pytest.mark.parametrize("number", [6, 7, 8])
def test_a_link_too_many_fails_nothing(tmp_path, monkeypatch, number):
    accept = prepare(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", at_call("unlink", number, failing(errno.EIO), later=True))
        accept()
    assert_whole(tmp_path, NEW)
    assert examine.examine(ask(tmp_path, sans=NEW), context()).outcome == "none"


def test_after_a_failure_the_next_run_succeeds(tmp_path, monkeypatch):
    accept = prepare(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", at_call("rename", 2, failing(errno.ENOSPC)))
        with pytest.raises(HostFileError, match="The disk is full: make room, then run again"):
            accept()
    enrol(tmp_path, sans=NEW)
    assert_whole(tmp_path, NEW)
    assert pki.dot_files(tmp_path) == []


# interrupted between the two renames


@pytest.fixture(name="interrupted")
def fixture_interrupted(tmp_path):
    """Certificate new, key and record still staged."""
    accept = prepare(tmp_path)
    assert die(accept, "rename", 2)
    in_certificate, in_key, names = pair_of(tmp_path)
    assert in_certificate != in_key and names == NEW
    return tmp_path


def die(accept, name, number):
    """Run accept in a process that is killed at this call of os.<name>; False if it came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            setattr(os, name, at_call(name, number, kill))
            accept()
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def test_an_interrupted_replacement_is_finished_by_the_next_run(interrupted):
    expected = [
        "an interrupted replacement left the key that belongs to %s waiting beside its place"
        % (interrupted / "site.crt")
    ]
    before = pki.snapshot(interrupted)
    dry = examine.examine(ask(interrupted, sans=NEW), context(dry=True))
    assert pki.snapshot(interrupted) == before
    real = examine.examine(ask(interrupted, sans=NEW), context())
    assert (real.outcome, real.reasons) == (dry.outcome, dry.reasons) == ("files", expected)
    assert dry.certificate == real.certificate
    assert_whole(interrupted, NEW)
    kept = record.read(str(interrupted / "site.crt"))
    assert kept["asked"]["names"] == ["dns:b.example"] and kept["key_sha256"] == pair_of(interrupted)[0]
    again = examine.examine(ask(interrupted, sans=NEW), context())
    assert (again.outcome, again.reasons) == ("none", [])


def test_an_interrupted_replacement_is_finished_before_anything_else_is_due(interrupted):
    answer = examine.examine(ask(interrupted, sans=["c.example"]), context())
    assert answer.outcome == "issued"
    assert answer.reasons == ["the names are dns:b.example, expected dns:c.example"]
    assert_whole(interrupted, NEW)
    issue.accept(ask(interrupted, sans=["c.example"]), context(), CA.sign(answer.csr), answer.digest, ISSUED_AT)
    assert_whole(interrupted, ["c.example"])
    assert pki.dot_files(interrupted) == []


def test_a_staged_key_of_another_certificate_is_no_interruption(tmp_path):
    enrol(tmp_path)
    examine.examine(ask(tmp_path, sans=NEW), context())
    before = pki.snapshot(tmp_path)
    assert examine.examine(ask(tmp_path), context()).outcome == "none"
    assert pki.snapshot(tmp_path) == before


def test_what_was_finished_before_the_roots_were_known_is_still_told(interrupted):
    for path in (interrupted / ".site.crt.stepca.json", interrupted / "..site.crt.stepca.json.stepca-new"):
        path.unlink()
    first = examine.examine(ask(interrupted, sans=NEW), context(roots=None))
    assert first.needs_roots
    assert_whole(interrupted, NEW)
    second = examine.with_repairs(examine.examine(ask(interrupted, sans=NEW), context()), first)
    assert second.outcome == "files" and "an interrupted replacement left the key" in second.reasons[0]
