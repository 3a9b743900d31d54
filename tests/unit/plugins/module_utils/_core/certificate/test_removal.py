# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A certificate is taken off a host: all that the task names and the record lists, and nothing of anybody else's."""

from __future__ import annotations

import json
import os
from contextlib import suppress

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import examine, record, removal
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError, OptionError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import folders, reading
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates, proof
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, FOREIGN, ask, context, enrol
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    as_user,
    file_of,
    folder_of,
    link_of,
    root_only,
)

ABSENT = {"state": "absent", "key_path": None, "sans": None}


def remove(folder, told=None, **changes):
    """One run with state: absent."""
    return examine.examine(ask(folder, **dict(ABSENT, **changes)), told or context())


def with_files(folder):
    """A certificate with files made of it, a backup of each, a key that waits, and something of somebody else's."""
    options = {
        "combined_path": str(folder / "all"),
        "pkcs12_path": str(folder / "p12"),
        "pkcs12_password": "secret",
        "backup": True,
    }
    enrol(folder, **options)
    enrol(folder, sans=["b.example"], **options)
    examine.examine(ask(folder, sans=["c.example"], **options), context())
    (folder / "other.crt").write_text("of others", encoding="ascii")
    (folder / ".other.crt.stepca-new").write_text("of others", encoding="ascii")
    return sorted(".%s.stepca.backup" % name for name in ("site.crt", "site.key", "all", "p12"))


def test_all_that_the_record_lists_is_removed_and_backups_stay(tmp_path):
    backups = with_files(tmp_path)
    before = pki.snapshot(tmp_path)
    dry = remove(tmp_path, context(dry=True))
    assert pki.snapshot(tmp_path) == before
    answer = remove(tmp_path)
    assert answer == dry
    assert answer.outcome == "removed"
    assert sorted(os.listdir(tmp_path)) == sorted(backups + ["other.crt", ".other.crt.stepca-new"])
    assert sorted(answer.backup_files) == [str(tmp_path / name) for name in backups]
    for name in ("site.crt", "site.key", "all", "p12", ".site.crt.stepca.json"):
        assert "%s is there, expected none" % (tmp_path / name) in answer.reasons
    assert answer.certificate["sans"] == ["dns:b.example"]


def test_removing_twice_is_nothing_the_second_time(tmp_path):
    enrol(tmp_path)
    remove(tmp_path)
    assert os.listdir(tmp_path) == []
    for told in (context(), context(dry=True)):
        again = remove(tmp_path, told)
        assert (again.outcome, again.reasons, again.certificate) == ("none", [], None)


def test_a_folder_that_is_gone_holds_nothing(tmp_path):
    answer = remove(tmp_path / "no")
    assert (answer.outcome, answer.reasons) == ("none", [])
    removal.remove(ask(tmp_path / "no", **ABSENT))
    assert os.listdir(tmp_path) == []


