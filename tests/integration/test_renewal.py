# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What is merely due is renewed, by the cheapest way that the CA allows; what cannot be renewed is issued anew, and why."""

from __future__ import annotations

import http.client
import json
import ssl
from datetime import datetime, timedelta, timezone

import pytest

from tests.integration.doubles import Double, tls_context
from tests.integration.drifting import Case, prove
from tests.integration.judging import judge, leftovers, make_request, see, traffic, tree
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, everything, pair
from tests.integration.support import connection, enrolment
from tools.authority import Provisioner
from tools.commands import wait_until
from tools.pki import make_intermediate

#: Ten minutes of life, due after fifteen seconds where that is asked for, and not for long where it is not.
LIFE = {"not_after": "10m", "renew_before": "1m"}
DUE = {"not_after": "10m", "renew_before": "9m45s"}


def both_ways(test):
    """Asked by the controller, and by the host itself."""
    return pytest.mark.crosswise(pytest.mark.parametrize("request_from", ["controller", "host"])(test))


# An extension that is critical: one that step-ca does not know, or nobody.
CRITICAL = """{
  "subject": {{ toJson .Subject }},
  "sans": {{ toJson .SANs }},
  "keyUsage": ["digitalSignature"],
  "extKeyUsage": ["serverAuth", "clientAuth"],
  "extensions": [{"id": "%s", "critical": true, "value": "%s"}]
}"""
SERVER_ONLY = """{
  "subject": {{ toJson .Subject }},
  "sans": {{ toJson .SANs }},
  "keyUsage": ["digitalSignature"],
  "extKeyUsage": ["serverAuth"]
}"""


def until_due(tls, *names):
    """Wait for the instant at which the youngest of these is due."""
    youngest = max(see(tls / (name + ".crt")).not_after for name in names)
    moment = youngest - timedelta(minutes=9, seconds=44)
    wait_until(lambda: datetime.now(timezone.utc) > moment, 60, "the certificates to be due")


def record(tls, name):
    return json.loads((tls / (".%s.crt.stepca.json" % name)).read_text(encoding="utf-8"))


@both_ways
def test_due(play, host, authority, request_from):
    """Every kind of key is renewed and stays, with all that is made of it; other policies, and a request that was brought."""
    tls = host.path("/etc/tls")
    make_request(tls, "brought", "brought.example.com")
    why = "key_policy is always, and a renewal by way of the controller would keep the key"
    always = {"controller": ("issued", [why]), "host": ("rekeyed", [])}[request_from]
    kinds = ["ec-p256", "ec-p521", "rsa-2048", "ed25519"]
    cases = [Case(kind, ["it is due since "], "renewed", {"key_type": kind}) for kind in kinds]
    cases += [
        Case("all", ["it is due since "], "renewed", everything("all")),
        Case("keep", ["it is due since "], "renewed", {"key_policy": "keep"}),
        Case("always", ["it is due since ", *always[1]], always[0], {"key_policy": "always"}),
        Case(
            "brought",
            ["it is due since ", "the request {tls}/brought.csr is signed again"],
            made={"csr_path": TLS + "brought.csr"},
            fresh_key=False,
        ),
    ]
    names = [case.name for case in cases]
    was = {}

    def wait():
        until_due(tls, *names)
        was.update({name: record(tls, name) for name in names})

    options = enrolment(authority, request_from=request_from)
    told = prove(play, host, authority, cases, {**options, **LIFE}, {**options, **DUE}, {**options, **LIFE}, wait)
    for case in cases:
        before, after = told.before[case.name], told.after[case.name]
        assert (after.seconds, after.names) == (before.seconds, before.names) and after.not_after > before.not_after
        now = record(tls, case.name)
        assert (now["issued_at"] == was[case.name]["issued_at"]) == (case.outcome != "issued")
        assert now["given"]["serial"] == after.serial and now["asked"]["not_after"] == "10m"
    whole = (tls / "all.crt").read_text(encoding="ascii")
    assert whole == "".join((tls / ("all" + one)).read_text(encoding="ascii") for one in (".leaf", ".chain"))
    assert (tls / "all.pem").read_text(encoding="ascii").endswith(whole)

    # Renewed or not, it was first issued when it was: before that instant is before it.
    first = datetime.strptime(was["ed25519"]["issued_at"], "%Y-%m-%dT%H:%M:%S%z")
    entry = {**pair("ed25519", key_type="ed25519"), **options, **LIFE}
    tasks = [
        {"name": str(seconds), CERTIFICATE: {**entry, "issued_since": (first + timedelta(seconds=seconds)).isoformat()}}
        for seconds in (0, 1)
    ]
    run = play(tasks).expect_ok()
    assert (run["0"]["outcome"], run["1"]["outcome"]) == ("none", "issued")
    assert "it was first issued on " + was["ed25519"]["issued_at"] in run["1"]["reasons"][0]


