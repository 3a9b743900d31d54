# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Files made of the pair: right from the first run, mended without the CA, rewritten with every renewal."""

from __future__ import annotations

import os
import secrets
import shutil

import pytest

from tests.integration.derived import ENDINGS, KEYED, WORDS, all_files, blocks, encryption_of, judge_files, judge_pkcs12
from tests.integration.judging import (
    judge,
    leftovers,
    mode,
    openssl,
    owner,
    see,
    somebody,
    traffic,
    tree,
    wait_until_aged,
)
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, outcomes, pair
from tests.integration.support import enrolment
from tools.authority import Provisioner

pytestmark = pytest.mark.oldest_core

FOREIGN = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.fixture
def password():
    """Of the PKCS#12 files."""
    return secrets.token_urlsafe(12)


def test_every_file_from_nothing(play, host, core, authority, password):
    """Check mode, the real run, the same again: in one request to the CA, with the attributes of their kind."""
    tls = host.path("/etc/tls")
    user, group = somebody()
    owned = {"owner": user, "mode": "0640", "key_group": group, "key_mode": "0440"}
    task = [{"name": "site", CERTIFICATE: pair("site", **all_files("site", core, **owned))}]
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"password": password}}
    before = tree(tls)
    with traffic(authority) as asked:
        dry = play(task, check=True, diff=True, **settings).expect_ok()["site"]
    assert (dry["outcome"], asked.posts, tree(tls)) == ("issued", [], before)

    with traffic(authority) as asked:
        done = play(task, diff=True, **settings).expect_ok()["site"]
    assert (done["outcome"], asked.posts) == ("issued", [("POST", "/1.0/sign")])
    names = {".site.crt.stepca.json", "site.crt", "site.key"} | {"site" + ending for ending in ENDINGS.values()}
    assert {path.name for path in tls.iterdir()} == names
    judge(authority, tls / "site.crt", tls / "site.key")
    judge_files(authority, tls, "site", password)
    for option, ending in ENDINGS.items():
        path = tls / ("site" + ending)
        assert mode(path) == ("0440" if option in KEYED else "0640"), path
        assert owner(path)[1 if option in KEYED else 0] == (group if option in KEYED else user), path

    before = tree(tls)
    with traffic(authority) as asked:
        again = play(task, diff=True, **settings).expect_ok()["site"]
    assert (again.changed, again["outcome"], asked, tree(tls)) == (False, "none", [], before)


def _damages():
    """{name of the certificate: (option, what happens to its file, words of the reason)}."""
    damages = {}
    for option in ENDINGS:
        kind = option.partition("_")[0]
        damages[kind + "-missing"] = (option, lambda path: path.unlink(), "is missing")
        damages[kind + "-empty"] = (option, lambda path: path.write_text("\n", encoding="ascii"), "is empty")
        damages[kind + "-open"] = (option, lambda path: path.chmod(0o666), "the mode of ")
        cut = "is damaged"
        damages[kind + "-cut"] = (option, lambda path: path.write_bytes(path.read_bytes()[:-40]), cut)
        if option != "pkcs12_path":
            damages[kind + "-foreign"] = (option, lambda path: path.write_text(FOREIGN, encoding="ascii"), "")
    damages["combined-reversed"] = (
        "combined_path",
        lambda path: path.write_text("".join(reversed(blocks(path))), encoding="ascii"),
        "does not begin with the private key",
    )
    damages["chain-doubled"] = ("chain_path", lambda path: path.write_text("".join(blocks(path) * 2)), "twice")
    return damages


