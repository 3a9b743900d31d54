# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The playbook doctor: what is wrong is said, with what to do, and nothing is issued for it."""

from __future__ import annotations

import pytest

from tests.integration.judging import tree
from tests.integration.pairs import pair
from tests.integration.renewing import tasks
from tests.integration.support import as_variables, connection, enrolment
from tests.integration.test_expiry_report import unreachable
from tools.authority import Provisioner
from tools.ports import free_port

pytestmark = pytest.mark.one_core


def posted(authority):
    """What the CA was asked to do, not only to tell."""
    return [line for line in authority.requests() if line["method"] != "GET"]


def has(lines, check, *words):
    """Whether one of these lines is about this and has all the words."""
    return any(line[2:].split(" ")[0] == check and all(word in line for word in words) for line in lines)


def test_all_is_well(play, hosts, doctor, authority):
    """Every part is looked at, for all hosts at once; the run succeeds, the CA has nothing to do, no host has changed."""
    play(tasks(authority, [pair("site")]), hosts=hosts).expect_ok()
    before, asked = [tree(host.root) for host in hosts], len(posted(authority))
    run, lines = doctor(
        hosts, **as_variables(enrolment(authority)), stepca_renewer="none", stepca_certificates=[pair("site")]
    )
    run.expect_ok()
    assert lines["✘"] == [] and run.changed == []
    assert has(lines["✔"], "controller", "ansible-core", "requests", "PyJWT", "[all hosts]")
    assert has(lines["✔"], "pin", "privatepki.stepca test root", authority.fingerprint[:16])
    assert has(lines["✔"], "url", authority.url, "is well") and has(lines["✔"], "clock") and has(lines["✔"], "ca_name")
    assert has(lines["✔"], "provisioner", '"ansible" (JWK')
    assert has(lines["✔"], "host", "cryptography", "Python") and has(lines["✔"], "host", "clock is that")
    assert has(lines["✔"], "route", "reaches " + authority.url) and has(lines["✔"], "lifetime", "as shipped: 5m to 24h")
    assert has(lines["–"], "timer", "stepca_renewer: none") and has(lines["–"], "policy", "403")
    assert before == [tree(host.root) for host in hosts] and len(posted(authority)) == asked


WRONG = {
    "no pin": (lambda ca, new: {"stepca_ca_fingerprint": ""}, ("pin", "ca_fingerprint is required")),
    "pin of another": (lambda ca, new: {"stepca_ca_fingerprint": "0" * 64}, ("url", "no root with the SHA-256")),
    "no url": (lambda ca, new: {"stepca_ca_url": ""}, ("url", "stepca_ca_url")),
    "nobody there": (lambda ca, new: {"stepca_ca_url": "https://localhost:%d" % free_port()}, ("url", "refused")),
    "another name": (lambda ca, new: {"stepca_ca_name": "ca.elsewhere.example"}, ("url", "ca.elsewhere.example")),
    "password": (lambda ca, new: {"stepca_provisioner_password": "wrong horse"}, ("provisioner", "password")),
    "provisioner": (lambda ca, new: {"stepca_provisioner": "ansibel"}, ("provisioner", '"ansible" (JWK)')),
    "another's key": (lambda ca, new: {"stepca_provisioner_key": new.jwk}, ("provisioner", "key")),
    "lifetime": (
        lambda ca, new: {"stepca_provisioner": "short", "stepca_certificates": [pair("a", not_after="90d")]},
        ("lifetime", "a.crt asks for 90d", "maxTLSCertDuration 1h"),
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_what_is_wrong(host, doctor, new_authority, name):
    """One thing is wrong: its line says so, the run fails, nothing is issued, and no password is shown."""
    make, words = WRONG[name]
    short = Provisioner("short", rounds=100_000, claims={"maxTLSCertDuration": "1h", "defaultTLSCertDuration": "1h"})
    ca = new_authority(Provisioner("ansible", rounds=100_000), short)
    variables = {**as_variables(enrolment(ca, "short" if name == "lifetime" else "ansible")), "stepca_renewer": "none"}
    run, lines = doctor([host], **{**variables, **make(ca, Provisioner("new", rounds=1000)), "stepca_retries": 0})
    assert run.rc != 0 and has(lines["✘"], *words), lines
    assert "wrong horse" not in run.output and posted(ca) == []


def test_hosts_differ(play, new_hosts, doctor, authority):
    """Of each host what is its own: away, without a renewer, with one of another version, without its library."""
    good, old, bare, poor = new_hosts("good", "old", "bare", "poor")
    play(tasks(authority, [pair("site")]), hosts=[good, old]).expect_ok()
    play(tasks(authority, [pair("rare", renew_before="5%")], interval="6h"), hosts=[old])
    renewer = old.path("/usr/renewer.pyz")
    renewer.write_bytes(renewer.read_bytes() + b"\n")
    poor.variables["ansible_python_interpreter"] = "/nowhere/python3"
    settings = {**as_variables(connection(authority)), "stepca_certificates": [pair("site")]}
    run, lines = doctor([good, old, bare, poor, unreachable("gone")], **settings)
    assert run.rc != 0
    assert has(lines["✘"], "host", "refused", "[gone]") and has(lines["✘"], "host", "/nowhere/python3", "[poor]")
    assert has(lines["✘"], "renewer", "another version", "[old]") and has(lines["✘"], "renewer", "no renewer", "[bare]")
    assert has(lines["✘"], "interval", "rare.crt is due only", "every 6h", "[old]")
    assert has(lines["✔"], "renewer", "of this version", "[good]") and has(lines["✘"], "timer", "[good, old]")
    assert has(lines["–"], "provisioner", "no option says who vouches", "[all hosts]")


def test_nobody_and_nothing(doctor):
    """No host reachable and no CA: a table all the same."""
    run, lines = doctor(
        [unreachable("one"), unreachable("two")],
        stepca_ca_fingerprint="1" * 64,
        stepca_ca_url="https://localhost:%d" % free_port(),
        stepca_retries=0,
    )
    assert run.rc != 0 and has(lines["✘"], "url", "[all hosts]") and has(lines["✘"], "host", "refused", "[two]")
