# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""stepca_certificate inside playbooks: several hosts, bad entries among good ones, loop, delegation, tags, quoting."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.integration.judging import backups, judge, leftovers, round_trips, see, traffic, tree
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, pair
from tests.integration.support import enrolment


def test_one_bad_entry_of_three(play, host, authority, policy_authority):
    """Two are done and stay done; the task fails at its end and names the third, whatever is wrong with it."""
    tls = host.path("/etc/tls")
    (tls / "folder.crt").mkdir()
    good = [pair("first"), pair("last")]
    bad = {
        "option": (pair("bad", sans=["host:8443"]), ["sans", "host:8443"]),
        "duration": (pair("bad", not_after="2 fortnights"), ["not_after", "2 fortnights"]),
        "host": (pair("bad", certificate_path="{{ host_root }}/etc/none/bad.crt"), ["folder", "/etc/none", "missing"]),
        "folder": (pair("folder"), ["folder.crt is a folder"]),
        "authority": (pair("bad", not_after="1000h"), ["bad.crt", "requested duration of 1000h", "24h"]),
    }
    tasks = [
        {"name": name, CERTIFICATE: {"certificates": [good[0], wrong, good[1]]}, "ignore_errors": True}
        for name, (wrong, _words) in bad.items()
    ]
    policy = [pair("first"), pair("bad", sans=["bad.elsewhere.net"]), pair("last")]
    tasks += [
        {"name": "policy", CERTIFICATE: {"certificates": policy, **enrolment(policy_authority)}, "ignore_errors": True}
    ]
    run = play(tasks, module_defaults={GROUP: enrolment(authority)}).expect_ok()
    bad["policy"] = (None, ["bad.elsewhere.net", "not allowed"])
    for number, (name, (_wrong, words)) in enumerate(bad.items()):
        failed = run.expect_failure("1 of 3 certificates failed.", *words, name=name)
        outcome = "issued" if number == 0 or name == "policy" else "none"
        assert [one["outcome"] for one in failed["results"]] == [outcome, "none", outcome], name
        assert [one.get("failed", False) for one in failed["results"]] == [False, True, False]
        assert failed["results"][1]["msg"] in failed.msg and "first.crt" not in failed.msg
        assert failed.changed == (outcome == "issued")
    for name in ("first", "last"):
        assert judge(policy_authority, tls / (name + ".crt"), tls / (name + ".key")).names == [
            "DNS:%s.example.com" % name
        ]
    expected = {
        "first.crt",
        "first.key",
        ".first.crt.stepca.json",
        "last.crt",
        "last.key",
        ".last.crt.stepca.json",
        "folder.crt",
    }
    # The other CA has replaced what it had not issued.
    kept = {one + ending for one in ("first", "last") for ending in (".crt", ".key")}
    assert backups(host) == kept and leftovers(host) == []
    told = [path.rsplit("/", 1)[1] for one in run["policy"]["results"] for path in one["backup_files"]]
    assert sorted(told) == sorted(".%s.stepca.backup" % name for name in kept)
    assert {path.name for path in tls.iterdir()} - set(told) == expected


def test_what_fails_as_a_whole_touches_nothing(play, host, authority):
    """Unknown options, a mixture, two outputs on one path: before anything, in the same words on host and controller."""
    wrong = {
        "unknown": ({"certificates": [pair("a"), {**pair("b"), "key_size": 1}]}, "key_size"),
        "choice": ({**pair("a"), "key_type": "ec-p224"}, "ec-p224"),
        "mixture": ({"certificates": [pair("a")], "sans": ["b"]}, "sans cannot stand beside certificates"),
        "same path": ({"certificates": [pair("a"), pair("a")]}, "entry 2"),
        "one file": (pair("a", key_path=TLS + "a.crt"), "key_path"),
        "no path": ({"sans": ["a.example.com"]}, "certificate_path"),
        "no names": ({"certificate_path": TLS + "a.crt", "key_path": TLS + "a.key"}, "sans or common_name is required"),
        "relative": (pair("a", certificate_path="a.crt"), "not an absolute path"),
        "provisioner within": ({"certificates": [pair("a", provisioner="ansible")]}, "provisioner"),
    }
    tasks = [{"name": name, CERTIFICATE: options, "ignore_errors": True} for name, (options, _word) in wrong.items()]
    before = tree(host.path("/etc"))
    with traffic(authority) as asked:
        run = play(tasks, module_defaults={GROUP: enrolment(authority)}).expect_ok()
    for name, (_options, word) in wrong.items():
        run.expect_failure(word, name=name)
    assert (tree(host.path("/etc")), asked) == (before, [])


def test_check_mode_without_a_folder(play, host, authority):
    """A task that would make the folder has only pretended to: a reason, no failure, and nothing made."""
    elsewhere = {"certificate_path": "{{ host_root }}/srv/tls/a.crt", "key_path": "{{ host_root }}/srv/keys/a.key"}
    tasks = [
        {"name": "folder", "ansible.builtin.file": {"path": "{{ host_root }}/srv/tls", "state": "directory"}},
        {"name": "flat", CERTIFICATE: {**elsewhere, "sans": ["a.example.com"]}},
        {"name": "list", CERTIFICATE: {"certificates": [{**elsewhere, "sans": ["a.example.com"]}]}},
    ]
    before = tree(host.path("/etc"))
    with traffic(authority) as asked:
        run = play(tasks, module_defaults={GROUP: enrolment(authority)}, check=True, diff=True).expect_ok()
    for result in (run["flat"].result, run["list"]["results"][0]):
        assert (result["changed"], result["outcome"], result["certificate"]) == (True, "issued", None)
        assert "the folder %s is missing" % host.path("/srv/tls") in result["reasons"]
        assert "the folder %s is missing" % host.path("/srv/keys") in result["reasons"]
    assert (asked.posts, host.path("/srv").exists(), tree(host.path("/etc"))) == ([], False, before)


