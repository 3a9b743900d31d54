# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Why a token was refused: each cause that can be seen from outside is found, and nothing is said that is not so."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import api, diagnosis
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import ApiError, TransportError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import jws
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

GENERIC = "The request lacked necessary authorization to be completed. See the certificate authority logs for more."
CA = pki.Authority()
PEER = CA.leaf(pki.new_key().public_key(), ["ca.internal", "10.0.0.1"]).public_bytes(serialization.Encoding.DER)
OPS = {"type": "JWK", "name": "ops", "key": {"kid": "kid-1"}}
ACME = {"type": "ACME", "name": "acme"}


def part(content) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode("utf-8")
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode("ascii")


def token(header=None, **claims):
    now = int(durations.now().timestamp())
    content = {"iss": "ops", "aud": ["https://ca.internal/1.0/sign"], "nbf": now - 60, "exp": now + 300}
    content.update(claims)
    return "%s.%s.signature" % (part(header or {"kid": "kid-1"}), part(content))


def peer_of(names):
    """The CA's own certificate, with these names as they are spelled."""
    return CA.leaf(pki.new_key().public_key(), names).public_bytes(serialization.Encoding.DER)


class Authority:
    """A CA as far as a diagnosis asks it."""

    url = "https://ca.internal"

    def __init__(self, provisioners=(OPS, ACME), peer=PEER):
        self._provisioners, self._peer = provisioners, peer

    def provisioners(self):
        if isinstance(self._provisioners, Exception):
            raise self._provisioners
        return list(self._provisioners)

    def ask(self, request):
        assert request == api.HEALTH
        if isinstance(self._peer, Exception):
            raise self._peer
        return api.Answer(200, {}, b"{}", self.url, self._peer)


def explain(text, authority=None, message=GENERIC, date=None, source=""):
    error = ApiError("text", 401, "https://ca.internal/1.0/sign", message, date or durations.now())
    return diagnosis.explain(error, text, authority or Authority(), source)


REFUSED = "step-ca at https://ca.internal refused the token (401 Unauthorized)."


# what is said


def test_a_name_that_the_authority_does_not_know():
    found = explain(token(iss="opps"), source="from the variable stepca_provisioner")
    assert found == REFUSED + (
        ' The CA has no provisioner "opps"; it has: "ops" (JWK), "acme" (ACME). '
        "Check the option provisioner (from the variable stepca_provisioner)."
    )


def test_a_name_where_the_authority_knows_none():
    found = explain(token(), Authority(provisioners=()))
    assert 'The CA has no provisioner "ops"; it has: none at all. Check the option provisioner.' in found


def test_a_key_that_is_not_the_provisioners():
    found = explain(token(header={"kid": "kid-2"}))
    assert found.endswith(
        'The key is not that of the provisioner "ops": the token was made with the key id kid-2, the CA has kid-1.'
    )


KINDS = {
    "ES256": {"kty": "EC", "crv": "P-256"},
    "ES384": {"kty": "EC", "crv": "P-384"},
    "ES512": {"kty": "EC", "crv": "P-521"},
    "RS256": {"kty": "RSA", "size": 2048},
    "RS512": {"kty": "RSA", "size": 2048},
    "PS256": {"kty": "RSA", "size": 2048},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
}


def provisioner_key(algorithm):
    """A private key by jwcrypto, which has no line of code in common with ours."""
    return pytest.importorskip("jwcrypto.jwk").JWK.generate(**KINDS[algorithm])


def listed(key, **changes):
    """The provisioner ops with the public half of this key, as the CA lists it."""
    return dict(OPS, key=dict(key.export_public(as_dict=True), kid="kid-1", **changes))


def signed(key, algorithm):
    """A token with the right key id, signed by this key."""
    made = pytest.importorskip("jwcrypto.jwt").JWT(
        {"alg": algorithm, "kid": "kid-1"}, jws.claims(token())[1], algs=[algorithm]
    )
    made.make_signed_token(key)
    return made.serialize()


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_key_that_only_has_the_name_of_the_provisioners(algorithm):
    right, other = (provisioner_key(algorithm) for _each in range(2))
    authority = Authority([listed(right)])
    assert "probably used before" in explain(signed(right, algorithm), authority)
    assert explain(signed(other, algorithm), authority) == REFUSED + (
        ' The key is not that of the provisioner "ops": the token names its key id kid-1, but was signed with another key. '
        "Take the private key that belongs to it."
    )


