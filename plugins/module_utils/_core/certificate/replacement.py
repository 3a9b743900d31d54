# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Replace the files of one certificate as a set: stage all of them with their owners and modes, then commit."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ..errors import HalfReplaced, HostFileError
from ..files import folders, locks, reading, replacing, staging
from ..x509 import certificates, keys
from . import fileset, plan, provenance, record
from .fileset import Context
from .options import OUTPUTS


@dataclass
class Saved:
    """What a run kept: backups (paths); foreign: those of them that hold what is not ours; warnings: sentences on these."""

    backups: list = field(default_factory=list)
    foreign: list = field(default_factory=list)
    warnings: list = field(default_factory=list)


def probe(wanted, context: Context, key, key_stays: bool) -> list:
    """Find out before a token is spent whether the files can be made and put there, with their owners and modes.

    key_stays: whether the file of the key is left as it is. Returns warnings.
    """
    warnings = []
    place = record.path_of(wanted.certificate_path)
    folders.make(os.path.dirname(place))
    for option, path, kind in [*wanted.written(), ("record", place, "record")]:
        if key_stays and option == "key_path":
            continue
        said = replacing.probe(path, lambda staged, path=path, kind=kind: context.finish(path, kind, staged))
        warnings += [one for one in said if one not in warnings]
    if wanted.pkcs12:  # which of them the library here can make depends on its age
        _made(wanted, [], key, [], ["pkcs12_path"])
    return warnings


def missing_folders(wanted, context: Context) -> list:
    """Sentences on the folders that are missing; they are made if the task says so, else, but for check mode, HostFileError."""
    missing = fileset.missing_folders(wanted)
    if missing and not context.dry:
        if not wanted.make_folder:
            raise HostFileError(
                "The folder %s is missing. Make it first (ansible.builtin.file with state: directory), or set make_folder: true."
                % " and ".join(missing)
            )
        for folder in missing:
            folders.make(folder, marked=True)
    return ["the folder %s is missing" % folder for folder in missing]


def install(wanted, context: Context, chain, key, staged: bool, issued_at: str, signed_at: str) -> Saved:
    """Replace the whole set: stage all of it with its final attributes, then commit.

    key: the private key or, of a request that a user brings, its public one; staged: whether it is a new one that waits;
    issued_at, signed_at: of record.make.
    """
    contents = {wanted.certificate_path: (certificates.to_pem(chain), "certificate")}
    contents.update(_made(wanted, chain, key, context.roots, wanted.outputs))
    known = _known(wanted, context.roots, chain)
    replaced = [one for one in wanted.written() if staged or one[0] != "key_path"]
    saved = _save(wanted, [(option, path) for option, path, _kind in replaced], known)
    _add_record(wanted, contents, known.kept, saved, (context.provisioner, chain, context.roots, issued_at), signed_at)
    _replace(context, [(wanted.key_path, fileset.key_tag(chain[0].public_key()), "key")] if staged else [], contents)
    return saved


def write_derived(wanted, context: Context, found: plan.Found, examined: str, options) -> Saved:
    """Make these files anew of the pair. examined: digest of the set when the pair was found."""
    contents = _made(wanted, found.chain, found.key, found.roots, options)
    with locks.locked(wanted.certificate_path):
        fileset.refuse_changed(wanted, examined)
        known = _known(wanted, found.roots, found.chain)
        saved = _save(wanted, [(option, wanted.outputs[option]) for option in options], known, always=False)
        if record.fits(found.record, found.chain):
            about = (context.provisioner, found.chain, found.roots, found.record["issued_at"])
            _add_record(wanted, contents, known.kept, saved, about, str(found.record.get("signed_at") or ""))
        _replace(context, [], contents)
    return saved


def write_anew(wanted, context: Context, found: plan.Found, examined: str, options: list) -> None:
    """Replace files of a foreign place by new ones of the same set, with the owners and modes that they shall have.

    They are made of what was read and judged before: by now, others may have put another file there, perhaps one of root's
    that nobody else may read. options: of wanted.WRITTEN.
    """
    contents = as_found(wanted, found, options)
    with locks.locked(wanted.certificate_path):
        fileset.refuse_changed(wanted, examined)
        _replace(context, [], contents)


def as_found(wanted, found: plan.Found, options) -> dict:
    """{path: (content, kind)} of these files of the set, made of the pair that was found."""
    contents = {}
    if "certificate_path" in options:
        contents[wanted.certificate_path] = (certificates.to_pem(found.chain), "certificate")
    if "key_path" in options:
        contents[wanted.key_path] = (keys.to_pem(found.key), "key")
    contents.update(_made(wanted, found.chain, found.key, found.roots, [one for one in options if one in OUTPUTS]))
    return contents


