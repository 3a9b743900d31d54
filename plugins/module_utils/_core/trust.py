# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The trusted roots on a host: a file of their own, the system's store, and where the step client looks.

`examine` compares and says what differs; `apply` writes what examine found to differ.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from typing import Callable, Optional

from . import certificates, durations, files
from .errors import ApiError, HostFileError, OptionError

_SBIN = "/usr/sbin:/usr/bin:/sbin:/bin"
#: folder for added roots, the program that takes them over, its bundle; the first folder that exists is the system's.
_STORES = (
    (
        "/etc/pki/ca-trust/source/anchors",
        ["update-ca-trust", "extract"],
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    ),
    ("/etc/pki/trust/anchors", ["update-ca-certificates"], "/var/lib/ca-certificates/ca-bundle.pem"),
    (
        "/etc/ca-certificates/trust-source/anchors",
        ["update-ca-trust"],
        "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
    ),
    # --fresh, because without it Debian keeps what was removed
    ("/usr/local/share/ca-certificates", ["update-ca-certificates", "--fresh"], "/etc/ssl/certs/ca-certificates.crt"),
)


@dataclass
class Wanted:
    """What a task asks for; url is for step's defaults.json only."""

    present: bool
    root_path: Optional[str]
    step_path: Optional[str]
    system_trust: bool
    accept_new_root: bool
    fingerprints: list
    url: Optional[str]


@dataclass
class Plan:
    """writes: {path: content, None to remove}; refresh: the command for the system's store, or None."""

    needs_roots: bool = False
    reasons: list = field(default_factory=list)
    writes: dict = field(default_factory=dict)
    refresh: Optional[list] = None
    roots: list = field(default_factory=list)
    before: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)


def examine(wanted: Wanted, given, finish: Callable, dry: bool, ask: Optional[Callable] = None) -> Plan:
    """What differs. given: roots at hand, [] if none; ask() -> roots from the CA, where this host may ask.

    finish: see exchange.py, for root_path. Plan.needs_roots where neither host nor caller has them.
    """
    if not (wanted.root_path or wanted.step_path or wanted.system_trust):
        raise OptionError("One of root_path, system_trust and step_path is required: say where the roots go.")
    if wanted.step_path and wanted.present and not wanted.url:
        raise OptionError("ca_url is required with step_path: config/defaults.json names it.")
    store = _store() if wanted.system_trust else None
    held = _held(wanted, store)
    roots = _choose(wanted, given, held)
    if roots is None and ask is not None and wanted.present:
        roots = ask()
        _refuse_absent(wanted, roots)
    if roots is None and wanted.present:
        return Plan(needs_roots=True)
    plan = Plan(roots=[_describe(root, store) for root in roots or []])
    for path in filter(None, (wanted.root_path, _step(wanted, "certs/root_ca.crt"))):
        _compare_roots(wanted, plan, path, roots or [])
    if wanted.step_path:
        _compare_defaults(wanted, plan)
    if store:
        _compare_store(wanted, plan, store, roots or [], held)
    if wanted.present and wanted.root_path and wanted.root_path not in plan.writes:
        plan.reasons += finish(files.resolve(wanted.root_path, "root_path"), wanted.root_path, "root")
    _refuse_missing_folder(wanted, plan, dry)
    return plan


def apply(wanted: Wanted, plan: Plan, finish: Callable) -> None:
    """Write what differs."""
    for path, content in plan.writes.items():
        target = files.resolve(path, "root_path")
        if content is None:
            files.forget(target)
            continue
        if path != wanted.root_path:  # these folders are step's and the system's, and known
            files.make_folder(os.path.dirname(target))
        with files.locked(target):
            staged = files.stage(target, content, "new")
            files.inherit_owner(staged, target)
            if path == wanted.root_path:
                finish(staged, target, "root")
            else:
                os.chmod(staged, 0o644)
            files.replace_set([(staged, target)])


def _refuse_absent(wanted: Wanted, roots) -> None:
    found = {certificates.fingerprint(root) for root in roots}
    absent = [one for one in wanted.fingerprints if one not in found]
    if absent:
        raise ApiError("The CA does not offer the root %s of ca_fingerprint." % ", ".join(absent))


def _held(wanted: Wanted, store) -> dict:
    """Roots that lie in the places of this task, by fingerprint."""
    paths = [wanted.root_path, _step(wanted, "certs/root_ca.crt")]
    if store:
        paths += [_in_store(store, one) for one in wanted.fingerprints]
    held = {}
    for path in filter(None, paths):
        held.update({certificates.fingerprint(root): root for root in _roots_in(path) or []})
    return held


def _choose(wanted: Wanted, given, held: dict):
    """The trusted roots: as given, or as the host has them all; None if some are unknown."""
    if given:
        return list(given)
    found = [held[one] for one in wanted.fingerprints if one in held]
    return found if len(found) == len(wanted.fingerprints) or (found and not wanted.present) else None


def _roots_in(path: str):
    """The certificates in a file; [] for one that holds none; None where there is no file."""
    content = files.read(files.resolve(path, "root_path"))
    if content is None:
        return None
    try:
        return certificates.load(content)
    except ValueError:
        if certificates.count(content) > 1:
            raise HostFileError(
                "%s is a bundle of many certificates, or one that cannot be read: name another file." % path
            ) from None
        return []


