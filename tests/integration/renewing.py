# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The renewer of a test's host: set up by the module, then called as its timer, or a person, would."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tools.hosts import Host

RENEWER = "privatepki.stepca.stepca_renewer"
PATHS = {"path": "{{ host_root }}/usr/renewer.pyz", "config_path": "{{ host_root }}/etc/renew.d"}


class Renewer:
    """Calls the renewer of a host with that host's Python, and nothing else: no Ansible, no PYTHONPATH."""

    def __init__(self, host: Host) -> None:
        self.python = str(host.variables["ansible_python_interpreter"])
        self.program = str(host.path("/usr/renewer.pyz"))
        self.config = host.path("/etc/renew.d")
        self.state = host.path("/var/stepca")

    def __call__(self, command: str, *words: object, code: int = 0, given: str = "", **environment: str) -> str:
        """Run a command; its output, both streams. `code` is the exit code that it must have."""
        places = ["--config", str(self.config), "--state", str(self.state)]
        line = [self.python, self.program, command, *map(str, words), *places]
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

    def status(self, code: int = 0) -> dict[str, dict[str, Any]]:
        """What status says, by name of the certificate."""
        rows = json.loads(self("status", "--json", code=code))
        return {Path(row["certificate_path"]).name: row for row in rows}

    def configuration(self, name: str) -> Path:
        """The file of the certificate of that name."""
        (found,) = self.config.glob("%s-*.json" % name)
        return found
