# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Search for secrets where none may be: raw, as JSON text, and inside base64 at whatever offset."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path


def spellings(secret: str) -> set[bytes]:
    """Return every byte string that would show the secret."""
    raw = secret.encode("utf-8")
    found = {raw, json.dumps(secret)[1:-1].encode("ascii")}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).rstrip(b"=")
        # What the neighbours' bits take part in, at both ends, is not characteristic of the secret.
        first = -(-offset * 8 // 6)
        last = (offset + len(raw)) * 8 // 6
        inner = encoded[first:last]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def find_in_bytes(secrets: Mapping[str, str], data: bytes) -> list[str]:
    """Return the names of the secrets that the data shows."""
    return [name for name, secret in secrets.items() if any(text in data for text in spellings(secret))]


def find_in_text(secrets: Mapping[str, str], text: str) -> list[str]:
    """Return the names of the secrets that the text shows."""
    return find_in_bytes(secrets, text.encode("utf-8", "surrogateescape"))


def find_in_files(secrets: Mapping[str, str], folders: Iterable[Path]) -> list[str]:
    """Return `file: secret` for each file below the folders that shows one, in its content or its name."""
    hits = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            data = path.name.encode() + b"\n"
            if path.is_file() and not path.is_symlink():
                data += path.read_bytes()
            hits += ["%s: %s" % (path, name) for name in find_in_bytes(secrets, data)]
    return hits
