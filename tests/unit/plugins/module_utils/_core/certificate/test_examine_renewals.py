# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A renewal by way of the controller: the host hands over proofs, keeps its key, and takes what continues its own."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import examine, fileset, issue, record
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    CertificateError,
    HostFileError,
    OptionError,
    Overtaken,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import reading
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates, jws, keys, proof
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import (
    CA,
    FOREIGN,
    ISSUED_AT,
    ask,
    context,
    enrol,
    pair_of,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.stand_in import StandIn

LATER = pki.NOW + timedelta(hours=20)
RENEWED_AT = LATER.strftime("%Y-%m-%dT%H:%M:%SZ")
URLS = ("https://ca.internal/1.0/renew",)


def told(**changes):
    return context(**dict({"now": LATER, "audiences": URLS, "attempts": 3}, **changes))


def prolonged(answer, **more):
    """What the authority makes of a proof."""
    stand_in = StandIn(CA)
    stand_in.clock = LATER
    return stand_in.prolong(proof.chain_of(answer.proofs[0])[0], **more)


def accept(folder, chain, answer, **changes):
    return issue.accept(ask(folder, **changes), told(), chain, answer.digest, RENEWED_AT, renewal=True)


def test_what_is_due_hands_over_as_many_proofs_as_there_may_be_attempts(tmp_path):
    enrol(tmp_path)
    before = pki.snapshot(tmp_path)
    dry = examine.examine(ask(tmp_path), told(dry=True))
    answer = examine.examine(ask(tmp_path), told())
    assert pki.snapshot(tmp_path) == before
    assert answer.outcome == dry.outcome == "renewed" and answer.reasons == dry.reasons
    assert (dry.proofs, dry.csr, answer.csr) == ([], None, None)
    assert len(set(answer.proofs)) == 3
    claims = [jws.claims(one)[1] for one in answer.proofs]
    assert {tuple(one["aud"]) for one in claims} == {URLS}
    assert {one["nbf"] for one in claims} == {int(LATER.timestamp()) - 60}


def test_a_renewal_changes_the_certificate_and_nothing_else(tmp_path):
    options = {"chain_path": str(tmp_path / "chain"), "combined_path": str(tmp_path / "all")}
    enrol(tmp_path, **options)
    former, key = pair_of(tmp_path), pki.snapshot(tmp_path)[str(tmp_path / "site.key")]
    answer = examine.examine(ask(tmp_path, **options), told())
    done = accept(tmp_path, prolonged(answer), answer, **options)
    assert pair_of(tmp_path) == former and done.warnings == []
    assert pki.snapshot(tmp_path)[str(tmp_path / "site.key")] == key
    assert (tmp_path / "all").read_bytes() == (tmp_path / "site.key").read_bytes() + (
        tmp_path / "site.crt"
    ).read_bytes()
    assert pki.dot_files(tmp_path) == []
    kept = record.read(str(tmp_path / "site.crt"))
    assert kept["issued_at"] == ISSUED_AT and kept["given"]["serial"] == done.certificate["serial"]
    again = examine.examine(ask(tmp_path, **options), told())
    assert (again.outcome, again.reasons) == ("none", [])


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda chain, key: FOREIGN.sign(pki.request_pem(key, ["a.example"])), "does not lead to a trusted root"),
        (lambda chain, key: CA.sign(pki.request_pem(key, ["b.example"])), "another certificate than the one"),
        (lambda chain, key: CA.sign(pki.request_pem(key, ["a.example"])), "not later than now"),
        (lambda chain, key: "rubbish", "cannot be read"),
    ],
    ids=["of others", "other names", "no later", "rubbish"],
)
def test_what_does_not_continue_it_is_refused(tmp_path, spoil, words):
    enrol(tmp_path)
    before = pki.snapshot(tmp_path)
    answer = examine.examine(ask(tmp_path), told())
    key = keys.load((tmp_path / "site.key").read_bytes(), "")
    with pytest.raises(CertificateError, match=words):
        accept(tmp_path, spoil(prolonged(answer), key), answer)
    assert pki.snapshot(tmp_path) == before


def test_what_is_gone_by_then_is_not_continued(tmp_path, monkeypatch):
    """Between the digest, which would notice, and the next look."""
    enrol(tmp_path)
    answer = examine.examine(ask(tmp_path), told())
    real = fileset.refuse_changed
    monkeypatch.setattr(fileset, "refuse_changed", lambda *all_: real(*all_) or (tmp_path / "site.crt").unlink())
    with pytest.raises(Overtaken, match="site.crt is gone since it was examined. Run again."):
        accept(tmp_path, prolonged(answer), answer)
    assert not (tmp_path / "site.crt").exists()


