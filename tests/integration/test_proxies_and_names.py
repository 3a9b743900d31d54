# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""How a CA is named and what stands before it: capitals, key ids that are no words, a proxy with limits of its own."""

from __future__ import annotations

import contextlib

import pytest

from tests.integration.faults import FaultProxy, believed_context, head
from tests.integration.judging import judge, wait_until_aged
from tests.integration.pairs import CERTIFICATE, pair
from tests.integration.support import as_variables, connection, enrolment
from tests.integration.test_doctor import has
from tools.authority import Provisioner

pytestmark = pytest.mark.one_core

#: What nginx 1.22 says of a header that is larger than its buffers, of 8 KiB as it comes.
PAGE = b"<html>\r\n<head><title>400 Request Header Or Cookie Too Large</title></head>\r\n<body>nginx/1.22.1</body>\r\n</html>"
LIMIT = 8 * 1024
#: Due when it is older than a moment.
DUE = {"renew_before": "23h59m58s"}


@pytest.fixture(name="shouting")
def fixture_shouting(new_authority):
    """A CA whose configuration spells its names in capitals, and a provisioner whose key id is an address."""
    odd = Provisioner("odd", rounds=1000, key_id="https://kms.example/keys/1 2%")
    return new_authority(Provisioner("ansible", rounds=1000), odd, dns_names=["LocalHost", "127.0.0.2"])


@pytest.mark.parametrize("request_from", ["controller", "host"])
@pytest.mark.parametrize("spelled", ["localhost", "LOCALHOST", "LocalHost"])
def test_capitals(play, host, shouting, spelled, request_from):
    """step-ca compares each letter with its configuration; who writes the address otherwise need not know."""
    url = "https://%s:%d" % (spelled, shouting.port)
    options = {**pair("site"), **enrolment(shouting), "ca_url": url, "request_from": request_from}
    play([{"name": "enrol", CERTIFICATE: options}]).expect_ok()
    tls = host.path("/etc/tls")
    serial = judge(shouting, tls / "site.crt", tls / "site.key").serial
    lookup = "{{ lookup('privatepki.stepca.stepca_token', 'b.example.com', **given) }}"
    given = {**enrolment(shouting), "ca_url": url}
    tokened = {**pair("b"), **connection(shouting), "ca_url": url, "token": lookup, "request_from": request_from}
    revoking = {**given, "serial": serial}
    tasks = [
        {"name": "token", CERTIFICATE: tokened, "vars": {"given": given}},
        {"name": "revoke", "privatepki.stepca.stepca_revoke": revoking},
    ]
    play(tasks).expect_ok()


def test_capitals_that_nobody_could_see(play, host, shouting, doctor):
    """A proof is made by a host that never saw the CA's certificate: the play helps itself, and says what to set."""
    url = "https://localhost:%d" % shouting.port
    options = {**pair("site", **DUE), **enrolment(shouting), "ca_url": url}
    play([{"name": "enrol", CERTIFICATE: options}]).expect_ok()
    wait_until_aged(host.path("/etc/tls/site.crt"), 3)
    result = play([{"name": "again", CERTIFICATE: options}]).expect_ok()["again"]
    said = " ".join(result["reasons"])
    assert (
        result["outcome"] == "issued"
        and "The proof is for localhost, but the CA knows itself as 127.0.0.2, LocalHost" in said
    )
    assert "Set ca_name to LocalHost, spelled like this" in said
    _run, lines = doctor([host], **as_variables({**enrolment(shouting), "ca_url": url}), stepca_renewer="none")
    assert has(lines["✘"], "ca_name", "the CA knows itself as 127.0.0.2, LocalHost", "Set ca_name to LocalHost")
    wait_until_aged(host.path("/etc/tls/site.crt"), 3)
    named = {**options, "ca_name": "LocalHost"}
    assert play([{"name": "again", CERTIFICATE: named}]).expect_ok()["again"]["outcome"] == "renewed"
    _run, lines = doctor(
        [host], **as_variables({**enrolment(shouting), "ca_url": url, "ca_name": "LocalHost"}), stepca_renewer="none"
    )
    assert has(lines["✔"], "ca_name", "https://LocalHost") and not lines["✘"]


