# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""With the `step` client: it reads what we write, takes our tokens, and its tokens serve us."""

from __future__ import annotations

import json

import pytest

from tests.integration.judging import judge, openssl, see, traffic
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, pair
from tests.integration.support import as_variables, connection, enrolment, openssl_verify

pytestmark = pytest.mark.one_core


def make_request(step, path, *names):
    """A request and its key, path.csr and path.key; the first name is the subject's too."""
    sans = [word for name in names for word in ("--san", name)]
    files = [path.with_suffix(".csr"), path.with_suffix(".key")]
    step("certificate", "create", names[0], *files, "--csr", "--no-password", "--insecure", *sans)


def test_step_reads_what_we_write(play, host, step, authority):
    """Inspect, verify, compare the keys, and renew with the pair, which is then still ours."""
    tls = host.path("/etc/tls")
    sans = ["site.example.com", "10.0.0.7", "spiffe://example.com/site", "admin@example.com"]
    tasks = [
        {
            "name": "make",
            CERTIFICATE: {"certificates": [pair("site", sans=sans), pair("ed", key_type="ed25519")]},
        },
    ]
    defaults = {GROUP: enrolment(authority)}
    run = play(tasks, module_defaults=defaults).expect_ok()
    seen = json.loads(step("certificate", "inspect", tls / "site.crt", "--format", "json"))
    assert seen["serial_number"] == run["make"]["results"][0]["certificate"]["serial"]
    assert seen["extensions"]["subject_alt_name"]["dns_names"] == ["site.example.com"]
    assert seen["extensions"]["subject_alt_name"]["ip_addresses"] == ["10.0.0.7"]
    assert seen["extensions"]["subject_alt_name"]["email_addresses"] == ["admin@example.com"]
    text = step("certificate", "inspect", tls / "site.crt")
    assert "spiffe://example.com/site" in text and "Type: JWK" in text and "Name: ansible" in text
    for name in ("site", "ed"):
        step("certificate", "verify", tls / (name + ".crt"), "--roots", authority.root_path)
        public = step("crypto", "key", "public", tls / (name + ".key"))
        assert public == openssl("x509", "-in", tls / (name + ".crt"), "-noout", "-pubkey")

    # What step renews in place keeps key, names and provisioner, so nothing is due afterwards.
    before = see(tls / "site.crt").serial
    step("ca", "renew", tls / "site.crt", tls / "site.key", "--force", where=True)
    assert judge(authority, tls / "site.crt", tls / "site.key").serial != before
    with traffic(authority) as asked:
        again = play(tasks, module_defaults=defaults).expect_ok()["make"]
    assert (again.changed, asked) == (False, [])
    assert again["results"][0]["certificate"]["serial"] == see(tls / "site.crt").serial


def test_step_takes_our_tokens(play, step, authority, tmp_path):
    """`step ca certificate`, and `step ca sign` with a token that is bound to the request."""
    names = ["www.example.com", "10.0.0.8"]
    make_request(step, tmp_path / "own", *names)
    lookup = "lookup('privatepki.stepca.stepca_token', 'www.example.com', sans=names%s)"
    facts = {"free": "{{ %s }}" % lookup % "", "bound": "{{ %s }}" % lookup % ", csr=request"}
    variables = {**as_variables(enrolment(authority)), "names": names}
    variables["request"] = (tmp_path / "own.csr").read_text(encoding="ascii")
    run = play([{"name": "tokens", "ansible.builtin.set_fact": facts}], variables=variables).expect_ok()
    tokens = run["tokens"]["ansible_facts"]

    step("ca", "sign", tmp_path / "own.csr", tmp_path / "own.crt", "--token", tokens["bound"], where=True)
    step(
        "ca",
        "certificate",
        "www.example.com",
        tmp_path / "new.crt",
        tmp_path / "new.key",
        "--token",
        tokens["free"],
        where=True,
    )
    for name in ("own", "new"):
        assert openssl_verify(authority, tmp_path / (name + ".crt")) == ""
        assert see(tmp_path / (name + ".crt")).names == ["DNS:www.example.com", "IP Address:10.0.0.8"]


def test_its_tokens_serve_us(play, host, step, authority, tmp_path):
    """`step ca token` makes a token, bound to a request or not; it serves once, and for its own names alone."""
    chosen = authority.provisioner("p384")
    password, key = tmp_path / "password", tmp_path / "key.jwe"
    password.write_text(chosen.password, encoding="utf-8")
    key.write_text(chosen.jwe, encoding="utf-8")

    def token(*words):
        who = ["--provisioner", chosen.name, "--key", key, "--password-file", password]
        return step("ca", "token", *words, *who, where=True).strip()

    tls = host.path("/etc/tls")
    make_request(step, tls / "bound", "bound.example.com")
    one = token("one.example.com", "--san", "one.example.com", "--san", "10.0.0.9")
    bound = token("bound.example.com", "--cnf-file", tls / "bound.csr")
    brought = {"certificate_path": TLS + "bound.crt", "csr_path": TLS + "bound.csr", "sans": ["bound.example.com"]}
    tasks = [
        {"name": "other names", CERTIFICATE: pair("two", token=one), "ignore_errors": True},
        {"name": "one", CERTIFICATE: pair("one", sans=["10.0.0.9", "one.example.com"], token=one)},
        {"name": "steady", CERTIFICATE: pair("one", sans=["one.example.com", "10.0.0.9"], token=one)},
        {
            "name": "spent",
            CERTIFICATE: pair("other", sans=["one.example.com", "10.0.0.9"], token=one),
            "ignore_errors": True,
        },
        {"name": "bound", CERTIFICATE: {**brought, "token": bound}},
        {"name": "rubbish", CERTIFICATE: pair("two", token="not a token"), "ignore_errors": True},
    ]
    defaults = {GROUP: {**connection(authority), "provisioner": "nobody", "provisioner_password": "not looked at"}}
    run = play(tasks, module_defaults=defaults).expect_ok()
    outcomes = {name: run[name]["outcome"] for name in ("one", "steady", "bound")}
    assert outcomes == {"one": "issued", "steady": "none", "bound": "issued"}
    assert run["one"]["certificate"]["provisioner"] == run["bound"]["certificate"]["provisioner"] == "p384"
    run.expect_failure("token (from the task) is for", "dns:two.example.com", name="other names")
    run.expect_failure("refused the token (401 Unauthorized)", "used before", name="spent")
    run.expect_failure("token", name="rubbish")
    assert judge(authority, tls / "one.crt", tls / "one.key").names == ["DNS:one.example.com", "IP Address:10.0.0.9"]
    assert openssl_verify(authority, tls / "bound.crt") == "" and not (tls / "other.key").exists()
