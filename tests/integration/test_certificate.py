# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""stepca_certificate on its way: check mode, the real run, the same again, check mode again, and what a change shows."""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import datetime, timedelta, timezone

import pytest

from tests.integration.judging import (
    KEY_WORDS,
    judge,
    leftovers,
    mode,
    openssl,
    owner,
    round_trips,
    see,
    somebody,
    traffic,
    tree,
)
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, pair
from tests.integration.support import enrolment


@pytest.mark.both_cores
def test_flat_from_nothing_to_a_change(play, host, authority):
    """The form for one certificate, from a host that has none to one whose names change."""
    defaults = {GROUP: enrolment(authority)}
    tls = host.path("/etc/tls")
    certificate, key = tls / "site.crt", tls / "site.key"
    tasks = [{"name": "site", CERTIFICATE: pair("site", sans=["site.example.com", "10.0.0.7"])}]

    before = tree(tls)
    with traffic(authority) as asked:
        dry = play(tasks, module_defaults=defaults, check=True, diff=True).expect_ok()["site"]
    assert (dry.changed, dry["outcome"], dry["certificate"], dry["ca_url"]) == (True, "issued", None, None)
    assert [word in " ".join(dry["reasons"]) for word in (str(certificate), str(key))] == [True, True]
    assert dry["diff"]["before"] == {} and "dns:site.example.com" in str(dry["diff"]["after"])
    assert (asked.posts, tree(tls)) == ([], before)

    with traffic(authority) as asked:
        run = play(tasks, module_defaults=defaults, diff=True, verbosity=3).expect_ok()
    done = run["site"]
    assert (done.changed, done["outcome"], done["ca_url"]) == (True, "issued", authority.url)
    assert done["reasons"] == dry["reasons"]
    assert (asked.posts, round_trips(run)) == ([("POST", "/1.0/sign")], 2)
    seen = judge(authority, certificate, key)
    assert seen.names == ["DNS:site.example.com", "IP Address:10.0.0.7"]
    assert seen.common_name == "site.example.com" and seen.provisioner_is("ansible")
    assert (mode(certificate), mode(key)) == ("0644", "0600")
    assert sorted(path.name for path in tls.iterdir()) == [".site.crt.stepca.json", "site.crt", "site.key"]
    _facts_are_those_of_openssl(done["certificate"], certificate, seen, authority)
    assert done["diff"]["after"] == done["certificate"]
    _record_is_as_described(tls / ".site.crt.stepca.json", key, seen, authority)

    before = tree(tls)
    with traffic(authority) as asked:
        run = play(tasks, module_defaults=defaults, diff=True, verbosity=3).expect_ok()
    again = run["site"]
    assert (again.changed, again["outcome"], again["reasons"], again["ca_url"]) == (False, "none", [], None)
    assert again["certificate"] == done["certificate"]
    assert (asked, round_trips(run), tree(tls)) == ([], 1, before)

    _steady_in_check_mode_and_changes_shown(play, host, authority, tasks, seen)


def _facts_are_those_of_openssl(facts, certificate, seen, authority):
    assert facts["serial"] == seen.serial and facts["path"] == str(certificate)
    assert (facts["common_name"], facts["key_type"]) == ("site.example.com", "ec-p256")
    assert sorted(facts["sans"]) == ["dns:site.example.com", "ip:10.0.0.7"]
    assert facts["not_before"] == seen.not_before.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert facts["not_after"] == seen.not_after.strftime("%Y-%m-%dT%H:%M:%SZ")
    fingerprint = openssl("x509", "-in", certificate, "-noout", "-fingerprint", "-sha256").partition("=")[2]
    assert facts["fingerprint"] == fingerprint.replace(":", "").strip().lower()
    assert facts["issuer"] == "CN=privatepki.stepca test intermediate"
    assert facts["provisioner"] == "ansible"
    assert facts["provisioner_key_id"] == authority.provisioner("ansible").key_id
    renew_at = datetime.strptime(facts["renew_at"], "%Y-%m-%dT%H:%M:%S%z")
    due = seen.not_after - 0.33 * (seen.not_after - seen.not_before)
    assert abs(renew_at - due) <= timedelta(seconds=1)


