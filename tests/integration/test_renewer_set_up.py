# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""stepca_renewer: what it makes, what it takes away, what it refuses, and what it foretells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.judging import make_request, mode, traffic, tree
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, pair
from tests.integration.renewing import PATHS, RENEWER, Renewer, set_up, tasks
from tests.integration.support import connection, enrolment
from tests.integration.test_renewal import SERVER_ONLY
from tools.authority import Provisioner
from tools.ports import free_port


def test_do_again_and_absent(play, host, authority):
    """Check mode foretells it, again changes nothing, a diff shows it; absent takes all of it away, and nothing else."""
    metrics = "{{ host_root }}/srv/stepca.prom"
    host.path("/srv").mkdir()
    host.path("/usr/lib").mkdir(parents=True)
    paths = {"path": "{{ host_root }}/usr/lib/stepca/renewer.pyz", "config_path": "{{ host_root }}/etc/stepca/renew.d"}
    entries = [pair("a"), pair("b", key_type="rsa-2048")]
    enrol = {"name": "enrol", CERTIFICATE: {**enrolment(authority), "certificates": entries}}
    play([enrol]).expect_ok()
    kept = [host.root / "etc" / "tls", host.root / "srv"]
    before = {**tree(host.root / "etc"), **tree(host.root / "usr")}
    present = {**connection(authority), **paths, "entries": entries, "metrics_path": metrics}
    # module_defaults of stepca_certificate are those of the entries, too.
    defaults = {GROUP: {"timeout": "9s"}, CERTIFICATE: {"renew_before": "40%", "mode": "0640"}}
    task = [{"name": "set up", RENEWER: present}]
    dry = play(task, check=True, diff=True, module_defaults=defaults).expect_ok()["set up"]
    assert {**tree(host.root / "etc"), **tree(host.root / "usr")} == before
    done = play(task, diff=True, module_defaults=defaults).expect_ok()["set up"]
    assert dry.changed and done.changed and dry["reasons"] == done["reasons"] and len(done["reasons"]) == 3
    assert dry["diff"] == done["diff"] and done["path"] == str(host.path("/usr/lib/stepca/renewer.pyz"))
    again = play(task, diff=True, module_defaults=defaults).expect_ok()["set up"]
    assert (again.changed, again["reasons"], again["diff"]) == (False, [], [])
    assert again["folders"] == [str(host.path("/etc/tls")), str(host.path("/srv"))]
    (path,) = [one for one in again["configurations"] if "/a.crt-" in one]
    text = Path(path).read_text(encoding="ascii")
    content = json.loads(text)
    assert content["certificate"]["renew_before"] == "40%" and content["ca"]["timeout"] == 9.0
    assert mode(host.path("/usr/lib/stepca/renewer.pyz")) == "0755"

    # One of them leaves; what was changed by hand is repaired, and shown.
    gone = {**present, "entries": [entries[0], {"certificate_path": entries[1]["certificate_path"], "state": "absent"}]}
    Path(path).write_text(text + "\n", encoding="ascii")
    run = play([{"name": "one", RENEWER: gone}], diff=True, module_defaults=defaults).expect_ok()["one"]
    assert run["configurations"] == [path] and len(run["reasons"]) == 2
    assert [one["after"] for one in run["diff"]] == [text, ""]

    host.path("/srv/stepca.prom").write_text("", encoding="ascii")
    absent = {**connection(authority), **paths, "state": "absent", "metrics_path": metrics}
    task = [{"name": "away", RENEWER: absent}]
    there = tree(host.root / "etc")
    dry = play(task, check=True).expect_ok()["away"]
    assert tree(host.root / "etc") == there
    done = play(task).expect_ok()["away"]
    assert dry["reasons"] == done["reasons"] and len(done["reasons"]) == 3 and done.changed
    assert {name for name in {**tree(host.root / "etc"), **tree(host.root / "usr")} if "stepca" in name} == {
        name for name in before if "stepca" in name
    }
    assert all(folder.exists() for folder in kept) and not host.path("/srv/stepca.prom").exists()
    assert not play(task).expect_ok()["away"].changed


