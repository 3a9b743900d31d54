# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What the renewer knows of one certificate: a file of JSON in the folder of configurations, which holds no secret.

{"version": 1, "certificate": options of stepca_certificate, "ca": where the CA is and whom to trust,
 "reload": [...], "run_after": [...], "on_failure": [...], "rollback": false, "served": "443"}
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Optional

from .. import client, files, keys, outputs, wanted
from ..errors import HostFileError, OptionError, StepCAError

FOLDER = "/etc/stepca/renew.d"
VERSION = 1
#: Options of stepca_certificate that say what a renewal makes. Owners and modes are taken from the files.
OPTIONS = (
    "certificate_path",
    "key_path",
    "sans",
    "common_name",
    "pkcs12_password_file",
    "pkcs12_friendly_name",
    "pkcs12_encryption",
    "key_type",
    "key_policy",
    "not_before",
    "not_after",
    "max_lifetime",
    "renew_before",
    "issued_since",
    "backup",
) + outputs.OPTIONS
#: What an entry says beside the options of stepca_certificate.
HOOKS = ("reload", "run_after", "on_failure", "rollback", "served")
ACTIONS = ("reload", "restart")
_CHOICES = {
    "key_type": keys.KEY_TYPES,
    "key_policy": ("on_issue", "keep", "always"),
    "pkcs12_encryption": ("modern", "compatible"),
}
_REMEDY = "Run the play again, which writes it anew."


@dataclass
class Service:
    """A service that uses a certificate. action: reload or restart."""

    name: str
    action: str = "reload"


@dataclass
class Configuration:
    """One certificate.

    options: as wanted.parse takes them; connection: client.Connection; reload: list of Service; run_after, on_failure:
    lists of words; rollback: bool; served: (host, port) or None.
    """

    options: dict
    connection: client.Connection
    reload: list = field(default_factory=list)
    run_after: list = field(default_factory=list)
    on_failure: list = field(default_factory=list)
    rollback: bool = False
    served: Optional[tuple] = None

    @property
    def certificate_path(self) -> str:
        """The certificate that this is about."""
        return self.options["certificate_path"]

    def wanted(self) -> wanted.Wanted:
        """The options as values; OptionError."""
        return wanted.parse(self.options)

    def entry(self) -> dict:
        """make, the other way."""
        services = [vars(service) for service in self.reload]
        served = "[%s]:%d" % self.served if self.served else None
        hooks = {"reload": services, "run_after": self.run_after, "on_failure": self.on_failure}
        return dict(self.options, rollback=self.rollback, served=served, **hooks)

    def folders(self) -> list:
        """The folders that a renewal writes to, links followed."""
        paths = [path for name, path in self.options.items() if name in wanted.WRITTEN and path]
        return sorted({os.path.dirname(os.path.realpath(path)) for path in paths})


def name_of(certificate_path: str) -> str:
    """The name of the configuration of this certificate: readable, and its own."""
    digest = hashlib.sha256(certificate_path.encode("utf-8", "surrogateescape")).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", os.path.basename(certificate_path)).lstrip(".")
    return "%s-%s.json" % (readable, digest[:8])


def refuse_unrenewable(entry: dict) -> None:
    """OptionError for an entry that no renewer could ever renew, as its options alone show."""
    asked = wanted.parse(entry)
    if asked.csr_path:
        raise OptionError(
            "csr_path: the renewer has no key of its own for %s, and a request that a user brings is signed again, which needs "
            "the provisioner. Renew it by a play (stepca_renewer: none), or let the host make the key."
            % asked.certificate_path
        )
    if isinstance(asked.not_after, datetime):
        raise OptionError(
            "not_after: %s is a time, and a certificate that ends at a time asked for is never renewed. Give a duration, or "
            "renew %s by a play (stepca_renewer: none)." % (entry["not_after"], asked.certificate_path)
        )
    if entry.get("pkcs12_password"):
        raise OptionError(
            "pkcs12_password: the renewer would have to keep it in %s on the host. Give pkcs12_password_file, a file of mode "
            "0600 on the host." % FOLDER
        )


def check_hooks(entry: dict) -> None:
    """OptionError for a hook of an entry that cannot mean anything."""
    for given in _listed(entry, "reload"):
        _service(given)
    _words(entry, "run_after"), _words(entry, "on_failure")
    if entry.get("served"):
        parse_served(entry["served"])


