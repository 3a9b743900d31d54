# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The renewer of a test's host: set up by the module, then called as its timer, or a person, would."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.integration.judging import see, wait_until_aged
from tests.integration.pairs import CERTIFICATE
from tests.integration.support import Playbooks, connection, enrolment
from tools.authority import Authority
from tools.hosts import Host

RENEWER = "privatepki.stepca.stepca_renewer"
PATHS = {"path": "{{ host_root }}/usr/renewer.pyz", "config_path": "{{ host_root }}/etc/renew.d"}


def tasks(
    authority: Authority, entries: Sequence[Mapping[str, Any]], hooks: Mapping[str, Any] | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Enrol, then let the host renew: what the role does."""
    renewed = [{**entry, **(hooks or {})} for entry in entries]
    return [
        {"name": "enrol", CERTIFICATE: {**enrolment(authority), "certificates": list(entries)}},
        {"name": "renewer", RENEWER: {**connection(authority), **PATHS, "entries": renewed, **options}},
    ]


def set_up(
    play: Playbooks,
    host: Host,
    authority: Authority,
    entries: Sequence[Mapping[str, Any]],
    hooks: Mapping[str, Any] | None = None,
    **options: Any,
) -> Renewer:
    """Run these tasks; the certificates are then old enough for a renewal that ends later."""
    play(tasks(authority, entries, hooks, **options)).expect_ok()
    for path in host.path("/etc/tls").glob("*.crt"):
        wait_until_aged(path, 1.1)
    return Renewer(host)


def serials(host: Host) -> dict[str, str]:
    """The serial of each certificate, by the name of its file without the end."""
    return {path.stem: see(path).serial for path in sorted(host.path("/etc/tls").glob("*.crt"))}


class Renewer:
    """Calls the renewer of a host with that host's Python, and nothing else: no Ansible, no PYTHONPATH."""

    def __init__(self, host: Host) -> None:
        self.python = str(host.variables["ansible_python_interpreter"])
        self.program = str(host.path("/usr/renewer.pyz"))
        self.config = host.path("/etc/renew.d")
        self.state = host.path("/var/stepca")
        #: What it is started by, such as setpriv and its words.
        self.prefix: list[str] = []

    def __call__(self, command: str, *words: object, code: int = 0, given: str = "", **environment: str) -> str:
        """Run a command; its output, both streams. `code` is the exit code that it must have."""
        places = ["--config", str(self.config), "--state", str(self.state)]
        line = [*self.prefix, self.python, self.program, command, *map(str, words), *places]
        done = subprocess.run(
            line,
            input=given,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, "exit code %d of %s:\n%s" % (done.returncode, " ".join(line), done.stdout)
        assert "Traceback" not in done.stdout
        return done.stdout

    def fails(self, command: str, *words: object, code: int = 1, **environment: str) -> list[str]:
        """Run a command that must fail; what it says, a line for each thing."""
        return self(command, *words, code=code, **environment).splitlines()

    def history(self, name: str) -> dict[str, Any]:
        """What it remembers of the certificate of that name."""
        return json.loads((self.state / self.configuration(name).name).read_text(encoding="ascii"))

    def edit(self, name: str, **changes: Any) -> None:
        """Change what the configuration of that name says, as a person would."""
        path = self.configuration(name)
        content = json.loads(path.read_text(encoding="ascii"))
        path.write_text(json.dumps({**content, **changes}), encoding="ascii")

    def status(self, code: int = 0) -> dict[str, dict[str, Any]]:
        """What status says, by name of the certificate."""
        rows = json.loads(self("status", "--json", code=code))
        return {Path(row["certificate_path"]).name: row for row in rows}

    def configuration(self, name: str) -> Path:
        """The file of the certificate of that name."""
        (found,) = self.config.glob("%s-*.json" % name)
        return found
