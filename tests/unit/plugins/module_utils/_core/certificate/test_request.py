# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What a task asks for: options become values, or a sentence says which option cannot mean anything."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import request
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate.options import SHARED, SINGLE
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import DAY, HOUR, MINUTE, NOW

LONG = "a-long-name." * 5 + "example.com"


def time(instant):
    return durations.format_time(instant)


def test_the_options_of_an_entry_become_values():
    entry = making.wanted(
        csr_path="/etc/pki/web.csr",
        sans=["Web.Example.com", "10.0.0.1", "web.example.com."],
        not_before="5m",
        not_after="2030-01-31T12:00:00Z",
        renew_before="25%",
        force=True,
        owner="web",
        key_mode="0640",
    )
    assert (entry.certificate_path, entry.key_path, entry.csr_path) == (
        "/etc/pki/web.crt",
        "/etc/pki/web.key",
        "/etc/pki/web.csr",
    )
    assert [str(san) for san in entry.sans] == ["dns:web.example.com", "ip:10.0.0.1"]
    assert (entry.common_name, entry.common_name_given) == ("web.example.com", False)
    assert entry.not_before == timedelta(minutes=5)
    assert entry.not_after == durations.parse_time("2030-01-31T12:00:00Z", "not_after")
    assert entry.renew_before == durations.Share(0.25)
    assert entry.force is True
    assert (entry.key_policy, entry.reason, entry.revoke, entry.backup) == ("on_issue", "unspecified", False, False)
    assert (entry.max_lifetime, entry.issued_since, entry.template_data, entry.pkcs12) == (None,) * 4
    assert entry.outputs == {}
    nothing = dict.fromkeys(["owner", "group", "mode", "seuser", "serole", "setype", "selevel"])
    assert entry.attributes == {
        "certificate": dict(nothing, owner="web"),
        "key": dict(nothing, mode="0640"),
    }


@making.table(
    "options, sans, common_name, given",
    {
        "first of the names": (
            {"sans": ["b.example", "a.example"]},
            ["dns:b.example", "dns:a.example"],
            "b.example",
            False,
        ),
        "given": ({"sans": ["a.example"], "common_name": "Web Server"}, ["dns:a.example"], "Web Server", True),
        "trimmed": ({"sans": ["a.example"], "common_name": " Web "}, ["dns:a.example"], "Web", True),
        "blank": ({"sans": ["a.example"], "common_name": "  "}, ["dns:a.example"], "a.example", False),
        "alone": ({"sans": None, "common_name": "A.example"}, ["dns:a.example"], "A.example", True),
        "alone, an address": ({"sans": [], "common_name": "10.0.0.1"}, ["ip:10.0.0.1"], "10.0.0.1", True),
        "short enough": ({"sans": [LONG, "a.example"]}, ["dns:" + LONG, "dns:a.example"], "a.example", False),
        "64": ({"sans": ["a" * 60 + ".com"]}, ["dns:" + "a" * 60 + ".com"], "a" * 60 + ".com", False),
    },
)
def test_names_and_common_name(options, sans, common_name, given):
    entry = making.wanted(**options)
    assert [str(san) for san in entry.sans] == sans
    assert (entry.common_name, entry.common_name_given) == (common_name, given)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"certificate_path": ""}, "certificate_path is empty"),
        ({"certificate_path": None}, "certificate_path is empty"),
        ({"key_path": None}, "key_path is required unless csr_path brings a request"),
        ({"sans": None}, "sans or common_name is required: names come from the play, never from the host"),
        ({"sans": [], "common_name": " "}, "sans or common_name is required"),
        ({"sans": None, "csr_path": "/c"}, "sans or common_name is required"),
        ({"sans": ["a..b"]}, "sans: 'a..b' is not a DNS name"),
        ({"sans": ["a.example", ""]}, "sans: '' is empty"),
        ({"sans": None, "common_name": "Web Server"}, "common_name serves as the only name, since sans is not given."),
        ({"common_name": "a" * 65}, "common_name: %r is longer than 64 characters" % ("a" * 65)),
        ({"sans": [LONG]}, "common_name is required: every name in sans is longer than 64 characters"),
        ({"not_after": "soon"}, "not_after: 'soon' is not a duration"),
        ({"not_before": "-1h"}, "not_before: '-1h' is negative"),
        ({"not_after": "0s"}, "not_after: '0s' is no life at all"),
        ({"not_after": 0}, "not_after: 0 is no life at all"),
        ({"renew_before": "100%"}, "renew_before: 100% is the whole life"),
        ({"renew_before": "24h", "not_after": "24h"}, "renew_before: 24h is the whole life of 24h or more"),
        ({"renew_before": "1441m", "not_after": "1d"}, "renew_before: 24h1m is the whole life of 24h or more"),
        ({"max_lifetime": "0s"}, "max_lifetime: '0s' is no life at all"),
        ({"max_lifetime": time(NOW)}, "max_lifetime: "),
        ({"max_lifetime": "12h", "not_after": "1d"}, "max_lifetime: 12h is below what not_after asks for, 24h"),
        ({"max_lifetime": "12h", "renew_before": "12h"}, "renew_before: 12h is the whole life of 12h or more"),
        ({"max_lifetime": "12h", "not_after": "6h", "renew_before": "7h"}, "renew_before: 7h is the whole life of 6h"),
        ({"issued_since": "1h"}, "issued_since: '1h' is a duration. Give a time (RFC 3339)"),
        ({"issued_since": "yesterday"}, "issued_since: "),
        ({"reason": "because"}, "reason: 'because' is no reason of RFC 5280"),
        ({"pkcs12_path": "/p"}, "pkcs12_password (or pkcs12_password_file) is required with pkcs12_path"),
        (
            {"pkcs12_path": "/p", "pkcs12_password": "canary", "pkcs12_password_file": "/f"},
            "pkcs12_password and pkcs12_password_file exclude each other",
        ),
        (
            {"csr_path": "/r", "key_path": None, "combined_path": "/a", "chain_path": "/b"},
            "combined_path needs key_path: it holds the private key",
        ),
        (
            {"not_before": time(NOW), "not_after": time(NOW)},
            "not_after: 2026-07-01T12:00:00Z is not later than not_before",
        ),
    ],
    ids=str,
)
def test_what_cannot_mean_anything_is_refused(options, words):
    with pytest.raises(OptionError) as caught:
        making.wanted(**options)
    assert words in str(caught.value) and "canary" not in str(caught.value)


