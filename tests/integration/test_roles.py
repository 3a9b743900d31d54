# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Roles and playbook as users get them: out of the archive, by their full names."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile

import pytest

from tests.integration.judging import judge, mode, openssl, traffic, tree
from tests.integration.support import Playbooks, as_variables, connection, enrolment
from tools.tree import copied_tree

CERTIFICATE_ROLE = {"role": "privatepki.stepca.certificate"}
ISSUE = "privatepki.stepca.certificate : Give the host its certificates"
KEEP = "privatepki.stepca.certificate : Keep the results"
RENEWER = "privatepki.stepca.certificate : Notify those who use what changed, and put the renewer on the host"
TRUST_ROLE = {"role": "privatepki.stepca.trust"}
TLS = "{{ host_root }}/srv/tls/"

_installed = {}


@pytest.fixture
def installed(core, tmp_path_factory):
    """The collection, built and installed with this ansible-core's own ansible-galaxy, once for all tests."""
    if core.name not in _installed:
        folder = tmp_path_factory.mktemp("installed")
        galaxy = [core.controller.program("ansible-galaxy"), "collection"]
        clean = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "ANSIBLE_HOME": str(folder), "LC_ALL": "C.UTF-8"}
        source = copied_tree(folder / "source")
        for command in (
            [*galaxy, "build", source, "--output-path", folder],
            [*galaxy, "install", "--offline", folder / "privatepki-stepca-0.1.0.tar.gz", "-p", folder / "collections"],
        ):
            done = subprocess.run(command, env=clean, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        _installed[core.name] = folder
    return _installed[core.name]


@pytest.fixture
def play(installed, core, host, tmp_path):
    """As the fixture of this name elsewhere, with the installed collection instead of the checkout."""
    return Playbooks(tmp_path, core, installed / "collections", [host])


def entry(name, **options):
    """One certificate with a key, in a folder that the role is to make."""
    paths = {"certificate_path": "%s%s.crt" % (TLS, name), "key_path": "%skeys/%s.key" % (TLS, name)}
    return {**paths, "sans": [name + ".example.com"], **options}


def settings(authority, **others):
    """What a user writes into stepca.yml; this machine's own trust store is none of the tests' business."""
    trust = {"stepca_system_trust": False, "stepca_root_path": "{{ host_root }}/etc/stepca/roots.pem"}
    renewer = {
        "stepca_renewer": "none",
        "stepca_renewer_path": "{{ host_root }}/usr/renewer.pyz",
        "stepca_renewer_config_path": "{{ host_root }}/etc/renew.d",
    }
    return {**as_variables(enrolment(authority)), **trust, **renewer, **others}


@pytest.mark.one_core
def test_the_archive_holds_what_users_need(installed):
    """Plugins, roles, playbooks, licences; nothing of tests, tools or hidden files."""
    with tarfile.open(installed / "privatepki-stepca-0.1.0.tar.gz") as archive:
        names = {name.removeprefix("./") for name in archive.getnames()}
    tops = {name.split("/")[0] for name in names}
    assert {"plugins", "roles", "playbooks", "meta", "COPYING", "LICENSES", "MANIFEST.json", "FILES.json"} <= tops
    assert not tops & {"tests", "tools", "demo", "Makefile", "pyproject.toml"}
    assert not [name for name in names if re.search(r"(^|/)(\.|__pycache__)|\.pyc$", name)]


def test_enrol_twice(play, hosts, authority):
    """The whole way by one command, over ssh where there is one: look, do, and find nothing to do."""
    every = hosts[-1:]
    entries = {
        "stepca_certificates": [entry("{{ inventory_hostname }}", run_after=["touch", "{{ host_root }}/srv/touched"])],
        "stepca_certificates_web": [entry("web", sans=["www.example.com"], reload=["no-such-unit", {"name": "other"}])],
        "stepca_certificates_db": [entry("db", key_type="rsa-2048", not_after="5h", key_mode="0400")],
    }
    extra = settings(authority, **entries)
    before = [tree(one.path("/etc")) for one in every]
    with traffic(authority) as asked:
        run = play("privatepki.stepca.enrol", hosts=every, extra_vars=extra, check=True, diff=True).expect_ok()
    assert run.changed and asked.posts == []
    assert [tree(one.path("/etc")) for one in every] == before and not every[0].path("/srv").exists()

    with traffic(authority) as asked:
        run = play("privatepki.stepca.enrol", hosts=every, extra_vars=extra).expect_ok()
    assert len(asked.posts) == 3 * len(every)
    for one in every:
        tls = one.path("/srv/tls")
        assert judge(authority, tls / (one.name + ".crt"), tls / "keys" / (one.name + ".key")).names
        assert judge(authority, tls / "web.crt", tls / "keys/web.key").names == ["DNS:www.example.com"]
        assert judge(authority, tls / "db.crt", tls / "keys/db.key", "rsa-2048").seconds < 6 * 3600
        assert (mode(tls), mode(tls / "keys"), mode(tls / "keys/db.key")) == ("0755", "0755", "0400")
        assert openssl("x509", "-in", one.path("/etc/stepca/roots.pem")).strip() == authority.root_pem.strip()
        assert one.path("/srv/touched").exists()
        facts = run.task(KEEP, one.name)["ansible_facts"]["stepca_certificate_results"]
        names = [result["certificate_path"].rsplit("/", 1)[1] for result in facts]
        assert names == [one.name + ".crt", "db.crt", "web.crt"], "the lists in order of their names"

    before = [tree(one.root / "srv") for one in every] + [tree(one.path("/etc")) for one in every]
    with traffic(authority) as asked:
        run = play("privatepki.stepca.enrol", hosts=every, extra_vars=extra).expect_ok()
    assert (run.changed, asked) == ([], [])
    assert run.stdout.count("changed=0") == len(every)
    assert [tree(one.root / "srv") for one in every] + [tree(one.path("/etc")) for one in every] == before


def test_a_bad_entry_in_the_role(play, host, authority):
    """The others get their certificates and their commands, the role fails at its end, and the results are there."""
    entries = [
        entry("good", run_after=["touch", "{{ host_root }}/srv/good"]),
        entry("bad", sans=["bad name"], run_after=["touch", "{{ host_root }}/srv/bad"]),
    ]
    play_of_role = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "block": [{"name": "role", "ansible.builtin.include_role": {"name": "privatepki.stepca.certificate"}}],
                "rescue": [{"name": "results", "ansible.builtin.debug": {"var": "stepca_certificate_results"}}],
            }
        ],
        "vars": {"stepca_certificates": entries},
    }
    run = play([play_of_role], variables=settings(authority)).expect_ok()
    run.expect_failure("1 of 2 certificates failed", "bad.crt", "'bad name' has spaces", name=ISSUE)
    results = run["results"]["stepca_certificate_results"]
    assert [one["outcome"] for one in results] == ["issued", "none"] and results[1]["failed"]
    assert judge(authority, host.path("/srv/tls/good.crt"), host.path("/srv/tls/keys/good.key")).names
    assert host.path("/srv/good").exists() and not host.path("/srv/bad").exists()