REFUSED = {
    "time": ([pair("a", not_after="2040-01-01T00:00:00Z")], ["not_after: 2040-01-01T00:00:00Z is a time"]),
    "request": ([pair("a", csr_path=TLS + "a.csr")], ["csr_path: the renewer has no key of its own"]),
    "password": (
        [pair("a", pkcs12_path=TLS + "a.p12", pkcs12_password="hidden")],
        ["pkcs12_password: the renewer would have to keep it", "Give pkcs12_password_file"],
    ),
    "unknown": ([pair("a", run_afer=["true"])], ["run_afer", "run_after"]),
    "twice": ([pair("a"), pair("a")], ["each file needs a path of its own"]),
    "service": ([pair("a", reload=["--now"])], ["reload: '--now' is no service"]),
    "port": ([pair("a", served="https")], ["served: 'https' is no port. Write 443"]),
    "name": ([pair("a", sans=["a..b"])], ["a..b"]),
}


@pytest.mark.one_core
def test_what_can_mean_nothing(play, host, authority):
    """Refused by name, before the host is touched; whatever is secret stays unsaid."""
    told = [
        {"name": name, RENEWER: {**connection(authority), **PATHS, "entries": entries}, "ignore_errors": True}
        for name, (entries, _words) in REFUSED.items()
    ]
    nowhere = {"ca_fingerprint": authority.fingerprint}
    told.append({"name": "crooked", RENEWER: {**connection(authority), "interval": "7m"}, "ignore_errors": True})
    told.append({"name": "no ca", RENEWER: {**nowhere, **PATHS, "entries": [pair("a")]}, "ignore_errors": True})
    before = tree(host.root / "etc")
    run = play(told).expect_ok()
    for name, (_entries, words) in REFUSED.items():
        run.expect_failure(*words, name=name)
    run.expect_failure("interval: 7m does not divide", "such as 5m, 15m, 1h", name="crooked")
    run.expect_failure("ca_url is required", name="no ca")
    assert tree(host.root / "etc") == before and not host.path("/usr").exists() and "hidden" not in run.output


def test_what_the_host_lacks(play, host, authority):
    """A folder for the metrics, a command that can be run: said by name, each time again."""
    hook = host.path("/hook")
    hook.write_text("#!/bin/sh\n", encoding="ascii")
    entry = pair("site")
    metrics = {"metrics_path": "{{ host_root }}/missing/stepca.prom"}
    plays = [
        {"name": "enrol", CERTIFICATE: {**enrolment(authority), **entry}},
        {"name": "metrics", RENEWER: {**connection(authority), **PATHS, **metrics}, "ignore_errors": True},
    ]
    hooked = {**connection(authority), **PATHS, "entries": [{**entry, "run_after": [str(hook)]}]}
    plays += [{"name": name, RENEWER: hooked, "ignore_errors": True} for name in ("first", "second")]
    run = play(plays).expect_ok()
    run.expect_failure("metrics_path: the folder %s is missing" % host.path("/missing"), name="metrics")
    for name in ("first", "second"):
        run.expect_failure("run_after: %s is no program that this host can run." % hook, name=name)
    assert not list(host.path("/etc/renew.d").glob("*"))
    hook.chmod(0o755)
    play([{"name": "third", RENEWER: hooked}]).expect_ok()


