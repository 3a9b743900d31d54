# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Where a CA is and whom to trust: as users write it, and as it travels to a host."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Optional
from urllib.parse import urlsplit

from ..errors import OptionError
from ..x509 import certificates


@dataclass
class Connection:
    """Where a CA is and whom to trust.

    urls: tried in order; fingerprints: SHA-256 of the trusted roots, hex; roots: these roots where they are at hand;
    name: what the CA's certificate must say, None for the host of the URL; timeout: seconds of one request;
    retries: further rounds over all URLs.
    """

    urls: list
    fingerprints: list
    roots: list = field(default_factory=list)
    name: Optional[str] = None
    timeout: float = 15.0
    retries: int = 3


def audiences(connection: Connection, purpose: str, known=()) -> list:
    """Whom a token or proof is for: this purpose (sign, renew, revoke) at each URL, under the name that the CA knows.

    step-ca compares with dnsNames of its configuration letter by letter, so each name comes in every spelling that may
    be there: as given, in lower case, and as the CA's own certificate has it. known: the names in that, if it was seen.
    """
    places = [_parted(connection.name or urlsplit(url).netloc) for url in connection.urls]
    hosts = [_bracketed(one) + port for host, port in places for one in _spellings(host, known)]
    return list(dict.fromkeys("https://%s/1.0/%s" % (host, purpose) for host in hosts))


def host_of(url: str) -> str:
    """The host of a URL in its own spelling, "" if there is none; an address without brackets."""
    try:
        return _parted(urlsplit(url).netloc.rpartition("@")[2])[0]
    except ValueError:
        return ""


def is_same_host(one: str, other: str) -> bool:
    """Whether these name the same host, however they are spelled."""
    return _normal(one) == _normal(other)


def _parted(place: str) -> tuple:
    """(host without brackets, ":port" or "")."""
    match = re.match(r"^\[(.*)\](:[0-9]*)?$|^([^:]*)(:[0-9]*)$", place)
    return (match.group(1) or match.group(3) or "", match.group(2) or match.group(4) or "") if match else (place, "")


def _spellings(host: str, known) -> list:
    return [host, _normal(host)] + [one for one in known if is_same_host(one, host)]


def _normal(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


def _bracketed(host: str) -> str:
    return "[%s]" % host if ":" in host else host


def describe(connection: Connection) -> dict:
    """A connection as JSON, for a host; nothing in it is secret."""
    pem = certificates.to_pem(connection.roots).decode("ascii") if connection.roots else None
    return dict(vars(connection), roots=pem)


def restore(described: dict) -> Connection:
    """describe, the other way."""
    known = {name: described[name] for name in ("urls", "fingerprints", "name", "timeout", "retries")}
    return Connection(
        roots=certificates.load(described["roots"].encode("ascii")) if described["roots"] else [], **known
    )


def parse_url(text: str) -> str:
    """A CA's URL without a slash at its end; OptionError unless it is https without a path."""
    url = text.strip()
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 -- raises on a port that is no number
    except ValueError as error:
        raise OptionError("ca_url: %r is not a URL: %s." % (url, error)) from None
    if parts.username is not None:
        raise OptionError("ca_url: a URL with a user or password is not for step-ca: write https://host[:port].")
    if parts.scheme != "https" or not parts.hostname:
        raise OptionError(
            "ca_url: %r does not begin with https://. step-ca speaks HTTPS only: write https://host[:port]." % url
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise OptionError(
            "ca_url: %r has a path. step-ca lives at the root of its host: write https://%s." % (url, parts.netloc)
        )
    return "https://%s" % parts.netloc


def parse_fingerprint(text: str) -> str:
    """64 lower-case hex digits; colons, spaces, dashes and upper case are accepted."""
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not re.match(r"^[0-9a-f]{64}$", digits):
        raise OptionError(
            "ca_fingerprint: %r is not the SHA-256 of a certificate, 64 hex digits. "
            "`step certificate fingerprint root_ca.crt` on the CA prints it." % text
        )
    return digits
