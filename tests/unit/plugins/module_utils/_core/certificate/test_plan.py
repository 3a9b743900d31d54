# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""When is a certificate replaced? Every kind of drift, and everything that only looks like drift."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import plan, record
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CertificateError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import (
    DAY,
    FOREIGN,
    HOUR,
    MINUTE,
    NOW,
    Authority,
    lab,
)

ENDED = Authority("Ended", number=90, intermediate_end=-HOUR)
SECOND = timedelta(seconds=1)


def found(chain=None, **more):
    """What lies on the host: a good pair under the trusted root, but for what is given here."""
    return plan.Found(
        chain=lab().chain() if chain is None else chain,
        certificate_problem=more.get("certificate_problem", ""),
        key=more.get("key", making.key()),
        key_problem=more.get("key_problem", ""),
        record=more.get("record"),
        roots=more.get("roots", [lab().root, ENDED.root]),
        revoked=more.get("revoked", ""),
        refused=more.get("refused", ""),
    )


def recorded(chain, provisioner="ansible", **then):
    """The record of this chain, issued when the task asked for `then`."""
    text = record.make(making.wanted(**then), provisioner, chain, [lab().root], "2026-07-01T12:00:00Z")
    return record.parse(text)


def lives(begin, end):
    return lab().chain(begin=NOW + begin, end=NOW + end)


def assert_reasons(decision, phrases, outcome="issued"):
    """As many reasons as phrases, each with its phrase; and the outcome that belongs to them."""
    assert len(decision.reasons) == len(phrases), decision.reasons
    for number, phrase in enumerate(phrases):
        assert phrase in decision.reasons[number]
    assert decision.outcome == (outcome if phrases else "none")


def case(name, lies, phrases=(), outcome="issued", now=NOW, provisioner=None, **options):
    """A row of a table: what lies there, what is asked for (options), the words of the reasons, and what follows."""
    return pytest.param(lies, options, now, provisioner, phrases, outcome, id=name)


FILES_AND_KEYS = [
    case("all as wanted", found()),
    case("certificate missing", found([], certificate_problem="/c is missing"), ["/c is missing"]),
    case("certificate empty", found([], certificate_problem="/c is empty"), ["/c is empty"]),
    case("key missing", found(key=None, key_problem="/k is missing"), ["/k is missing"]),
    case(
        "both missing",
        found([], certificate_problem="no certificate", key=None, key_problem="no key"),
        ["no certificate", "no key"],
    ),
    case(
        "key of another certificate",
        found(key=making.key(number=1)),
        ["the certificate /etc/pki/web.crt is for another key than the one in /etc/pki/web.key"],
    ),
    case(
        "another request brought",
        found(key=making.key(number=1).public_key()),
        ["the certificate is for another key than the request /etc/pki/web.csr"],
        csr_path="/etc/pki/web.csr",
    ),
    case("the request brought", found(key=making.key().public_key()), csr_path="/etc/pki/web.csr"),
    case("key type", found(), ["the key is of type ec-p256, expected rsa-2048"], key_type="rsa-2048"),
    case("key type of a request brought", found(), csr_path="/etc/pki/web.csr", key_type="rsa-2048"),
    case("force", found(), ["force is true"], force=True),
    case("force without anything", found([], certificate_problem="gone"), ["gone", "force is true"], force=True),
]

TWO = ["web.example.com", "b.example"]
TEMPLATED = lab().chain(TWO, "something else")
ASKED = recorded(TEMPLATED, common_name="Web")

