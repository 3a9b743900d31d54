# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The laboratory itself: tests that rest on it are worth no more than it is."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess

import pytest

from tests.integration.support import Vaulted, openssl_verify
from tests.integration.warm import Warm
from tools.canary import find_in_bytes, find_in_files

PROVISIONERS = ["ansible", "short", "long", "hidden", "named-key", "p384", "p521", "rsa", "ed25519"]


@pytest.mark.parametrize("name", PROVISIONERS)
def test_step_reads_our_keys_and_the_authority_signs(authority, lab, tmp_path, name):
    """`step`, which made none of this, opens the key with the password and gets a certificate with it."""
    provisioner = authority.provisioner(name)
    password, key = tmp_path / "password", tmp_path / "key.jwe"
    password.write_text(provisioner.password, encoding="utf-8")
    key.write_text(provisioner.jwe, encoding="utf-8")
    step = [lab.step, "crypto", "jwe", "decrypt", "--password-file", password]
    opened = subprocess.run(step, stdin=key.open(), capture_output=True, text=True, check=True).stdout
    assert json.loads(opened) == provisioner.jwk

    where = ["--ca-url", authority.url, "--root", authority.root_path]
    clean = {**os.environ, "STEPPATH": str(tmp_path / "step")}
    token = subprocess.run(
        [lab.step, "ca", "token", "x.example.com", "--provisioner", name, "--key", key, "--password-file", password]
        + where,
        env=clean,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    certificate = tmp_path / "x.crt"
    request = [lab.step, "ca", "certificate", "x.example.com", certificate, tmp_path / "x.key", "--token", token]
    subprocess.run(request + where, env=clean, check=True)
    assert openssl_verify(authority, certificate) == ""


def test_requests_are_seen_and_probes_are_not(new_authority):
    """A test that says "no request to the CA" would notice one."""
    authority = new_authority()
    assert authority.requests() == []
    authority.get("/roots", user_agent="somebody")
    assert [(line["method"], line["path"], line["status"]) for line in authority.requests()] == [("GET", "/roots", 201)]
    authority.restart()
    assert len(authority.requests()) == 1
    authority.stop()
    assert len(authority.requests()) == 1


def test_policy_holds_for_the_whole_authority(policy_authority):
    """It starts at all: the CA's own names are under its policy too."""
    assert policy_authority.get("/health") == (200, b'{"status":"ok"}\n')


def test_rotation_of_the_intermediate(new_authority):
    """The CA goes on under the same root with another intermediate."""
    authority = new_authority()
    before = authority.get("/intermediates")[1]
    authority.rotate_intermediate()
    assert authority.get("/intermediates")[1] != before


@pytest.mark.both_cores
def test_a_play_on_hosts_local_and_over_ssh(play, host, hosts):
    """Results come back by host and task, and each host writes below its own root."""
    run = play(
        [
            {"name": "write", "ansible.builtin.copy": {"dest": "{{ host_root }}/etc/greeting", "content": "hello\n"}},
            {"name": "fail", "ansible.builtin.fail": {"msg": "as asked"}, "ignore_errors": True},
        ],
        hosts=[host, *hosts],
        diff=True,
    ).expect_ok()
    for each in [host, *hosts]:
        assert run.task("write", each.name).changed
        assert each.path("/etc/greeting").read_text(encoding="utf-8") == "hello\n"
    assert run.expect_failure("as", "asked", name="fail", host="db1").ignored
    assert "+hello" in run.stdout


@pytest.mark.both_cores
def test_the_host_has_the_library_and_nothing_else(play, core):
    """A module that imported requests, jwt or ansible's controller half from the host would fail."""
    python = str(core.host_environment.python)
    command = "import cryptography; print(cryptography.__version__)"
    run = play([{"name": "ask", "ansible.builtin.command": {"argv": [python, "-c", command]}}]).expect_ok()
    assert run["ask"]["stdout"].startswith("3.3.") == (core.name == "2.17")
    for absent in ("requests", "jwt", "ansible", "idna"):
        run = subprocess.run([python, "-c", "import " + absent], capture_output=True, check=False)
        assert run.returncode != 0, absent


@pytest.mark.both_cores
def test_variables_vault_and_kept_files(play, core, host, tmp_path):
    """Group variables, inline vault values and extra variables reach a task; remote files are kept when asked."""
    password = tmp_path / "vault-password"
    password.write_text("open sesame", encoding="utf-8")
    secret = core.vault("the-hidden-value", password)
    assert isinstance(secret, Vaulted)
    run = play(
        [{"name": "show", "ansible.builtin.command": {"argv": ["echo", "{{ hidden }} {{ plain }} {{ extra }}"]}}],
        variables={"hidden": secret, "plain": 1},
        extra_vars={"extra": [1, 2]},
        arguments=["--vault-password-file", password],
        keep_remote_files=True,
    ).expect_ok()
    assert run["show"]["stdout"] == "the-hidden-value 1 [1, 2]"
    assert find_in_files({"value": "the-hidden-value"}, [host.root]), "the module's arguments were kept on the host"


# A variable that an interpreter might look at when it starts: such a run is not forked (see warm.py).
AS_USUAL = {"NOBODY_KNOWS": "what this is for"}

SAID = ("msg", "stdout", "results")

# What a run knows of itself and hands on; in the end it fails.
ABOUT_ITSELF = """
- hosts: all
  gather_facts: false
  tasks:
    - name: shell
      ansible.builtin.debug:
        msg: "{{ lookup('ansible.builtin.pipe', command).splitlines() }}"
      loop: [pwd, env | sort | grep -v NOBODY_KNOWS, ls -l /proc/self/fd | wc -l, umask, locale]
      loop_control: {loop_var: command}
    - name: signals
      ansible.builtin.command: {argv: [grep, "Sig[BIC]", /proc/self/status]}
    - name: names
      ansible.builtin.debug:
        msg: ["{{ ansible_playbook_python }}", "{{ ansible_version }}", "{{ ansible_run_tags }}", "{{ playbook_dir }}"]
    - name: last
      ansible.builtin.fail: {msg: as asked}
"""


@pytest.mark.both_cores
def test_forked_or_started_as_usual(play):
    """It makes no difference to a run, to what it prints, and to how it ends."""
    seen = []
    for env in ({}, AS_USUAL):
        run = play(ABOUT_ITSELF, env=env)
        broken = play("- hosts: [", env=env)
        unknown = play([{"name": "unknown", "nobody.knows.it": {}}], env=env)
        killed = play("- hosts: \"{{ lookup('ansible.builtin.pipe', 'kill -9 $PPID') }}\"\n", env=env)
        codes = [each.rc for each in (run, broken, unknown, killed)]
        told = [[task.task, task.status] + [task.result.get(name) for name in SAID] for task in run.tasks]
        texts = [
            text.replace(each.folder.name, "RUN")
            for each in (run, broken, unknown)
            for text in (each.stdout, each.stderr)
        ]
        seen.append([codes, json.loads(json.dumps(told).replace(run.folder.name, "RUN")), texts])
    for forked, usual in zip(*seen, strict=True):
        assert forked == usual
    assert seen[0][0] == [2, 1, 4, -signal.SIGKILL]
    assert [status for _name, status, *_said in seen[0][1]] == ["ok", "ok", "ok", "failed"]


@pytest.mark.one_core
def test_a_process_that_cannot_fork_says_why(core, tmp_path):
    """Here it lacks the libraries; no test is run in another way instead."""
    warm = Warm(core.host_environment.python, {})
    with pytest.raises(RuntimeError, match="No module named"):
        warm.run(["/bin/true"], tmp_path, {})
    warm.close()


@pytest.mark.parametrize("offset", range(4))
def test_the_canary_sees_through_base64(offset):
    """At whatever offset a secret stands in encoded data."""
    secret = "a-secret-of-some-length"
    data = base64.b64encode(b"x" * offset + secret.encode() + b"yz")
    assert find_in_bytes({"it": secret}, data) == ["it"]
    assert find_in_bytes({"it": secret}, base64.b64encode(secret[1:].encode())) == []
