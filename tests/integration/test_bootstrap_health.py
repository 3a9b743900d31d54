# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""stepca_bootstrap and stepca_health: which roots a host holds, and whether the CA answers, asked from here or there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from tests.integration.judging import judge, mode, openssl, owner, round_trips, somebody, traffic, tree
from tests.integration.support import as_variables, connection, enrolment
from tools.authority import Provisioner
from tools.pki import make_root
from tools.ports import free_port

BOOTSTRAP = "privatepki.stepca.stepca_bootstrap"
HEALTH = "privatepki.stepca.stepca_health"
GROUP = "group/privatepki.stepca.stepca"
CERTIFICATE = "privatepki.stepca.stepca_certificate"
ROOT = "{{ host_root }}/etc/roots.pem"


def bootstrap(name, ignore_errors=False, **options):
    """A task that has the host hold the roots in a file, unless other places are given."""
    if not {"root_path", "step_path"} & set(options):
        options["root_path"] = ROOT
    return {"name": name, BOOTSTRAP: options, "ignore_errors": ignore_errors}


def roots_in(path):
    """SHA-256 of each certificate in a file, as openssl has it."""
    blocks = path.read_text(encoding="ascii").split("-----END CERTIFICATE-----\n")
    assert blocks.pop() == "", "nothing but certificates"
    found = []
    for block in blocks:
        done = subprocess.run(
            ["openssl", "x509", "-noout", "-fingerprint", "-sha256"],
            input=block + "-----END CERTIFICATE-----\n",
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(done.stdout.partition("=")[2].replace(":", "").strip().lower())
    return found


def test_roots_in_a_file_from_nothing_to_absent(play, host, authority):
    """Fetched once and proved by the fingerprint; later nothing is asked; what differs is told and repaired."""
    defaults = {GROUP: connection(authority)}
    path = host.path("/etc/roots.pem")
    tasks = [bootstrap("roots")]
    before = tree(host.path("/etc"))
    with traffic(authority) as asked:
        dry = play(tasks, module_defaults=defaults, check=True, diff=True).expect_ok()["roots"]
    assert dry.changed and dry["reasons"] == ["%s is missing" % path]
    assert (asked.posts, tree(host.path("/etc"))) == ([], before)

    user, group = somebody()
    owned = {"mode": "0640", "owner": user, "group": group}
    tasks = [
        bootstrap("roots"),
        bootstrap("again"),
        {"name": "loosen", "ansible.builtin.file": {"path": ROOT, "mode": "0666"}},
        bootstrap("mode"),
        bootstrap("owned", **owned, root_path=ROOT),
        bootstrap("owned again", **owned, root_path=ROOT),
    ]
    with traffic(authority) as asked:
        run = play(tasks, module_defaults=defaults, diff=True).expect_ok()
    assert asked == [("GET", "/1.0/root/" + authority.fingerprint)]
    assert [run[task["name"]].changed for task in tasks] == [True, False, True, True, True, False]
    assert "mode of %s is 0666, expected 0644" % path in run["mode"]["reasons"][0]
    assert path.read_text(encoding="ascii") == authority.root_pem
    assert (mode(path), owner(path)) == ("0640", (user, group))
    (described,) = run["again"]["roots"]
    assert (described["fingerprint"], described["subject"]) == (authority.fingerprint, "CN=privatepki.stepca test root")
    end = openssl("x509", "-in", path, "-noout", "-enddate").partition("=")[2].strip()
    assert datetime.strptime(end, "%b %d %H:%M:%S %Y %Z") == datetime.strptime(
        described["not_after"], "%Y-%m-%dT%H:%M:%SZ"
    )
    assert authority.fingerprint in str(run["roots"]["diff"]["after"]) and run["roots"]["system_trust_path"] is None
    _absent(play, host, authority, path)


def _absent(play, host, authority, path):
    """In one run: pretended, done, nothing left to do; in check mode, and without a word to the CA."""
    gone = {"state": "absent", "root_path": ROOT}
    tasks = [
        {**bootstrap("pretended", **gone), "check_mode": True},
        {"name": "still there", "ansible.builtin.stat": {"path": ROOT}},
        bootstrap("gone", **gone),
        bootstrap("gone again", **gone),
    ]
    with traffic(authority) as asked:
        run = play(tasks, module_defaults={GROUP: connection(authority)}, diff=True, verbosity=3).expect_ok()
    assert [run[name].changed for name in ("pretended", "gone", "gone again")] == [True, True, False]
    assert run["still there"]["stat"]["exists"] and not path.exists()
    assert run["gone"]["reasons"] == ["%s is there, expected none" % path] and asked == []
    assert round_trips(run) == 4


def test_a_root_is_rotated(play, host, new_authority):
    """Old and new side by side, then the new alone; one that the CA does not offer is an error here, a warning there."""
    new = make_root("The new root")
    authority = new_authority(Provisioner("ansible", rounds=100_000), extra_roots=[new])
    both = [authority.fingerprint, new.fingerprint]
    unknown = "ab" * 32
    site = {
        "certificate_path": "{{ host_root }}/etc/tls/site.crt",
        "key_path": "{{ host_root }}/etc/tls/site.key",
        "sans": ["site.example.com"],
    }
    path, copy = host.path("/etc/roots.pem"), host.path("/etc/copy.pem")
    tasks = [
        bootstrap("old", ca_fingerprint=both[0]),
        bootstrap("both", ca_fingerprint=[one.upper() for one in both]),
        bootstrap("both again", ca_fingerprint=",".join(reversed(both))),
        {
            "name": "copy",
            "ansible.builtin.copy": {"src": ROOT, "dest": "{{ host_root }}/etc/copy.pem", "remote_src": True},
        },
        bootstrap("unknown", True, ca_fingerprint=[*both, unknown]),
        {"name": "certificate", CERTIFICATE: {**site, "ca_fingerprint": [*both, unknown]}},
        {"name": "certificate again", CERTIFICATE: {**site, "ca_fingerprint": both}},
        bootstrap("new", ca_fingerprint=both[1]),
    ]
    run = play(tasks, module_defaults={GROUP: enrolment(authority)}).expect_ok()
    changed = ("old", "both", "copy", "certificate", "new")
    assert {task.task for task in run.changed} == set(changed)
    assert sorted(roots_in(copy)) == sorted(both) and roots_in(path) == [new.fingerprint]
    assert [one["subject"] for one in run["both"]["roots"]] == ["CN=privatepki.stepca test root", "CN=The new root"]
    run.expect_failure("does not offer the root", unknown, "Nothing was changed", name="unknown")
    assert unknown in " ".join(run["certificate"]["warnings"])
    assert judge(authority, host.path("/etc/tls/site.crt"), host.path("/etc/tls/site.key"))


def test_roots_of_somebody_else(play, host, authority, policy_authority):
    """Refused until it is said that this is meant; wrong fingerprints and missing folders say so too."""
    path = host.path("/etc/roots.pem")
    path.write_text(policy_authority.root_pem, encoding="ascii")
    folder = "{{ host_root }}/nowhere/roots.pem"
    tasks = [
        bootstrap("foreign", True),
        bootstrap("foreign absent", True, state="absent"),
        bootstrap("fingerprint", True, ca_fingerprint="12" * 32, root_path="{{ host_root }}/etc/other.pem"),
        bootstrap("short", True, ca_fingerprint="1234"),
        bootstrap("nothing named", True, root_path=""),
        bootstrap("unknown option", True, path=ROOT),
        bootstrap("no folder", True, root_path=folder),
        {**bootstrap("no folder yet", root_path=folder), "check_mode": True},
    ]
    words = {
        "foreign": [policy_authority.fingerprint, "accept_new_root"],
        "foreign absent": [policy_authority.fingerprint],
        "fingerprint": ["12" * 32, authority.url],
        "short": ["ca_fingerprint", "64 hex digits"],
        "nothing named": ["root_path"],
        "unknown option": ["path"],
        "no folder": ["The folder", "nowhere", "is missing"],
    }
    run = play(tasks, module_defaults={GROUP: connection(authority)}).expect_ok()
    for name, expected in words.items():
        run.expect_failure(*expected, name=name)
    assert run["no folder yet"].changed
    assert roots_in(path) == [policy_authority.fingerprint] and not host.path("/nowhere").exists()
    assert not host.path("/etc/other.pem").exists()
    run = play([bootstrap("meant", accept_new_root=True)], module_defaults={GROUP: connection(authority)}).expect_ok()
    assert run["meant"].changed and roots_in(path) == [authority.fingerprint]


STEP_PATH = "{{ host_root }}/home/.step"


@pytest.fixture
def step(lab, host):
    """What `step` prints on the host, where nothing but STEPPATH tells it of a CA."""

    def run(*words):
        home = host.path("/home")
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "STEPPATH": str(home / ".step")}
        return subprocess.run([lab.step, *words], env=environment, capture_output=True, text=True, check=True).stdout

    return run