def test_every_damage_is_mended_without_the_authority(play, host, core, authority, password):
    """One run of outcome files for all of them; check mode says the same before, and pair and record stay."""
    tls = host.path("/etc/tls")
    damages = _damages()
    entries = [pair(name, **all_files(name, core)) for name in damages]
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"password": password}}
    task = {CERTIFICATE: {"certificates": entries}}
    play([{"name": "make", **task}], **settings).expect_ok()
    serials = {name: see(tls / (name + ".crt")).serial for name in damages}
    for name, (option, damage, _words) in damages.items():
        damage(tls / (name + ENDINGS[option]))

    before = tree(tls)
    with traffic(authority) as asked:
        dry = play([{"name": "look", **task}], check=True, diff=True, **settings).expect_ok()["look"]
        assert tree(tls) == before
        run = play([{"name": "mend", **task}, {"name": "again", **task}], **settings).expect_ok()
    assert asked == []
    assert outcomes(dry) == outcomes(run["mend"]) == dict.fromkeys(damages, "files")
    assert not run["again"].changed
    for (name, (option, _damage, words)), was, now in zip(
        damages.items(), dry["results"], run["mend"]["results"], strict=True
    ):
        (reason,) = now["reasons"]
        assert was["reasons"] == [reason]
        assert words in reason and str(tls / (name + ENDINGS[option])) in reason, reason
        assert name.endswith("-open") or WORDS[option] in reason
        assert (now["ca_url"], see(tls / (name + ".crt")).serial) == (None, serials[name])
        judge_files(authority, tls, name, password, java=False)
        assert mode(tls / (name + ENDINGS[option])) == ("0600" if option in KEYED else "0644")
    assert leftovers(host) == []


def test_another_password_and_another_name(play, host, core, authority, password):
    """A PKCS#12 file is judged by what opens with the password asked for; from an option or a file on the host."""
    tls = host.path("/etc/tls")
    kept = host.path("/etc/password")
    kept.write_text("from a file \n", encoding="ascii")
    kept.chmod(0o600)
    other = secrets.token_urlsafe(12)
    first = pair("site", pkcs12_path=TLS + "site.p12", pkcs12_encryption=encryption_of(core))
    from_file = {**first, "pkcs12_password_file": "{{ host_root }}/etc/password"}
    tasks = [
        {"name": "make", CERTIFICATE: {**first, "pkcs12_password": "{{ password }}"}},
        {"name": "other", CERTIFICATE: {**first, "pkcs12_password": "{{ other }}"}},
        {"name": "file", CERTIFICATE: from_file},
        {"name": "file again", CERTIFICATE: from_file},
        {"name": "other again", CERTIFICATE: {**first, "pkcs12_password": "{{ other }}"}},
    ]
    secret = {"password": password, "other": other}
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": secret}
    with traffic(authority) as asked:
        run = play(tasks, **settings).expect_ok()
    assert [run[task["name"]]["outcome"] for task in tasks] == ["issued", "files", "files", "none", "files"]
    assert "does not open with the password asked for" in run["other"]["reasons"][0]
    assert asked.posts == [("POST", "/1.0/sign")]
    (key,) = blocks(tls / "site.key")
    said = judge_pkcs12(tls / "site.p12", other, key, blocks(tls / "site.crt"))
    assert ("PBES2" in said) == (encryption_of(core) == "modern")

    named = {**from_file, "pkcs12_friendly_name": "tomcat"}
    run = play([{"name": "named", CERTIFICATE: named}, {"name": "again", CERTIFICATE: named}], **settings).expect_ok()
    assert (run["named"]["outcome"], run["again"]["outcome"]) == ("files", "none")
    assert judge_pkcs12(tls / "site.p12", "from a file", key, blocks(tls / "site.crt"))
    assert "friendlyName: tomcat" in openssl(
        "pkcs12", "-in", tls / "site.p12", "-passin", "pass:from a file", "-nokeys", "-clcerts"
    )

    for name, words in (("loose", "its mode must be 0600"), ("gone", "is missing")):
        kept.chmod(0o644) if name == "loose" else kept.unlink()
        failed = play([{"name": name, CERTIFICATE: {**from_file, "force": True}}], **settings)
        failed.expect_failure("pkcs12_password_file", words)
    assert leftovers(host) == []


def test_encryptions(play, host, core, authority, password):
    """Where the library can make both, the file is remade in the other; where not, no token is spent to find out."""
    tls = host.path("/etc/tls")
    other = "compatible" if encryption_of(core) == "modern" else "modern"
    made = {**pair("site", pkcs12_path=TLS + "site.p12", pkcs12_password="{{ password }}")}
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"password": password}}
    asked_for = [{"name": "other", CERTIFICATE: {**made, "pkcs12_encryption": other}}]
    if other == "modern":
        with traffic(authority) as asked:
            run = play(asked_for, **settings)
        run.expect_failure("pkcs12_encryption: modern needs cryptography >= 38", "only compatible")
        assert (asked.posts, list(tls.iterdir())) == ([], [])
        return
    run = play([{"name": "first", CERTIFICATE: made}, *asked_for], **settings).expect_ok()
    assert run["other"]["reasons"] == [
        "the PKCS#12 file %s is encrypted as modern, not as compatible" % (tls / "site.p12")
    ]
    (key,) = blocks(tls / "site.key")
    assert "pbeWithSHA1And3-KeyTripleDES-CBC" in judge_pkcs12(tls / "site.p12", password, key, blocks(tls / "site.crt"))