@pytest.mark.oldest_core
def test_what_could_never_be_renewed(play, host, new_authority):
    """Foretold when it is set up, by name; the others are set up all the same. Who renews by plays is only warned."""
    authority = new_authority(
        Provisioner("ansible", rounds=100_000),
        Provisioner("server", rounds=100_000, template=SERVER_ONLY),
        Provisioner("never", rounds=100_000, claims={"disableRenewal": True}),
    )
    tls = host.path("/etc/tls")
    make_request(tls, "brought", "brought.example.com")
    timed = pair("timed", not_after="{{ lookup('pipe', 'date -u -d +2hours +%Y-%m-%dT%H:%M:%SZ') }}")
    brought = {**pair("brought"), "csr_path": TLS + "brought.csr"}
    makers = {"ansible": [pair("good"), brought], "server": [pair("server")], "never": [pair("never")]}
    enrol = [
        {"name": name, CERTIFICATE: {**enrolment(authority, name), "certificates": entries}}
        for name, entries in makers.items()
    ]
    entries = [pair("server"), pair("never"), pair("good")]
    strict = {"name": "strict", RENEWER: {**connection(authority), **PATHS, "entries": entries}, "ignore_errors": True}
    lenient = {**strict[RENEWER], "unrenewable": "warn", "entries": [*entries, brought, timed]}
    play(enrol).expect_ok()
    for _turn in (1, 2):
        run = play([strict])
        run.expect_failure(
            "%s/server.crt will not be renewed: it is not for clients (extended key usage without clientAuth)" % tls,
            "%s/never.crt will not be renewed: the provisioner 'never' does not allow it (disableRenewal)." % tls,
            name="strict",
        )
        renewer = Renewer(host)
        assert list(renewer.status()) == ["good.crt"]
    warned = play([{"name": "lenient", RENEWER: lenient}]).expect_ok()["lenient"]
    texts = " ".join(warned["warnings"])
    assert all(word in texts for word in ("server.crt will not", "never.crt will not", "csr_path: the ", "is a time"))
    rows = renewer.status(code=1)  # one of them is not there yet
    assert {name: row["state"] for name, row in rows.items()} == {
        **dict.fromkeys(["good.crt", "server.crt", "never.crt", "brought.crt"], "ok"),
        "timed.crt": "failing",
    }
    lines = renewer("renew", code=1).splitlines()
    assert (
        len(lines) == 1
        and "timed.crt is missing" in lines[0]
        and "renew %s by a play" % (tls / "timed.crt") in lines[0]
    )


def test_a_host_without_a_route(play, host, authority):
    """The CA is on a port that this host does not reach; found out when it is set up, not when it is late."""
    entry = pair("site")
    play([{"name": "enrol", CERTIFICATE: {**enrolment(authority), **entry}}]).expect_ok()
    away = "https://localhost:%d" % free_port()
    closed = {**connection(authority), **PATHS, "ca_url": away, "retries": 0, "entries": [entry]}
    run = play([{"name": "closed", RENEWER: closed}])
    run.expect_failure("site.crt will not be renewed, because this host does not reach the CA", away, name="closed")
    run = play([{"name": "warned", RENEWER: {**closed, "unrenewable": "warn"}}]).expect_ok()
    assert "does not reach the CA" in " ".join(run["warned"]["warnings"])


def test_a_steady_run_asks_the_ca_nothing(play, host, authority):
    entry = pair("site")
    set_up(play, host, authority, [entry])
    with traffic(authority) as asked:
        run = play(tasks(authority, [entry])).expect_ok()
    assert asked == [] and run.changed == []


def test_a_certificate_that_could_end_between_two_looks(play, host, authority):
    """Before anything is sent where the options show it; at the end, with everything in place, where the certificate does."""
    shown = {**pair("site"), "not_after": "10m", "renew_before": "50%"}
    with traffic(authority) as asked:
        run = play([{"name": "checked", RENEWER: {**PATHS, "state": "checked", "entries": [shown, pair("other")]}}])
        words = "%s/site.crt is due only 5m before it ends, and the renewer runs every 15m" % host.path("/etc/tls")
        failure = run.expect_failure(words, "renew_before", "stepca_renewer_interval", name="checked")
    assert asked == [] and not host.path("/etc/renew.d").exists() and "other" not in failure.msg
    chosen = {**pair("site"), "renew_before": "5%"}  # of the day that the CA gives
    for _turn in range(2):
        run = play(tasks(authority, [chosen], interval="6h"))
        run.expect_failure("is due only 1h1", "runs every 6h", name="renewer")
        assert (
            Renewer(host)
            .status(code=1)["site.crt"]["problem"]
            .startswith("%s/site.crt is due only" % host.path("/etc/tls"))
        )
    run = play(tasks(authority, [chosen], interval="1h")).expect_ok()
    assert "there may be no second" in " ".join(run["renewer"]["warnings"])
    assert Renewer(host).status()["site.crt"]["state"] == "ok"
    play(tasks(authority, [chosen], interval="6h", unrenewable="warn")).expect_ok()
    assert Renewer(host).status()["site.crt"]["state"] == "ok", "a play renews it, and knows when"