def test_where_the_step_client_looks(play, host, step, authority):
    """`step` works with nothing but STEPPATH; what else stands in its defaults stays."""
    defaults = host.path("/home/.step/config/defaults.json")
    defaults.parent.mkdir(parents=True)
    defaults.write_text('{"ca-url": "https://old.internal", "provisioner": "ansible"}', encoding="utf-8")
    tasks = [
        {**bootstrap("pretended", step_path=STEP_PATH), "check_mode": True},
        bootstrap("step", step_path=STEP_PATH),
        bootstrap("again", step_path=STEP_PATH),
    ]
    with traffic(authority) as asked:
        run = play(tasks, module_defaults={GROUP: connection(authority)}).expect_ok()
    assert [run[name].changed for name in ("pretended", "step", "again")] == [True, True, False]
    assert [path for _method, path in asked] == ["/1.0/root/" + authority.fingerprint] * 2
    assert "https://old.internal, expected " + authority.url in " ".join(run["step"]["reasons"])
    content = json.loads(defaults.read_text(encoding="utf-8"))
    assert (content["provisioner"], content["fingerprint"]) == ("ansible", authority.fingerprint)
    assert (step("ca", "health"), step("ca", "roots").strip()) == ("ok\n", authority.root_pem.strip())

    gone = {"state": "absent", "step_path": STEP_PATH}
    run = play(
        [bootstrap("gone", **gone), bootstrap("again", **gone)], module_defaults={GROUP: connection(authority)}
    ).expect_ok()
    assert (run["gone"].changed, run["again"].changed) == (True, False)
    assert not host.path("/home/.step/certs/root_ca.crt").exists()
    assert json.loads(defaults.read_text(encoding="utf-8")) == {"provisioner": "ansible"}