@both_ways
def test_after_the_intermediate_was_rotated(play, host, new_authority, request_from):
    """The chain of the file leads the CA from its old intermediate to its new one, and all chain files follow."""
    authority = new_authority(Provisioner("ansible", rounds=100_000))
    tls = host.path("/etc/tls")

    def rotate():
        authority.rotate_intermediate()
        until_due(tls, "site")

    options = enrolment(authority, request_from=request_from)
    case = Case("site", ["it is due since "], "renewed", everything("site"))
    prove(play, host, authority, [case], {**options, **LIFE}, {**options, **DUE}, {**options, **LIFE}, rotate)
    assert (tls / "site.chain").read_text(encoding="ascii") == authority.intermediates[1].pem


@pytest.mark.one_core
def test_what_nobody_would_accept_is_not_installed(play, host, new_authority):
    """A critical extension that nobody knows, by a template."""
    authority = new_authority(Provisioner("ansible", rounds=100_000, template=CRITICAL % ("1.2.3.4", "BQA=")))
    tasks = [
        {"name": way, CERTIFICATE: {**pair("site"), **enrolment(authority, request_from=way)}, "ignore_errors": True}
        for way in ("controller", "host")
    ]
    run = play(tasks).expect_ok()
    for way in ("controller", "host"):
        run.expect_failure("whose extension 1.2.3.4 is critical, and nobody knows it", "A template", name=way)
    assert not host.path("/etc/tls/site.crt").exists()


