# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The record beside a certificate: what was asked, what was given, and the roots of that day.

It settles what a certificate cannot tell: a template may have rewritten the names, the CA may have shortened the life.
It holds no secret, and is believed only when nobody but root or the task's user could have written it. In a foreign place
its owner could still swap it for an older one; so root keeps it in a folder of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from datetime import datetime
from typing import Optional

from .. import durations
from ..errors import HostFileError, OptionError
from ..files import places, reading
from ..x509 import certificates, keys

VERSION = 1


def path_of(certificate_path: str) -> str:
    """Where the record of this certificate lies: beside it or, where root writes in a foreign place, in a folder of root's."""
    with places.explained("reach", certificate_path), places.opened(certificate_path) as place:
        if os.geteuid() == 0 and not place.ours:
            return os.path.join(places.STATE, "records", name_of(place.path))
        return beside(place.path)


def beside(certificate_path: str) -> str:
    """Where it lies in a place that is ours."""
    folder, name = os.path.split(certificate_path)
    return os.path.join(folder, ".%s.stepca.json" % name)


def name_of(certificate_path: str) -> str:
    """A name for a file about this certificate that lies elsewhere: readable, and its own."""
    digest = hashlib.sha256(certificate_path.encode("utf-8", "surrogateescape")).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", os.path.basename(certificate_path)).lstrip(".")
    return "%s-%s.json" % (readable[:200], digest[:8])


def asked(wanted, provisioner) -> dict:
    """What the task asks for, as the record keeps it."""
    return {
        "names": [str(san) for san in wanted.sans],
        "common_name": wanted.common_name if wanted.common_name_given else None,
        "not_before": durations.format_limit(wanted.not_before) or None,
        "not_after": durations.format_limit(wanted.not_after) or None,
        "provisioner": provisioner,
        "template_data": wanted.template_digest,
    }


def template_digest(template_data):
    """SHA-256 of a template's data as canonical JSON, hex; None for none. The data itself may be secret."""
    if template_data is None:
        return None
    canonical = json.dumps(template_data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def make(
    wanted, provisioner, chain, roots, issued_at: str, kept=(), bundle: Optional[str] = None, signed_at=""
) -> bytes:
    """The record of a certificate that just came from the CA, as JSON.

    issued_at, signed_at: RFC 3339, by the CA's clock: when it was first issued, which renewals do not change, and when this
    very one was signed ("" where that is not known), which its begin does not tell, since CAs date back; kept: paths of backups
    that hold what is not ours; bundle: digest_of the PKCS#12 file that belongs to it, None for none.
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
        "signed_at": signed_at,
        "key_sha256": keys.fingerprint(leaf.public_key()),
        "roots": certificates.to_pem(roots).decode("ascii"),
        # With links, not what they lead to: those that go one day are both.
        "files": wanted.named
        or dict(
            wanted.outputs,
            certificate_path=wanted.certificate_path,
            key_path=None if wanted.csr_path else wanted.key_path,
        ),
        "kept": list(kept),
    }
    if bundle:
        content["pkcs12_sha256"] = bundle
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("ascii")


def digest_of(bundle: bytes) -> str:
    """How the record knows a PKCS#12 file again, which need not open."""
    return hashlib.sha256(bundle).hexdigest()


def read(certificate_path: str, chain=()):
    """The record of a certificate as a dict, or None where there is none to believe. chain: what lies there, [] for nothing."""
    kept = load(path_of(certificate_path))
    if is_of(kept, chain):
        return kept
    former = _left_beside(certificate_path)
    return former if former and (kept is None or is_of(former, chain)) else kept


def load(path: str):
    """The record in this file as a dict, or None where there is none to believe."""
    content = believed(path)
    return None if content is None else parse(content)


def believed(path: str):
    """The content of a file that nobody but root or the task's user can have written; None for another."""
    try:
        content, status = reading.load(path)
    except HostFileError:
        return None
    trusted = status is not None and status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
    return content if trusted else None


def _left_beside(certificate_path: str):
    """The record of a foreign place that an older version, or its renewer, wrote beside the certificate; else None."""
    place = beside(certificate_path)
    former = load(place) if path_of(certificate_path) != place else None
    listed = former.get("files") if former else None
    named = listed.get("certificate_path") if isinstance(listed, dict) else None
    try:
        fits_place = isinstance(named, str) and places.resolve(named, "files") == certificate_path
    except (HostFileError, OptionError):
        fits_place = False
    return former if fits_place else None  # root's record of another certificate may have been put here


def is_held(certificate_path: str, content) -> bool:
    """Whether only root or the task's user can have put this record where it is, not only have written it."""
    place = path_of(certificate_path)
    return content is None or (content == load(place) and (places.is_ours(place) or os.geteuid() != 0))


def move(certificate_path: str) -> None:
    """Take a record that was left beside a certificate in a foreign place to where it is kept now; HostFileError."""
    place, former_place = path_of(certificate_path), beside(certificate_path)
    if place == former_place:
        return
    former = _left_beside(certificate_path)
    if former is None:
        return
    from ..files import folders, replacing

    if read(certificate_path, certificates.read(certificate_path)[0]) == former:
        folders.make(os.path.dirname(place))
        replacing.put(place, (json.dumps(former, indent=2, sort_keys=True) + "\n").encode("ascii"), 0o644)
    places.remove(former_place)


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


def looks_ours(text: bytes) -> bool:
    """Whether this was once a record, cut short perhaps."""
    return parse(text) is not None or text.startswith(b'{\n  "asked": {'[: len(text)])


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
    return bool(content and chain) and content["given"].get("serial") == str(chain[0].serial_number)


def roots(content, fingerprints) -> list:
    """The roots in this record that are trusted: those with one of these fingerprints (hex SHA-256)."""
    if not content:
        return []
    try:
        kept = certificates.load(content["roots"].encode("utf-8"))
    except ValueError:
        return []
    return [root for root in certificates.only_roots(kept)[0] if certificates.fingerprint(root) in fingerprints]


def files(content) -> list:
    """The paths that a record lists."""
    listed = content.get("files") if content else None
    found = listed.values() if isinstance(listed, dict) else []
    return [path for path in found if isinstance(path, str) and os.path.isabs(path)]


def kept(content):
    """The paths of backups that hold what is not ours, as a record lists them; None where it says nothing of them."""
    listed = content.get("kept") if content else None
    return [path for path in listed if isinstance(path, str)] if isinstance(listed, list) else None


def issued_at(content, chain) -> datetime:
    """When a certificate was first issued. content: a record that fits, or None: then its begin is all there is to tell."""
    if content:
        try:
            return durations.parse_time(content["issued_at"], "issued_at")
        except OptionError:
            pass
    return certificates.not_before(chain[0])


def signed_at(content, chain) -> datetime:
    """When a certificate was signed, by the CA's clock; its begin where the record, or None, does not tell."""
    begin = certificates.not_before(chain[0])
    if not is_of(content, chain):
        return begin
    try:
        return durations.parse_time(content.get("signed_at") or content["issued_at"], "signed_at")
    except OptionError:
        return begin


def asked_limit(content, option: str):
    """not_before or not_after as asked for then: datetime, timedelta or None."""
    text = content["asked"].get(option)
    try:
        return durations.parse_limit(text, option) if text else None
    except OptionError:
        return None
