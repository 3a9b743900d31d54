# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The lookup stepca_token: its tokens are judged by the real CA, which signs or revokes with them, or refuses."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time

import pytest

from tests.integration.judging import judge, make_request, openssl, post, see, traffic
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, pair
from tests.integration.support import as_variables, connection, enrolment


def lookup(*terms, **options):
    """The expression that makes tokens; options are written as expressions themselves."""
    words = ["'%s'" % term for term in terms] + ["%s=%s" % item for item in options.items()]
    return "lookup('privatepki.stepca.stepca_token', %s)" % ", ".join(words)


def claims(token):
    """What a token says, unverified."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_enrolling_with_a_token_and_no_provisioner(play, host, authority):
    """As the documentation has it: the task holds a token, the provisioner's options are the lookup's own."""
    chosen = authority.provisioner("ansible")
    own = {
        "ca_url": "'%s'" % authority.url,
        "ca_fingerprint": "'%s'" % authority.fingerprint,
        "provisioner": "'ansible'",
        "provisioner_password": "secret",
    }
    several = "['several.example.com', '10.0.0.7', 'spiffe://example.com/x', 'bücher.example']"
    tasks = [
        {"name": "one", CERTIFICATE: pair("one", token="{{ %s }}" % lookup("one.example.com", **own))},
        {
            "name": "several",
            CERTIFICATE: pair(
                "several",
                sans=["several.example.com", "10.0.0.7", "spiffe://example.com/x", "bücher.example"],
                common_name="Free text",
                token="{{ %s }}" % lookup("Free text", sans=several, **own),
            ),
        },
        {"name": "again", CERTIFICATE: pair("one", token="{{ %s }}" % lookup("one.example.com", **own))},
        {
            "name": "other names",
            CERTIFICATE: pair("other", token="{{ %s }}" % lookup("one.example.com", **own)),
            "ignore_errors": True,
        },
        {
            "name": "two certificates",
            CERTIFICATE: {
                "certificates": [pair("a", sans=["x.example.com"]), pair("b", sans=["x.example.com"])],
                "token": "{{ %s }}" % lookup("x.example.com", **own),
            },
            "ignore_errors": True,
        },
    ]
    with traffic(authority) as asked:
        run = play(
            tasks, module_defaults={GROUP: connection(authority)}, variables={"secret": chosen.password}
        ).expect_ok()
    assert (run["one"]["outcome"], run["several"]["outcome"], run["again"]["outcome"]) == ("issued", "issued", "none")
    run.expect_failure("token", "dns:one.example.com", "dns:other.example.com", name="other names")
    run.expect_failure("A token serves one certificate, and 2 are due", name="two certificates")
    assert asked.posts == [("POST", "/1.0/sign")] * 2
    tls = host.path("/etc/tls")
    assert judge(authority, tls / "one.crt", tls / "one.key").provisioner_is("ansible")
    seen = judge(authority, tls / "several.crt", tls / "several.key")
    assert seen.common_name == "Free text"
    assert seen.names == [
        "DNS:several.example.com",
        "DNS:xn--bcher-kva.example",
        "IP Address:10.0.0.7",
        "URI:spiffe://example.com/x",
    ]
    assert {path.name for path in tls.glob("*.key")} == {"one.key", "several.key"}


@pytest.mark.one_core
def test_a_token_bound_to_a_request(play, host, authority, tmp_path):
    """The real CA refuses a bound token for another request of the same names, and takes it for its own."""
    names = ("bound.example.com", "www.example.com")
    own, other = make_request(tmp_path, "own", *names), make_request(tmp_path, "other", *names)
    host.path("/etc/tls/brought.csr").write_text(own, encoding="ascii")
    bound = lookup(names[0], sans="['bound.example.com', 'www.example.com']", csr="request")
    free = lookup(names[0], sans="'bound.example.com,www.example.com'")
    tasks = [
        {"name": "tokens", "ansible.builtin.set_fact": {"bound": "{{ %s }}" % bound, "free": "{{ %s }}" % free}},
        {"name": "again", "ansible.builtin.set_fact": {"again": "{{ %s }}" % bound}},
        {
            "name": "module",
            CERTIFICATE: {
                "certificate_path": TLS + "brought.crt",
                "csr_path": TLS + "brought.csr",
                "sans": list(names),
                "token": "{{ %s }}" % bound,
            },
        },
        {
            "name": "own key",
            CERTIFICATE: pair("own", sans=list(names), token="{{ %s }}" % bound),
            "ignore_errors": True,
        },
        {
            "name": "rubbish",
            "ansible.builtin.debug": {"msg": "{{ %s }}" % lookup("x", csr="'no pem'")},
            "ignore_errors": True,
        },
    ]
    variables = {**as_variables(enrolment(authority)), "request": own}
    run = play(tasks, variables=variables).expect_ok()
    facts = {**run["tokens"]["ansible_facts"], **run["again"]["ansible_facts"]}
    assert "cnf" in claims(facts["bound"]) and "cnf" not in claims(facts["free"])
    assert claims(facts["bound"])["sans"] == list(names)

    status, text = post(authority, "/1.0/sign", {"csr": other, "ott": facts["bound"]})
    assert status == 403 and "certificate request fingerprint does not match" in text
    assert post(authority, "/1.0/sign", {"csr": own, "ott": facts["again"]})[0] == 201
    assert post(authority, "/1.0/sign", {"csr": other, "ott": facts["free"]})[0] == 201
    assert (
        run["module"]["outcome"] == "issued"
        and see(host.path("/etc/tls/brought.crt")).names[0] == "DNS:bound.example.com"
    )
    run.expect_failure("does not sign this (403 Forbidden", "fingerprint does not match", name="own key")
    run.expect_failure("stepca_token", "one PEM block", name="rubbish")
    assert not host.path("/etc/tls/own.key").exists()


@pytest.mark.one_core
def test_tokens_to_revoke(play, lab, authority, tmp_path):
    """The CA revokes with them: over its API, and through the step client; each serves once."""
    variables = as_variables(enrolment(authority))
    tasks = [{"name": "make", CERTIFICATE: {"certificates": [pair("first"), pair("second")]}}]
    run = play(tasks, variables=variables).expect_ok()
    serials = [one["certificate"]["serial"] for one in run["make"]["results"]]
    tokens = lookup(*serials, purpose="'revoke'", wantlist="true")
    bad = lookup("first.example.com", purpose="'revoke'")
    tasks = [
        {"name": "tokens", "ansible.builtin.set_fact": {"tokens": "{{ %s }}" % tokens}},
        {"name": "no serial", "ansible.builtin.debug": {"msg": "{{ %s }}" % bad}, "ignore_errors": True},
    ]
    run = play(tasks, variables=variables).expect_ok()
    run.expect_failure("is no serial number", name="no serial")
    first, second = run["tokens"]["ansible_facts"]["tokens"]
    assert [claims(first)["sub"], claims(second)["sub"]] == serials and "sans" not in claims(first)

    body = {"serial": serials[0], "ott": first, "reasonCode": 4, "passive": True}
    assert post(authority, "/1.0/revoke", body) == (200, '{"status":"ok"}\n')
    assert post(authority, "/1.0/revoke", {**body, "serial": serials[1]})[0] in (401, 403)
    revoke = [
        lab.step,
        "ca",
        "revoke",
        serials[1],
        "--token",
        second,
        "--ca-url",
        authority.url,
        "--root",
        authority.root_path,
    ]
    environment = {**os.environ, "STEPPATH": str(tmp_path / "step")}
    subprocess.run(revoke, env=environment, check=True, capture_output=True)
    status, content = authority.get("/1.0/crl")
    (tmp_path / "crl").write_bytes(content)
    text = openssl("crl", "-inform", "DER", "-in", tmp_path / "crl", "-noout", "-text")
    assert status == 200 and all("%X" % int(serial) in text for serial in serials)


@pytest.mark.both_cores
def test_terms_times_and_sources(play, authority):
    """A token for each term; a life of one's own; options by keyword, variable and environment, in this order."""
    name = "a.example.com"
    expressions = {
        "several": lookup(name, "B.example.com.", "2001:DB8::1", wantlist="true"),
        "short": lookup(name, token_lifetime="'90s'"),
        "keyword": lookup(name, provisioner="'long'", provisioner_password="of_long"),
        "urls": lookup(name, ca_url="['https://ca1.internal', 'https://[::1]:8443', url]"),
        "named": lookup(name, ca_name="'ca.internal'", provisioner="'ansible'", provisioner_key="key"),
        "text": "'x' ~ " + lookup(name, "b.example.com"),
    }
    facts = {fact: "{{ %s }}" % expression for fact, expression in expressions.items()}
    env = {"STEPCA_PROVISIONER": "p384", "STEPCA_PROVISIONER_PASSWORD": authority.provisioner("p384").password}
    variables = {**as_variables(connection(authority)), "of_long": authority.provisioner("long").password}
    variables.update(key=json.dumps(authority.provisioner("ansible").jwk), url=authority.url)
    variables.update(stepca_request_from="host", stepca_retries=1)
    begun = time.time()
    with traffic(authority) as asked:
        run = play([{"name": "tokens", "ansible.builtin.set_fact": facts}], variables=variables, env=env).expect_ok()
    assert asked.posts == []
    made = run["tokens"]["ansible_facts"]
    several = [claims(token) for token in made["several"]]
    names = [name, "b.example.com", "2001:db8::1"]
    assert [(one["sub"], one["sans"]) for one in several] == [(one, [one]) for one in names]
    assert {one["iss"] for one in several} == {"p384"} and len({one["jti"] for one in several}) == 3
    assert all(240 < one["exp"] - begun < 330 and "iat" not in one for one in several)
    assert 60 < claims(made["short"])["exp"] - begun < 120
    assert claims(made["keyword"])["iss"] == "long"
    hosts = ("ca1.internal", "[::1]:8443", authority.url.partition("//")[2])
    assert claims(made["urls"])["aud"] == ["https://%s/1.0/sign" % host for host in hosts]
    assert (claims(made["named"])["aud"], claims(made["named"])["iss"]) == (["https://ca.internal/1.0/sign"], "ansible")
    assert made["text"].startswith("x") and made["text"].count(",") == 1


