# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Real bytes, damaged on purpose: the same damage for the same random.Random."""

from __future__ import annotations

import base64
import copy
import json
import random
import re

_PEM = re.compile(rb"(-----BEGIN [A-Z0-9 ]+-----\n)(.*?)(-----END [A-Z0-9 ]+-----)", re.DOTALL)
_TAGS = (1, 2, 3, 4, 5, 6, 10, 12, 19, 20, 22, 23, 24, 28, 30, 48, 49, 0x80, 0x82, 0xA0, 0xA3)
_ODD = [
    None,
    True,
    False,
    0,
    -1,
    7.5,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\0",
    "\ud800",
    "é\u2028",
    "x" * 5000,
]
_ODD += [
    [],
    {},
    [[]],
    [None],
    {"": None},
    ["x", 1],
    "9999-99-99T99:99:99Z",
    "0001-01-01T00:00:00+23:59",
    "1" * 5000,
    "a.b.c",
]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """These bytes with a few mutations: within what PEM or base64 holds, within JSON, or anywhere."""
    for _one in range(chance.choice((1, 1, 2, 3, 6))):
        way = chance.random()
        if way < 0.6 and _PEM.search(content):
            content = _within_pem(content, chance)
        elif way < 0.8 and content[:1] in b"{[" and content:
            content = _within_json(content, chance)
        else:
            content = _bytes(content, chance)
    return content


def damaged_data(data, chance: random.Random):
    """What JSON holds with a few members replaced, left out or doubled."""
    data = copy.deepcopy(data)
    for _one in range(chance.choice((1, 1, 2, 4))):
        data = _member(data, chance)
    return data


def damaged_token(token: str, chance: random.Random) -> str:
    """A token with a mutation of a part of it, as it is encoded or as it is meant."""
    parts = token.split(".")
    index = chance.randrange(len(parts))
    meant = base64.urlsafe_b64decode(parts[index] + "=" * (-len(parts[index]) % 4))
    if chance.random() < 0.8:
        changed = damaged(meant, chance)
        parts[index] = base64.urlsafe_b64encode(changed).rstrip(b"=").decode("ascii")
    else:
        parts[index] = _bytes(parts[index].encode("ascii"), chance).decode("latin-1")
    return ".".join(parts)


def _bytes(content: bytes, chance: random.Random) -> bytes:
    """One mutation: of a bit, a byte, a tag of DER, a length, a piece."""
    at, size = chance.randrange(len(content) + 1), chance.choice((1, 2, 4, 16, 64))
    piece = content[at : at + size]
    new = chance.choice(
        (
            bytes([piece[0] ^ (1 << chance.randrange(8))]) + piece[1:] if piece else b"",
            bytes([chance.choice(_TAGS)]) + piece[1:],
            bytes([chance.randrange(256)]) + piece[1:],
            bytes([chance.choice((0, 1, 0x7F, 0x80, 0x84, 0xFF))]) + piece[1:],
            b"",
            piece * 2,
            chance.randbytes(size),
            piece + content[chance.randrange(len(content) + 1) :][:size],
        )
    )
    return content[:at] + new + content[at + size :]


def _within_pem(content: bytes, chance: random.Random) -> bytes:
    blocks = list(_PEM.finditer(content))
    block = chance.choice(blocks)
    try:
        meant = base64.b64decode(block.group(2))
    except ValueError:
        return _bytes(content, chance)
    encoded = base64.encodebytes(_bytes(meant, chance))
    return content[: block.start(2)] + encoded + content[block.end(2) :]


def _within_json(content: bytes, chance: random.Random) -> bytes:
    try:
        return json.dumps(_member(json.loads(content), chance)).encode("ascii")
    except (ValueError, RecursionError):
        return _bytes(content, chance)


def _member(data, chance: random.Random):
    """One member anywhere in it: replaced, damaged, left out or doubled."""
    if isinstance(data, dict) and data and chance.random() < 0.9:
        name = chance.choice(sorted(data))
        if chance.random() < 0.1:
            return {one: value for one, value in data.items() if one != name}
        return {**data, name: _member(data[name], chance)}
    if isinstance(data, list) and data and chance.random() < 0.9:
        at = chance.randrange(len(data))
        return data[:at] + chance.choice(([], [data[at]] * 2, [_member(data[at], chance)])) + data[at + 1 :]
    if isinstance(data, str) and data and chance.random() < 0.6:
        return damaged(data.encode("utf-8", "surrogatepass"), chance).decode("utf-8", "surrogateescape")
    return copy.deepcopy(chance.choice(_ODD))
