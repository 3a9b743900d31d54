# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The demo itself: a throw-away CA, three throw-away hosts, two runs of one playbook, and a look at the result.

Runs in the environment `demo`; `tools.demo` prepares it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

import yaml
from cryptography import x509

from tools import canary
from tools.authority import Authority, Provisioner
from tools.cache import CHECKOUT, temporary_folder
from tools.commands import ToolError, command_line
from tools.hosts import Host, inventory, make_hosts
from tools.sshd import start_sshd
from tools.tree import linked_tree

GROUPS = {"web": ["web1", "web2"], "db": ["db1"]}
SERVICES = {"web1": "www.example.com", "web2": "www.example.com", "db1": "db.example.com"}

_CONFIGURATION = """\
[defaults]
inventory = hosts.yml
# So that the demo can search what Ansible itself leaves on a host.
keep_remote_files = true
nocows = true
display_skipped_hosts = false
"""


def show(text: str = "") -> None:
    """Print a line of the demo, at once: it is read while it runs."""
    print(text, flush=True)


class Demo:
    """The demo's folder, what runs in it, and what it has shown."""

    def __init__(self, folder: Path, programs: Path, authority: Authority, hosts: Sequence[Host]) -> None:
        self.folder = folder
        self.programs = programs
        self.authority = authority
        self.hosts = list(hosts)
        self._write_files()

    def _write_files(self) -> None:
        """Write what a user of the collection would have: configuration, inventory, variables, playbooks."""
        linked_tree(self.folder / "collections")
        shutil.copytree(CHECKOUT / "demo", self.folder / "demo")
        for host in self.hosts:
            host.variables["service_name"] = SERVICES[host.name]
        (self.folder / "ansible.cfg").write_text(_CONFIGURATION, encoding="utf-8")
        structure = json.loads(inventory(self.hosts, GROUPS))
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(structure, sort_keys=False), encoding="utf-8")
        provisioner = self.authority.provisioner("ansible")
        settings = {
            "stepca_ca_url": self.authority.url,
            "stepca_ca_fingerprint": self.authority.fingerprint,
            "stepca_provisioner": provisioner.name,
            "stepca_provisioner_password": provisioner.password,
        }
        (self.folder / "stepca.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")

    def settings(self) -> dict[str, str]:
        """What is set for the playbooks, as a user would export it."""
        return {
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
        }

    def introduce(self) -> None:
        """Say where things are, in commands that can be typed again."""
        show("\n$ cd %s" % self.folder)
        for name, value in self.settings().items():
            show("$ export %s=%s" % (name, value))
        show("$ cat stepca.yml")
        for line in (self.folder / "stepca.yml").read_text(encoding="utf-8").splitlines():
            show(re.sub(r"(password: ).*", r"\1(in real life, from Ansible Vault)", line))

    def play(self, playbook: str) -> str:
        """Run a playbook before the user's eyes and return what it printed."""
        command = ["ansible-playbook", "-i", "hosts.yml", "-e", "@stepca.yml", "demo/" + playbook]
        show("\n$ " + " ".join(command))
        printed = []
        with _stopped_at_the_end(
            subprocess.Popen(
                [str(self.programs / command[0]), *command[1:]],
                cwd=self.folder,
                env={**_without_settings(os.environ), **self.settings(), "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
        ) as process:
            for line in process.stdout or ():
                show(line.rstrip("\n"))
                printed.append(line)
        if process.returncode != 0:
            raise ToolError("%s ended with code %d" % (playbook, process.returncode))
        return "".join(printed)

    def table(self) -> None:
        """Print each host's certificate, as it lies on disk, with the verdict of openssl."""
        rows = [("host", "reached by", "names", "serial", "not after", "openssl verify")]
        refused = []
        for host in self.hosts:
            path = host.path("/etc/tls/site.crt")
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            verdict = self._verdict(path)
            if verdict != "OK":
                refused.append("%s: %s" % (host.name, verdict))
            rows.append(
                (
                    host.name,
                    host.connection,
                    ", ".join(str(name.value) for name in names),
                    str(certificate.serial_number),
                    certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    verdict,
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        show("\n$ openssl verify -CAfile root.crt -untrusted site.crt site.crt   # for each host\n")
        for row in rows:
            show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if refused:
            raise ToolError("openssl refuses what the demo made: %s" % "; ".join(refused))

    def _verdict(self, certificate: Path) -> str:
        """The file is the leaf followed by the intermediates, so it is the chain as well."""
        command = ["openssl", "verify", "-CAfile", self.authority.root_path, "-untrusted", certificate, certificate]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = (done.stdout + done.stderr).strip().splitlines() or ["no answer"]
        return "OK" if done.returncode == 0 else said[-1]

    def search(self) -> None:
        """Search everything on the hosts for what must never leave the controller."""
        provisioner = self.authority.provisioner("ansible")
        secrets = {
            "password": provisioner.password,
            "private part of the key": provisioner.jwk["d"],
            "encrypted key": provisioner.jwe,
        }
        searched = sum(len(host.files()) for host in self.hosts)
        hits = canary.find_in_files(secrets, [host.root for host in self.hosts])
        found = {hit.rpartition(": ")[0] for hit in hits}
        show(
            "provisioner key or password found on the hosts: %d files (of %d, searched raw and in base64, "
            "with what Ansible keeps there)" % (len(found), searched)
        )
        if hits:
            raise ToolError("secrets on the hosts:\n%s" % "\n".join(hits))


def changed_in(printed: str) -> int:
    """Return the sum of changed= in the recap; a recap that is missing or has failures is an error."""
    recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=0\s", printed, re.MULTILINE)
    if {name for name, _changed in recap} != set(SERVICES):
        raise ToolError("the recap does not have all hosts, or has failures")
    return sum(int(changed) for _name, changed in recap)


def _without_settings(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would change Ansible or name another CA."""
    foreign = ("ANSIBLE_", "STEPCA_", "STEP_", "STEPPATH", "CERTCTL_")
    return {name: value for name, value in variables.items() if not name.startswith(foreign)}


@contextlib.contextmanager
def _stopped_at_the_end(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Leave no playbook running when the demo is interrupted."""
    try:
        yield process
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def _prepared(step_ca: Path, environment: Path, host_python: Path, folder: Path) -> Iterator[Demo]:
    """Start CA and sshd; stop both whatever happens."""
    with contextlib.ExitStack() as stack:
        authority = stack.enter_context(Authority(folder / "ca", step_ca, [Provisioner("ansible")]))
        show("started a throw-away step-ca at %s" % authority.url)
        sshd, reason = start_sshd(folder / "sshd")
        if sshd is not None:
            stack.callback(sshd.stop)
            show("db1 is reached by ssh: %s" % reason)
        else:
            show("all hosts are reached locally: %s" % reason)
        hosts = make_hosts(folder / "hosts", SERVICES, host_python, sshd, over_ssh=["db1"])
        yield Demo(folder, environment / "bin", authority, hosts)


def demonstrate(demo: Demo) -> None:
    """Health, enrolment, the same again, and what came of it."""
    demo.introduce()
    demo.play("health.yml")
    if changed_in(demo.play("site.yml")) == 0:
        raise ToolError("the first run changed nothing")
    changed = changed_in(demo.play("site.yml"))
    demo.table()
    show("\nsecond run: changed=%d" % changed)
    demo.search()
    if changed:
        raise ToolError("the second run should change nothing, and changed %d things" % changed)


def _on_termination(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Run the demo in a folder of its own, which goes with success and stays for a look after a failure."""
    signal.signal(signal.SIGTERM, _on_termination)
    step_ca, environment, host_python = (Path(argument) for argument in arguments[:3])
    folder = temporary_folder("demo")
    try:
        with _prepared(step_ca, environment, host_python, folder) as demo:
            demonstrate(demo)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except BaseException:
        show("\nthe demo failed; its files are kept in %s" % folder)
        raise
    shutil.rmtree(folder)
    show("\nCA and hosts are gone again. The playbooks are in %s." % (CHECKOUT / "demo"))
    return 0


if __name__ == "__main__":
    command_line(main)
