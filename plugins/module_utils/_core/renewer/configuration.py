# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What the renewer knows of one certificate: a file of JSON in the folder of configurations, which holds no secret.

{"version": 1, "certificate": options of stepca_certificate, "ca": where the CA is and whom to trust,
 "reload": [...], "run_after": [...], "on_failure": [...], "rollback": false, "served": "443",
 "interval": how often the renewer looks, "only_by_play": why it looks but never renews}
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Optional

from .. import durations
from ..ca import connections
from ..certificate import options, request
from ..errors import HostFileError, OptionError, StepCAError
from ..files import places, reading
from . import defaults
from .sandbox import refuse_odd

VERSION = 1
#: Options of stepca_certificate that say what a renewal makes.
OPTIONS = tuple(name for name, option in options.OPTIONS.items() if option.renewed)
#: What an entry says beside the options of stepca_certificate.
HOOKS = ("reload", "run_after", "on_failure", "rollback", "served")
_KEYS = ("version", "certificate", "ca", "interval", "only_by_play") + HOOKS
#: What status has to know of a certificate that only a play renews.
_WATCHED = tuple(name for name, option in options.OPTIONS.items() if option.watched)
ACTIONS = ("reload", "restart")
#: How the name of a configuration ends that waits for the certificate of an enrolment.
_WAITS = ".enrolment"
_MOST_RETRIES = 100
_REMEDY = "Run the play again, which writes it anew."


@dataclass
class Service:
    """A service that uses a certificate. action: reload or restart, which comes to the same and more."""

    name: str
    action: str = "reload"


@dataclass
class Configuration:
    """One certificate.

    options: as request.parse takes them; connection: connections.Connection; reload: list of Service; run_after, on_failure:
    lists of words; rollback: bool; served: (host, port) or None; only_by_play: why it is never renewed here, or "";
    interval: timedelta, None where nobody said how often the renewer looks.
    """

    options: dict
    connection: connections.Connection
    reload: list = field(default_factory=list)
    run_after: list = field(default_factory=list)
    on_failure: list = field(default_factory=list)
    rollback: bool = False
    served: Optional[tuple] = None
    only_by_play: str = ""
    interval: Optional[timedelta] = None

    @property
    def certificate_path(self) -> str:
        """The certificate that this is about."""
        return self.options["certificate_path"]

    @property
    def enrolment(self) -> str:
        """How a certificate that is missing comes to be there, a sentence."""
        if self.only_by_play:
            return "Run the play that issues it."
        return (
            "Run the play that enrols this host, or hand over a one-time token: renewer.pyz enrol %s --token-file -"
            % shlex.quote(self.certificate_path)
        )

    def wanted(self) -> request.Request:
        """The options as values; OptionError."""
        return request.parse(self.options)

    def entry(self) -> dict:
        """make, the other way."""
        services = [vars(service) for service in self.reload]
        served = _served_text(*self.served) if self.served else None
        hooks = {"reload": services, "run_after": self.run_after, "on_failure": self.on_failure}
        interval = durations.format_duration(self.interval) if self.interval else None
        return dict(self.options, rollback=self.rollback, served=served, interval=interval, **hooks)

    def written(self) -> dict:
        """{option: path} of the files that a renewal writes."""
        return {name: path for name, path in self.options.items() if name in options.WRITTEN and path}


def never_renewed(entry: dict) -> str:
    """Why no renewer could ever renew this, as its options alone show: a sentence, or ""; OptionError."""
    wanted = request.parse(entry)
    if wanted.csr_path:
        return (
            "csr_path: the renewer has no key of its own for %s, and a request that a user brings is signed again, which needs "
            "the provisioner. Renew it by a play (stepca_renewer: none), or let the host make the key."
            % wanted.certificate_path
        )
    if isinstance(wanted.not_after, datetime):
        return (
            "not_after: %s is a time, and a certificate that ends at a time asked for is never renewed. Give a duration, or "
            "renew %s by a play (stepca_renewer: none)." % (entry["not_after"], wanted.certificate_path)
        )
    if entry.get("pkcs12_password"):
        return (
            "pkcs12_password: the renewer would have to keep it in %s on the host. Give pkcs12_password_file, a file of mode "
            "0600 on the host, or renew %s by a play (stepca_renewer: none)."
            % (defaults.CONFIGURATIONS, wanted.certificate_path)
        )
    return ""


