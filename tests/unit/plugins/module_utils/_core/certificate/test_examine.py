# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The host's two steps over a real folder, with certificates from a local authority."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import examine, issue
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    CertificateError,
    CsrError,
    HostFileError,
    OptionError,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import reading
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import csr
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
    pair_of,
)

# fresh and steady


def test_a_first_certificate(tmp_path):
    answer = examine.examine(ask(tmp_path), context())
    assert (answer.outcome, answer.certificate, answer.needs_roots) == ("issued", None, False)
    assert len(answer.reasons) == 2 and all("is missing" in reason for reason in answer.reasons)
    staged = pki.dot_files(tmp_path)
    assert len(staged) == 1 and staged[0].startswith(".site.key.stepca-")
    assert stat.S_IMODE((tmp_path / staged[0]).stat().st_mode) == 0o600
    csr.check_made(csr.load(answer.csr), ask(tmp_path))
    assert "PRIVATE" not in str(answer)

    installed = issue.accept(ask(tmp_path), context(), CA.sign(answer.csr), answer.digest, ISSUED_AT)
    assert installed.warnings == []
    assert installed.certificate["sans"] == ["dns:a.example"]
    assert installed.certificate["path"] == str(tmp_path / "site.crt")
    assert sorted(os.listdir(str(tmp_path))) == [".site.crt.stepca.json", "site.crt", "site.key"]
    assert_whole(tmp_path, ["a.example"])
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("site.crt", "site.key")] == [0o644, 0o600]


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("roots", [[CA.root], None])
def test_a_steady_run_writes_nothing(tmp_path, dry, roots):
    enrol(tmp_path)
    before = pki.snapshot(tmp_path)
    answer = examine.examine(ask(tmp_path), context(roots=roots, dry=dry))
    assert (answer.outcome, answer.reasons, answer.warnings) == ("none", [], [])
    assert answer.csr is None and answer.digest is None
    assert pki.snapshot(tmp_path) == before


def test_what_was_just_issued_fits_for_every_life_that_can_be_asked_for(tmp_path):
    changes = {"not_after": "24h", "not_before": "0s", "common_name": "a.example", "sans": ["a.example", "10.0.0.1"]}
    enrol(tmp_path, **changes)
    assert examine.examine(ask(tmp_path, **changes), context()).outcome == "none"


def test_roots_that_nobody_has_are_asked_for_before_anything_is_made(tmp_path):
    enrol(tmp_path)
    (tmp_path / ".site.crt.stepca.json").unlink()
    before = pki.snapshot(tmp_path)
    answer = examine.examine(ask(tmp_path), context(roots=None))
    assert (answer.needs_roots, answer.outcome) == (True, "none")
    assert pki.snapshot(tmp_path) == before


def test_roots_are_asked_for_where_the_record_has_only_some(tmp_path):
    both = [CA.fingerprint, FOREIGN.fingerprint]
    enrol(tmp_path)
    assert not examine.examine(ask(tmp_path), context(roots=None, fingerprints=both)).needs_roots
    # The certificate of somebody else, whose root is trusted too, but not in the record.
    chain = FOREIGN.sign(
        pki.request_pem(
            serialization.load_pem_private_key(reading.read(str(tmp_path / "site.key")), None), ["a.example"]
        )
    )
    (tmp_path / "site.crt").write_text(chain, encoding="ascii")
    assert examine.examine(ask(tmp_path), context(roots=None, fingerprints=both)).needs_roots
    known = examine.examine(ask(tmp_path), context(roots=[CA.root, FOREIGN.root], fingerprints=both))
    assert (known.outcome, known.reasons) == ("none", [])


