# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Whoever reads the bytes of others returns, or raises one of our errors, whatever the bytes are.

Real samples are damaged for a few seconds each, the same way in each run. A failure prints the input that it met with:

    STEPCA_FUZZ_SECONDS=600 make unit ARGS="tests/unit/plugins/test_fuzz.py"              longer
    STEPCA_FUZZ_FIRST=100000 make unit ARGS="tests/unit/plugins/test_fuzz.py"             other damage
    STEPCA_FUZZ_INPUT=MIIB... make unit ARGS="tests/unit/plugins/test_fuzz.py -k 'CRL'"   this input again
"""

from __future__ import annotations

import base64
import json
import os
import random
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from ansible_collections.privatepki.stepca.plugins.action import (
    stepca_bootstrap,
    stepca_certificate_info,
    stepca_doctor,
    stepca_host_info,
    stepca_renewer,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import api, client, crl, diagnosis, one_time
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import derived, record, request
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import ApiError, StepCAError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import (
    configuration,
    history,
    status,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates, csr, jws, keys, proof
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _answers, _judge
from ansible_collections.privatepki.stepca.plugins.plugin_utils._credentials import key_files
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA
from ansible_collections.privatepki.stepca.tests.unit.plugins.mutating import damaged, damaged_data, damaged_token

SECONDS = float(os.environ.get("STEPCA_FUZZ_SECONDS", "4"))
FIRST = int(os.environ.get("STEPCA_FUZZ_FIRST", "0"))
NAMES = ["a.example", "10.0.0.7"]
THRESHOLD = durations.parse_threshold("33%", "renew_before")
KEY = pki.new_key()
LEAF = CA.leaf(KEY.public_key(), NAMES)
CHAIN = [LEAF, CA.intermediate]
ENTRY = {"certificate_path": "/etc/tls/site.crt", "key_path": "/etc/tls/site.key", "sans": NAMES}
WANTED = request.parse(ENTRY)
CONNECTION = {"urls": ["https://ca.internal"], "fingerprints": [CA.fingerprint], "roots": CA.root_pem}
CONNECTION.update(name=None, timeout=15.0, retries=3)
TOKEN = jws.make(
    KEY, {"kid": "k"}, {"iss": "ansible", "aud": "https://ca.internal/1.0/sign", "sans": NAMES, "exp": 1, "nbf": 2}
)
PROOF = proof.renewal(CHAIN, KEY, ["https://ca.internal/1.0/renew"], pki.NOW)
PROVISIONERS = {
    "provisioners": [
        {
            "type": "JWK",
            "name": "ansible",
            "key": {"kty": "EC", "crv": "P-256", "kid": "k", "x": "AA", "y": "AA", "use": "sig", "alg": "ES256"},
            "encryptedKey": "a.b.c.d.e",
            "claims": {"maxTLSCertDuration": "24h", "disableRenewal": False},
            "options": {"x509": {"template": "{}"}},
        }
    ],
    "nextCursor": "",
}
ANSWER = {
    "outcome": "issued",
    "reasons": ["it is missing"],
    "certificate": certificates.facts(CHAIN, THRESHOLD, "/etc/tls/site.crt"),
    "csr": pki.request_pem(KEY, NAMES),
    "proofs": [PROOF],
    "former": pki.pem_of(*CHAIN),
    "former_roots": CA.root_pem,
    "holding": PROOF,
    "digest": "00",
}


def examine(chain):
    """All that is asked of a certificate."""
    certificates.facts(chain, THRESHOLD, "/etc/tls/site.crt", [CA.root])
    certificates.chain_problem(chain, [CA.root], pki.NOW)
    certificates.is_foreign(chain, [CA.root])
    certificates.renewal_problem(chain[0], True)
    certificates.only_roots(chain)
    status.row_of(chain, certificates.facts(chain, THRESHOLD, "/etc/tls/site.crt"), pki.NOW)
    record.make(WANTED, "ansible", chain, [CA.root], "2030-01-01T00:00:00Z")


def certificate_in_pem(content):
    """A file of certificates: a ValueError says that it holds none."""
    try:
        chain = certificates.load(content)
    except ValueError:
        return
    examine(chain)


def certificate_in_der(content):
    """What comes in a handshake."""
    try:
        chain = [certificates.load_der(content)]
    except ValueError:
        return
    examine(chain)


def request_of_a_host(content):
    """A request, judged as ours and as a user's."""
    for text in (content.decode("utf-8", "surrogateescape"), content.decode("latin-1")):
        loaded = csr.load(text)
        csr.binding(loaded)
        csr.asked_names(loaded)
        csr.not_given(loaded, LEAF)
        for check in (csr.check_made, csr.check_brought):
            with suppress(StepCAError):
                check(loaded, WANTED)


