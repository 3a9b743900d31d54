# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What one molecule scenario plays with: nodes, two authorities, a login key, and `lab.json` that tells where they are.

`extensions/molecule/inventory` reads `lab.json`. Needs the environment molecule.

`python -m tools.laboratory` opens a shell in the checkout, with a laboratory of its own until the shell ends. There,
`molecule converge -s NAME` and the like run with the files as they are at that moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from tools import canary, programs
from tools.authority import Authority, Provisioner
from tools.cache import CHECKOUT, temporary_folder
from tools.commands import command_line, run
from tools.images import ensure_images
from tools.nodes import ONE_OF_EACH, Node, Site
from tools.tree import linked_tree

# Lives from seconds to a month.
CLAIMS = {"minTLSCertDuration": "1s", "maxTLSCertDuration": "720h", "defaultTLSCertDuration": "24h"}


class Laboratory:
    """The nodes of a scenario and its authorities; `laboratory()` starts and stops it."""

    def __init__(self, folder: Path, site: Site, step_ca: Path) -> None:
        self.folder = folder
        self.site = site
        provisioners = [
            Provisioner("ansible", rounds=100_000),
            # Renews what has expired, which step-ca does only where it is told to.
            Provisioner("lenient", rounds=100_000, claims={"allowRenewalAfterExpiry": True}),
        ]
        names = ("ca.test", "localhost", "127.0.0.1", site.gateway)
        # What nodes reach. Certificates begin when they are issued, so that they live exactly as long as asked for.
        self.authority = Authority(
            folder / "authority", step_ca, provisioners, names, CLAIMS, backdate="0s", address=site.gateway
        )
        # The same CA as far as anybody can tell, where only this machine reaches it. Here they begin a minute before, as
        # shipped: step-ca judges a proof as of a minute before the end, when what lives for less would not have begun.
        self.hidden = Authority(folder / "hidden", step_ca, provisioners, names, CLAIMS, root=self.authority.root)
        # What a scenario asks for by writing `stopped` or `running` into it, and the answer; see _obey().
        self.wanted = folder / "authority.wanted"
        self.state = folder / "authority.state"

    @property
    def nodes(self) -> list[Node]:
        return self.site.nodes

    def facts(self) -> dict[str, object]:
        """What lab.json holds; secrets of a throw-away CA among it."""
        return {
            "folder": str(self.folder),
            "checkout": str(CHECKOUT),
            "gateway": self.site.gateway,
            "nodes": {
                node.name: {"address": node.address, "container": node.container, "fqdn": node.fqdn}
                for node in self.nodes
            },
            "authority": _facts(self.authority),
            "hidden": _facts(self.hidden),
        }

    def run(self, command: Sequence[str], cwd: Path, collections: Path, log: IO[bytes] | None = None) -> int:
        """Run a command that finds this laboratory, obeying what it asks for; return its code.

        `collections` is where Ansible finds the collection. Output goes to `log`, where one is given.
        """
        with subprocess.Popen(
            command,
            cwd=cwd,
            env=self.settings(collections),
            stdout=log,
            stderr=None if log is None else subprocess.STDOUT,
        ) as process:
            while process.poll() is None:
                self._obey()
                time.sleep(0.05)
        return process.returncode

    def settings(self, collections: Path) -> dict[str, str]:
        """The environment in which Ansible finds the collection and this laboratory."""
        programs_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        return {
            **os.environ,
            "PATH": programs_path,
            "STEPCA_LAB": str(self.folder),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            # The next laboratory may have the same addresses, and no use for connections to this one's nodes.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "MOLECULE_EPHEMERAL_DIRECTORY": str(self.folder / "molecule"),
            # The collection may be the checkout itself: compiled once, and not in it.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(collections.parent / "bytecode"),
        }

    def _obey(self) -> None:
        """Stop or start the authority as the scenario wishes."""
        with contextlib.suppress(FileNotFoundError):
            wanted = self.wanted.read_text(encoding="utf-8").strip()
            if wanted in ("stopped", "running") and wanted != self.state.read_text(encoding="utf-8"):
                self.authority.stop() if wanted == "stopped" else self.authority.start()
                self.state.write_text(wanted, encoding="utf-8")

    def leaks(self) -> list[str]:
        """Where nodes hold a secret of the controller: files, and journals as they are read."""
        passwords = {name: item.password for name, item in self.authority.provisioners.items()}
        texts = set().union(*map(canary.spellings, passwords.values()))
        hits = []
        for node in self.nodes:
            hits += ["%s:%s" % (node.name, path) for path in node.files_with(texts)]
            hits += ["%s: journal: %s" % (node.name, name) for name in canary.find_in_text(passwords, node.journal())]
        return hits

    def evidence(self) -> None:
        """Leave the journals of the nodes in the folder, for whoever asks what went wrong."""
        for node in self.nodes:
            (self.folder / (node.name + ".journal")).write_text(node.journal(), encoding="utf-8")


def _facts(authority: Authority) -> dict[str, object]:
    return {
        "url": authority.url,
        "fingerprint": authority.fingerprint,
        "root_path": str(authority.root_path),
        "log_path": str(authority.log_path),
        "passwords": {name: provisioner.password for name, provisioner in authority.provisioners.items()},
    }


@contextlib.contextmanager
def laboratory(purpose: str, folder: Path, suites: Mapping[str, str] = ONE_OF_EACH) -> Iterator[Laboratory]:
    """Start everything in `folder`, with these nodes; stop it when the block ends."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "privatepki.stepca", "-f", folder / "login_key"])
    with Site(purpose, folder / "login_key.pub", suites) as site:
        lab = Laboratory(folder, site, programs.find("step-ca").path)
        with lab.authority, lab.hidden:
            lab.state.write_text("running", encoding="utf-8")
            path = folder / "lab.json"
            path.touch(mode=0o600)
            path.write_text(json.dumps(lab.facts(), indent=2), encoding="utf-8")
            yield lab


def main(arguments: Sequence[str]) -> int:
    """Open a shell, or run the given command, in a laboratory."""
    folder = temporary_folder("laboratory")
    try:
        ensure_images()
        with laboratory("shell", folder) as lab:
            command = list(arguments) or [os.environ.get("SHELL", "/bin/sh")]
            return lab.run(command, CHECKOUT, linked_tree(folder / "collections"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    command_line(main)