def test_the_step_client_while_a_root_is_rotated(play, host, step, new_authority, policy_authority):
    """It works in each stage, also when the CA goes on under the new root, and another CA's task does not disturb it."""
    authority, new = new_authority(), make_root("The new root")
    old = authority.root
    path = host.path("/home/.step/certs/root_ca.crt")

    def trust(*roots):
        task = bootstrap("step", step_path=STEP_PATH, ca_fingerprint=[root.fingerprint for root in roots])
        foreign = bootstrap("foreign", True, step_path=STEP_PATH, **connection(policy_authority))
        run = play(
            [task, {**task, "name": "again"}, foreign], module_defaults={GROUP: connection(authority)}
        ).expect_ok()
        assert (run["step"].changed, run["again"].changed) == (True, False)
        run.expect_failure(str(path), roots[-1].fingerprint, "accept_new_root", name="foreign")
        assert roots_in(path) == [root.fingerprint for root in roots]
        defaults = json.loads(host.path("/home/.step/config/defaults.json").read_text(encoding="utf-8"))
        assert (defaults["ca-url"], defaults["fingerprint"]) == (authority.url, roots[0].fingerprint)
        assert step("ca", "health") == "ok\n"
        return [root.pem in step("ca", "roots") for root in (old, new)]

    assert trust(old) == [True, False]
    authority.extra_roots = [new]
    authority.restart()
    assert trust(old, new) == [True, True]
    authority.rotate_root(new)
    assert step("ca", "health") == "ok\n"
    assert trust(new) == [True, True], "the CA itself still hands out both"

    meant = bootstrap("meant", step_path=STEP_PATH, accept_new_root=True)
    run = play([meant], module_defaults={GROUP: connection(policy_authority)}).expect_ok()
    assert run["meant"].changed and roots_in(path) == [policy_authority.fingerprint]
    assert (step("ca", "health"), step("ca", "roots").strip()) == ("ok\n", policy_authority.root_pem.strip())


def test_who_asks(play, host, hosts, authority):
    """The controller asks with requests, a host with the standard library: the CA's log tells them apart."""
    every = [host, hosts[-1]]
    tasks = [
        bootstrap("roots", request_from="host"),
        {"name": "host", HEALTH: {"request_from": "host"}},
        {"name": "controller", HEALTH: {}},
        bootstrap(
            "given", root_path="{{ host_root }}/etc/given.pem", ca_fingerprint="", ca_root_path=str(authority.root_path)
        ),
    ]
    begun = len(authority.requests())
    run = play(tasks, hosts=every, variables=as_variables(connection(authority))).expect_ok()
    seen = authority.requests()[begun:]
    agents = [(line["path"], "requests" in line["user-agent"]) for line in seen]
    assert agents.count(("/1.0/root/" + authority.fingerprint, False)) >= len(every)
    assert agents.count(("/health", False)) == agents.count(("/health", True)) == len(every)
    assert {asker for path, asker in agents if path.startswith("/1.0/root/")} <= {False, True}
    for one in every:
        assert roots_in(one.path("/etc/roots.pem")) == roots_in(one.path("/etc/given.pem")) == [authority.fingerprint]
        for name in ("host", "controller"):
            result = run.task(name, one.name)
            assert (result["status"], result["url"], result.changed) == ("ok", authority.url, False)


