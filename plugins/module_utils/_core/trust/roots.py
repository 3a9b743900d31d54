# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The trusted roots on a host: a file of their own, the system's store, and where the step client looks.

`examine` compares and says what differs; `apply` writes what examine found to differ.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Callable, Optional

from .. import durations
from ..certificate import record
from ..errors import ApiError, HostFileError, OptionError
from ..files import attributes, folders, locks, places, reading, replacing, staging
from ..x509 import certificates
from . import stores


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
    make_folder: bool = False
    system_trust_folder: Optional[str] = None
    system_trust_command: Optional[list] = None


@dataclass
class Plan:
    """What is to be done.

    anchors, writes: {path: content, None to remove}, in the system's store and elsewhere; update: whether the system is
    to take over its store; kept: the roots that it then has; gone: names of the anchors that it is to forget; folders:
    to be made before root_path is written, or removed after it, the topmost first; foreign: paths of those that hold what
    is not of our making, and is to be kept.
    """

    needs_roots: bool = False
    reasons: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    store: Optional[stores.Store] = None
    anchors: dict = field(default_factory=dict)
    update: bool = False
    kept: list = field(default_factory=list)
    gone: list = field(default_factory=list)
    writes: dict = field(default_factory=dict)
    folders: list = field(default_factory=list)
    foreign: list = field(default_factory=list)
    roots: list = field(default_factory=list)
    before: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)


def examine(wanted: Wanted, given, finish: Callable, dry: bool, ask: Optional[Callable] = None) -> Plan:
    """What differs. given: roots at hand, [] if none; ask() -> roots from the CA, where this host may ask.

    finish: see fileset.py, for root_path. Plan.needs_roots where neither host nor caller has them.
    """
    if not (wanted.root_path or wanted.step_path or wanted.system_trust):
        raise OptionError("One of root_path, system_trust and step_path is required: say where the roots go.")
    if wanted.step_path and wanted.present and not wanted.url:
        raise OptionError("ca_url is required with step_path: config/defaults.json names it.")
    store = stores.find(wanted.system_trust_folder, wanted.system_trust_command) if wanted.system_trust else None
    held = _held(wanted, store)
    roots = _choose(wanted, given, held)
    if roots is None and ask is not None and wanted.present:
        roots = ask()
        _refuse_absent(wanted, roots)
    if roots is None and wanted.present:
        return Plan(needs_roots=True)
    plan = Plan(roots=[_describe(root, store) for root in roots or []], store=store)
    if wanted.present:
        _look_at_ends(plan, roots)
    for path in filter(None, (wanted.root_path, _step(wanted, "certs/root_ca.crt"))):
        _compare_roots(wanted, plan, path, roots or [])
    if wanted.step_path:
        _compare_defaults(wanted, plan)
    if store:
        _compare_store(wanted, plan, roots or [], held)
    if wanted.present and wanted.root_path and wanted.root_path not in plan.writes:
        _compare_attributes(wanted, plan, roots, finish)
    if wanted.root_path and wanted.present:
        _look_for_folder(wanted, plan, dry)
    elif wanted.root_path:
        _compare_folders(wanted, plan)
    return plan


def apply(wanted: Wanted, plan: Plan, finish: Callable, run: Callable) -> tuple:
    """Write what differs; run(argv) -> (status, output, errors). Returns (warnings, backups).

    The system's store comes first: what root_path held until then is how a run that broke off is taken up again.
    """
    backups = [replacing.back_up(places.resolve(path, "root_path"), None) for path in plan.foreign]
    warnings = [
        "%s held what is not of our making, or cannot be read. It is kept as %s." % one
        for one in zip(plan.foreign, backups)
    ]
    for path, content in plan.anchors.items():
        _write(path, content)
    if plan.update:
        warnings += stores.update(plan.store, plan.gone, plan.kept, run)
    if wanted.present and plan.folders:
        folders.make(plan.folders[-1], marked=True)
    for path, content in plan.writes.items():
        _write(path, content, finish if path == wanted.root_path else None)
    if not wanted.present:
        for folder in reversed(plan.folders):
            with suppress(OSError, HostFileError):  # somebody else has put something there
                folders.remove_empty(folder)
        folders.take_away([os.path.dirname(wanted.root_path)] if wanted.root_path else [])
    return warnings, backups


def _write(path: str, content: Optional[bytes], finish: Optional[Callable] = None) -> None:
    """finish: for root_path. The other folders are step's and the system's, and known."""
    target = places.resolve(path, "root_path")
    if content is None:
        places.remove(target)
        return
    if not finish:
        folders.make(os.path.dirname(target))
    with locks.locked(target):
        staging.stage(target, content, "new", lambda staged: _dress(staged, target, finish))
        replacing.replace_set([(target, "new")])


def _dress(staged, target: str, finish: Optional[Callable]) -> list:
    return finish(target, "root", staged) if finish else attributes.dress(staged, {"mode": "0644"}, "root")


