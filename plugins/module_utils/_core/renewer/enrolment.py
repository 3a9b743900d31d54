# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The first certificate of a host without Ansible: first boot of an image, or of an instance that a scaler started.

The token was made elsewhere, for the names that the host shall have. The host makes its own key.
"""

from __future__ import annotations

import os

from ..ca import connections
from ..certificate import record
from ..errors import OptionError, StepCAError, TransportError
from ..files import folders, places, reading, replacing
from ..x509 import jws
from . import configuration, history, renewal

_LARGEST_TOKEN = 256 * 1024


def read_token(stream) -> str:
    """The token in this text stream; OptionError where it holds none."""
    words = stream.read(_LARGEST_TOKEN).lstrip("\ufeff").split()
    if len(words) != 1 or words[0].count(".") != 2:
        raise OptionError(
            "--token-file: what it holds is no token. Give the output of lookup('privatepki.stepca.stepca_token')."
        )
    return words[0]


def entry_for(path: str, given: dict, token: str) -> tuple:
    """(entry, connection) of the certificate to enrol: what its configuration says, and the command line over that.

    path: of the configuration, which may be missing; given: options of stepca_certificate, ca_url, ca_fingerprint.
    """
    entry, connection = {}, connections.Connection([], [])
    if places.exists(path):
        known = configuration.load(path)
        entry, connection = known.entry(), known.connection
    entry.update({name: value for name, value in given.items() if value and name in configuration.OPTIONS})
    if given.get("ca_url"):
        connection.urls = [connections.parse_url(url) for url in given["ca_url"]]
    if given.get("ca_fingerprint"):
        connection.fingerprints, connection.roots = (
            [connections.parse_fingerprint(one) for one in given["ca_fingerprint"]],
            [],
        )
    _name(entry, given.get("sans"), token)
    lacking = ["--key-path"] * (not entry.get("key_path")) + ["--ca-url"] * (not connection.urls)
    lacking += ["--ca-fingerprint"] * (not connection.fingerprints)
    if lacking:
        raise OptionError("There is no configuration %s, so give %s, too." % (path, " and ".join(lacking)))
    return entry, connection


def _name(entry: dict, given, token: str) -> None:
    """Give the entry its names: those asked for, else those of the token, and where it has none those that are known.

    An image knows the names of the host that it was made on; the CA signs for those of the token.
    """
    claims = jws.claims(token)[1]
    listed = claims.get("sans")
    names = given or (listed if isinstance(listed, list) and all(isinstance(one, str) for one in listed) else None)
    if names and names != entry.get("sans"):
        entry.update(sans=names, common_name=None)
    if not entry.get("sans") and not entry.get("common_name"):
        raise OptionError("The token names nobody, so give --san for each name.")


def enrol(path: str, memory: str, given: dict, token: str, now) -> tuple:
    """Renewal.run with a token, for a certificate whose configuration is written as soon as it is there.

    path: of the configuration; memory: folder of the histories.
    """
    entry, connection = entry_for(path, given, token)
    text = configuration.make(entry, connection)
    one = configuration.parse(text)
    for file in one.written().values():
        folders.make(os.path.dirname(file), marked=True)
    folders.make(os.path.dirname(path))
    if reading.read(path) != text:
        replacing.put(configuration.staged(path), text, 0o644)  # for the next run, whatever becomes of this one
    try:
        return renewal.run(one, history.load(memory, os.path.basename(path)), now, tokens={"sign": [token]})
    finally:
        _settle(path, text, now)


def settle(folder: str, now) -> None:
    """Finish enrolments that were interrupted: the configuration of one that has its certificate holds from now on.

    folder: of the configurations.
    """
    for path in configuration.waiting(folder):
        text = reading.read(configuration.staged(path))
        if text is None or _is_of(path, text):  # else it is somebody else's, whatever its name
            _settle(path, text, now)


def _is_of(path: str, text: bytes) -> bool:
    """Whether this text is a configuration that belongs at this path."""
    try:
        return record.name_of(configuration.parse(text).certificate_path) == os.path.basename(path)
    except StepCAError:
        return False


def _settle(path: str, text, now) -> None:
    if text is None or reading.read(path) == text:
        return places.remove(configuration.staged(path))
    try:
        renewal.Renewal(configuration.parse(text), history.History(""), now, dry=True).run()
        replacing.put(path, text, 0o644)
    except TransportError:
        return None  # not to be told without the CA's roots
    except StepCAError:
        pass  # there is no certificate for it, so what was true before still is
    return places.remove(configuration.staged(path))