@both_ways
def test_what_may_not_be_renewed(play, host, new_authority, request_from):
    """Issued anew, with the reason, by a provisioner that need not be the one of before; expired ones where the CA allows."""
    short = {"minTLSCertDuration": "1s"}
    authority = new_authority(
        Provisioner("ansible", rounds=100_000, claims=short),
        Provisioner("server", rounds=100_000, template=SERVER_ONLY),
        Provisioner("odd", rounds=100_000, template=CRITICAL % ("2.5.29.36", "MAOAAQA=")),
        Provisioner("never", rounds=100_000, claims={"disableRenewal": True}),
        Provisioner("gone", rounds=100_000),
        Provisioner("lenient", rounds=100_000, claims={**short, "allowRenewalAfterExpiry": True}),
        backdate="5m",
    )
    tls = host.path("/etc/tls")
    # Each way that is tried shows in the CA's log; with an expired certificate the connection does not come about.
    refused = ["/1.0/renew"] * (2 if request_from == "host" else 1) + ["/1.0/sign"]
    anew = "it is issued anew instead of renewed: "
    bare = [
        anew + "the CA refused to renew it (401 Unauthorized): it may have been revoked, its provisioner may be gone"
    ]
    ten, ages = {"not_after": "10m"}, {"renew_before": "9m45s"}
    brief = {"not_after": "40s", "renew_before": "1s"}

    def by(name, **others):
        return enrolment(authority, name, request_from=request_from, **others)

    cases = [
        Case(
            "server",
            [anew + "it is not for clients (extended key usage without clientAuth)"],
            "issued",
            ten,
            maker=by("server"),
        ),
        Case(
            "odd",
            [anew + "it has the critical extension 2.5.29.36, which step-ca does not know"],
            "issued",
            ten,
            maker=by("odd"),
        ),
        Case("never", bare, "issued", ten, maker=by("never"), rung="renewed", posts=refused),
        Case("gone", bare, "issued", ten, maker=by("gone"), rung="renewed", posts=refused),
        Case("revoked", bare, "issued", ten, rung="renewed", posts=refused),
        Case(
            "backward",
            [anew + "A renewal would end on ", ", not later than now ("],
            made={"not_before": "4s", **ten},
            rung="renewed",
            posts=["/1.0/renew", "/1.0/sign"],
        ),
        Case(
            "expired",
            ["it expired on ", anew + "the CA refused to renew it (401 Unauthorized: ", "certificate expired on "],
            made={"not_after": "2s"},
            asked={"not_after": None},
            rung="renewed",
            posts=["/1.0/renew", "/1.0/sign"],
        ),
        Case("lenient", ["it expired on "], "renewed", brief, maker=by("lenient")),
    ]

    def meanwhile():
        serial = {"certificate_path": TLS + "revoked.crt", **enrolment(authority)}
        play([{"name": "revoke", "privatepki.stepca.stepca_revoke": serial}]).expect_ok()
        del authority.provisioners["gone"]
        authority.restart()
        until_due(tls, "server", "odd", "never", "gone", "revoked", "backward")
        end = see(tls / "lenient.crt").not_after
        wait_until(lambda: datetime.now(timezone.utc) > end, 60, "the end of the shortest life")

    # No name of a provisioner: which one issued is then no matter.
    options = connection(authority, provisioner_key=authority.provisioner("ansible").jwk, request_from=request_from)
    life = {**options, "renew_before": "1s"}
    prove(play, host, authority, cases, life, {**options, **ages}, life, meanwhile)


@pytest.mark.one_core
def test_a_front_that_ends_tls(play, host, authority, tmp_path):
    """No client certificate reaches the CA through it: the host goes on with its proof."""
    tls = host.path("/etc/tls")

    def forward(method, path):
        asked = front.asked[-1]
        context = ssl.create_default_context(cadata=authority.root_pem)
        to_ca = http.client.HTTPSConnection("localhost", authority.port, timeout=10, context=context)
        words = {name: asked.headers[name] for name in ("Authorization", "Content-Type") if name in asked.headers}
        to_ca.request(method, path, asked.body or None, words)
        answer = to_ca.getresponse()
        return answer.status, {"Content-Type": "application/json"}, answer.read()

    with Double(forward, tls_context(tmp_path, authority.root)) as front:
        options = {**enrolment(authority, request_from="host"), "ca_url": front.https_url}
        case = Case("site", ["it is due since "], "renewed", posts=["/1.0/renew"] * 2)
        wait = {"meanwhile": lambda: until_due(tls, "site")}
        prove(play, host, authority, [case], {**options, **LIFE}, {**options, **DUE}, {**options, **LIFE}, **wait)
    ways = ["Authorization" in one.headers for one in front.asked if one.path == "/1.0/renew"]
    assert ways == [False, True], "the client certificate first, then the proof"


