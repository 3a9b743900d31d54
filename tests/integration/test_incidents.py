# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The plays of guide_incidents, as the guide shows them, against real authorities. openssl and the list of revoked judge."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.integration.judging import judge, openssl, see, traffic, wait_until_aged
from tests.integration.support import enrolment
from tests.integration.test_revoke import listed
from tests.integration.test_roles import RENEWER, entry, settings
from tools.authority import Provisioner
from tools.guides import block
from tools.pki import make_intermediate, make_root

GUIDE = "guide_incidents"
ENROL = "privatepki.stepca.enrol"
TRUST = "privatepki.stepca.trust : Trust the roots of the authority"
pytestmark = pytest.mark.one_core


class Fleet:
    """Two hosts with two certificates each."""

    def __init__(self, play, hosts):
        self.play = play
        self.hosts = hosts
        self.certificates = [
            entry("{{ inventory_hostname }}", run_after=["touch", "{{ host_root }}/srv/reloaded"]),
            entry("db", key_type="rsa-2048"),
        ]

    def run(self, playbook, variables, *arguments, **options):
        """A playbook of the collection, or the text of one, with what stands in stepca.yml."""
        extra = {"stepca_certificates": self.certificates, **variables}
        return self.play(playbook, hosts=self.hosts, extra_vars=extra, arguments=arguments, **options)

    def rests(self, playbook, variables):
        """The second run, the proof of the first: nothing changes, and the CA is not asked to do anything."""
        run = self.run(playbook, variables).expect_ok()
        assert run.changed == [] and run.stdout.count("changed=0") == len(self.hosts), run

    def pairs(self):
        """(certificate, key) of all, by host and name."""
        named = [(host, name) for host in self.hosts for name in (host.name, "db")]
        tls = {(host.name, name): host.path("/srv/tls") for host, name in named}
        return {key: (folder / (key[1] + ".crt"), folder / "keys" / (key[1] + ".key")) for key, folder in tls.items()}

    def serials(self):
        return {key: see(certificate).serial for key, (certificate, _key) in self.pairs().items()}

    def roots(self):
        """What each host trusts, the PEM text."""
        return {host.path("/etc/stepca/roots.pem").read_text(encoding="ascii") for host in self.hosts}

    def wait(self):
        """Until the instant that comes next is after the issue of everything, in whole seconds."""
        for certificate, _key in self.pairs().values():
            wait_until_aged(certificate, 1.5)


@pytest.fixture
def fleet(play, new_hosts):
    return Fleet(play, new_hosts("web2", "web3"))


def verifies(certificate, root):
    """Whether openssl finds a chain to this root, knowing no other."""
    command = ["openssl", "verify", "-CAfile", root, "-untrusted", certificate, certificate]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def now():
    return subprocess.run(["date", "--utc", "+%Y-%m-%dT%H:%M:%SZ"], capture_output=True, text=True, check=True).stdout


def public_keys(fleet):
    return {key: openssl("pkey", "-in", path, "-pubout") for key, (_certificate, path) in fleet.pairs().items()}


def machine_of(authority, lab, folder):
    """Run shell on the authority's machine, where step knows it: `run(script)` prints, with the exit code."""
    (folder / "step" / "config").mkdir(parents=True)
    known = {"ca-url": authority.url, "root": str(authority.root_path), "ca-config": str(authority.config_path)}
    (folder / "step" / "config" / "defaults.json").write_text(json.dumps(known), encoding="utf-8")
    path = "%s:%s" % (lab.step.parent, os.environ["PATH"])
    environment = {"PATH": path, "HOME": str(folder), "STEPPATH": str(folder / "step")}

    def run(script):
        command = ["sh", "-e", "-c", script]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