def test_a_command_that_failed_is_run_again_by_the_next_play(play, host, authority):
    """A play is only green where those who use the certificate know of it."""
    hook = "echo told >> {{ host_root }}/srv/log; test -e {{ host_root }}/srv/fine"
    plays = [{"hosts": "all", "gather_facts": False, "roles": [CERTIFICATE_ROLE]}]
    entries = [entry("site", run_after=["sh", "-c", hook]), entry("other")]
    variables = settings(authority, stepca_certificates=entries)
    run = play(plays, variables=variables, check=True).expect_ok()
    assert not host.path("/srv").exists() and [one for one in run[RENEWER]["reasons"] if "run_after is sh -c" in one]
    for _turn in range(2):
        run = play(plays, variables=variables)
        assert run.rc != 0
        run.expect_failure("site.crt was replaced, but: The command sh -c", "failed with code 1", name=RENEWER)
    judge(authority, host.path("/srv/tls/site.crt"), host.path("/srv/tls/keys/site.key"))
    host.path("/srv/fine").touch()
    run = play(plays, variables=variables).expect_ok()
    assert {task.task for task in run.changed} == {RENEWER}
    run = play(plays, variables=variables).expect_ok()
    assert run.changed == []
    assert host.path("/srv/log").read_text(encoding="ascii") == "told\n" * 3


