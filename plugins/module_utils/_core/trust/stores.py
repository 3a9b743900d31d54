# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The trust store of a system: where it is, the anchor files that we keep in it, and how it takes them over.

An anchor file is one root in PEM below a line for each of its owners, which are what it is there for: the root_path of
a task as str, or for a task that has no path the fingerprints that it named as list. So a root can leave with its last
owner, and those of other tasks stay.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from typing import Callable, Optional

from ..errors import HostFileError, OptionError
from ..files import places, reading
from ..x509 import certificates

_SBIN = "/usr/sbin:/usr/bin:/sbin:/bin"
_MARK = "# privatepki.stepca: "
_REMOVED_LINE = "\n!%s\n"


@dataclass
class Store:
    """A system's trust store.

    distributions: whose it is, for people; folder: of added anchors; command: argv that has the system take them over;
    bundle: the file of all roots that results, None if unknown; selection: Debian's list of what is to be left out,
    without which Java's store would keep what was removed.
    """

    distributions: tuple
    folder: str
    command: list
    bundle: Optional[str] = None
    selection: Optional[str] = None


#: The first of these whose folder and program exist is the system's.
STORES = (
    Store(
        ("EL", "Fedora"),
        "/etc/pki/ca-trust/source/anchors",
        ["update-ca-trust", "extract"],
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    ),
    Store(("SUSE",), "/etc/pki/trust/anchors", ["update-ca-certificates"], "/var/lib/ca-certificates/ca-bundle.pem"),
    Store(
        ("Arch",),
        "/etc/ca-certificates/trust-source/anchors",
        ["update-ca-trust"],
        "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
    ),
    Store(
        ("Debian", "Ubuntu", "Alpine"),
        "/usr/local/share/ca-certificates",
        ["update-ca-certificates"],
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ca-certificates.conf",
    ),
)


@dataclass
class Anchor:
    """What an anchor file holds: root is None where that is not one certificate; owners: see above."""

    root: object = None
    owners: list = field(default_factory=list)


def find(folder: Optional[str] = None, command: Optional[list] = None) -> Store:
    """The store of this system, or the one that the user describes; its command has the program's whole path."""
    if bool(folder) != bool(command):
        raise OptionError("system_trust_folder and system_trust_command need each other: give both or none.")
    if folder:
        return _given(folder, command)
    for store in STORES:
        program = shutil.which(store.command[0], path=_SBIN)
        if os.path.isdir(store.folder) and program:
            return Store(
                store.distributions, store.folder, [program] + store.command[1:], store.bundle, store.selection
            )
    raise HostFileError(
        "system_trust: this system has no trust store that is known here. Known are those of %s, with the package "
        "ca-certificates installed. Elsewhere say where the roots go and what takes them over with system_trust_folder "
        "and system_trust_command, or set system_trust: false and point the programs to root_path."
        % ", ".join(name for store in STORES for name in store.distributions)
    )


def path_of(store: Store, fingerprint: str) -> str:
    """Where the root of this fingerprint lies in the store."""
    return os.path.join(store.folder, "stepca-%s.crt" % fingerprint[:16])


def ours(store: Store) -> list:
    """The anchor files that have names of ours."""
    return glob.glob(os.path.join(glob.escape(store.folder), "stepca-%s.crt" % ("[0-9a-f]" * 16)))


def read(path: str) -> Optional[Anchor]:
    """What lies there; None where there is no file."""
    content = reading.read(places.resolve(path, "system_trust"))
    if content is None:
        return None
    found = Anchor(owners=_owners_in(content.decode("utf-8", "replace")))
    try:
        roots = certificates.load(content)
    except ValueError:
        return found
    found.root = roots[0] if len(roots) == 1 else None
    return found


def compose(root, owners: list) -> bytes:
    """The content of an anchor file."""
    lines = "".join("%s%s\n" % (_MARK, json.dumps(owner)) for owner in owners)
    return lines.encode("ascii") + certificates.to_pem([root])


def lacks(store: Store, root) -> bool:
    """Whether the bundle of the system lacks this root; False where it has none that is known."""
    return store.bundle is not None and not _bundled(store, root)


def still_has(store: Store, root) -> bool:
    """Whether the bundle of the system has this root."""
    return store.bundle is not None and _bundled(store, root)


def update(store: Store, gone: list, kept: list, run: Callable) -> list:
    """Have the system take over its store; returns warnings, HostFileError unless it then has the roots in kept.

    gone: names of anchor files that were removed; run(argv) -> (status, output, errors).
    """
    if not (gone and store.selection):
        return _run(store, store.command, kept, run)
    with tempfile.NamedTemporaryFile(prefix="stepca-", suffix=".conf") as selection:
        selection.write(reading.read(store.selection) or b"")
        selection.write("".join(_REMOVED_LINE % name for name in gone).encode("ascii"))
        selection.flush()
        return _run(store, store.command + ["--certsconf", selection.name], kept, run)


def _given(folder: str, command: list) -> Store:
    if not os.path.isabs(folder):
        raise OptionError("system_trust_folder: %r is not an absolute path." % folder)
    if not os.path.isdir(folder):
        raise HostFileError("system_trust_folder: there is no folder %s on this host." % folder)
    program = shutil.which(command[0], path=_SBIN)
    if not program:
        raise HostFileError(
            "system_trust_command: there is no program %s on this host. Give its whole path." % command[0]
        )
    return Store((), folder, [program] + command[1:])


def _owners_in(text: str) -> list:
    owners = []
    for line in text.splitlines():
        if line.startswith(_MARK):
            try:
                owners.append(json.loads(line[len(_MARK) :]))
            except (ValueError, RecursionError):
                continue  # a line that somebody changed is nobody's
    return [owner for owner in owners if isinstance(owner, (str, list))]


def _bundled(store: Store, root) -> bool:
    try:
        with open(store.bundle, "rb") as stream:
            bundle = stream.read()
    except OSError:
        return False
    return b"".join(certificates.to_pem([root]).split()) in b"".join(bundle.split())


def _run(store: Store, command: list, kept: list, run: Callable) -> list:
    said = "`%s`" % " ".join(store.command)
    status, output, errors = run(command)
    if status:
        raise HostFileError(
            "The anchors in %s were changed, but %s failed: %s. Mend that, then run %s by hand."
            % (store.folder, said, (errors or output).strip(), said)
        )
    for root in kept:
        if lacks(store, root):
            raise HostFileError(
                "%s ran, but the bundle %s lacks the root %s all the same: %s"
                % (said, store.bundle, certificates.fingerprint(root), (errors or output).strip()[-500:])
            )
    # Debian's program ends well where one of its hooks, such as Java's, did not.
    failed = [line[2:].strip() for line in output.splitlines() if line.startswith("E:")]
    return ["%s did its work, but not all of it: %s" % (said, line) for line in failed]