def test_the_options_of_a_life_that_is_watched_become_values():
    entry = making.wanted(
        key_policy="always",
        max_lifetime="30d",
        issued_since="2026-07-01T14:00:00+02:00",
        template_data={},
        check_revocation=True,
        backup=True,
        revoke=True,
        reason="4",
    )
    assert (entry.key_policy, entry.max_lifetime, entry.issued_since) == ("always", 30 * DAY, NOW)
    assert (entry.template_data, entry.reason) == ({}, "superseded")
    assert entry.check_revocation and entry.backup and entry.revoke


def test_derived_files_become_values():
    entry = making.wanted(
        chain_path="/c", combined_path="/a", pkcs12_path="/p", pkcs12_password="secret", pkcs12_friendly_name="Web"
    )
    assert entry.outputs == {"chain_path": "/c", "combined_path": "/a", "pkcs12_path": "/p"}
    assert (entry.pkcs12.password, entry.pkcs12.password_file, entry.pkcs12.encryption) == ("secret", None, "modern")
    assert (entry.pkcs12.friendly_name, making.wanted(pkcs12_password="secret").pkcs12) == ("Web", None)
    brought = making.wanted(csr_path="/r", key_path=None, chain_path="/c", leaf_path="/l", root_path="/t")
    assert set(brought.outputs) == {"chain_path", "leaf_path", "root_path"}


def test_what_is_to_be_absent_needs_its_path_only():
    entry = making.wanted(state="absent", key_path=None, sans=None)
    assert (entry.state, entry.sans, entry.key_path, entry.common_name) == ("absent", [], None, "")
    beside = making.wanted(state="absent", sans=None, pkcs12_path="/p", combined_path="/a")
    assert (beside.outputs, beside.pkcs12) == ({"pkcs12_path": "/p", "combined_path": "/a"}, None)


def test_a_common_name_that_no_request_can_hold_is_refused():
    with pytest.raises(OptionError, match="common_name"):
        making.wanted(common_name="\u00fc" * 40)


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_limit_is_not_given(empty):
    entry = making.wanted(not_before=empty, not_after=empty)
    assert (entry.not_before, entry.not_after) == (None, None)


def test_a_threshold_just_below_the_life_is_allowed():
    assert making.wanted(renew_before="1439m", not_after="24h").renew_before == timedelta(minutes=1439)


def test_a_threshold_says_nothing_about_an_end_that_is_a_time():
    assert making.wanted(renew_before="90d", not_after=time(NOW + DAY)).renew_before == 90 * DAY


