# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Bad input that the options alone show: one clear failure each, before the host or the CA is touched."""

from __future__ import annotations

import datetime
import json

import pytest

from tests.integration.remains import staged
from tests.integration.rows import HOST, PAIR, Row, check_failures, run_unchanged, tasks
from tests.integration.support import connection, enrolment

NO_ROOT = {"ca_fingerprint": None}


def defaults(authority):
    """What every task has. The password is a variable: from 2.19 on, Ansible shows the lines around a failing task."""
    return connection(authority, provisioner="ansible")


def password(authority):
    """The variable with the password."""
    return {"stepca_provisioner_password": authority.provisioner("ansible").password}


def time_from_now(**span):
    """A time as a user writes it."""
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


def connection_rows(authority):
    """The CA's address and whom to trust."""
    not_hex = "g" * 64
    return [
        Row("http", ["ca_url", "does not begin with https://"], {"ca_url": "http://localhost:8443"}),
        Row("no scheme", ["ca_url", "'ca.internal' does not begin with https://"], {"ca_url": "ca.internal"}),
        Row("a path", ["ca_url", "has a path", "write https://localhost."], {"ca_url": "https://localhost/acme"}),
        Row("a query", ["ca_url", "has a path"], {"ca_url": "https://localhost?x=1"}),
        Row("no port", ["ca_url", "is not a URL"], {"ca_url": "https://localhost:many"}),
        Row("a user", ["ca_url", "user or password"], {"ca_url": "https://u:p@localhost"}),
        Row("second is http", ["'http://b'"], {"ca_url": [authority.url, "http://b"]}),
        Row("no fingerprint", ["ca_fingerprint is required", "never trusts what merely answers"], NO_ROOT),
        Row(
            "not hex", ["ca_fingerprint", "64 hex digits", "step certificate fingerprint"], {"ca_fingerprint": not_hex}
        ),
        Row("short", ["ca_fingerprint", "64 hex digits"], {"ca_fingerprint": authority.fingerprint[:-1]}),
        Row("one of two", ["ca_fingerprint", "'x'"], {"ca_fingerprint": [authority.fingerprint, "x"]}),
        Row("no PEM", ["ca_root", "no root certificate there"], {**NO_ROOT, "ca_root": "root.crt"}),
        Row("no file", ["ca_root_path", "cannot be read", "nowhere.crt"], {**NO_ROOT, "ca_root_path": "nowhere.crt"}),
        Row(
            "they disagree",
            ["ca_fingerprint", "ca_root", "disagree"],
            {"ca_fingerprint": "ab" * 32, "ca_root": authority.root_pem},
        ),
        Row("timeout", ["timeout", "'soon' is not a duration"], {"timeout": "soon"}),
        Row("no time", ["timeout", "0 leaves no time"], {"timeout": "0s"}),
        Row("retries", ["retries", "from the task", "not a number of retries"], {"retries": "many"}),
        Row("who asks", ["request_from", "'moon' is neither controller nor host"], {"request_from": "moon"}),
        Row("health: http", ["does not begin with https://"], {"ca_url": "http://localhost"}, "stepca_health"),
        Row("health: no URL", ["ca_url is required"], {"ca_url": None}, "stepca_health"),
        Row("health: wait", ["wait", "'a while' is not a duration"], {"wait": "a while"}, "stepca_health"),
        Row("bootstrap: none", ["ca_fingerprint is required"], {**NO_ROOT, "root_path": "/x"}, "stepca_bootstrap"),
    ]


def san(name, given, *words):
    """A name that is none."""
    return Row("name: " + name, words, {"sans": [HOST, given]})