def _compare_roots(wanted: Wanted, plan: Plan, path: str, roots) -> None:
    found = _roots_in(path)
    has = {certificates.fingerprint(root) for root in found or []}
    plan.before[path] = sorted(has)
    trusted = set(wanted.fingerprints)
    if has and not has & trusted and not wanted.accept_new_root:
        raise HostFileError(
            "%s holds roots of which none is trusted by this task (SHA-256 %s): it is probably another CA's. Check ca_fingerprint, "
            "or set accept_new_root: true to have them replaced." % (path, ", ".join(sorted(has)))
        )
    plan.after[path] = sorted(certificates.fingerprint(root) for root in roots) if wanted.present else []
    if not wanted.present:
        if found is not None:
            plan.reasons.append("%s is there; wanted is none" % path)
            plan.writes[path] = None
    elif found is None:
        plan.reasons.append("%s is missing" % path)
        plan.writes[path] = certificates.to_pem(roots)
    elif has != {certificates.fingerprint(root) for root in roots}:
        plan.reasons.append(
            "%s holds the roots %s; wanted are %s" % (path, _short(has), _short(map(certificates.fingerprint, roots)))
        )
        plan.writes[path] = certificates.to_pem(roots)


def _compare_defaults(wanted: Wanted, plan: Plan) -> None:
    """step reads ca-url, fingerprint and root from config/defaults.json; other keys there are the user's."""
    path = _step(wanted, "config/defaults.json")
    content = files.read(files.resolve(path, "step_path"))
    try:
        found = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        found = {}
    found = found if isinstance(found, dict) else {}
    ours = {"ca-url": wanted.url, "fingerprint": wanted.fingerprints[0], "root": _step(wanted, "certs/root_ca.crt")}
    ours = ours if wanted.present else dict.fromkeys(ours)
    differing = [name for name in sorted(ours) if found.get(name) != ours[name]]
    plan.before[path] = {name: found.get(name) for name in ours}
    plan.after[path] = ours
    plan.reasons += [
        "%s in %s is %s; wanted is %s" % (name, path, found.get(name) or "none", ours[name] or "none")
        for name in differing
    ]
    if differing:
        left = {name: value for name, value in found.items() if name not in ours}
        left.update(ours if wanted.present else {})
        plan.writes[path] = (json.dumps(left, indent=2, sort_keys=True) + "\n").encode("utf-8") if left else None


def _compare_store(wanted: Wanted, plan: Plan, store, roots, held: dict) -> None:
    _folder, command, bundle_path = store
    bundle = b"".join((_read_large(bundle_path) or b"").split())
    before = len(plan.reasons)
    keep = {certificates.fingerprint(root): root for root in roots} if wanted.present else {}
    for one in sorted(set(held) | set(wanted.fingerprints)):
        path = _in_store(store, one)
        found = _roots_in(path)
        if one not in keep:
            if found is not None:
                plan.reasons.append("%s is there; wanted is none" % path)
                plan.writes[path] = None
        elif [certificates.fingerprint(root) for root in found or []] != [one]:
            plan.reasons.append(
                "%s %s" % (path, "is missing" if found is None else "holds something else than this root")
            )
            plan.writes[path] = certificates.to_pem([keep[one]])
        elif b"".join(certificates.to_pem([keep[one]]).split()) not in bundle:
            plan.reasons.append("the system's bundle %s lacks the root %s" % (bundle_path, one))
        plan.before[path] = found is not None
        plan.after[path] = one in keep
    if len(plan.reasons) > before:
        plan.refresh = command


def _store() -> tuple:
    for folder, command, bundle in _STORES:
        program = shutil.which(command[0], path=_SBIN)
        if os.path.isdir(folder) and program:
            return folder, [program] + command[1:], bundle
    raise HostFileError(
        "system_trust: no trust store that is known here. Supported are Debian and Ubuntu, EL and Fedora, SUSE, Alpine and Arch, with "
        "the package ca-certificates installed. Elsewhere use root_path alone."
    )


def _in_store(store, fingerprint: str) -> str:
    return os.path.join(store[0], "stepca-%s.crt" % fingerprint[:16])


def _step(wanted: Wanted, path: str) -> Optional[str]:
    return os.path.join(wanted.step_path, path) if wanted.step_path else None


def _refuse_missing_folder(wanted: Wanted, plan: Plan, dry: bool) -> None:
    folder = files.missing_folder(wanted.root_path) if wanted.root_path and plan.writes.get(wanted.root_path) else None
    if folder and dry:
        plan.reasons.append("the folder %s is missing" % folder)
    elif folder:
        raise HostFileError(
            "The folder %s of root_path is missing. Make it first (ansible.builtin.file with state: directory)."
            % folder
        )


def _describe(root, store) -> dict:
    one = certificates.fingerprint(root)
    return {
        "fingerprint": one,
        "subject": root.subject.rfc4514_string(),
        "not_after": durations.format_time(certificates.not_after(root)),
        "system_trust_path": _in_store(store, one) if store else None,
    }


def _read_large(path: str):
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def _short(fingerprints) -> str:
    return ", ".join(one[:16] + "..." for one in sorted(fingerprints)) or "none"