def hooked(entry: dict) -> Configuration:
    """An entry of stepca_renewer as far as others are told of its certificate; OptionError for what cannot mean anything."""
    return Configuration(
        {"certificate_path": entry["certificate_path"]},
        connections.Connection([], []),
        [_service(one) for one in _listed(entry, "reload")],
        _words(entry, "run_after"),
        _words(entry, "on_failure"),
        served=parse_served(entry["served"]) if entry.get("served") else None,
    )


def make(entry: dict, connection: connections.Connection) -> bytes:
    """The file for an entry of stepca_renewer, which may say only_by_play and interval; OptionError for what cannot mean anything."""
    names = OPTIONS
    if entry.get("only_by_play"):
        wanted = request.parse({name: entry.get(name) for name in _WATCHED + ("not_after",)})
        never_due = isinstance(wanted.not_after, datetime)
        names, entry = _WATCHED, dict(entry, **({"renew_before": "0%"} if never_due else {}))
    content = {
        "version": VERSION,
        "certificate": {name: entry[name] for name in names if entry.get(name) not in (None, "", [])},
        "ca": connections.describe(connection),
    }
    for name in {"mode", "key_mode"} & set(content["certificate"]):
        if isinstance(entry[name], int):  # YAML has read 0640 as a number
            content["certificate"][name] = "%04o" % entry[name]
    content.update({name: entry[name] for name in HOOKS + ("interval", "only_by_play") if entry.get(name)})
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
    _refuse_unknown(content, _KEYS, "key")
    found = Configuration(
        _options(content.get("certificate")),
        _connection(content.get("ca")),
        [_service(one) for one in _listed(content, "reload")],
        _words(content, "run_after"),
        _words(content, "on_failure"),
        content.get("rollback", False),
        parse_served(content["served"]) if content.get("served") else None,
        str(content.get("only_by_play") or ""),
        durations.parse_duration(content["interval"], "interval") if content.get("interval") else None,
    )
    if not isinstance(found.rollback, bool):
        raise OptionError("rollback: %r is neither true nor false" % (found.rollback,))
    if found.wanted().csr_path and not found.only_by_play:
        raise OptionError("csr_path: only a play can renew what a user's request is for")
    return found


def _refuse_unknown(given: dict, known, noun: str) -> None:
    for name in sorted(set(given) - set(known)):
        import difflib

        close = difflib.get_close_matches(name, known, n=1)
        raise OptionError("%s: no such %s.%s" % (name, noun, " Is it %s?" % close[0] if close else ""))


def _options(given) -> dict:
    if not isinstance(given, dict):
        raise OptionError("certificate: it does not say which")
    _refuse_unknown(given, OPTIONS + _WATCHED, "option of a certificate here")
    for name, value in given.items():
        option = options.OPTIONS[name]
        if option.type == "bool":
            fits = isinstance(value, bool)
        elif option.type == "list":
            fits = isinstance(value, list) and all(map(_is_text, value))
        else:
            fits = _is_text(value)
        if not fits or (option.choices and value not in option.choices):
            raise OptionError("%s: %r is no value for it" % (name, value))
        if option.type == "path" and not os.path.isabs(value):
            raise OptionError("%s: %r is not an absolute path" % (name, value))
        if name in options.WRITTEN:
            refuse_odd(value, name)
    return given


