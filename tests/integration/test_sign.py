# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""stepca_sign: a request that comes as text becomes a certificate as text, on the controller alone."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration import lies
from tests.integration.judging import make_request, openssl, see, traffic
from tests.integration.pairs import GROUP
from tests.integration.rows import HOST, Row, check_failures, tasks
from tests.integration.support import connection, enrolment, openssl_verify
from tools.authority import Provisioner

pytestmark = pytest.mark.one_core

SIGN = "privatepki.stepca.stepca_sign"
GREETING = """{
  "subject": {{ toJson .Subject }},
  "sans": {{ toJson .SANs }},
  "keyUsage": ["digitalSignature"],
  "ocspServer": ["http://{{ .Insecure.User.greeting }}.example.com"]
}"""


@pytest.fixture(name="nowhere")
def fixture_nowhere(host):
    """The host has no Python: whatever ran there would fail."""
    host.variables["ansible_python_interpreter"] = "/nonexistent/python"
    return host


def a_request(**asked):
    """A request for site.example.com, unless asked otherwise."""
    return lies.request(ec.generate_private_key(ec.SECP256R1()), **asked)


def read(folder, result, name="signed"):
    """What openssl says of the answer's leaf, which lies in this folder then."""
    (folder / (name + ".crt")).write_text(result["certificate_pem"], encoding="ascii")
    return see(folder / (name + ".crt"))


def test_a_request_is_signed_each_time(play, nowhere, authority, tmp_path):
    """No file and no Python on the host; check mode asks nothing; the answer is what openssl would have."""
    pem = make_request(tmp_path, "switch", "switch7.example.com", "switch7")
    task = {"csr": "{{ pem }}", "sans": ["Switch7.example.com.", "switch7"], "not_after": "2h"}
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"pem": pem}}
    with traffic(authority) as asked:
        dry = play([{"name": "sign", SIGN: task}], check=True, diff=True, **settings).expect_ok()["sign"]
    assert (dry.changed, dry["certificate"], dry["certificate_pem"], dry["chain_pem"]) == (True, None, None, None)
    assert asked.posts == []

    with traffic(authority) as asked:
        run = play([{"name": "sign", SIGN: task}, {"name": "again", SIGN: task}], **settings).expect_ok()
    assert asked.posts == [("POST", "/1.0/sign")] * 2 and run["sign"].changed and run["again"].changed
    seen = read(tmp_path, run["sign"])
    assert openssl_verify(authority, tmp_path / "signed.crt") == ""
    assert seen.names == ["DNS:switch7", "DNS:switch7.example.com"] and seen.provisioner_is("ansible")
    assert 7200 <= seen.seconds <= 7200 + 61
    facts = run["sign"]["certificate"]
    assert (facts["serial"], facts["path"], facts["key_type"]) == (seen.serial, None, "ec-p256")
    assert run["sign"]["certificate_pem"].endswith(run["sign"]["chain_pem"])
    assert run["sign"]["chain_pem"] == authority.intermediates[-1].pem
    public = openssl("req", "-in", tmp_path / "switch.csr", "-noout", "-pubkey")
    assert openssl("x509", "-in", tmp_path / "signed.crt", "-noout", "-pubkey") == public
    assert read(tmp_path, run["again"]).serial != seen.serial
    assert nowhere.files() == []


def test_on_any_host(play, new_hosts, authority, tmp_path):
    """With delegate_to and run_once, with the list of a loop, with an inline vault's worth of defaults: one answer each."""
    hosts = new_hosts("one", "two")
    for host in hosts:
        host.variables["ansible_python_interpreter"] = "/nonexistent/python"
    content = [
        {"name": "once", SIGN: {"csr": "{{ pem }}", "sans": [HOST]}, "run_once": True, "register": "once"},
        {"name": "delegated", SIGN: {"csr": "{{ pem }}", "sans": [HOST]}, "delegate_to": "localhost"},
        {"name": "loop", SIGN: {"csr": "{{ item }}", "common_name": HOST}, "loop": ["{{ pem }}", "{{ pem }}"]},
        {"name": "asked by the host", SIGN: {"csr": "{{ pem }}", "sans": [HOST], "request_from": "host"}},
        {"name": "known", "ansible.builtin.debug": {"msg": "{{ once.certificate.serial }}"}},
    ]
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"pem": a_request()}}
    with traffic(authority) as asked:
        run = play(content, hosts=hosts, **settings).expect_ok()
    assert len(asked.posts) == 1 + 2 + 4 + 2
    serial = run.task("once")["certificate"]["serial"]
    assert [run.task("known", host.name).msg for host in hosts] == [serial] * 2
    serials = {one["certificate"]["serial"] for host in hosts for one in run.task("loop", host.name)["results"]}
    assert len(serials) == 4


