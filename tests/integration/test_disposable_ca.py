# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The throw-away authority that others test their roles with: one line starts it, the next find it, one removes it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plugins.module_utils._options import SECRET_ENVIRONMENT
from tests.integration.support import Playbooks
from tools import nodes
from tools.cache import PROJECT, cache_folder
from tools.commands import in_ci
from tools.programs import SOURCES
from tools.running import command_of

PRESENT, ABSENT = "privatepki.stepca.disposable_ca", "privatepki.stepca.disposable_ca_absent"
IMPORT = "ansible.builtin.import_playbook"
MODULE = "privatepki.stepca.stepca_disposable_ca"
START = "Have a throw-away step-ca (if there is none on PATH it is built, once, in about 75 s)"
STOP = "Stop the throw-away step-ca and remove what is left of it"

#: What others have in their group_vars: nothing of it may reach into their tests.
PRODUCTION = {
    "stepca_ca_url": "https://production.example.com",
    "stepca_ca_fingerprint": "00" * 32,
    "stepca_ca_root_path": "/nowhere/root.crt",
    "stepca_ca_name": "production.example.com",
    "stepca_provisioner": "production",
    "stepca_provisioner_key_path": "/nowhere/key.json",
    "stepca_provisioner_password_file": "/nowhere/password",
}


class Disposable:
    """A throw-away authority in a folder of its own, handled by the two playbooks."""

    def __init__(self, play: Playbooks, lab, folder: Path):
        self.folder = folder
        self.environment = {"PATH": os.pathsep.join([str(lab.step_ca.parent), os.environ["PATH"]])}
        self._play = play

    def run(self, content, **options):
        """A run in which the playbooks know this folder."""
        variables = {"stepca_disposable_ca_folder": str(self.folder), **options.pop("variables", {})}
        return self._play(content, env={**self.environment, **options.pop("env", {})}, variables=variables, **options)

    def present(self, **options):
        """What the one line did."""
        return self.run(PRESENT, **options).expect_ok().task(START)

    def absent(self, **options):
        """What its counterpart did."""
        return self.run(ABSENT, **options).expect_ok().task(STOP)

    @property
    def process(self) -> int:
        return int((self.folder / "running").read_text(encoding="ascii"))

    def kill(self) -> None:
        """As a machine that crashes does."""
        os.kill(self.process, signal.SIGKILL)

    def remains(self) -> list[str]:
        """The folder, and every process that names it."""
        listing = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True).stdout
        return [str(path) for path in [self.folder] if path.exists()] + [
            line for line in listing.splitlines() if str(self.folder) in line and not line.startswith("ps ")
        ]


@pytest.fixture
def disposable(play, lab, tmp_path):
    """One that is gone at the end of the test."""
    made = Disposable(play, lab, tmp_path / "disposable")
    yield made
    if made.folder.exists():
        made.absent()


def enrol(host):
    """A play that knows nothing of an authority but what the line before told it."""
    return {
        "name": "Enrol",
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "name": "enrol",
                "privatepki.stepca.stepca_certificate": {
                    "certificate_path": str(host.path("/etc/tls/site.crt")),
                    "key_path": str(host.path("/etc/tls/site.key")),
                    "sans": ["{{ inventory_hostname }}.example.com"],
                    "not_after": "60d",
                },
            }
        ],
    }


@pytest.mark.both_cores
def test_one_line_starts_it_and_the_next_run_finds_it(disposable, host):
    plays = [{"name": "Have an authority", IMPORT: PRESENT}, enrol(host)]
    first = disposable.run(plays, variables=PRODUCTION).expect_ok()
    assert first[START].changed and first["enrol"]["outcome"] == "issued"
    assert disposable.folder.stat().st_mode & 0o777 == 0o700
    verify = ["openssl", "verify", "-CAfile", first[START]["root_path"], "-untrusted", host.path("/etc/tls/site.crt")]
    subprocess.run([*verify, host.path("/etc/tls/site.crt")], check=True, capture_output=True)

    again = disposable.run(plays, variables=PRODUCTION).expect_ok()
    assert again.changed == []
    assert dict(again[START].result, changed=True, reasons=[]) == dict(first[START].result, reasons=[])
    password = (disposable.folder / "password").read_text(encoding="ascii")
    assert password not in first.output + again.output

    disposable.kill()
    revived = disposable.run(plays, variables=PRODUCTION).expect_ok()
    assert [task.task for task in revived.changed] == [START]
    assert revived[START]["reasons"] == ["it is not running"]
    assert revived[START]["ca_fingerprint"] == first[START]["ca_fingerprint"]
    assert revived[START]["ca_url"] == first[START]["ca_url"]

    process = disposable.process
    assert str(disposable.folder) in command_of(process)
    assert disposable.absent().changed
    assert disposable.remains() == [] and command_of(process) == ""
    assert not disposable.absent().changed


