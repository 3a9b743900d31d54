# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Chains of all kinds, good and bad, for those who compare judges."""

from __future__ import annotations

import ipaddress
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

NOW = datetime.now(timezone.utc).replace(microsecond=0)
DAY = timedelta(days=1)
ALGORITHMS = ("p256", "p384-sha384", "p521-sha512", "rsa-sha256", "rsa-sha512", "pss-sha256", "pss-sha384", "ed25519")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
# What OpenSSL alone looks at, or judges otherwise than Go does.
NOT_FOR_GO = {"directory", "identifier", "self-issued", "no basicConstraints", "common name", "limits on hosts"}
# Of several ways OpenSSL tries the first alone; Go tries them all, and so do we.
NOT_FOR_OPENSSL = {"namesakes", "two ways"}


@cache
def key(algorithm: str, number: int) -> Any:
    """One of a few keys for this algorithm."""
    if algorithm.startswith("p") and algorithm[1].isdigit():
        return ec.generate_private_key(
            {"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}[algorithm[:4]]()
        )
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Plan:
    """One certificate that is to be made; extensions: (extension, critical)."""

    subject: str
    issuer: str
    key: Any
    begin: datetime = NOW - DAY
    end: datetime = NOW + 30 * DAY
    serial: int = 0
    ca: bool | None = None
    path_length: int | None = None
    usage: bool | None = None
    extensions: list[tuple[x509.ExtensionType, bool]] = field(default_factory=list)
    names: list[x509.GeneralName] = field(default_factory=list)
    critical: bool = True


def usage(signs: bool) -> x509.KeyUsage:
    """For certificates, or for TLS alone."""
    return x509.KeyUsage(not signs, False, False, False, False, signs, signs, False, False)


def make(plan: Plan, signer: Any, algorithm: str) -> x509.Certificate:
    """The certificate of a plan."""
    name, issuer = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)] if one else []) for one in (plan.subject, plan.issuer)
    ]
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(plan.key.public_key())
    builder = builder.serial_number(plan.serial or x509.random_serial_number())
    builder = builder.not_valid_before(plan.begin).not_valid_after(plan.end)
    extensions = list(plan.extensions)
    if plan.ca is not None:
        extensions.append((x509.BasicConstraints(plan.ca, plan.path_length if plan.ca else None), plan.critical))
    if plan.usage is not None:
        extensions.append((usage(plan.usage), plan.critical))
    if plan.names:
        extensions.append((x509.SubjectAlternativeName(plan.names), False))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    digest = {"sha384": hashes.SHA384, "sha512": hashes.SHA512}.get(algorithm.rpartition("-")[2], hashes.SHA256)()
    salted = padding.PSS(padding.MGF1(digest), digest.digest_size) if algorithm.startswith("pss") else None
    return builder.sign(signer, None if algorithm == "ed25519" else digest, rsa_padding=salted)


@dataclass
class Case:
    """A chain, the roots that are trusted, and what was done to it."""

    name: str
    chain: list[x509.Certificate]
    roots: list[x509.Certificate]
    done: set[str]


DNS, IP, MAIL, URI = x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier


def network(text: str) -> x509.IPAddress:
    """An address with its mask."""
    return IP(ipaddress.ip_network(text))


NAMES = [
    DNS("web.example.com"), DNS("WEB.example.com"), DNS("a.b.internal"), DNS("internal"), DNS("notexample.com"),
    IP(ipaddress.ip_address("10.1.2.3")), IP(ipaddress.ip_address("2001:db8::1")),
    MAIL("ops@example.com"), MAIL("ops@mail.example.com"), URI("https://web.example.com/x"), URI("spiffe://example.com/a:b"),
]  # fmt: skip
LIMITS = [
    DNS("example.com"), DNS("internal"), DNS(".internal"), DNS("b.internal"), DNS("Example.com"), network("10.0.0.0/8"),
    network("192.168.0.0/16"), network("2001:db8::/32"), MAIL("example.com"), MAIL(".example.com"), MAIL("ops@example.com"),
    URI("example.com"), URI(".example.com"), URI("web.example.com"),
]  # fmt: skip
DIRECTORIES = [
    x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]))
    for text in ("LEAF  0", "other", "leaf 0")
]


