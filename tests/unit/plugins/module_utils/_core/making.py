# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Makes what the tests look at: keys, authorities, certificates, requests, and what a task asks for.

Everything is built with `cryptography` alone, so that a mistake in the code under test cannot hide in its own tools.
"""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import datetime, timedelta, timezone
from functools import lru_cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import assume, settings
from hypothesis import strategies as st

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import derived
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import request as wanted_module
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate.request import Pkcs12
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError

NOW = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
PROVISIONER_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.37476.9000.64.1")
KEY_TYPES = ("ec-p256", "ec-p384", "ec-p521", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519")

#: For property tests: the same examples in every run.
steady = settings(derandomize=True, database=None, deadline=None, max_examples=200)


def table(arguments, rows):
    """Parametrize a test with rows, each by its name: {name: values}."""
    return pytest.mark.parametrize(arguments, list(rows.values()), ids=list(rows))


@lru_cache
def key(key_type="ec-p256", number=0):
    """A private key of this type; another number is another key."""
    family, _dash, size = key_type.partition("-")
    if family == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=int(size))
    if family == "ec":
        return ec.generate_private_key({"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}[size]())
    return ed25519.Ed25519PrivateKey.generate()


def key_pem(private, password=None):
    """PKCS#8 PEM of a key."""
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def key_sha256(private):
    """SHA-256 of the public key, as the record has it."""
    return sha256_of_key(private.public_key())


def sha256_of_key(public):
    """SHA-256 of a public key."""
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def pem(*chain):
    """PEM of certificates in this order."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)


def sha256(certificate):
    """Fingerprint of a certificate."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def subject(common_name="", organization=""):
    """An X.509 name."""
    parts = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name)]
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts if text])


def general_names(texts):
    """The extension for names as results write them, kind:value; without a prefix they are DNS names."""
    found = []
    for text in texts:
        kind, colon, value = text.partition(":")
        if not colon:
            kind, value = "dns", text
        if kind == "ip":
            found.append(x509.IPAddress(ipaddress.ip_address(value)))
        else:
            classes = {"dns": x509.DNSName, "email": x509.RFC822Name, "uri": x509.UniformResourceIdentifier}
            found.append(classes[kind](value))
    return x509.SubjectAlternativeName(found)


def key_usage(*powers):
    """The extension keyUsage with these bits set."""
    names = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
    bits = (names + " crl_sign encipher_only decipher_only").split()
    return x509.KeyUsage(**{bit: bit in powers for bit in bits})


def digest_for(private):
    """What this key signs with."""
    return None if isinstance(private, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def request(names=("web.example.com",), common_name="web.example.com", private=None, **more):
    """A certificate request. more: organization, extensions (list), attributes (list of oid, bytes), critical."""
    private = private or key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject(common_name, more.get("organization", "")))
    if names:
        builder = builder.add_extension(general_names(names), critical=more.get("critical", False))
    for extension in more.get("extensions", []):
        builder = builder.add_extension(extension, critical=False)
    for oid, content in more.get("attributes", []):
        builder = builder.add_attribute(oid, content)
    return builder.sign(private, digest_for(private))


def request_pem(*arguments, **more):
    """The same as PEM text."""
    return request(*arguments, **more).public_bytes(serialization.Encoding.PEM).decode("ascii")


def tlv(tag, content):
    """One DER value of up to 64 KiB."""
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes(1 if size < 256 else 2, "big")
    return bytes([tag, 0x80 + len(length)]) + length + content


