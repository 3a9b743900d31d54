# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Chains are judged as `openssl verify` and `step certificate verify` judge them, whatever cryptography is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration import chain_making
from tools import venvs
from tools.cache import CHECKOUT

CHAINS = 250
NOW = int(time.time())
ENVIRONMENTS = ("host-oldest", "host-middle", "host")


def openssl(folder: Path, has_more: bool) -> str:
    """What `openssl verify` has against the chain in this folder."""
    command = ["openssl", "verify", "-no-CApath", "-no-CAstore", "-CAfile", folder / "roots.pem"]
    command += ["-untrusted", folder / "more.pem"] if has_more else []
    done = subprocess.run([*command, folder / "leaf.pem"], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def step(program: Path, folder: Path) -> str:
    """What `step certificate verify` has against it."""
    command = [program, "certificate", "verify", folder / "chain.pem", "--roots", folder / "roots.pem"]
    env = {**os.environ, "STEPPATH": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    return done.stderr.strip() or "refused" if done.returncode else ""


def judged(python: Path | str, folder: Path, now: int = NOW) -> dict[str, str]:
    """What the collection has against each, with the library of this Python."""
    command = [python, Path(__file__).with_name("chain_judge.py"), CHECKOUT, folder, str(now)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def write(folder: Path, case: chain_making.Case) -> None:
    """One case as files."""
    folder.mkdir(parents=True)
    parts = {"chain": case.chain, "leaf": case.chain[:1], "more": case.chain[1:], "roots": case.roots}
    for name, part in parts.items():
        (folder / (name + ".pem")).write_bytes(chain_making.pem(part))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Their folder, and the cases by name."""
    folder = tmp_path_factory.mktemp("chains")
    made = [chain_making.Maker(seed).case("chain%d" % seed) for seed in range(CHAINS)]
    for case in made:
        write(folder / case.name, case)
    return folder, {case.name: case for case in made}


def differing(cases, ours: dict[str, str], theirs: dict[str, str], not_for: set[str]) -> list[object]:
    """The cases of which one thinks well and the other does not."""
    return [
        (name, sorted(case.done), ours[name], theirs[name])
        for name, case in cases.items()
        if not case.done & not_for and bool(ours[name]) != bool(theirs[name])
    ]


def test_openssl_and_step_say_the_same(cases, lab):
    """Path lengths, name constraints, usages, times, unknown extensions, cross-signing, and what lies beside."""
    folder, by_name = cases
    ours = judged(sys.executable, folder)
    good = sum(not problem for problem in ours.values())
    assert CHAINS / 4 < good < CHAINS * 3 / 4, "a test that knows only one verdict proves nothing"
    by_openssl = {name: openssl(folder / name, len(case.chain) > 1) for name, case in by_name.items()}
    assert differing(by_name, ours, by_openssl, chain_making.NOT_FOR_OPENSSL) == []
    by_step = {name: step(lab.step, folder / name) for name in by_name}
    assert differing(by_name, ours, by_step, chain_making.NOT_FOR_GO) == []


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_library_says_the_same(cases, name):
    """In the same words."""
    folder, _by_name = cases
    assert judged(venvs.ensure(name).python, folder) == judged(sys.executable, folder)


SIGNED = {
    "p521": (["ec", "-pkeyopt", "ec_paramgen_curve:P-521"], ["-sha512"]),
    "p384": (["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], ["-sha384"]),
    "ed25519": (["ed25519"], []),
    "ed448": (["ed448"], []),
    "rsa512": (["rsa:2048"], ["-sha512"]),
    "pss": (["rsa:2048"], ["-sha256", "-sigopt", "rsa_padding_mode:pss"]),
    "pss-salt": (["rsa:2048"], ["-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:20"]),
    "pss-key": (["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"], ["-sha256"]),
    "sha3": (["rsa:2048"], ["-sha3-256"]),
}


def certify(folder: Path, key: list[str], signing: list[str], forged: bool) -> None:
    """A root and a leaf below it, by OpenSSL; forged: a root of the same name and kind did not issue it."""

    def call(*words: object) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)

    def certificate(name: str) -> None:
        call(
            "req", "-x509", "-nodes", "-newkey", *key, "-keyout", "key.pem", "-out", name, "-subj", "/CN=root", *signing
        )

    folder.mkdir(parents=True)
    certificate("roots.pem")
    call("req", "-new", "-nodes", "-newkey", "ed25519", "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=leaf")
    call(
        "x509",
        "-req",
        "-in",
        "leaf.csr",
        "-CA",
        "roots.pem",
        "-CAkey",
        "key.pem",
        "-out",
        "chain.pem",
        "-days",
        "9",
        *signing,
    )
    if forged:
        certificate("roots.pem")


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A folder with a chain of each kind, and a forged one."""
    folder = tmp_path_factory.mktemp("signed")
    for kind, (key, signing) in SIGNED.items():
        certify(folder / kind, key, signing, forged=False)
        certify(folder / ("forged-" + kind), key, signing, forged=True)
    return folder


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_signatures_are_verified_or_said_not_to_be(signed, name):
    """Never is what the library does not know taken for somebody else's."""
    found = judged(venvs.ensure(name).python, signed, NOW + 86400)
    not_known = {"sha3": "cannot be verified by cryptography"}
    if name == "host-oldest":
        not_known["pss-key"] = "does not know what is in it: Unsupported key type"
    for kind in SIGNED:
        assert not_known.get(kind, "") in found[kind] and bool(found[kind]) == (kind in not_known), (kind, found[kind])
        words = not_known.get(kind, "which is none of the trusted roots")
        assert words in found["forged-" + kind], (kind, found["forged-" + kind])