def test_what_the_task_names_is_removed_without_a_record(tmp_path):
    enrol(tmp_path, chain_path=str(tmp_path / "chain"))
    os.unlink(record.path_of(str(tmp_path / "site.crt")))
    remove(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["chain", "site.key"]
    answer = remove(tmp_path, key_path=str(tmp_path / "site.key"), chain_path=str(tmp_path / "chain"))
    assert answer.outcome == "removed" and os.listdir(tmp_path) == []


def test_the_request_and_the_key_of_the_user_stay(tmp_path):
    key = pki.new_key()
    (tmp_path / "site.key").write_bytes(pki.key_pem(key))
    (tmp_path / "site.csr").write_text(pki.request_pem(key, ["a.example"]), encoding="ascii")
    brought = {"csr_path": str(tmp_path / "site.csr"), "key_path": str(tmp_path / "site.key")}
    enrol(tmp_path, **brought)
    remove(tmp_path, **brought)
    assert sorted(os.listdir(tmp_path)) == ["site.csr", "site.key"]


def test_a_request_of_the_user_stays_even_where_the_record_lists_its_path(tmp_path):
    enrol(tmp_path, chain_path=str(tmp_path / "site.csr"))
    remove(tmp_path, csr_path=str(tmp_path / "site.csr"))
    assert os.listdir(tmp_path) == ["site.csr"]


def test_a_record_of_somebody_else_removes_nothing(tmp_path):
    enrol(tmp_path)
    path = record.path_of(str(tmp_path / "site.crt"))
    os.chmod(path, 0o666)
    remove(tmp_path)
    assert os.listdir(tmp_path) == ["site.key"]


def test_a_link_goes_with_the_file_that_it_leads_to(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "site.crt").symlink_to(tmp_path / "real" / "site.pem")
    enrol(tmp_path)
    remove(tmp_path)
    assert os.listdir(tmp_path) == ["real"] and os.listdir(tmp_path / "real") == []


def test_backups_beside_the_file_that_a_link_leads_to_are_named(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "site.crt").symlink_to(tmp_path / "real" / "site.pem")
    enrol(tmp_path)
    enrol(tmp_path, sans=["b.example"], backup=True)
    answer = remove(tmp_path)
    assert str(tmp_path / "real" / ".site.pem.stepca.backup") in answer.backup_files
    assert os.listdir(tmp_path / "real") == [".site.pem.stepca.backup"]


def test_a_link_to_nothing_goes_too(tmp_path):
    (tmp_path / "site.crt").symlink_to(tmp_path / "nothing")
    assert remove(tmp_path).outcome == "removed"
    assert os.listdir(tmp_path) == []


def test_a_certificate_that_cannot_be_read_is_removed(tmp_path):
    (tmp_path / "site.crt").write_bytes(b"rubbish")
    answer = remove(tmp_path, revoke=True)
    assert (answer.outcome, answer.certificate, answer.revocable) == ("removed", None, False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "changes, error, words",
    [
        ({"certificate_path": "site.crt"}, OptionError, "certificate_path: 'site.crt' is not an absolute path"),
        ({"key_path": "site.key"}, OptionError, "'site.key' is not an absolute path"),
    ],
    ids=["certificate", "key"],
)
def test_paths_are_absolute(tmp_path, changes, error, words):
    enrol(tmp_path)
    before = pki.snapshot(tmp_path)
    with pytest.raises(error, match=words):
        remove(tmp_path, **changes)
    assert pki.snapshot(tmp_path) == before


def test_a_folder_is_never_removed(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(HostFileError, match="^state: absent: .*folder is a folder"):
        remove(tmp_path, key_path=str(tmp_path / "folder"))


def test_what_cannot_be_removed_is_named_and_the_record_stays(tmp_path, monkeypatch):
    enrol(tmp_path)
    real = os.unlink

    def unlink(path, dir_fd=None):
        if path.endswith("site.crt"):
            raise PermissionError(13, "Permission denied")
        real(path, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", unlink)
        with pytest.raises(HostFileError, match="Cannot remove .*site.crt: Permission denied"):
            remove(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".site.crt.stepca.json", "site.crt"]
    assert remove(tmp_path).outcome == "removed" and os.listdir(tmp_path) == []


# to be revoked first


def test_what_is_to_be_revoked_waits_for_that(tmp_path):
    enrol(tmp_path)
    before = pki.snapshot(tmp_path)
    answer = remove(tmp_path, revoke=True)
    assert (answer.outcome, answer.revocable, answer.needs_roots) == ("removed", True, False)
    assert answer.former == (tmp_path / "site.crt").read_text(encoding="ascii")
    chain = certificates.load(reading.read(str(tmp_path / "site.crt")))
    assert proof.chain_of(answer.holding) == chain
    assert pki.snapshot(tmp_path) == before
    removal.remove(ask(tmp_path, **ABSENT))
    assert os.listdir(tmp_path) == []


def test_the_roots_are_asked_for_before_it_is_said_whose_it_is(tmp_path):
    enrol(tmp_path)
    assert remove(tmp_path, context(roots=None), revoke=True).revocable is True
    os.unlink(record.path_of(str(tmp_path / "site.crt")))
    before = pki.snapshot(tmp_path)
    answer = remove(tmp_path, context(roots=None), revoke=True)
    assert answer.needs_roots is True and pki.snapshot(tmp_path) == before
    answer = remove(tmp_path, revoke=True, key_path=str(tmp_path / "site.key"))
    assert answer.revocable and answer.holding


def test_somebody_elses_certificate_is_removed_and_not_revoked(tmp_path):
    (tmp_path / "site.crt").write_text(FOREIGN.sign(pki.request_pem(pki.new_key(), ["a"])), encoding="ascii")
    answer = remove(tmp_path, revoke=True)
    assert answer.warnings == ["%s is removed, but not revoked: this CA did not issue it." % (tmp_path / "site.crt")]
    assert answer.revocable is False and os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [None, b"rubbish", pki.key_pem(pki.new_key()), pki.key_pem(pki.new_key(), b"x")])
def test_without_its_key_it_has_no_proof(tmp_path, content):
    enrol(tmp_path)
    (tmp_path / "site.key").unlink()
    if content:
        (tmp_path / "site.key").write_bytes(content)
    answer = remove(tmp_path, revoke=True)
    assert (answer.revocable, answer.holding) == (True, "")
    assert CA.root_pem not in answer.former


def marked(folder):
    """A folder as the role makes it."""
    folder.mkdir()
    (folder / folders.MARK).write_text("made by the role", encoding="ascii")
    return folder


def test_folders_that_the_role_made_go_with_the_last_that_is_in_them(tmp_path):
    ours = marked(marked(tmp_path / "app") / "tls")
    keys = marked(ours / "keys")
    enrol(ours, key_path=str(keys / "site.key"))
    dry = remove(ours, context(dry=True))
    assert (keys / "site.key").exists()
    answer = remove(ours)
    assert answer == dry and answer.outcome == "removed"
    assert os.listdir(tmp_path) == []
    assert remove(ours).outcome == "none"


def test_folders_of_others_and_those_in_use_stay(tmp_path):
    ours = marked(marked(tmp_path / "app") / "tls")
    theirs = ours / "theirs"
    theirs.mkdir()
    enrol(ours, key_path=str(theirs / "site.key"))
    assert remove(ours).outcome == "removed"
    assert os.listdir(theirs) == [] and sorted(os.listdir(ours)) == [folders.MARK, "theirs"]
    theirs.rmdir()
    left = remove(ours)
    assert (left.outcome, left.reasons) == ("removed", ["%s is there, expected none" % ours])
    assert os.listdir(tmp_path) == []


def go_with_the_last(folder) -> list:
    """What is left where an ordinary user has taken its certificate away."""
    ours = marked(marked(folder / "app") / "tls")
    enrol(ours)
    remove(ours)
    return os.listdir(folder)


@root_only
def test_folders_of_an_ordinary_user_go_too(open_folder):
    """It locks a file in them."""
    assert as_user(ALICE, go_with_the_last, folder_of(open_folder / "home", ALICE)) == []


# where others can write


@pytest.fixture(name="theirs")
def fixture_theirs(tmp_path):
    """A folder of somebody else's."""
    return folder_of(tmp_path / "theirs")


def left_by_an_older_version(folder, **files):
    """A certificate whose record lies beside it, and lists these files besides."""
    enrol(folder)
    path = str(folder / "site.crt")
    place = record.path_of(path)
    content = json.loads(reading.read(place))
    content["files"].update(files)
    os.unlink(place)
    (folder / ".site.crt.stepca.json").write_text(json.dumps(content), encoding="ascii")


@root_only
def test_a_set_in_a_folder_of_others_is_removed_with_the_record_that_root_keeps(theirs, fixture_state):
    keys = folder_of(theirs.parent / "keys", 0)
    enrol(theirs, key_path=str(keys / "site.key"), chain_path=str(theirs / "chain"))
    examine.examine(ask(theirs, sans=["b.example"], key_path=str(keys / "site.key")), context())  # a key waits
    file_of(theirs / ".site.crt.stepca-theirs")
    dry = remove(theirs, context(dry=True))
    answer = remove(theirs)
    assert answer == dry and (answer.outcome, answer.warnings) == ("removed", [])
    assert "%s is there, expected none" % (keys / "site.key") in answer.reasons
    assert os.listdir(theirs) == [".site.crt.stepca-theirs"] and os.listdir(keys) == []
    assert os.listdir(fixture_state / "records") == []
    assert remove(theirs).outcome == "none"


@root_only
def test_what_only_a_record_beside_the_certificate_lists_is_spared(tmp_path, theirs):
    """Whoever owns the folder could have put there one that root wrote for another certificate, or long ago."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    left_by_an_older_version(
        theirs, chain_path=str(victim), leaf_path=str(theirs / "leaf"), root_path=str(tmp_path / "no")
    )
    (theirs / "leaf").write_bytes(b"")
    dry = remove(theirs, context(dry=True))
    answer = remove(theirs)
    assert answer == dry and answer.outcome == "removed"
    assert answer.warnings == [
        "%s stays: only the record beside the certificate names it, and others could have written that. Name it in the task to "
        "have it removed." % victim
    ]
    assert victim.read_bytes() == b"mine" and os.listdir(theirs) == []


@root_only
def test_what_the_task_names_is_removed_whatever_the_record_is(tmp_path, theirs):
    chain = tmp_path / "chain"
    chain.write_bytes(b"")
    left_by_an_older_version(theirs, chain_path=str(chain))
    answer = remove(theirs, chain_path=str(chain))
    assert (answer.outcome, answer.warnings) == ("removed", [])
    assert not chain.exists() and os.listdir(theirs) == []


@root_only
@making.table(
    "way",
    {
        "a way out": "../victim",
        "a link of theirs": "link/victim",
        "a link of theirs to the file": "direct",
    },
)
def test_no_way_out_of_the_folder_leads_to_what_is_removed(tmp_path, theirs, way):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    link_of(theirs / "link", tmp_path)
    link_of(theirs / "direct", victim)
    left_by_an_older_version(theirs, chain_path=str(theirs / way))
    with suppress(HostFileError):
        remove(theirs)
    assert victim.read_bytes() == b"mine"


@root_only
def test_a_link_of_theirs_is_not_removed_for_the_certificate(tmp_path, theirs):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    link_of(theirs / "site.crt", victim)
    with pytest.raises(HostFileError, match="certificate_path: .*site.crt is a symbolic link of the user %d" % MALLORY):
        remove(theirs)
    assert victim.read_bytes() == b"mine" and os.listdir(theirs) == ["site.crt"]
