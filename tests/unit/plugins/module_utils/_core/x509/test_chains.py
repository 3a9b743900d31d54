# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Ways to a trusted root: rotation by cross-signing, what lies beside, and what an authority may not do.

That OpenSSL and step say the same: tests/integration/test_chains.py.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CertificateError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates, chains, signatures
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import (
    DAY,
    FOREIGN,
    HOUR,
    NOW,
    lab,
)

POWERS = (x509.BasicConstraints(True, None), making.key_usage("key_cert_sign"))
OLD = making.Authority("Old", number=200)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def cross_signed(end=NOW + 9 * DAY, extensions=POWERS):
    """The root of lab(), signed by that of OLD."""
    return certified(lab().root.subject, lab().root_key, OLD.root, OLD.root_key, end, extensions)


def certified(name, key, issuer, issuer_key, end=NOW + 9 * DAY, extensions=POWERS):
    return making.certificate(name, key.public_key(), issuer.subject, issuer_key, NOW - DAY, end, extensions)


def critical(extension, **more):
    """A leaf of lab() in which this extension is critical."""
    builder = x509.CertificateBuilder().subject_name(making.subject("web")).issuer_name(lab().intermediate.subject)
    builder = builder.public_key(making.key().public_key()).serial_number(7).not_valid_before(NOW - HOUR)
    builder = builder.not_valid_after(NOW + DAY).add_extension(extension, critical=True)
    for one in more.get("beside", []):
        builder = builder.add_extension(one, critical=False)
    return builder.sign(lab().intermediate_key, hashes.SHA256())


TWIN = certified(lab().intermediate.subject, lab().intermediate_key, OLD.root, OLD.root_key)


@making.table(
    "chain, roots",
    {
        "cross-signed, the new root is trusted": ([*lab().chain(), cross_signed()], [lab().root]),
        "cross-signed, the old root is trusted": ([*lab().chain(), cross_signed()], [OLD.root]),
        "cross-signed, both are": ([*lab().chain(), cross_signed()], [OLD.root, lab().root]),
        "the cross-signed one ended": ([*lab().chain(), cross_signed(NOW - HOUR)], [lab().root]),
        "the cross-signed one is no CA": ([*lab().chain(), cross_signed(extensions=())], [lab().root]),
        "the intermediate has a twin": ([*lab().chain(), TWIN], [lab().root]),
        "its twin is what counts": ([*lab().chain(), TWIN], [OLD.root]),
        "strangers follow": ([*lab().chain(), FOREIGN.intermediate, FOREIGN.root], [lab().root]),
        "a stranger is in between": ([lab().leaf(), FOREIGN.root, lab().intermediate], [lab().root]),
        "the leaf of another follows": ([*lab().chain(), FOREIGN.leaf()], [lab().root]),
        "the order is another": ([lab().leaf(), lab().root, lab().intermediate], [lab().root]),
    },
)
def test_it_is_enough_that_a_trusted_root_issued_a_member(chain, roots):
    assert certificates.chain_problem(chain, roots, NOW) == ""
    assert not certificates.is_foreign(chain, roots)


@making.table(
    "chain, roots, end",
    {
        "the new root is trusted": ([*lab().chain(), cross_signed(NOW + HOUR)], [lab().root], NOW + DAY),
        "the old root is trusted": ([*lab().chain(), cross_signed(NOW + HOUR)], [OLD.root], NOW + HOUR),
        "both are": ([*lab().chain(), cross_signed(NOW + HOUR)], [OLD.root, lab().root], NOW + DAY),
        "a stranger follows": ([*lab().chain(), making.brief().intermediate], [lab().root], NOW + DAY),
        "a stranger follows, nobody is trusted": ([*lab().chain(), making.brief().intermediate], [], NOW + DAY),
        "the root ends first": (lab().chain(end=NOW + 9999 * DAY), [lab().root], NOW + 365 * DAY),
    },
)
def test_only_what_is_on_the_way_ends_a_life(chain, roots, end):
    assert certificates.end_of_life(chain, roots) == end


def test_the_end_of_the_root_counts():
    ending = making.Authority("Ending", number=210, root_end=10 * HOUR)
    chain = ending.chain(begin=NOW, end=NOW + DAY)
    assert certificates.end_of_life(chain, [ending.root]) == NOW + 10 * HOUR
    assert certificates.renew_at(chain, durations.Share(0.5), [ending.root]) == NOW + 5 * HOUR
    assert certificates.facts(chain, durations.Share(0.5), "/c", [ending.root])["renew_at"] == "2026-07-01T17:00:00Z"
    assert certificates.facts(chain, durations.Share(0.5), "/c", [ending.root])["not_after"] == "2026-07-02T12:00:00Z"


def under(*extensions, begin=NOW - DAY, leaf=None):
    """A chain whose intermediate has these extensions."""
    middle = making.certificate(
        making.subject("Middle"),
        lab().intermediate_key.public_key(),
        lab().root.subject,
        lab().root_key,
        begin,
        NOW + DAY,
        extensions,
    )
    options = leaf or {}
    return [
        certified(
            making.subject("web"), making.key(), middle, lab().intermediate_key, extensions=options.get("has", ())
        ),
        middle,
    ]


NAMED = {"has": (making.general_names(["web.example.com", "ip:10.1.2.3"]),)}