@pytest.mark.both_cores
def test_loop_delegation_tags_and_several_hosts(play, host, hosts, authority):
    """Each host has its own certificate; a host delegates; a loop runs; what has other tags does not."""
    tasks = [
        {"name": "each", CERTIFICATE: pair("{{ inventory_hostname }}"), "tags": ["tls"]},
        {
            "name": "loop",
            CERTIFICATE: pair("{{ item }}"),
            "loop": ["one", "two"],
            "tags": ["tls"],
            "when": "inventory_hostname == 'web1'",
        },
        {
            "name": "delegated",
            CERTIFICATE: {
                "certificate_path": "{{ hostvars['web2'].host_root }}/etc/tls/delegated.crt",
                "key_path": "{{ hostvars['web2'].host_root }}/etc/tls/delegated.key",
                "sans": ["delegated.example.com"],
            },
            "delegate_to": "web2",
            "run_once": True,
            "tags": ["tls"],
        },
        {"name": "other", CERTIFICATE: pair("other"), "tags": ["other"]},
    ]
    every = [host, *hosts]
    options = {"hosts": every, "variables": {"stepca_" + name: value for name, value in enrolment(authority).items()}}
    with traffic(authority) as asked:
        play(tasks, arguments=["--tags", "tls"], **options).expect_ok()
    assert len(asked.posts) == len(every) + 3
    for one in every:
        made = {path.name for path in one.path("/etc/tls").glob("*.crt")}
        assert made == {
            one.name + ".crt",
            *{"web1": ("one.crt", "two.crt"), "web2": ("delegated.crt",)}.get(one.name, ()),
        }
        for name in made:
            certificate = one.path("/etc/tls/" + name)
            assert judge(authority, certificate, certificate.with_suffix(".key")).names == [
                "DNS:%s.example.com" % name[:-4]
            ]
    with traffic(authority) as asked:
        run = play(tasks, arguments=["--tags", "tls"], verbosity=3, **options).expect_ok()
    assert (run.changed, asked) == ([], [])
    assert run.stdout.count("ESTABLISH LOCAL CONNECTION") + run.stdout.count("SSH: EXEC ssh") >= len(every)
    local = [one for one in every if one.connection == "local"]
    assert round_trips(run) <= len(every) + 3 and round_trips(run) >= len(local) + 3


PLAYBOOK = """
- hosts: all
  gather_facts: false
  vars:
    end: {end}
  tasks:
    - name: Make and look
      privatepki.stepca.stepca_certificate:
        certificate_path: "{{{{ host_root }}}}/etc/tls/site.crt"
        key_path: "{{{{ host_root }}}}/etc/tls/site.key"
        sans: site.example.com,10.0.0.7
        not_after: {end}
        mode: 0640
        key_mode: 0400
      check_mode: "{{{{ item }}}}"
      loop: [true, false, false, true]
    - name: A time out of a variable
      privatepki.stepca.stepca_certificate:
        certificate_path: "{{{{ host_root }}}}/etc/tls/site.crt"
        key_path: "{{{{ host_root }}}}/etc/tls/site.key"
        sans: [10.0.0.7, site.example.com]
        not_after: "{{{{ end }}}}"
        mode: "0640"
        key_mode: u=r,go=
      ignore_errors: true
    - name: Notify
      privatepki.stepca.stepca_certificate:
        certificate_path: "{{{{ host_root }}}}/etc/tls/site.crt"
        key_path: "{{{{ host_root }}}}/etc/tls/site.key"
        sans: [site.example.com]
        not_after: 3600
      notify: reload
  handlers:
    - name: reload
      ansible.builtin.debug:
        msg: reloaded
"""


@pytest.mark.both_cores
def test_a_playbook_as_people_write_it(play, host, authority):
    """Unquoted times, numbers and modes, which YAML reads in its own way; octal numbers mean what they look like."""
    end = (datetime.now(timezone.utc) + timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    variables = {"stepca_" + name: value for name, value in enrolment(authority).items()}
    run = play(PLAYBOOK.format(end=end), variables=variables).expect_ok()
    looked = run["Make and look"]["results"]
    assert [one["outcome"] for one in looked] == ["issued", "issued", "none", "none"]
    assert [one["changed"] for one in looked] == [True, True, False, False]
    assert looked[1]["certificate"]["not_after"] == end
    assert run["Notify"]["outcome"] == "issued" and run["reload"]["msg"] == "reloaded"
    assert see(host.path("/etc/tls/site.crt")).names == ["DNS:site.example.com"]
    assert (run["A time out of a variable"].msg, run["A time out of a variable"]["outcome"]) == ("", "none")
