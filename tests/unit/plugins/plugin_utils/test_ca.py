# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What the controller does for a host, and what it does not do on the mere word of one."""

from __future__ import annotations

import base64
from collections import namedtuple
from datetime import timedelta

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import client
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    ApiError,
    CertificateError,
    CsrError,
    OptionError,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates, jws, proof
from ansible_collections.privatepki.stepca.plugins.plugin_utils._signing import Signing
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, FOREIGN, ask
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.x509.test_certificates import (
    of_unknown_version,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.stand_in import SECRETIVE, URL, StandIn

Found = namedtuple("Found", "value where")
RENEW = "/1.0/renew"
HALF = timedelta(hours=12)


class Action:
    """What Signing needs of an action plugin: settings, an authority, a place for warnings."""

    def __init__(self, stand_in, token=None, **connection):
        self.settings = self
        self.stand_in = stand_in
        self.warnings = []
        self._token = token
        self._connection = connection

    def connection(self):
        return self.stand_in.connection(**self._connection)

    def find(self, name):
        return Found(self._token, "the task") if name == "token" and self._token else None

    def authority(self, connection):
        return client.StepCA(connection, self.stand_in.transport, sleep=lambda _seconds: None)

    def warn(self, sentences):
        self.warnings += sentences


@pytest.fixture(name="stand_in")
def fixture_stand_in():
    return StandIn(CA)


class Host:
    """A key, its certificate in the middle of its life, and what such a host sends."""

    def __init__(self, names=("a.example",), authority=CA):
        self.key = pki.new_key()
        self.leaf = authority.leaf(self.key.public_key(), list(names), begin=pki.NOW - HALF, end=pki.NOW + HALF)
        self.chain = [self.leaf, authority.intermediate]
        self.root = authority.root

    def proof(self, chain=None, key=None):
        return proof.renewal(chain or self.chain, key or self.key, [URL + RENEW], pki.NOW)

    def former(self, holding=None):
        """Its word on the certificate that it wants revoked."""
        return {
            "former": pki.pem_of(*self.chain),
            "holding": self.proof() if holding is None else holding,
            "former_roots": pki.pem_of(self.root),
        }


# renewals


def test_a_proof_is_relayed_as_it_is(stand_in, tmp_path):
    host = Host()
    one = host.proof()
    chain_pem, at = Signing(Action(stand_in)).renew([one, host.proof()], ask(tmp_path))
    renewed = certificates.load(chain_pem.encode("ascii"))
    assert renewed[0].public_key() == host.leaf.public_key() and at == pki.NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert [asked.token for asked in stand_in.asked] == [one]


def test_the_next_proof_is_for_the_next_attempt(stand_in, tmp_path):
    host = Host()
    proofs = [host.proof() for _one in range(3)]
    stand_in.say[RENEW] = [(503, b""), (502, b""), None]
    Signing(Action(stand_in, retries=2)).renew(proofs, ask(tmp_path))
    assert [asked.token for asked in stand_in.asked] == proofs


def test_a_refusal_is_a_reason_to_issue(stand_in, tmp_path):
    stand_in.say[RENEW] = [(401, {"message": SECRETIVE})]
    with pytest.raises(ApiError, match="the CA refused to renew it .401 Unauthorized"):
        Signing(Action(stand_in)).renew([Host().proof()], ask(tmp_path))


def test_an_answer_that_is_no_renewal_is_not_handed_on(stand_in, tmp_path):
    host = Host()
    other = FOREIGN.sign(pki.request_pem(host.key, ["a.example"]))
    stand_in.say[RENEW] = [(201, {"certChain": [other]})]
    with pytest.raises(CertificateError, match="does not lead to a trusted root"):
        Signing(Action(stand_in)).renew([host.proof()], ask(tmp_path))


@pytest.mark.parametrize("names", [["b.example"], ["a.example", "b.example"]])
def test_a_host_gets_no_names_prolonged_but_those_of_the_play(stand_in, tmp_path, names):
    with pytest.raises(CertificateError, match="only the play says which names are renewed; .* asks for dns:a.example"):
        Signing(Action(stand_in)).renew([Host(names).proof()], ask(tmp_path))
    assert stand_in.asked == []


def claiming(listed):
    """A token with this in the place of the chain."""
    return jws.make(pki.new_key(), {"x5cInsecure": listed}, {})


def bomb():
    """A header that no parser of JSON likes."""
    return base64.urlsafe_b64encode(b"[" * 40000).rstrip(b"=").decode("ascii") + ".e30.AA"


@pytest.mark.parametrize(
    "proofs",
    [
        [],
        ["e30.e30.AA"],
        [bomb()],
        [claiming([])],
        [claiming(["AAAA"])],
        [claiming([b"".join(of_unknown_version().splitlines()[1:-1]).decode("ascii")])],
        [Host().proof(key=pki.new_key())],
        [Host().proof(), Host().proof()],
    ],
    ids=["none", "empty", "bomb", "no chain", "rubbish", "unknown version", "of another key", "of two certificates"],
)
def test_what_a_host_makes_up_is_refused_in_a_sentence(stand_in, tmp_path, proofs):
    with pytest.raises(CsrError, match="The host's renewal proof"):
        Signing(Action(stand_in)).renew(proofs, ask(tmp_path))
    assert stand_in.asked == []


# what is to be revoked


def test_who_shows_the_key_may_have_a_certificate_revoked(stand_in, tmp_path):
    host = Host(["x.example"])
    assert Signing(Action(stand_in)).former_serial(host.former(), ask(tmp_path)) == str(host.leaf.serial_number)


def test_a_certificate_with_the_names_of_the_play_needs_no_key(stand_in, tmp_path):
    host = Host()
    assert Signing(Action(stand_in)).former_serial(host.former(""), ask(tmp_path)) == str(host.leaf.serial_number)


def test_roots_in_a_record_count_as_far_as_the_fingerprints_prove_them(stand_in, tmp_path):
    signing = Signing(Action(stand_in, roots=[]))
    host, stranger = Host(), Host(authority=FOREIGN)
    assert signing.former_serial(host.former(), ask(tmp_path)) == str(host.leaf.serial_number)
    with pytest.raises(CsrError, match="is not revoked on the mere word of the host"):
        signing.former_serial(stranger.former(), ask(tmp_path))


def absent(folder):
    """A task that removes a certificate, and names none of its names."""
    return ask(folder, state="absent", key_path=None, sans=None)


@pytest.mark.parametrize(
    "make, task",
    [
        (lambda: Host(["b.example"]).former(""), ask),
        (lambda: Host(["b.example"]).former("e30.e30.AA"), ask),
        (lambda: Host(["b.example"]).former(bomb()), ask),
        (lambda: Host(["b.example"]).former(Host(["b.example"]).proof()), ask),
        (lambda: Host(authority=FOREIGN).former(), ask),
        (lambda: Host().former(""), absent),
        (lambda: dict(Host().former(""), former=pki.pem_of(CA.intermediate, CA.root)), absent),
    ],
    ids=[
        "other names, no proof",
        "other names, rubbish",
        "other names, bomb",
        "other names, proof of another certificate",
        "of somebody else",
        "removed, no proof",
        "the intermediate, which has no names either",
    ],
)
def test_nothing_is_revoked_on_the_mere_word_of_a_host(stand_in, tmp_path, make, task):
    with pytest.raises(
        CsrError, match="is not revoked on the mere word of the host.* name its serial to stepca_revoke"
    ):
        Signing(Action(stand_in)).former_serial(make(), task(tmp_path))
    assert stand_in.revoked == []


# tokens of others


def token(**claims):
    return jws.make(pki.new_key(), {}, claims)


@pytest.mark.parametrize("sans", [["a.example"], ["A.Example", "a.example"], None])
def test_a_token_for_the_names_of_the_task_is_used(stand_in, tmp_path, sans):
    Signing(Action(stand_in, token=token(sans=sans) if sans else token(sub="x"))).refuse_foreign_token(ask(tmp_path))


@pytest.mark.parametrize(
    "made, words",
    [
        (token(sans=["b.example"]), "is for dns:b.example; the task asks for dns:a.example"),
        (token(sans=["a.example", "b.example"]), "is for dns:a.example, dns:b.example"),
        (token(sans=[]), "is for ; the task asks for"),
        ("canary", "is no token of step-ca's"),
        (bomb(), "is no token of step-ca's"),
    ],
    ids=["others", "more", "none", "text", "bomb"],
)
def test_a_token_for_other_names_is_refused_before_it_is_spent(stand_in, tmp_path, made, words):
    with pytest.raises(OptionError, match="^token .from the task. .*%s" % words) as caught:
        Signing(Action(stand_in, token=made)).refuse_foreign_token(ask(tmp_path))
    assert "canary" not in str(caught.value) and stand_in.asked == []