def test_a_key_id_that_is_an_address(play, host, shouting):
    """It has a slash, a space and a percent sign, by which step-ca finds no key."""
    options = {**pair("site"), **enrolment(shouting, "odd"), "ca_url": "https://LocalHost:%d" % shouting.port}
    result = play([{"name": "enrol", CERTIFICATE: options}]).expect_ok()["enrol"]
    assert result["certificate"]["provisioner_key_id"] == "https://kms.example/keys/1 2%"


@pytest.fixture(name="proxy")
def fixture_proxy(authority, tmp_path):
    """A proxy that takes no header beyond 8 KiB."""

    def fault(handler, proxy, ask):
        if any(len(name) + len(value) + 2 > LIMIT for name, value in handler.headers.items()):
            head(handler, 400, "text/html", len(PAGE), Server="nginx/1.22.1")
            handler.wfile.write(PAGE)
            return
        served = ask()
        head(handler, served.status, served.content_type, len(served.content))
        handler.wfile.write(served.content)

    with contextlib.ExitStack() as running:
        yield running.enter_context(FaultProxy(authority, believed_context(authority, tmp_path), "POST", fault))


@pytest.mark.parametrize("request_from", ["controller", "host"])
def test_a_proof_that_is_larger_than_a_proxy_takes(play, host, authority, proxy, request_from):
    """It is issued anew, since somebody vouches; why it was not renewed tells the size, the proxy, and what to set."""
    names = ["a-name-of-some-length-%d.example.com" % number for number in range(100)]
    options = {**pair("site", sans=names, **DUE), **enrolment(authority), "ca_url": proxy.url}
    play([{"name": "enrol", CERTIFICATE: options}]).expect_ok()
    wait_until_aged(host.path("/etc/tls/site.crt"), 3)
    options["request_from"] = request_from
    result = play([{"name": "again", CERTIFICATE: options}]).expect_ok()["again"]
    said = " ".join(result["reasons"])
    assert result["outcome"] == "issued", said
    for words in ("Request Header Or Cookie Too Large", "nginx", "large_client_header_buffers", "Authorization, of "):
        assert words in said


@pytest.mark.parametrize("request_from", ["controller", "host"])
def test_1500_names(play, host, authority, request_from):
    """Enrolled, renewed and looked at; of more than TLS can carry nothing is asked."""
    names = ["one-of-many-hosts-%d.example.com" % number for number in range(1500)]
    options = {**pair("site", sans=names, **DUE), **enrolment(authority, request_from=request_from)}
    first = play([{"name": "enrol", CERTIFICATE: options}]).expect_ok()["enrol"]
    assert first["certificate"]["sans"] == ["dns:" + name for name in names]
    wait_until_aged(host.path("/etc/tls/site.crt"), 3)
    info = {"certificate_path": options["certificate_path"]}
    tasks = [
        {"name": "again", CERTIFICATE: options},
        {"name": "fewer", CERTIFICATE: {**options, "sans": names[:-1]}, "check_mode": True},
        {"name": "look", "privatepki.stepca.stepca_certificate_info": {**info, **connection(authority)}},
        {"name": "too many", CERTIFICATE: {**options, "sans": [name * 2 for name in names]}, "ignore_errors": True},
    ]
    run = play(tasks).expect_ok()
    assert run["again"]["outcome"] == "renewed", run["again"]["reasons"]
    assert len(judge(authority, host.path("/etc/tls/site.crt"), host.path("/etc/tls/site.key")).names) == 1500
    assert len(run["look"]["certificate"]["sans"]) == 1500 and run["look"]["chain_ok"]
    assert "and 1460 more" in " ".join(run["fewer"]["reasons"])
    assert "sans: 1500 names make a certificate of more than 80 KiB" in run.expect_failure(name="too many").msg
