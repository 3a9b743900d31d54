# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What a task asks for, as values: the options of one certificate, understood the same on controller and host."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Optional

from .. import durations
from ..errors import OptionError
from ..x509 import names
from . import record
from .options import OPTIONS, OUTPUTS, SHARED, SINGLE, WRITTEN, value

#: The longest commonName that X.509 allows (RFC 5280, appendix A, ub-common-name).
LONGEST_COMMON_NAME = 64
_SELINUX = ("seuser", "serole", "setype", "selevel")


@dataclass(repr=False)  # no repr of the password
class Pkcs12:
    """How the PKCS#12 file is to be. encryption: modern or compatible; friendly_name: None for the default."""

    password: Optional[str]
    password_file: Optional[str]
    friendly_name: Optional[str]
    encryption: str


@dataclass(frozen=True)
class Request:
    """One certificate as asked for.

    sans: names.SAN in normal form; common_name: "" only when the CSR leaves it out;
    not_before, not_after: datetime, timedelta or None; max_lifetime: timedelta or None;
    renew_before: durations.Share or timedelta; issued_since: datetime or None; template_data: dict or None, and
    template_digest is known without it;
    key_policy: on_issue, keep or always; outputs: {option of OUTPUTS: path}; pkcs12: Pkcs12 or None;
    named: {option: path} of all files as the task names them, once links were followed;
    reason: name of an RFC 5280 reason; attributes: {"certificate" | "key": {"owner", "group", "mode", ...}}.
    """

    state: str

    certificate_path: str
    key_path: Optional[str]
    csr_path: Optional[str]
    sans: list
    common_name: str
    common_name_given: bool
    key_type: str
    not_before: object
    not_after: object
    renew_before: object
    force: bool
    key_policy: str = "on_issue"
    max_lifetime: Optional[timedelta] = None
    issued_since: Optional[datetime] = None
    template_data: Optional[dict] = None
    template_digest: Optional[str] = None
    check_revocation: bool = False
    backup: bool = False
    make_folder: bool = False
    revoke: bool = False
    reason: str = "unspecified"
    outputs: dict = field(default_factory=dict)
    named: dict = field(default_factory=dict)
    pkcs12: Optional[Pkcs12] = None
    attributes: dict = field(default_factory=dict)

    def written(self) -> list:
        """(option, path, kind) of each file that the task writes: the certificate, the key, what is made of them."""
        pair = [("certificate_path", self.certificate_path, "certificate")]
        if self.key_path and not self.csr_path:
            pair.append(("key_path", self.key_path, "key"))
        return pair + [(option, path, OUTPUTS[option]) for option, path in self.outputs.items()]


def entries(options: dict) -> list:
    """The options of each certificate of a task, flat or in a list, every one complete.

    options: the task's validated options, None where a value was not given.
    """
    if options.get("certificates") is None:
        return [{name: options.get(name) for name in SINGLE + SHARED}]
    merged = []
    for given in options["certificates"]:
        entry = {name: given.get(name) for name in SINGLE + SHARED}
        for name in SHARED:
            if entry[name] is None:
                entry[name] = options.get(name)
        merged.append(entry)
    return merged


def refuse_mixture(given: dict) -> None:
    """OptionError if flat options of one certificate stand beside `certificates`, or neither does.

    given: the task's own options, without defaults.
    """
    named = [name for name in SINGLE if given.get(name) is not None]
    if given.get("certificates") is None:
        if "certificate_path" not in named:
            raise OptionError(
                "certificate_path (or certificates, a list of many) is required: say where the certificate goes."
            )
    elif named:
        raise OptionError(
            "%s cannot stand beside certificates: it belongs into an entry of that list." % " and ".join(sorted(named))
        )


def refuse_shared_paths(many: list) -> None:
    """OptionError if two outputs of a task are one path."""
    seen = {}
    for index, entry in enumerate(many):
        for option in WRITTEN:
            if not entry.get(option) or (option == "key_path" and entry.get("csr_path")):
                continue
            path = os.path.normpath(entry[option])
            here = "%s of entry %d" % (option, index + 1) if len(many) > 1 else option
            if path in seen:
                raise OptionError(
                    "%s and %s are both %s: each file needs a path of its own." % (seen[path], here, path)
                )
            seen[path] = here