class Maker:
    """Makes the chains of one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.done: set[str] = set()

    def case(self, name: str) -> Case:
        """A chain of one to four below a root, with up to two things done to it."""
        chance = self.chance
        length = chance.choice((1, 2, 2, 3, 3, 4))
        algorithms = [chance.choice(ALGORITHMS) for _each in range(length + 1)]
        keys = [key(algorithm, place) for place, algorithm in enumerate(algorithms)]
        titles = ["leaf 0", *["middle %d" % place for place in range(1, length)], "root"]
        plans = [
            Plan(titles[place], titles[min(place + 1, length)], keys[place], ca=True, usage=True)
            for place in range(length + 1)
        ]
        plans[0].ca, plans[0].usage, plans[0].names = chance.choice((None, False)), False, chance.sample(NAMES, 2)
        for change in chance.sample(CHANGES, chance.choice((0, 1, 1, 2))):
            getattr(self, "_" + change)(plans)
        signers = [*range(1, length + 1), length]
        chain = [make(plan, keys[above], algorithms[above]) for plan, above in zip(plans, signers, strict=True)]
        roots, chain = chain[-1:], chain[:-1]
        roots, chain = self._arranged(roots, chain, keys, algorithms, plans)
        return Case(name, chain, roots, self.done)

    def _upper(self, plans: list[Plan]) -> Plan:
        return self.chance.choice(plans[1:])

    def _lengths(self, plans: list[Plan]) -> None:
        self.done.add("lengths")
        for plan in plans[1:]:
            plan.path_length = self.chance.choice((None, 0, 1, 2))

    def _self_issued(self, plans: list[Plan]) -> None:
        if len(plans) > 3:
            self.done.add("self-issued")
            self._identify(plans, len(plans))  # OpenSSL takes what is self-issued and names no key for a root
            plans[1].subject = plans[1].issuer = plans[2].subject
            plans[0].issuer = plans[1].subject
            for plan in plans[1:]:
                plan.path_length = self.chance.choice((None, 0, 1))

    def _no_signing(self, plans: list[Plan]) -> None:
        self.done.add("keyCertSign")
        self._upper(plans).usage = False

    def _no_authority(self, plans: list[Plan]) -> None:
        self.done.add("CA")
        self._upper(plans).ca = False

    def _no_constraints(self, plans: list[Plan]) -> None:
        plan = self._upper(plans)
        plan.ca = None
        self.done.add("no basicConstraints")
        plan.usage = self.chance.choice((None, True))

    def _no_usage(self, plans: list[Plan]) -> None:
        self.done.add("lax")
        plan = self._upper(plans)
        plan.usage, plan.critical = None, False

    def _early(self, plans: list[Plan]) -> None:
        self.done.add("early")
        plan = self._upper(plans)
        plan.begin, plan.end = NOW + DAY, NOW + 9 * DAY

    def _late(self, plans: list[Plan]) -> None:
        self.done.add("late")
        plan = self._upper(plans)
        plan.begin, plan.end = NOW - 9 * DAY, NOW - DAY

    def _unknown(self, plans: list[Plan]) -> None:
        self.done.add("unknown")
        self.chance.choice(plans).extensions.append((UNKNOWN, self.chance.choice((True, True, False))))

    def _limits(self, plans: list[Plan]) -> None:
        self.done.add("limits")
        permitted = self.chance.sample(LIMITS, self.chance.choice((0, 1, 3, 5)))
        excluded = self.chance.sample(LIMITS, 0 if permitted and self.chance.random() < 0.7 else 1)
        if any(isinstance(one, (MAIL, URI)) and one.value[:1] not in ".o" for one in permitted + excluded):
            self.done.add("limits on hosts")  # which Go extends to what is below them
        self._limit(plans, permitted, excluded)

    def _limit(self, plans: list[Plan], permitted: list[x509.GeneralName], excluded: list[x509.GeneralName]) -> None:
        upper = self._upper(plans)
        if permitted or excluded:
            limits = x509.NameConstraints(permitted or None, excluded or None)
            upper.extensions = [one for one in upper.extensions if one[0].oid != limits.oid] + [(limits, True)]

    def _directory(self, plans: list[Plan]) -> None:
        self.done.add("directory")
        one = [self.chance.choice(DIRECTORIES)]
        self._limit(plans, *((one, []) if self.chance.random() < 0.6 else ([], one)))

    def _common_name(self, plans: list[Plan]) -> None:
        self.done.add("common name")
        plans[0].subject = self.chance.choice(("web.example.com", "web.other", "web", "-a.other"))
        plans[0].names = self.chance.sample([one for one in NAMES if not isinstance(one, DNS)], 1)
        self._limit(plans, [DNS("example.com")], [])

    def _identifiers(self, plans: list[Plan]) -> None:
        """Each key has its identifier; one certificate may name another's."""
        self.done.add("identifier")
        self._identify(plans, self.chance.randrange(len(plans) * 2))

    def _identify(self, plans: list[Plan], wrong: int) -> None:
        for place, plan in enumerate(plans):
            above = plans[0 if place == wrong else min(place + 1, len(plans) - 1)]
            own = x509.SubjectKeyIdentifier.from_public_key(plan.key.public_key())
            named = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key())
            plan.extensions = [one for one in plan.extensions if one[0].oid not in (own.oid, named.oid)]
            plan.extensions += [(named, False), *([(own, False)] if place else [])]

    def _arranged(self, roots, chain, keys, algorithms, plans):  # type: ignore[no-untyped-def]
        """What lies in the file beside, before and after; and what is trusted."""
        chance, way = (
            self.chance,
            self.chance.choice(
                ("as it is", "as it is", "root", "junk", "cross", "twin", "namesake", "shuffled", "cut")
            ),
        )
        self.done.add(way)
        other = key("p256", 77)
        stranger = make(Plan("stranger", "stranger", other, ca=True, usage=True), other, "p256")
        if way == "root":
            chain = chain + roots
        elif way == "junk":
            chain.insert(chance.randrange(1, len(chain) + 1), stranger)
        elif way == "cross":  # the root, signed by a former one; either may be trusted
            cross = make(
                Plan("root", "stranger", keys[-1], ca=True, usage=True, end=NOW + chance.choice((DAY, -DAY / 2))),
                other,
                "p256",
            )
            chain, roots = chain + [cross], chance.choice((roots, [stranger], [*roots, stranger]))
            self.done |= {"two ways"} if len(roots) > 1 else set()
        elif way == "twin":  # what is below the root, signed by another root as well
            if len(chain) > 1:
                top = plans[-2]
                twin = make(Plan(top.subject, "stranger", top.key, ca=True, usage=True), other, "p256")
                chain, roots = [*chain[:-1], twin, chain[-1]], chance.choice((roots, [*roots, stranger]))
                self.done.add("two ways")
        elif way == "namesake":
            more = chance.choice(([], roots))
            self.done |= {"namesakes"} if more else set()
            roots = [make(Plan("root", "root", other, ca=True, usage=True), other, "p256"), *more]
        elif way == "shuffled":
            rest = chain[1:]
            chance.shuffle(rest)
            chain = chain[:1] + rest
        elif way == "cut" and len(chain) > 1:
            chain.pop(chance.randrange(1, len(chain)))
        return roots, chain


CHANGES = (
    "lengths", "self_issued", "no_signing", "no_authority", "no_constraints", "no_usage", "early", "late", "unknown", "limits",
    "limits", "limits", "directory", "common_name", "identifiers",
)  # fmt: skip


def pem(certificates: list[x509.Certificate]) -> bytes:
    """PEM of certificates in this order."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