def _made(wanted, chain, key, roots, options) -> dict:
    """{path: (content, kind)} of these files that are made of the pair."""
    if not options:
        return {}
    from . import derived

    pair = fileset.pair_of(wanted, chain, fileset.private_key(wanted, key), roots)
    return {wanted.outputs[option]: (derived.make(option, pair), OUTPUTS[option]) for option in options}


def _add_record(wanted, contents: dict, former, saved: Saved, about: tuple, signed_at: str) -> None:
    """Add the record to what is to be written. former: the record of before; about, signed_at: for record.make."""
    place = record.path_of(wanted.certificate_path)
    folders.make(os.path.dirname(place))
    there = [backup for _option, path, _kind in wanted.written() for backup in replacing.backups(path)]
    spared = record.kept(former)
    # Of those that were there before anybody noted whose they are, none is ours to overwrite.
    spared = [path for path in there if path not in saved.backups] if spared is None else spared
    bundle = contents.get(wanted.outputs.get("pkcs12_path"), (None, ""))[0]
    digest = record.digest_of(bundle) if bundle else former and former.get("pkcs12_sha256")
    kept = sorted({path for path in spared if path in there}.union(saved.foreign))
    contents[place] = (record.make(wanted, *about, kept, digest, signed_at), "record")


def restore(wanted, context: Context, contents: dict) -> None:
    """Put a former set back: {path: (bytes, kind)}, as it was read before."""
    with locks.locked(wanted.certificate_path):
        key = contents.pop(wanted.key_path, (None, ""))[0]
        waiting = []
        former = keys.load(key, wanted.key_path) if key is not None else None
        there = keys.read(wanted.key_path)[0]
        if former and (there is None or keys.fingerprint(there) != keys.fingerprint(former)):
            # As when it is installed: a run that ends midway can be finished.
            tag = fileset.key_tag(former)
            staging.stage(wanted.key_path, key, tag)
            waiting.append((wanted.key_path, tag, "key"))
        try:
            _replace(context, waiting, contents)
        except HalfReplaced:
            raise
        except Exception:
            for target, tag, _kind in waiting:
                staging.forget(target, tag)
            raise


def finish(context: Context, moves: list) -> None:
    """Put what an interrupted run left waiting in its place, under the lock. moves: of fileset.interrupted."""
    for target, tag, kind in moves:
        if kind == "key":  # the record has its own already
            _dress_waiting(context, target, tag, kind)
    replacing.replace_set([move[:2] for move in moves])


def _replace(context: Context, waiting: list, contents: dict) -> None:
    """Stage contents, {target: (bytes, kind)}, and put them in their places, the first of them first.

    waiting: [(target, tag, kind)] of what waits already; it follows the first.
    """
    moves = []
    try:
        for target, (content, kind) in contents.items():
            staging.stage(
                target, content, "new", lambda staged, target=target, kind=kind: context.finish(target, kind, staged)
            )
            moves.append((target, "new"))
        for target, tag, kind in waiting:
            _dress_waiting(context, target, tag, kind)
        replacing.replace_set(moves[:1] + [one[:2] for one in waiting] + moves[1:])
    except HalfReplaced:
        raise
    except Exception:
        for target, tag in moves:
            staging.forget(target, tag)
        raise


def _dress_waiting(context: Context, target: str, tag: str, kind: str) -> None:
    staging.redress(target, tag, lambda staged: context.finish(target, kind, staged))


def _known(wanted, roots, others) -> provenance.Known:
    """What is ours of what lies there. others: certificates of the successor, which show whose the former leaf is."""
    from . import derived

    chain = certificates.read(wanted.certificate_path)[0]
    kept = record.read(wanted.certificate_path, chain)
    fingerprints = {kept["key_sha256"]} if kept else set()
    known = provenance.Known(roots, others, fingerprints, kept, wanted.pkcs12 and derived.read_password(wanted.pkcs12))
    if chain and provenance.is_our_leaf(chain[0], known, chain):
        fingerprints.add(keys.fingerprint(chain[0].public_key()))
    elif chain:  # the key beside a certificate of another CA is kept with it, whosever it was before
        fingerprints.clear()
    return known


def _save(wanted, replaced: list, known: provenance.Known, always: bool = True) -> Saved:
    """Keep what is to be replaced and is not ours, and with always all of it where the task says backup.

    replaced: [(option, path)].
    """
    saved = Saved()
    taken = record.kept(known.kept)
    place = record.path_of(wanted.certificate_path)
    for option, path in [*replaced, ("record", place)]:
        content = reading.read(path)
        if content is None:
            continue
        foreign = not provenance.is_ours(option, path, content, known)
        if not foreign and not (wanted.backup and always and option != "record"):
            continue
        backup = replacing.back_up(path, taken)
        saved.backups.append(backup)
        if foreign:
            saved.foreign.append(backup)
            saved.warnings.append(
                "%s: %s held what this CA did not make, or what cannot be read. It is kept as %s."
                % (option, path, backup)
            )
    return saved
