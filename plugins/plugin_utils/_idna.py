# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Names in other scripts become A-labels before anything else looks at them (IDNA 2008, RFC 5891)."""

from __future__ import annotations

import re

from ..module_utils._core.errors import OptionError
from ..module_utils._core.x509 import names
from ._libraries import require

try:
    import idna
except ImportError:
    idna = None


def to_ascii(text: str) -> str:
    """A name with the labels of its domain as A-labels; text that is ASCII comes back as it is."""
    if text.isascii():
        return text
    prefix, value = names.split_prefix(text)
    kind = prefix or names.guess(value)
    if kind == "uri":
        before, slashes, rest = value.partition("//")
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        user, at, host = authority.rpartition("@")
        name, colon, port = host.partition(":")
        value = before + slashes + user + at + _domain(name, text) + colon + port + rest[len(authority) :]
    elif kind == "email":
        local, at, domain = value.rpartition("@")
        value = local + at + _domain(domain, text)
    else:
        value = _domain(value, text)
    return "%s:%s" % (prefix, value) if prefix else value


def _domain(domain: str, text: str) -> str:
    return ".".join(label if label.isascii() else _label(label, text) for label in domain.split("."))


def _label(label: str, text: str) -> str:
    require("idna", idna)
    try:
        return idna.encode(label, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise OptionError("sans: %r is not an international domain name: %s." % (text, error)) from None
