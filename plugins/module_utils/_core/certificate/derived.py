# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The files derived from a certificate, its key and the roots, as values: what each holds, and whether one found fits.

PEM files are compared by what they hold, PKCS#12 files by what opens with the password, since each making of one
gives other bytes (RFC 7292). Nothing is written here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from .. import library
from ..errors import HostFileError
from ..files import reading
from ..library import UnsupportedAlgorithm, hashes, pkcs12, serialization
from ..x509 import certificates, extensions, forms, keys
from .request import Pkcs12

_NAMES = {
    "chain_path": "chain file",
    "leaf_path": "leaf file",
    "root_path": "root file",
    "combined_path": "combined file",
    "pkcs12_path": "PKCS#12 file",
}
#: Anchored to its lines, as OpenSSL reads it: two blocks on one line are damage, text between blocks is a comment.
_PEM = re.compile(
    rb"^-----BEGIN ([A-Z0-9 ]+)-----[ \t]*\r?\n(?:(?!-----).)*^-----END \1-----[ \t]*\r?$", re.DOTALL | re.MULTILINE
)
_MARK = re.compile(rb"-----(?:BEGIN|END) ")
#: What stands readable in a PKCS#12 file: object identifiers (DER) of its bags, ciphers and digests.
_READABLE = re.compile(
    rb"\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01."  # 1.2.840.113549.1.12.1.x, ciphers of PKCS#12 version 1.0
    rb"|\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01."  # 1.2.840.113549.1.12.10.1.x, bags
    rb"|\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05."  # 1.2.840.113549.1.5.x, PKCS#5: PBKDF2, PBES1, PBES2
    rb"|\x06\x08\x2a\x86\x48\x86\xf7\x0d[\x02\x03]."  # 1.2.840.113549.2.x and 3.x, HMACs and old ciphers
    rb"|\x06\x09\x60\x86\x48\x01\x65\x03\x04[\x01\x02]."  # 2.16.840.1.101.3.4.1.x and 2.x, AES and SHA-2
    rb"|\x06\x05\x2b\x0e\x03\x02\x1a",  # 1.3.14.3.2.26, SHA-1
    re.DOTALL,
)
_SHROUDED_KEY_BAG = bytes.fromhex("060b2a864886f70d010c0a0102")
_ENCRYPTIONS = {
    "modern": {
        _SHROUDED_KEY_BAG,
        bytes.fromhex("06092a864886f70d01050d"),  # PBES2
        bytes.fromhex("06092a864886f70d01050c"),  # PBKDF2
        bytes.fromhex("06082a864886f70d0209"),  # hmacWithSHA256
        bytes.fromhex("060960864801650304012a"),  # aes256-CBC
        bytes.fromhex("0609608648016503040201"),  # SHA-256
    },
    "compatible": {
        _SHROUDED_KEY_BAG,
        bytes.fromhex("060a2a864886f70d010c0103"),  # pbeWithSHAAnd3-KeyTripleDES-CBC
        bytes.fromhex("06052b0e03021a"),  # SHA-1
    },
}


@dataclass(repr=False)
class Pair:
    """What the files are made of.

    chain: leaf first, as in certificate_path; key: private key, None only where no output needs it; roots: the
    trusted ones; password: of the PKCS#12 file, already read.
    """

    chain: list
    key: object
    roots: list
    password: Optional[str]
    pkcs12: Optional[Pkcs12]


def read_password(wanted: Pkcs12) -> str:
    """The password asked for, or the content of its file on this host; HostFileError if it cannot be one."""
    if wanted.password:
        password, source = wanted.password, "pkcs12_password"
    else:
        password, source = _password_in(wanted.password_file), "pkcs12_password_file: %s" % wanted.password_file
    if re.search("[\x00\ud800-\udfff]", password):  # some libraries would silently stop at the NUL
        raise HostFileError("%s holds what no password can: a NUL, or text that is not UTF-8." % source)
    return password


