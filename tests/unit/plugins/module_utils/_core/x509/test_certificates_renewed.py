# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Renewals: what may be renewed at all, which answer is one, and whose a certificate is."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CertificateError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import (
    DAY,
    FOREIGN,
    HOUR,
    MINUTE,
    NOW,
    lab,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.x509.test_certificates import (
    of_unknown_version,
    with_unknown_name,
)

FORMER = lab().chain(begin=NOW - 20 * HOUR, end=NOW + 4 * HOUR)
KEY = making.key_sha256(making.key())


def check(chain, former=None, now=NOW, **options):
    certificates.check_renewed(chain, former or FORMER, making.wanted(**options), KEY, [lab().root], now, now)


def test_a_renewal_is_the_same_with_a_later_end():
    check(lab().chain())
    check(lab().chain(end=NOW + 4 * HOUR + MINUTE, begin=NOW - 20 * HOUR), renew_before="1h")
    check(lab().chain(private=making.key()), max_lifetime="24h")
    check(lab().chain(begin=NOW - HOUR, end=NOW + DAY), max_lifetime="24h")  # however far the CA dates back


@making.table(
    "chain, options, words",
    {
        "another key": (lab().chain(private=making.key(number=1)), {}, "for another key"),
        "a name more": (lab().chain(["web.example.com", "b.example"]), {}, "another certificate than the one"),
        "other names": (lab().chain(["b.example"]), {}, "another certificate than the one"),
        "a CA": (
            lab().chain(extensions=[x509.BasicConstraints(True, None)]),
            {},
            "another certificate than the one that was to be renewed",
        ),
        "a usage more": (
            lab().chain(extensions=[x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.3")])]),
            {},
            "another certificate than the one that was to be renewed",
        ),
        "somebody else's": (FOREIGN.chain(), {}, "does not lead to a trusted root"),
        "incomplete": (lab().chain()[:1], {}, "does not lead to a trusted root"),
        "no later": (
            lab().chain(end=NOW + 4 * HOUR),
            {},
            "would end on 2026-07-01T16:00:00Z, not later than now .2026-07-01T16:00:00Z",
        ),
        "earlier": (lab().chain(end=NOW + HOUR), {}, "not later than now"),
        "due at once": (
            lab().chain(begin=NOW - DAY, end=NOW + 5 * HOUR),
            {},
            "would be due at once: it ends in 5h .*its whole life is 29h, and renew_before makes it due when",
        ),
        "longer than allowed": (
            lab().chain(begin=NOW - 12 * MINUTE, end=NOW + DAY + 2 * MINUTE),
            {"max_lifetime": "24h"},
            "would live for 24h2m, longer than max_lifetime, 24h",
        ),
        "not valid yet": (lab().chain(begin=NOW + 11 * MINUTE, end=NOW + DAY), {}, "is not valid before"),
    },
)
def test_what_is_no_renewal_is_refused(chain, options, words):
    with pytest.raises(CertificateError, match=words):
        check(chain, **options)


def test_an_intermediate_that_ends_first_is_the_end_of_a_renewal():
    brief = making.brief()
    with pytest.raises(CertificateError, match="would end on"):
        certificates.check_renewed(
            brief.chain(end=NOW + 2 * DAY), brief.chain(), making.wanted(), KEY, [brief.root], NOW, NOW
        )


def test_a_life_that_is_longer_than_allowed_has_a_minute_of_grace():
    chain = lab().chain(end=NOW + DAY + MINUTE)
    assert not certificates.lives_longer(chain, DAY, NOW)
    assert certificates.lives_longer(chain, DAY, NOW - timedelta(seconds=1))


def test_somebody_elses_certificate_is_foreign_and_an_expired_one_is_not():
    roots = [lab().root]
    assert not certificates.is_foreign(lab().chain(), roots)
    assert not certificates.is_foreign(lab().chain(begin=NOW - 9 * DAY, end=NOW - 8 * DAY), roots)
    assert not certificates.is_foreign(making.brief().chain(end=NOW + DAY), [making.brief().root])
    assert certificates.is_foreign(FOREIGN.chain(), roots)
    assert certificates.is_foreign(lab().chain(), [FOREIGN.root])
    assert certificates.is_foreign(lab().chain()[:1], roots)


def test_how_many_certificates_a_text_holds():
    assert certificates.count(making.pem(*lab().chain())) == 2
    assert certificates.count(b"rubbish") == 0


@pytest.mark.parametrize("make", [of_unknown_version, with_unknown_name], ids=["version", "x400Address"])
def test_what_the_library_does_not_know_is_refused_in_der_too(make):
    der = b"".join(make().splitlines()[1:-1])
    with pytest.raises(ValueError):
        certificates.load_der(base64.b64decode(der))


def test_rubbish_in_der_is_refused():
    der = lab().root.public_bytes(serialization.Encoding.DER)
    for rubbish in (b"", b"rubbish", der[:-1], der + b"x"):
        with pytest.raises(ValueError):
            certificates.load_der(rubbish)