def parse(entry: dict) -> Request:
    """The values of one entry; OptionError names the option that cannot mean anything."""
    if not entry.get("certificate_path"):
        raise OptionError("certificate_path is empty: say where the certificate goes.")
    refuse_unwritable(entry)
    present = value(entry, "state") == "present"
    if present and not entry.get("key_path") and not entry.get("csr_path"):
        raise OptionError("key_path is required unless csr_path brings a request of its own.")
    common_name = (entry.get("common_name") or "").strip()
    sans = _sans(entry, common_name) if present else []
    wanted = Request(
        state="present" if present else "absent",
        certificate_path=entry["certificate_path"],
        key_path=entry.get("key_path") or None,
        csr_path=entry.get("csr_path") or None,
        sans=sans,
        common_name=common_name or (_default_common_name(sans) if present else ""),
        common_name_given=bool(common_name),
        key_type=value(entry, "key_type"),
        not_before=_limit(entry, "not_before"),
        not_after=_limit(entry, "not_after"),
        max_lifetime=_duration(entry, "max_lifetime"),
        renew_before=durations.parse_threshold(value(entry, "renew_before"), "renew_before"),
        issued_since=_instant(entry, "issued_since"),
        force=bool(entry.get("force")),
        key_policy=value(entry, "key_policy"),
        template_data=entry.get("template_data"),
        template_digest=record.template_digest(entry.get("template_data")),
        check_revocation=present and bool(entry.get("check_revocation")),
        backup=bool(entry.get("backup")),
        make_folder=bool(entry.get("make_folder")),
        revoke=bool(entry.get("revoke")),
        reason=_reason(entry),
        outputs={option: entry[option] for option in OUTPUTS if entry.get(option)},
        pkcs12=_pkcs12(entry) if present else None,
        attributes={"certificate": _attributes(entry, ""), "key": _attributes(entry, "key_")},
    )
    if present:
        _refuse_impossible_life(wanted)
        _refuse_outputs_without_key(wanted)
    return wanted


def refuse_unwritable(entry: dict) -> None:
    """OptionError for an option that holds what no path, name or request can: half a surrogate pair, or NUL."""
    for option, given in entry.items():
        is_path = option in OPTIONS and OPTIONS[option].type == "path"
        for text in _texts(given):
            try:  # a file of a host may have a name that is no UTF-8
                text.encode("utf-8", "surrogateescape" if is_path else "strict")
            except UnicodeEncodeError:
                raise OptionError("%s: %s cannot be written in UTF-8." % (option, _quoted(option, text))) from None
            if "\0" in text and option != "template_data":
                raise OptionError(
                    "%s: %s holds a NUL, which ends a text. Leave it out." % (option, _quoted(option, text))
                )


def _texts(given) -> list:
    if isinstance(given, dict):
        return _texts(list(given)) + _texts(list(given.values()))
    if isinstance(given, (list, tuple)):
        return [text for one in given for text in _texts(one)]
    return [given] if isinstance(given, str) else []


def _quoted(option: str, text: str) -> str:
    return "the value" if option in ("template_data", "pkcs12_password") else repr(text)


def refuse_past(wanted: Request, now: datetime) -> None:
    """OptionError if the times asked for cannot be met at this instant."""
    if wanted.issued_since and wanted.issued_since > now + timedelta(minutes=1):
        raise OptionError(
            "issued_since: %s lies ahead: the certificate would be issued anew at every run until then."
            % durations.format_time(wanted.issued_since)
        )
    end = wanted.not_after
    if not isinstance(end, datetime):
        return
    start = wanted.not_before + now if isinstance(wanted.not_before, timedelta) else wanted.not_before
    if start is not None and end <= start:
        raise OptionError(
            "not_after: %s is not later than not_before, %s."
            % (durations.format_time(end), durations.format_time(start))
        )
    if end <= now:
        raise OptionError(
            "not_after: %s is past: no certificate can be asked for. Give a later time." % durations.format_time(end)
        )
    if wanted.max_lifetime and end > now + wanted.max_lifetime + timedelta(minutes=1):
        raise OptionError(
            "not_after: %s is further off than max_lifetime, %s, allows."
            % (durations.format_time(end), durations.format_duration(wanted.max_lifetime))
        )


def _attributes(entry: dict, prefix: str) -> dict:
    """Owner, group and mode of one kind of file; the SELinux context is that of all."""
    given = {name: entry.get(prefix + name) for name in ("owner", "group", "mode")}
    return dict(given, **{name: entry.get(name) for name in _SELINUX})