def _password_in(path: str) -> str:
    content, status = reading.load(path)
    if content is None:
        raise HostFileError("pkcs12_password_file: %s is missing. Make it first, on the host, with mode 0600." % path)
    if status.st_mode & 0o077:
        raise HostFileError(
            "pkcs12_password_file: others than its owner may read or change %s: its mode must be 0600." % path
        )
    password = forms.plain(content).decode("utf-8", "surrogateescape").rstrip()
    if not password:
        raise HostFileError("pkcs12_password_file: %s is empty. Write the password into it." % path)
    return password


def make(option: str, pair: Pair) -> bytes:
    """The content of the file that this option names; HostFileError if the library here cannot make it.

    A PKCS#12 file can be made of a key without a chain, to find out before there is a certificate.
    """
    if option == "pkcs12_path":
        return _make_pkcs12(pair)
    key = keys.to_pem(pair.key) if option == "combined_path" else b""
    return key + certificates.to_pem(_certificates(option, pair))


def problem(option: str, path: str, content, pair: Pair) -> str:
    """Why the file found (bytes, None for missing) is not what it should be, a part of a sentence; "" if it is."""
    if content is None:
        what = "is missing"
    elif option == "pkcs12_path":
        what = _pkcs12_problem(content, pair)
    else:
        what = _pem_problem(option, content, pair)
    return "the %s %s %s" % (_NAMES[option], path, what) if what else ""


def _certificates(option: str, pair: Pair) -> list:
    """The certificates of a PEM file, in its order."""
    if option == "root_path":
        return pair.roots
    return {"chain_path": pair.chain[1:], "leaf_path": pair.chain[:1], "combined_path": pair.chain}[option]


def _pem_problem(option: str, content: bytes, pair: Pair) -> str:
    wanted = _certificates(option, pair)
    if not content.strip():
        return "is empty" if wanted else ""
    blocks = [(match.group(1), match.group()) for match in _PEM.finditer(content)]
    if len(_MARK.findall(content)) != 2 * len(blocks):
        return "is damaged"
    if not blocks:
        return "is no PEM file"
    if option == "combined_path":
        label, pem = blocks.pop(0)
        what = _key_problem(pem, pair.key) if label.endswith(b"PRIVATE KEY") else "does not begin with the private key"
        if what:
            return what
    strangers = [label.decode("ascii") for label, _pem in blocks if label != b"CERTIFICATE"]
    if strangers:
        return "holds what does not belong there: %s" % ", ".join(strangers)
    try:
        found = [certificates.load(pem)[0] for _label, pem in blocks]
    except ValueError as error:
        return "cannot be read: %s" % error
    return _difference(found, wanted, ordered=option != "root_path")


def _key_problem(pem: bytes, wanted) -> str:
    try:
        key = keys.load(pem, "")
    except HostFileError:
        return "holds a private key that is encrypted with a password"
    if key is None:
        return "holds a private key that cannot be read"
    return "" if keys.fingerprint(key) == keys.fingerprint(wanted) else "holds another key"


def _difference(found: list, wanted: list, ordered: bool) -> str:
    """What is wrong with these certificates, "" where nothing is."""
    there, expected = [[certificates.fingerprint(one) for one in some] for some in (found, wanted)]
    missing = [one for one, fingerprint in zip(wanted, expected) if fingerprint not in there]
    foreign = [one for one, fingerprint in zip(found, there) if fingerprint not in expected]
    parts = ["%s %s" % (verb, _listed(some)) for verb, some in (("lacks", missing), ("holds", foreign)) if some]
    if not parts and ordered and there != expected:
        return "holds its certificates in another order, or one of them twice"
    return " and ".join(parts)


def _listed(some: list) -> str:
    return ", ".join("%s (serial %d)" % (one.subject.rfc4514_string(), one.serial_number) for one in some)


