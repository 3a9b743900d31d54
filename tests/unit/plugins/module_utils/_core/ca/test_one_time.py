# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Tokens and proofs are sent once: what is asked again, with what, and what is said when none is left."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import client, one_time
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    ApiError,
    CertificateError,
    TransportError,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, ask
from ansible_collections.privatepki.stepca.tests.unit.plugins.stand_in import SECRETIVE, URL, StandIn

REQUEST = pki.request_pem(pki.new_key(), ["a.example"])
REFUSED = TransportError("connection refused", sent=False)
BROKEN = TransportError("connection reset", sent=True)
SIGN, RENEW, REVOKE = "/1.0/sign", "/1.0/renew", "/1.0/revoke"


@pytest.fixture(name="stand_in")
def fixture_stand_in():
    return StandIn(CA)


def authority(stand_in, **more):
    return client.StepCA(stand_in.connection(**more), stand_in.transport, sleep=lambda _seconds: None)


class Tokens:
    """next_one(spent) over a purse of tokens: an unspent one is offered again."""

    def __init__(self, *purse):
        self.left = list(purse)
        self.told = []

    def __call__(self, spent):
        self.told.append(spent)
        if spent and self.left:
            self.left.pop(0)
        return self.left[0] if self.left else None


def sign(stand_in, tmp_path, tokens, told=None, **options):
    return one_time.sign(authority(stand_in, **(told or {})), ask(tmp_path, **options), REQUEST, tokens, "a source")


def sent(stand_in):
    return [one.token for one in stand_in.asked]


# sign


def test_one_token_signs_one_request(stand_in, tmp_path):
    chain_pem, date = sign(
        stand_in, tmp_path, Tokens("one", "two"), not_after="12h", not_before="1m", template_data={"a": 1}
    )
    assert certificates.load(chain_pem.encode())[1] == CA.intermediate
    assert date == pki.NOW
    (asked,) = stand_in.asked
    assert asked.body == {
        "csr": REQUEST,
        "ott": "one",
        "notBefore": "1m",
        "notAfter": "12h",
        "templateData": {"a": 1},
    }


def test_a_token_that_may_have_arrived_is_followed_by_another(stand_in, tmp_path):
    stand_in.say[SIGN] = [BROKEN, (503, b""), None]
    sign(stand_in, tmp_path, Tokens("one", "two", "three"), told={"retries": 2})
    assert sent(stand_in) == ["one", "two", "three"]


def test_a_token_that_cannot_have_arrived_is_sent_again(stand_in, tmp_path):
    stand_in.say[SIGN] = [REFUSED, REFUSED, None]
    sign(stand_in, tmp_path, Tokens("one", "two"), told={"retries": 2})
    assert sent(stand_in) == ["one", "one", "one"]


def test_where_tokens_end_nothing_is_sent(stand_in, tmp_path):
    stand_in.say[SIGN] = [BROKEN]
    with pytest.raises(TransportError, match="may have been used by that, and is not sent again"):
        sign(stand_in, tmp_path, Tokens("one"), told={"retries": 5})
    assert sent(stand_in) == ["one"]


def test_a_refusal_is_final_and_explained(stand_in, tmp_path):
    stand_in.say[SIGN] = [(401, {"message": SECRETIVE})]
    with pytest.raises(
        ApiError, match="step-ca at %s refused the token .401 Unauthorized.* .a source." % URL
    ) as caught:
        sign(stand_in, tmp_path, Tokens("one", "two"), told={"retries": 5})
    assert caught.value.status == 401
    assert [one for one in sent(stand_in) if one] == ["one"]


def test_words_of_the_authority_are_told(stand_in, tmp_path):
    stand_in.say[SIGN] = [(403, {"message": "requested duration of 48h is more than the authorized maximum"})]
    with pytest.raises(ApiError, match="requested duration of 48h.*Ask for a life within that .not_after"):
        sign(stand_in, tmp_path, Tokens("one"))


def test_an_authority_in_trouble_is_quoted_as_it_is(stand_in, tmp_path):
    stand_in.say[SIGN] = [(500, {"message": "the disk is full"})]
    with pytest.raises(ApiError, match="POST %s/1.0/sign: 500 Internal Server Error: the disk is full" % URL):
        sign(stand_in, tmp_path, Tokens("one"))


# max_lifetime


def life_of(chain_pem):
    return certificates.not_after(certificates.load(chain_pem.encode())[0]) - pki.NOW


def test_a_life_within_the_cap_is_asked_for_once(stand_in, tmp_path):
    assert life_of(sign(stand_in, tmp_path, Tokens("one"), max_lifetime="24h")[0]) == pki.DAY
    stand_in.life = pki.DAY + timedelta(minutes=1)
    assert life_of(sign(stand_in, tmp_path, Tokens("two"), max_lifetime="24h")[0]) == stand_in.life
    assert sent(stand_in) == ["one", "two"]


def test_a_life_above_the_cap_is_discarded_and_the_cap_asked_for(stand_in, tmp_path):
    stand_in.life = 30 * pki.DAY
    chain_pem, _date = sign(stand_in, tmp_path, Tokens("one", "two", "three"), max_lifetime="24h")
    assert life_of(chain_pem) == pki.DAY
    assert [(one.token, one.body["notAfter"]) for one in stand_in.asked] == [("one", ""), ("two", "24h")]


