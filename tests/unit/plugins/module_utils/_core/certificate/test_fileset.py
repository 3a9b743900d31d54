# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What belongs to a certificate on disk: files made of the pair, backups, and what is kept because it is another's."""

from __future__ import annotations

import os
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import examine, issue, record
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import folders
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import jws, proof
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import (
    CA,
    FOREIGN,
    ISSUED_AT,
    Finish,
    ask,
    assert_whole,
    context,
    enrol,
)

NAMES = {"chain_path": "chain", "leaf_path": "leaf", "root_path": "root", "combined_path": "all", "pkcs12_path": "p12"}


def everything(folder, **more):
    """Options that name every file that can be made of the pair."""
    paths = {option: str(folder / name) for option, name in NAMES.items()}
    return dict(paths, pkcs12_password="secret", **more)


def certificates_in(path) -> list:
    return x509.load_pem_x509_certificates(path.read_bytes())


def assert_derived(folder):
    """Every file is made of the pair that lies there."""
    chain = certificates_in(folder / "site.crt")
    key = (folder / "site.key").read_bytes()
    assert certificates_in(folder / "chain") == chain[1:] == [CA.intermediate]
    assert certificates_in(folder / "leaf") == chain[:1]
    assert certificates_in(folder / "root") == [CA.root]
    assert (folder / "all").read_bytes() == key + (folder / "site.crt").read_bytes()
    bundle = pkcs12.load_pkcs12((folder / "p12").read_bytes(), b"secret")
    assert bundle.cert.certificate == chain[0]
    assert bundle.key.public_key() == load_pem_private_key(key, None).public_key()


# derived files


def test_the_first_certificate_brings_all_its_files(tmp_path):
    enrol(tmp_path, **everything(tmp_path))
    assert_derived(tmp_path)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in os.listdir(tmp_path)}
    assert {name for name, mode in modes.items() if mode == 0o600} == {"site.key", "all", "p12"}
    assert set(modes.values()) == {0o600, 0o644} and pki.dot_files(tmp_path) == []
    answer = examine.examine(ask(tmp_path, **everything(tmp_path)), context())
    assert (answer.outcome, answer.reasons) == ("none", [])


@pytest.mark.parametrize("content", [None, b"", b"rubbish"], ids=["missing", "empty", "rubbish"])
@pytest.mark.parametrize("option", NAMES)
def test_each_file_is_made_anew_without_the_authority(tmp_path, option, content):
    enrol(tmp_path, **everything(tmp_path))
    path = tmp_path / NAMES[option]
    path.unlink() if content is None else path.write_bytes(content)
    before = pki.snapshot(tmp_path)
    dry = examine.examine(ask(tmp_path, **everything(tmp_path)), context(dry=True))
    assert pki.snapshot(tmp_path) == before
    answer = examine.examine(ask(tmp_path, **everything(tmp_path)), context())
    assert (answer.outcome, answer.reasons) == (dry.outcome, dry.reasons)
    assert answer.outcome == "files" and answer.csr is None
    (reason,) = answer.reasons
    assert str(path) in reason
    assert_derived(tmp_path)
    assert answer.backup_files == (backed_up(tmp_path, path.name) if content else [])
    assert [str(tmp_path / (".%s.stepca.backup" % path.name)) in one for one in answer.warnings] == [True] * bool(
        content
    )
    assert examine.examine(ask(tmp_path, **everything(tmp_path)), context()).outcome == "none"


def test_the_record_learns_of_files_that_are_asked_for_later(tmp_path):
    enrol(tmp_path)
    first = record.read(str(tmp_path / "site.crt"))
    more = {"chain_path": str(tmp_path / "chain")}
    assert examine.examine(ask(tmp_path, **more), context()).outcome == "files"
    kept = record.read(str(tmp_path / "site.crt"))
    assert kept["files"] == dict(first["files"], **more)
    assert dict(kept, files=0) == dict(first, files=0)


def test_a_password_that_is_changed_needs_no_authority(tmp_path):
    enrol(tmp_path, **everything(tmp_path))
    changed = dict(everything(tmp_path), pkcs12_password="another")
    answer = examine.examine(ask(tmp_path, **changed), context())
    assert answer.outcome == "files" and "does not open with the password asked for" in answer.reasons[0]
    assert "another" not in str(answer) and answer.backup_files == []
    assert pkcs12.load_pkcs12((tmp_path / "p12").read_bytes(), b"another").key


def test_a_folder_that_is_missing_for_a_file_is_told_before_anything_is_done(tmp_path):
    enrol(tmp_path)
    more = {"chain_path": str(tmp_path / "no" / "chain")}
    before = pki.snapshot(tmp_path)
    with pytest.raises(HostFileError, match="The folder %s is missing" % (tmp_path / "no")):
        examine.examine(ask(tmp_path, **more), context())
    dry = examine.examine(ask(tmp_path, **more), context(dry=True))
    assert dry.outcome == "files" and dry.reasons[-1] == "the folder %s is missing" % (tmp_path / "no")
    assert pki.snapshot(tmp_path) == before