def _record_is_as_described(path, key, seen, authority):
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (mode(path), record["version"]) == ("0644", 1)
    assert record["asked"]["names"] == ["dns:site.example.com", "ip:10.0.0.7"]
    assert (record["asked"]["provisioner"], record["asked"]["not_after"]) == ("ansible", None)
    assert record["given"]["serial"] == seen.serial and record["roots"] == authority.root_pem
    public = key.with_name("public.der")
    openssl("pkey", "-in", key, "-pubout", "-outform", "DER", "-out", public)
    assert record["key_sha256"] == hashlib.sha256(public.read_bytes()).hexdigest()
    public.unlink()
    issued_at = datetime.strptime(record["issued_at"], "%Y-%m-%dT%H:%M:%S%z")
    assert abs(datetime.now(timezone.utc) - issued_at) < timedelta(minutes=5)


def _steady_in_check_mode_and_changes_shown(play, host, authority, tasks, seen):
    """One run in check mode: what fits is left alone, a change of names is told with both values."""
    changed = [
        *tasks,
        {
            "name": "changed",
            CERTIFICATE: pair("site", sans=["site.example.com", "www.example.com"], key_type="ed25519"),
        },
    ]
    before = tree(host.path("/etc/tls"))
    with traffic(authority) as asked:
        dry = play(changed, module_defaults={GROUP: enrolment(authority)}, check=True, diff=True).expect_ok()
    assert (dry["site"].changed, dry["site"]["outcome"]) == (False, "none")
    assert (dry["changed"].changed, dry["changed"]["outcome"]) == (True, "issued")
    assert dry["changed"]["certificate"]["serial"] == seen.serial
    reasons = " ".join(dry["changed"]["reasons"])
    assert "dns:site.example.com, ip:10.0.0.7, expected dns:site.example.com, dns:www.example.com" in reasons
    assert "the key is of type ec-p256, expected ed25519" in reasons
    assert seen.serial in dry.stdout and "PRIVATE" not in dry.output
    assert (asked, tree(host.path("/etc/tls"))) == ([], before)

    done = play(changed[1:], module_defaults={GROUP: enrolment(authority)}).expect_ok()["changed"]
    assert (done["outcome"], done["reasons"]) == ("issued", dry["changed"]["reasons"])
    after = judge(authority, host.path("/etc/tls/site.crt"), host.path("/etc/tls/site.key"), "ed25519")
    assert after.names == ["DNS:site.example.com", "DNS:www.example.com"] and after.serial != seen.serial


# Names as a task has them, and as openssl shows what was issued.
NAMES = {
    "WWW.Example.COM.": "DNS:www.example.com",
    "www.example.com": "DNS:www.example.com",
    "*.apps.example.com": "DNS:*.apps.example.com",
    "_srv.example.com": "DNS:_srv.example.com",
    "bücher.example": "DNS:xn--bcher-kva.example",
    "straße.example": "DNS:xn--strae-oqa.example",
    "dns:localhost": "DNS:localhost",
    "10.0.0.7": "IP Address:10.0.0.7",
    "2001:0DB8:0:0::1": "IP Address:2001:DB8:0:0:0:0:0:1",
    "IP:::ffff:10.0.0.8": "IP Address:10.0.0.8",
    "Admin@Example.com": "email:Admin@example.com",
    "spiffe://Example.com/web/server": "URI:spiffe://example.com/web/server",
    "URI:urn:uuid:0c1a8b7e": "URI:urn:uuid:0c1a8b7e",
}