def test_the_second_request_has_its_own_attempts(stand_in, tmp_path):
    stand_in.life = 30 * pki.DAY
    stand_in.say[SIGN] = [None, BROKEN, None]
    sign(stand_in, tmp_path, Tokens("one", "two", "three"), told={"retries": 1}, max_lifetime="24h")
    assert [(one.token, one.body["notAfter"]) for one in stand_in.asked] == [
        ("one", ""),
        ("two", "24h"),
        ("three", "24h"),
    ]


def test_a_single_token_cannot_ask_twice_and_says_what_to_ask_for(stand_in, tmp_path):
    stand_in.life = 30 * pki.DAY
    with pytest.raises(CertificateError, match="longer life than max_lifetime, 24h, .* Ask for not_after: 24h"):
        sign(stand_in, tmp_path, Tokens("one"), max_lifetime="24h")
    assert sent(stand_in) == ["one"]


def test_an_authority_that_gives_more_than_was_asked_for_is_not_asked_for_ever(stand_in, tmp_path):
    long = {"certChain": [stand_in.issue(REQUEST, "", "30d")]}
    stand_in.say[SIGN] = [(201, long)]
    with pytest.raises(CertificateError, match="lives longer than max_lifetime, 24h, although no more was asked for"):
        sign(stand_in, tmp_path, Tokens("one", "two", "three", "four"), max_lifetime="24h")
    assert sent(stand_in) == ["one", "two"]


def test_the_clock_of_the_authority_counts_for_the_cap(stand_in, tmp_path):
    stand_in.clock = pki.NOW + 100 * pki.DAY
    sign(stand_in, tmp_path, Tokens("one"), max_lifetime="24h")
    assert sent(stand_in) == ["one"]


def test_an_answer_that_is_no_chain_is_said(stand_in, tmp_path):
    stand_in.say[SIGN] = [(201, {"certChain": ["rubbish"]})]
    with pytest.raises(CertificateError, match="The CA's chain cannot be read"):
        sign(stand_in, tmp_path, Tokens("one"), max_lifetime="24h")


# renew


def test_proofs_follow_each_other_too(stand_in):
    stand_in.say[RENEW] = [BROKEN, (201, {"certChain": ["leaf", "ca"]})]
    assert one_time.renew(authority(stand_in, retries=1), Tokens("a.b.c", "d.e.f"))[0] == "leaf\nca\n"
    assert sent(stand_in) == ["a.b.c", "d.e.f"]
    assert [one.by for one in stand_in.asked] == ["proof", "proof"]


def test_where_proofs_end_nothing_is_sent(stand_in):
    stand_in.say[RENEW] = [BROKEN]
    with pytest.raises(TransportError):
        one_time.renew(authority(stand_in, retries=5), Tokens("a.b.c"))
    assert sent(stand_in) == ["a.b.c"]


@pytest.mark.parametrize(
    "status, message, words",
    [
        (401, SECRETIVE, "it may have been revoked, its provisioner may be gone, or may not allow renewals"),
        (403, "the disk is full.", "the CA refused to renew it (403 Forbidden: the disk is full)"),
    ],
)
def test_why_the_authority_does_not_renew_is_part_of_a_sentence(stand_in, status, message, words):
    stand_in.say[RENEW] = [(status, {"message": message})]
    with pytest.raises(ApiError) as caught:
        one_time.renew(authority(stand_in), Tokens("a.b.c"))
    text = str(caught.value)
    assert words in text and text.startswith("the CA refused to renew it (") and not text.endswith(".")
    assert caught.value.status == status


# revoke


def test_revoking_twice_is_told_apart(stand_in):
    assert one_time.revoke(authority(stand_in), "7", "keyCompromise", Tokens("one")) is True
    assert one_time.revoke(authority(stand_in), "7", "keyCompromise", Tokens("two")) is False
    assert stand_in.asked[0].body == {
        "serial": "7",
        "ott": "one",
        "reasonCode": 1,
        "reason": "keyCompromise",
        "passive": True,
    }


@pytest.mark.parametrize(
    "status, message, words",
    [
        (400, "no such thing", "did not revoke the certificate with the serial 7 .400 Bad Request.. no such thing"),
        (501, "not implemented", "Revocation needs the CA's database"),
        (401, SECRETIVE, "refused the token"),
    ],
)
def test_a_refusal_to_revoke_is_explained(stand_in, status, message, words):
    stand_in.say[REVOKE] = [(status, {"message": message})]
    with pytest.raises(ApiError, match=words):
        one_time.revoke(authority(stand_in, retries=3), "7", "unspecified", Tokens("one", "two"))
    assert [one for one in sent(stand_in) if one] == ["one"]


def test_a_revocation_that_may_have_arrived_is_asked_for_with_another_token(stand_in):
    stand_in.say[REVOKE] = [BROKEN, None]
    assert one_time.revoke(authority(stand_in, retries=1), "7", "unspecified", Tokens("one", "two")) is True
    assert sent(stand_in) == ["one", "two"]