def test_folders_are_made_where_the_task_says_so_and_go_where_it_comes_to_nothing(tmp_path):
    more = {"make_folder": True, "key_path": str(tmp_path / "a" / "keys" / "site.key")}
    asked = dict(more, certificate_path=str(tmp_path / "a" / "site.crt"))
    dry = examine.examine(ask(tmp_path, **asked), context(dry=True))
    assert os.listdir(tmp_path) == []
    answer = examine.examine(ask(tmp_path, **asked), context())
    told = ["the folder %s is missing" % (tmp_path / name) for name in ("a", "a/keys")]
    assert answer.reasons[-2:] == dry.reasons[-2:] == told
    issue.discard(ask(tmp_path, **asked), answer.csr)
    assert os.listdir(tmp_path) == []
    enrol(tmp_path, **asked)
    assert sorted(os.listdir(tmp_path / "a")) == [".site.crt.stepca.json", folders.MARK, "keys", "site.crt"]
    examine.examine(ask(tmp_path, state="absent", certificate_path=asked["certificate_path"]), context())
    assert os.listdir(tmp_path) == []


def test_a_password_file_that_is_missing_costs_no_token(tmp_path):
    more = {"pkcs12_path": str(tmp_path / "p12"), "pkcs12_password_file": str(tmp_path / "password")}
    with pytest.raises(HostFileError, match="pkcs12_password_file: .* is missing"):
        examine.examine(ask(tmp_path, **more), context())
    assert os.listdir(tmp_path) == []


def test_files_beside_a_request_that_the_user_brings(tmp_path):
    key = pki.new_key()
    (tmp_path / "site.key").write_bytes(pki.key_pem(key))
    (tmp_path / "site.csr").write_text(pki.request_pem(key, ["a.example"]), encoding="ascii")
    options = dict(everything(tmp_path), csr_path=str(tmp_path / "site.csr"))
    before = (tmp_path / "site.key").stat()
    enrol(tmp_path, **options)
    assert_derived(tmp_path)
    (tmp_path / "all").unlink()
    assert examine.examine(ask(tmp_path, **options), context()).outcome == "files"
    assert_derived(tmp_path)
    after = (tmp_path / "site.key").stat()
    assert (before.st_ino, before.st_mode, before.st_mtime_ns) == (after.st_ino, after.st_mode, after.st_mtime_ns)


def test_two_names_of_one_file_are_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "site.crt")
    with pytest.raises(HostFileError, match="certificate_path and leaf_path resolve to the same file"):
        examine.examine(ask(tmp_path, leaf_path=str(tmp_path / "link")), context())


# backups


def reissue(folder, signer=CA, told=None, **changes):
    """One more certificate; what accept says, and what lay there before."""
    before = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    answer = examine.examine(ask(folder, **changes), told or context())
    done = issue.accept(ask(folder, **changes), told or context(), signer.sign(answer.csr), answer.digest, ISSUED_AT)
    return done.backup_files, before


def backed_up(folder, *names):
    return [str(folder / (".%s.stepca.backup" % name)) for name in names]


def test_without_backup_nothing_of_ours_is_kept(tmp_path):
    enrol(tmp_path, **everything(tmp_path))
    saved, _before = reissue(tmp_path, sans=["b.example"], **everything(tmp_path))
    assert saved == [] and pki.dot_files(tmp_path) == []


def test_a_backup_is_the_former_set_and_the_last_one_only(tmp_path):
    options = everything(tmp_path, backup=True)
    enrol(tmp_path, **options)
    reissue(tmp_path, sans=["b.example"], **options)
    saved, before = reissue(tmp_path, sans=["c.example"], **options)
    names = ["site.crt", "site.key", "chain", "leaf", "root", "all", "p12"]
    assert sorted(saved) == sorted(backed_up(tmp_path, *names)) and len(pki.dot_files(tmp_path)) == len(names)
    for name in names:
        path = tmp_path / (".%s.stepca.backup" % name)
        assert path.read_bytes() == before[name]
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if name in ("site.key", "all", "p12") else 0o644)
    assert_whole(tmp_path, ["c.example"])


def test_a_first_certificate_has_nothing_to_keep(tmp_path):
    saved, _before = reissue(tmp_path, backup=True)
    assert saved == []


def foreign_pair(folder):
    """A key and a certificate that somebody else's authority issued."""
    key = pki.new_key()
    (folder / "site.key").write_bytes(pki.key_pem(key))
    (folder / "site.crt").write_text(FOREIGN.sign(pki.request_pem(key, ["a.example"])), encoding="ascii")
    return key