@pytest.mark.one_core
def test_it_knows_nothing_of_the_environment_but_what_it_needs(disposable):
    """The secrets of the real authority would be in /proc for as long as it runs."""
    secrets = dict.fromkeys(
        [*SECRET_ENVIRONMENT, "VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "ANSIBLE_VAULT_PASSWORD"], "canary"
    )
    disposable.run(PRESENT, env={**secrets, "TZ": "UTC", "LC_ALL": "C.UTF-8"}).expect_ok()
    content = Path("/proc/%d/environ" % disposable.process).read_text(encoding="utf-8")
    names = {entry.partition("=")[0] for entry in content.split("\0") if entry}
    assert "canary" not in content and names >= {"PATH", "HOME", "TZ", "LC_ALL"}
    assert not [name for name in names if name.startswith(("ANSIBLE", "STEP", "CERTCTL", "PYTHON", "VIRTUAL"))]


@pytest.mark.one_core
def test_check_mode_starts_and_stops_nothing(disposable):
    foretold = disposable.present(check=True)
    assert foretold.changed and foretold["ca_url"] is None
    assert disposable.remains() == []
    started = disposable.present()
    process = disposable.process
    assert disposable.absent(check=True).changed
    assert not disposable.present(check=True).changed
    assert disposable.process == process
    foretold = disposable.present(check=True, extra_vars={"stepca_disposable_ca_max_lifetime": "10d"})
    assert foretold["reasons"] == ["max_lifetime: wanted 10d, found 90d"]
    assert foretold["ca_fingerprint"] == started["ca_fingerprint"] and disposable.process == process


@pytest.mark.one_core
def test_other_options_start_it_again_with_the_same_root(disposable, host):
    first = disposable.present()
    plays = [{"name": "Have an authority", IMPORT: PRESENT}, enrol(host)]
    asked = {"stepca_disposable_ca_max_lifetime": "30d", "stepca_disposable_ca_provisioner": "tests"}
    asked["stepca_disposable_ca_names"] = ["localhost", "ca.example.com"]
    run = disposable.run(plays, extra_vars=asked)
    assert sorted(run[START]["reasons"]) == [
        "max_lifetime: wanted 30d, found 90d",
        "names: wanted ['localhost', 'ca.example.com'], found none",
        "provisioner: wanted tests, found ansible",
    ]
    assert run[START]["ca_fingerprint"] == first["ca_fingerprint"]
    assert run[START]["ca_url"] == first["ca_url"].replace("127.0.0.1", "localhost")
    run.expect_failure("more than the authorized maximum", name="enrol")  # 60 days, in the authority's own words


@pytest.mark.one_core
def test_two_at_once_have_one_authority(disposable, core, lab, host, tmp_path):
    others = [Playbooks(tmp_path / name, core, lab.collections, [host]) for name in ("one", "two")]
    at_once = [Disposable(play, lab, disposable.folder) for play in others]
    with ThreadPoolExecutor() as workers:
        answers = list(workers.map(Disposable.present, at_once))
    assert sorted(answer.changed for answer in answers) == [False, True]
    assert len({answer["ca_fingerprint"] for answer in answers}) == 1


@pytest.mark.one_core
def test_each_scenario_has_its_own_in_the_cache_with_the_program_built_there(play, lab, tmp_path):
    """Both are found again by the folder of molecule alone."""
    cache = tmp_path / "cache"
    (cache / PROJECT).mkdir(parents=True)
    (cache / PROJECT / "programs").symlink_to(cache_folder("programs"))
    if lab.step_ca.parent.parent != cache_folder("programs"):
        pytest.skip("step-ca is on PATH, so none was built")

    def env(scenario):
        return {"XDG_CACHE_HOME": str(cache), "MOLECULE_EPHEMERAL_DIRECTORY": scenario}

    answers = {}
    try:
        for scenario in ("/somewhere/default", "/somewhere/other"):
            answers[scenario] = play(PRESENT, env=env(scenario)).expect_ok().task(START)
            assert "built from source" in answers[scenario]["program"]
            assert not play(PRESENT, env=env(scenario)).expect_ok().task(START).changed
        assert len({answer["ca_fingerprint"] for answer in answers.values()}) == 2
    finally:
        for scenario, answer in answers.items():
            assert Path(answer["folder"]).parent == cache / PROJECT
            assert play(ABSENT, env=env(scenario)).expect_ok().task(STOP).changed
    assert sorted(path.name for path in (cache / PROJECT).iterdir()) == ["locks", "programs"]


@pytest.fixture
def image(lab, tmp_path):
    """An image with step-ca, its own user and its own entry point, as the vendor's has; and what podman needs here."""
    reason = nodes.why_not()
    if reason and not in_ci():
        pytest.skip(reason)
    name = "localhost/%s-%d-step-ca" % (PROJECT, os.getpid())
    settings = tmp_path / "containers.conf"
    settings.write_text(nodes.ENGINE_SETTINGS, encoding="utf-8")
    (tmp_path / "system" / "bin").mkdir(parents=True)
    shutil.copy(lab.step_ca, tmp_path / "system" / "bin" / "step-ca")
    subprocess.run(["tar", "-cf", tmp_path / "system.tar", "-C", tmp_path / "system", "."], check=True)
    shaped = ["--change", "USER 1000", "--change", 'ENTRYPOINT ["/bin/sh", "/entrypoint.sh"]']
    command = ["podman", "import", "--quiet", *shaped, tmp_path / "system.tar", name]
    subprocess.run(command, check=True, capture_output=True)
    yield name, {"CONTAINERS_CONF": str(settings)}
    subprocess.run(["podman", "rmi", "--force", name], check=True, capture_output=True)


def containers(image):
    """The containers that there are of an image."""
    command = ["podman", "ps", "--all", "--quiet", "--filter", "ancestor=" + image]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.one_core
def test_it_runs_in_a_container_of_a_named_image(disposable, host, image):
    name, env = image
    disposable.environment.update(env, PATH=os.environ["PATH"])
    plays = [{"name": "Have an authority", IMPORT: PRESENT}, enrol(host)]
    asked = {"stepca_disposable_ca_image": name}
    first = disposable.run(plays, variables=asked).expect_ok()
    assert first[START].changed and first["enrol"]["outcome"] == "issued"
    assert name in first[START]["program"] and len(containers(name)) == 1
    assert disposable.run(plays, variables=asked).expect_ok().changed == []

    subprocess.run(["podman", "kill", *containers(name)], check=True, capture_output=True)
    revived = disposable.run(plays, variables=asked).expect_ok()
    assert [task.task for task in revived.changed] == [START]
    assert revived[START]["ca_fingerprint"] == first[START]["ca_fingerprint"]

    disposable.kill()  # podman's own process; the container may live on
    assert disposable.absent().changed
    assert containers(name) == [] and disposable.remains() == []


@pytest.mark.one_core
@pytest.mark.parametrize(
    "asked, words",
    [
        ({"program": "/bin/false"}, ["/bin/false is not Smallstep CA"]),
        ({"program": "/nowhere/step-ca"}, ["/nowhere/step-ca is not Smallstep CA"]),
        ({"address": "ca.example.com"}, ["address: 'ca.example.com' is no IP address"]),
        ({"address": "192.0.2.1"}, ["address: nothing can listen on 192.0.2.1 here"]),
        ({"port": 65536}, ["port: 65536 is no port"]),
        ({"max_lifetime": "soon"}, ["max_lifetime: 'soon' is not a duration"]),
        ({"folder": "/proc/nowhere"}, ["folder: /proc/nowhere cannot be used"]),
        ({"program": "/bin/false", "image": "x"}, ["program and image: only one of them can run"]),
        ({"flavour": "x"}, ["flavour"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_said_in_a_sentence_and_leaves_nothing(disposable, asked, words):
    task = {"name": "start", MODULE: {"folder": str(disposable.folder), **asked}, "run_once": True}
    disposable.run([task]).expect_failure(*words, name="start")
    assert disposable.remains() == []


@pytest.mark.one_core
@pytest.mark.parametrize("check", [False, True], ids=["do", "check"])
@pytest.mark.parametrize("playbook", [PRESENT, ABSENT])
def test_a_folder_with_the_files_of_others_is_left_as_it_is(disposable, playbook, check):
    disposable.folder.mkdir(mode=0o755)
    kept = disposable.folder / "thesis.txt"
    kept.write_text("years of work", encoding="utf-8")
    disposable.run(playbook, check=check).expect_failure("holds what is not of a throw-away authority (thesis.txt)")
    assert kept.read_text(encoding="utf-8") == "years of work" and len(list(disposable.folder.iterdir())) == 1
    assert disposable.folder.stat().st_mode & 0o777 == 0o755
    shutil.rmtree(disposable.folder)


@pytest.mark.one_core
def test_a_port_that_is_taken(disposable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = disposable.run(PRESENT, extra_vars={"stepca_disposable_ca_port": port})
        run.expect_failure("has ended", ABSENT, "address already in use")
    assert disposable.present(extra_vars={"stepca_disposable_ca_port": port})["ca_url"].endswith(":%d" % port)


@pytest.mark.one_core
def test_an_image_that_nothing_can_run(disposable, tmp_path):
    """No podman, no docker on PATH."""
    asked = {"stepca_disposable_ca_image": "localhost/none"}
    run = disposable.run(PRESENT, extra_vars=asked, env={"PATH": str(tmp_path)})
    run.expect_failure("Neither podman nor docker is on PATH, and the image localhost/none needs one of them.")
    assert disposable.remains() == []


@pytest.mark.one_core
def test_a_build_that_fails_says_what_would_help(disposable, tmp_path):
    """Go is there, by PATH or from the cache of the tools, and may not download."""
    cache = tmp_path / "cache" / PROJECT
    cache.mkdir(parents=True)
    (cache / "go").symlink_to(cache_folder("go"))
    path = os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "step-ca").exists()
    )
    env = {"XDG_CACHE_HOME": str(cache.parent), "GOPROXY": "off", "PATH": path, "GOFLAGS": "-mod=mod"}
    run = disposable.run(PRESENT, env=env)
    version = SOURCES["step-ca"].version
    run.expect_failure("go install", version, "GOPROXY=off", "Install step-ca 0.27.3 or newer", "(image)")
    assert disposable.remains() == []