NAMES = [
    case("other order", found(lab().chain(TWO)), sans=TWO[::-1]),
    case("other spelling", found(lab().chain(["WEB.example.com"]))),
    case("spelling of an address", found(lab().chain(["ip:2001:db8::1"])), sans=["2001:DB8:0::1"]),
    case("name twice", found(lab().chain(["web.example.com", "web.example.com"]))),
    case(
        "name added",
        found(),
        ["the names are dns:web.example.com, expected dns:web.example.com, dns:b.example"],
        sans=TWO,
    ),
    case(
        "name removed",
        found(lab().chain(TWO)),
        ["the names are dns:web.example.com, dns:b.example, expected dns:web.example.com"],
    ),
    case("other name", found(), ["names are dns:web.example.com, expected ip:10.0.0.1"], sans=["10.0.0.1"]),
    case("no name", found(lab().chain([])), ["the names are none, expected dns:web.example.com"]),
    case("common name not given", found(lab().chain(common_name="something else"))),
    case("common name as given", found(lab().chain(common_name="Web")), common_name="Web"),
    case("other common name", found(), ["the commonName is 'web.example.com', expected 'Web'"], common_name="Web"),
    case(
        "no common name",
        found(lab().chain(common_name="")),
        ["the commonName is '', expected 'Web'"],
        common_name="Web",
    ),
    case("template, recorded", found(TEMPLATED, record=ASKED), common_name="Web"),
    case("template, recorded, common name not given", found(TEMPLATED, record=ASKED)),
    case(
        "template, no record",
        found(TEMPLATED),
        ["expected dns:web.example.com", "the commonName is"],
        common_name="Web",
    ),
    case(
        "template, asked otherwise now",
        found(TEMPLATED, record=ASKED),
        ["expected dns:web.example.com, dns:c.example"],
        sans=["web.example.com", "c.example"],
    ),
    case(
        "template, other common name now",
        found(TEMPLATED, record=ASKED),
        ["the commonName is 'something else', expected 'Mail'"],
        common_name="Mail",
    ),
    case("template, the certificate's own names asked for", found(TEMPLATED, record=ASKED), sans=TWO),
    case(
        "template, record of another key", found(TEMPLATED, record=dict(ASKED, key_sha256="0" * 64)), ["the names are"]
    ),
    case(
        "template, record of other names",
        found(TEMPLATED, record=dict(ASKED, given={"names": ["dns:web.example.com"]})),
        ["the names are"],
    ),
    case("template, record without names", found(TEMPLATED, record=dict(ASKED, asked={})), ["the names are"]),
]

HOUR_LATER = lab().chain(begin=NOW + HOUR, end=NOW + DAY)
TIME = durations.format_time

LIFE_WITHOUT_A_RECORD = [
    case("life not asked", found(lives(-MINUTE, 7 * DAY))),
    case("no backdate", found(lives(0 * HOUR, DAY)), not_after="24h"),
    case("backdate 1 min", found(lives(-MINUTE, DAY)), not_after="24h"),
    case("backdate 10 min", found(lives(-10 * MINUTE, DAY)), not_after="24h"),
    case("backdate 11 min", found(lives(-11 * MINUTE, DAY)), not_after="24h"),
    case(
        "life too long",
        found(lives(-11 * MINUTE - SECOND, DAY)),
        ["the certificate lives for 24h11m1s, expected not_after 24h"],
        not_after="24h",
    ),
    case("as whole days", found(lives(-MINUTE, DAY)), not_after="1d"),
    case("a second short", found(lives(0 * HOUR, DAY - SECOND)), not_after="24h"),
    case("two seconds short", found(lives(0 * HOUR, DAY - 2 * SECOND)), ["lives for 23h59m58s"], not_after="24h"),
    case("longer asked", found(), ["the certificate lives for 24h1m, expected not_after 48h"], not_after="48h"),
    case("the time asked", found(), not_after=TIME(NOW + DAY)),
    case("a second off", found(), not_after=TIME(NOW + DAY + SECOND)),
    case(
        "two seconds off",
        found(),
        ["not_after is 2026-07-02T12:00:00Z, expected 2026-07-02T12:00:02Z"],
        not_after=TIME(NOW + DAY + 2 * SECOND),
    ),
    case("begin asked", found(), not_before=TIME(NOW - MINUTE)),
    case(
        "begin moved",
        found(),
        ["not_before is 2026-07-01T11:59:00Z, expected 2026-07-01T11:00:00Z"],
        not_before=TIME(NOW - HOUR),
    ),
    case("begin as a duration cannot be measured", found(), not_before="5h"),
]

SHORT = lives(-MINUTE, 12 * HOUR)


def short(**then):
    """A certificate that the CA has made shorter than `then`, with its record."""
    return found(SHORT, record=recorded(SHORT, **then))


