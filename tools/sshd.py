# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""An sshd of one's own on loopback, as an ordinary user: the way to a host that is not a local connection."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

from tools.commands import ToolError, run
from tools.ports import free_port
from tools.running import Background

_CONFIGURATION = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
Subsystem sftp internal-sftp
# The folder lies in a temporary one that others may write to; the keys in it are of use on loopback only.
StrictModes no
UsePAM no
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


class Sshd:
    """An sshd with its own host key, which admits the user who started it, with a key made for it."""

    def __init__(self, folder: Path, program: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.user = getpass.getuser()
        self.user_key = folder / "user_key"
        for name in ("host_key", "user_key"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "privatepki.stepca", "-f", folder / name])
        configuration = folder / "sshd_config"
        configuration.write_text(_CONFIGURATION.format(port=self.port, folder=folder), encoding="utf-8")
        host_key = (folder / "host_key.pub").read_text(encoding="utf-8")
        (folder / "known_hosts").write_text("[127.0.0.1]:%d %s" % (self.port, host_key), encoding="utf-8")
        self._process = Background([program, "-D", "-e", "-f", configuration], folder, folder / "sshd.log")

    def start(self) -> None:
        """Start it; return when it greets."""
        self._process.start(self._greets)

    def stop(self) -> None:
        """Stop it."""
        self._process.stop()

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    @property
    def ssh_options(self) -> list[str]:
        """Options for ssh: this server only, nothing of the user's own configuration, no master left behind."""
        return shlex.split(
            "-F none -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o ControlMaster=no -o ControlPath=none"
        ) + ["-o", "UserKnownHostsFile=%s" % (self.folder / "known_hosts")]

    def inventory_variables(self) -> dict[str, object]:
        """The connection variables of a host that is reached through it."""
        return {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": self.user,
            "ansible_ssh_private_key_file": str(self.user_key),
            "ansible_ssh_args": shlex.join(self.ssh_options),
        }

    def check_login(self) -> None:
        """Really log in once: an account may be locked, or its shell refuse."""
        address = "%s@127.0.0.1" % self.user
        run(["ssh", *self.ssh_options, "-o", "BatchMode=yes", "-i", self.user_key, "-p", self.port, address, "true"])


def find_sshd() -> str | None:
    """Return the path of sshd, which must be started by its full path and is on few users' PATH."""
    return shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


def start_sshd(folder: Path) -> tuple[Sshd | None, str]:
    """Start an sshd in `folder`; return it, or None and the reason why there is none."""
    program = find_sshd()
    if program is None or not shutil.which("ssh-keygen") or not shutil.which("ssh"):
        return None, "no OpenSSH server and client are installed"
    try:
        sshd = Sshd(folder, program)
        sshd.start()
    except (ToolError, subprocess.SubprocessError) as error:
        return None, "sshd does not start: %s" % str(error).strip().splitlines()[-1]
    try:
        sshd.check_login()
    except ToolError as error:
        sshd.stop()
        return None, "sshd does not let %s in: %s" % (sshd.user, str(error).strip().splitlines()[-1])
    return sshd, "%s on 127.0.0.1:%d" % (program, sshd.port)
