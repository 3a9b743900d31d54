# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Certificates that were made without us are taken over where they fit, as guide_migrating says."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.judging import judge, mode, openssl, see, traffic, wait_until_aged
from tests.integration.pairs import CERTIFICATE, GROUP, pair
from tests.integration.support import connection, enrolment
from tools.authority import Provisioner

pytestmark = pytest.mark.oldest_core

NAMES = ["www.example.com", "10.0.0.7"]


@pytest.fixture
def by_step(step, authority, host, tmp_path):
    """`step ca certificate`, as a script on the host would call it."""
    tls, password = host.path("/etc/tls"), tmp_path / "password"

    def make(name, *words, provisioner="ansible"):
        password.write_text(authority.provisioner(provisioner).password, encoding="utf-8")
        who = ["--provisioner", provisioner, "--provisioner-password-file", password]
        files = [tls / (name + ".crt"), tls / (name + ".key")]
        step("ca", "certificate", name + ".example.com", *files, *who, *words, where=True)

    return make


def by_openssl(step, authority, host, tmp_path, name, *kind):
    """A key and a request of openssl's, signed by way of `step ca sign`, as scripts do it."""
    tls, password = host.path("/etc/tls"), tmp_path / "password"
    alternative = "subjectAltName=DNS:%s.example.com,DNS:www.example.com,IP:10.0.0.7" % name
    command = ["openssl", "req", "-new", "-newkey", *kind, "-nodes", "-subj", "/CN=%s.example.com" % name]
    command += ["-addext", alternative, "-keyout", tls / (name + ".key"), "-out", tmp_path / (name + ".csr")]
    subprocess.run(command, check=True, capture_output=True)
    password.write_text(authority.provisioner("ansible").password, encoding="utf-8")
    who = ["--provisioner", "ansible", "--provisioner-password-file", password]
    step("ca", "sign", tmp_path / (name + ".csr"), tls / (name + ".crt"), *who, where=True)


