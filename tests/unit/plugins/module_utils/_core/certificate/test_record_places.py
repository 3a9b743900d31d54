# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The record of a certificate in a folder of others: root keeps it in one of its own, and takes one over that was beside."""

from __future__ import annotations

import json
import os

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import record
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.certificate.test_record import (
    ISSUED,
    beside_of,
    changed,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import lab
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    MALLORY,
    NOBODY,
    as_user,
    folder_of,
    link_of,
    root_only,
)


@pytest.fixture(name="theirs")
def fixture_theirs(tmp_path):
    """A folder of somebody else's."""
    return folder_of(tmp_path / "theirs")


@pytest.fixture(name="beside")
def fixture_beside(tmp_path):
    return beside_of(tmp_path)


def left_by_an_older_version(folder, certificate_path=None):
    """A record beside the certificate; its path, and what is in it."""
    named = {"certificate_path": str(certificate_path or folder / "web.crt")}
    path = folder / ".web.crt.stepca.json"
    path.write_bytes(changed(files=named))
    path.chmod(0o644)
    return path, json.loads(path.read_bytes())


@root_only
def test_root_keeps_the_record_in_a_folder_of_its_own(theirs, fixture_state):
    name = record.name_of(str(theirs / "web.crt"))
    assert record.path_of(str(theirs / "web.crt")) == str(fixture_state / "records" / name)
    assert record.path_of(str(theirs.parent / "web.crt")) == str(theirs.parent / ".web.crt.stepca.json")
    (theirs.parent / "link").symlink_to(theirs)
    assert record.path_of(str(theirs.parent / "link" / "web.crt")) == str(fixture_state / "records" / name)


@root_only
def test_an_ordinary_user_keeps_it_beside_the_certificate(open_folder):
    sticky = folder_of(open_folder / "sticky", 0, 0o1777)
    assert as_user(NOBODY, record.path_of, str(sticky / "web.crt")) == str(sticky / ".web.crt.stepca.json")


@root_only
def test_a_record_that_was_left_beside_is_moved_once(theirs, fixture_state):
    path, content = left_by_an_older_version(theirs)
    assert record.read(str(theirs / "web.crt")) == content
    record.move(str(theirs / "web.crt"))
    place = record.path_of(str(theirs / "web.crt"))
    assert not path.exists() and os.listdir(theirs) == []
    assert record.load(place) == record.read(str(theirs / "web.crt")) == content
    status = os.stat(place)
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o644)
    before = os.stat(place)
    record.move(str(theirs / "web.crt"))
    assert os.path.samestat(os.stat(place), before)


def test_in_a_place_of_ours_no_record_is_moved(beside):
    before = os.stat(beside[1])
    record.move(beside[0])
    assert os.path.samestat(os.stat(beside[1]), before)


@root_only
def test_what_an_older_timer_writes_meanwhile_is_taken_over_where_it_is_about_the_certificate(theirs):
    """It knows nothing of the folder of root's. Of two records the one about the certificate that lies there counts."""
    left_by_an_older_version(theirs)
    record.move(str(theirs / "web.crt"))
    newer = lab().chain(["web.example.com", "extra.example"])
    text = record.make(making.wanted(certificate_path=str(theirs / "web.crt")), "ansible", newer, [lab().root], ISSUED)
    path = theirs / ".web.crt.stepca.json"
    for chain, which in (([lab().leaf()], 0), (newer, 1)):
        path.write_bytes(text)
        (theirs / "web.crt").write_bytes(making.pem(*chain))
        found = record.read(str(theirs / "web.crt"), chain)
        assert (found == json.loads(text)) is bool(which)
        record.move(str(theirs / "web.crt"))
        assert not path.exists()
        assert (record.read(str(theirs / "web.crt"), chain) == json.loads(text)) is bool(which)


@root_only
@making.table(
    "spoil",
    {
        "it is theirs": lambda path: os.chown(path, MALLORY, -1),
        "others may write to it": lambda path: path.chmod(0o666),
        "it is a link": lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")),
        "it is a link of theirs": lambda path: (path.rename(path.with_name("x")), link_of(path, "x")),
        "it has another name": lambda path: os.link(path, path.with_name("x")),
        "it is a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
        "it is no record": lambda path: path.write_bytes(b"{}"),
        "it is one of another certificate": lambda path: left_by_an_older_version(path.parent, "/etc/web.crt"),
        "it names no certificate": lambda path: path.write_bytes(changed(files={})),
        "it names what is no path": lambda path: path.write_bytes(changed(files={"certificate_path": "web.crt"})),
        "it names a number": lambda path: path.write_bytes(changed(files={"certificate_path": 7})),
    },
)
def test_a_record_beside_is_not_believed_where(theirs, fixture_state, spoil):
    """Whoever owns the folder can put there what root wrote for another certificate."""
    path, _content = left_by_an_older_version(theirs)
    spoil(path)
    try:
        assert record.read(str(theirs / "web.crt")) is None
        record.move(str(theirs / "web.crt"))
    except HostFileError as error:
        assert "is a symbolic link of" in str(error)
    assert not (fixture_state / "records").exists() and os.path.lexists(path)


@root_only
def test_a_record_is_held_where_only_root_can_have_put_it(theirs, fixture_state, beside):
    assert record.is_held(str(theirs / "web.crt"), None)
    assert record.is_held(beside[0], record.read(beside[0]))
    _path, content = left_by_an_older_version(theirs)
    assert not record.is_held(str(theirs / "web.crt"), content)
    record.move(str(theirs / "web.crt"))
    assert record.is_held(str(theirs / "web.crt"), record.read(str(theirs / "web.crt")))
    fixture_state.chmod(0o777)
    assert not record.is_held(str(theirs / "web.crt"), content), "by now, others could put another one there"