def test_a_leaked_key_of_a_provisioner(fleet, lab, new_authority, tmp_path):
    """Nothing is left that it signed, on the hosts and elsewhere, and it signs nothing more."""
    authority = new_authority(Provisioner("ansible", rounds=100_000))
    shell = machine_of(authority, lab, tmp_path / "machine")
    (tmp_path / "machine" / "password").write_text(authority.provisioner("ansible").password, encoding="utf-8")
    (tmp_path / "machine" / "ansible-2.password").write_text("the password of the next", encoding="utf-8")
    leaked = settings(authority)
    fleet.run(ENROL, leaked).expect_ok()
    before, keys = fleet.serials(), public_keys(fleet)
    steal = "step ca certificate bank.example.com stolen.crt stolen.key --provisioner ansible --provisioner-password-file password"
    assert shell(steal).returncode == 0
    stolen = [see(tmp_path / "machine" / "stolen.crt").serial]
    fleet.wait()
    assert shell("step ca renew stolen.crt stolen.key --force").returncode == 0
    stolen.append(see(tmp_path / "machine" / "stolen.crt").serial)

    # What the guide has the service manager do, the authority of a test does by the signal itself.
    script, _reload, rest = block(GUIDE, "new-provisioner").partition("systemctl reload step-ca\n")
    done = shell(script)
    assert done.returncode == 0, done.stderr
    authority.reload()
    closed = shell(rest).stdout.strip()

    assert shell(steal + " --force").returncode == shell("step ca renew stolen.crt stolen.key --force").returncode == 1
    refused = fleet.run(ENROL, {**leaked, "stepca_certificates": [entry("other")]}, "--limit", "web2")
    refused.expect_failure('has no provisioner "ansible"', '"ansible-2" (JWK)')

    renewed = {"stepca_provisioner": "ansible-2", "stepca_provisioner_password": "the password of the next"}
    variables = {**leaked, **renewed, "leak_closed": closed}
    leak = block(GUIDE, "leak")
    with traffic(authority) as asked:
        assert fleet.run(leak, variables, check=True).expect_ok().changed
    assert asked.posts == [] and fleet.serials() == before and listed(authority, tmp_path) == {}
    first = fleet.run(leak, variables, "--limit", "web2").expect_ok()
    assert "the provisioner 'ansible' issued it, expected 'ansible-2'" in str([task.result for task in first.changed])
    half = fleet.serials()
    assert [half[key] == before[key] for key in half] == [False, False, True, True]
    whole = fleet.run(leak, variables).expect_ok()
    assert {task.host for task in whole.changed} == {"web3"}

    for key, (certificate, path) in fleet.pairs().items():
        now_there = judge(authority, certificate, path, "rsa-2048" if key[1] == "db" else "ec-p256")
        assert now_there.provisioner_is("ansible-2") and now_there.serial != before[key]
    assert not set(public_keys(fleet).values()) & set(keys.values())
    assert listed(authority, tmp_path) == dict.fromkeys(before.values(), "Key Compromise")

    log = {**variables, "ca_log": str(authority.log_path)}
    run = fleet.run(block(GUIDE, "stolen"), log).expect_ok()
    assert [one["serial"] for one in run["Revoke it"]["results"] if one["changed"]] == stolen
    assert listed(authority, tmp_path) == dict.fromkeys([*before.values(), *stolen], "Key Compromise")
    assert fleet.run(block(GUIDE, "stolen"), log).expect_ok().changed == []
    with traffic(authority) as asked:
        fleet.rests(leak, variables)
    assert asked.posts == []


def test_a_new_root(fleet, new_authority, tmp_path):
    """Both are trusted, the authority changes over, what is old is issued anew, and at last nothing knows the old one."""
    authority, new = new_authority(), make_root("the new root")
    old_file, new_file = tmp_path / "old.crt", tmp_path / "new.crt"
    old_file.write_text(authority.root_pem, encoding="ascii")
    new_file.write_text(new.pem, encoding="ascii")
    variables = settings(authority)
    fleet.run(ENROL, variables).expect_ok()
    before = fleet.serials()
    fleet.wait()

    authority.extra_roots = [new]
    authority.restart()
    both = {**variables, "stepca_ca_fingerprint": [authority.fingerprint, new.fingerprint]}
    assert {task.task for task in fleet.run(ENROL, both).expect_ok().changed} == {TRUST, RENEWER}
    assert all(authority.root_pem in text and new.pem in text for text in fleet.roots())

    authority.rotate_root(new)
    with traffic(authority) as asked:
        fleet.rests(ENROL, both)
    assert asked == [] and fleet.serials() == before
    look, only = block(GUIDE, "only-new-root"), {**both, "new_root": new.fingerprint}
    assert {task.host for task in fleet.run(look, only).failed} == {"web2", "web3"}
    assert all(verifies(one, old_file) and not verifies(one, new_file) for one, _key in fleet.pairs().values())

    due = {**both, "stepca_certificates": [{**one, "renew_before": "23h59m57s"} for one in fleet.certificates]}
    fleet.run("privatepki.stepca.renew", due, "--limit", "web2").expect_ok()
    renewed = [certificate for (host, _name), (certificate, _key) in fleet.pairs().items() if host == "web2"]
    assert all(verifies(certificate, new_file) and not verifies(certificate, old_file) for certificate in renewed)
    half = fleet.serials()

    # A renewal is no new issue, so the instant counts for web2 all the same.
    reissue, since = block(GUIDE, "reissue"), {**both, "instant": now().strip()}
    fleet.run(reissue, since, "--limit", "web2").expect_ok()
    assert len({*half.values(), *fleet.serials().values()}) == 6
    assert fleet.run(reissue, since, "--limit", "web2").expect_ok().changed == []
    # web3 is what was forgotten: the look finds it, and without the old root it is issued anew.
    assert {task.host for task in fleet.run(look, only).failed} == {"web3"}
    half = fleet.serials()
    alone = {**both, "stepca_ca_fingerprint": new.fingerprint}
    run = fleet.run(ENROL, alone).expect_ok()
    assert "the chain does not lead to a trusted root" in str([task.result for task in run.changed])
    after = fleet.serials()
    assert [after[key] == half[key] for key in after] == [True, True, False, False]
    authority.extra_roots = []
    authority.restart()
    fleet.rests(ENROL, alone)
    assert fleet.roots() == {new.pem} and not set(after.values()) & set(before.values())
    for certificate, key in fleet.pairs().values():
        assert verifies(certificate, new_file) and not verifies(certificate, old_file)
        assert openssl("x509", "-in", certificate, "-noout", "-pubkey") == openssl("pkey", "-in", key, "-pubout")