@pytest.mark.both_cores
def test_a_list_of_every_kind_of_key_and_name(play, host, authority):
    """The form for many: seven keys, names of all kinds, owners and modes, two round trips at first and one afterwards."""
    user, group = somebody()
    certificates = [pair(key_type, key_type=key_type) for key_type in KEY_WORDS]
    certificates += [
        pair("names", sans=list(NAMES)),
        pair("subject", sans=["subject.example.com"], common_name="The subject, not a name"),
        pair("alone", common_name="alone.example.com"),
        pair("modes", mode="u=rw,go=", key_mode="0440", owner=user, group=group, key_owner=user, key_group=group),
    ]
    tasks = [{"name": "many", CERTIFICATE: {"certificates": certificates, "key_type": "ec-p384"}}]
    defaults = {GROUP: enrolment(authority)}
    tls = host.path("/etc/tls")

    before = tree(tls)
    with traffic(authority) as asked:
        dry = play(tasks, module_defaults=defaults, check=True, diff=True).expect_ok()["many"]
    assert [one["outcome"] for one in dry["results"]] == ["issued"] * 11 and len(dry["diff"]) == 11
    assert (dry.changed, asked.posts, tree(tls)) == (True, [], before)

    with traffic(authority) as asked:
        run = play(tasks, module_defaults=defaults, verbosity=3).expect_ok()
    done = run["many"]
    assert [one["outcome"] for one in done["results"]] == ["issued"] * 11
    assert [one["certificate_path"] for one in done["results"]] == [
        one["certificate_path"].replace("{{ host_root }}", str(host.root)) for one in certificates
    ]
    assert (len(asked.posts), round_trips(run)) == (11, 2)
    for key_type in KEY_WORDS:
        assert judge(authority, tls / (key_type + ".crt"), tls / (key_type + ".key"), key_type).names
    _names_owners_and_modes(authority, tls, user, group)
    assert leftovers(host) == []

    before = tree(tls)
    with traffic(authority) as asked:
        run = play(tasks, module_defaults=defaults, diff=True, verbosity=3).expect_ok()
        again = run["many"]
        dry = play(tasks, module_defaults=defaults, check=True).expect_ok()["many"]
    for one in (again, dry):
        assert not one.changed and [result["outcome"] for result in one["results"]] == ["none"] * 11
    assert [one["before"] == one["after"] for one in again["diff"]] == [True] * 11
    assert (asked, round_trips(run), tree(tls)) == ([], 1, before)


def _names_owners_and_modes(authority, tls, user, group):
    """What the entries of other kinds should have led to; key_type beside the list is their default."""
    seen = judge(authority, tls / "names.crt", tls / "names.key", "ec-p384")
    assert seen.names == sorted(set(NAMES.values())) and seen.common_name == "www.example.com"
    seen = judge(authority, tls / "subject.crt", tls / "subject.key", "ec-p384")
    assert (seen.common_name.replace("\\", ""), seen.names) == ("The subject, not a name", ["DNS:subject.example.com"])
    seen = judge(authority, tls / "alone.crt", tls / "alone.key", "ec-p384")
    assert (seen.common_name, seen.names) == ("alone.example.com", ["DNS:alone.example.com"])
    certificate, key = tls / "modes.crt", tls / "modes.key"
    assert (mode(certificate), mode(key)) == ("0600", "0440")
    assert owner(certificate) == owner(key) == (user, group)


