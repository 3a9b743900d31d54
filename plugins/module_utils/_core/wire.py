# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What action and module say to each other, as values; and how the word of a host is read: by known names, of known
types, none too long and not too many, fit for a terminal. A host decides nothing about itself, and floods nobody.
"""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, dataclass, field, fields
from typing import Optional

from .errors import shown, shown_lines

#: Of what is no certificate: characters of a text, members of a list.
_LONGEST = 2000
_MOST = 100
#: A chain of certificates, and a proof that holds one.
_LONGEST_CHAIN = 256 * 1024
#: Characters of all names of a certificate together, with their kinds (x509.names.LARGEST).
_LONGEST_NAMES = 201000
_PACKED = "data of a template: "
_PROOF = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
OUTCOMES = ("none", "files", "renewed", "rekeyed", "issued", "removed")


def text(given, longest: int = _LONGEST) -> Optional[str]:
    """A text, cut to this length, as it may be shown; None for anything else."""
    return shown(given[:longest])[:longest] if isinstance(given, str) else None


def word(given, longest: int = _LONGEST) -> str:
    """The same, but "" for anything else."""
    return text(given, longest) or ""


def lines(given, longest: int = 100000) -> str:
    """A text of lines, as it may be shown; "" for anything else."""
    return shown_lines(given[:longest])[:longest] if isinstance(given, str) else ""


def matching(pattern: str):
    """A reader of texts that are such a word in whole; "" for anything else."""
    return lambda given: given if isinstance(given, str) and re.fullmatch(pattern, given) else ""


def pem(given) -> str:
    """A text as long as a chain may be, for a parser; "" for anything else."""
    return given[:_LONGEST_CHAIN] if isinstance(given, str) else ""


def csr(given) -> Optional[str]:
    """A text one character longer than a request may be: whoever loads it refuses it then."""
    return given[: _LONGEST_CHAIN + 1] if isinstance(given, str) else None


def texts(given) -> list:
    """The texts in a list; none for anything else."""
    return [text(one) for one in given[:_MOST] if isinstance(one, str)] if isinstance(given, list) else []


def names(given) -> list:
    """The same for the names of a certificate, of which there may be many, but not too long together."""
    found, left = [], _LONGEST_NAMES
    for one in map(word, given[:_LONGEST_NAMES] if isinstance(given, list) else []):
        left -= len(one) + 1
        if left < 0:
            break
        found += [one] if one else []
    return found


def flag(given) -> bool:
    """True for true alone."""
    return given is True


def known(given) -> Optional[bool]:
    """True or False; None for anything else, which is: not known."""
    return given if isinstance(given, bool) else None


def number(given) -> Optional[float]:
    """A number; None for anything else, the infinite ones among it."""
    fine = isinstance(given, (int, float)) and not isinstance(given, bool) and abs(given) < 1e15
    return given if fine else None


def proofs(given) -> list:
    """The renewal proofs that may be sent on as they are: three parts of base64url."""
    listed = given[:_MOST] if isinstance(given, list) else []
    return [one for one in listed if isinstance(one, str) and len(one) <= _LONGEST_CHAIN and _PROOF.fullmatch(one)]


def data(given, depth: int = 4):
    """Whatever JSON can say, no deeper than this, for a diff; None for the rest."""
    if isinstance(given, str):
        return lines(given, _LONGEST)
    if isinstance(given, (dict, list)) and not depth:
        return None
    if isinstance(given, dict):
        return {text(str(name)): data(value, depth - 1) for name, value in list(given.items())[:_MOST]}
    if isinstance(given, list):
        return [data(one, depth - 1) for one in given[:_MOST]]
    return given if isinstance(given, bool) else number(given)


def packed(given) -> str:
    """Secret data as one text. Ansible takes every text and number in a secret out of whatever a module says."""
    return _PACKED + json.dumps(given)


def unpacked(given):
    """What packed was given; None for anything else."""
    return json.loads(given[len(_PACKED) :]) if isinstance(given, str) and given.startswith(_PACKED) else None


def choice(words: tuple, otherwise):
    """A reader that knows these words."""
    return lambda given: given if isinstance(given, str) and given in words else otherwise


def shape(**readers):
    """A reader of an object with these members, each read by its own reader; None for what is no object."""

    def read(given):
        return {name: reads(given.get(name)) for name, reads in readers.items()} if isinstance(given, dict) else None

    return read


def listed(reads, most: int = _MOST):
    """A reader of a list of such objects, cut to this number; what is none is left out."""

    def read(given):
        members = [reads(one) for one in given[:most]] if isinstance(given, list) else []
        return [one for one in members if one is not None]

    return read


def table(reads, most: int, longest: int):
    """A reader of a list with a line for each of many things: (its rows, how many were left out).

    most: rows; longest: characters of all of them together.
    """

    def read(given):
        rows, size = [], 0
        for one in given[:most] if isinstance(given, list) else []:
            row = reads(one)
            size += len(json.dumps(row))
            if size > longest:
                break
            rows += [row] if row is not None else []
        return rows, len(given) - len(rows) if isinstance(given, list) else 0

    return read


#: The facts of a certificate.
facts = shape(
    serial=text,
    common_name=text,
    sans=names,
    not_before=text,
    not_after=text,
    renew_at=text,
    fingerprint=text,
    issuer=text,
    provisioner=text,
    provisioner_key_id=text,
    key_type=text,
    path=text,
)


class Value:
    """One thing that travels."""

    def to_json(self) -> dict:
        """Its members, without those that have their default."""
        return {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != _default(one)}

    @classmethod
    def from_json(cls, given: dict):
        """The value; a member with a reader is read by it, others are of the controller, and as it said."""
        members = {}
        for one in fields(cls):
            if "reads" in one.metadata:
                members[one.name] = one.metadata["reads"](given.get(one.name))
            elif one.name in given:
                members[one.name] = given[one.name]
        return cls(**members)


def _default(one):
    return one.default if one.default is not MISSING or one.default_factory is MISSING else one.default_factory()


def _by(reads) -> dict:
    """What `field` is told of a member with this reader, whose default is what is read where nothing is said."""
    return {"default_factory": lambda: reads(None), "metadata": {"reads": reads}}


@dataclass(frozen=True)
class Terms(Value):
    """What holds for all certificates of a task.

    now: the controller's clock, RFC 3339; fingerprints: of the trusted roots, hex SHA-256; roots: they, as PEM, None while
    the controller does not know them; provisioner: the name to compare, or None; audiences: the renewal URLs that a proof
    is for; attempts: how many proofs to make; can_issue: whether anybody vouches for a certificate that is issued anew;
    connection: where the CA is (connections.describe), for a host that asks it itself.
    """

    now: str
    fingerprints: list
    roots: Optional[str] = None
    provisioner: Optional[str] = None
    audiences: list = field(default_factory=list)
    attempts: int = 1
    can_issue: bool = False
    connection: Optional[dict] = None


@dataclass(frozen=True)
class Question(Value):
    """What a host is told for the examination of one certificate.

    template: the digest of template_data, which may be secret and is of no use to a host that does not ask the CA itself;
    look: only look, since the list of revoked certificates comes first; refused: why the CA did not renew it, "" if it
    was not asked; revoked: a sentence where the CA revoked it.
    """

    look: bool = False
    refused: str = ""
    revoked: str = ""
    template: Optional[str] = None


@dataclass(frozen=True)
class Errand(Value):
    """What a host is to do about one certificate that was examined.

    step: install (chain as PEM, issued_at by the CA's clock, renewal), obtain (outcome, source of the provisioner's name,
    revoke: a serial), discard (the key of csr), remove; digest: of the files as examined; csr: PEM; template: as
    in Question.
    """

    step: str
    digest: Optional[str] = None
    chain: str = ""
    issued_at: str = ""
    renewal: bool = False
    outcome: str = ""
    csr: Optional[str] = None
    source: str = ""
    revoke: Optional[str] = None
    template: Optional[str] = None


@dataclass(frozen=True)
class Answer(Value):
    """What a host says of one certificate: found, to be done, done.

    outcome: see OUTCOMES; certificate: its facts, or None; needs_roots: nothing can be decided without the roots; former:
    PEM of the certificate that is to be revoked, former_roots: of its roots, as its record has them, holding: a proof that
    the host has its key, revocable: whether there is one; csr or proofs: what the CA is to be given; digest: of the files as
    found; failed, msg, overtaken (somebody else was faster): what went wrong, maybe after it was installed.
    """

    outcome: str = field(**_by(choice(OUTCOMES, "none")))
    reasons: list = field(**_by(texts))
    warnings: list = field(**_by(texts))
    certificate: Optional[dict] = field(**_by(facts))
    needs_roots: bool = field(**_by(flag))
    revocable: bool = field(**_by(flag))
    former: str = field(**_by(pem))
    former_roots: str = field(**_by(pem))
    holding: str = field(**_by(lambda given: "".join(proofs([given]))))
    revoked: bool = field(**_by(flag))
    backup_files: list = field(**_by(texts))
    ca_url: Optional[str] = field(**_by(text))
    proofs: list = field(**_by(proofs))
    csr: Optional[str] = field(**_by(csr))
    digest: Optional[str] = field(**_by(text))
    failed: bool = field(**_by(flag))
    msg: Optional[str] = field(**_by(text))
    overtaken: bool = field(**_by(flag))

    @classmethod
    def from_json(cls, given: dict):
        """The answer of a host. What failed before anything was done says that alone."""
        if not given.get("failed"):
            return super().from_json(dict(given, failed=False, msg=None, overtaken=False))
        failure = {"failed": True, "msg": text(given.get("msg")) or "The host gives no reason."}
        failure["overtaken"] = given.get("overtaken")
        was_done = given.get("outcome") in OUTCOMES[1:]
        return super().from_json(dict(given, **failure) if was_done else failure)
