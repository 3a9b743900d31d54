# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Replace the files of one certificate as a set: stage all of them with their owners and modes, then commit."""

from __future__ import annotations

import os

from . import certificates, files, fileset, keys, plan, record
from .errors import HalfReplaced, HostFileError
from .fileset import Context
from .wanted import OUTPUTS


def probe(wanted, context: Context, key) -> None:
    """Find out before a token is spent whether the files can be made and put there, with their owners and modes."""
    for _option, path, kind in fileset.written(wanted):
        files.probe(path, lambda staged, path=path, kind=kind: context.finish(staged, path, kind))
    if wanted.pkcs12:  # which of them the library here can make depends on its age
        _made(wanted, [], key, [], ["pkcs12_path"])


def missing_folders(wanted, context: Context) -> list:
    """Sentences on the folders that are missing: in check mode; for real, HostFileError."""
    folders = fileset.missing_folders(wanted)
    if folders and not context.dry:
        raise HostFileError(
            "The folder %s is missing. Make it first (ansible.builtin.file with state: directory)."
            % " and ".join(folders)
        )
    return ["the folder %s is missing" % folder for folder in folders]


def install(wanted, context: Context, chain, key, staged_key, issued_at: str) -> list:
    """Replace the whole set: stage all of it with its final attributes, then commit. Returns the backups.

    key: the private key or, of a request that a user brings, its public one; staged_key: where a new one waits, None
    where the key stays; issued_at: when it was first issued.
    """
    contents = {wanted.certificate_path: (certificates.to_pem(chain), "certificate")}
    contents.update(_made(wanted, chain, key, context.roots, wanted.outputs))
    kept = record.make(wanted, context.provisioner, chain, context.roots, issued_at)
    contents[record.path_of(wanted.certificate_path)] = (kept, "record")
    saved = [files.back_up(path) for path in _worth_keeping(wanted, chain[1:], context.roots, bool(staged_key))]
    _replace(context, [(staged_key, wanted.key_path, "key")] if staged_key else [], contents)
    return saved


def write_derived(wanted, context: Context, found: plan.Found, examined: str, options) -> list:
    """Make these files anew of the pair; returns the backups of those that were somebody else's.

    examined: digest of the set when the pair was found.
    """
    contents = _made(wanted, found.chain, found.key, found.roots, options)
    if record.fits(found.record, found.chain):
        kept = record.make(wanted, context.provisioner, found.chain, found.roots, found.record["issued_at"])
        contents[record.path_of(wanted.certificate_path)] = (kept, "record")
    with files.locked(wanted.certificate_path):
        fileset.refuse_changed(wanted, examined)
        saved = [
            files.back_up(wanted.outputs[option]) for option in options if _foreign_bundle(wanted, option, found.roots)
        ]
        _replace(context, [], contents)
    return saved


def _made(wanted, chain, key, roots, options) -> dict:
    """{path: (content, kind)} of these files that are made of the pair."""
    if not options:
        return {}
    from . import outputs

    pair = fileset.pair_of(wanted, chain, fileset.private_key(wanted, key), roots)
    return {wanted.outputs[option]: (outputs.make(option, pair), OUTPUTS[option]) for option in options}


def restore(wanted, context: Context, contents: dict) -> None:
    """Put a former set back: {path: (bytes, kind)}, as it was read before."""
    with files.locked(wanted.certificate_path):
        key = contents.pop(wanted.key_path, (None, ""))[0]
        waiting = []
        if key is not None and key != files.read(wanted.key_path):
            # As when it is installed: a run that ends midway can be finished.
            public = keys.fingerprint(keys.load(key, wanted.key_path))
            waiting.append((files.stage(wanted.key_path, key, public[:32]), wanted.key_path, "key"))
        try:
            _replace(context, waiting, contents)
        except HalfReplaced:
            raise
        except Exception:
            for staged, _target, _kind in waiting:
                files.forget(staged)
            raise


def finish(context: Context, moves: list) -> None:
    """Put what an interrupted run left waiting in its place, under the lock. moves: of fileset.interrupted."""
    for staged, target, kind in moves:
        if kind == "key":  # the record has its own already
            _dress(context, staged, target, kind)
    files.replace_set([move[:2] for move in moves])


def _replace(context: Context, waiting: list, contents: dict) -> None:
    """Stage contents, {target: (bytes, kind)}, and put them in their places, the first of them first.

    waiting: [(staged, target, kind)] that follow the first.
    """
    made = []
    try:
        moves = []
        for target, (content, kind) in contents.items():
            staged = files.stage(target, content, "new")
            made.append(staged)
            moves.append((staged, target))
            _dress(context, staged, target, kind)
        for staged, target, kind in waiting:
            _dress(context, staged, target, kind)
            moves.insert(1, (staged, target))
        files.replace_set(moves)
    except HalfReplaced:
        raise
    except Exception:
        for path in made:
            files.forget(path)
        raise


def _dress(context: Context, staged: str, target: str, kind: str) -> None:
    files.inherit_owner(staged, target)
    context.finish(staged, target, kind)


def _worth_keeping(wanted, intermediates, roots, new_key: bool) -> list:
    """The files of the former set to keep: all that are replaced, or those that this CA did not issue.

    intermediates: those of the successor, which show whose a leaf is that lost its own.
    """
    replaced = [path for option, path, _kind in fileset.written(wanted) if new_key or option != "key_path"]
    if wanted.backup:
        return [path for path in replaced if os.path.exists(path)]
    chain = certificates.read(wanted.certificate_path)[0]
    foreign = bool(chain) and all(certificates.is_foreign(way, roots) for way in (chain, chain[:1] + intermediates))
    kept = [wanted.certificate_path] if foreign else []
    if new_key and (foreign or _unknown_key(wanted, chain)):
        kept += [wanted.key_path] if os.path.exists(wanted.key_path) else []
    return kept + [wanted.outputs[option] for option in wanted.outputs if _foreign_bundle(wanted, option, roots)]


def _unknown_key(wanted, chain) -> bool:
    """Whether a key belongs to no certificate of ours that is or was here."""
    key = keys.load(files.read(wanted.key_path) or b"", wanted.key_path)
    kept = record.read(wanted.certificate_path)
    known = {kept["key_sha256"]} if kept else set()
    known |= {keys.fingerprint(chain[0].public_key())} if chain else set()
    return key is not None and keys.fingerprint(key) not in known


def _foreign_bundle(wanted, option: str, roots) -> bool:
    """Whether combined_path holds a certificate, and so a key, of somebody else's."""
    if option != "combined_path":
        return False
    chain = certificates.read(wanted.outputs[option])[0]
    own = certificates.read(wanted.certificate_path)[0]
    if own and own[0] in chain:  # damaged perhaps, but of the pair
        chain = own
    return bool(chain) and certificates.is_foreign(chain, roots)