@pytest.mark.parametrize("algorithm, other", [("ES256", "RS256"), ("RS256", "ES256"), ("EdDSA", "ES256")])
def test_a_key_of_another_kind_with_the_same_name(algorithm, other):
    right, wrong = provisioner_key(algorithm), provisioner_key(other)
    assert "signed with another key" in explain(signed(wrong, other), Authority([listed(right)]))


@pytest.mark.parametrize("changes", [{"kty": "new"}, {"crv": "P-1"}, {"x": 7}, {"x": "AA"}, {"y": None}])
def test_a_key_that_is_not_understood_is_not_blamed(changes):
    key = provisioner_key("ES256")
    assert "probably used before" in explain(signed(key, "ES256"), Authority([listed(key, **changes)]))


def test_an_algorithm_that_is_not_understood_is_not_blamed():
    text = token(header={"kid": "kid-1", "alg": "EC-NEW"})
    assert "probably used before" in explain(text, Authority([listed(provisioner_key("ES256"))]))


def test_a_provisioner_that_does_not_work():
    broken = dict(OPS, state="Uninitialized", stateReason="bad claims")
    assert 'The provisioner "ops" is not working at the CA: bad claims.' in explain(token(), Authority([broken]))


@pytest.mark.parametrize("audience", ["https://vip.internal/1.0/sign", ["https://vip.internal:8443/1.0/sign"]])
def test_an_audience_that_is_not_the_authoritys(audience):
    found = explain(token(aud=audience))
    assert found.endswith(
        "The token is for vip.internal, but the CA knows itself as 10.0.0.1, ca.internal. Set ca_name to one of these."
    )


@pytest.mark.parametrize(
    "names, audience",
    [
        (["CA.Internal"], "https://ca.internal/1.0/sign"),
        (["ca.internal"], ["https://CA.internal:9000/1.0/sign"]),
        (["other", "cA.internal"], ["https://Ca.internal/1.0/sign", "https://ca.internal/1.0/sign"]),
    ],
)
def test_an_audience_in_other_letters_than_the_authoritys(names, audience):
    """step-ca compares letter by letter, so this is why it refused, and no token was used before."""
    found = explain(token(aud=audience), Authority(peer=peer_of(names)))
    assert "knows itself as %s, and compares each letter, capitals too" % ", ".join(sorted(names)) in found
    assert found.endswith(
        "Set ca_name to %s, spelled like this, or write dnsNames in the CA's ca.json in lower case." % names[-1]
    )


@pytest.mark.parametrize("audience", ["https://[FE80::1]/1.0/sign", "https://[fe80:0::1]:9000/1.0/sign"])
def test_the_spelling_of_an_address_is_not_blamed(audience):
    """The certificate has the address itself, and not how dnsNames spells it."""
    assert "probably used before" in explain(token(aud=audience), Authority(peer=peer_of(["fe80::1"])))


def test_a_proof_in_other_letters_than_the_authoritys():
    error = ApiError("text", 500, message="error validating renew token: invalid audience claim (aud)")
    proof = token(aud=["https://ca.internal/1.0/renew"])
    found = diagnosis.explain_renewal(error, proof, Authority(peer=peer_of(["CA.internal"])))
    assert found.startswith("the CA refused to renew it (500 Internal Server Error: error validating renew token: ")
    assert "The proof is for ca.internal, but the CA knows itself as CA.internal" in found
    assert "Set ca_name to CA.internal, spelled like this" in found


def test_an_audience_that_is_none():
    assert "audience is nobody, which is not for signing" in explain(token(aud=[]))


