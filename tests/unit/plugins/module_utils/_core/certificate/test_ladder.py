# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A host that asks the CA itself: its client certificate, then its proof, then a token; and what stands when one fails."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from cryptography import x509

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import https
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import by_host, examine, ladder
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    ApiError,
    CertificateError,
    HostFileError,
    OptionError,
    Overtaken,
    TransportError,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.wire import Errand
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import (
    CA,
    FOREIGN,
    ask,
    assert_whole,
    context,
    enrol,
    pair_of,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.stand_in import SECRETIVE, URL, StandIn

LATER = pki.NOW + timedelta(hours=20)
RENEW, REKEY, SIGN, REVOKE = "/1.0/renew", "/1.0/rekey", "/1.0/sign", "/1.0/revoke"
NO = (401, {"message": SECRETIVE})
REFUSED = TransportError("connection refused", sent=False)
#: What becomes of a client certificate that the other side does not accept.
BROKEN_OFF = TransportError("TLS broke after the request was sent", sent=True, broken_off=True)
BY_CLIENT, BY_PROOF, BY_TOKEN = ("renew", "client certificate"), ("renew", "proof"), ("sign", "token")


@pytest.fixture(name="stand_in")
def fixture_stand_in(monkeypatch):
    found = StandIn(CA)
    found.clock = LATER
    monkeypatch.setattr(https, "Transport", found.transport)
    return found


def told(**changes):
    """What the controller says to a host that asks by itself."""
    return context(**dict({"now": LATER, "by_host": True, "audiences": (URL + RENEW,)}, **changes))


def tokens(*purse, revoke=()):
    return {"sign": list(purse), "revoke": list(revoke)}


def run(folder, stand_in, purse=None, asked=None, knows=None, **changes):
    """Both calls of a task: examine, then climb down with these tokens (a dict)."""
    knows = knows or {}
    answer = by_host.examine(ask(folder, **changes), told(**knows), stand_in.connection())
    stand_in.asked.clear()
    members = {"outcome": answer.outcome, "csr": answer.csr, "digest": answer.digest, **(asked or {})}
    errand = Errand("obtain", **members)
    given = tokens("one", "two") if purse is None else purse
    return ladder.Ladder(ask(folder, **changes), told(**knows), stand_in.connection(), errand, given).run()


def assert_steady(folder, **changes):
    """Nothing is left to do, and nothing is left lying about."""
    answer = examine.examine(ask(folder, **changes), told())
    assert (answer.outcome, answer.reasons) == ("none", [])
    assert pki.dot_files(folder) == []


# renewed


def test_what_is_due_is_renewed_with_the_client_certificate(tmp_path, stand_in):
    enrol(tmp_path)
    former = pair_of(tmp_path)
    done = run(tmp_path, stand_in)
    assert (done.outcome, done.reasons, done.ca_url) == ("renewed", [], URL)
    assert stand_in.paths == [BY_CLIENT]
    assert pair_of(tmp_path) == former
    assert_steady(tmp_path)


@pytest.mark.parametrize("answer", [NO, (403, {"message": "no"}), BROKEN_OFF], ids=["401", "403", "broken off"])
def test_where_the_client_certificate_is_refused_the_proof_is_next(tmp_path, stand_in, answer):
    enrol(tmp_path)
    stand_in.say[RENEW] = [answer, None]
    done = run(tmp_path, stand_in)
    assert (done.outcome, done.reasons) == ("renewed", [])
    assert stand_in.paths == [BY_CLIENT, BY_PROOF]
    assert_steady(tmp_path)


def test_where_neither_is_accepted_the_token_is_next(tmp_path, stand_in):
    enrol(tmp_path)
    former = pair_of(tmp_path)
    stand_in.say[RENEW] = [NO]
    done = run(tmp_path, stand_in)
    assert stand_in.paths == [BY_CLIENT, BY_PROOF, BY_TOKEN]
    assert done.outcome == "issued"
    (reason,) = done.reasons
    assert reason.startswith("it is issued anew instead of renewed: the CA refused to renew it (401 Unauthorized)")
    assert_whole(tmp_path, ["a.example"])
    assert pair_of(tmp_path)[1] != former[1]
    assert_steady(tmp_path)


def test_an_authority_that_is_not_there_costs_no_token(tmp_path, stand_in):
    enrol(tmp_path)
    before = sorted(os.listdir(tmp_path))
    stand_in.say[RENEW] = [REFUSED]
    with pytest.raises(TransportError, match="connection refused"):
        run(tmp_path, stand_in)
    assert stand_in.paths == [BY_CLIENT]
    assert sorted(os.listdir(tmp_path)) == before


def test_an_authority_that_is_not_there_is_not_asked_again_for_the_next_certificate(tmp_path, stand_in):
    learnt = {}
    for number, name in enumerate(("first", "second")):
        (tmp_path / name).mkdir()
        stand_in.say[SIGN] = [REFUSED]
        with pytest.raises(TransportError, match="connection refused"):
            run(tmp_path / name, stand_in, knows={"learnt": learnt})
        assert bool(stand_in.asked) == (number == 0)
        assert list((tmp_path / name).iterdir()) == []


def test_who_only_renews_needs_no_provisioner(tmp_path, stand_in):
    enrol(tmp_path)
    stand_in.say[RENEW] = [NO, None]
    assert run(tmp_path, stand_in, tokens(), knows={"can_issue": False}).outcome == "renewed"


def test_who_has_no_token_is_told_that_only_one_can_help(tmp_path, stand_in):
    enrol(tmp_path)
    before = pki.snapshot(tmp_path)
    stand_in.say[RENEW] = [NO]
    with pytest.raises(OptionError, match="A certificate is due .it cannot be renewed: .*, and no op"):
        run(tmp_path, stand_in, tokens(), knows={"can_issue": False})
    assert pki.snapshot(tmp_path) == before


def test_a_key_that_may_not_sign_proves_nothing(tmp_path, stand_in, monkeypatch):
    """Such a certificate may be shown, but the CA would not take its proof."""
    problem = "its key is not for signatures"
    monkeypatch.setattr(ladder.certificates, "renewal_problem", lambda _leaf, by_proof: problem if by_proof else "")
    enrol(tmp_path)
    stand_in.say[RENEW] = [NO]
    done = run(tmp_path, stand_in)
    assert stand_in.paths == [BY_CLIENT, BY_TOKEN]
    assert done.reasons == ["it is issued anew instead of renewed: " + problem]


def short_lived(stand_in):
    """Renewals that end no later than what they renew."""
    leaf_end = pki.NOW + pki.DAY
    real = stand_in.prolong

    def prolong(former, public_key=None):
        stand_in.clock = leaf_end - (former.not_valid_after_utc - former.not_valid_before_utc) + stand_in.backdate
        try:
            return real(former, public_key)
        finally:
            stand_in.clock = LATER

    stand_in.prolong = prolong


@pytest.mark.parametrize("policy, path", [("on_issue", "renewed"), ("always", "rekeyed")])
def test_a_renewal_that_gains_nothing_is_not_installed(tmp_path, stand_in, policy, path):
    """The key that the token signs must still be there."""
    enrol(tmp_path)
    short_lived(stand_in)
    done = run(tmp_path, stand_in, key_policy=policy)
    assert done.outcome == "issued"
    assert "it is issued anew instead of %s: A renewal would end on" % path in done.reasons[0]
    assert stand_in.paths[-1] == BY_TOKEN
    assert_steady(tmp_path)


def test_an_answer_for_another_key_is_not_installed(tmp_path, stand_in):
    enrol(tmp_path)
    other = stand_in.issue(pki.request_pem(pki.new_key(), ["a.example"]), "", "48h")
    stand_in.say[RENEW] = [(201, {"certChain": [other]})]
    done = run(tmp_path, stand_in)
    assert done.outcome == "issued" and "with a certificate for another key" in done.reasons[0]
    assert_steady(tmp_path)


def test_rubbish_is_not_installed(tmp_path, stand_in):
    enrol(tmp_path)
    stand_in.say[RENEW] = [(201, {"certChain": ["rubbish"]})]
    done = run(tmp_path, stand_in)
    assert done.outcome == "issued" and "The CA's chain cannot be read" in done.reasons[0]


# rekeyed


def test_key_policy_always_takes_a_new_key_without_a_token(tmp_path, stand_in):
    enrol(tmp_path)
    former = pair_of(tmp_path)
    done = run(tmp_path, stand_in, tokens(), knows={"can_issue": False}, key_policy="always")
    assert (done.outcome, done.reasons, stand_in.paths) == ("rekeyed", [], [("rekey", "client certificate")])
    assert_whole(tmp_path, ["a.example"])
    assert pair_of(tmp_path)[1] != former[1]
    assert_steady(tmp_path, key_policy="always")


@pytest.mark.parametrize("answer", [NO, BROKEN_OFF], ids=["401", "broken off"])
def test_a_proof_cannot_rekey(tmp_path, stand_in, answer):
    enrol(tmp_path)
    stand_in.say[REKEY] = [answer]
    done = run(tmp_path, stand_in, key_policy="always")
    assert stand_in.paths == [("rekey", "client certificate"), BY_TOKEN]
    assert done.outcome == "issued" and "it is issued anew instead of rekeyed: the CA " in done.reasons[0]
    assert_steady(tmp_path, key_policy="always")


# issued


def test_a_first_certificate_by_the_host_itself(tmp_path, stand_in):
    done = run(tmp_path, stand_in)
    assert (done.outcome, stand_in.paths) == ("issued", [BY_TOKEN])
    assert_steady(tmp_path)


def test_each_token_is_sent_once(tmp_path, stand_in):
    stand_in.say[SIGN] = [TransportError("connection reset", sent=True)]
    with pytest.raises(TransportError):
        errand = tokens("one", "two")
        run(tmp_path, stand_in, errand)
    assert [one.token for one in stand_in.asked] == ["one"]
    assert os.listdir(tmp_path) == []


def test_a_refused_token_leaves_nothing_behind(tmp_path, stand_in):
    stand_in.say[SIGN] = [NO]
    with pytest.raises(ApiError, match="refused the token"):
        run(tmp_path, stand_in)
    assert os.listdir(tmp_path) == []


def test_a_chain_of_a_stranger_is_not_installed(tmp_path, stand_in):
    stand_in.authority = FOREIGN
    knows = {"roots": [CA.root]}
    with pytest.raises(CertificateError, match="does not lead to a trusted root"):
        run(tmp_path, stand_in, knows=knows)
    assert os.listdir(tmp_path) == []


def test_a_set_that_changed_meanwhile_is_left_alone(tmp_path, stand_in):
    enrol(tmp_path)
    before = pki.snapshot(tmp_path)
    with pytest.raises(HostFileError, match="changed while its certificate was on the way"):
        run(tmp_path, stand_in, asked={"digest": "of yesterday"})
    assert pki.snapshot(tmp_path) == before


def test_a_certificate_that_is_gone_meanwhile_is_not_asked_about(tmp_path, stand_in):
    enrol(tmp_path)
    answer = by_host.examine(ask(tmp_path), told(), stand_in.connection())
    (tmp_path / "site.crt").unlink()
    errand = Errand("obtain", outcome=answer.outcome, csr=answer.csr, digest=answer.digest)
    stand_in.asked.clear()
    with pytest.raises(Overtaken, match="site.crt is gone since it was examined. Run again."):
        ladder.Ladder(ask(tmp_path), told(), stand_in.connection(), errand, tokens("one")).run()
    assert stand_in.asked == []


def test_roots_that_nobody_has_are_fetched_by_the_host(tmp_path, stand_in):
    enrol(tmp_path)
    os.unlink(tmp_path / ".site.crt.stepca.json")
    stand_in.clock = pki.NOW
    connection = stand_in.connection(roots=[])
    answer = by_host.examine(ask(tmp_path), told(roots=None, now=pki.NOW), connection)
    assert (answer.outcome, answer.needs_roots) == ("none", False)
    assert [one.path for one in stand_in.asked] == ["/1.0/root/%s" % CA.fingerprint]


# revocation


def test_the_host_looks_its_certificate_up(tmp_path, stand_in):
    enrol(tmp_path)
    asked = ask(tmp_path, check_revocation=True)
    early = {"now": pki.NOW}
    stand_in.clock = pki.NOW
    assert by_host.examine(asked, told(**early), stand_in.connection()).outcome == "none"
    stand_in.revoked = [(serial_of(tmp_path), x509.ReasonFlags.key_compromise)]
    answer = by_host.examine(ask(tmp_path, check_revocation=True), told(**early), stand_in.connection())
    assert answer.outcome == "issued" and "the CA revoked it (serial " in answer.reasons[0]


def test_the_list_is_fetched_once_for_all_certificates(tmp_path, stand_in):
    enrol(tmp_path)
    stand_in.clock = pki.NOW
    learnt = {}
    for _certificate in range(2):
        by_host.examine(ask(tmp_path, check_revocation=True), told(now=pki.NOW, learnt=learnt), stand_in.connection())
    assert [one.path for one in stand_in.asked].count("/1.0/crl") == 1


def serial_of(folder) -> int:
    return x509.load_pem_x509_certificate((folder / "site.crt").read_bytes()).serial_number


def test_what_was_replaced_is_revoked(tmp_path, stand_in):
    enrol(tmp_path)
    serial = serial_of(tmp_path)
    done = run(
        tmp_path,
        stand_in,
        tokens("one", revoke=["r1"]),
        {"revoke": str(serial)},
        sans=["b.example"],
        revoke=True,
        reason="superseded",
    )
    assert (done.outcome, done.revoked) == ("issued", True)
    assert [one.path for one in stand_in.asked] == [SIGN, REVOKE]
    assert stand_in.asked[1].body["reason"] == "superseded"
    assert stand_in.revoked == [(serial, None)] and serial_of(tmp_path) != serial


def test_a_failed_revocation_stands_beside_the_successor(tmp_path, stand_in):
    enrol(tmp_path)
    serial = serial_of(tmp_path)
    stand_in.say[REVOKE] = [(500, {"message": "the disk is full"})]
    changes = {"sans": ["b.example"], "revoke": True}
    done = run(tmp_path, stand_in, tokens("one", revoke=["r1"]), {"revoke": str(serial)}, **changes)
    assert (done.outcome, done.failed, done.revoked) == ("issued", True, False)
    assert "is replaced, but the certificate that was there before is not revoked" in done.msg
    assert "the disk is full" in done.msg and "Revoke it with stepca_revoke." in done.msg
    assert_whole(tmp_path, ["b.example"])


def removal(folder, stand_in, serial):
    errand = Errand("obtain", outcome="removed", revoke=str(serial))
    asked = ask(folder, state="absent", revoke=True)
    return ladder.Ladder(asked, told(), stand_in.connection(), errand, tokens(revoke=["r1"])).run()


def test_a_certificate_is_revoked_before_it_is_removed(tmp_path, stand_in):
    enrol(tmp_path)
    serial = serial_of(tmp_path)
    done = removal(tmp_path, stand_in, serial)
    assert (done.outcome, done.revoked, done.ca_url) == ("removed", True, URL)
    assert stand_in.revoked == [(serial, None)] and os.listdir(tmp_path) == []


def test_what_cannot_be_revoked_is_not_removed(tmp_path, stand_in):
    enrol(tmp_path)
    before = pki.snapshot(tmp_path)
    stand_in.say[REVOKE] = [NO]
    with pytest.raises(ApiError, match="refused the token"):
        removal(tmp_path, stand_in, serial_of(tmp_path))
    assert pki.snapshot(tmp_path) == before