def private_key(content):
    """A key in a file."""
    key = keys.load(content, "/etc/tls/site.key")
    if key is not None and hasattr(key, "private_bytes"):
        keys.type_of(key), keys.fingerprint(key), keys.to_pem(key)


PAIR = derived.Pair(CHAIN, KEY, [CA.root], "canary", request.Pkcs12("canary", None, None, "modern"))


def combined(content):
    """Files made of the pair."""
    for option in ("combined_path", "chain_path", "leaf_path", "root_path"):
        derived.problem(option, "/etc/tls/site.pem", content, PAIR)


def bundle(content):
    """A PKCS#12 file."""
    derived.problem("pkcs12_path", "/etc/tls/site.p12", content, PAIR)


def kept_record(content):
    """A record beside a certificate."""
    kept = record.parse(content)
    record.looks_ours(content)
    record.roots(kept, [CA.fingerprint]), record.files(kept), record.kept(kept), record.is_of(kept, CHAIN)
    record.issued_at(record.fitting(kept, CHAIN), CHAIN)
    if kept:
        record.fits(kept, CHAIN), record.asked_limit(kept, "not_after"), record.asked_limit(kept, "not_before")


def what_the_renewer_knows(content):
    """A configuration of the renewer."""
    one = configuration.parse(content)
    one.wanted(), one.entry(), one.enrolment, one.written()
    configuration.make(one.entry(), one.connection)


def answer_of_a_host(data):
    """All readers of the answers of hosts, and those who use what was read."""
    for read in (stepca_bootstrap._DONE, stepca_certificate_info._FOUND, stepca_doctor._FOUND, stepca_renewer._DONE):
        read(data)
    (answer,) = _answers.of_certificates({"answers": [data]}, 1)
    json.dumps(answer.to_json()).encode("ascii")
    acts = [
        lambda: _judge.judge_request(answer.csr, WANTED),
        lambda: _judge.judge_proofs(answer.proofs, WANTED),
        lambda: _judge.judge_former(answer, replace(WANTED, revoke=True), [CA.root], [CA.fingerprint]),
        lambda: _answers.serial(answer.certificate or {"serial": None}),
        lambda: one_time.load(answer.former),
        lambda: stepca_host_info._read(
            {"certificates": [data, data.get("certificate")], "problems": data.get("reasons")}
        ),
    ]
    for act in acts:
        with suppress(StepCAError):
            act()


def token_or_proof(text):
    """A token of somebody, a proof of a host."""
    header, claims = jws.claims(text)
    for read in (
        lambda: proof.chain_of(text),
        lambda: jws.is_signed_by(KEY.public_key(), text),
        lambda: jws.public_key(header),
    ):
        with suppress(ValueError):  # as they say
            read()
    Transport.content, Transport.status = as_bytes(PROVISIONERS), 200
    authority = client.StepCA(configuration.connections.restore(dict(CONNECTION, retries=0)), Transport)
    diagnosis.clock_problem(claims, pki.NOW), diagnosis.audience_problem(claims, authority, "/sign")
    diagnosis.provisioner_problem(text, authority, "")
    diagnosis.explain_renewal(ApiError("no", 401), text)


class Authority:
    """An authority that answers everything with this."""

    def __init__(self, content, body=b""):
        self.url, self.urls, self._content, self._body = "https://ca.internal", [], content, body
        self.connection = SimpleNamespace(urls=[self.url], name=None, fingerprints=[CA.fingerprint], roots=[CA.root])

    def trust(self):
        return [CA.root]

    def ask(self, _request):
        return api.Answer(200, {}, self._body, self.url, None)

    def get(self, _request):
        return self._content


