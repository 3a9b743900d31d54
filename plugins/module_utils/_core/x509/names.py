# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Subject alternative names: their kind, their one normal form, and what step-ca would make of them.

The CA guesses the kind of a name from its text (IP address, URL with a scheme, text with an @, else DNS), and issues
whatever nonsense it is given. Here a name has one kind and one spelling, and a name that the CA would read otherwise
is refused. Names in other scripts become A-labels on the controller before they come here (RFC 5891).
"""

from __future__ import annotations

import ipaddress
import re
from collections import namedtuple
from urllib.parse import quote, urlsplit

from ..errors import OptionError

#: Bytes that all names together may have in a certificate: OpenSSL takes chains of 100 KiB (SSL_CTX_set_max_cert_list).
LARGEST = 80 * 1024
_SHOWN = 40
KINDS = ("dns", "ip", "email", "uri")
_PREFIX = re.compile(r"^(dns|ip|email|uri):(.*)$", re.IGNORECASE | re.DOTALL | re.ASCII)
_LABEL = re.compile(r"^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
#: What Go's url.Parse takes and its String() gives back unchanged; it escapes no ASCII in a host.
_USER = re.compile(r"^(?:[A-Za-z0-9._~$&+,;=:-]|%[89A-F][0-9A-F])*$")
_HOST = re.compile(r"^(?:\[[0-9a-f:.]+\]|(?:[a-z0-9._~!$&'()*+,;=-]|%[89A-F][0-9A-F])+)(?::[0-9]*)?$")
_LOCAL = re.compile(r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}$")


class SAN(namedtuple("SAN", "kind value")):
    """One subject alternative name in normal form; str() is how users and results write it: kind:value."""

    __slots__ = ()

    def __str__(self) -> str:
        return "%s:%s" % self


def parse_san(text: str) -> SAN:
    """A name as a user writes it, in normal form. OptionError says what is wrong with it."""
    kind, value = split_prefix(text)
    _refuse_unprintable(text, value)
    kind = kind or guess(value)
    san = SAN(kind, _NORMAL[kind](value))
    if stepca_reads(san.value) != kind:
        raise OptionError(
            "sans: step-ca would read %r as %s, not as %s. Write a name whose form says what it is."
            % (san.value, _ARTICLE[stepca_reads(san.value)], _ARTICLE[kind])
        )
    return san


def parse_sans(texts) -> list:
    """Many names, duplicates removed, in the order given."""
    found = list(dict.fromkeys(map(parse_san, texts)))
    size = sum(len(san.value) + 2 for san in found)
    if size > LARGEST:
        raise OptionError(
            "sans: %d names make a certificate of more than %d KiB, and TLS refuses chains above 100 KiB. Spread them over "
            "several certificates, or take a wildcard." % (len(found), LARGEST // 1024)
        )
    return found


def listed(sans) -> str:
    """Names for people, as many as can be read."""
    texts = [str(san) for san in sans]
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (" and %d more" % more if more > 0 else "")


def split_prefix(text: str) -> tuple:
    """(kind or None, the rest): a prefix dns:, ip:, email: or uri: of any case states the kind."""
    match = _PREFIX.match(text)
    return (match.group(1).lower(), match.group(2)) if match else (None, text)


def guess(value: str) -> str:
    """The kind that a name without a prefix has by its form."""
    if _ip(value):
        return "ip"
    if "://" in value:
        return "uri"
    return "email" if "@" in value else "dns"


def stepca_reads(value: str) -> str:
    """The kind that step-ca gives to this text (go.step.sm/crypto x509util.SplitSANs)."""
    if _ip(value):
        return "ip"
    if _SCHEME.match(value):
        return "uri"
    return "email" if "@" in value else "dns"


def from_certificate(kind: str, value: str) -> SAN:
    """A name found in a certificate or CSR, in normal form where it has one, else as it stands."""
    try:
        return SAN(kind, _NORMAL[kind](value))
    except (OptionError, KeyError):
        return SAN(kind, value)


def _refuse_unprintable(text: str, value: str) -> None:
    if not value:
        raise OptionError("sans: %r is empty. Remove it or give a name." % text)
    if re.search("[\x00-\x20\x7f\ud800-\udfff]", value):
        raise OptionError("sans: %r has spaces or control characters. One list entry is one name." % text)


def _ip(value: str):
    try:
        return ipaddress.ip_address(value) if "%" not in value else None
    except ValueError:
        return None


def _normal_ip(value: str) -> str:
    address = _ip(value)
    if address is None:
        raise OptionError("sans: %r is not an IP address%s." % (value, _hint_for_address(value)))
    # An IPv4 address written as IPv6 is issued as IPv4.
    return str(getattr(address, "ipv4_mapped", None) or address)


def _hint_for_address(value: str) -> str:
    if "/" in value:
        return "; a certificate names hosts, not networks: leave out the /%s" % value.rsplit("/", 1)[1]
    if value.startswith("["):
        return "; write it without brackets"
    if "%" in value:
        return "; a zone has no meaning outside its host"
    return ""


def _normal_dns(value: str) -> str:
    name = value[:-1] if value.endswith(".") else value
    name = name.lower() if name.isascii() else name  # lower() makes ASCII of some letters that are none
    labels = name.split(".")
    problem = _dns_problem(name, labels)
    if problem:
        raise OptionError("sans: %r is not a DNS name: %s." % (value, problem))
    return name


def _dns_problem(name: str, labels: list) -> str:
    if not name.isascii():
        return "it has characters beyond ASCII; write its A-labels (xn--...)"
    if "/" in name:
        return "a certificate names hosts, not networks or paths; leave out everything from the /"
    if name.startswith("["):
        return "write an IPv6 address without brackets"
    if "%" in name:
        return "a zone (%) has no meaning outside its host"
    if re.search(r":[0-9]+$", name) and name.count(":") == 1:
        return "a certificate names hosts, not ports; leave out %s" % name[name.index(":") :]
    if ":" in name:
        return "a colon belongs to a URI (write uri:...) or an IPv6 address"
    if "" in labels:
        return "it has an empty label (two dots in a row, or a dot in front)"
    if _ip(name):
        return "it is an IP address; leave out dns:"
    if all(label.isdigit() for label in labels):
        return "it is all numbers, yet no IP address"
    if len(name) > 253 or any(len(label) > 63 for label in labels):
        return "a label may have 63 characters and a name 253"
    rest = labels[1:] if labels[0] == "*" else labels
    if not rest or (labels[0] == "*" and len(labels) < 2):
        return "a wildcard needs a domain"
    for label in rest:
        if not _LABEL.match(label):
            return "the label %r may have letters, digits, - and _ only, and no - at its ends%s" % (
                label,
                "; * stands alone as the first label" if "*" in label else "",
            )
    return ""


def _normal_email(value: str) -> str:
    local, at, domain = value.rpartition("@")
    if not at or not _LOCAL.match(local) or local.startswith(".") or local.endswith(".") or ".." in local:
        raise OptionError("sans: %r is not an e-mail address: it needs user@domain in ASCII." % value)
    return "%s@%s" % (local, _normal_dns(domain))


def _normal_uri(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 -- raises on a port that is no number
    except ValueError as error:
        raise OptionError("sans: %r is not a URI: %s." % (value, error)) from None
    if not parts.scheme or not _SCHEME.match(value):
        raise OptionError(
            "sans: %r is not a URI: it has no scheme. Write scheme:..., such as spiffe://domain/path." % value
        )
    scheme, rest = value.split(":", 1)
    if not rest.strip("/"):
        raise OptionError("sans: %r is not a URI: nothing follows the scheme." % value)
    if re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        raise OptionError("sans: %r is not a URI: a %% must be followed by two hex digits." % value)
    if rest.count("#") > 1 or rest.endswith("#"):
        raise OptionError("sans: %r is not a URI: one # with a fragment behind it, or none." % value)
    rest = quote(rest, safe="!#$%&'()*+,/:;=?@[]~-._")
    if rest.startswith("//"):
        rest = "//" + _normal_authority(value, rest[2:])
    return "%s:%s" % (scheme.lower(), rest)


def _normal_authority(value: str, rest: str) -> str:
    """What follows the // of a URI, its host in lower case and its escapes in upper case, as Go writes them."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    user, at, host = authority.rpartition("@")
    user, host = [re.sub("%..", lambda escape: escape.group().upper(), part) for part in (user, host.lower())]
    if not (_HOST.match(host) and _USER.match(user)) and (authority or not rest.startswith("/")):
        raise OptionError("sans: %r is not a URI: step-ca cannot read %r as user and host." % (value, authority))
    return user + at + host + rest[len(authority) :]


_NORMAL = {"dns": _normal_dns, "ip": _normal_ip, "email": _normal_email, "uri": _normal_uri}
_ARTICLE = {"dns": "a DNS name", "ip": "an IP address", "email": "an e-mail address", "uri": "a URI"}