def test_drift_is_issued_anew_with_a_new_key(tmp_path):
    enrol(tmp_path)
    former = pair_of(tmp_path)
    answer = examine.examine(ask(tmp_path, sans=["a.example", "b.example"]), context())
    assert answer.reasons == ["the names are dns:a.example, expected dns:a.example, dns:b.example"]
    assert answer.certificate["sans"] == ["dns:a.example"]
    assert pair_of(tmp_path) == former
    enrol(tmp_path, sans=["a.example", "b.example"])
    assert_whole(tmp_path, ["a.example", "b.example"])
    assert pair_of(tmp_path)[1] != former[1]
    assert pki.dot_files(tmp_path) != []  # the key of the examination that nobody went on with


@pytest.mark.parametrize("name", ["site.crt", "site.key"])
@pytest.mark.parametrize("content", [None, "", "nonsense"])
def test_a_file_that_is_missing_or_nonsense_is_drift(tmp_path, name, content):
    enrol(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content, encoding="ascii")
    answer = examine.examine(ask(tmp_path), context(dry=True))
    assert answer.outcome == "issued"
    assert len(answer.reasons) == 1 and str(tmp_path / name) in answer.reasons[0]


def test_a_chain_of_another_root_is_drift(tmp_path):
    enrol(tmp_path, signer=FOREIGN, told=context(roots=[FOREIGN.root], fingerprints=[FOREIGN.fingerprint]))
    answer = examine.examine(ask(tmp_path), context(dry=True))
    assert answer.outcome == "issued" and "does not lead to a trusted root" in answer.reasons[0]


# check mode and attributes


@pytest.mark.parametrize("changes", [{"sans": ["other.example"]}, {"force": True}, {"key_type": "rsa-2048"}])
def test_check_mode_says_the_same_and_writes_nothing(tmp_path, changes):
    enrol(tmp_path)
    before = pki.snapshot(tmp_path)
    dry = examine.examine(ask(tmp_path, **changes), context(dry=True))
    assert pki.snapshot(tmp_path) == before
    real = examine.examine(ask(tmp_path, **changes), context())
    assert dry == replace(real, csr=None, digest=None) and real.csr


def test_a_missing_folder_fails_but_in_check_mode(tmp_path):
    folder = tmp_path / "no"
    with pytest.raises(HostFileError, match="The folder %s is missing. Make it first" % folder):
        examine.examine(ask(folder), context())
    answer = examine.examine(ask(folder), context(dry=True))
    assert answer.outcome == "issued" and answer.reasons[-1] == "the folder %s is missing" % folder
    assert os.listdir(str(tmp_path)) == []


def test_attributes_alone_need_no_authority(tmp_path):
    enrol(tmp_path)
    (tmp_path / "site.key").chmod(0o644)
    expected = ["the mode of %s differs" % (tmp_path / "site.key")]
    dry = examine.examine(ask(tmp_path), context(dry=True))
    assert (dry.outcome, dry.reasons) == ("files", expected)
    assert stat.S_IMODE((tmp_path / "site.key").stat().st_mode) == 0o644
    real = examine.examine(ask(tmp_path), context())
    assert (real.outcome, real.reasons, real.csr) == ("files", expected, None)
    assert examine.examine(ask(tmp_path), context()).outcome == "none"


def test_files_are_dressed_before_they_are_in_place(tmp_path):
    finish = Finish()
    answer = examine.examine(ask(tmp_path), context())
    chain = CA.sign(answer.csr)
    issue.accept(ask(tmp_path), context(finish=finish), chain, answer.digest, ISSUED_AT)
    assert [(target, kind) for path, target, kind in finish.calls if path != target] == [
        ("site.crt", "certificate"),
        (".site.crt.stepca.json", "record"),
        ("site.key", "key"),
    ]
    assert len(finish.calls) == 3


def test_attributes_that_cannot_be_set_cost_no_token_and_leave_nothing(tmp_path):
    def refuse(path, target, kind):
        raise HostFileError("no such group")

    with pytest.raises(HostFileError, match="no such group"):
        examine.examine(ask(tmp_path), context(finish=refuse))
    assert os.listdir(str(tmp_path)) == []


# what is refused


