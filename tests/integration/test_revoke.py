# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""stepca_revoke: by serial or by file, once; the CA's own list tells what came of it."""

from __future__ import annotations

import re

import pytest

from tests.integration.judging import openssl, round_trips, see, traffic, tree, wait_until_aged
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, pair
from tests.integration.rows import Row, check_failures, tasks
from tests.integration.support import connection, enrolment
from tools.authority import Provisioner

pytestmark = pytest.mark.one_core

REVOKE = "privatepki.stepca.stepca_revoke"
#: As openssl writes the reasons.
SPELLINGS = {"superseded": "Superseded", "keyCompromise": "Key Compromise", "privilegeWithdrawn": "Privilege Withdrawn"}


def listed(authority, folder):
    """{serial: reason} of the CA's list, read by openssl."""
    status, content = authority.get("/1.0/crl")
    assert status == 200
    (folder / "crl").write_bytes(content)
    text = openssl("crl", "-inform", "DER", "-in", folder / "crl", "-noout", "-text")
    entries = text.partition("Revoked Certificates:")[2].split("Serial Number: ")[1:]
    found = {}
    for entry in entries:
        reason = re.search("Reason Code: *\n *(.*)", entry)
        found[str(int(entry.split()[0], 16))] = reason.group(1) if reason else ""
    return found


def colons(serial):
    """As openssl and browsers show it."""
    text = "%x" % int(serial)
    text = "0" * (len(text) % 2) + text
    return ":".join(text[at : at + 2] for at in range(0, len(text), 2))


@pytest.fixture
def revoking(new_authority):
    """An authority whose list a test may fill."""
    return new_authority()


def test_each_spelling_revokes_once(play, host, revoking, tmp_path):
    """Decimal, hex, colons, a file; reasons by name and number; the second time changes nothing."""
    names = ["decimal", "hex", "colons", "file", "host"]
    settings = {"module_defaults": {GROUP: enrolment(revoking)}}
    made = play([{"name": "make", CERTIFICATE: {"certificates": [pair(name) for name in names]}}], **settings)
    serials = {
        name: one["certificate"]["serial"] for name, one in zip(names, made.expect_ok()["make"]["results"], strict=True)
    }
    how = {
        "decimal": {"serial": serials["decimal"], "reason": "superseded"},
        "hex": {"serial": "0x%X" % int(serials["hex"]), "reason": "key_compromise"},
        "colons": {"serial": colons(serials["colons"]), "reason": "9"},
        "file": {"certificate_path": TLS + "file.crt"},
        "host": {"certificate_path": TLS + "host.crt", "request_from": "host", "reason": 4},
    }
    content = [{"name": name, REVOKE: options} for name, options in how.items()]
    before = tree(host.path("/etc"))
    with traffic(revoking) as asked:
        dry = play(content, check=True, **settings).expect_ok()
    assert [dry[name].changed for name in names] == [True] * len(names)
    assert (asked.posts, listed(revoking, tmp_path)) == ([], {})

    with traffic(revoking) as asked:
        run = play(content, verbosity=3, **settings).expect_ok()
    assert asked.posts == [("POST", "/1.0/revoke")] * len(names)
    assert [run[name].changed for name in names] == [True] * len(names)
    assert {name: run[name]["serial"] for name in names} == serials
    reasons = ["superseded", "keyCompromise", "privilegeWithdrawn", "unspecified", "superseded"]
    assert [run[name]["reason"] for name in names] == reasons
    assert {run[name]["kind"] for name in names} == {"x509"}
    assert listed(revoking, tmp_path) == {
        serials[name]: SPELLINGS.get(reason, "") for name, reason in zip(names, reasons, strict=True)
    }
    assert round_trips(run) == 2, "a serial is no business of the host"

    for check in (True, False):
        again = play(content, check=check, **settings).expect_ok()
        assert [again[name].changed for name in names] == [False] * len(names), check
        assert {name: again[name]["serial"] for name in names} == serials
    assert tree(host.path("/etc")) == before
    wait_until_aged(host.path("/etc/tls/file.crt"), 6)
    refused = play([{"name": "renew", CERTIFICATE: pair("file", renew_before="23h59m55s")}], **settings).expect_ok()
    assert refused["renew"]["outcome"] == "issued" and "may have been revoked" in str(refused["renew"]["reasons"])


def test_without_a_list(play, host, new_authority):
    """Check mode cannot know; revoking again is "ok" all the same, in the CA's own words."""
    authority = new_authority(crl=False)
    settings = {"module_defaults": {GROUP: enrolment(authority)}}
    play([{"name": "make", CERTIFICATE: pair("site")}], **settings).expect_ok()
    task = [{"name": "site", REVOKE: {"certificate_path": TLS + "site.crt"}}]
    changes = [play(task, check=check, **settings).expect_ok()["site"].changed for check in (True, False, True, False)]
    assert changes == [True, True, True, False]
    bare = new_authority(database=False)
    play([{"name": "make", CERTIFICATE: pair("bare", **enrolment(bare))}]).expect_ok()
    run = play([{"name": "bare", REVOKE: {"certificate_path": TLS + "bare.crt", **enrolment(bare)}}])
    run.expect_failure("501", "Revocation needs the CA's database (db in its ca.json)")


