# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""DER is read by its letter, or not at all."""

from __future__ import annotations

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import der
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import tlv


def test_values_that_follow_each_other():
    long = bytes(300)
    assert der.fields(tlv(2, b"\x01") + tlv(4, b"") + tlv(0x30, long)) == [(2, b"\x01"), (4, b""), (0x30, long)]
    assert der.fields(b"") == []


@pytest.mark.parametrize(
    "content",
    ["02", "0205ff", "0280ff0000", "028101ff", "02820001ff", "0282ff", "1f0101ff", "0284ffffffff00"],
    ids=["no length", "cut short", "no end", "long form", "zero in front", "half a length", "long tag", "huge"],
)
def test_what_is_no_der_is_refused(content):
    with pytest.raises(ValueError):
        der.fields(bytes.fromhex(content))


def test_a_value_of_another_type_is_refused():
    assert der.members((der.SET, tlv(2, b"\x01")), der.SET) == [(2, b"\x01")]
    with pytest.raises(ValueError, match="another type"):
        der.members((der.SET, b""), der.SEQUENCE)


@pytest.mark.parametrize(
    "content, words",
    [
        ("551d13", "2.5.29.19"),
        ("2b06010401823702010e", "1.3.6.1.4.1.311.2.1.14"),
        ("8837", "2.999"),
        ("", "an empty identifier"),
    ],
)
def test_object_identifiers_in_words(content, words):
    assert der.oid_in_words(bytes.fromhex(content)) == words