def name_rows():
    """Names that the CA would issue, or read otherwise, although they are nonsense."""
    return [
        san("empty", "", "sans", "is empty"),
        san("empty after its prefix", "dns:", "sans", "'dns:' is empty"),
        san("two in one", "a.example.com b.example.com", "has spaces or control characters"),
        san("a line", "a\nb", "has spaces or control characters"),
        san("a port", "host:8443", "'host:8443' is not a DNS name", "leave out :8443"),
        san("a network", "10.0.0.0/24", "'10.0.0.0/24'", "not networks"),
        san("a network, stated", "ip:10.0.0.0/24", "is not an IP address", "leave out the /24"),
        san("a dot too many", "a..b", "'a..b'", "empty label"),
        san("a dot in front", ".example.com", "empty label"),
        san("brackets", "[::1]", "without brackets"),
        san("a zone", "fe80::1%eth0", "zone"),
        san("numbers", "10.0.0", "all numbers, yet no IP address"),
        san("a wildcard inside", "a.*.example.com", "* stands alone as the first label"),
        san("a wildcard of all", "*", "a wildcard needs a domain"),
        san("a dash", "-a.example.com", "'-a'"),
        san("a long label", "a" * 64 + ".example.com", "63 characters"),
        san("an address as DNS", "dns:10.0.0.1", "'10.0.0.1' is not a DNS name", "it is an IP address"),
        san("a URN without prefix", "urn:isbn:1", "a colon belongs to a URI (write uri:...)"),
        san("a URI without a scheme", "uri:example.com", "no scheme"),
        san("an address as URI", "uri:user@example.com", "no scheme"),
        san("DNS as e-mail", "email:example.com", "is not an e-mail address"),
        san("no address", "ip:example.com", "is not an IP address"),
        san("no international name", "dns:\u2615\ufe0f\u200d.example.com", "is not an international domain name"),
        Row("name: none", ["sans or common_name is required", "never from the host"], {"sans": None}),
        Row("name: none in the list", ["sans or common_name is required"], {"sans": []}),
        Row(
            "name: common, no name",
            ["common_name serves as the only name", "has spaces"],
            {"sans": None, "common_name": "My Site"},
        ),
        Row("name: common, long", ["common_name", "longer than 64"], {"common_name": "x" * 65}),
        Row("name: all long", ["common_name is required"], {"sans": ["a" * 60 + ".example.com"]}),
    ]


def life_rows():
    """Durations and times."""
    past, soon, later = time_from_now(hours=-1), time_from_now(hours=1), time_from_now(hours=2)
    return [
        Row(
            "life: fortnights",
            ["not_after", "'2 fortnights' is not a duration", "720h30m"],
            {"not_after": "2 fortnights"},
        ),
        Row("life: weeks", ["not_before", "'2w' is not a duration"], {"not_before": "2w"}),
        Row("life: negative", ["not_after", "'-1h' is negative"], {"not_after": "-1h"}),
        Row("life: none", ["not_after", "no life at all"], {"not_after": "0s"}),
        Row("life: too long", ["not_after", "292 years"], {"not_after": "999999999999h"}),
        Row("life: no time", ["not_after", "is not a time", "RFC 3339"], {"not_after": "2030-02-30T00:00:00Z"}),
        Row(
            "life: turned round",
            ["not_after", soon, "is not later than not_before", later],
            {"not_before": later, "not_after": soon},
        ),
        Row("life: before it begins", ["is not later than not_before"], {"not_before": "2h", "not_after": soon}),
        Row("life: past", ["not_after", past, "is past"], {"not_after": past}),
        Row("life: always due", ["renew_before", "24h is the whole life"], {"not_after": "24h", "renew_before": "24h"}),
        Row("life: all of it", ["renew_before", "100% is the whole life"], {"renew_before": "100%"}),
        Row("life: capped", ["renew_before: 2h is the whole life of 1h"], {"max_lifetime": "1h", "renew_before": "2h"}),
        Row(
            "life: above the cap",
            ["max_lifetime: 1h is below what not_after asks for, 2h"],
            {"max_lifetime": "1h", "not_after": "2h"},
        ),
        Row(
            "life: a time above the cap",
            ["not_after", "is further off than max_lifetime, 1h"],
            {"max_lifetime": "1h", "not_after": later},
        ),
        Row("life: no cap", ["max_lifetime", "no life at all"], {"max_lifetime": "0s"}),
        Row("life: no duration for a cap", ["max_lifetime", "'long' is not a duration"], {"max_lifetime": "long"}),
        Row("life: issued ahead", ["issued_since", "lies ahead"], {"issued_since": later}),
        Row("life: issued for a while", ["issued_since: '2h' is a duration", "RFC 3339"], {"issued_since": "2h"}),
        Row("life: a share", ["renew_before", "'a third' is not a duration"], {"renew_before": "a third"}),
        Row("life: token", ["token_lifetime", "0 leaves no time"], {"token_lifetime": "0s"}),
        Row("life: token, negative", ["token_lifetime", "is negative"], {"token_lifetime": "-5m"}),
    ]


