# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A transport that answers as an authority of the tests would: for what is asked, in which order, and with which token.

    stand_in = StandIn()
    authority = client.StepCA(connection(stand_in), stand_in.transport)

What a real step-ca answers is for the integration tests to find out.
"""

from __future__ import annotations

import base64
import json
from collections import namedtuple
from datetime import timedelta
from email.utils import format_datetime

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import api, connections
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

URL = "https://ca.internal"
#: Words of step-ca for whatever it does not tell.
SECRETIVE = "The request lacked necessary authorization to be completed. Please see the certificate authority logs."
Asked = namedtuple("Asked", "path by token body url")


class StandIn:
    """An authority behind a transport.

    asked: what came, as Asked (by: "client certificate", "proof", "token" or ""); say: {path: outcomes} that come
    first, each (status, body), an exception, or None for what is right; life: what it gives by itself; extensions: what
    it puts into each certificate; template: what it makes of the names, a function of texts.
    """

    def __init__(self, authority=None, life=pki.DAY):
        self.authority = authority or pki.Authority()
        self.life = life
        self.clock = pki.NOW
        self.backdate = timedelta(minutes=1)
        self.extensions = []
        self.template = None
        self.asked = []
        self.say = {}
        self.revoked = []
        self._seen = set()
        self._routes = {
            "/1.0/sign": self._sign,
            "/1.0/renew": self._renew,
            "/1.0/rekey": self._rekey,
            "/1.0/revoke": self._revoke,
            "/1.0/intermediates": lambda _request, _identity: (
                201,
                {"crts": [pki.pem_of(self.authority.intermediate)]},
            ),
            "/1.0/crl": lambda _request, _identity: (200, self.crl()),
            "/1.0/root/" + self.authority.fingerprint: lambda _request, _identity: (
                200,
                {"ca": self.authority.root_pem},
            ),
            "/1.0/provisioners?limit=100&cursor=": lambda _request, _identity: (200, {"provisioners": []}),
        }

    def transport(self, _roots_pem, _server_name, _seconds, identity=None):
        """In the place of a transport's class."""
        return _Transport(self, identity)

    def connection(self, urls=(URL,), **more) -> connections.Connection:
        """How to reach it."""
        told = dict({"roots": [self.authority.root], "retries": 0}, **more)
        return connections.Connection(list(urls), [self.authority.fingerprint], **told)

    def answer(self, url, request, identity):
        """What it says to a request."""
        proof = request.headers.get("Authorization", "").replace("Bearer ", "")
        token = (request.body or {}).get("ott") or proof
        by = "proof" if proof else "token" if token else "client certificate" if identity else ""
        self.asked.append(Asked(request.path, by, token, request.body, url))
        outcomes = self.say.get(request.path) or [None]
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is None and token:
            outcome = (401, {"message": SECRETIVE}) if token in self._seen else None
            self._seen.add(token)
        status, body = outcome or self._routes[request.path](request, identity)
        body = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8")
        headers = {"date": format_datetime(self.clock, usegmt=True)}
        return api.Answer(status, headers, body, url + request.path, None)

    @property
    def paths(self) -> list:
        """What was asked, without what only explains a refusal."""
        return [(one.path.rpartition("/")[2], one.by) for one in self.asked if "provisioners" not in one.path]

    def crl(self, **more) -> bytes:
        """The list of what it revoked, DER; more: key, issuer, begin, end, extensions (each with critical)."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(more.get("issuer", self.authority.intermediate.subject))
            .last_update(more.get("begin", self.clock - pki.DAY))
            .next_update(more.get("end", self.clock + pki.DAY))
        )
        for serial, reason in self.revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self.clock)
            if reason:
                entry = entry.add_extension(x509.CRLReason(reason), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        for extension, critical in more.get("extensions", []):
            builder = builder.add_extension(extension, critical=critical)
        signed = builder.sign(more.get("key", self.authority.key), hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.DER)

    def issue(self, request_pem: str, not_before="", not_after="") -> str:
        """The chain for a request, PEM; the limits as POST /sign has them."""
        asked = x509.load_pem_x509_csr(request_pem.encode("ascii"))
        names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        subject = [attribute.value for attribute in asked.subject]
        begin = self._instant(not_before, self.clock) or self.clock
        leaf = self.authority.leaf(
            asked.public_key(),
            self.template(names) if self.template else names,
            subject=subject[0] if subject else "none",
            begin=begin if not_before else begin - self.backdate,
            end=self._instant(not_after, begin) or begin + self.life,
            extensions=self.extensions,
        )
        return pki.pem_of(leaf, self.authority.intermediate)

    @staticmethod
    def _instant(text, start):
        limit = durations.parse_limit(text, "limit") if text else None
        return start + limit if isinstance(limit, timedelta) else limit

    def prolong(self, former, public_key=None) -> str:
        """The chain for a certificate that is renewed: its names, its span, its extensions."""
        span = former.not_valid_after_utc - former.not_valid_before_utc
        names = former.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        subject = former.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
        begin = self.clock - self.backdate
        own = [one.value for one in former.extensions if isinstance(one.value, x509.UnrecognizedExtension)]
        key = public_key or former.public_key()
        leaf = self.authority.leaf(key, names, subject=subject, begin=begin, end=begin + span, extensions=own)
        return pki.pem_of(leaf, self.authority.intermediate)

    def _sign(self, request, _identity):
        return 201, _chain(self.issue(*(request.body[name] for name in ("csr", "notBefore", "notAfter"))))

    def _renew(self, request, identity):
        proof = request.headers.get("Authorization", "").replace("Bearer ", "")
        former = _proved(proof, self.clock) if proof else _shown(identity)
        return 201, _chain(self.prolong(former))

    def _rekey(self, request, identity):
        asked = x509.load_pem_x509_csr(request.body["csr"].encode("ascii"))
        return 201, _chain(self.prolong(_shown(identity), asked.public_key()))

    def _revoke(self, request, _identity):
        serial = int(request.body["serial"])
        if serial in [one for one, _reason in self.revoked]:
            return 400, {"message": "certificate with serial number '%d' is already revoked" % serial}
        self.revoked.append((serial, None))
        return 200, {"status": "ok"}


class _Transport:
    def __init__(self, stand_in, identity):
        self._stand_in = stand_in
        self._identity = identity

    def send(self, url, request):
        return self._stand_in.answer(url, request, self._identity)


def _chain(pem: str) -> dict:
    """A chain as step-ca answers it."""
    mark = "-----END CERTIFICATE-----\n"
    return {"certChain": [one + mark for one in pem.split(mark) if one]}


def _proved(proof: str, clock):
    """The certificate whose key made this proof; an error where another did, or at another time."""
    listed = jwt.get_unverified_header(proof)
    leaf = x509.load_der_x509_certificate(base64.b64decode(listed["x5cInsecure"][0]))
    any_time = {"verify_exp": False, "verify_nbf": False}
    claims = jwt.decode(
        proof, leaf.public_key(), algorithms=[listed["alg"]], audience=URL + "/1.0/renew", options=any_time
    )
    assert claims["nbf"] <= clock.timestamp() <= claims["exp"]
    return leaf


def _shown(identity):
    """The certificate that a client shows, whose key it must have."""
    chain, key_pem = identity
    leaf = x509.load_pem_x509_certificates(chain)[0]
    key = serialization.load_pem_private_key(key_pem, None)
    assert key.public_key() == leaf.public_key()
    return leaf