def _refuse_absent(wanted: Wanted, roots) -> None:
    found = {certificates.fingerprint(root) for root in roots}
    absent = [one for one in wanted.fingerprints if one not in found]
    if absent:
        raise ApiError("The CA does not offer the root %s of ca_fingerprint." % ", ".join(absent))


def _held(wanted: Wanted, store) -> dict:
    """Roots that lie in the places of this task, by fingerprint."""
    paths = [wanted.root_path, _step(wanted, "certs/root_ca.crt")]
    if store:
        paths += [stores.path_of(store, one) for one in wanted.fingerprints]
    held = {}
    for path in filter(None, paths):
        found = certificates.only_roots(_roots_in(path) or [])[0]
        held.update({certificates.fingerprint(root): root for root in found})
    return held


def _choose(wanted: Wanted, given, held: dict):
    """The trusted roots: as given, or as the host has them all; None if some are unknown."""
    if given:
        return list(given)
    found = [held[one] for one in wanted.fingerprints if one in held]
    return found if len(found) == len(wanted.fingerprints) or (found and not wanted.present) else None


def _roots_in(path: str):
    """The certificates in a file; [] for one that holds none; None where there is no file."""
    content = reading.read(places.resolve(path, "root_path"))
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


def _is_foreign(path: str) -> bool:
    """Whether a file holds what is not of our making: roots are written in one form."""
    content = reading.read(places.resolve(path, "root_path")) or b""
    try:
        return bool(content.strip()) and content != certificates.to_pem(certificates.load(content))
    except ValueError:
        return True


def _compare_attributes(wanted: Wanted, plan: Plan, roots, finish: Callable) -> None:
    """Owner and mode of root_path; in a foreign place a file is never changed, but replaced."""
    target = places.resolve(wanted.root_path, "root_path")
    foreign = not places.is_ours(target)
    differing = finish(target, "root", look=foreign)
    plan.reasons += differing
    if foreign and differing:
        plan.writes[wanted.root_path] = certificates.to_pem(roots)


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
            plan.reasons.append("%s is there, expected none" % path)
            plan.writes[path] = None
    elif found is None:
        plan.reasons.append("%s is missing" % path)
        plan.writes[path] = certificates.to_pem(roots)
    elif has != {certificates.fingerprint(root) for root in roots}:
        plan.reasons.append(
            "%s holds the roots %s, expected %s" % (path, _short(has), _short(map(certificates.fingerprint, roots)))
        )
        plan.writes[path] = certificates.to_pem(roots)
    if path in plan.writes and _is_foreign(path):
        plan.foreign.append(path)


def _compare_defaults(wanted: Wanted, plan: Plan) -> None:
    """step reads ca-url, fingerprint and root from config/defaults.json; other keys there are the user's."""
    path = _step(wanted, "config/defaults.json")
    target = places.resolve(path, "step_path")
    content, status = reading.load(target)
    try:
        found = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        found = None
    if content and not status.st_mode & 0o004 and not places.is_ours(target):
        found = None  # what others may not read is not theirs to have merged into a file that they may
    unreadable = not isinstance(found, dict)
    found = {} if unreadable else found
    ours = {"ca-url": wanted.url, "fingerprint": wanted.fingerprints[0], "root": _step(wanted, "certs/root_ca.crt")}
    ours = ours if wanted.present else dict.fromkeys(ours)
    differing = [name for name in sorted(ours) if found.get(name) != ours[name]]
    plan.before[path] = {name: found.get(name) for name in ours}
    plan.after[path] = ours
    plan.reasons += [
        "%s in %s is %s, expected %s" % (name, path, found.get(name) or "none", ours[name] or "none")
        for name in differing
    ]
    if differing:
        left = {name: value for name, value in found.items() if name not in ours}
        left.update(ours if wanted.present else {})
        plan.writes[path] = (json.dumps(left, indent=2, sort_keys=True) + "\n").encode("utf-8") if left else None
        plan.foreign += [path] if unreadable and content.strip() else []


def _compare_store(wanted: Wanted, plan: Plan, roots, held: dict) -> None:
    store, before = plan.store, len(plan.reasons)
    keep = {certificates.fingerprint(root): root for root in roots} if wanted.present else {}
    named = {stores.path_of(store, one): one for one in set(held) | set(wanted.fingerprints)}
    for path in sorted(set(named) | set(stores.ours(store))):
        found = stores.read(path)
        one = named.get(path) or (certificates.fingerprint(found.root) if found and found.root else "")
        owners = _owners(wanted, found, one, one in keep)
        if path not in named and (found is None or owners == found.owners):
            continue  # it is there for others
        if one in keep:
            _compare_anchor(plan, path, found, keep[one], owners)
        elif found is None:
            if one in held and stores.still_has(store, held[one]):
                plan.reasons.append("the system's bundle %s still has the root %s" % (store.bundle, one))
                plan.gone.append(os.path.basename(path))
        elif not owners:
            plan.reasons.append("%s is there, expected none" % path)
            plan.anchors[path] = None
            plan.gone.append(os.path.basename(path))
        elif owners != found.owners and found.root:
            _compare_anchor(plan, path, found, found.root, owners)
        plan.before[path] = _told(found.owners) if found else None
        plan.after[path] = _told(owners) if owners else None
    plan.kept = list(keep.values())
    plan.update = len(plan.reasons) > before