@pytest.mark.parametrize(
    "options, words",
    [
        ({"not_after": time(NOW - MINUTE)}, "not_after: 2026-07-01T11:59:00Z is past"),
        ({"not_after": time(NOW)}, "not_after: 2026-07-01T12:00:00Z is past"),
        ({"not_after": time(NOW + HOUR), "not_before": "2h"}, "is not later than not_before, 2026-07-01T14:00:00Z"),
        ({"not_after": time(NOW + HOUR), "not_before": "1h"}, "is not later than not_before, 2026-07-01T13:00:00Z"),
        (
            {"not_after": time(NOW + DAY + 2 * MINUTE), "max_lifetime": "24h"},
            "not_after: 2026-07-02T12:02:00Z is further off than max_lifetime, 24h, allows",
        ),
        ({"issued_since": time(NOW + 2 * MINUTE)}, "issued_since: 2026-07-01T12:02:00Z lies ahead"),
    ],
    ids=["past", "now", "begins later", "begins then", "beyond the cap", "issued in the future"],
)
def test_an_end_that_cannot_lie_ahead_is_refused(options, words):
    with pytest.raises(OptionError) as caught:
        request.refuse_past(making.wanted(**options), NOW)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"not_after": "1h"},
        {"not_after": time(NOW + MINUTE)},
        {"not_after": time(NOW + HOUR), "not_before": "59m"},
        {"not_after": time(NOW + HOUR), "not_before": time(NOW + MINUTE)},
        {"not_after": time(NOW + DAY), "max_lifetime": "24h"},
        {"issued_since": time(NOW + MINUTE)},
    ],
    ids=str,
)
def test_an_end_that_lies_ahead_is_asked_for(options):
    request.refuse_past(making.wanted(**options), NOW)


def test_one_flat_certificate_is_a_list_of_one():
    options = {"certificate_path": "/c", "key_path": "/k", "key_type": "ec-p256", "ca_url": ["https://ca"]}
    (entry,) = request.entries(options)
    assert set(entry) == set(SINGLE + SHARED)
    assert (entry["certificate_path"], entry["key_type"], entry["sans"]) == ("/c", "ec-p256", None)


def test_flat_options_that_name_nothing_are_defaults_of_the_entries():
    options = {
        "certificates": [
            {"certificate_path": "/a", "key_type": None, "mode": "0600"},
            {"certificate_path": "/b", "key_type": "rsa-2048", "revoke": False},
        ],
        "revoke": True,
        "key_type": "ec-p384",
        "mode": "0644",
        "renew_before": "33%",
        "force": True,
    }
    first, second = request.entries(options)
    assert (first["key_type"], first["mode"], first["renew_before"]) == ("ec-p384", "0600", "33%")
    assert (second["key_type"], second["mode"]) == ("rsa-2048", "0644")
    assert (first["revoke"], second["revoke"]) == (True, False)
    assert (first["force"], first["certificate_path"], second["certificate_path"]) == (None, "/a", "/b")


def test_an_empty_list_of_certificates_is_no_certificate():
    assert request.entries({"certificates": [], "key_type": "ec-p256"}) == []


@pytest.mark.parametrize(
    "given, words",
    [
        ({}, "certificate_path (or certificates, a list of many) is required"),
        ({"sans": ["a"], "key_path": "/k"}, "certificate_path (or certificates, a list of many) is required"),
        ({"certificates": [], "sans": ["a"]}, "sans cannot stand beside certificates"),
        (
            {"certificates": [{}], "key_path": "/k", "certificate_path": "/c"},
            "certificate_path and key_path cannot stand beside certificates",
        ),
        ({"certificates": [{}], "force": False}, "force cannot stand beside certificates"),
        ({"certificates": [{}], "state": "present"}, "state cannot stand beside certificates"),
    ],
    ids=str,
)
def test_flat_and_many_are_not_mixed(given, words):
    with pytest.raises(OptionError) as caught:
        request.refuse_mixture(given)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [{"certificate_path": "/c", "sans": ["a"]}, {"certificates": [{}], "key_type": "rsa-2048", "mode": "0600"}],
    ids=["flat", "many with defaults"],
)
def test_flat_or_many_is_accepted(given):
    request.refuse_mixture(given)


@pytest.mark.parametrize(
    "many, words",
    [
        (
            [{"certificate_path": "/a", "key_path": "/a"}],
            "certificate_path and key_path are both /a: each file needs a path of its own",
        ),
        (
            [{"certificate_path": "/a", "key_path": "/b"}, {"certificate_path": "/c", "key_path": "/x/../b"}],
            "key_path of entry 1 and key_path of entry 2 are both /b",
        ),
        (
            [{"certificate_path": "/a", "key_path": "/b"}, {"certificate_path": "/b/.", "key_path": "/c"}],
            "key_path of entry 1 and certificate_path of entry 2 are both /b",
        ),
        (
            [{"certificate_path": "/a", "key_path": "/b", "chain_path": "/c", "pkcs12_path": "/x/../c"}],
            "chain_path and pkcs12_path are both /c",
        ),
    ],
    ids=["flat", "two keys", "key and certificate", "derived"],
)
def test_two_outputs_on_one_path_are_refused(many, words):
    with pytest.raises(OptionError) as caught:
        request.refuse_shared_paths(many)
    assert words in str(caught.value)


def test_an_entry_without_a_key_path_is_not_the_business_of_this_check():
    request.refuse_shared_paths([{"certificate_path": "/a", "key_path": None}, {"certificate_path": "/b"}])


def test_a_key_that_is_only_read_may_serve_two_certificates():
    brought = {"key_path": "/k", "csr_path": "/r"}
    request.refuse_shared_paths([dict(brought, certificate_path="/a"), dict(brought, certificate_path="/b")])