def _is_text(value) -> bool:
    """Whether it is text that can be part of a path, a command, a certificate."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeError:
        return False


def _connection(described) -> connections.Connection:
    try:
        connection = connections.restore(described)
        connection.urls = [connections.parse_url(url) for url in connection.urls]
        connection.fingerprints = [connections.parse_fingerprint(one) for one in connection.fingerprints]
        connection.timeout, connection.retries = float(connection.timeout), int(connection.retries)
        fits = connection.name is None or _is_text(connection.name)
        fits = fits and 0 < connection.timeout < math.inf and 0 <= connection.retries <= _MOST_RETRIES
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        fits = False
    if not fits:
        raise OptionError("ca: it does not say where the CA is and whom to trust")
    if not connection.urls or not connection.fingerprints:
        raise OptionError("ca: it lacks %s" % ("fingerprints" if connection.urls else "urls"))
    return connection


def parse_served(text) -> tuple:
    """(host, port) of "443" or "host:port"; OptionError."""
    form = r"(?:(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]+)\]):)?([0-9]{1,5})"
    found = re.fullmatch(form, str(text).strip())
    if not found or not 0 < int(found.group(3)) < 65536:
        raise OptionError("served: %r is no port. Write 443, host:443 or [::1]:443." % (text,))
    return found.group(1) or found.group(2) or "localhost", int(found.group(3))


def _served_text(host: str, port: int) -> str:
    return ("[%s]:%d" if ":" in host else "%s:%d") % (host, port)


def _service(given) -> Service:
    described = {"name": given} if isinstance(given, str) else given
    if (
        not isinstance(described, dict)
        or not isinstance(described.get("name"), str)
        or set(described) - {"name", "action"}
    ):
        raise OptionError("reload: %r is no service. Write nginx, or {name: nginx, action: restart}." % (given,))
    service = Service(described["name"], str(described.get("action") or "reload"))
    # The role takes them as the module systemd_service does, too.
    service.action = {"reloaded": "reload", "restarted": "restart"}.get(service.action, service.action)
    if service.action not in ACTIONS or not re.fullmatch(r"[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*", service.name):
        raise OptionError("reload: %r is no service, or its action is neither reload nor restart." % (given,))
    return service


def _listed(content: dict, name: str) -> list:
    given = content.get(name) or []
    if not isinstance(given, list):
        raise OptionError("%s: %r is no list" % (name, given))
    return given


def _words(content: dict, name: str) -> list:
    words = _listed(content, name)
    if not all(map(_is_text, words)) or words[:1] == [""]:
        raise OptionError("%s: %r is no command. Give a list of words, the program first." % (name, words))
    return words


def load(path: str) -> Configuration:
    """The configuration in this file; HostFileError says what is wrong with it, and what to do."""
    text = reading.read(path)
    if text is None:
        raise HostFileError("There is no configuration %s. %s" % (path, _REMEDY))
    try:
        return parse(text)
    except StepCAError as error:
        raise HostFileError(
            "The configuration %s cannot be used: %s. %s" % (path, str(error).rstrip("."), _REMEDY)
        ) from None


def staged(path: str) -> str:
    """Where this configuration waits until the enrolment that it belongs to has its certificate."""
    return os.path.join(os.path.dirname(path), ".%s%s" % (os.path.basename(path), _WAITS))


def waiting(folder: str) -> list:
    """The configurations in this folder for which one waits; HostFileError."""
    ending = ".json" + _WAITS
    return [
        os.path.join(folder, name[1 : -len(_WAITS)])
        for name in _names(folder)
        if name[0] == "." and name.endswith(ending)
    ]


def paths(folder: str) -> list:
    """All configurations in this folder, in order of name; HostFileError."""
    return [os.path.join(folder, name) for name in _names(folder) if name[0] != "." and name.endswith(".json")]


def _names(folder: str) -> list:
    with places.explained("list", folder), places.entered(folder) as found:
        if found is None:
            return []
        if not found.ours:
            raise HostFileError(
                "Others can change the configurations in %s (%s), and what stands there is run: no renewer reads them. Let only "
                "root write to that folder and those above it, or name another one." % (folder, found.why_foreign())
            )
        return found.names()
