# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A certificate is taken off a host: all that the task names and the record lists, and nothing of anybody else's."""

from __future__ import annotations

import os

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import (
    certificates,
    exchange,
    files,
    proof,
    record,
    removal,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError, OptionError
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, FOREIGN, ask, context, enrol

ABSENT = {"state": "absent", "key_path": None, "sans": None}


def remove(folder, told=None, **changes):
    """One run with state: absent."""
    return exchange.examine(ask(folder, **dict(ABSENT, **changes)), told or context())


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
    exchange.examine(ask(folder, sans=["c.example"], **options), context())
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
    assert answer["outcome"] == "removed"
    assert sorted(os.listdir(tmp_path)) == sorted(backups + ["other.crt", ".other.crt.stepca-new"])
    assert sorted(answer["backup_files"]) == [str(tmp_path / name) for name in backups]
    for name in ("site.crt", "site.key", "all", "p12", ".site.crt.stepca.json"):
        assert "%s is there; wanted is none" % (tmp_path / name) in answer["reasons"]
    assert answer["certificate"]["sans"] == ["dns:b.example"]


def test_removing_twice_is_nothing_the_second_time(tmp_path):
    enrol(tmp_path)
    remove(tmp_path)
    assert os.listdir(tmp_path) == []
    for told in (context(), context(dry=True)):
        again = remove(tmp_path, told)
        assert (again["outcome"], again["reasons"], again["certificate"]) == ("none", [], None)


def test_a_folder_that_is_gone_holds_nothing(tmp_path):
    answer = remove(tmp_path / "no")
    assert (answer["outcome"], answer["reasons"]) == ("none", [])
    removal.remove(ask(tmp_path / "no", **ABSENT))
    assert os.listdir(tmp_path) == []


def test_what_the_task_names_is_removed_without_a_record(tmp_path):
    enrol(tmp_path, chain_path=str(tmp_path / "chain"))
    os.unlink(record.path_of(str(tmp_path / "site.crt")))
    remove(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["chain", "site.key"]
    answer = remove(tmp_path, key_path=str(tmp_path / "site.key"), chain_path=str(tmp_path / "chain"))
    assert answer["outcome"] == "removed" and os.listdir(tmp_path) == []


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


def test_a_link_to_nothing_goes_too(tmp_path):
    (tmp_path / "site.crt").symlink_to(tmp_path / "nothing")
    assert remove(tmp_path)["outcome"] == "removed"
    assert os.listdir(tmp_path) == []


def test_a_certificate_that_cannot_be_read_is_removed(tmp_path):
    (tmp_path / "site.crt").write_bytes(b"rubbish")
    answer = remove(tmp_path, revoke=True)
    assert (answer["outcome"], answer["certificate"], answer["revocable"]) == ("removed", None, False)
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

    def unlink(path):
        if path.endswith("site.crt"):
            raise PermissionError(13, "Permission denied")
        real(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", unlink)
        with pytest.raises(HostFileError, match="Cannot remove .*site.crt: Permission denied"):
            remove(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".site.crt.stepca.json", "site.crt"]
    assert remove(tmp_path)["outcome"] == "removed" and os.listdir(tmp_path) == []


# to be revoked first


def test_what_is_to_be_revoked_waits_for_that(tmp_path):
    enrol(tmp_path)
    before = pki.snapshot(tmp_path)
    answer = remove(tmp_path, revoke=True)
    assert (answer["outcome"], answer["revocable"], answer["needs_roots"]) == ("removed", True, False)
    assert answer["former"] == (tmp_path / "site.crt").read_text(encoding="ascii")
    chain = certificates.load(files.read(str(tmp_path / "site.crt")))
    assert proof.chain_of(answer["holding"]) == chain
    assert pki.snapshot(tmp_path) == before
    removal.remove(ask(tmp_path, **ABSENT))
    assert os.listdir(tmp_path) == []


def test_the_roots_are_asked_for_before_it_is_said_whose_it_is(tmp_path):
    enrol(tmp_path)
    assert remove(tmp_path, context(roots=None), revoke=True)["revocable"] is True
    os.unlink(record.path_of(str(tmp_path / "site.crt")))
    before = pki.snapshot(tmp_path)
    answer = remove(tmp_path, context(roots=None), revoke=True)
    assert answer["needs_roots"] is True and pki.snapshot(tmp_path) == before
    answer = remove(tmp_path, revoke=True, key_path=str(tmp_path / "site.key"))
    assert answer["revocable"] and answer["holding"]


def test_somebody_elses_certificate_is_removed_and_not_revoked(tmp_path):
    (tmp_path / "site.crt").write_text(FOREIGN.sign(pki.request_pem(pki.new_key(), ["a"])), encoding="ascii")
    answer = remove(tmp_path, revoke=True)
    assert answer["warnings"] == ["%s is removed, but not revoked: this CA did not issue it." % (tmp_path / "site.crt")]
    assert answer["revocable"] is False and os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [None, b"rubbish", pki.key_pem(pki.new_key()), pki.key_pem(pki.new_key(), b"x")])
def test_without_its_key_it_has_no_proof(tmp_path, content):
    enrol(tmp_path)
    (tmp_path / "site.key").unlink()
    if content:
        (tmp_path / "site.key").write_bytes(content)
    answer = remove(tmp_path, revoke=True)
    assert (answer["revocable"], answer["holding"]) == (True, "")
    assert CA.root_pem not in answer["former"]


def marked(folder):
    """A folder as the role makes it."""
    folder.mkdir()
    (folder / removal.FOLDER_MARK).write_text("made by the role", encoding="ascii")
    return folder


def test_folders_that_the_role_made_go_with_the_last_that_is_in_them(tmp_path):
    ours = marked(marked(tmp_path / "app") / "tls")
    keys = marked(ours / "keys")
    enrol(ours, key_path=str(keys / "site.key"))
    dry = remove(ours, context(dry=True))
    assert (keys / "site.key").exists()
    answer = remove(ours)
    assert answer == dry and answer["outcome"] == "removed"
    assert os.listdir(tmp_path) == []
    assert remove(ours)["outcome"] == "none"


def test_folders_of_others_and_those_in_use_stay(tmp_path):
    ours = marked(marked(tmp_path / "app") / "tls")
    theirs = ours / "theirs"
    theirs.mkdir()
    enrol(ours, key_path=str(theirs / "site.key"))
    assert remove(ours)["outcome"] == "removed"
    assert os.listdir(theirs) == [] and sorted(os.listdir(ours)) == [removal.FOLDER_MARK, "theirs"]
    theirs.rmdir()
    left = remove(ours)
    assert (left["outcome"], left["reasons"]) == ("removed", ["%s is there; wanted is none" % ours])
    assert os.listdir(tmp_path) == []