def shape_rows():
    """Options that do not exist, do not go together, or are of another type."""
    entry = {**PAIR, "sans": [HOST]}
    alone = {"certificate_path": None, "key_path": None, "sans": None}
    many = {**alone, "certificates": [entry]}
    return [
        Row("shape: unknown", ["san: no such option. Is it sans? There are: ", "provisioner_password"], {"san": HOST}),
        Row("shape: misspelt", ["Is it provisioner_password?"], {"provisioner_passwort": "x"}),
        Row(
            "shape: unknown in an entry",
            ["No such option: certificates.san"],
            {**alone, "certificates": [{**entry, "san": HOST}]},
        ),
        Row("shape: no list", ["certificates", "list"], {**alone, "certificates": 7}),
        Row("shape: no mappings", ["certificates"], {**alone, "certificates": [[HOST]]}),
        Row("shape: no boolean", ["force", "boolean"], {"force": "perhaps"}),
        Row("shape: no choice", ["key_type", "ec-p256", "rsa-1024"], {"key_type": "rsa-1024"}),
        Row(
            "shape: no choice in an entry",
            ["key_type", "dsa"],
            {**alone, "certificates": [{**entry, "key_type": "dsa"}]},
        ),
        Row("shape: entry without path", ["certificate_path"], {**alone, "certificates": [{"sans": [HOST]}]}),
        Row("shape: one path", ["certificate_path and key_path are both"], {"key_path": PAIR["certificate_path"]}),
        Row(
            "shape: one path in two entries",
            ["certificate_path of entry 1 and certificate_path of entry 2 are both"],
            {**alone, "certificates": [entry, {**entry, "key_path": "/other.key"}]},
        ),
        Row("shape: flat beside many", ["sans cannot stand beside certificates"], {**many, "sans": [HOST]}),
        Row("shape: force beside many", ["force cannot stand beside certificates"], {**many, "force": True}),
        Row("shape: connection in an entry", ["ca_url"], {**alone, "certificates": [{**entry, "ca_url": "https://x"}]}),
        Row("shape: neither", ["certificate_path (or certificates, a list of many) is required"], alone),
        Row("shape: no key", ["key_path is required unless csr_path"], {"key_path": None}),
        Row("shape: no state", ["state", "present", "absent", "gone"], {"state": "gone"}),
        Row("shape: no policy", ["key_policy", "on_issue", "sometimes"], {"key_policy": "sometimes"}),
        Row(
            "shape: entry with key_policy",
            ["key_policy", "never"],
            {**alone, "certificates": [{**entry, "key_policy": "never"}]},
        ),
        *output_rows(),
    ]


