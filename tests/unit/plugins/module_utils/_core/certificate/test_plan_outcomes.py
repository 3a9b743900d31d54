# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Which way out: renewed, rekeyed or issued anew; and the reasons that came with a life that is watched more closely."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import plan
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.certificate.test_plan import (
    assert_reasons,
    found,
    recorded,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    lab,
)

TIME = durations.format_time
#: When a certificate of a day is due, and when it has ended.
DUE, ENDED = NOW + 20 * HOUR, NOW + 25 * HOUR


def decide(lies, now=NOW, by_host=False, **options):
    return plan.decide(making.wanted(**options), lies, now, None, by_host)


def usage(*extensions):
    """A certificate of a day with these extensions."""
    return found(lab().chain(extensions=list(extensions)))


SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
BOTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
ANY = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.5.29.37.0")])
NOT_FOR_CLIENTS = "it is issued anew instead of renewed: it is not for clients (extended key usage without clientAuth)"
NOT_FOR_SIGNATURES = "it is issued anew instead of renewed: its key is not for signatures"


@making.table(
    "lies, by_host, options, outcome, why",
    {
        "by way of the controller": (found(), False, {}, "renewed", []),
        "by the host": (found(), True, {}, "renewed", []),
        "the key is kept": (found(), False, {"key_policy": "keep"}, "renewed", []),
        "always a new key, by the host": (found(), True, {"key_policy": "always"}, "rekeyed", []),
        "always a new key, relayed": (
            found(),
            False,
            {"key_policy": "always"},
            "issued",
            ["key_policy is always, and a renewal by way of the controller would keep the key"],
        ),
        "a request of the user": (
            found(key=making.key().public_key()),
            True,
            {"csr_path": "/etc/pki/web.csr"},
            "issued",
            ["the request /etc/pki/web.csr is signed again, since only its key could renew"],
        ),
        "refused before": (
            found(refused="the CA refused to renew it (401)"),
            False,
            {},
            "issued",
            ["it is issued anew instead of renewed: the CA refused to renew it (401)"],
        ),
        "for clients too": (usage(BOTH), False, {}, "renewed", []),
        "for anything": (usage(ANY), False, {}, "renewed", []),
        "for servers only": (usage(SERVER), False, {}, "issued", [NOT_FOR_CLIENTS]),
        "for servers only, by the host": (usage(SERVER), True, {"key_policy": "always"}, "issued", [NOT_FOR_CLIENTS]),
        "key for signatures": (usage(making.key_usage("digital_signature")), False, {}, "renewed", []),
        "key for encryption only": (
            usage(making.key_usage("key_encipherment")),
            False,
            {},
            "issued",
            [NOT_FOR_SIGNATURES],
        ),
        "key for encryption only, by the host": (usage(making.key_usage("key_encipherment")), True, {}, "renewed", []),
    },
)
@pytest.mark.parametrize("now, reason", [(DUE, "it is due since"), (ENDED, "it expired on")], ids=["due", "expired"])
def test_the_cheapest_way_out_of_a_life_that_ends(lies, by_host, options, outcome, why, now, reason):
    assert_reasons(decide(lies, now, by_host, **options), [reason, *why], outcome)
    assert decide(lies, NOW, by_host, **options).outcome == "none"


@pytest.mark.parametrize("by_host", [False, True])
@pytest.mark.parametrize("options", [{"sans": ["b.example"]}, {"force": True}, {"key_type": "ed25519"}])
def test_any_other_reason_beside_time_means_issued(options, by_host):
    decision = decide(found(), DUE, by_host, key_policy="always", **options)
    assert decision.outcome == "issued" and "it is due since" in decision.reasons[-1]


@pytest.mark.parametrize("now", [NOW, DUE], ids=["in time", "due"])
def test_what_is_revoked_is_issued_anew(now):
    decision = decide(found(revoked="the CA revoked it (serial 7) on 2026-07-01T11:00:00Z"), now)
    assert decision.outcome == "issued" and decision.reasons[0].startswith("the CA revoked it (serial 7)")