def list_of_revoked(content):
    """The list of revoked certificates."""
    with suppress(StepCAError):
        crl.fetch(Authority({"crts": [content.decode("latin-1"), 7]}, content), pki.NOW)
    crl.fetch(Authority({"crts": [pki.pem_of(CA.intermediate)]}, content), pki.NOW).sentence(7)


class Transport:
    """Answers each request with the same bytes."""

    content = b""

    def __init__(self, *_all):
        pass

    def send(self, url, _request):
        headers = {"date": self.content[:60].decode("latin-1"), "content-type": "application/json"}
        return api.Answer(Transport.status, headers, self.content, url, None)


#: What is asked of a CA.
ACTS = [
    client.StepCA.provisioners,
    client.StepCA.version,
    client.StepCA.trust,
    client.health,
    lambda ca: one_time.load(ca.obtain(lambda spent: api.sign("csr", "token"))[0]),
    lambda ca: crl.fetch(ca, pki.NOW),
    lambda ca: diagnosis.explain(ApiError("no", 401, message="x"), TOKEN, ca, ""),
    lambda ca: [client.has_template(one) for one in ca.provisioners()],
    lambda ca: diagnosis.list_provisioners(ca.provisioners()),
    lambda ca: [
        ca.get(api.encrypted_key(one["key"]["kid"])) for one in ca.provisioners() if one.get("key", {}).get("kid")
    ],
]


def answer_of_the_ca(content):
    """Each answer that is JSON, and each refusal; then what a diagnosis makes of provisioners."""
    Transport.content = content
    connection = configuration.connections.restore(dict(CONNECTION, retries=0))
    for Transport.status in (200, 201, 401, 500, 599):
        authority = client.StepCA(connection, Transport)
        for act in ACTS:
            with suppress(StepCAError):
                act(authority)


def key_of_a_provisioner(content):
    """A key in any form, with a password that may open it."""
    settings = SimpleNamespace(text_of=lambda _setting: "canary")
    password = SimpleNamespace(name="provisioner_password", where="the task")
    for value in (content.decode("utf-8", "surrogateescape"), _json(content)):
        key_files.private_jwk(value, "provisioner_key", settings, password)


def _json(content):
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return ""


def _history_reader(tmp_path):
    def what_the_renewer_remembers(content):
        (tmp_path / "site.json").write_bytes(content)
        json.dumps(vars(history.load(str(tmp_path), "site.json")))

    return what_the_renewer_remembers


def _file_reader(tmp_path):
    def a_file(content):
        (tmp_path / "site.crt").write_bytes(content)
        row = status.look_at_files(str(tmp_path / "site.crt"), None, THRESHOLD, [CA.root], [CA.fingerprint], pki.NOW)
        status.table([dict(row)])

    return a_file