def test_a_request_that_the_user_brings(play, host, authority):
    """csr_path: signed as it is, never written; key_path, if given, is only read."""
    tls = host.path("/etc/tls")
    names = "subjectAltName=DNS:brought.example.com,IP:10.0.0.7"
    make = [
        "openssl",
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=brought.example.com",
        "-addext",
        names,
    ]
    subprocess.run(
        [*make, "-keyout", tls / "brought.key", "-out", tls / "brought.csr"], check=True, capture_output=True
    )
    brought = {"csr_path": TLS + "brought.csr", "sans": ["brought.example.com", "10.0.0.7"]}
    certificates = [pair("brought", **brought), {"certificate_path": TLS + "keyless.crt", **brought}]
    tasks = [
        {"name": "both", CERTIFICATE: {"certificates": certificates}},
        {"name": "again", CERTIFICATE: {"certificates": certificates}},
        {
            "name": "other names",
            CERTIFICATE: {**certificates[1], "sans": ["other.example.com"]},
            "ignore_errors": True,
        },
        {"name": "check", "check_mode": True, CERTIFICATE: {**certificates[1], "csr_path": TLS + "later.csr"}},
    ]
    before = {path: path.read_bytes() for path in tls.iterdir()}
    run = play(tasks, module_defaults={GROUP: enrolment(authority)}).expect_ok()
    assert [one["outcome"] for one in run["both"]["results"]] == ["issued", "issued"]
    assert [one["outcome"] for one in run["again"]["results"]] == ["none", "none"]
    run.expect_failure("csr_path", "dns:brought.example.com", "dns:other.example.com", name="other names")
    assert run["check"]["outcome"] == "issued" and "later.csr is missing" in " ".join(run["check"]["reasons"])
    assert {path: path.read_bytes() for path in before} == before
    assert judge(authority, tls / "brought.crt", tls / "brought.key", "rsa-2048").names[0] == "DNS:brought.example.com"
    assert see(tls / "keyless.crt").serial == run["again"]["results"][1]["certificate"]["serial"]

    # Another key in the request is drift; with key_path it no longer belongs together.
    subprocess.run([*make, "-keyout", tls / "new.key", "-out", tls / "brought.csr"], check=True, capture_output=True)
    tasks[0]["ignore_errors"] = True
    run = play(tasks[:1], module_defaults={GROUP: enrolment(authority)}).expect_ok()
    first, second = run.expect_failure("1 of 2 certificates failed", "brought.key")["results"]
    assert first["failed"] and "is not the key of the request" in first["msg"]
    assert second["outcome"] == "issued" and "for another key than the request" in " ".join(second["reasons"])
    public = openssl("x509", "-in", tls / "keyless.crt", "-noout", "-pubkey")
    assert public == openssl("pkey", "-in", tls / "new.key", "-pubout")


def test_lives_that_are_asked_for(play, host, authority):
    """not_before and not_after as durations and times, YAML's own times too; what changes is issued anew, once."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    end, begin = now + timedelta(hours=6), now + timedelta(hours=1)
    first = [
        pair("duration", not_after="5h"),
        pair("seconds", not_after=7200),
        pair("time", not_after=end.strftime("%Y-%m-%dT%H:%M:%SZ")),
        pair("yaml", not_after=end),  # written without quotes, so YAML reads it as a time
        pair("later", not_before="1h", not_after="3h"),
        pair("dated", not_before=begin.isoformat(), not_after=end.isoformat()),
    ]
    second = [*first[2:], pair("duration", not_after="6h"), pair("seconds")]
    tasks = [
        {"name": "first", CERTIFICATE: {"certificates": first}},
        {"name": "again", CERTIFICATE: {"certificates": first}},
        {"name": "changed", CERTIFICATE: {"certificates": second}},
        {"name": "past", CERTIFICATE: pair("past", not_after=now), "ignore_errors": True},
    ]
    run = play(tasks, module_defaults={GROUP: enrolment(authority)}).expect_ok()
    assert [one["outcome"] for one in run["first"]["results"]] == ["issued"] * 6
    assert not run["again"].changed
    assert [one["outcome"] for one in run["changed"]["results"]] == ["none"] * 4 + ["issued", "none"]
    assert run["changed"]["results"][4]["reasons"] == ["not_after was 5h, expected 6h"]
    run.expect_failure("not_after", "is past", name="past")
    tls = host.path("/etc/tls")
    assert not (tls / "past.crt").exists() and leftovers(host) == []

    seen = {name: see(tls / (name + ".crt")) for name in ("duration", "seconds", "time", "yaml", "later", "dated")}
    assert 6 * 3600 <= seen["duration"].seconds <= 6 * 3600 + 60
    assert 2 * 3600 <= seen["seconds"].seconds <= 2 * 3600 + 60
    assert seen["time"].not_after == seen["yaml"].not_after == seen["dated"].not_after == end
    assert seen["dated"].not_before == begin and seen["later"].seconds == 3 * 3600
    assert timedelta(minutes=59) < seen["later"].not_before - now < timedelta(minutes=62)
