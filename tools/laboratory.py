# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What one molecule scenario plays with: nodes, two authorities, a login key, and `lab.json` that tells where they are.

`extensions/molecule/inventory` reads `lab.json`. Needs the environment molecule.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from tools.authority import Authority, Provisioner
from tools.cache import CHECKOUT
from tools.commands import run
from tools.nodes import Node, Site

# Lives from seconds to a month, exactly as long as asked for.
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
        # What nodes reach.
        self.authority = Authority(
            folder / "authority", step_ca, provisioners, names, CLAIMS, backdate="0s", address=site.gateway
        )
        # The same CA as far as anybody can tell, where only this machine reaches it.
        self.hidden = Authority(
            folder / "hidden", step_ca, provisioners, names, CLAIMS, backdate="0s", root=self.authority.root
        )
        # What a scenario asks for by writing `stopped` or `running` into it, and the answer; see obey().
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

    def obey(self) -> None:
        """Stop or start the authority as the scenario wishes; called again and again while the scenario runs."""
        with contextlib.suppress(FileNotFoundError):
            wanted = self.wanted.read_text(encoding="utf-8").strip()
            if wanted in ("stopped", "running") and wanted != self.state.read_text(encoding="utf-8"):
                self.authority.stop() if wanted == "stopped" else self.authority.start()
                self.state.write_text(wanted, encoding="utf-8")

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
def laboratory(purpose: str, folder: Path, step_ca: Path) -> Iterator[Laboratory]:
    """Start everything in `folder`; stop it when the block ends."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "privatepki.stepca", "-f", folder / "login_key"])
    with Site(purpose, folder / "login_key.pub") as site:
        lab = Laboratory(folder, site, step_ca)
        with lab.authority, lab.hidden:
            lab.state.write_text("running", encoding="utf-8")
            path = folder / "lab.json"
            path.touch(mode=0o600)
            path.write_text(json.dumps(lab.facts(), indent=2), encoding="utf-8")
            yield lab


def settings(folder: Path, collections: Path, programs: Path) -> dict[str, str]:
    """The environment in which molecule finds the laboratory in `folder`."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)]),
        "STEPCA_LAB": str(folder),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(folder / "molecule"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