LIFE_WITH_A_RECORD = [
    case("asked as before, the CA made it shorter", short(not_after="24h"), not_after="24h"),
    case("the same value in other words", short(not_after="100h"), not_after="6000m"),
    case("life never asked", short()),
    case("no longer asked", short(not_after="24h", not_before="1m")),
    case("asked otherwise", short(not_after="24h"), ["not_after was 24h, expected 48h"], not_after="48h"),
    case("asked for what it has", short(not_after="24h"), ["not_after was 24h, expected 12h1m"], not_after="12h1m"),
    case("asked for the first time", short(), ["not_after was the CA's own, expected 24h"], not_after="24h"),
    case("time as before", short(not_after=TIME(NOW + DAY)), not_after=TIME(NOW + DAY)),
    case(
        "other time",
        short(not_after=TIME(NOW + DAY)),
        ["not_after was 2026-07-02T12:00:00Z, expected 2026-07-03T12:00:00Z"],
        not_after=TIME(NOW + 2 * DAY),
    ),
    case(
        "time instead of duration",
        short(not_after="24h"),
        ["not_after was 24h, expected 2026-07-02T12:00:00Z"],
        not_after=TIME(NOW + DAY),
    ),
    case("begin as before", short(not_before="1m"), not_before="60s"),
    case("other begin", short(not_before="1m"), ["not_before was 1m, expected 2m"], not_before="2m"),
    case(
        "a record of another certificate is not asked",
        found(SHORT, record=recorded(lab().chain(private=making.key(number=1)), not_after="24h")),
        ["the certificate lives for 12h1m, expected not_after 24h"],
        not_after="24h",
    ),
]

PROVISIONER = [
    case("same provisioner", found(), provisioner="ansible"),
    case("other provisioner", found(), ["the provisioner 'ansible' issued it, expected 'ops'"], provisioner="ops"),
    case("provisioner not known", found(), provisioner=None),
    case("no extension of step-ca", found(lab().chain(provisioner=None)), provisioner="ops"),
    case(
        "other key id",
        found(lab().chain(provisioner=None, extensions=[making.step_extension("ops", "x")])),
        provisioner="ops",
    ),
]

CENTURY = lives(0 * HOUR, 100 * HOUR)
DUE = NOW + 67 * HOUR

CLOCK = [
    case("a third is not left yet", found(CENTURY), now=DUE - SECOND),
    case(
        "a third is left",
        found(CENTURY),
        ["it is due since 2026-07-04T07:00:00Z, and ends on 2026-07-05T16:00:00Z"],
        "renewed",
        now=DUE,
    ),
    case("ten hours are not left yet", found(CENTURY), now=NOW + 90 * HOUR - SECOND, renew_before="10h"),
    case(
        "ten hours are left",
        found(CENTURY),
        ["it is due since 2026-07-05T06:00:00Z"],
        "renewed",
        now=NOW + 90 * HOUR,
        renew_before="10h",
    ),
    case("one second before its end", found(CENTURY), ["it is due since"], "renewed", now=NOW + 100 * HOUR - SECOND),
    case(
        "certificate expired", found(CENTURY), ["it expired on 2026-07-05T16:00:00Z"], "renewed", now=NOW + 100 * HOUR
    ),
    case("never due", found(CENTURY), now=NOW + 99 * HOUR, renew_before="0%"),
    case("never due, as a duration", found(CENTURY), now=NOW + 99 * HOUR, renew_before="0s"),
    case("never due, expired", found(CENTURY), now=NOW + 101 * HOUR, renew_before="0%"),
    case("an end asked as a time is never due", found(CENTURY), now=NOW + 99 * HOUR, not_after=TIME(NOW + 100 * HOUR)),
    case("an end asked as a time, past", found(CENTURY), now=NOW + 101 * HOUR, not_after=TIME(NOW + 100 * HOUR)),
    case("not yet valid, 9 minutes", found(lives(9 * MINUTE, DAY))),
    case("not yet valid, 10 minutes", found(lives(10 * MINUTE, DAY))),
    case(
        "not yet valid, 11 minutes",
        found(lives(11 * MINUTE, DAY)),
        ["it is not valid before 2026-07-01T12:11:00Z; here it is 2026-07-01T12:00:00Z"],
    ),
    case("not yet valid, as asked", found(HOUR_LATER), not_before=TIME(NOW + HOUR)),
    case("not yet valid and never due", found(HOUR_LATER), ["it is not valid before"], renew_before="0%"),
]

