# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Fields of certificates, alike with every version of the library."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone

from ..library import serialization, x509


def not_before(certificate) -> datetime:
    """Start of validity, aware."""
    if hasattr(certificate, "not_valid_before_utc"):  # cryptography >= 42
        return certificate.not_valid_before_utc
    return certificate.not_valid_before.replace(tzinfo=timezone.utc)


def not_after(certificate) -> datetime:
    """End of validity, aware."""
    if hasattr(certificate, "not_valid_after_utc"):  # cryptography >= 42
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=timezone.utc)


def fingerprint(certificate) -> str:
    """SHA-256 of the certificate's DER, hex."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def title(certificate) -> str:
    """Its subject, for people."""
    return certificate.subject.rfc4514_string() or "a certificate without a subject"


def extension(certificate, oid):
    """The value of this extension of a certificate or a request, or None."""
    try:
        return certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None