def test_a_renewal_rewrites_them(play, host, core, new_authority, password):
    """Renewed with the same key, then issued anew with another: no file of the former certificate is left."""
    tls = host.path("/etc/tls")
    authority = new_authority(Provisioner("ansible", rounds=100_000, claims={"minTLSCertDuration": "1s"}))
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"password": password}}
    site = pair("site", not_after="1h", **all_files("site", core))
    serials = []
    for options, outcome in (
        (site, "issued"),
        ({**site, "renew_before": "59m57s"}, "renewed"),
        (site | {"force": True}, "issued"),
    ):
        if outcome == "renewed":
            wait_until_aged(tls / "site.crt", 4)
        done = play([{"name": "site", CERTIFICATE: options}], **settings).expect_ok()["site"]
        assert done["outcome"] == outcome, done.result
        serials.append(judge(authority, tls / "site.crt", tls / "site.key").serial)
        judge_files(authority, tls, "site", password)
    assert len(set(serials)) == 3 and leftovers(host) == []
    authority.rotate_intermediate()
    play([{"name": "site", CERTIFICATE: site | {"force": True}}], **settings).expect_ok()
    assert "intermediate 2" in see(tls / "site-chain.pem").common_name
    judge_files(authority, tls, "site", password)


def test_files_come_and_go_with_the_task(play, host, core, authority, password):
    """An output added to a task is made without the CA; one dropped from it is left alone, but listed in no record."""
    tls = host.path("/etc/tls")
    plain = {"name": "plain", CERTIFICATE: pair("site")}
    whole = {"name": "whole", CERTIFICATE: pair("site", **all_files("site", core))}
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"password": password}}
    play([plain], **settings).expect_ok()
    with traffic(authority) as asked:
        run = play([whole, plain], **settings).expect_ok()
    assert (run["whole"]["outcome"], len(run["whole"]["reasons"]), asked) == ("files", len(ENDINGS), [])
    judge_files(authority, tls, "site", password)
    assert run["plain"]["outcome"] == "none"


def test_a_brought_request_with_its_key(play, host, core, authority, password, tmp_path):
    """With csr_path the key is read for what holds it, and never written; without key_path it cannot be made."""
    tls = host.path("/etc/tls")
    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=site.example.com", "-addext",
            "subjectAltName=DNS:site.example.com", "-keyout", tls / "site.key", "-out", tls / "site.csr")  # fmt: skip
    brought = pair("site", csr_path=TLS + "site.csr", **all_files("site", core))
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"password": password}}
    before = (tls / "site.key").read_bytes(), os.stat(tls / "site.key").st_mtime_ns
    run = play(
        [{"name": "site", CERTIFICATE: brought}, {"name": "again", CERTIFICATE: brought}], **settings
    ).expect_ok()
    assert (run["site"]["outcome"], run["again"]["outcome"]) == ("issued", "none")
    assert ((tls / "site.key").read_bytes(), os.stat(tls / "site.key").st_mtime_ns) == before
    judge_files(authority, tls, "site", password)
    keyless = {name: value for name, value in brought.items() if name != "key_path"}
    failed = play([{"name": "keyless", CERTIFICATE: keyless}], **settings)
    failed.expect_failure("combined_path and pkcs12_path needs key_path")


@pytest.mark.one_core
def test_a_whole_set_moves(play, host, core, authority, password):
    """Other paths for the outputs: they are made there; a copy by hand of the old place is no file of ours."""
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"password": password}}
    play([{"name": "site", CERTIFICATE: pair("site", **all_files("site", core))}], **settings).expect_ok()
    shutil.copy(tls / "site-all.pem", tls / "copy.pem")
    moved = pair("site", combined_path=TLS + "moved.pem")
    done = play([{"name": "moved", CERTIFICATE: moved}], **settings).expect_ok()["moved"]
    assert done["reasons"] == ["the combined file %s is missing" % (tls / "moved.pem")]
    assert blocks(tls / "moved.pem") == blocks(tls / "copy.pem")
