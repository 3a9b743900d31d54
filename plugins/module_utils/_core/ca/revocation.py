# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What a revocation is asked for with: reasons and serial numbers (RFC 5280, 5.3.1)."""

from __future__ import annotations

import re

from ..errors import OptionError

#: RFC 5280, 5.3.1. 7 is not used there; step-ca would take it, and its list could not be read any more.
REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "certificateHold": 6,
    "removeFromCRL": 8,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}
#: What step-ca says of a serial that it has revoked before (authority/tls.go).
ALREADY = "already revoked"


def parse_reason(text) -> str:
    """The name in REASONS that this name (any case, with or without _) or number means; OptionError for none."""
    word = re.sub("(?<=[a-zA-Z])[_ -]", "", str(text)).lower()
    for name, number in REASONS.items():
        if word in (name.lower(), str(number)):
            return name
    hint = " 7 is not used in RFC 5280 and would make the CA's list of revoked certificates unreadable." * (word == "7")
    raise OptionError("reason: %r is no reason of RFC 5280.%s There are: %s." % (text, hint, ", ".join(REASONS)))


def parse_serial(text) -> str:
    """A serial number in decimal, out of decimal, 0x..., or hex with colons; OptionError for what is none."""
    word = str(text).strip().replace(":", "").replace(" ", "")
    if re.match(r"^[1-9][0-9]{0,49}$", word) and ":" not in str(text):
        return word
    match = re.match(r"^(?:0[xX])?([0-9a-fA-F]{1,40})$", word)
    if (
        match
        and int(match.group(1), 16)
        and (word[:2] in ("0x", "0X") or ":" in str(text) or re.search("[a-fA-F]", word))
    ):
        return str(int(match.group(1), 16))
    raise OptionError(
        "serial: %r is no serial number. Give it in decimal, or in hex with 0x before it or colons between its bytes."
        % text
    )
