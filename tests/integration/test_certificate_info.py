# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""stepca_certificate_info: what is told of a certificate, and that nobody is asked and nothing is changed for it."""

from __future__ import annotations

import shutil

import pytest

from tests.integration.judging import openssl, round_trips, see, traffic, tree
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, pair
from tests.integration.support import connection, enrolment
from tools.authority import Provisioner

pytestmark = pytest.mark.oldest_core

INFO = "privatepki.stepca.stepca_certificate_info"
ABSENT = {
    "exists": False,
    "certificate": None,
    "key_matches": None,
    "chain_ok": None,
    "days_left": None,
    "due": True,
    "revoked": None,
}


def told(task):
    """What the module said of its own."""
    return {name: task[name] for name in ABSENT}


def look(name, **options):
    """The task that looks at a pair."""
    return {"name": name, INFO: {"certificate_path": TLS + name + ".crt", **options}}


@pytest.mark.parametrize("by", ["controller", "host"])
def test_what_is_told(play, host, authority, by):
    """Absent, fine, due, of another key, without a chain, foreign: from the file alone, with no request to the CA."""
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority, request_from=by)}}
    names = ["fine", "other-key", "leaf-alone"]
    made = {"certificates": [pair(name) for name in names], "not_after": "10h"}
    run = play([{"name": "make", CERTIFICATE: made}], **settings).expect_ok()
    facts = {name: one["certificate"] for name, one in zip(names, run["make"]["results"], strict=True)}
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", tls / "other-key.key")
    leaf = openssl("x509", "-in", tls / "leaf-alone.crt")
    (tls / "leaf-alone.crt").write_text(leaf, encoding="ascii")
    (tls / "garbage.crt").write_text("trust me", encoding="ascii")
    (tls / "linked.crt").symlink_to("fine.crt")
    content = [
        look("absent", key_path=TLS + "absent.key", check_revocation=False),
        look("garbage"),
        look("fine"),
        {**look("fine", key_path=TLS + "fine.key", renew_before="9h59m59s"), "name": "due"},
        {**look("fine", key_path=TLS + "nowhere.key"), "name": "no key"},
        look("other-key", key_path=TLS + "other-key.key"),
        look("linked", key_path=TLS + "fine.key"),
    ]
    before = tree(tls)
    with traffic(authority) as asked:
        run = play(content, verbosity=3, **settings).expect_ok()
        dry = play(content, check=True, diff=True, **settings).expect_ok()
    assert (asked, tree(tls)) == ([], before)
    assert round_trips(run) == len(content)
    assert run.changed == dry.changed == []
    for task in content:
        was = {**told(run[task["name"]]), "days_left": None}
        assert {**told(dry[task["name"]]), "days_left": None} == was
    assert told(run["absent"]) == told(run["garbage"]) == ABSENT
    fine = told(run["fine"])
    assert 9.9 / 24 < fine.pop("days_left") <= 10 / 24
    expected = {"exists": True, "chain_ok": True, "key_matches": None, "due": False, "revoked": None}
    assert fine == {**expected, "certificate": facts["fine"]}
    assert facts["fine"]["serial"] == see(tls / "fine.crt").serial
    assert (run["due"]["due"], run["due"]["key_matches"]) == (True, True)
    assert run["no key"]["key_matches"] is False
    assert (run["other-key"]["key_matches"], run["other-key"]["chain_ok"]) == (False, True)
    assert (run["linked"]["chain_ok"], run["linked"]["key_matches"]) == (True, True)

    with traffic(authority) as asked:
        alone = play([look("leaf-alone")], **settings).expect_ok()["leaf-alone"]
    assert (alone["exists"], alone["chain_ok"], asked.posts) == (True, False, [])


def test_what_is_no_pem(play, host, authority):
    """DER and PKCS#7 are read, of a bundle its first certificate; of each is said what it is, and what else a file may be."""
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority)}}
    made = play([{"name": "make", CERTIFICATE: pair("fine")}], **settings).expect_ok()["make"]["certificate"]
    openssl("x509", "-in", tls / "fine.crt", "-outform", "DER", "-out", tls / "der.crt")
    openssl("crl2pkcs7", "-nocrl", "-certfile", tls / "fine.crt", "-out", tls / "bag.crt")
    (tls / "bundle.crt").write_text((tls / "fine.crt").read_text(encoding="ascii") * 20, encoding="ascii")
    (tls / "key.crt").write_bytes((tls / "fine.key").read_bytes())
    said = {
        "der": "is a certificate in DER",
        "bag": "is PKCS#7",
        "bundle": "it holds 40 certificates",
        "key": "it holds no PEM certificate, but a private key",
    }
    run = play([look(name, key_path=TLS + "fine.key") for name in ["fine", *said]], **settings).expect_ok()
    assert run["fine"]["problem"] is None
    for name, words in said.items():
        found = run[name]
        assert words in found["problem"] and str(tls / (name + ".crt")) in found["problem"]
        assert found["exists"] is (name != "key")
        if name != "key":
            assert found["certificate"]["serial"] == made["serial"] and found["key_matches"] is True
    assert (run["bag"]["chain_ok"], run["der"]["chain_ok"]) == (True, False)


@pytest.mark.parametrize("by", ["controller", "host"])
def test_without_a_record(play, host, authority, new_authority, by):
    """The CA is asked for its roots, proved by their fingerprint, and for nothing else; a foreign chain is not ok."""
    tls = host.path("/etc/tls")
    stranger = new_authority(Provisioner("ansible", rounds=100_000))
    made = [
        {"name": "own", CERTIFICATE: pair("own", **enrolment(authority))},
        {"name": "foreign", CERTIFICATE: pair("foreign", **enrolment(stranger))},
    ]
    play(made).expect_ok()
    for record in tls.glob(".*.stepca.json"):
        record.unlink()
    settings = {"module_defaults": {GROUP: connection(authority, request_from=by)}}
    with traffic(authority) as asked:
        run = play([look("own"), look("foreign")], **settings).expect_ok()
    assert (run["own"]["chain_ok"], run["foreign"]["chain_ok"]) == (True, False)
    assert run["foreign"]["certificate"]["serial"] == see(tls / "foreign.crt").serial
    assert {path.rpartition("/")[0] or path for _method, path in asked} <= {"/root", "/1.0/root", "/1.0", "/roots"}
    assert asked.posts == []


@pytest.mark.parametrize("by", ["controller", "host"])
def test_revoked(play, host, new_authority, by):
    """Only where it is asked for, and only with the CA's list; no list is an error, never "not revoked"."""
    authority = new_authority()
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority, request_from=by)}}
    asking = look("site", check_revocation=True)
    revoke = {"name": "revoke", "privatepki.stepca.stepca_revoke": {"certificate_path": TLS + "site.crt"}}
    content = [
        {"name": "make", CERTIFICATE: pair("site")},
        {**asking, "name": "before"},
        revoke,
        {**asking, "name": "after"},
        {**look("site"), "name": "not asked"},
        look("absent", check_revocation=True),
    ]
    run = play(content, **settings).expect_ok()
    states = [run[name]["revoked"] for name in ("before", "after", "not asked", "absent")]
    assert states == [False, True, None, None]
    shutil.copy(tls / "site.crt", tls / "copy.crt")
    authority.crl = False
    authority.restart()
    failed = play([asking, {**look("site"), "name": "not asked"}], **settings)
    failed.expect_failure("publishes no list of revoked certificates", "crl.enabled", name="site")