@pytest.mark.both_cores
def test_trust_and_certificate_as_roles_of_a_play(play, host, authority):
    """In a play of one's own, with defaults for the module; tags choose; state absent takes the roots out again."""
    plays = [
        {
            "hosts": "all",
            "gather_facts": False,
            "module_defaults": {"privatepki.stepca.stepca_certificate": {"key_type": "ed25519"}},
            "roles": [
                {**TRUST_ROLE, "tags": ["trust"]},
                {**CERTIFICATE_ROLE, "tags": ["certificate"], "vars": {"stepca_certificates": [entry("site")]}},
            ],
        }
    ]
    run = play(plays, variables=settings(authority), arguments=["--tags", "trust"]).expect_ok()
    assert host.path("/etc/stepca/roots.pem").exists() and not host.path("/srv").exists()
    run = play(plays, variables=settings(authority)).expect_ok()
    assert {task.task for task in run.changed} - {RENEWER} == {ISSUE}
    judge(authority, host.path("/srv/tls/site.crt"), host.path("/srv/tls/keys/site.key"), "ed25519")
    absent = [
        {"hosts": "all", "gather_facts": False, "roles": [{**TRUST_ROLE, "vars": {"stepca_trust_state": "absent"}}]}
    ]
    with traffic(authority) as asked:
        run = play([*absent, *absent], variables=settings(authority)).expect_ok()
    assert [task.changed for task in run.tasks if "Trust the roots" in task.task] == [True, False]
    assert not host.path("/etc/stepca").exists() and asked == []


@pytest.mark.both_cores
def test_wrong_variables_are_refused_before_anything(play, host, authority):
    """By the roles' own argument specs, in whichever list they stand."""
    wrong = {
        "type": {"stepca_certificates": [entry("a", key_type="rsa-1024")]},
        "another list": {"stepca_certificates_more": [{"key_path": "/nowhere"}]},
        "unknown": {"stepca_certificates": [entry("a", key_size=2048)]},
        "a path": {"stepca_certificates_dir": "/etc/ssl"},
        "a mapping": {"stepca_certificates_defaults": {"key_type": "rsa-2048"}},
        "a number": {"stepca_certificates_limit": 5},
        "paths": {"stepca_certificates_dirs": ["/etc/ssl"], "stepca_certificates_fine": [entry("a")]},
    }
    tasks = [
        {
            "block": [
                {
                    "name": name,
                    "ansible.builtin.include_role": {"name": "privatepki.stepca.certificate"},
                    "vars": variables,
                }
            ],
            "rescue": [{"name": "go on", "ansible.builtin.debug": {"msg": "{{ ansible_failed_result.msg }}"}}],
        }
        for name, variables in wrong.items()
    ]
    run = play(tasks, variables={**settings(authority), **as_variables(connection(authority))}).expect_ok()
    said = [task.msg for task in run.tasks if task.task == "go on"]
    assert len(said) == 7, run
    for name, text in zip(("dir", "defaults", "limit"), said[3:6], strict=True):
        assert text.startswith("stepca_certificates_%s: no list of certificates" % name) and "Rename" in text
    assert "stepca_certificates_more" in said[1] and "stepca_certificates_dirs" in said[6]
    errors = [json.dumps(task.result) for task in run.failed]
    assert "rsa-1024" in errors[0] and "certificate_path" in errors[1] and "key_size" in errors[2]
    assert not host.path("/srv").exists()