@both_ways
def test_without_a_provisioner(play, host, new_authority, request_from):
    """Who only renews needs none; where nothing but another issue can help, the task says so and leaves all as it is."""
    authority = new_authority(
        Provisioner("ansible", rounds=100_000), Provisioner("never", rounds=100_000, claims={"disableRenewal": True})
    )
    tls = host.path("/etc/tls")
    never = Case("never", maker=enrolment(authority, "never", **LIFE))
    play([{"name": "make", CERTIFICATE: {**never.maker, "certificates": [never.options(False)]}}]).expect_ok()
    alone = connection(authority, request_from=request_from)
    case = Case("site", ["it is due since "], "renewed", maker=enrolment(authority, **LIFE))
    wait = {"meanwhile": lambda: until_due(tls, "site", "never")}
    prove(play, host, authority, [case], alone, {**alone, **DUE}, {**alone, **LIFE}, **wait)

    tasks = [
        {"name": "names", CERTIFICATE: {**pair("site", sans=["other.example.com"]), **alone, **LIFE}},
        {"name": "refused", CERTIFICATE: {**pair("never"), **alone, **DUE}},
        {"name": "nothing", CERTIFICATE: {**pair("new"), **alone, **LIFE}},
    ]
    before = tree(tls)
    run = play([{**task, "ignore_errors": True} for task in tasks]).expect_ok()
    words = "no option says who vouches for it. Give provisioner and provisioner_password"
    run.expect_failure(words, "expected dns:other.example.com", name="names")
    run.expect_failure(words, "the CA refused to renew it (401 Unauthorized)", name="refused")
    run.expect_failure(words, "new.crt is missing", name="nothing")
    assert (tree(tls), leftovers(host)) == (before, [])


@pytest.mark.oldest_core
def test_no_way_to_a_later_end(play, host, new_authority):
    """A renewal that would be due at once is not installed where another issue is better; if that is no better, none is."""
    authority = new_authority(Provisioner("ansible", rounds=100_000), backdate="5s")
    tls = host.path("/etc/tls")
    options = enrolment(authority)
    # It began four seconds after it was issued, and a renewal begins five seconds before: shorter by nine.
    begins = {"not_before": "4s"}
    words = ["it is issued anew instead of renewed: The certificate that came would be due at once"]
    case = Case("site", words, made=begins, rung="renewed", posts=["/1.0/renew", "/1.0/sign"])
    due = {"not_after": "10m", "renew_before": "9m56s"}

    def wait():
        moment = see(tls / "site.crt").not_before + timedelta(seconds=7)
        wait_until(lambda: datetime.now(timezone.utc) > moment, 60, "a renewal that would end later")

    prove(play, host, authority, [case], {**options, **LIFE}, {**options, **due}, {**options, **LIFE}, wait)

    authority.intermediates.append(make_intermediate(authority.root, lifetime=timedelta(minutes=2)))
    authority.restart()
    until_due(tls, "site")
    before = tree(tls)
    with traffic(authority) as sent:
        run = play([{"name": "due", CERTIFICATE: {**pair("site", **begins), **options, **DUE}, "ignore_errors": True}])
    run.expect_failure("would be due at once", "it ends in 1m", "9m45s are left", "Lower renew_before", name="due")
    assert [path for _method, path in sent.posts] == ["/1.0/renew", "/1.0/sign"]
    assert (tree(tls), leftovers(host)) == (before, [])


@both_ways
def test_a_cap_below_what_the_authority_gives(play, host, authority, request_from):
    """It tells what it gives only by its answer: signed, thrown away, signed once more with the cap; the host gets one."""
    tls = host.path("/etc/tls")
    task = [{"name": "site", CERTIFICATE: pair("site", max_lifetime="2h")}]
    defaults = {GROUP: enrolment(authority, request_from=request_from)}
    with traffic(authority) as sent:
        done = play(task, module_defaults=defaults).expect_ok()["site"]
    assert (done["outcome"], sent.posts) == ("issued", [("POST", "/1.0/sign")] * 2)
    seen = judge(authority, tls / "site.crt", tls / "site.key")
    assert 2 * 3600 <= seen.seconds <= 2 * 3600 + 60 and seen.serial == done["certificate"]["serial"]
    until = seen.not_after - timedelta(minutes=119, seconds=50)
    wait_until(lambda: datetime.now(timezone.utc) > until, 60, "the certificate to be due")
    due = {"name": "due", CERTIFICATE: pair("site", max_lifetime="2h", renew_before="119m50s")}
    with traffic(authority) as sent:
        run = play([*task, due], module_defaults=defaults).expect_ok()
    assert (run["site"]["outcome"], run["due"]["outcome"]) == ("none", "renewed")
    assert sent.posts == [("POST", "/1.0/renew")] and see(tls / "site.crt").seconds == seen.seconds