@pytest.mark.both_cores
def test_errors_of_the_lookup(play, authority):
    """One sentence each, that names the plugin and the option, and neither password nor key."""
    expressions = {
        "unknown option": (lookup("x.example.com", name="'y'"), ["name: no such option"]),
        "purpose": (lookup("x.example.com", purpose="'login'"), ["purpose", "login"]),
        "several with sans": (lookup("x.example.com", "y.example.com", sans="['x']"), ["single term"]),
        "bad name": (lookup("host:8443"), ["host:8443"]),
        "password": (
            lookup("x.example.com", provisioner_password="'mistaken'"),
            ["does not open", "the lookup's own option"],
        ),
        "provisioner": (
            lookup("x.example.com", provisioner="'nobody'"),
            ['no provisioner "nobody"', '"ansible" (JWK)'],
        ),
        "lifetime": (lookup("x.example.com", token_lifetime="'0s'"), ["token_lifetime"]),
        "no url": (lookup("x.example.com", ca_url="'http://ca.internal'"), ["ca_url", "https"]),
    }
    tasks = [
        {"name": name, "ansible.builtin.debug": {"msg": "{{ %s }}" % expression}, "ignore_errors": True}
        for name, (expression, _words) in expressions.items()
    ]
    run = play(tasks, variables=as_variables(enrolment(authority))).expect_ok()
    for name, (_expression, words) in expressions.items():
        failure = run.expect_failure("privatepki.stepca.stepca_token", *words, name=name)
        assert authority.provisioner("ansible").password not in failure.msg
        assert name != "password" or "mistaken" not in failure.msg


def test_a_file_that_is_not_there(play, authority):
    """The error names the option, its source and the file."""
    expression = lookup("x.example.com", provisioner_key_path="'nowhere.json'")
    task = {"name": "file", "ansible.builtin.debug": {"msg": "{{ %s }}" % expression}, "ignore_errors": True}
    run = play([task], variables=as_variables(connection(authority))).expect_ok()
    run.expect_failure("stepca_token: provisioner_key_path (from the lookup's own option)", "nowhere.json", name="file")
    assert "None" not in run["file"].msg
