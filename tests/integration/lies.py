# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The lies of a lying host. This file runs there, with Python 3.7 and nothing but `cryptography` (see test_lying_host).

Each function of REQUESTS changes one answer, given the key that the module has just staged; each of RESULTS changes
all that the module said.
"""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils, x25519
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID

HOST = "site.example.com"
EVIL = "evil.example.com"
CA = x509.BasicConstraints(ca=True, path_length=None)
SIGNER = {"digital_signature": True, "key_cert_sign": True, "crl_sign": True}
USAGES = ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
USAGES += ["encipher_only", "decipher_only"]


def request(key, names=(HOST,), others=(), subject=((NameOID.COMMON_NAME, HOST),), attributes=(), critical=False):
    """A request for these names with these other extensions, genuinely signed."""
    builder = x509.CertificateSigningRequestBuilder()
    builder = builder.subject_name(x509.Name([x509.NameAttribute(oid, text) for oid, text in subject]))
    if names:
        general = [name if isinstance(name, x509.GeneralName) else x509.DNSName(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=critical)
    for extension in others:
        builder = builder.add_extension(extension, critical=True)
    for oid, value in attributes:
        builder = builder.add_attribute(oid, value)
    made = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode("ascii")


def altered(pem, old, new):
    """The same request with some bytes replaced, and so with a signature that is wrong."""
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    assert old in der
    encoded = base64.encodebytes(der.replace(old, new)).decode("ascii")
    return "-----BEGIN CERTIFICATE REQUEST-----\n%s-----END CERTIFICATE REQUEST-----\n" % encoded


def private_pem(key):
    """The staged key itself, which no host should send."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode("ascii")


#: What to answer instead of the request that was made, by the name of the certificate.
REQUESTS = {
    "other names": lambda key: request(key, [EVIL]),
    "one more name": lambda key: request(key, [HOST, EVIL]),
    "no names": lambda key: request(key, []),
    "a directory name": lambda key: request(key, [HOST, x509.DirectoryName(x509.Name([]))]),
    "a CA": lambda key: request(key, others=[CA]),
    "a signer": lambda key: request(key, others=[x509.KeyUsage(**SIGNER, **dict.fromkeys(USAGES, False))]),
    "more usages": lambda key: request(key, others=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])]),
    "another subject": lambda key: request(
        key, subject=[(NameOID.COMMON_NAME, HOST), (NameOID.ORGANIZATION_NAME, "Evil")]
    ),
    "another common name": lambda key: request(key, subject=[(NameOID.COMMON_NAME, EVIL)]),
    "an attribute": lambda key: request(key, attributes=[(AttributeOID.CHALLENGE_PASSWORD, b"x")]),
    "another spelling": lambda key: request(key, [HOST.upper()]),
    "critical names": lambda key: request(key, critical=True),
    "a larger key": lambda key: request(ec.generate_private_key(ec.SECP384R1())),
    "another family": lambda key: request(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "a curve of its own": lambda key: request(ec.generate_private_key(ec.SECP256K1())),
    "five megabytes": lambda key: request(key) + "\n" * 5 * 1024 * 1024,
    "two blocks": lambda key: request(key) + request(key, [EVIL]),
    "a private key too": lambda key: request(key) + private_pem(key),
    "wrong signature": lambda key: altered(request(key, ["evil.example.org"]), b"evil.example.org", HOST.encode()),
    "no DER": lambda key: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    "no ASCII": lambda key: request(key).replace("MII", "M\u00ee\u00ee", 1),
    "no PEM": lambda key: "trust me",
    "a number": lambda key: 7,
    "nothing": lambda key: None,
    "brought, other names": lambda key: request(ec.generate_private_key(ec.SECP256R1()), [EVIL]),
    "brought, a CA": lambda key: request(ec.generate_private_key(ec.SECP256R1()), others=[CA]),
    "brought, another common name": lambda key: request(
        ec.generate_private_key(ec.SECP256R1()), subject=[(NameOID.COMMON_NAME, EVIL)]
    ),
}


def _with_answers(change):
    return lambda result: dict(result, answers=change(result["answers"]))