def _reason(entry: dict) -> str:
    if entry.get("reason") in (None, "", "unspecified"):
        return "unspecified"
    from ..ca import revocation  # a steady run has no use for it

    return revocation.parse_reason(entry["reason"])


def _duration(entry: dict, option: str):
    if entry.get(option) in (None, ""):
        return None
    span = durations.parse_duration(entry[option], option)
    if not span:
        raise OptionError("%s: %r is no life at all. Give a duration of more than zero." % (option, entry[option]))
    return span


def _instant(entry: dict, option: str):
    if entry.get(option) in (None, ""):
        return None
    limit = durations.parse_limit(entry[option], option)
    if isinstance(limit, timedelta):
        raise OptionError(
            "%s: %r is a duration. Give a time (RFC 3339), such as 2030-01-31T12:00:00Z." % (option, entry[option])
        )
    return limit


def _pkcs12(entry: dict):
    password, file = entry.get("pkcs12_password"), entry.get("pkcs12_password_file")
    if not entry.get("pkcs12_path"):
        return None
    if password and file:
        raise OptionError("pkcs12_password and pkcs12_password_file exclude each other: give one of them.")
    if not password and not file:
        raise OptionError(
            "pkcs12_password (or pkcs12_password_file) is required with pkcs12_path: without one, the key would lie open."
        )
    return Pkcs12(
        password=password or None,
        password_file=file or None,
        friendly_name=entry.get("pkcs12_friendly_name") or None,
        encryption=value(entry, "pkcs12_encryption"),
    )


def _refuse_outputs_without_key(wanted: Request) -> None:
    keyed = [option for option in wanted.outputs if OUTPUTS[option] == "key"]
    if keyed and not wanted.key_path:
        raise OptionError("%s needs key_path: it holds the private key." % " and ".join(keyed))


def _sans(entry: dict, common_name: str) -> list:
    texts = entry.get("sans")
    if texts:
        return names.parse_sans(texts)
    if not common_name:
        raise OptionError("sans or common_name is required: names come from the play, never from the host.")
    try:
        return [names.parse_san(common_name)]
    except OptionError as error:
        raise OptionError("common_name serves as the only name, since sans is not given. %s" % error) from None


def _default_common_name(sans: list) -> str:
    for san in sans:
        if len(san.value) <= LONGEST_COMMON_NAME:
            return san.value
    raise OptionError("common_name is required: every name in sans is longer than 64 characters.")


def _limit(entry: dict, option: str):
    text = entry.get(option)
    if text is None or text == "":
        return None
    limit = durations.parse_limit(text, option)
    if option == "not_after" and limit == timedelta(0):
        raise OptionError("not_after: %r is no life at all. Give a duration of more than zero." % text)
    return limit


def _refuse_impossible_life(wanted: Request) -> None:
    if len(wanted.common_name) > LONGEST_COMMON_NAME:
        raise OptionError("common_name: %r is longer than 64 characters." % wanted.common_name)
    if len(wanted.common_name.encode("utf-8", "replace")) > LONGEST_COMMON_NAME:  # what X.509 libraries count
        raise OptionError(
            "common_name: %r is longer than 64 bytes in UTF-8, which no request can hold." % wanted.common_name
        )
    both_times = isinstance(wanted.not_before, datetime) and isinstance(wanted.not_after, datetime)
    if both_times and wanted.not_after <= wanted.not_before:
        raise OptionError(
            "not_after: %s is not later than not_before, %s."
            % (durations.format_time(wanted.not_after), durations.format_time(wanted.not_before))
        )
    lives = [life for life in (wanted.not_after, wanted.max_lifetime) if isinstance(life, timedelta)]
    if lives and isinstance(wanted.renew_before, timedelta) and wanted.renew_before >= min(lives):
        raise OptionError(
            "renew_before: %s is the whole life of %s or more: the certificate would always be due."
            % (durations.format_duration(wanted.renew_before), durations.format_duration(min(lives)))
        )
    if len(lives) == 2 and wanted.not_after > wanted.max_lifetime:
        raise OptionError(
            "max_lifetime: %s is below what not_after asks for, %s."
            % (durations.format_duration(wanted.max_lifetime), durations.format_duration(wanted.not_after))
        )