def make(entry: dict, connection: client.Connection) -> bytes:
    """The file for an entry of stepca_renewer; OptionError for what cannot mean anything."""
    content = {
        "version": VERSION,
        "certificate": {name: entry[name] for name in OPTIONS if entry.get(name) not in (None, "", [])},
        "ca": client.describe(connection),
    }
    content.update({name: entry[name] for name in HOOKS if entry.get(name)})
    text = (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("ascii")
    parse(text)
    return text


def parse(text: bytes) -> Configuration:
    """The values of such a file; OptionError names what is wrong."""
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise OptionError("it is no JSON: %s" % error) from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise OptionError("it is no configuration of version %d" % VERSION)
    unknown = sorted(set(content) - {"version", "certificate", "ca"} - set(HOOKS))
    if unknown:
        raise OptionError("%s: no such key" % ", ".join(unknown))
    found = Configuration(
        _options(content.get("certificate")),
        _connection(content.get("ca")),
        [_service(one) for one in _listed(content, "reload")],
        _words(content, "run_after"),
        _words(content, "on_failure"),
        _flag(content, "rollback"),
        parse_served(content["served"]) if content.get("served") else None,
    )
    found.wanted()
    return found


def _options(given) -> dict:
    if not isinstance(given, dict):
        raise OptionError("certificate: it does not say which")
    unknown = sorted(set(given) - set(OPTIONS))
    if unknown:
        raise OptionError("%s: no such option of a certificate here" % ", ".join(unknown))
    for name, value in given.items():
        many = isinstance(value, list) and name == "sans" and all(isinstance(one, str) for one in value)
        if not many and not (isinstance(value, (str, int, float)) and name != "sans"):
            raise OptionError("%s: %r is no value for it" % (name, value))
        if value not in _CHOICES.get(name, [value]):
            raise OptionError("%s: %r is none of %s" % (name, value, ", ".join(_CHOICES[name])))
        if (name.endswith("_path") or name.endswith("_file")) and not os.path.isabs(str(value)):
            raise OptionError("%s: %r is not an absolute path" % (name, value))
    return given


def _connection(told) -> client.Connection:
    try:
        connection = client.restore(told)
        urls = [client.parse_url(url) for url in connection.urls]
        prints = [client.parse_fingerprint(one) for one in connection.fingerprints]
        connection.timeout, connection.retries = float(connection.timeout), int(connection.retries)
        connection.name = connection.name and str(connection.name)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise OptionError("ca: it does not say where the CA is and whom to trust") from None
    if not urls or not prints:
        raise OptionError("ca: it lacks %s" % ("urls" if not urls else "fingerprints"))
    return connection


def parse_served(text) -> tuple:
    """(host, port) of "443" or "host:port"; OptionError."""
    host, _colon, port = str(text).strip().rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not re.match("[0-9]{1,5}$", port) or not 0 < int(port) < 65536 or (":" in host and "[" not in str(text)):
        raise OptionError("served: %r is no port. Write 443, host:443 or [::1]:443." % (text,))
    return host or "localhost", int(port)


def _service(given) -> Service:
    told = {"name": given} if isinstance(given, str) else given
    if not isinstance(told, dict) or not isinstance(told.get("name"), str) or set(told) - {"name", "action"}:
        raise OptionError("reload: %r is no service. Write nginx, or {name: nginx, action: restart}." % (given,))
    service = Service(told["name"], str(told.get("action") or "reload"))
    # The role takes them as the module systemd_service does, too.
    service.action = {"reloaded": "reload", "restarted": "restart"}.get(service.action, service.action)
    if service.action not in ACTIONS or not re.match(r"[A-Za-z0-9:_.@\\-]+$", service.name) or service.name[0] == "-":
        raise OptionError("reload: %r is no service, or its action is neither reload nor restart." % (given,))
    return service


def _listed(content: dict, name: str) -> list:
    given = content.get(name) or []
    if not isinstance(given, list):
        raise OptionError("%s: %r is no list" % (name, given))
    return given


def _words(content: dict, name: str) -> list:
    words = _listed(content, name)
    if not all(isinstance(word, (str, int, float)) for word in words) or words[:1] == [""]:
        raise OptionError("%s: %r is no command. Give a list of words, the program first." % (name, words))
    return [str(word) for word in words]


def _flag(content: dict, name: str) -> bool:
    if not isinstance(content.get(name, False), bool):
        raise OptionError("%s: %r is neither true nor false" % (name, content[name]))
    return content.get(name, False)


def load(path: str) -> Configuration:
    """The configuration in this file; HostFileError says what is wrong with it, and what to do."""
    text = files.read(path)
    if text is None:
        raise HostFileError("There is no configuration %s. %s" % (path, _REMEDY))
    try:
        return parse(text)
    except StepCAError as error:
        raise HostFileError(
            "The configuration %s cannot be used: %s. %s" % (path, str(error).rstrip("."), _REMEDY)
        ) from None


def paths(folder: str) -> list:
    """All configurations in this folder, in order of name; HostFileError."""
    with files.explained("list", folder):
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return []
    return [os.path.join(folder, name) for name in sorted(names) if name.endswith(".json") and name[0] != "."]