#: What to say instead of the module, by the name of the host.
RESULTS = {
    "answers-in-words": _with_answers(lambda answers: "all is well"),
    "no-answers": lambda result: {"changed": False},
    "answers-too-many": _with_answers(lambda answers: answers * 2),
    "answers-no-mappings": _with_answers(lambda answers: [None]),
    "answers-no-list": _with_answers(lambda answers: {"0": answers[0]}),
}


def talkative(result):
    """An honest request among unknown keys, facts, huge texts and wrong types."""
    noise = {"outcome": result["answers"][0].get("outcome"), "surprise": "x" * 10**6, "ansible_facts": {"pwned": True}}
    many = ["r" * 10**5] * 20 + [{"not": "text"}] * 300 + ["r"] * 300
    noise.update(backup_files=many, proofs=many, former="f" * 10**6, holding=many, revoked=True, ca_url="u" * 10**6)
    answers = [dict(one, **noise, reasons=many, warnings=["w" * 10**5]) for one in result["answers"]]
    for one in answers:
        one["certificate"] = {
            "serial": "9" * 10**6,
            "sans": ["s" * 10**5] * 500,
            "surprise": "x" * 10**6,
            "issuer": [1],
        }
    said = ["as any module may say"]
    return dict(result, answers=answers, warnings=said, surprise="x" * 10**6, ansible_facts={"pwned": True})


def failing(result):
    """A failure with more to say than a sentence."""
    return {
        "failed": True,
        "msg": "m" * 10**6,
        "ansible_facts": {"pwned": True},
        "surprise": "x" * 10**6,
        "changed": True,
    }


def odd(result):
    """The keys that Ansible knows, with values that it does not expect."""
    return dict(result, warnings=[{"not": "text"}, 5], deprecations=[7], changed="perhaps", diff=3, exception=["x"])


RESULTS["talkative"] = talkative
RESULTS["odd"] = odd
RESULTS["failing"] = failing


def self_made(key):
    """A proof, genuinely signed, of a certificate that nobody but the host itself made."""
    return proof(key, [certificate(key, key)])


def certificate(key, signer):
    """DER of a certificate for site.example.com."""
    hour = datetime.timedelta(hours=1)
    builder = x509.CertificateBuilder().public_key(key.public_key()).serial_number(x509.random_serial_number())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    builder = builder.subject_name(name).issuer_name(name)
    builder = builder.not_valid_before(datetime.datetime.utcnow() - hour)
    builder = builder.not_valid_after(datetime.datetime.utcnow() + 9 * hour)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def proof(key, ders, header=None):
    """A token as hosts sign it to show their key; header: its bytes, where it is to be odd."""
    listed = [base64.b64encode(der).decode("ascii") for der in ders]
    made = header or json.dumps({"alg": "ES256", "typ": "JWT", "x5cInsecure": listed}).encode("ascii")
    parts = [made, json.dumps({"sub": HOST}).encode("ascii")]
    signed = ".".join(base64.urlsafe_b64encode(part).decode("ascii").rstrip("=") for part in parts)
    numbers = utils.decode_dss_signature(key.sign(signed.encode("ascii"), ec.ECDSA(hashes.SHA256())))
    signature = b"".join(number.to_bytes(32, "big") for number in numbers)
    return "%s.%s" % (signed, base64.urlsafe_b64encode(signature).decode("ascii").rstrip("="))


def tampered(token):
    """The same words with another signature."""
    signed, _dot, signature = token.rpartition(".")
    return "%s.%s" % (signed, signature[::-1])


def _key():
    return ec.generate_private_key(ec.SECP256R1())


#: What to hand over instead of proofs, given one's own and those of another certificate of this host.
PROOFS = {
    "of another": lambda own, other: other,
    "of two": lambda own, other: [own[0], other[0]],
    "of its own making": lambda own, other: [self_made(_key())],
    "with a line break": lambda own, other: [own[0] + "\r\nX-Evil: 1"],
    "tampered with": lambda own, other: [tampered(own[0])],
    "of a key that signs nothing": lambda own, other: [
        proof(_key(), [certificate(x25519.X25519PrivateKey.generate(), _key())])
    ],
    "deep": lambda own, other: [proof(_key(), [], b"[" * 30000)],
    "no proofs": lambda own, other: ["a.b.c"],
    "no text": lambda own, other: [7, None, {"not": "text"}],
    "no list": lambda own, other: 7,
    "none": lambda own, other: None,
    "long": lambda own, other: ["x" * 10**6 + ".y.z"],
    "many": lambda own, other: own * 500,
}


