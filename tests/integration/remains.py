# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What a run leaves behind on a host: the programs that Ansible sent there, and the files that lie there now."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.hosts import Host

#: Where a module lies inside the zip that Ansible sends.
MODULE = "ansible_collections/privatepki/stepca/plugins/modules/%s.py"

_ZIP = re.compile(rb"""['"](UEsD[A-Za-z0-9+/=\s]+)['"]""")


@dataclass(frozen=True)
class Payload:
    """One program that was sent to a host, as ANSIBLE_KEEP_REMOTE_FILES leaves it; `members` is the zip inside it."""

    path: Path
    text: bytes
    members: dict[str, bytes]

    @property
    def module(self) -> str:
        """The module's name without its collection."""
        return self.path.stem.partition("_")[2].rpartition(".")[2]


def payloads(folder: Path) -> list[Payload]:
    """Every AnsiballZ program below a folder, its zip opened; one without a zip is an error."""
    found = []
    for path in sorted(folder.rglob("AnsiballZ_*.py")):
        text = path.read_bytes()
        zips = _ZIP.findall(text)
        assert len(zips) == 1, "%s holds %d zips: has ansible-core changed?" % (path, len(zips))
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(zips[0]))) as opened:
            found.append(Payload(path, text, {name: opened.read(name) for name in opened.namelist()}))
    return found


def tree(*folders: Path) -> dict[str, str]:
    """Each file and folder below these with what it is: mode, owner, and a hash of its content."""
    return {str(path): _describe(path) for folder in folders for path in [folder, *sorted(folder.rglob("*"))]}


def _describe(path: Path) -> str:
    status = path.lstat()
    content = "link to %s" % path.readlink() if path.is_symlink() else ""
    if path.is_file() and not path.is_symlink():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return "%o %d:%d %s" % (status.st_mode, status.st_uid, status.st_gid, content)


def staged(hosts: Iterable[Host]) -> list[str]:
    """The dot-files of the collection's own that wait beside certificates and keys; records are no such files."""
    return [str(path) for host in hosts for path in host.path("/etc").rglob(".*.stepca-*")]