def test_a_renewal_for_another_key_is_refused(tmp_path):
    enrol(tmp_path)
    answer = examine.examine(ask(tmp_path), told())
    with pytest.raises(HostFileError, match="No key of this host belongs to the certificate that came"):
        accept(tmp_path, prolonged(answer, public_key=pki.new_key().public_key()), answer)


def test_where_the_authority_refused_the_second_look_asks_to_issue(tmp_path):
    enrol(tmp_path)
    answer = examine.examine(ask(tmp_path), told(refused="the CA refused to renew it (401)"))
    assert answer.outcome == "issued" and answer.csr and answer.proofs == []
    assert answer.reasons[-1] == "it is issued anew instead of renewed: the CA refused to renew it (401)"


def test_without_anybody_to_vouch_no_key_is_made(tmp_path):
    answer = examine.examine(ask(tmp_path), told(by_host=True, can_issue=False))
    assert answer.outcome == "issued" and answer.csr is None
    assert os.listdir(tmp_path) == []


def test_a_lost_certificate_is_told_when_it_is_issued_again(tmp_path):
    examine.examine(ask(tmp_path), told())
    answer = examine.examine(ask(tmp_path), told())
    assert answer.warnings == [
        "An earlier run for %s made a key whose certificate was never installed: it is issued again."
        % (tmp_path / "site.crt")
    ]


# the key


def test_a_kept_key_is_signed_again(tmp_path):
    enrol(tmp_path)
    former = pair_of(tmp_path)
    enrol(tmp_path, key_policy="keep", sans=["b.example"])
    assert pair_of(tmp_path)[1] == former[1] and pair_of(tmp_path)[2] == ["b.example"]
    assert pki.dot_files(tmp_path) == []


@pytest.mark.parametrize("lost", [None, b"", b"rubbish"])
def test_a_kept_key_that_is_lost_is_made_anew(tmp_path, lost):
    enrol(tmp_path)
    (tmp_path / "site.key").unlink() if lost is None else (tmp_path / "site.key").write_bytes(lost)
    enrol(tmp_path, key_policy="keep")
    assert pair_of(tmp_path)[0] == pair_of(tmp_path)[1]


@pytest.mark.parametrize("dry", [False, True])
def test_a_kept_key_of_another_type_is_a_contradiction(tmp_path, dry):
    enrol(tmp_path)
    before = pki.snapshot(tmp_path)
    with pytest.raises(
        OptionError, match="key_policy: keep: the key .*site.key is of type ec-p256, and key_type asks for ed25519"
    ):
        examine.examine(ask(tmp_path, key_policy="keep", key_type="ed25519"), told(dry=dry))
    assert pki.snapshot(tmp_path) == before


@pytest.mark.parametrize("dry", [False, True])
def test_a_revoked_certificate_always_gets_a_new_key(tmp_path, dry):
    enrol(tmp_path)
    serial = certificates.load(reading.read(str(tmp_path / "site.crt")))[0].serial_number
    revoked = told(dry=dry, now=pki.NOW, revoked=lambda number: "the CA revoked it" if number == serial else "")
    answer = examine.examine(ask(tmp_path), revoked)
    assert (answer.outcome, answer.reasons) == ("issued", ["the CA revoked it"])
    with pytest.raises(
        OptionError, match="key_policy: keep: the CA revoked it, and a revoked certificate always gets a new key"
    ):
        examine.examine(ask(tmp_path, key_policy="keep"), revoked)


def test_a_revoked_certificate_of_a_request_of_the_user(tmp_path):
    key = pki.new_key()
    (tmp_path / "site.csr").write_text(pki.request_pem(key, ["a.example"]), encoding="ascii")
    brought = {"csr_path": str(tmp_path / "site.csr"), "key_path": None}
    enrol(tmp_path, **brought)
    with pytest.raises(OptionError, match="csr_path: it is revoked, and a revoked certificate always gets a new key"):
        examine.examine(ask(tmp_path, **brought), told(revoked=lambda _serial: "it is revoked"))


def test_a_certificate_that_lives_too_long_is_not_installed(tmp_path):
    answer = examine.examine(ask(tmp_path, max_lifetime="12h"), context())
    issued_at = pki.NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    with pytest.raises(CertificateError, match="lives longer than max_lifetime allows"):
        issue.accept(ask(tmp_path, max_lifetime="12h"), context(), CA.sign(answer.csr), answer.digest, issued_at)
    assert os.listdir(tmp_path) == []


def test_what_is_renewed_by_the_host_itself_brings_a_request_for_the_worst_case(tmp_path):
    enrol(tmp_path)
    answer = examine.examine(ask(tmp_path), told(by_host=True))
    assert answer.outcome == "renewed" and answer.csr and answer.proofs == []
    issue.discard(ask(tmp_path), answer.csr)
    assert examine.examine(ask(tmp_path), told(by_host=True, can_issue=False)).csr is None
    assert pki.dot_files(tmp_path) == []
