# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Throw-away "hosts": folders of this machine that play the root of a file system.

A play writes `{{ host_root }}/etc/tls/site.crt` where it would write `/etc/tls/site.crt`. The interpreter is an
environment with `cryptography` and nothing else. Ansible's remote temporary files lie in the host's folder too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.sshd import Sshd


@dataclass
class Host:
    """One host of the inventory and the folder that is its root."""

    name: str
    root: Path
    variables: dict[str, Any] = field(default_factory=dict)

    @property
    def connection(self) -> str:
        return str(self.variables["ansible_connection"])

    def path(self, absolute: str) -> Path:
        """Return where the host's `/etc/...` really lies."""
        return self.root / absolute.lstrip("/")

    def files(self) -> list[Path]:
        """Every file of the host, Ansible's remote temporary files included."""
        return sorted(path for path in self.root.rglob("*") if path.is_file())


def make_hosts(
    folder: Path, names: Iterable[str], python: Path, sshd: Sshd | None = None, over_ssh: Sequence[str] = ()
) -> list[Host]:
    """Make the hosts' folders; those in `over_ssh` are reached through `sshd`, where there is one."""
    hosts = []
    for name in names:
        root = folder / name
        (root / "etc" / "tls").mkdir(parents=True)
        variables: dict[str, Any] = {"ansible_connection": "local"}
        if sshd is not None and name in over_ssh:
            variables = sshd.inventory_variables()
        variables.update(
            ansible_python_interpreter=str(python),
            ansible_remote_tmp=str(root / "tmp" / "ansible"),
            host_root=str(root),
        )
        hosts.append(Host(name, root, variables))
    return hosts


def inventory(hosts: Iterable[Host], groups: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return the inventory of these hosts as JSON, which is YAML too and needs no care for quotes."""
    everything: dict[str, Any] = {"hosts": {host.name: host.variables for host in hosts}}
    if groups:
        everything["children"] = {group: {"hosts": {name: {} for name in members}} for group, members in groups.items()}
    return json.dumps({"all": everything}, indent=2) + "\n"