def test_what_fits_stays(play, host, authority, step, by_step, tmp_path):
    """The first run issues nothing and moves nothing; owner and mode apart. What is due later is renewed with its key."""
    tls = host.path("/etc/tls")
    by_step("plain")
    by_step("named", "--san", NAMES[0], "--san", NAMES[1])
    by_step("lived", "--not-after", "10h")
    by_step("rsa", "--kty", "RSA", "--size", "3072")
    by_openssl(step, authority, host, tmp_path, "script", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    same = {"mode": mode(tls / "plain.crt")}
    entries = {
        "plain": pair("plain", **same),
        "named": pair("named", common_name="named.example.com", sans=NAMES, **same),
        "lived": pair("lived", not_after="10h", **same),
        "rsa": pair("rsa", key_type="rsa-3072", **same),
        "script": pair("script", sans=["DNS:script.example.com", "DNS:www.example.com", "IP:10.0.0.7"], **same),
    }
    assert same == {"mode": "0600"}
    before = {path.name: path.read_bytes() for path in tls.iterdir()}
    task = [{"name": "look", CERTIFICATE: {"certificates": list(entries.values())}}]
    settings = {"module_defaults": {GROUP: enrolment(authority)}}
    for check in (True, False):
        with traffic(authority) as asked:
            run = play(task, check=check, **settings).expect_ok()["look"]
        assert (run.changed, asked.posts) == (False, []), run.result
    readable = [{"name": "mode", CERTIFICATE: pair("plain")}]
    run = play(readable, **settings).expect_ok()["mode"]
    assert run["outcome"] == "files" and "is 0600, expected 0644" in " ".join(run["reasons"])
    assert {path.name: path.read_bytes() for path in tls.iterdir() if not path.name.startswith(".")} == before

    for name in ("plain", "script"):
        wait_until_aged(tls / (name + ".crt"), 4)
    due = [{**entries[name], "renew_before": "23h59m57s"} for name in ("plain", "script")]
    serials = {name: see(tls / (name + ".crt")).serial for name in ("plain", "script")}
    nobody = {"module_defaults": {GROUP: connection(authority)}}
    run = play([{"name": "due", CERTIFICATE: {"certificates": due}}], **nobody).expect_ok()["due"]
    assert [one["outcome"] for one in run["results"]] == ["renewed", "renewed"]
    for name, serial in serials.items():
        assert (tls / (name + ".key")).read_bytes() == before[name + ".key"]
        assert see(tls / (name + ".crt")).serial != serial
        public = openssl("x509", "-in", tls / (name + ".crt"), "-noout", "-pubkey")
        assert public == openssl("pkey", "-in", tls / (name + ".key"), "-pubout")


def test_what_does_not_fit_says_why(play, host, authority, new_authority, step, by_step, tmp_path):
    """In the words of the guide, and it is issued anew."""
    tls = host.path("/etc/tls")
    for name in ("names", "life", "type", "leaf", "locked"):
        by_step(name)
    by_step("other", provisioner="long")
    leaf = openssl("x509", "-in", tls / "leaf.crt")
    (tls / "leaf.crt").write_text(leaf, encoding="ascii")
    secret = ["pass:a password of its own"]
    locked = openssl("pkey", "-in", tls / "locked.key", "-aes256", "-passout", *secret)
    (tls / "locked.key").write_text(locked, encoding="ascii")
    stranger = new_authority(Provisioner("ansible", rounds=100_000))
    play([{"name": "foreign", CERTIFICATE: pair("foreign", **enrolment(stranger))}]).expect_ok()
    (tls / ".foreign.crt.stepca.json").unlink()
    entries = {
        "names": (pair("names", sans=NAMES), "the names are dns:names.example.com, expected"),
        "life": (pair("life", not_after="5h"), "expected not_after 5h"),
        "type": (pair("type", key_type="ed25519"), "the key is of type ec-p256, expected ed25519"),
        "leaf": (pair("leaf"), "the chain does not lead to a trusted root"),
        "other": (pair("other"), "the provisioner 'long' issued it, expected 'ansible'"),
        "foreign": (pair("foreign"), "the chain does not lead to a trusted root"),
    }
    many = {"certificates": [entry for entry, _words in entries.values()]}
    settings = {"module_defaults": {GROUP: enrolment(authority)}}
    run = play([{"name": "issue", CERTIFICATE: many}, {"name": "again", CERTIFICATE: many}], **settings).expect_ok()
    for (name, (_entry, words)), told in zip(entries.items(), run["issue"]["results"], strict=True):
        assert told["outcome"] == "issued" and words in " ".join(told["reasons"]), (name, told)
        judge(authority, tls / (name + ".crt"), tls / (name + ".key"), "ed25519" if name == "type" else "ec-p256")
    assert not run["again"].changed
    assert sorted(path.name for path in tls.glob(".*.backup")) == [
        ".foreign.crt.stepca.backup",
        ".foreign.key.stepca.backup",
    ]
    failed = play([{"name": "locked", CERTIFICATE: pair("locked")}], **settings)
    failed.expect_failure("is encrypted with a password", "name another key_path")


def test_words_of_certctl(play, host, authority, tmp_path):
    """Its environment as it is, and 90 days."""
    chosen = authority.provisioner("long")
    (tmp_path / "provisioner.json").write_text(chosen.jwe, encoding="utf-8")
    environment = {
        "CERTCTL_STEPCA_URL": authority.url,
        "CERTCTL_STEPCA_PROVISIONER": chosen.name,
        "CERTCTL_STEPCA_KEY_PATH": str(tmp_path / "provisioner.json"),
        "CERTCTL_STEPCA_PASSWORD": chosen.password,
    }
    trust = {"module_defaults": {GROUP: {"ca_root_path": str(authority.root_path)}}}
    play([{"name": "make", CERTIFICATE: pair("site", not_after="90d")}], env=environment, **trust).expect_ok()
    tls = host.path("/etc/tls")
    seen = judge(authority, tls / "site.crt", tls / "site.key")
    assert seen.provisioner_is("long") and 0 <= seen.seconds - 90 * 86400 <= 600