def _make_pkcs12(pair: Pair) -> bytes:
    leaf = pair.chain[0] if pair.chain else None
    encryption = pair.pkcs12.encryption
    try:
        content = pkcs12.serialize_key_and_certificates(
            _friendly_name(pair), pair.key, leaf, pair.chain[1:], _protection(encryption, pair.password)
        )
    except (TypeError, UnsupportedAlgorithm) as error:
        raise HostFileError(
            "pkcs12_path: cryptography %s on this host cannot make a PKCS#12 file (%s) of a key of type %s: %s. Install "
            "cryptography >= 38, or set ansible_python_interpreter to a Python that has it."
            % (library.VERSION, encryption, keys.type_of(pair.key), str(error).rstrip("."))
        ) from None
    made = _encryption_of(content)
    if made != encryption:
        raise HostFileError(
            "pkcs12_encryption: %s needs cryptography >= 38 on the host; found is %s, which can make %s. Install a newer "
            "one, or set ansible_python_interpreter to a Python that has it."
            % (encryption, library.VERSION, "only %s" % made if made else "neither modern nor compatible files")
        )
    return content


def _protection(encryption: str, password: str):
    secret = password.encode("utf-8")
    if not hasattr(serialization.PrivateFormat, "PKCS12"):  # cryptography < 38 leaves no choice
        return serialization.BestAvailableEncryption(secret)
    algorithm, digest = {
        "modern": (pkcs12.PBES.PBESv2SHA256AndAES256CBC, hashes.SHA256),
        "compatible": (pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC, hashes.SHA1),
    }[encryption]
    builder = serialization.PrivateFormat.PKCS12.encryption_builder()
    return builder.key_cert_algorithm(algorithm).hmac_hash(digest()).build(secret)


def _friendly_name(pair: Pair) -> bytes:
    """UTF-8 of the name. What a BMPString (RFC 7292, appendix C) cannot hold would not be read back: it is replaced."""
    name = pair.pkcs12.friendly_name
    if not name and pair.chain:
        sans = certificates.sans(pair.chain[0])
        name = certificates.common_name(pair.chain[0]) or (sans[0].value if sans else "")
    return re.sub("[\x00\ud800-\udfff\U00010000-\U0010ffff]", "\ufffd", name or "").encode("utf-8")


def _encryption_of(content: bytes) -> str:
    """How a PKCS#12 file is encrypted, in the words of the option; "" for another way."""
    readable = set(_READABLE.findall(content))
    for name, parts in _ENCRYPTIONS.items():
        if readable == parts:
            return name
    return ""


def _pkcs12_problem(content: bytes, pair: Pair) -> str:
    if not content.strip():
        return "is empty"
    try:
        name, key, leaf, others = _open(content, pair.password.encode("utf-8"))
    except extensions.unreadable():
        return "is damaged or does not open with the password asked for"
    if key is None or keys.fingerprint(key) != keys.fingerprint(pair.key):
        return "holds another key" if key else "holds no key"
    what = _difference(leaf, pair.chain[:1], ordered=True) or _difference(others, pair.chain[1:], ordered=False)
    if what:
        return what
    if name is not None and name != _friendly_name(pair):
        return "has the friendly name %r, not %r" % (
            name.decode("utf-8", "replace"),
            _friendly_name(pair).decode("utf-8"),
        )
    encryption = _encryption_of(content)
    if encryption != pair.pkcs12.encryption:
        return "is encrypted %s, not as %s" % (
            "as %s" % encryption if encryption else "in another way",
            pair.pkcs12.encryption,
        )
    return ""


def key_in(content: bytes, password: str):
    """The fingerprint of the key in a PKCS#12 file; None where the password does not open it, or there is none."""
    try:
        key = _open(content, password.encode("utf-8"))[1]
    except extensions.unreadable():
        return None
    return keys.fingerprint(key) if key else None


def _open(content: bytes, password: bytes) -> tuple:
    """(friendly name, None where the library cannot tell; key or None; [certificate of the key]; other certificates)."""
    if not hasattr(pkcs12, "load_pkcs12"):  # cryptography < 36
        key, leaf, others = pkcs12.load_key_and_certificates(content, password)
        return None, key, [leaf] if leaf else [], others
    found = pkcs12.load_pkcs12(content, password)
    leaf = [found.cert.certificate] if found.cert else []
    name = (found.cert.friendly_name or b"") if found.cert else None
    return name, found.key, leaf, [one.certificate for one in found.additional_certs]