def test_what_health_tells(play, host, authority, policy_authority, tmp_path):
    """Which URL answered, clocks, versions; every URL's reason where none does. The same from a host, and in check mode."""
    dead = "https://localhost:%d" % free_port()
    trust = {"ca_fingerprint": authority.fingerprint}
    tasks = [
        {"name": "well", HEALTH: {"ca_url": [dead, authority.url], "timeout": "5s", **trust}},
        {"name": "dead", HEALTH: {"ca_url": dead, "retries": 1, **trust}},
        {
            "name": "foreign",
            HEALTH: {"ca_url": [dead, policy_authority.url], "retries": 0, "ca_root": authority.root_pem},
        },
        {"name": "untrusted", HEALTH: {"ca_url": authority.url}},
        {"name": "nowhere", HEALTH: trust},
        {"name": "word", HEALTH: {"ca_url": authority.url, "wait": "soon", **trust}},
    ]
    from_host = [
        {"name": one["name"] + " from host", HEALTH: {**one[HEALTH], "request_from": "host"}} for one in tasks[:3]
    ]
    every = [{**one, "ignore_errors": True} for one in [*tasks, *from_host]]
    before = tree(host.path("/etc"))
    run = play(every, check=True).expect_ok()
    assert not run.changed and tree(host.path("/etc")) == before
    for suffix in ("", " from host"):
        well = run["well" + suffix]
        assert (well["status"], well["url"], abs(well["clock_skew"]) <= 1) == ("ok", authority.url, True)
        assert datetime.strptime(well["tls_not_after"], "%Y-%m-%dT%H:%M:%SZ") > datetime.now()
        assert well["version"] == json.loads(authority.get("/version")[1])["version"]
        assert [one["url"] for one in well["tried"]][-1] == authority.url and well["tried"][0]["url"] == dead
        assert "refused" in well["tried"][0]["outcome"] and well["tried"][-1]["outcome"] == "ok"
        run.expect_failure(dead, "refused", "tried 2 times", name="dead" + suffix)
        run.expect_failure(dead, policy_authority.url, "refused", "is not trusted", name="foreign" + suffix)
    run.expect_failure("ca_fingerprint is required", name="untrusted")
    run.expect_failure("ca_url is required", name="nowhere")
    run.expect_failure("wait", "soon", name="word")


@pytest.mark.parametrize("asker", ["host", "controller"])
def test_a_name_that_the_authority_does_not_have(play, authority, asker):
    """TLS is there, only the name is not: the error says which names are, or that ca_name is what to look at."""
    options = {**connection(authority), "ca_name": "ca.internal", "retries": 0, "request_from": asker}
    failure = play([{"name": "name", HEALTH: options}]).expect_failure(
        authority.url, "not trusted", "ca.internal", "ca_name"
    )
    assert "no TLS there" not in failure.msg


@pytest.mark.one_core
def test_waiting_for_an_authority_that_starts_later(play, new_authority):
    """It is asked in vain once, starts then, and is found well."""
    authority = new_authority()
    authority.stop()
    with socket.create_server(("127.0.0.1", authority.port)) as listener, ThreadPoolExecutor() as pool:
        listener.settimeout(60)
        task = {"name": "wait", HEALTH: {**connection(authority, retries=0), "wait": "60s"}}
        running = pool.submit(play, [task, {"name": "then", HEALTH: connection(authority)}])
        listener.accept()[0].close()
        listener.close()
        authority.start()
        run = running.result().expect_ok()
    assert run["wait"]["status"] == run["then"]["status"] == "ok" and authority.requests()

    authority.stop()
    hopeless = {"name": "hopeless", HEALTH: {**connection(authority, retries=0), "wait": "1s"}}
    failed = play([hopeless]).expect_failure(authority.url, "refused")
    assert failed.task == "hopeless"


@pytest.mark.both_cores
@pytest.mark.parametrize("request_from", ["controller", "host"])
def test_a_failure_is_judged_by_the_task(play, authority, request_from):
    """until, retries, failed_when and ignore_errors work as with every module, wherever the failure came from."""
    nobody = {**connection(authority), "ca_url": "https://localhost:1", "retries": 0, "request_from": request_from}
    run = play(
        [
            {
                "name": "again",
                HEALTH: nobody,
                "register": "again",
                "until": "again is success",
                "retries": 2,
                "delay": 0,
                "ignore_errors": True,
            },
            {"name": "judged", HEALTH: nobody, "register": "judged", "failed_when": "'refused' not in judged.msg"},
            {"name": "said", HEALTH: {**nobody, "no_such_option": 1}, "failed_when": False},
        ]
    ).expect_ok()
    assert run["again"].failed and run["again"]["attempts"] == 2
    assert not run["judged"].failed and "Connection refused" in run["judged"].msg
    assert "no_such_option: no such option." in run["said"].msg