def unknown(oid, content="0500"):
    """An extension of this object identifier, with this DER in hex."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), bytes.fromhex(content))


def step_extension(name="ansible", key_id="kid-1", kind=1):
    """The extension in which step-ca names the provisioner (certificates: authority/provisioner/extension.go)."""
    fields = tlv(2, bytes([kind])) + tlv(4, name.encode("utf-8")) + tlv(4, key_id.encode("utf-8"))
    return x509.UnrecognizedExtension(PROVISIONER_EXTENSION, tlv(0x30, fields))


def certificate(name, public_key, issuer, issuer_key, begin, end, extensions=()):
    """One certificate out of its parts."""
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, digest_for(issuer_key))


class Authority:
    """A root and an intermediate, and the certificates they give out."""

    def __init__(self, name="Lab", number=0, root_end=3650 * DAY, intermediate_end=365 * DAY, key_type="ec-p256"):
        self.root_key, self.intermediate_key = key(key_type, number + 100), key(key_type, number + 101)
        powers = [x509.BasicConstraints(True, None), key_usage("key_cert_sign", "crl_sign")]
        root, middle = subject(name + " Root"), subject(name + " Intermediate")
        self.root = certificate(
            root, self.root_key.public_key(), root, self.root_key, NOW - 30 * DAY, NOW + root_end, powers
        )
        self.intermediate = certificate(
            middle,
            self.intermediate_key.public_key(),
            root,
            self.root_key,
            NOW - 30 * DAY,
            NOW + intermediate_end,
            powers,
        )

    def leaf(self, names=("web.example.com",), common_name="web.example.com", private=None, **more):
        """A certificate for a host. more: begin, end, organization, extensions, provisioner (name or None)."""
        name, end = more.get("provisioner", "ansible"), more.get("end", NOW + DAY)
        extensions = list(more.get("extensions", []))
        extensions += [general_names(names)] if names else []
        extensions += [step_extension(name)] if name else []
        return certificate(
            subject(common_name, more.get("organization", "")),
            (private or key()).public_key(),
            self.intermediate.subject,
            self.intermediate_key,
            more.get("begin", min(NOW - MINUTE, end - DAY)),
            end,
            extensions,
        )

    def chain(self, *arguments, **more):
        """Leaf and intermediate, as step-ca answers."""
        return [self.leaf(*arguments, **more), self.intermediate]


@lru_cache
def lab():
    """The authority that most tests trust."""
    return Authority()


#: An authority that none of them trusts.
FOREIGN = Authority("Foreign", number=10)


class Older:
    """A certificate as cryptography 3.3 has it, without what came later."""

    missing = ("verify_directly_issued_by", "not_valid_before_utc", "not_valid_after_utc")

    def __init__(self, certificate):
        self._certificate = certificate

    def __getattr__(self, name):
        if name in self.missing:
            raise AttributeError(name)
        if name in ("not_valid_before", "not_valid_after"):
            return getattr(self._certificate, name + "_utc").replace(tzinfo=None)
        return getattr(self._certificate, name)


@lru_cache
def web(key_type, **more):
    """A certificate of lab() for the key of this type, the same each time."""
    return lab().leaf(private=key(key_type, 0), **more)


def pair(key_type="ec-p256", length=2, encryption="modern", name=None, **more):
    """What the derived files of a certificate are made of; more: attributes of the pair that are to be others."""
    made = derived.Pair(
        chain=[web(key_type), lab().intermediate, lab().root][:length],
        key=key(key_type, 0),
        roots=[lab().root],
        password="geheim-4711",
        pkcs12=Pkcs12("geheim-4711", None, name, encryption),
    )
    for attribute, content in more.items():
        setattr(made, attribute, content)
    return made


def wanted(**options):
    """What a task asks for, from options as a user writes them."""
    entry = {
        "certificate_path": "/etc/pki/web.crt",
        "key_path": "/etc/pki/web.key",
        "sans": ["web.example.com"],
        "key_type": "ec-p256",
        "renew_before": "33%",
    }
    return wanted_module.parse(dict(entry, **options))


@lru_cache
def brief():
    """An authority whose intermediate ends before the leaves."""
    return Authority("Brief", number=110, intermediate_end=20 * HOUR)


def in_text(span, now=NOW):
    """An instant from now, as a user writes it."""
    return durations.format_time(now + span)


def options(now):
    """Options of a task whose values may each be drawn from a list, some of them with others impossible."""
    return {
        "common_name": [None, "Web", "web.example.com"],
        "key_type": ["ec-p256", "ed25519"],
        "key_policy": ["on_issue", "keep", "always"],
        "not_before": [None, "0s", "30m", in_text(HOUR, now), in_text(-HOUR, now)],
        "not_after": [None, "1h", "24h", "30d", in_text(2 * HOUR, now), in_text(5 * DAY, now)],
        "max_lifetime": [None, "2h", "24h", "90d"],
        "renew_before": ["33%", "0%", "99%", "30m", "59m"],
        "issued_since": [None, in_text(-DAY, now), in_text(-MINUTE, now)],
        "template_data": [None, {}, {"team": "web", "floors": [1, 2]}],
        "chain_path": [None, "/etc/pki/chain.pem"],
        "combined_path": [None, "/etc/pki/all.pem"],
    }


@st.composite
def tasks(draw):
    """What a task may ask for."""
    asked = st.lists(st.sampled_from(["web.example.com", "10.0.0.1", "a@b", "uri:urn:x"]), min_size=1, unique=True)
    drawn = {name: draw(st.sampled_from(values)) for name, values in options(NOW).items()}
    try:
        task = wanted(sans=draw(asked), **drawn)
        wanted_module.refuse_past(task, NOW)
    except OptionError:
        assume(False)
    return task


@st.composite
def issues(draw):
    """A task, and what a CA makes of it: backdated, cut short, with names and a subject of its own."""
    task = draw(tasks())
    clock = NOW + timedelta(seconds=draw(st.integers(-3600, 600)))
    start = clock if task.not_before is None else task.not_before
    start = clock + start if isinstance(start, timedelta) else start
    end = task.not_after or DAY
    end = start + end if isinstance(end, timedelta) else end
    end = min(end, start + timedelta(hours=draw(st.integers(1, 2000))))
    assume(end > start)
    backdate = draw(st.sampled_from([0, 1, 10])) * MINUTE if task.not_before is None else timedelta(0)
    names = [str(san) for san in task.sans] + draw(st.sampled_from([[], ["extra.example"]]))
    common_name = draw(st.sampled_from([task.common_name, "", "made by a template"]))
    chain = draw(st.sampled_from([lab(), brief()])).chain(
        draw(st.permutations(names)),
        common_name,
        begin=start - backdate,
        end=end,
        provisioner=draw(st.sampled_from(["ansible", None])),
        private=key(task.key_type),
    )
    return task, chain