def output_rows():
    """Files that are made of the pair, requests and removals."""
    entry = {**PAIR, "sans": [HOST]}
    alone = {"certificate_path": None, "key_path": None, "sans": None}
    two = [
        {**entry, "leaf_path": "/x.pem"},
        {**entry, "certificate_path": "/a", "key_path": "/b", "root_path": "/./x.pem"},
    ]
    locked = {"pkcs12_path": "/x.p12"}
    return [
        Row(
            "out: one path",
            ["chain_path and leaf_path are both /x.pem"],
            {"chain_path": "/x.pem", "leaf_path": "/x.pem"},
        ),
        Row(
            "out: one path, spelt",
            ["chain_path and root_path are both"],
            {"chain_path": "/x.pem", "root_path": "/y/../x.pem"},
        ),
        Row("out: the key's path", ["key_path and combined_path are both"], {"combined_path": PAIR["key_path"]}),
        Row(
            "out: one path in two entries",
            ["leaf_path of entry 1 and root_path of entry 2 are both"],
            {**alone, "certificates": two},
        ),
        Row(
            "out: no password",
            ["pkcs12_password (or pkcs12_password_file) is required", "the key would lie open"],
            locked,
        ),
        Row(
            "out: empty password",
            ["pkcs12_password (or pkcs12_password_file) is required"],
            {**locked, "pkcs12_password": ""},
        ),
        Row(
            "out: two passwords",
            ["pkcs12_password and pkcs12_password_file exclude each other"],
            {**locked, "pkcs12_password": "x", "pkcs12_password_file": "/x"},
        ),
        Row("out: no encryption", ["pkcs12_encryption", "modern", "rc2"], {**locked, "pkcs12_encryption": "rc2"}),
        Row(
            "out: no key",
            ["combined_path needs key_path"],
            {"csr_path": "/x.csr", "key_path": None, "combined_path": "/x"},
        ),
        Row(
            "out: beside many",
            ["chain_path cannot stand beside certificates"],
            {**alone, "certificates": [entry], "chain_path": "/x"},
        ),
        Row(
            "out: password beside many",
            ["pkcs12_password cannot stand beside certificates"],
            {**alone, "certificates": [entry], "pkcs12_password": "x"},
        ),
        Row(
            "out: state beside many",
            ["state cannot stand beside certificates"],
            {**alone, "certificates": [entry], "state": "absent"},
        ),
        Row("out: absent without path", ["certificate_path (or certificates"], {**alone, "state": "absent"}),
        Row(
            "out: no reason",
            ["reason: 'because' is no reason of RFC 5280", "superseded"],
            {"revoke": True, "reason": "because"},
        ),
        Row("out: reason 7", ["7 is not used in RFC 5280"], {"state": "absent", "revoke": True, "reason": 7}),
        Row("out: template data", ["template_data", "dict"], {"template_data": ["a list"]}),
    ]


def provisioner_rows(authority):
    """Who vouches."""
    key = authority.provisioner("ansible").jwk
    two = {"provisioner_key": key, "provisioner_key_path": "key.json"}
    return [
        Row("two keys", ["provisioner_key (from the task) and provisioner_key_path", "exclude each other"], two),
        Row(
            "two passwords",
            ["exclude each other"],
            {"provisioner_password": "x", "provisioner_password_file": "password"},
        ),
        Row("health: two keys", ["exclude each other"], two, "stepca_health"),
        Row("async", ["async"], keywords={"async": 60, "poll": 5}),
        Row("async: health", ["async"], {}, "stepca_health", {"async": 60, "poll": 0}),
        Row(
            "environment: key",
            ["STEPCA_PROVISIONER_KEY", "would carry a secret to the host"],
            keywords={"environment": {"STEPCA_PROVISIONER_KEY": "x"}},
        ),
        Row(
            "environment: old name",
            ["CERTCTL_STEPCA_PASSWORD"],
            keywords={"environment": [{"A": "b"}, {"CERTCTL_STEPCA_PASSWORD": "x"}]},
        ),
    ]


def refused(play, host, authority, rows):
    """No program was sent to the host, no request to the CA, nothing is there that was not before."""
    before = len(authority.requests())
    run = run_unchanged(
        play, host, tasks(rows, defaults(authority)), variables=password(authority), keep_remote_files=True
    )
    check_failures(run, rows)
    assert host.files() == []
    assert authority.requests()[before:] == []
    assert authority.provisioner("ansible").password not in run.output


@pytest.mark.one_core
@pytest.mark.parametrize("kind", ["connection", "name", "life"])
def test_values_that_are_none(play, host, authority, kind):
    """By the collection's own rules, which are the same with every ansible-core."""
    rows = {"connection": lambda: connection_rows(authority), "name": name_rows, "life": life_rows}[kind]()
    refused(play, host, authority, rows)