@making.table(
    "chain, words",
    {
        "path length": (
            [*lab().chain(), cross_signed(extensions=(x509.BasicConstraints(True, 0),))],
            "CN=Lab Root allows 0 further CAs below it (pathlen), and there are 1",
        ),
        "no keyCertSign": (
            under(POWERS[0], making.key_usage("crl_sign")),
            "CN=Middle may not issue certificates (its keyUsage lacks keyCertSign)",
        ),
        "not yet": (
            under(*POWERS, begin=NOW + HOUR),
            "the intermediate CN=Middle is not valid before 2026-07-01T13:00:00Z; here it is 2026-07-01T12:00:00Z",
        ),
        "unknown extension": (
            [critical(UNKNOWN), lab().intermediate],
            "CN=web has the critical extension 1.2.3.4, which nobody knows, so everybody has to refuse it",
        ),
        "not permitted": (
            under(*POWERS, x509.NameConstraints([x509.DNSName("other.com")], None), leaf=NAMED),
            "CN=Middle does not permit the name web.example.com of CN=web (name constraints)",
        ),
        "excluded": (
            under(
                *POWERS,
                x509.NameConstraints(None, [x509.IPAddress(making.ipaddress.ip_network("10.0.0.0/8"))]),
                leaf=NAMED,
            ),
            "CN=Middle does not permit the name 10.1.2.3 of CN=web (name constraints)",
        ),
    },
)
def test_what_an_authority_may_not_do(chain, words):
    roots = [OLD.root] if "pathlen" in words else [lab().root]
    assert certificates.chain_problem(chain, roots, NOW) == words


def test_time_makes_nothing_foreign_and_a_forged_way_does():
    assert not certificates.is_foreign(under(*POWERS, begin=NOW + HOUR), [lab().root])
    host = lab().leaf(private=making.key(number=3))
    forged = certified(making.subject("other"), making.key(), host, making.key(number=3))
    assert certificates.is_foreign([forged, host, lab().intermediate], [lab().root])


@making.table(
    "leaf, words",
    {
        "unknown": (critical(UNKNOWN), "critical extension 1.2.3.4, which step-ca does not know"),
        "must-staple": (critical(x509.TLSFeature([x509.TLSFeatureType.status_request])), "1.3.6.1.5.5.7.1.24"),
        "known to OpenSSL alone": (critical(x509.PolicyConstraints(0, None)), "2.5.29.36"),
        "names that Go does not know": (
            critical(x509.SubjectAlternativeName([x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))])),
            "2.5.29.17",
        ),
        "names that it knows": (critical(making.general_names(["web"])), ""),
        "not critical": (lab().leaf(extensions=[UNKNOWN]), ""),
    },
)
@pytest.mark.parametrize("by_proof", [True, False])
def test_what_is_never_renewed(leaf, words, by_proof):
    found = certificates.renewal_problem(leaf, by_proof)
    assert words in found and bool(found) == bool(words)


def test_only_what_is_self_issued_is_a_root():
    roots, left_out = certificates.only_roots([lab().intermediate, lab().root, cross_signed()])
    assert roots == [lab().root]
    assert (
        left_out[0]
        == "CN=Lab Intermediate (SHA-256 %s) is no root: CN=Lab Root issued it. It is left out; give the root instead."
        % (making.sha256(lab().intermediate))
    )
    assert "CN=Lab Root" in left_out[1] and "CN=Old Root issued it" in left_out[1]


def salted(name, key, issuer, issuer_key, digest, mask, salt):
    """A certificate signed by RSASSA-PSS."""
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(9).not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    for extension in POWERS:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(issuer_key, digest, rsa_padding=padding.PSS(padding.MGF1(mask), salt))


@pytest.mark.parametrize("digest, salt", [(hashes.SHA256(), 32), (hashes.SHA384(), 20), (hashes.SHA512(), 0)])
def test_pss_is_verified_by_any_library(digest, salt):
    name, key, other = making.subject("PSS"), making.key("rsa-2048", 1), making.key("rsa-2048", 2)
    leaf = making.Older(salted(making.subject("web"), making.key(), name, key, digest, digest, salt))
    root, impostor = (
        salted(name, key, name, key, digest, digest, salt),
        salted(name, other, name, other, digest, digest, salt),
    )
    assert certificates.chain_problem([leaf], [root], NOW) == ""
    assert "none of the trusted roots" in certificates.chain_problem([leaf], [impostor], NOW)


def test_what_cannot_be_verified_is_said(monkeypatch):
    monkeypatch.setattr(signatures, "_ALGORITHMS", {})
    found = certificates.chain_problem(lab().chain(), [lab().root], NOW)
    assert found.startswith("the signature of CN=web.example.com cannot be verified by cryptography ")
    assert "issued" not in found
    assert chains.is_root(lab().root) and not chains.is_root(lab().intermediate)


def test_rings_end():
    """Authorities that certified each other, and each of them twice."""
    both = [(lab(), OLD), (OLD, lab())]
    ring = [certified(low.root.subject, low.root_key, high.root, high.root_key) for low, high in both * 4]
    assert "none of the trusted roots" in certificates.chain_problem([*lab().chain(), *ring], [FOREIGN.root], NOW)
    assert certificates.end_of_life([*lab().chain(), *ring]) == NOW + DAY
    assert timedelta(0) < certificates.end_of_life([*lab().chain(), *ring], [OLD.root]) - NOW


def test_what_every_client_would_refuse_is_not_installed():
    chain = [critical(UNKNOWN, beside=[making.general_names(["web.example.com"])]), lab().intermediate]
    with pytest.raises(
        CertificateError, match="whose extension 1.2.3.4 is critical, and nobody knows it: .*A template"
    ):
        certificates.check_issued(chain, making.wanted(), making.key_sha256(making.key()), [lab().root], NOW)
