# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Nodes: podman containers that boot a whole Debian with systemd and sshd, in a network of their own.

A site (one network and its nodes) is written down in the cache with its owner before anything of it exists. Should the
owner be killed outright, the next run (or `make clean`) removes what it left, by exactly the names that it gave.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import images
from tools.cache import PROJECT, cache_folder
from tools.commands import ToolError, command_line, locked, run, say, wait_until
from tools.running import command_of

# What podman's defaults ask for is refused on some machines, and crun cannot do without it.
_RUNTIME = ("--runtime", "runc")
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
# The same for those who call podman themselves: the file that CONTAINERS_CONF names.
ENGINE_SETTINGS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
"""

BOOT_SECONDS = 60


def why_not() -> str:
    """Say why no node can be started on this machine; nothing when they can."""
    missing = [name for name in ("podman", "runc", "mmdebstrap", "ssh", "ssh-keygen", "openssl") if not _find(name)]
    if missing:
        return "not installed: %s" % ", ".join(missing)
    return "" if os.geteuid() == 0 else "only root may start whole systems in containers, and build them"


def _find(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


@dataclass(frozen=True)
class Node:
    """One whole system: its name in the inventory, its suite (a name in images.SUITES), its container and address."""

    name: str
    suite: str
    container: str
    address: str

    @property
    def fqdn(self) -> str:
        """Its name for TLS."""
        return self.name + ".test"

    def execute(self, *words: object) -> str:
        """Run a command in it as root; return what it prints."""
        return run(["podman", *_RUNTIME, "exec", self.container, *words])

    def wait_until_up(self) -> None:
        """Return when systemd has started everything; name the units that failed."""

        def state() -> str:
            asked = ["podman", *_RUNTIME, "exec", self.container, "systemctl", "is-system-running"]
            answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
            return answer if answer in ("running", "degraded") else ""

        if wait_until(state, BOOT_SECONDS, "%s to boot" % self.container) == "degraded":
            failed = self.execute("systemctl", "list-units", "--failed", "--plain", "--no-legend")
            raise ToolError("%s has booted with failed units:\n%s" % (self.name, failed))

    def files_with(self, texts: Collection[bytes]) -> list[str]:
        """The files in it, where something may have been written, that hold one of these texts (a line each)."""
        # Handed over by standard input: on the command line, /proc would show them.
        search = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--text", "--no-messages"]
        search += ["--exclude-dir=apt", "--file=-"]
        folders = ["/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr/local", "/var"]
        done = subprocess.run(
            ["podman", *_RUNTIME, "exec", "--interactive", self.container, *search, *folders],
            input=b"\n".join(texts),
            capture_output=True,
            check=False,
        )
        return done.stdout.decode("utf-8", "replace").splitlines()

    def journal(self) -> str:
        """All that its journal holds, a line for each entry."""
        return self.execute("journalctl", "--no-pager", "--output=short-precise").replace("\n ", "\\n")


# One node of each suite, named after it.
ONE_OF_EACH = {suite: suite for suite in images.SUITES}


class Site:
    """A network and its nodes; it runs inside a `with` block."""

    def __init__(self, purpose: str, login_key: Path, suites: Mapping[str, str] = ONE_OF_EACH) -> None:
        """`login_key` is the public key that may log in as root; `suites` are the nodes' names and what each runs."""
        self.name = "%s-%d-%s" % (PROJECT, os.getpid(), purpose)
        self.login_key = login_key
        self.gateway = ""
        self.nodes: list[Node] = []
        self._suites = dict(suites)
        self._note = cache_folder("sites") / self.name

    def __enter__(self) -> Site:
        remove_leftovers()
        self._note.write_text(json.dumps({"owner": os.getpid(), "nodes": list(self._suites)}), encoding="utf-8")
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        _remove(self.name, self._suites)
        self._note.unlink(missing_ok=True)

    def _start(self) -> None:
        # Two networks that are made at once may be given the same addresses.
        with locked(cache_folder("locks") / "networks"):
            run(["podman", "network", "create", "--disable-dns", self.name])
        subnet = json.loads(run(["podman", "network", "inspect", self.name]))[0]["subnets"][0]
        self.gateway = str(subnet["gateway"])
        prefix = self.gateway.rpartition(".")[0]
        # Fixed, so that a node which is killed and started again is where it was.
        self.nodes = [
            Node(name, suite, "%s-%s" % (self.name, name), "%s.%d" % (prefix, number))
            for number, (name, suite) in enumerate(self._suites.items(), start=11)
        ]
        for node in self.nodes:
            self._run(node)
        for node in self.nodes:
            node.wait_until_up()

    def _run(self, node: Node) -> None:
        hosts = ["--add-host=ca.test:%s" % self.gateway]
        hosts += ["--add-host=%s:%s" % (other.fqdn, other.address) for other in self.nodes]
        command = ["podman", *_RUNTIME, "run", "--detach", "--name", node.container, "--hostname", node.name]
        command += ["--network", self.name, "--ip", node.address, "--dns=none", *hosts]
        command += ["--volume", "%s:/root/.ssh/authorized_keys:ro" % self.login_key]
        # What systemd needs to give its services file systems of their own (ProtectSystem= and the like).
        command += ["--systemd=always", "--cap-add=SYS_ADMIN", *_LIMITS]
        run([*command, images.image_name(node.suite), "/sbin/init"])


def _remove(site: str, nodes: Iterable[str]) -> None:
    """Remove the containers, images that a scenario made of them, and the network of a site, as far as they exist."""
    for name in nodes:
        container = "%s-%s" % (site, name)
        command = ["podman", *_RUNTIME, "rm", "--force", "--ignore", "--time", "0", container]
        subprocess.run(command, capture_output=True, check=False)
        image = ["podman", "rmi", "--force", "--ignore", "localhost/" + container]
        subprocess.run(image, capture_output=True, check=False)
    subprocess.run(["podman", "network", "rm", "--force", site], capture_output=True, check=False)


def remove_leftovers() -> int:
    """Remove the sites whose owner is gone; return how many there were."""
    removed = 0
    for note in cache_folder("sites").iterdir():
        try:
            noted = json.loads(note.read_text(encoding="utf-8"))
            owner, nodes = int(noted["owner"]), list(noted["nodes"])
        except (OSError, ValueError, KeyError):
            continue  # another run is just writing or removing it
        if command_of(owner):
            continue
        say("removing %s, which a run that is gone left behind" % note.name)
        _remove(note.name, nodes)
        note.unlink(missing_ok=True)
        removed += 1
    return removed


def main(arguments: Sequence[str]) -> int:
    """Remove what killed runs left, and the images."""
    if not _find("podman") or os.geteuid() != 0:
        return 0
    say("removed %d sites of runs that are gone, and %d images" % (remove_leftovers(), images.remove_images()))
    return 0


if __name__ == "__main__":
    command_line(main)