def test_a_set_that_changed_meanwhile_is_left_alone(tmp_path):
    enrol(tmp_path)
    asked = {"sans": ["b.example"]}
    answer = examine.examine(ask(tmp_path, **asked), context())
    with (tmp_path / "site.crt").open("a") as stream:
        stream.write("# touched\n")
    before = {name: (tmp_path / name).read_bytes() for name in ("site.crt", "site.key", ".site.crt.stepca.json")}
    with pytest.raises(HostFileError, match="changed while its certificate was on the way.* Run again"):
        issue.accept(ask(tmp_path, **asked), context(), CA.sign(answer.csr), answer.digest, ISSUED_AT)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert pki.dot_files(tmp_path) == []


def refuse(folder, chain, error, text):
    """accept refuses this chain and leaves all as it was, but for the staged key."""
    answer = examine.examine(ask(folder), context())
    with pytest.raises(error, match=text):
        issue.accept(ask(folder), context(), chain(answer.csr), answer.digest, ISSUED_AT)
    assert [name for name in os.listdir(str(folder)) if not name.startswith(".site.key.stepca-")] == []
    return pki.dot_files(folder)


@pytest.mark.parametrize(
    "chain, text",
    [
        (FOREIGN.sign, "does not lead to a trusted root"),
        (
            lambda request: CA.sign(request).partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n",
            "trusted root",
        ),
        (lambda request: CA.sign(request, end=pki.NOW - timedelta(seconds=1)), "trusted root|ended on"),
        (lambda request: CA.sign(request, begin=pki.NOW - pki.DAY, end=pki.NOW + timedelta(hours=1)), "due at once"),
    ],
)
def test_a_chain_that_does_not_fit_is_refused_and_its_key_removed(tmp_path, chain, text):
    assert refuse(tmp_path, chain, CertificateError, text) == []


def test_a_chain_for_another_key_is_refused(tmp_path):
    other = pki.request_pem(pki.new_key(), ["a.example"])
    refuse(tmp_path, lambda request: CA.sign(other), (CertificateError, HostFileError), "key")


def test_what_is_no_chain_is_refused(tmp_path):
    refuse(tmp_path, lambda request: "nonsense", CertificateError, "The chain that came for this host cannot be read")


def test_discard_removes_the_key_of_this_request_only(tmp_path):
    first = examine.examine(ask(tmp_path), context())
    second = examine.examine(ask(tmp_path), context())
    assert len(pki.dot_files(tmp_path)) == 2
    issue.discard(ask(tmp_path), first.csr)
    assert len(pki.dot_files(tmp_path)) == 1
    issue.accept(ask(tmp_path), context(), CA.sign(second.csr), second.digest, ISSUED_AT)
    assert pki.dot_files(tmp_path) == []
    issue.discard(ask(tmp_path), second.csr)
    assert_whole(tmp_path, ["a.example"])


def test_discard_removes_nothing_for_what_is_no_request(tmp_path):
    examine.examine(ask(tmp_path), context())
    with pytest.raises(CsrError):
        issue.discard(ask(tmp_path), "nonsense")
    assert len(pki.dot_files(tmp_path)) == 1


@pytest.mark.parametrize("changes", [{}, {"force": True}])
def test_an_encrypted_key_is_somebody_elses(tmp_path, changes):
    content = pki.key_pem(pki.new_key(), b"password")
    (tmp_path / "site.key").write_bytes(content)
    with pytest.raises(
        HostFileError, match="site.key is encrypted with a password.* move it away, or name another key_path"
    ):
        examine.examine(ask(tmp_path, **changes), context())
    assert os.listdir(str(tmp_path)) == ["site.key"]
    assert (tmp_path / "site.key").read_bytes() == content


@pytest.mark.parametrize("option", ["certificate_path", "key_path", "csr_path"])
def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path, option):
    (tmp_path / "folder").mkdir()
    with pytest.raises(HostFileError, match="%s: .*folder is a folder" % option):
        examine.examine(ask(tmp_path, **{option: str(tmp_path / "folder")}), context())


