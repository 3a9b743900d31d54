# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What integration tests work with: running playbooks, and reading what came of them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.integration.warm import WarmStarts
from tools.authority import Authority
from tools.hosts import Host, inventory
from tools.venvs import Environment

WARM_STARTS = WarmStarts()

CALLBACKS = Path(__file__).parent / "callback_plugins"

# A run starts from these variables of ours and no others: what is set on the machine must not decide a test.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ")

_CONFIGURATION = """\
[defaults]
callback_plugins = {callbacks}
callbacks_enabled = lab_lines
retry_files_enabled = false
host_key_checking = true
nocows = true
forks = 4
"""


class Vaulted(str):
    """Text of `ansible-vault encrypt_string` (see `Core.vault`), written into a playbook as an inline `!vault`."""


class _Dumper(yaml.SafeDumper):
    """Writes playbooks: no anchors, and inline vault values."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(Vaulted, lambda dumper, text: dumper.represent_scalar("!vault", str(text), style="|"))


def to_yaml(data: Any) -> str:
    """Return YAML text as a playbook has it."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=1000)


@dataclass(frozen=True)
class Core:
    """One ansible-core: the controller's environment and the Python that its hosts have."""

    name: str
    controller: Environment
    host_environment: Environment

    def vault(self, text: str, password_file: Path) -> Vaulted:
        """Encrypt a value for use inline."""
        done = subprocess.run(
            [self.controller.program("ansible-vault"), "encrypt", "--vault-password-file", password_file],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        return Vaulted(done.stdout)

    def vault_files(self, password_file: Path, paths: Iterable[Path]) -> None:
        """Encrypt files as a whole, in place."""
        files = list(paths)
        command = [self.controller.program("ansible-vault"), "encrypt", "--vault-password-file", password_file, *files]
        subprocess.run(command, check=True, capture_output=True)
        assert all(path.read_text(encoding="utf-8").startswith("$ANSIBLE_VAULT") for path in files)


@dataclass(frozen=True)
class TaskResult:
    """What one task did on one host; `result` is all that it returned."""

    host: str
    task: str
    action: str
    status: str
    ignored: bool
    seconds: float
    result: dict[str, Any]

    @property
    def changed(self) -> bool:
        return bool(self.result.get("changed"))

    @property
    def failed(self) -> bool:
        return self.status == "failed"

    @property
    def msg(self) -> str:
        return str(self.result.get("msg", ""))

    def __getitem__(self, key: str) -> Any:
        return self.result[key]


@dataclass
class Run:
    """A finished run of ansible-playbook."""

    command: list[str]
    rc: int
    stdout: str
    stderr: str
    folder: Path
    tasks: list[TaskResult] = field(default_factory=list)

    @property
    def output(self) -> str:
        """All that was printed."""
        return self.stdout + self.stderr

    @property
    def changed(self) -> list[TaskResult]:
        """The results that say changed."""
        return [task for task in self.tasks if task.changed]

    @property
    def failed(self) -> list[TaskResult]:
        """The failures, those that the play ignores included."""
        return [task for task in self.tasks if task.failed]

    def task(self, name: str | None = None, host: str | None = None) -> TaskResult:
        """Return the one result of that task and host; left out, there must be only one."""
        found = [
            task for task in self.tasks if (name is None or task.task == name) and (host is None or task.host == host)
        ]
        if len(found) != 1:
            raise AssertionError("%d results of task %r on host %r\n%s" % (len(found), name, host, self))
        return found[0]

    def __getitem__(self, name: str) -> TaskResult:
        return self.task(name)

    def expect_ok(self) -> Run:
        """Fail with all output unless the run succeeded."""
        if self.rc != 0:
            raise AssertionError("ansible-playbook failed\n%s" % self)
        return self

    def expect_failure(self, *words: str, name: str | None = None, host: str | None = None) -> TaskResult:
        """Return the one failure, after checking that its message has all the words and shows no traceback."""
        found = [
            task for task in self.failed if (name is None or task.task == name) and (host is None or task.host == host)
        ]
        if len(found) != 1:
            raise AssertionError("%d failures instead of one\n%s" % (len(found), self))
        missing = [word for word in words if word not in found[0].msg]
        if missing or "Traceback" in self.output:
            raise AssertionError("message without %r, or a traceback, in %r\n%s" % (missing, found[0].msg, self))
        return found[0]

    def __str__(self) -> str:
        return "%s\nrc=%d\n%s\n%s" % (shlex.join(self.command), self.rc, self.stdout, self.stderr)


class Playbooks:
    """Runs playbooks of one ansible-core in folders below one folder. The fixture `play` is one of these."""

    def __init__(self, folder: Path, core: Core, collections: Path, default_hosts: Sequence[Host]) -> None:
        self.folder = folder
        self.core = core
        self.collections = collections
        self.default_hosts = list(default_hosts)
        self._runs = 0

    def __call__(
        self,
        content: Sequence[Mapping[str, Any]] | str | Path,
        *,
        hosts: Sequence[Host] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        check: bool = False,
        diff: bool = False,
        verbosity: int = 0,
        env: Mapping[str, str] | None = None,
        extra_vars: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        module_defaults: Mapping[str, Any] | None = None,
        arguments: Sequence[object] = (),
        keep_remote_files: bool = False,
        pipelining: bool = True,
        callback: str = "default",
    ) -> Run:
        """Run tasks (wrapped in a play for all hosts), plays, YAML text, or a playbook by path or FQCN.

        `variables` become group_vars of all hosts, `extra_vars` a file given with -e.
        """
        self._runs += 1
        folder = self.folder / ("run%d" % self._runs)
        folder.mkdir(parents=True)
        chosen = self.default_hosts if hosts is None else list(hosts)
        (folder / "hosts.yml").write_text(inventory(chosen, groups), encoding="utf-8")
        if variables:
            (folder / "group_vars").mkdir()
            (folder / "group_vars" / "all.yml").write_text(to_yaml(dict(variables)), encoding="utf-8")
        command: list[str] = [str(self.core.controller.program("ansible-playbook")), "-i", str(folder / "hosts.yml")]
        command += ["--check"] * check + ["--diff"] * diff
        if verbosity:
            command.append("-" + "v" * verbosity)
        if extra_vars:
            (folder / "extra_vars.yml").write_text(to_yaml(dict(extra_vars)), encoding="utf-8")
            command += ["-e", "@%s" % (folder / "extra_vars.yml")]
        command += [str(argument) for argument in arguments] + [self._playbook(content, folder, module_defaults)]
        settings = {
            "ANSIBLE_KEEP_REMOTE_FILES": str(int(keep_remote_files)),
            "ANSIBLE_PIPELINING": str(int(pipelining and not keep_remote_files)),
            "ANSIBLE_STDOUT_CALLBACK": callback,
            **(env or {}),
        }
        return self._run(command, folder, settings)

    @staticmethod
    def _playbook(
        content: Sequence[Mapping[str, Any]] | str | Path, folder: Path, module_defaults: Mapping[str, Any] | None
    ) -> str:
        if isinstance(content, Path):
            return str(content)
        if isinstance(content, str) and "\n" not in content:
            return content  # the FQCN of a playbook
        if not isinstance(content, str):
            plays = [dict(item) for item in content]
            if not all("hosts" in play or "ansible.builtin.import_playbook" in play for play in plays):
                plays = [{"hosts": "all", "gather_facts": False, "tasks": plays}]
            for play in plays:
                if module_defaults:
                    play["module_defaults"] = dict(module_defaults)
            content = to_yaml(plays)
        (folder / "playbook.yml").write_text(content, encoding="utf-8")
        return str(folder / "playbook.yml")

    def environment(self, folder: Path) -> dict[str, str]:
        """The clean environment of a run."""
        configuration = folder / "ansible.cfg"
        configuration.write_text(_CONFIGURATION.format(callbacks=CALLBACKS), encoding="utf-8")
        clean = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        clean.update(
            HOME=str(folder / "home"),
            ANSIBLE_CONFIG=str(configuration),
            ANSIBLE_HOME=str(folder / "ansible"),
            ANSIBLE_COLLECTIONS_PATH=str(self.collections),
            ANSIBLE_NOCOLOR="1",
            LAB_LINES=str(folder / "results.jsonl"),
            # Runs use the checkout itself: leave no compiled files in it, and compile each file once and not with every run.
            PYTHONPYCACHEPREFIX=str(self.collections.parent / "bytecode"),
        )
        clean.setdefault("LC_ALL", "C.UTF-8")
        (folder / "home").mkdir(exist_ok=True)
        return clean

    def _run(self, command: list[str], folder: Path, settings: Mapping[str, str]) -> Run:
        usual = self.environment(folder)
        wanted = {**usual, **settings}
        warm = WARM_STARTS.fitting(self.core.controller.python, usual, wanted)
        rc, output, errors = (warm.run if warm else _start)(command, folder, wanted)
        lines = folder / "results.jsonl"
        texts = lines.read_text(encoding="utf-8").splitlines() if lines.exists() else []
        results = [TaskResult(**json.loads(text)) for text in texts]
        return Run(command, rc, _text(output), _text(errors), folder, results)


def _start(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def _text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")


def connection(authority: Authority, **others: Any) -> dict[str, Any]:
    """The options that name the CA, as a task takes them."""
    return {"ca_url": authority.url, "ca_fingerprint": authority.fingerprint, **others}


def enrolment(authority: Authority, provisioner: str = "ansible", **others: Any) -> dict[str, Any]:
    """The options that name the CA, a provisioner and its password, as a task takes them."""
    chosen = authority.provisioner(provisioner)
    return connection(authority, provisioner=chosen.name, provisioner_password=chosen.password, **others)


def as_variables(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options as the variables `stepca_<option>`."""
    return {"stepca_" + name: value for name, value in options.items()}


def openssl_verify(authority: Authority, certificate: Path) -> str:
    """Let openssl judge a file of leaf and intermediates against the authority's root; empty when it is content."""
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", authority.root_path, "-untrusted", certificate, certificate],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