@pytest.mark.parametrize(
    "audience", ["https://10.0.0.1/1.0/sign", ["https://other/1.0/sign", "https://ca.internal:9000/1.0/sign"]]
)
def test_an_audience_that_is_right_is_not_blamed(audience):
    assert "probably used before" in explain(token(aud=audience))


@pytest.fixture(name="noon")
def fixture_noon(monkeypatch):
    """It is noon here and stays so."""
    noon = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
    monkeypatch.setattr(durations, "now", lambda: noon)
    return noon


def test_a_clock_behind(noon):
    found = explain(token(), date=noon - timedelta(minutes=5))
    assert found == REFUSED + (
        " The token is not valid yet: it begins on 2030-01-01T11:59:00Z. "
        "The CA's clock is 5m behind the controller's: set the clocks (NTP)."
    )


def test_a_clock_ahead(noon):
    found = explain(token(), date=noon + timedelta(hours=1))
    assert found == REFUSED + (
        " The token expired on 2030-01-01T12:05:00Z. "
        "The CA's clock is 1h ahead of the controller's: set the clocks (NTP)."
    )


def test_a_token_that_is_old_though_the_clocks_agree(noon):
    past = int(noon.timestamp()) - 600
    assert (
        explain(token(nbf=past - 60, exp=past))
        == REFUSED + " The token expired on 2030-01-01T11:50:00Z. Make a new one."
    )


def test_a_token_that_is_early_though_the_clocks_agree(noon):
    begin = int(noon.timestamp()) + 600
    assert explain(token(nbf=begin, exp=begin + 300)) == REFUSED + (
        " The token is not valid yet: it begins on 2030-01-01T12:10:00Z. Wait, or make another."
    )


def test_a_token_for_another_purpose():
    found = explain(token(aud=["https://ca.internal/1.0/revoke"]))
    assert "The token's audience is https://ca.internal/1.0/revoke, which is not for signing" in found


@pytest.mark.parametrize("seconds, blamed", [(-110, False), (350, False), (-130, True), (370, True)])
def test_clocks_that_differ_a_little_are_not_blamed(noon, seconds, blamed):
    assert ("NTP" in explain(token(), date=noon + timedelta(seconds=seconds))) is blamed


def test_without_a_date_no_clock_is_blamed():
    assert diagnosis.clock_problem({"exp": 1}, None) == ""


def test_what_looks_right_was_probably_used_before():
    found = explain(token())
    assert found.startswith(
        REFUSED + " Its clock, provisioner, key and audience look right, so the token was probably used before"
    )


def test_what_the_authority_says_beyond_the_usual_is_kept():
    assert explain(token(), message="certificate expired on 2020").startswith(
        REFUSED + " It says: certificate expired on 2020 "
    )


# what cannot be seen


@pytest.mark.parametrize("problem", [TransportError("gone"), ApiError("no", 500)])
def test_an_authority_that_does_not_answer_hides_no_refusal(problem):
    found = explain(token(iss="opps"), Authority(provisioners=problem, peer=problem))
    assert found.startswith(REFUSED)


@pytest.mark.parametrize("peer", [None, b"nonsense"])
def test_an_authority_whose_certificate_cannot_be_read_is_not_compared(peer):
    assert "probably used before" in explain(token(aud="https://vip.internal/1.0/sign"), Authority(peer=peer))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "canary",
        "a.b.c",
        "%s.x.y" % part({}),
        "%s.%s.x" % (part([]), part({})),
        "%s.%s." % (part(b"\xff"), part({})),
    ],
)
def test_what_is_no_token_has_no_claims(text):
    assert jws.claims(text) == ({}, {})
    assert "canary" not in explain(text)


def test_claims_are_read_with_any_padding():
    for length in range(4):
        assert jws.claims(token(sub="x" * length))[1]["sub"] == "x" * length


@pytest.mark.parametrize("exp", ["tomorrow", None, []])
def test_times_that_are_none_are_passed_over(exp):
    assert "probably used before" in explain(token(exp=exp, nbf=exp))


@pytest.mark.parametrize("number", [10**15, 10**30, float("inf")])
def test_times_out_of_reach_are_passed_over(number):
    assert explain(token(exp=number)).startswith(REFUSED)
