# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Where an option of connection or provisioner comes from: the task, its defaults, a variable, the environment.

Alternatives (a key, or the path of one) are never mixed across sources: the nearest that names one hides those farther
off. Values are looked at only when they are needed, so a steady run opens no vault.
"""

from __future__ import annotations

import json
import os
from collections import namedtuple
from collections.abc import Mapping

from ..module_utils import _options
from ..module_utils._core import durations
from ..module_utils._core.ca import connections
from ..module_utils._core.errors import OptionError
from ..module_utils._core.x509 import certificates, forms

#: value: never empty; where: for people, "the variable stepca_ca_url".
Setting = namedtuple("Setting", "name value where")
#: label(name) -> where, for people; get(name) -> value or None; has(name) -> whether get is worth asking, at no cost.
Source = namedtuple("Source", "label get has")

_ROOTS = ("ca_fingerprint", "ca_root", "ca_root_path")


class Settings:
    """The options of connection and provisioner, over several sources, the nearest first.

    read_file(path) -> bytes: a file of the controller, looked up as `copy` does and opened if vaulted; warnings: sentences on
    what was given and is not used.
    """

    def __init__(self, sources, read_file):
        self.warnings = []
        self._sources = sources
        self._read_file = read_file

    def find(self, name: str):
        """The nearest Setting of this name, or None."""
        found = self.nearest(name)
        return found[0] if found else None

    def nearest(self, *names) -> list:
        """All Settings of these alternatives that the nearest source with any of them gives."""
        for source in self._sources:
            found = _given(source, names)
            if found:
                return found
        return []

    def refuse_two(self, *names) -> None:
        """OptionError if one source gives two of these alternatives, unless a nearer one hides them.

        A lone one is looked at only to know whether it hides two.
        """
        for index, source in enumerate(self._sources):
            if sum(source.has(name) for name in names) < 2:
                continue
            if any(_given(nearer, names) for nearer in self._sources[:index]):
                return
            found = _given(source, names)
            if len(found) > 1:
                raise OptionError(
                    "%s and %s exclude each other: give one of them." % (_named(found[0]), _named(found[1]))
                )
            if found:
                return

    def one_of(self, *names):
        """The one Setting of these alternatives, or None; OptionError if one source gives two."""
        self.refuse_two(*names)
        found = self.nearest(*names)
        return found[0] if found else None

    def text_of(self, setting: Setting) -> str:
        """The text that a setting holds, or that is in the file it names (trailing white space cut)."""
        if setting.name.endswith(("_path", "_file")):
            return self.file(setting).decode("utf-8", "replace").rstrip()
        # As the lookup `file` reads a text with a BOM.
        return setting.value.lstrip("\ufeff") if isinstance(setting.value, str) else setting.value

    def file(self, setting: Setting) -> bytes:
        """The content of the controller's file that a setting names; a text is UTF-8 without the mark of an editor."""
        try:
            return forms.plain(self._read_file(setting.value))
        except OSError as error:
            raise OptionError(
                "%s: the controller's file %s cannot be read: %s."
                % (_named(setting), setting.value, error.strerror or error)
            ) from None

    def connection(self) -> connections.Connection:
        """Where the CA is and whom to trust; OptionError for what cannot mean anything."""
        urls = self.find("ca_url")
        name = self.find("ca_name")
        timeout = self.find("timeout")
        retries = self.find("retries")
        roots, fingerprints = self._trust()
        seconds = durations.parse_duration(timeout.value, _named(timeout)).total_seconds() if timeout else 15.0
        if not seconds:
            raise OptionError("%s: 0 leaves no time for an answer." % _named(timeout))
        return connections.Connection(
            urls=[connections.parse_url(url) for url in _words(urls)],
            fingerprints=fingerprints,
            roots=roots,
            name=str(name.value) if name else None,
            timeout=seconds,
            retries=_count(retries),
        )

    def request_from(self) -> str:
        """controller or host."""
        found = self.find("request_from")
        return str(found.value) if found else "controller"

    def _trust(self) -> tuple:
        """(roots, fingerprints); fingerprints are never empty."""
        found = {setting.name: setting for setting in self.nearest(*_ROOTS)}
        if not found:
            raise OptionError(
                "ca_fingerprint is required (or ca_root, ca_root_path): the SHA-256 of the CA's root, which "
                "`step certificate fingerprint root_ca.crt` prints. This collection never trusts what merely answers."
            )
        prints = [connections.parse_fingerprint(text) for text in _words(found.get("ca_fingerprint"))]
        loaded = [(setting, *self._roots(setting)) for name, setting in found.items() if name != "ca_fingerprint"]
        known = prints or [certificates.fingerprint(root) for root in loaded[0][1]]
        for setting, roots, others in loaded:
            if set(map(certificates.fingerprint, roots)) != set(known) - set(map(certificates.fingerprint, others)):
                other = found.get("ca_fingerprint") or loaded[0][0]
                raise OptionError("%s and %s disagree about which roots to trust." % (_named(other), _named(setting)))
        if not loaded:
            return [], list(dict.fromkeys(known))
        roots = loaded[0][1]
        return roots, [one for one in dict.fromkeys(known) if one in set(map(certificates.fingerprint, roots))]

    def _roots(self, setting: Setting) -> tuple:
        """(the roots there, what else is there); OptionError where there is no root."""
        pem = self.file(setting) if setting.name.endswith("_path") else str(setting.value).encode("utf-8")
        try:
            found = certificates.load(pem)
        except ValueError as error:
            raise OptionError("%s: no root certificate there: %s." % (_named(setting), error)) from None
        roots, left_out = certificates.only_roots(found)
        said = ["%s: %s" % (_named(setting), one) for one in left_out]
        if not roots:
            raise OptionError(" ".join(said))
        self.warnings += said
        return roots, [one for one in found if one not in roots]


def environment(environ) -> Source:
    """The controller's environment as the farthest source."""

    def variable(name):
        for candidate in _options.ENVIRONMENT.get(name, ()):
            if environ.get(candidate, "").strip():
                return candidate
        return None

    def get(name):
        candidate = variable(name)
        return environ[candidate] if candidate else None

    return Source(
        lambda name: "the environment variable %s" % variable(name), get, lambda name: variable(name) is not None
    )


def of_controller() -> Source:
    """The environment of this process."""
    return environment(os.environ)


def plain(value):
    """A value without Ansible's wrapping (vaulted strings, tags), or None where it counts as not given."""
    if value is None:
        return None
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()} or None
    if isinstance(value, (list, tuple)):
        return [item for item in map(plain, value) if item is not None] or None
    text = str(value)
    return text if text.strip() else None


def plain_data(value):
    """The same data without Ansible's wrapping, nothing left out: what a template of the CA's is given."""
    return json.loads(json.dumps(value, default=str))


def _given(source: Source, names) -> list:
    """The Settings of these names that this source gives."""
    given = [(name, plain(source.get(name))) for name in names if source.has(name)]
    return [Setting(name, value, source.label(name)) for name, value in given if value is not None]


def _words(setting) -> list:
    """The elements of a list; text is split at commas."""
    if setting is None:
        return []
    value = setting.value if isinstance(setting.value, list) else str(setting.value).split(",")
    return [str(word).strip() for word in value if str(word).strip()]


def _count(setting) -> int:
    if setting is None:
        return 3
    try:
        number = int(setting.value)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number <= 100:
        raise OptionError("%s: not a number of retries from 0 to 100." % _named(setting))
    return number


def _named(setting: Setting) -> str:
    return "%s (from %s)" % (setting.name, setting.where)
