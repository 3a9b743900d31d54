# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Whether what lies in the place of a file is of our making. What is not provably so is never destroyed: it is kept.

Ours are certificates that lead to a trusted root, keys of certificates that we have or had, files made of both, and what
is left of a file that the record lists and that was cut short. Everything else is somebody's: another form of key, a text,
one block more than we write.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ..errors import HostFileError
from ..files import places
from ..x509 import certificates, extensions, keys
from . import record

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n[A-Za-z0-9+/=\s]+?-----END \1-----[ \t]*(?:\r?\n|$)")
_BODY = re.compile(rb"[A-Za-z0-9+/=\s]*")
_KEYS = (b"PRIVATE KEY", b"EC PRIVATE KEY", b"RSA PRIVATE KEY")
_CERTIFICATE = b"CERTIFICATE"
#: Which blocks a file of ours may hold.
_HOLDS = {"certificate_path": (_CERTIFICATE,), "key_path": _KEYS, "combined_path": _KEYS + (_CERTIFICATE,)}


@dataclass
class Known:
    """What we know to be ours.

    roots: trusted ones; others: certificates that show whose a leaf is that lost its own intermediates; keys: fingerprints of
    public keys; kept: the record, or None; password: of the PKCS#12 file, or None.
    """

    roots: list
    others: list = field(default_factory=list)
    keys: set = field(default_factory=set)
    kept: object = None
    password: object = None


def is_ours(option: str, path: str, content: bytes, known: Known) -> bool:
    """Whether this content of the file of an option (of options.WRITTEN, or "record") is of our making, or nothing at all."""
    if not content.strip():
        return True
    if option == "record":
        return record.looks_ours(content)
    if option == "pkcs12_path":
        return _is_our_bundle(content, known) or (_is_cut_der(content) and _is_listed(path, known.kept))
    blocks = [(found.group(1), found.group(0)) for found in _BLOCK.finditer(content)]
    rest = _BLOCK.sub(b"", content).strip()
    allowed = _HOLDS.get(option, (_CERTIFICATE,))
    if any(label not in allowed for label, _block in blocks):
        return False
    if rest and not (_is_cut(rest, allowed) and _is_listed(path, known.kept)):
        return False
    if option == "certificate_path" and blocks and not _begins_with_a_leaf(blocks):
        return False
    if option == "root_path":
        known = replace(known, roots=known.roots + _roots_then(known))
    return all(_is_our_block(label, block, blocks, known) for label, block in blocks)


def _is_cut(rest: bytes, labels) -> bool:
    """Whether this is how a block of one of these kinds begins, and no more."""
    for label in labels:
        begin, end = b"-----BEGIN %s-----" % label, b"-----END %s-----" % label
        if begin.startswith(rest):
            return True
        if rest.startswith(begin):
            body = _BODY.match(rest, len(begin))
            return end.startswith(rest[body.end() :])
    return False


def _is_cut_der(content: bytes) -> bool:
    """Whether a value in DER announces more than there is (X.690, 8.1.3)."""
    if content[:1] != b"\x30" or len(content) < 2 or content[1] < 0x80:
        return content == b"\x30"
    count = content[1] & 0x7F
    return len(content) < 2 + count + int.from_bytes(content[2 : 2 + count], "big")


def _is_listed(path: str, kept) -> bool:
    """Whether the record lists this file, perhaps by way of a link."""
    for listed in record.files(kept):
        with suppress(HostFileError):
            if places.resolve(listed, "files") == path:
                return True
    return False


def _is_our_block(label: bytes, block: bytes, blocks: list, known: Known) -> bool:
    if label != _CERTIFICATE:
        try:
            key = keys.load(block, "")
        except HostFileError:
            return False
        return key is not None and keys.fingerprint(key) in known.keys
    try:
        found = certificates.load(block)[0]
        beside = [certificates.load(other)[0] for kind, other in blocks if kind == _CERTIFICATE]
    except ValueError:
        return False
    return leads(found, known, beside)


def _begins_with_a_leaf(blocks: list) -> bool:
    try:
        return not extensions.asks_to_be_ca(certificates.load(blocks[0][1])[0].extensions)
    except ValueError:
        return False


def is_our_leaf(certificate, known: Known, beside: list) -> bool:
    """Whether our CA made this certificate for a host."""
    return not extensions.asks_to_be_ca(certificate.extensions) and leads(certificate, known, beside)


def leads(certificate, known: Known, beside: list) -> bool:
    """Whether it is a root of ours, or comes from one by way of what lies beside it; its time does not matter."""
    roots = {certificates.fingerprint(root) for root in known.roots}
    pool = known.roots + beside + known.others
    for _step in range(certificates.LONGEST_CHAIN):
        if certificates.fingerprint(certificate) in roots:
            return True
        above = [one for one in pool if one != certificate and certificates.is_issued_by(certificate, one)]
        if not above:
            return False
        certificate = above[0]
    return False


def _roots_then(known: Known) -> list:
    """The roots that the record holds: trusted when it was written."""
    try:
        return certificates.load(known.kept["roots"].encode("utf-8")) if known.kept else []
    except ValueError:
        return []


def _is_our_bundle(content: bytes, known: Known) -> bool:
    """By what the record says of the file, or by the key in it where the password opens it."""
    made = known.kept.get("pkcs12_sha256") if known.kept else None
    if made == record.digest_of(content):
        return True
    if not known.password:
        return False
    from . import derived

    return derived.key_in(content, known.password) in known.keys