def revoked_list():
    builder = x509.CertificateRevocationListBuilder().issuer_name(CA.intermediate.subject)
    builder = builder.last_update(pki.NOW - timedelta(hours=1)).next_update(pki.NOW + pki.DAY)
    one = x509.RevokedCertificateBuilder().serial_number(7).revocation_date(pki.NOW - timedelta(hours=2))
    one = one.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False).build()
    signed = builder.add_revoked_certificate(one).sign(CA.key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def pkcs12_file():
    return derived.make("pkcs12_path", PAIR)


def as_bytes(data) -> bytes:
    return json.dumps(data).encode("ascii")


def key_samples() -> list:
    made = [KEY, ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(public_exponent=65537, key_size=2048)]
    older = made[0].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return [*map(pki.key_pem, made), older]


def der(one) -> bytes:
    return one.public_bytes(serialization.Encoding.DER)


_PUBLIC, _JWE = key_files.make("canary")
_CONFIGURATION = configuration.make(
    dict(ENTRY, reload=["nginx"], run_after=["true"], served="443"), configuration.connections.restore(CONNECTION)
)
_RECORD = record.make(WANTED, "ansible", CHAIN, [CA.root], "2030-01-01T00:00:00Z", ["/etc/tls/old"])
_PEM = pki.pem_of(*CHAIN).encode("ascii")
_HISTORY = as_bytes({"last_success": "2030-01-01T00:00:00Z", "last_error": None, "error": "x", "pending": True})
_CRL = revoked_list()
_OF_CA = [
    as_bytes(PROVISIONERS),
    as_bytes({"status": "ok"}),
    as_bytes({"version": "0.30.2"}),
    as_bytes({"ca": CA.root_pem}),
    as_bytes(
        {"crt": pki.pem_of(LEAF), "ca": pki.pem_of(CA.intermediate), "certChain": [pki.pem_of(one) for one in CHAIN]}
    ),
    as_bytes({"status": 401, "message": "The request lacked necessary authorization"}),
    as_bytes({"crts": [pki.pem_of(CA.intermediate)]}),
    as_bytes({"key": _JWE}),
    b"Tue, 15 Nov 1994 08:12:31 GMT",
]
#: (reader, what damages, samples); a reader of the files of a test is made for its folder.
TARGETS = {
    "certificate in PEM": (certificate_in_pem, damaged, [_PEM, CA.root_pem.encode("ascii")]),
    "certificate in DER": (certificate_in_der, damaged, [der(LEAF), der(CA.root)]),
    "file": (_file_reader, damaged, [_PEM, der(LEAF)]),
    "csr": (request_of_a_host, damaged, [ANSWER["csr"].encode("ascii")]),
    "key": (private_key, damaged, key_samples()),
    "combined file": (combined, damaged, [pki.key_pem(KEY) + _PEM]),
    "PKCS#12": (bundle, damaged, [pkcs12_file()]),
    "record": (kept_record, damaged, [_RECORD]),
    "history": (_history_reader, damaged, [_HISTORY]),
    "configuration": (what_the_renewer_knows, damaged, [_CONFIGURATION]),
    "answer of a host": (
        answer_of_a_host,
        damaged_data,
        [ANSWER, {"certificates": [ANSWER], "roots": [{}], "diff": [{}]}],
    ),
    "token": (token_or_proof, damaged_token, [TOKEN, PROOF]),
    "CRL": (list_of_revoked, damaged, [_CRL]),
    "answer of the CA": (answer_of_the_ca, damaged, _OF_CA),
    "key of a provisioner": (
        key_of_a_provisioner,
        damaged,
        [as_bytes(dict(_PUBLIC, d="AA")), _JWE.encode("ascii"), pki.key_pem(KEY, b"canary"), pki.key_pem(KEY)],
    ),
}
OF_FILES = ("history", "file")


def written(given) -> str:
    """An input as STEPCA_FUZZ_INPUT names it."""
    content = given if isinstance(given, bytes) else json.dumps(given).encode("ascii")
    return base64.b64encode(content).decode("ascii")


def inputs(name: str):
    """(what it is called, the input) of a target, one after the other until the time is up."""
    _reader, damage, samples = TARGETS[name]
    if "STEPCA_FUZZ_INPUT" in os.environ:
        content = base64.b64decode(os.environ["STEPCA_FUZZ_INPUT"])
        yield "STEPCA_FUZZ_INPUT", content if damage is damaged else json.loads(content)
        return
    number, end = FIRST, time.monotonic() + SECONDS
    while time.monotonic() < end:
        chance = random.Random("%s %d" % (name, number))
        yield "input %d" % number, damage(chance.choice(samples), chance)
        number += 1


@pytest.mark.parametrize("name", TARGETS)
def test_what_reads_the_bytes_of_others_fails_in_our_words(name, tmp_path, record_property):
    reader, count = TARGETS[name][0], 0
    reader = reader(tmp_path) if name in OF_FILES else reader
    for called, given in inputs(name):
        count, began = count + 1, time.monotonic()
        try:
            reader(given)
        except StepCAError as error:
            assert str(error).isprintable()
        except Exception as error:
            hint = "STEPCA_FUZZ_INPUT=%s" % written(given)
            raise AssertionError(
                "%s, %s, ends with %r. Again: -k %r and %s" % (name, called, error, name, hint)
            ) from error
        assert time.monotonic() - began < 20, "takes too long: STEPCA_FUZZ_INPUT=%s" % written(given)
    record_property("points", "%d inputs" % count)


@pytest.mark.parametrize("name", TARGETS)
def test_each_sample_is_one_that_its_reader_understands(name, tmp_path):
    """Damage to what was never read at all would find nothing."""
    reader, _damage, samples = TARGETS[name]
    reader = reader(tmp_path) if name in OF_FILES else reader
    for sample in samples if name not in ("key of a provisioner", "certificate in DER") else samples[:1]:
        reader(sample)