def test_somebody_elses_pair_is_kept_whatever_backup_says(tmp_path):
    foreign_pair(tmp_path)
    saved, before = reissue(tmp_path)
    assert saved == backed_up(tmp_path, "site.crt", "site.key")
    for path, name in zip(saved, ("site.crt", "site.key"), strict=True):
        with open(path, "rb") as stream:
            assert stream.read() == before[name]
    assert_whole(tmp_path, ["a.example"])


def test_a_key_that_was_never_ours_is_kept(tmp_path):
    enrol(tmp_path)
    (tmp_path / "site.key").write_bytes(pki.key_pem(pki.new_key()))
    saved, _before = reissue(tmp_path)
    assert saved == backed_up(tmp_path, "site.key")


def test_a_lone_key_is_kept(tmp_path):
    (tmp_path / "site.key").write_bytes(pki.key_pem(pki.new_key()))
    assert reissue(tmp_path)[0] == backed_up(tmp_path, "site.key")


def test_our_own_key_whose_certificate_was_lost_is_not_kept(tmp_path):
    enrol(tmp_path)
    (tmp_path / "site.crt").unlink()
    assert reissue(tmp_path)[0] == []


@pytest.mark.parametrize("run", ["issued", "files"])
def test_somebody_elses_bundle_is_kept(tmp_path, run):
    foreign_pair(tmp_path)
    bundle = (tmp_path / "site.key").read_bytes() + (tmp_path / "site.crt").read_bytes()
    (tmp_path / "site.key").unlink(), (tmp_path / "site.crt").unlink()
    if run == "files":
        enrol(tmp_path)
    (tmp_path / "all").write_bytes(bundle)
    more = {"combined_path": str(tmp_path / "all")}
    saved = (
        reissue(tmp_path, **more)[0]
        if run == "issued"
        else examine.examine(ask(tmp_path, **more), context()).backup_files
    )
    assert saved == backed_up(tmp_path, "all")
    assert (tmp_path / ".all.stepca.backup").read_bytes() == bundle


# attributes and roots


def test_files_are_given_their_attributes_by_kind(tmp_path):
    finish = Finish()
    enrol(tmp_path, told=context(finish=finish), **everything(tmp_path))
    kinds = {target: kind for _path, target, kind in finish.calls}
    assert {name for name, kind in kinds.items() if kind == "key"} == {"site.key", "all", "p12"}
    assert kinds[".site.crt.stepca.json"] == "record"


def test_roots_of_a_record_are_enough_but_for_the_file_of_roots(tmp_path):
    """Of two trusted roots the record has one: it leads to the certificate, but the file must have both."""
    enrol(tmp_path)
    both = {"roots": None, "fingerprints": [CA.fingerprint, FOREIGN.fingerprint]}
    assert not examine.examine(ask(tmp_path), context(**both)).needs_roots
    assert examine.examine(ask(tmp_path, root_path=str(tmp_path / "root")), context(**both)).needs_roots


@pytest.mark.parametrize("dry", [False, True])
def test_what_is_to_be_revoked_waits_for_the_roots(tmp_path, dry):
    """Else it would be replaced, and nobody could tell whether it is ours to revoke."""
    enrol(tmp_path)
    os.unlink(record.path_of(str(tmp_path / "site.crt")))
    task = ask(tmp_path, sans=["b.example"], revoke=True)
    answer = examine.examine(task, context(roots=None, dry=dry))
    assert answer.needs_roots is not dry
    assert pki.dot_files(tmp_path) == []
    known = examine.examine(task, context())
    assert (known.needs_roots, known.revocable) == (False, True)


def test_the_former_certificate_is_handed_over_with_a_proof_of_its_key(tmp_path):
    enrol(tmp_path)
    answer = examine.examine(ask(tmp_path, force=True, revoke=True), context())
    assert answer.former == (tmp_path / "site.crt").read_text(encoding="ascii")
    assert proof.chain_of(answer.holding) == certificates_in(tmp_path / "site.crt")
    assert jws.claims(answer.holding)[1]["aud"] == []


@pytest.mark.parametrize("revoke", [True, False])
def test_somebody_elses_certificate_is_not_to_be_revoked(tmp_path, revoke):
    foreign_pair(tmp_path)
    answer = examine.examine(ask(tmp_path, revoke=revoke), context())
    assert answer.outcome == "issued" and answer.revocable is False and answer.former == ""


def test_without_its_key_a_former_certificate_has_no_proof(tmp_path):
    enrol(tmp_path)
    (tmp_path / "site.key").unlink()
    answer = examine.examine(ask(tmp_path, revoke=True), context())
    assert (answer.revocable, answer.holding) == (True, "")