def _of_another(own, other):
    return {"former": other["former"], "holding": ""}


#: What to say of the certificate to be revoked, given one's own answer and that about another certificate.
FORMERS = {
    "of another": _of_another,
    "of another with one's own proof": lambda own, other: {"former": other["former"]},
    "of another with a proof and a line": lambda own, other: {
        "former": other["former"],
        "holding": other["holding"] + "\n",
    },
    "of another, tampered with": lambda own, other: {"former": other["former"], "holding": tampered(other["holding"])},
    "no certificate": lambda own, other: {"former": "trust me"},
    "of its own making": lambda own, other: {"former": _pem(certificate(_key(), _key()))},
    "many": lambda own, other: {"former": own["former"] * 500},
    "no text": lambda own, other: {"former": 7, "holding": [7]},
    "not to be revoked": lambda own, other: {"revocable": False},
}


def _pem(der):
    encoded = base64.encodebytes(der).decode("ascii")
    return "-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % encoded


#: What to say a certificate's serial is.
SERIALS = {"words": "all of them", "long": "9" * 10**6, "negative": "-5", "no text": 5, "none": None, "hex": "0xff"}


def _serial(name):
    return lambda answer, other: {"certificate": dict(answer["certificate"], serial=SERIALS[name])}


#: Lies about a second thing: by their names, what changes in an answer, given the honest one about the last certificate.
ANSWERS = {"proofs " + name: None for name in PROOFS}
ANSWERS.update({"former " + name: lie for name, lie in FORMERS.items()})
ANSWERS.update({"serial " + name: _serial(name) for name in SERIALS})
ANSWERS["to be signed"] = lambda own, other: {
    "outcome": "issued",
    "csr": request(_key(), [], subject=()),
    "digest": "x",
}
for _name in PROOFS:
    ANSWERS["proofs " + _name] = lambda own, other, told=PROOFS[_name]: {"proofs": told(own["proofs"], other["proofs"])}
#: Which key of an honest answer shows that the lie has its place there.
PLACES = {"proofs": "proofs", "former": "former", "serial": "certificate", "to": "revocable"}


def main(python, folder, arguments):
    """Run the real interpreter; what it prints is changed on the way."""
    done = subprocess.run([python, *arguments], stdin=sys.stdin, stdout=subprocess.PIPE, check=False)
    text = done.stdout.decode("utf-8")
    try:
        result = json.loads(text)
    except ValueError:
        result = None
    told = json.loads((folder / "lies.json").read_text()) if isinstance(result, dict) else None
    if isinstance(told, dict) and "whole" in told:
        text = json.dumps(dict(result, **told["whole"]))
    elif told is not None and "answers" in result:
        text = json.dumps(lie(result, told, folder))
    sys.stdout.write(text)
    sys.exit(done.returncode)


def lie(result, names, folder):
    """What the host says: about each certificate, or at large."""
    if isinstance(names, str):
        return RESULTS[names](result)
    if isinstance(names, dict):
        return dict(result, answers=list(_other_answers(names["about"], result["answers"])))
    for name, answer in zip(names, result["answers"]):  # noqa: B905 -- Python 3.7 has no `strict`
        if "csr" not in answer:
            continue  # not the examination
        answer["csr"] = REQUESTS[name](_staged_key(folder, name))
    return result


def _other_answers(names, answers):
    """Those of ANSWERS; the last certificate is told of truthfully."""
    for name, answer in zip(names, answers):  # noqa: B905
        place = PLACES[name.split()[0]] if name else None
        changes = ANSWERS[name](answer, answers[-1]) if place and answer.get(place) else {}
        yield dict(answer, **changes)


def _staged_key(folder, name):
    (path,) = (folder / "etc" / "tls").glob(".%s.key.stepca-*" % name) if "brought" not in name else (None,)
    return path and serialization.load_pem_private_key(path.read_bytes(), password=None)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
