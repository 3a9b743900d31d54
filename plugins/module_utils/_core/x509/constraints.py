# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Name constraints (RFC 5280, 4.2.1.10), as OpenSSL reads them (crypto/x509/v3_ncons.c)."""

from __future__ import annotations

import re

from ..library import ExtensionOID, NameOID, x509
from . import fields

#: What OpenSSL takes for a domain in a commonName: labels with a dot between them, each of letters, digits, - and _.
_DOMAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)+")


def problem(way: list) -> str:
    """Which name on this way a certificate above it does not permit; "" if none. way: from the leaf to the root."""
    for place, certificate in enumerate(way):
        if place and certificate.subject == certificate.issuer:
            continue
        for upper in way[place + 1 :]:
            limits = fields.extension(upper, ExtensionOID.NAME_CONSTRAINTS)
            refused = [name for name in _names(certificate, not place) if not _permits(limits, name)] if limits else []
            if refused:
                return "%s does not permit the name %s of %s (name constraints)" % (
                    fields.title(upper),
                    _text(refused[0]),
                    fields.title(certificate),
                )
    return ""


def _names(certificate, is_leaf: bool) -> list:
    """All its names: the subject's, e-mail addresses in that, the alternative ones, and a leaf's commonName without any."""
    subject = certificate.subject
    found = [x509.DirectoryName(subject)] if list(subject) else []
    found += [_Mail(one.value) for one in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)]
    alternative = list(fields.extension(certificate, ExtensionOID.SUBJECT_ALTERNATIVE_NAME) or [])
    if is_leaf and not any(isinstance(one, x509.DNSName) for one in alternative):
        common = [str(one.value) for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        found += [_Domain(one) for one in common if _DOMAIN.fullmatch(one)]
    return found + alternative


class _Mail(str):
    """An e-mail address of a subject, which may not be one."""


class _Domain(str):
    """A commonName that looks like a domain."""


def _kind(name):
    return {_Mail: x509.RFC822Name, _Domain: x509.DNSName}.get(type(name), type(name))


def _value(name):
    return str(name) if isinstance(name, str) else name.value


def _text(name) -> str:
    value = _value(name)
    return value.rfc4514_string() if isinstance(value, x509.Name) else str(value)


def _permits(limits, name) -> bool:
    permitted = [one for one in limits.permitted_subtrees or [] if isinstance(one, _kind(name))]
    excluded = [one for one in limits.excluded_subtrees or [] if isinstance(one, _kind(name))]
    if not permitted and not excluded:
        return True
    within = _WITHIN.get(_kind(name))
    if within is None or not _is_readable(name):
        return False  # OpenSSL refuses what it cannot compare
    value = _value(name)
    inside = [within(value, one.value) for one in permitted]
    return (any(inside) or not permitted) and not any(within(value, one.value) for one in excluded)


def _is_readable(name) -> bool:
    value = _value(name)
    if _kind(name) is x509.RFC822Name:
        return "@" in value
    return _kind(name) is not x509.UniformResourceIdentifier or bool(_host(value))


def _domain_within(name: str, base: str) -> bool:
    name, base = name.lower(), base.lower()
    if not base or name == base:
        return True
    return name.endswith(base) and (base[0] == "." or name[-len(base) - 1] == ".")


def _mail_within(name: str, base: str) -> bool:
    local, _at, host = name.rpartition("@")
    if "@" not in base and base.startswith("."):
        return host.lower().endswith(base.lower())
    of_base, at, base_host = base.rpartition("@")
    return (not of_base or local == of_base) and host.lower() == (base_host if at else base).lower()


def _uri_within(name: str, base: str) -> bool:
    host, base = _host(name).lower(), base.lower()
    return host == base or (base.startswith(".") and len(host) > len(base) and host.endswith(base))


def _host(uri: str) -> str:
    """The host of a URI, or ""."""
    return re.split("[:/]", uri.partition(":")[2][2:], maxsplit=1)[0] if uri.partition(":")[2][:2] == "//" else ""


def _address_within(name, base) -> bool:
    return getattr(base, "version", None) == getattr(name, "version", 0) and name in base


def _name_within(name, base) -> bool:
    wanted = [_canonical(rdn) for rdn in base.rdns]
    return [_canonical(rdn) for rdn in name.rdns][: len(wanted)] == wanted


def _canonical(rdn) -> set:
    """Upper case and white space do not matter (RFC 5280, 7.1)."""
    return {(one.oid, " ".join(str(one.value).split()).lower()) for one in rdn}


_WITHIN = (
    {
        x509.DNSName: _domain_within,
        x509.RFC822Name: _mail_within,
        x509.UniformResourceIdentifier: _uri_within,
        x509.IPAddress: _address_within,
        x509.DirectoryName: _name_within,
    }
    if x509
    else {}
)