def test_a_new_root_that_the_old_one_vouches_for(fleet, new_authority, tmp_path):
    """Hosts that know the old root alone go on; later they learn of the new one, and nothing is issued anew for it."""
    authority = new_authority(root=make_root("the old root", path_length=2))
    new, old = make_root("the new root"), authority.root
    for name, one in (("root_ca", old), ("new_root_ca", new), ("new_intermediate_ca", make_intermediate(new))):
        (tmp_path / (name + ".crt")).write_text(one.pem, encoding="ascii")
        (tmp_path / (name + ".key")).write_text(one.key_pem, encoding="ascii")
    old_file, new_file = tmp_path / "root_ca.crt", tmp_path / "new_root_ca.crt"
    variables = settings(authority)
    fleet.run(ENROL, variables).expect_ok()

    subprocess.run(["sh", "-e", "-c", block(GUIDE, "cross-sign")], cwd=tmp_path, check=True, capture_output=True)
    authority.cross_pem = (tmp_path / "cross.crt").read_text(encoding="ascii")
    authority.rotate_root(new)
    before = fleet.serials()
    fleet.rests(ENROL, variables)
    assert fleet.serials() == before
    due = {**variables, "stepca_certificates": [{**one, "renew_before": "23h59m57s"} for one in fleet.certificates]}
    fleet.wait()
    fleet.run("privatepki.stepca.renew", due).expect_ok()
    after = fleet.serials()
    assert not set(after.values()) & set(before.values())
    for certificate, _key in fleet.pairs().values():
        assert verifies(certificate, old_file) and verifies(certificate, new_file)
    assert {task.task for task in fleet.run(ENROL, variables).expect_ok().changed} == {RENEWER}  # for renew_before
    fleet.rests(ENROL, variables)

    both = {**variables, "stepca_ca_fingerprint": [old.fingerprint, new.fingerprint]}
    assert {task.task for task in fleet.run(ENROL, both).expect_ok().changed} == {TRUST, RENEWER}
    fleet.run(block(GUIDE, "only-new-root"), {**both, "new_root": new.fingerprint}).expect_ok()
    alone = {**variables, "stepca_ca_fingerprint": new.fingerprint}
    fleet.run(ENROL, alone).expect_ok()
    authority.extra_roots, authority.cross_pem = [], ""
    authority.restart()
    fleet.rests(ENROL, alone)
    assert fleet.roots() == {new.pem} and fleet.serials() == after


def test_another_authority(fleet, new_authority, tmp_path):
    """Both are trusted, everything is issued anew by the new one and services know, and the old one may stop."""
    old, new = new_authority(), new_authority()
    variables = settings(old)
    fleet.run(ENROL, variables).expect_ok()
    before = fleet.serials()
    fleet.wait()
    moved = {**variables, **settings(new)}
    fleet.run(ENROL, moved, "--limit", "web2").expect_failure("holds roots of which none is trusted by this task")

    bundle = tmp_path / "both-roots.pem"
    bundle.write_text(old.root_pem + new.root_pem, encoding="ascii")
    both = {name: value for name, value in variables.items() if name != "stepca_ca_fingerprint"}
    both["stepca_ca_root_path"] = str(bundle)
    assert {task.task for task in fleet.run(ENROL, both).expect_ok().changed} == {TRUST, RENEWER}
    fleet.rests(ENROL, both)
    assert fleet.serials() == before

    chosen = enrolment(new)
    told = {"stepca_ca_url": new.url, "stepca_provisioner_password": chosen["provisioner_password"]}
    both.update(told, instant=now().strip())
    for host in fleet.hosts:
        host.path("/srv/reloaded").unlink()
    reissue = block(GUIDE, "reissue")
    fleet.run(reissue, both, "--limit", "web2").expect_ok()
    assert [host.path("/srv/reloaded").exists() for host in fleet.hosts] == [True, False]
    fleet.run(reissue, both).expect_ok()
    assert fleet.hosts[1].path("/srv/reloaded").exists()
    fleet.rests(reissue, both)
    assert listed(old, tmp_path) == listed(new, tmp_path) == {}

    old.stop()
    fleet.run(block(GUIDE, "only-new-root"), {**both, "new_root": new.fingerprint}).expect_ok()
    fleet.run(ENROL, moved).expect_ok()
    fleet.rests(ENROL, moved)
    assert fleet.roots() == {new.root_pem} and not set(fleet.serials().values()) & set(before.values())
    for certificate, _key in fleet.pairs().values():
        assert verifies(certificate, new.root_path) and not verifies(certificate, old.root_path)