def rows(authority):
    """Requests, names and lives that are refused before anything is sent."""
    many = ["{{ requests['%s'] }}" % name for name in requests()]
    named = dict(zip(requests(), many, strict=True))
    evil = ["names dns:%s" % lies.EVIL, "the task asks for dns:%s" % HOST]
    key = authority.provisioner("ansible")
    good = {"csr": named["good"]}

    def row(name, words, **options):
        return Row(name, words, {"sans": [HOST], **options}, "stepca_sign")

    return [
        row("other names", ["csr: ", *evil], csr=named["other names"]),
        row("one more name", ["csr: ", "names dns:%s, dns:%s" % (HOST, lies.EVIL)], csr=named["one more name"]),
        row("no names", ["csr: ", "names nothing"], csr=named["no names"]),
        row("another common name", ["csr: ", "commonName '%s'" % lies.EVIL], csr=named["another common name"]),
        row("a CA", ["csr: ", "asks to be a CA"], csr=named["a CA"]),
        row("a signer", ["csr: ", "asks to be a CA"], csr=named["a signer"]),
        row("two blocks", ["csr: ", "must be one PEM block; 2 blocks came"], csr=named["two blocks"]),
        row("a key too", ["csr: ", "must be one PEM block; 2 blocks came"], csr=named["a key too"]),
        row("wrong signature", ["csr: ", "signature of the certificate request is wrong"], csr=named["altered"]),
        row("no PEM", ["csr: ", "must be one PEM block; 0 blocks came"], csr="trust me"),
        row("large", ["csr: ", "more than 131072 are not looked at"], csr=named["large"]),
        row("none", ["csr"], csr=None),
        row("empty", ["csr: ", "must be one PEM block"], csr=""),
        row("nobody's names", ["sans or common_name is required", "never from the host"], **good, sans=None),
        row("no name", ["'a..b' is not a DNS name"], **good, sans=["a..b"]),
        row("no life", ["not_after", "'soon' is not a duration"], **good, not_after="soon"),
        row("past", ["not_after", "is past"], **good, not_after="2020-01-01T00:00:00Z"),
        row("a file's option", ["key_path: no such option"], **good, key_path="/x"),
        row("nobody vouches", ["no option says who vouches"], **good, provisioner_password=None),
        row("two keys", ["exclude each other"], **good, provisioner_key=key.public_jwk, provisioner_key_path="x"),
        row("no template data", ["template_data"], **good, template_data="words"),
        row("token of others", ["token (from the task)"], **good, token="hunter2"),
    ]


def requests():
    """By name, what is to be signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    return {
        "good": lies.request(key),
        "altered": lies.REQUESTS["wrong signature"](key),
        "large": lies.REQUESTS["five megabytes"](key)[: 140 * 1024],
        "a key too": lies.REQUESTS["a private key too"](key),
        **{
            name: lies.REQUESTS[name](key)
            for name in ("other names", "one more name", "a CA", "a signer", "two blocks")
        },
        "no names": lies.request(key, [], subject=()),
        "another common name": lies.REQUESTS["another common name"](key),
    }


def test_requests_that_are_refused(play, nowhere, authority):
    """Each with its words; nothing is asked of the CA, nothing is minted."""
    table = rows(authority)
    secret = {"requests": requests(), "password": authority.provisioner("ansible").password}
    defaults = connection(authority, provisioner="ansible", provisioner_password="{{ password }}")
    with traffic(authority) as asked:
        run = play(tasks(table, defaults), variables=secret)
    check_failures(run, table)
    assert asked == [] and nowhere.files() == []
    assert secret["password"] not in run.output


def test_what_the_authority_makes_of_it(play, nowhere, new_authority, tmp_path):
    """Template data reach the template; a life that is too long is refused in the CA's own words; so is a second use."""
    authority = new_authority(Provisioner("ansible", rounds=100_000, template=GREETING))
    own = ", ".join(
        "%s=%s" % (name, name) for name in ("ca_url", "ca_fingerprint", "provisioner", "provisioner_password")
    )
    mint = "{{ lookup('privatepki.stepca.stepca_token', '%s', csr=pem, %s) }}" % (HOST, own)
    plain = {"csr": "{{ pem }}", "sans": [HOST], "template_data": {"greeting": "hello"}}
    content = [
        {"name": "greeted", SIGN: {**plain, **enrolment(authority)}},
        {"name": "token", SIGN: {**plain, **connection(authority), "token": mint}},
        {"name": "long", SIGN: {**plain, **enrolment(authority), "not_after": "9999h"}, "ignore_errors": True},
    ]
    run = play(content, variables={"pem": a_request(), **enrolment(authority)}).expect_ok()
    assert "hello.example.com" in read(tmp_path, run["greeted"]).text
    assert read(tmp_path, run["token"]).names == ["DNS:" + HOST]
    run.expect_failure("403 Forbidden", "Ask for a life within that", name="long")
