# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Reasons and serials of revocations, as people write them."""

from __future__ import annotations

import pytest
from cryptography import x509

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import revocation
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError


@pytest.mark.parametrize(
    "text, name",
    [(name, name) for name in revocation.REASONS]
    + [(number, name) for name, number in revocation.REASONS.items()]
    + [
        ("0", "unspecified"),
        ("KEYCOMPROMISE", "keyCompromise"),
        ("key_compromise", "keyCompromise"),
        ("Cessation of Operation", "cessationOfOperation"),
        ("ca-compromise", "cACompromise"),
    ],
)
def test_a_reason_has_a_name_and_a_number(text, name):
    assert revocation.parse_reason(text) == name


def test_reasons_are_those_of_the_library():
    assert set(revocation.REASONS) == {flag.value for flag in x509.ReasonFlags}


@pytest.mark.parametrize("text", [7, "7", 11, "-1", "", "because", None, "1.0"])
def test_what_is_no_reason(text):
    with pytest.raises(OptionError, match="^reason: %r is no reason of RFC 5280.* keyCompromise" % text) as caught:
        revocation.parse_reason(text)
    assert ("unreadable" in str(caught.value)) is (str(text) == "7")


@pytest.mark.parametrize(
    "text, serial",
    [
        ("10", "10"),
        (10, "10"),
        (" 10 ", "10"),
        ("0x10", "16"),
        ("0X1F", "31"),
        ("1f", "31"),
        ("10:ff", "4351"),
        ("00:10", "16"),
        ("10:00", "4096"),
        ("ab cd", "43981"),
        ("236871453013387650102857451012903411234", "236871453013387650102857451012903411234"),
        ("ff" * 20, str(int("ff" * 20, 16))),
    ],
)
def test_a_serial_is_read_in_decimal_and_hex(text, serial):
    assert revocation.parse_serial(text) == serial


@pytest.mark.parametrize(
    "text", ["", "0", "0x", "0x0", "-1", "1.5", "010", "xyz", "1" * 51, "ff" * 21, "10g", "1_0", "\u0661", None, True]
)
def test_what_is_no_serial(text):
    with pytest.raises(OptionError, match="^serial: .* is no serial number. Give it in decimal, or in hex"):
        revocation.parse_serial(text)