def _compare_anchor(plan: Plan, path: str, found: Optional[stores.Anchor], root, owners: list) -> None:
    one = certificates.fingerprint(root)
    if found is None:
        plan.reasons.append("%s is missing" % path)
    elif found.root is None or certificates.fingerprint(found.root) != one:
        plan.reasons.append("%s holds something else than this root" % path)
        plan.foreign += [path] if not found.owners and reading.read(path).strip() else []
    elif found.owners != owners:
        plan.reasons.append("%s is there for %s, expected %s" % (path, _told(found.owners), _told(owners)))
    else:
        if stores.lacks(plan.store, root):
            plan.reasons.append("the system's bundle %s lacks the root %s" % (plan.store.bundle, one))
        return
    plan.anchors[path] = stores.compose(root, owners)


def _owners(wanted: Wanted, found: Optional[stores.Anchor], one: str, keep: bool) -> list:
    """Those for whom the anchor of this root is to be there: the task where it keeps it, and others as they were."""
    path = wanted.root_path or wanted.step_path
    left = [owner for owner in (found.owners if found else []) if not _is_of_task(wanted, path, owner, one)]
    return sorted(left + ([path or sorted(wanted.fingerprints)] if keep else []), key=str)


def _is_of_task(wanted: Wanted, path: Optional[str], owner, one: str) -> bool:
    """Without a path, a task knows its roots of former runs by those that it named together with today's."""
    if isinstance(owner, str):
        return owner == path or (not wanted.present and not path and one in wanted.fingerprints)
    if wanted.present:
        return not path and bool(set(map(str, owner)) & set(wanted.fingerprints))
    return one in wanted.fingerprints


def _told(owners: list) -> str:
    return (
        ", ".join(owner if isinstance(owner, str) else "the roots %s" % _short(map(str, owner)) for owner in owners)
        or "nobody"
    )


def _look_at_ends(plan: Plan, roots) -> None:
    """A root that is no more is told; where no other is left, "ok" would hide that nothing is trusted any more."""
    ended = [root for root in roots if certificates.not_after(root) < durations.now()]
    if not ended:
        return
    expired = "By the clock of this host, " + ", ".join(
        "the root %s (SHA-256 %s) expired at %s"
        % (
            root.subject.rfc4514_string(),
            certificates.fingerprint(root),
            durations.format_time(certificates.not_after(root)),
        )
        for root in ended
    )
    if len(ended) == len(roots):
        raise HostFileError(
            expired
            + ". Nothing that it signed is trusted any more, so nothing was changed. Give the CA a new root and name "
            "that one in ca_fingerprint or ca_root, or set the clock right."
        )
    plan.warnings.append(expired + ". Take it out of ca_fingerprint or ca_root.")


def _step(wanted: Wanted, path: str) -> Optional[str]:
    return os.path.join(wanted.step_path, path) if wanted.step_path else None


def _look_for_folder(wanted: Wanted, plan: Plan, dry: bool) -> None:
    missing = folders.missing(os.path.dirname(wanted.root_path))
    if not missing:
        return
    if not (wanted.make_folder or dry):
        raise HostFileError(
            "The folder %s of root_path is missing. Make it first (ansible.builtin.file with state: directory), or set "
            "make_folder: true." % missing[-1]
        )
    plan.reasons.append("the folder %s is missing" % missing[-1])
    plan.folders = missing


def _compare_folders(wanted: Wanted, plan: Plan) -> None:
    """The folders that were made for root_path go where nothing else is in them by now.

    They are marked. Older versions listed them in a file, which goes anyway.
    """
    for folder in folders.left_alone([os.path.dirname(wanted.root_path)]):
        plan.reasons.append("the folder %s is there, expected none" % folder)
    for path in dict.fromkeys([record.path_of(wanted.root_path), record.beside(wanted.root_path)]):
        content = record.believed(path)
        if content is None:
            continue
        try:
            made = json.loads(content)["folders"]
            plan.folders += [folder for folder in made if wanted.root_path.startswith(folder + os.sep)]
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            pass
        plan.reasons.append("%s is there, expected none" % path)
        plan.writes[path] = None


def _describe(root, store) -> dict:
    one = certificates.fingerprint(root)
    return {
        "fingerprint": one,
        "subject": root.subject.rfc4514_string(),
        "not_after": durations.format_time(certificates.not_after(root)),
        "system_trust_path": stores.path_of(store, one) if store else None,
    }


def _short(fingerprints) -> str:
    return ", ".join(one[:16] + "..." for one in sorted(fingerprints)) or "none"