TRUST = [
    case("foreign chain", found(FOREIGN.chain()), ["does not lead to a trusted root: CN=Foreign Intermediate was"]),
    case("incomplete chain", found(lab().chain()[:1]), ["does not lead to a trusted root: CN=web.example.com was"]),
    case(
        "chain with a stranger",
        found([lab().leaf(), FOREIGN.intermediate]),
        ["was not issued by the next certificate"],
    ),
    case(
        "root no longer trusted", found(roots=[FOREIGN.root]), ["none of the trusted roots (CN=Foreign Root, SHA-256"]
    ),
    case("root among the chain", found(lab().chain() + [lab().root])),
    case("two roots trusted", found(roots=[FOREIGN.root, lab().root])),
    case(
        "intermediate expired",
        found(ENDED.chain()),
        [
            "the intermediate CN=Ended Intermediate expired on 2026-07-01T11:00:00Z",
            "it expired on 2026-07-01T11:00:00Z",
        ],
    ),
    case(
        "intermediate expired, never due",
        found(ENDED.chain()),
        ["the intermediate CN=Ended Intermediate expired on"],
        renew_before="0%",
    ),
]


@pytest.mark.parametrize(
    "lies, options, now, provisioner, phrases, outcome",
    FILES_AND_KEYS + NAMES + LIFE_WITHOUT_A_RECORD + LIFE_WITH_A_RECORD + PROVISIONER + CLOCK + TRUST,
)
def test_drift(lies, options, now, provisioner, phrases, outcome):
    assert_reasons(plan.decide(making.wanted(**options), lies, now, provisioner), phrases, outcome)


@making.table(
    "backdate, over, signed_at, drift",
    {
        "an hour, written down": (HOUR, 0 * HOUR, True, False),
        "an hour, and longer than that": (HOUR, 12 * MINUTE, True, True),
        "an hour, not written down": (HOUR, 0 * HOUR, False, True),
        "ten minutes, not written down": (10 * MINUTE, 0 * HOUR, False, False),
    },
)
def test_a_renewal_is_measured_from_when_it_was_signed(backdate, over, signed_at, drift):
    """However far the CA dates back. A record of older versions tells only when it was first issued."""
    chain = lives(-backdate, DAY + over)
    first = TIME(NOW - 3 * DAY)
    text = record.make(making.wanted(), "ansible", chain, [lab().root], first, signed_at=TIME(NOW) if signed_at else "")
    lies = found(chain, record=record.parse(text))
    decision = plan.decide(making.wanted(max_lifetime="24h"), lies, NOW, "ansible")
    assert_reasons(decision, ["(max_lifetime)"] if drift else [])


def test_all_reasons_are_given_at_once():
    lies = found(FOREIGN.chain(["b.example"], begin=NOW - DAY, end=NOW - HOUR), key=making.key("ec-p384"))
    wanted = making.wanted(common_name="Mail", not_after="48h", force=True)
    assert_reasons(
        plan.decide(wanted, lies, NOW, "ops"),
        ["of type", "another key", "names are", "commonName", "lives for", "provisioner", "chain", "force", "expired"],
    )


@making.table(
    "lies, options, needs_roots",
    {
        "nothing else wrong": (found(roots=None), {}, True),
        "force": (found(roots=None), {"force": True}, False),
        "another reason": (found(roots=None), {"sans": ["b.example"]}, False),
        "no certificate": (found([], certificate_problem="gone", roots=None), {}, False),
        "roots known": (found(), {}, False),
    },
)
def test_roots_are_asked_for_only_where_nothing_else_decides(lies, options, needs_roots):
    decision = plan.decide(making.wanted(**options), lies, NOW)
    assert decision.needs_roots is needs_roots
    assert not (needs_roots and decision.reasons)


@pytest.mark.parametrize(
    "now, options, warnings",
    [
        (NOW + 99 * HOUR, {"renew_before": "0%"}, []),
        (
            NOW + 100 * HOUR,
            {"renew_before": "0%"},
            ["/etc/pki/web.crt expired on 2026-07-05T16:00:00Z and stays so, since renew_before is 0."],
        ),
        (NOW + 100 * HOUR, {}, []),
        (NOW + 100 * HOUR, {"renew_before": "0%", "not_after": TIME(NOW + 100 * HOUR)}, []),
    ],
    ids=["valid", "expired", "expired and due", "an end asked as a time"],
)
def test_a_certificate_that_stays_expired_is_warned_of(now, options, warnings):
    assert plan.decide(making.wanted(**options), found(CENTURY), now).warnings == warnings


def test_what_is_not_valid_for_a_while_is_not_accepted_either():
    chain = lives(11 * MINUTE, DAY)
    assert plan.decide(making.wanted(), found(chain), NOW).outcome == "issued"
    with pytest.raises(CertificateError, match="clock"):
        certificates.check_issued(chain, making.wanted(), making.key_sha256(making.key()), [lab().root], NOW)
