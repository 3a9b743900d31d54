# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Fixtures: real authorities, throw-away hosts, and `play`, which runs a playbook with a chosen ansible-core."""

from __future__ import annotations

import json
import os
import subprocess
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration import fleet, lies
from tests.integration.support import WARM_STARTS, Core, Playbooks
from tools import programs, tree, venvs
from tools.authority import Authority, Provisioner
from tools.commands import in_ci
from tools.hosts import Host, make_hosts
from tools.sshd import Sshd, start_sshd

# Controller and the environment of its hosts: the oldest supported meets the oldest, the newest the newest.
CORES = {"2.17": ("controller-2.17", "host-oldest"), "newest": ("controller-newest", "host")}

# Copies the names that a caller asks for in its template data, whatever the token says: a CA that rewrites.
REWRITING_TEMPLATE = """{
  "subject": {{ toJson .Subject }},
  "sans": [{"type": "dns", "value": "rewritten.example.com"}],
  "keyUsage": ["digitalSignature"],
  "extKeyUsage": ["serverAuth", "clientAuth"]
}"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--core 2.17` or `--core newest`: run with one ansible-core only."""
    parser.addoption("--core", action="append", choices=sorted(CORES), help="ansible-core to run with; default: each")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    # Each ansible-core has its own Python and cryptography on the hosts. Where controller and host decide together and a
    # difference between versions would show, a test runs with both; every other test has its turn with one of them.
    config.addinivalue_line("markers", "both_cores: run this test with each ansible-core")
    # For what is decided on the controller by our own code or by the CA.
    config.addinivalue_line("markers", "one_core: the newest ansible-core alone will do for this test")
    # For what a host decides by our own code alone: there the oldest Python and cryptography are the hard case, and the
    # nodes of `make molecule` have newer ones.
    config.addinivalue_line("markers", "oldest_core: the oldest ansible-core and host alone will do for this test")
    # Who asks the CA is one thing, and what plays it another: the oldest host is the hard case for those that ask themselves.
    config.addinivalue_line("markers", "crosswise: with request_from host the oldest core alone, else the newest")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run whatever uses an ansible-core with each of them, as far as its mark does not say which."""
    if "core_name" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("core") or list(CORES)
        if metafunc.definition.get_closest_marker("one_core"):
            chosen = chosen[-1:]
        elif metafunc.definition.get_closest_marker("oldest_core"):
            chosen = chosen[:1]
        metafunc.parametrize("core_name", chosen, ids=["core-%s" % name for name in chosen])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not a test's turn, unless cores were chosen by hand: `--core 2.17 --core newest` runs everything."""
    if config.getoption("core"):
        return
    spared = [item for item in items if not _has_its_turn(item)]
    items[:] = [item for item in items if item not in spared]
    config.hook.pytest_deselected(items=spared)


def _has_its_turn(item: pytest.Item) -> bool:
    chosen = item.callspec.params if hasattr(item, "callspec") else {}
    marks = {mark.name for mark in item.iter_markers()}
    if "core_name" not in chosen or marks & {"both_cores", "one_core", "oldest_core"}:
        return True
    oldest, newest = CORES
    if "crosswise" in marks:
        return (chosen["request_from"] == "host") == (chosen["core_name"] == oldest)
    row = item.nodeid.replace("core-%s" % chosen["core_name"], "core")
    return chosen["core_name"] == (oldest, newest)[zlib.crc32(row.encode("utf-8")) % 2]


