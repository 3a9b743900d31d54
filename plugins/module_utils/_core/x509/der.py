# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""DER (X.690, 10) by its letter, for what the library does not show: two readers of anything looser may read two things."""

from __future__ import annotations

INTEGER, OCTET_STRING, OBJECT_IDENTIFIER, SEQUENCE, SET = 0x02, 0x04, 0x06, 0x30, 0x31
CONSTRUCTED = 0x20
_LONG_TAG = 0x1F


def fields(content: bytes) -> list:
    """(tag, content) of the values that follow each other here; ValueError for what is no DER."""
    found, at = [], 0
    while at < len(content):
        tag, at = content[at], at + 1
        if tag & _LONG_TAG == _LONG_TAG:
            raise ValueError("a tag of several bytes")
        length, at = _length(content, at)
        if at + length > len(content):
            raise ValueError("cut short")
        found.append((tag, content[at : at + length]))
        at += length
    return found


def members(value: tuple, tag: int) -> list:
    """The fields of a value with this tag; ValueError for any other."""
    if value[0] != tag:
        raise ValueError("a value of another type")
    return fields(value[1])


def oid_in_words(content: bytes) -> str:
    """An object identifier, dotted."""
    numbers, number = [], 0
    for byte in content:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    if not numbers:
        return "an empty identifier"
    first = min(numbers[0] // 40, 2)
    return ".".join(str(one) for one in [first, numbers[0] - 40 * first] + numbers[1:])


def _length(content: bytes, at: int) -> tuple:
    """(length, where the content begins): the shortest form alone is DER."""
    if at >= len(content):
        raise ValueError("cut short")
    length, at = content[at], at + 1
    if length < 0x80:
        return length, at
    size = length & 0x7F
    digits = content[at : at + size]
    if not size or len(digits) < size or not digits[0] or (size == 1 and digits[0] < 0x80):
        raise ValueError("a length that is not in its shortest form")
    return int.from_bytes(digits, "big"), at + size
