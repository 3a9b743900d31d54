# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The credential type of guide_awx: AWX's own code injects it, ansible-runner runs the job, and no secret is left of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.integration.judging import judge, wait_until_aged
from tests.integration.support import Playbooks, connection
from tests.integration.test_roles import entry, settings
from tools import venvs
from tools.canary import find_in_files, find_in_text
from tools.commands import in_ci
from tools.guides import block
from tools.hosts import inventory

GUIDE = "guide_awx"
INJECTING = Path(__file__).with_name("awx_injecting.py")
pytestmark = pytest.mark.one_core
#: What the inventory has: all but who vouches, and where the authority is.
PLACES = (
    "stepca_system_trust",
    "stepca_root_path",
    "stepca_renewer",
    "stepca_renewer_path",
    "stepca_renewer_config_path",
)


class Awx:
    """Runs jobs as AWX does."""

    def __init__(self, folder, environment, playbooks, host):
        self.folder = folder
        self.environment = environment
        self.playbooks = playbooks
        self.host = host
        self.jobs = 0

    def inject(self, private, injectors, given):
        """Environment variables and arguments that a credential of the type in the guide brings."""
        told = {"inputs": yaml.safe_load(block(GUIDE, "inputs")), "injectors": injectors, "given": given}
        done = subprocess.run(
            [self.environment.python, INJECTING],
            input=json.dumps({**told, "folder": str(private)}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def job(self, playbook, variables, injectors=None, given=None):
        """Run a template; return the exit code, what it printed, and the folder of the artifacts."""
        self.jobs += 1
        private = self.folder / ("job%d" % self.jobs)
        for name in ("env", "project", "inventory"):
            (private / name).mkdir(parents=True)
        (private / "project" / "play.yml").write_text(block(GUIDE, playbook), encoding="utf-8")
        self.host.variables.update(variables)
        (private / "inventory" / "hosts.json").write_text(inventory([self.host]), encoding="utf-8")
        brought = self.inject(private, injectors, given) if injectors else {"env": {}, "args": []}
        (private / "env" / "envvars").write_text(json.dumps(brought["env"]), encoding="utf-8")
        (private / "env" / "cmdline").write_text(" ".join(["-vvv", *brought["args"]]), encoding="utf-8")
        clean = self.playbooks.environment(private)
        clean["PATH"] = "%s:%s" % (self.playbooks.core.controller.folder / "bin", clean["PATH"])
        command = [self.environment.program("ansible-runner"), "run", private, "-p", "play.yml", "--ident", "1"]
        done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr, private / "artifacts" / "1"


@pytest.fixture
def awx(lab, core, host, tmp_path):
    try:
        environment = venvs.ensure("awx")
    except venvs.Unavailable as error:
        if in_ci():
            raise
        pytest.skip(str(error))
    return Awx(tmp_path / "awx", environment, Playbooks(tmp_path, core, lab.collections, [host]), host)


def variables(authority, **others):
    """Of the inventory."""
    told = settings(authority)
    return {**{name: told[name] for name in PLACES}, "stepca_certificates": [entry("site", **others)]}


def vouching(authority, **others):
    """What somebody types into the form of the credential."""
    chosen = authority.provisioner("ansible")
    named = connection(authority)
    filled = {"provisioner": chosen.name, "provisioner_password": chosen.password, **named, **others}
    secrets = {"password": chosen.password, "key": chosen.jwk["d"], "another": others.get("provisioner_password", "")}
    return filled, {name: secret for name, secret in secrets.items() if secret}


def pair(host):
    return host.path("/srv/tls/site.crt"), host.path("/srv/tls/keys/site.key")


@pytest.mark.parametrize("way", ["injectors", "injectors-extra-vars"])
def test_a_job_that_enrols(awx, host, authority, way):
    """The certificate is issued, a second job changes nothing, and no secret is in events, output or on the host."""
    given, secrets = vouching(authority)
    injectors = yaml.safe_load(block(GUIDE, way))
    for changes in (True, False):
        code, output, artifacts = awx.job("project-enrol", variables(authority), injectors, given)
        assert code == 0, output
        assert ("changed=0" in output) != changes
        assert list(artifacts.glob("job_events/*.json")) and (artifacts / "stdout").exists()
        assert find_in_files(secrets, [artifacts, host.root]) == [] == find_in_text(secrets, output)
    judge(authority, *pair(host))


def test_a_key_instead_of_a_password(awx, host, authority):
    """A key in several lines arrives as it was typed; address and fingerprint come from the inventory then."""
    chosen = authority.provisioner("hidden")
    given = {"provisioner": chosen.name, "provisioner_key": chosen.pem}
    named = {"stepca_" + name: value for name, value in connection(authority).items()}
    injectors = yaml.safe_load(block(GUIDE, "injectors"))
    code, output, artifacts = awx.job("project-enrol", {**variables(authority), **named}, injectors, given)
    assert code == 0, output
    assert judge(authority, *pair(host)).provisioner_is("hidden")
    secrets = {"key": chosen.jwk["d"], "line of PEM": chosen.pem.splitlines()[1]}
    assert find_in_files(secrets, [artifacts, host.root]) == []


def test_a_wrong_password(awx, host, authority):
    """The job fails with the variable's name and not with its value. As a variable itself, ansible-runner keeps it."""
    given, secrets = vouching(authority, provisioner_password="not the right one")
    injectors = yaml.safe_load(block(GUIDE, "injectors"))
    code, output, artifacts = awx.job("project-enrol", variables(authority), injectors, given)
    assert code != 0 and "does not open" in output and "STEPCA_PROVISIONER_PASSWORD_FILE" in output
    assert find_in_files(secrets, [artifacts, host.root]) == [] == find_in_text(secrets, output)

    plain = {"env": {**injectors["env"], "STEPCA_PROVISIONER_PASSWORD": "{{ provisioner_password }}"}}
    del plain["env"]["STEPCA_PROVISIONER_PASSWORD_FILE"], plain["env"]["STEPCA_PROVISIONER_KEY_PATH"]
    code, output, artifacts = awx.job("project-enrol", variables(authority), plain, given)
    assert code != 0 and "does not open" in output
    hits = find_in_files(secrets, [artifacts])
    assert {Path(hit.partition(": ")[0]).name for hit in hits} == {"command"}


def test_a_job_that_renews_has_no_credential(awx, host, authority):
    """It renews what is due, and cannot issue."""
    given, _secrets = vouching(authority)
    injectors = yaml.safe_load(block(GUIDE, "injectors"))
    code, output, _artifacts = awx.job("project-enrol", variables(authority), injectors, given)
    assert code == 0, output
    before = judge(authority, *pair(host)).serial
    wait_until_aged(pair(host)[0], 4)
    named = {"stepca_" + name: value for name, value in connection(authority).items()}
    due = {**variables(authority, renew_before="23h59m57s"), **named}
    code, output, _artifacts = awx.job("project-renew", due)
    assert code == 0 and judge(authority, *pair(host)).serial != before, output
    code, output, _artifacts = awx.job("project-renew", {**named, **variables(authority, sans=["new.example.com"])})
    assert code != 0 and "no option says who vouches" in output