class Lab:
    """What is started once for the session, when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.collections = tree.linked_tree(folder / "collections")
        self._step_ca: Path | None = None
        self._step: Path | None = None
        self._sshd: tuple[Sshd | None, str] | None = None
        self._started: list[Authority] = []

    @property
    def step_ca(self) -> Path:
        if self._step_ca is None:
            self._step_ca = programs.find("step-ca").path
        return self._step_ca

    @property
    def step(self) -> Path:
        if self._step is None:
            self._step = programs.find("step").path
        return self._step

    def sshd(self) -> tuple[Sshd | None, str]:
        """The session's sshd, or None and why there is none."""
        if self._sshd is None:
            self._sshd = start_sshd(self.folder / "sshd")
        return self._sshd

    def authority(self, *provisioners: Provisioner, **options: Any) -> Authority:
        """Start an authority of one's own; the session's end stops it, at the latest."""
        folder = self.folder / ("authority%d" % (len(self._started) + 1))
        authority = Authority(folder, self.step_ca, provisioners or [Provisioner("ansible", rounds=100_000)], **options)
        self._started.append(authority)
        authority.start()
        return authority

    def close(self) -> None:
        """Stop everything."""
        for authority in self._started:
            authority.stop()
        if self._sshd and self._sshd[0]:
            self._sshd[0].stop()
        WARM_STARTS.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The programs, the collections path, the sshd and all authorities of the session."""
    laboratory = Lab(tmp_path_factory.mktemp("lab"))
    yield laboratory
    laboratory.close()


@pytest.fixture(scope="session")
def authority(lab: Lab) -> Authority:
    """One CA for all tests that do not change it, with a provisioner for each purpose."""
    long_lives = {"maxTLSCertDuration": "10000h"}
    return lab.authority(
        # Rounds as `step` makes them today are p521's; each of them takes a run time, and most runs use this one.
        Provisioner("ansible", rounds=100_000),
        Provisioner(
            "short",
            rounds=100_000,
            claims={"minTLSCertDuration": "1s", "defaultTLSCertDuration": "8s", "allowRenewalAfterExpiry": True},
        ),
        Provisioner("long", rounds=100_000, claims=long_lives),
        Provisioner("template", rounds=100_000, template=REWRITING_TEMPLATE),
        Provisioner("hidden", rounds=100_000, publish_encrypted_key=False),
        Provisioner("named-key", rounds=100_000, key_id="a key id of one's own"),
        Provisioner("p384", curve="P-384", rounds=100_000, enc="A128GCM"),
        Provisioner("p521", curve="P-521", rounds=600_000, enc="A128GCM"),
        Provisioner("rsa", kind="RSA", rounds=100_000),
        Provisioner("ed25519", kind="OKP", rounds=100_000),
    )


@pytest.fixture(scope="session")
def policy_authority(lab: Lab) -> Authority:
    """A CA that signs names under example.com only (a standalone step-ca has policy for the whole CA alone)."""
    allowed = {"dns": ["*.example.com", "localhost"], "ip": ["127.0.0.1/32"]}
    return lab.authority(Provisioner("ansible", rounds=100_000), policy={"x509": {"allow": allowed}})


@pytest.fixture
def new_authority(lab: Lab) -> Iterator[Callable[..., Authority]]:
    """Start authorities of the test's own: `new_authority(Provisioner(...), ..., backdate="0s")`."""
    made: list[Authority] = []

    def make(*provisioners: Provisioner, **options: Any) -> Authority:
        made.append(lab.authority(*provisioners, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def step(lab: Lab, authority: Authority, tmp_path: Path) -> Callable[..., str]:
    """Run `step`, which must succeed, with a folder of its own, and return what it prints.

    Words for the CA are added where `where` is set; `given` is its standard input.
    """

    def run(*words: object, where: bool = False, given: str = "") -> str:
        trust = ["--ca-url", authority.url, "--root", authority.root_path] if where else []
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STEPPATH": str(tmp_path / "step")}
        command = [str(word) for word in [lab.step, *words, *trust]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, input=given, check=False)
        assert done.returncode == 0, "%s\n%s%s" % (command, done.stdout, done.stderr)
        return done.stdout

    return run


def make_core(name: str) -> Core:
    """An ansible-core by its name in CORES; skips where it cannot be had."""
    controller, host = CORES[name]
    try:
        return Core(name, venvs.ensure(controller), venvs.ensure(host))
    except venvs.Unavailable as error:
        if in_ci():
            raise
        pytest.skip(str(error))


@pytest.fixture
def core(core_name: str) -> Core:
    """The ansible-core of this run of the test."""
    return make_core(core_name)


@pytest.fixture
def new_hosts(lab: Lab, core: Core, tmp_path: Path) -> Callable[..., list[Host]]:
    """Make fresh hosts: `new_hosts("web1", "web2", over_ssh=["web2"])`; skips when ssh is asked for and impossible."""

    def make(*names: str, over_ssh: Sequence[str] = (), python: Path | None = None) -> list[Host]:
        sshd, reason = lab.sshd() if over_ssh else (None, "")
        if over_ssh and sshd is None:
            pytest.skip(reason)
        return make_hosts(tmp_path / "hosts", names, python or core.host_environment.python, sshd, over_ssh)

    return make


@pytest.fixture
def host(new_hosts: Callable[..., list[Host]]) -> Host:
    """One fresh host, web1, on a local connection; what `play` runs on unless told otherwise."""
    return new_hosts("web1")[0]


@pytest.fixture
def hosts(lab: Lab, new_hosts: Callable[..., list[Host]]) -> list[Host]:
    """Three fresh hosts, web2, web3 and db1; db1 over ssh where an sshd is installed."""
    return new_hosts("web2", "web3", "db1", over_ssh=["db1"] if lab.sshd()[0] else [])


@pytest.fixture
def play(lab: Lab, core: Core, host: Host, tmp_path: Path) -> Playbooks:
    """Run playbooks: `play([{"name": ..., "privatepki.stepca.stepca_health": {...}}], check=True)`."""
    return Playbooks(tmp_path, core, lab.collections, [host])


@pytest.fixture(name="liar")
def fixture_liar(new_hosts, core):
    """Make a host that lies: `liar("web9", ["a CA", ...])` about its certificates, `liar("web9", "no-answers")` at large."""

    def make(name, told):
        (made,) = new_hosts(name)
        interpreter = made.root / "python"
        # Of ours only the file of lies is there, for the host's own Python.
        script = '#!/bin/sh\nexec %s %s %s %s "$@"\n'
        python = core.host_environment.python
        interpreter.write_text(script % (python, Path(lies.__file__), python, made.root), encoding="utf-8")
        interpreter.chmod(0o755)
        (made.root / "lies.json").write_text(json.dumps(told), encoding="utf-8")
        made.variables["ansible_python_interpreter"] = str(interpreter)
        return made

    return make


@pytest.fixture(name="doctor")
def fixture_doctor(play: Playbooks) -> Callable[..., Any]:
    """Run the playbook doctor: `doctor(hosts, stepca_renewer="none")`; see fleet.py."""
    return partial(fleet.ask_doctor, play)


@pytest.fixture(name="report")
def fixture_report(play: Playbooks, tmp_path: Path) -> Callable[..., Any]:
    """Run the playbook expiry_report: `report(hosts, limit=["--limit", "a"])`; see fleet.py."""
    return partial(fleet.make_report, play, tmp_path)