def test_paths_are_absolute_and_two(tmp_path):
    with pytest.raises(OptionError, match="key_path: 'site.key' is not an absolute path"):
        examine.examine(ask(tmp_path, key_path="site.key"), context())
    (tmp_path / "link.key").symlink_to(tmp_path / "site.crt")
    with pytest.raises(HostFileError, match="certificate_path and key_path resolve to the same file"):
        examine.examine(ask(tmp_path, key_path=str(tmp_path / "link.key")), context())


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "site.crt").symlink_to(tmp_path / "real" / "site.pem")
    enrol(tmp_path)
    assert (tmp_path / "site.crt").is_symlink() and (tmp_path / "real" / "site.pem").is_file()
    assert examine.examine(ask(tmp_path), context()).outcome == "none"


def test_a_folder_open_to_everybody_holds_no_key(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(HostFileError, match="Everybody may write to the folder"):
        examine.examine(ask(tmp_path / "open"), context())
    assert os.listdir(str(tmp_path / "open")) == []


# a request that the user brings


@pytest.fixture(name="brought")
def fixture_brought(tmp_path):
    """Writes a request of a key beside it; returns the options that name it."""
    key = pki.new_key()
    (tmp_path / "site.key").write_bytes(pki.key_pem(key))
    (tmp_path / "site.csr").write_text(pki.request_pem(key, ["a.example"]), encoding="ascii")
    return {"csr_path": str(tmp_path / "site.csr"), "key_path": None}


@pytest.mark.parametrize("with_key", [False, True])
def test_a_request_that_the_user_brings_is_signed_as_it_is(tmp_path, brought, with_key):
    brought = dict(brought, key_path=str(tmp_path / "site.key") if with_key else None)
    before = pki.snapshot(tmp_path)
    answer = examine.examine(ask(tmp_path, **brought), context())
    assert csr.load(answer.csr) == csr.load((tmp_path / "site.csr").read_text(encoding="ascii"))
    assert pki.snapshot(tmp_path) == before
    issue.accept(ask(tmp_path, **brought), context(), CA.sign(answer.csr), answer.digest, ISSUED_AT)
    after = pki.snapshot(tmp_path)
    assert {path: after[path] for path in before} == before
    assert_whole(tmp_path, ["a.example"])
    assert examine.examine(ask(tmp_path, **brought), context()).outcome == "none"
    issue.discard(ask(tmp_path, **brought), answer.csr)
    assert pki.snapshot(tmp_path) == after


def test_another_key_in_the_request_is_drift(tmp_path, brought):
    enrol(tmp_path, **brought)
    (tmp_path / "site.csr").write_text(pki.request_pem(pki.new_key(), ["a.example"]), encoding="ascii")
    answer = examine.examine(ask(tmp_path, **brought), context(dry=True))
    assert answer.reasons == ["the certificate is for another key than the request %s" % (tmp_path / "site.csr")]


def test_names_of_the_request_are_those_of_the_task(tmp_path, brought):
    with pytest.raises(CsrError, match="csr_path: .*site.csr: .*names dns:a.example; the task asks for dns:b.example"):
        examine.examine(ask(tmp_path, sans=["b.example"], **brought), context())


def test_a_request_that_is_missing(tmp_path, brought):
    (tmp_path / "site.csr").unlink()
    with pytest.raises(HostFileError, match="csr_path: .*site.csr is missing. Make the request first"):
        examine.examine(ask(tmp_path, **brought), context())
    answer = examine.examine(ask(tmp_path, **brought), context(dry=True))
    assert answer.outcome == "issued" and "the request %s is missing" % (tmp_path / "site.csr") in answer.reasons


def test_a_key_beside_another_keys_request_is_refused(tmp_path, brought):
    (tmp_path / "site.key").write_bytes(pki.key_pem(pki.new_key()))
    with pytest.raises(HostFileError, match="site.key is not the key of the request .*read and never written"):
        examine.examine(ask(tmp_path, **dict(brought, key_path=str(tmp_path / "site.key"))), context())