@pytest.mark.both_cores
@pytest.mark.parametrize("kind", ["shape", "provisioner"])
def test_options_and_keywords_that_do_not_fit(play, host, authority, kind):
    """By the argument spec, and by what Ansible tells an action plugin of its task."""
    refused(play, host, authority, shape_rows() if kind == "shape" else provisioner_rows(authority))


def test_environment_of_block_and_play(play, host, authority):
    """A secret in `environment:` is refused by name wherever it stands, and also when an expression holds it."""
    secret = {"STEPCA_PROVISIONER_PASSWORD": "{{ hidden }}"}
    rows = [Row("block", ["STEPCA_PROVISIONER_PASSWORD", "would carry a secret to the host"])]
    others = [Row("play", rows[0].words), Row("health", rows[0].words, {}, "stepca_health")]
    said = [Row("expression", rows[0].words, keywords={"environment": "{{ said }}"})]
    plays = [
        {"tasks": [{"block": tasks(rows, defaults(authority)), "environment": secret}]},
        {"environment": secret, "tasks": tasks(others, defaults(authority))},
        {"vars": {"said": secret}, "tasks": tasks(said, defaults(authority))},
    ]
    content = [{"hosts": "all", "gather_facts": False, **one} for one in plays]
    run = run_unchanged(play, host, content, variables={"hidden": "hunter2"}, keep_remote_files=True)
    check_failures(run, rows + others + said)
    assert host.files() == []
    assert "hunter2" not in run.output


@pytest.mark.parametrize("by", ["controller", "host"])
def test_one_bad_entry_among_ten(play, host, authority, by):
    """Nine are done, and the task fails naming the tenth: a bad value, one for the host, one for the CA."""
    place = {name: path.replace("site", "{name}") for name, path in PAIR.items()}
    bad = {
        "value": ({"sans": ["a..b"]}, "'a..b' is not a DNS name"),
        "folder": ({"key_path": "{{ host_root }}/nowhere/folder.key"}, "nowhere is missing"),
        "refusal": ({"not_after": "99999h"}, "403 Forbidden"),
    }
    content = []
    for number, (kind, (options, _words)) in enumerate(bad.items()):
        names = [kind, *("%s%d" % (kind, index) for index in range(9))]
        names[0], names[number * 4] = names[number * 4], names[0]
        entries = [
            {**{at: path.replace("{name}", name) for at, path in place.items()}, "sans": [HOST]} for name in names
        ]
        entries[number * 4].update(options)
        module = {"certificates": entries, **enrolment(authority, request_from=by)}
        content.append({"name": kind, "privatepki.stepca.stepca_certificate": module, "ignore_errors": True})
    run = play(content).expect_ok()
    for number, (kind, (_options, words)) in enumerate(bad.items()):
        failure = run.expect_failure("1 of 10 certificates failed", "etc/tls/%s.crt" % kind, words, name=kind)
        assert [bool(one.get("failed")) for one in failure["results"]] == [index == number * 4 for index in range(10)]
        assert failure.changed and not host.path("/etc/tls/%s.crt" % kind).exists()
        assert len(list(host.path("/etc/tls").glob(kind + "[0-9].crt"))) == 9
    assert staged([host]) == [] and not list(host.path("/etc/tls").glob("value.key"))


def test_other_scripts_become_ascii(play, host, authority):
    """IDNA 2008: straße is another domain than strasse, and what is asked for is what is found the next time."""
    options = {**PAIR, "sans": ["stra\u00dfe.example.com", "user@b\u00fccher.example"], **enrolment(authority)}
    task = {"privatepki.stepca.stepca_certificate": options}
    run = play([{"name": "first", **task}, {"name": "again", **task}]).expect_ok()
    assert run["first"]["certificate"]["sans"] == ["dns:xn--strae-oqa.example.com", "email:user@xn--bcher-kva.example"]
    assert not run["again"].changed, json.dumps(run["again"].result, indent=2)