def test_a_token_for_revoking(play, host, revoking, tmp_path):
    """The lookup's token with purpose=revoke serves this serial, once, with no provisioner in the task; no other does."""
    settings = {"module_defaults": {GROUP: connection(revoking)}}
    who = enrolment(revoking)
    made = {"certificates": [pair("one"), pair("two")]}
    run = play([{"name": "make", CERTIFICATE: {**made, **who}}], **settings).expect_ok()
    one, two = [item["certificate"]["serial"] for item in run["make"]["results"]]
    mint = "{{ lookup('privatepki.stepca.stepca_token', '%s', purpose='%s', **who) }}"
    content = [
        {"name": "tokens", "ansible.builtin.set_fact": {"bound": mint % (one, "revoke")}},
        {"name": "other", REVOKE: {"serial": two, "token": "{{ bound }}"}},
        {"name": "signing", REVOKE: {"serial": two, "token": mint % ("two.example.com", "sign")}},
        {"name": "right", REVOKE: {"serial": two, "token": mint % (two, "revoke")}},
        {"name": "file", REVOKE: {"certificate_path": TLS + "one.crt", "token": mint % (one, "revoke")}},
        {"name": "nobody", REVOKE: {"serial": "77"}},
    ]
    content = [{**task, "ignore_errors": True} for task in content]
    run = play(content, variables={"who": who}, **settings).expect_ok()
    assert "token" in run["other"].msg and ("403" in run["other"].msg or "401" in run["other"].msg)
    run.expect_failure("401", "The token's audience is", "not for revoking", name="signing")
    run.expect_failure("A certificate is to be revoked, and no option says who vouches", name="nobody")
    assert run["right"].changed and run["file"].changed
    assert set(listed(revoking, tmp_path)) == {one, two}


def test_what_cannot_be_revoked(play, host, authority, new_authority, tmp_path):
    """Serials, reasons and files that are none; nothing is asked of the CA but for its roots."""
    tls = host.path("/etc/tls")
    stranger = new_authority(Provisioner("ansible", rounds=100_000))
    play([{"name": "make", CERTIFICATE: pair("foreign", **enrolment(stranger))}]).expect_ok()
    (tls / "garbage.crt").write_text("trust me", encoding="ascii")
    (tls / "folder.crt").mkdir()
    serial = {"serial": "12345"}

    def row(name, words, **options):
        return Row(name, words, options, "stepca_revoke")

    none = ["is no serial number", "Give it in decimal, or in hex"]
    table = [
        row("neither", ["One of serial and certificate_path is required"]),
        row("both", ["One of serial and certificate_path is required"], **serial, certificate_path=TLS + "foreign.crt"),
        row("words", none, serial="all of them"),
        row("zero", none, serial="0"),
        row("hex zero", none, serial="0x0"),
        row("octal", none, serial="0777"),
        row("negative", none, serial="-5"),
        row("long", none, serial="9" * 60),
        row("long hex", none, serial="0x" + "f" * 41),
        row("no hex", none, serial="0xhello"),
        row("two serials", none, serial="12,13"),
        row("reason 7", ["7 is not used in RFC 5280", "unreadable", "superseded"], **serial, reason=7),
        row("reason 11", ["reason: ", "is no reason of RFC 5280"], **serial, reason="11"),
        row("no reason", ["'because' is no reason of RFC 5280", "keyCompromise"], **serial, reason="because"),
        row("another kind", ["kind", "x509"], **serial, kind="ssh"),
        row("missing", ["missing.crt is missing", "Nothing was revoked"], certificate_path=TLS + "missing.crt"),
        row("garbage", ["garbage.crt cannot be read", "Nothing was revoked"], certificate_path=TLS + "garbage.crt"),
        row("folder", ["certificate_path", "is a folder"], certificate_path=TLS + "folder.crt"),
        row("relative", ["is not an absolute path"], certificate_path="site.crt"),
        row("foreign", ["was not issued by this CA. Nothing was revoked"], certificate_path=TLS + "foreign.crt"),
    ]
    before = tree(tls)
    with traffic(authority) as asked, traffic(stranger) as asked_stranger:
        run = play(tasks(table, enrolment(authority)), verbosity=3)
    check_failures(run, table)
    assert (asked.posts, asked_stranger, tree(tls)) == ([], [], before)
    assert see(tls / "foreign.crt").names == ["DNS:foreign.example.com"]
