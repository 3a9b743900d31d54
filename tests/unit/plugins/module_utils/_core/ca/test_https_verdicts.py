# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Both transports say the same of a CA's certificate, with every Python, and name what is wrong with it."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import api, https
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import TransportError
from ansible_collections.privatepki.stepca.tests.unit.plugins import tls_server
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.tls_server import Server, answer

NOW = datetime.now(timezone.utc).replace(microsecond=0)
BEGIN, END = NOW - timedelta(days=1), NOW + timedelta(days=1)
CA = x509.BasicConstraints(True, None)
USAGE = making.key_usage("key_cert_sign", "crl_sign")


class Authority:
    """Root and intermediate with these extensions, none of them critical, and a leaf with others."""

    def __init__(self, root=(CA, USAGE), intermediate=(CA, USAGE), leaf=(), names=True):
        self._key, self._leaf, self._names = making.key(number=301), leaf, names
        self.root = self._make("Root", making.key(number=300), "Root", making.key(number=300), root)
        self.intermediate = self._make("Middle", self._key, "Root", making.key(number=300), intermediate)
        self.root_pem = making.pem(self.root).decode("ascii")

    def leaf(self, public_key, names):
        named = [making.general_names(names)] if self._names else []
        issuer = self.intermediate.subject
        subject = making.subject("127.0.0.1" if self._names is None else names[0])
        return making.certificate(subject, public_key, issuer, self._key, BEGIN, END, [*self._leaf, *named])

    @staticmethod
    def _make(name, key, issuer, issuer_key, extensions):
        parts = (making.subject(name), key.public_key(), making.subject(issuer), issuer_key)
        return making.certificate(*parts, BEGIN, END, extensions)


@pytest.fixture(name="send", params=tls_server.TRANSPORTS)
def fixture_send(request):
    """Sends by a transport that trusts this authority and expects this name."""
    kind = tls_server.transport(request.param)

    def send(authority, name=None, names=("ip:127.0.0.1",), host="127.0.0.1"):
        with Server(authority, [answer(200)], names=list(names)) as server:
            try:
                return kind(authority.root_pem, name, 10.0).send("https://%s:%d" % (host, server.port), api.HEALTH)
            except TransportError:
                assert server.requests == []
                raise

    return send


@making.table(
    "authority",
    {
        "nothing is critical": Authority(),
        "a root without keyUsage": Authority(root=[CA]),
        "nor has the intermediate one": Authority(root=[CA], intermediate=[CA]),
        "a root with identifiers of its own": Authority(root=[CA, USAGE, x509.SubjectKeyIdentifier(b"odd")]),
    },
)
def test_what_is_not_strictly_by_the_book_is_trusted(send, authority):
    assert send(authority).status == 200


@making.table(
    "authority, words",
    {
        "a root that is no CA": (
            Authority(root=[x509.BasicConstraints(False, None), USAGE]),
            ["invalid CA certificate"],
        ),
        "an intermediate that is none": (Authority(intermediate=[USAGE]), ["invalid CA certificate"]),
        "too long": (Authority(root=[x509.BasicConstraints(True, 0), USAGE]), ["path length constraint exceeded"]),
        "a name that is excluded": (
            Authority(root=[CA, USAGE, x509.NameConstraints([x509.DNSName("other.com")], None)]),
            ["permitted subtree violation"],
        ),
        "for clients alone": (
            Authority(leaf=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])]),
            ["purpose"],
        ),
    },
)
def test_what_is_wrong_with_a_chain_is_named(send, authority, words):
    names = ["ip:127.0.0.1", "dns:ca.internal"]
    with pytest.raises(TransportError) as caught:
        send(authority, names=names)
    assert str(caught.value).startswith("its certificate is not trusted (")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "breaks a rule (crt in the CA's ca.json)" in str(caught.value)
    assert "in between" not in str(caught.value) and not caught.value.retry


@making.table(
    "names, name",
    {
        "exact": (["ca.internal"], "ca.internal"),
        "in other case": (["CA.Internal"], "ca.INTERNAL"),
        "with a dot at its end": (["ca.internal"], "ca.internal."),
        "a whole label": (["*.site.internal"], "ca.site.internal"),
        "an address": (["ip:10.0.0.1"], "10.0.0.1"),
        "another spelling of it": (["ip:2001:db8::1"], "[2001:DB8:0::1]"),
        "one of several": (["other", "ip:10.0.0.1", "email:a@b", "ca.internal"], "ca.internal"),
        "in another script": (["xn--bcher-kva.internal"], "b\u00fccher.internal"),
    },
)
def test_names_that_fit(send, names, name):
    assert send(Authority(), name, names).status == 200


@making.table(
    "names, name",
    {
        "another": (["ca.internal"], "ca2.internal"),
        "a part of a label": (["c*.internal"], "ca.internal"),
        "a part of a label below": (["c*.site.internal"], "ca.site.internal"),
        "the end of a label": (["*a.site.internal"], "ca.site.internal"),
        "two labels": (["*.internal"], "ca.site.internal"),
        "all below a top": (["*.internal"], "ca.internal"),
        "not the first label": (["ca.*.internal"], "ca.site.internal"),
        "a star alone": (["*"], "ca"),
        "no label": (["*.site.internal"], "site.internal"),
        "an address as a domain": (["dns:10.0.0.1"], "10.0.0.1"),
        "another address": (["ip:10.0.0.2"], "10.0.0.1"),
        "an e-mail address": (["email:x@ca.internal"], "ca.internal"),
    },
)
def test_names_that_do_not(send, names, name):
    with pytest.raises(TransportError) as caught:
        send(Authority(), name, names)
    said = str(caught.value)
    assert "(it is for " in said and "; expected %s)" % name in said and "ca_name is needed" in said
    assert (caught.value.sent, caught.value.retry) == (False, False)


def test_a_common_name_alone_does_not_count(send):
    with pytest.raises(TransportError) as caught:
        send(Authority(names=None))
    assert "it has no subject alternative names, and its commonName does not count; expected 127.0.0.1" in str(
        caught.value
    )
    with pytest.raises(TransportError, match="no subject alternative names"):
        send(Authority(names=False), "ca.internal", ["ca.internal"])


def test_an_intermediate_is_no_anchor(send):
    authority = Authority()
    authority.root_pem = making.pem(authority.intermediate).decode("ascii")
    with pytest.raises(TransportError, match="unable to get (local )?issuer certificate"):
        send(authority)


def test_flags_are_the_same_with_every_python():
    assert https.context_for(None).verify_flags == ssl.VERIFY_X509_TRUSTED_FIRST
