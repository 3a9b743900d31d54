# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The record beside a certificate: what was asked, what was given, and the roots of that day.

It settles what a certificate cannot tell: a template may have rewritten the names, the CA may have shortened the life.
It holds no secret, and is believed only when nobody but root or the task's user could have written it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from datetime import datetime

from . import certificates, durations, keys
from .errors import OptionError

VERSION = 1
_LARGEST = 1024 * 1024


def path_of(certificate_path: str) -> str:
    """Where the record of this certificate lies."""
    folder, name = os.path.split(certificate_path)
    return os.path.join(folder, ".%s.stepca.json" % name)


def asked(wanted, provisioner) -> dict:
    """What the task asks for, as the record keeps it."""
    return {
        "names": [str(san) for san in wanted.sans],
        "common_name": wanted.common_name if wanted.common_name_given else None,
        "not_before": durations.format_limit(wanted.not_before) or None,
        "not_after": durations.format_limit(wanted.not_after) or None,
        "provisioner": provisioner,
        "template_data": template_digest(wanted.template_data),
    }


def template_digest(template_data):
    """SHA-256 of a template's data as canonical JSON, hex; None for none. The data itself may be secret."""
    if template_data is None:
        return None
    canonical = json.dumps(template_data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def make(wanted, provisioner, chain, roots, issued_at: str) -> bytes:
    """The record of a certificate that just came from the CA, as JSON.

    issued_at: RFC 3339, by the CA's clock: when it was first issued, which renewals do not change.
    """
    leaf = chain[0]
    content = {
        "version": VERSION,
        "asked": asked(wanted, provisioner),
        "given": {
            "serial": str(leaf.serial_number),
            "names": [str(san) for san in certificates.sans(leaf)],
            "not_before": durations.format_time(certificates.not_before(leaf)),
            "not_after": durations.format_time(certificates.not_after(leaf)),
        },
        "issued_at": issued_at,
        "key_sha256": keys.fingerprint(leaf.public_key()),
        "roots": certificates.to_pem(roots).decode("ascii"),
        # With links, not what they lead to: those that go one day are both.
        "files": wanted.named
        or dict(
            wanted.outputs,
            certificate_path=wanted.certificate_path,
            key_path=None if wanted.csr_path else wanted.key_path,
        ),
    }
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("ascii")


def read(certificate_path: str):
    """The record beside a certificate as a dict, or None where there is none to believe."""
    return load(path_of(certificate_path))


def load(path: str):
    """The record in this file as a dict, or None where there is none to believe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | os.O_NONBLOCK)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o022 or status.st_uid not in (0, os.geteuid()):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as stream:
        return parse(stream.read(_LARGEST))


def parse(text: bytes):
    """The record in this JSON, or None if it is none of ours."""
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    shape = {"asked": dict, "given": dict, "key_sha256": str, "roots": str, "issued_at": str}
    if not isinstance(content, dict) or content.get("version") != VERSION:
        return None
    if not all(isinstance(content.get(name), kind) for name, kind in shape.items()):
        return None
    asked_names = content["asked"].get("names", [])
    if not isinstance(asked_names, list) or not all(isinstance(name, str) for name in asked_names):
        return None
    return content


def fits(content, chain) -> bool:
    """Whether this record is about this certificate: its key and the names it was given."""
    if not content:
        return False
    leaf = chain[0]
    names = [str(san) for san in certificates.sans(leaf)]
    return content["key_sha256"] == keys.fingerprint(leaf.public_key()) and content["given"].get("names") == names


def fitting(content, chain):
    """This record, or None where it is not about this certificate."""
    return content if chain and fits(content, chain) else None


def is_of(content, chain) -> bool:
    """Whether this record was written for this very certificate."""
    return bool(content) and content["given"].get("serial") == str(chain[0].serial_number)


def roots(content, fingerprints) -> list:
    """The roots in this record that are trusted: those with one of these fingerprints (hex SHA-256)."""
    if not content:
        return []
    try:
        kept = certificates.load(content["roots"].encode("utf-8"))
    except ValueError:
        return []
    return [root for root in kept if certificates.fingerprint(root) in fingerprints]


def files(content) -> list:
    """The paths that a record lists."""
    listed = content.get("files") if content else None
    found = listed.values() if isinstance(listed, dict) else []
    return [path for path in found if isinstance(path, str) and os.path.isabs(path)]


def issued_at(content, chain) -> datetime:
    """When a certificate was first issued. content: a record that fits, or None: then its begin is all there is to tell."""
    if content:
        try:
            return durations.parse_time(content["issued_at"], "issued_at")
        except OptionError:
            pass
    return certificates.not_before(chain[0])


def asked_limit(content, option: str):
    """not_before or not_after as asked for then: datetime, timedelta or None."""
    text = content["asked"].get(option)
    try:
        return durations.parse_limit(text, option) if text else None
    except OptionError:
        return None