TEMPLATED = lab().chain()
DATA, OTHER = {"team": "web", "floors": [1, 2]}, {"team": "web", "floors": [2, 1]}


@making.table(
    "then, now, phrases",
    {
        "never": ({}, {}, []),
        "as before": ({"template_data": DATA}, {"template_data": dict(reversed(list(DATA.items())))}, []),
        "no longer asked": ({"template_data": DATA}, {}, []),
        "for the first time": ({}, {"template_data": DATA}, ["template_data was none, expected SHA-256 "]),
        "otherwise": ({"template_data": DATA}, {"template_data": OTHER}, ["template_data was SHA-256 "]),
        "emptied": ({"template_data": DATA}, {"template_data": {}}, ["template_data was SHA-256 "]),
    },
)
def test_the_data_of_a_template(then, now, phrases):
    decision = decide(found(TEMPLATED, record=recorded(TEMPLATED, **then)), **now)
    assert_reasons(decision, phrases)
    assert "floors" not in " ".join(decision.reasons)


def test_data_of_a_template_is_forgotten_with_the_record():
    assert_reasons(decide(found(TEMPLATED), template_data=DATA), [])
    other = recorded(lab().chain(private=making.key(number=1)))
    assert_reasons(decide(found(TEMPLATED, record=other), template_data=DATA), [])


# issued_since and max_lifetime


def renewed():
    """A certificate of today whose record tells that it was first issued a month ago."""
    chain = lab().chain()
    return found(chain, record=dict(recorded(chain), issued_at=TIME(NOW - 30 * DAY)))


@making.table(
    "lies, since, phrases",
    {
        "issued then": (found(record=recorded(lab().chain())), NOW, []),
        "issued before": (
            found(record=recorded(lab().chain())),
            NOW + MINUTE,
            ["it was first issued on 2026-07-01T12:00:00Z, expected since 2026-07-01T12:01:00Z (issued_since)"],
        ),
        "a renewal is no issue": (
            renewed(),
            NOW - DAY,
            ["it was first issued on 2026-06-01T12:00:00Z, expected since"],
        ),
        "no record": (found(), NOW, ["it was first issued on 2026-07-01T11:59:00Z, expected since"]),
        "no record, begins later": (found(), NOW - MINUTE, []),
        "a record that cannot be read": (
            found(record=dict(recorded(lab().chain()), issued_at="yesterday")),
            NOW,
            ["it was first issued on 2026-07-01T11:59:00Z"],
        ),
    },
)
def test_certificates_from_before_a_leak_are_issued_anew(lies, since, phrases):
    assert_reasons(decide(lies, issued_since=TIME(since)), phrases)


def lives(begin, end, issued=None, **then):
    chain = lab().chain(begin=NOW + begin, end=NOW + end)
    return found(chain, record=dict(recorded(chain, **then), issued_at=TIME(issued)) if issued else None)


BEGAN = {"not_before": TIME(NOW - DAY)}


@making.table(
    "lies, options, phrases",
    {
        "shorter": (lives(-MINUTE, 12 * HOUR), {}, []),
        "as long": (lives(-MINUTE, DAY), {}, []),
        "with the longest backdate": (lives(-11 * MINUTE, DAY), {}, []),
        "longer": (
            lives(-11 * MINUTE, DAY + MINUTE),
            {},
            ["the certificate lives for 24h12m, expected at most 24h (max_lifetime)"],
        ),
        "a renewal": (lives(-MINUTE, DAY, issued=NOW - 9 * DAY), {}, []),
        "a begin long past, as asked": (lives(-DAY, DAY, NOW, **BEGAN), BEGAN, []),
        "a begin long past, longer": (
            lives(-DAY, DAY + HOUR, NOW, **BEGAN),
            BEGAN,
            ["lives for 25h, expected at most 24h"],
        ),
        "a begin long past, no record": (lives(-DAY, DAY), BEGAN, ["lives for 48h, expected at most 24h"]),
    },
)
def test_a_life_has_a_cap(lies, options, phrases):
    assert_reasons(decide(lies, max_lifetime="24h", **options), phrases)
