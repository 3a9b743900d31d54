# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The files made of a pair: as tasks ask for them, and as openssl and Java read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.integration.judging import openssl
from tests.integration.pairs import TLS
from tests.integration.support import Core
from tools.authority import Authority

#: The file of each option, after the name of its certificate.
ENDINGS = {
    "chain_path": "-chain.pem",
    "leaf_path": "-leaf.pem",
    "root_path": "-root.pem",
    "combined_path": "-all.pem",
    "pkcs12_path": ".p12",
}
#: The reasons of the task name each of them so.
WORDS = {
    "chain_path": "chain file",
    "leaf_path": "leaf file",
    "root_path": "root file",
    "combined_path": "combined file",
    "pkcs12_path": "PKCS#12 file",
}
KEYED = ("combined_path", "pkcs12_path")

_BLOCK = re.compile("-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n", re.DOTALL)


def encryption_of(core: Core) -> str:
    """What the library of this core's hosts can make: cryptography < 38 leaves no choice."""
    return "compatible" if core.name == "2.17" else "modern"


def all_files(name: str, core: Core, **options: Any) -> dict[str, Any]:
    """The options that ask for every file; the password comes from a variable, as anybody's should."""
    paths = {option: TLS + name + ending for option, ending in ENDINGS.items()}
    password = {"pkcs12_password": "{{ password }}", "pkcs12_encryption": encryption_of(core)}
    return {**paths, **password, **options}


def blocks(path: Path) -> list[str]:
    """The PEM blocks of a file, which holds nothing else."""
    text = path.read_text(encoding="ascii")
    found = _BLOCK.findall(text)
    assert "".join(found) == text, path
    return found


def judge_files(authority: Authority, tls: Path, name: str, password: str, java: bool = True) -> None:
    """Fail unless every file holds what its option says, in the eyes of openssl, and of Java where there is one."""
    leaf, intermediate = blocks(tls / (name + ".crt"))
    (key,) = blocks(tls / (name + ".key"))
    assert blocks(tls / (name + "-chain.pem")) == [intermediate]
    assert blocks(tls / (name + "-leaf.pem")) == [leaf]
    assert blocks(tls / (name + "-root.pem")) == [authority.root_pem]
    assert blocks(tls / (name + "-all.pem")) == [key, leaf, intermediate]
    files = [
        "-CAfile",
        tls / (name + "-root.pem"),
        "-untrusted",
        tls / (name + "-chain.pem"),
        tls / (name + "-leaf.pem"),
    ]
    assert openssl("verify", *files).strip().endswith(": OK")
    judge_pkcs12(tls / (name + ".p12"), password, key, [leaf, intermediate], java)


def judge_pkcs12(path: Path, password: str, key: str, chain: list[str], java: bool = True) -> str:
    """Fail unless the password opens the file and it holds this key and chain; returns how openssl says it is locked."""
    opened = ["pkcs12", "-in", path, "-passin", "pass:" + password]
    assert _BLOCK.findall(openssl(*opened, "-nodes", "-nocerts")) == [key]
    assert sorted(_BLOCK.findall(openssl(*opened, "-nokeys"))) == sorted(chain)
    keytool = shutil.which("keytool") if java else None
    if keytool:
        store = ["-keystore", path, "-storetype", "PKCS12", "-storepass", password]
        said = subprocess.run([keytool, "-list", "-v", *store], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout + said.stderr
        assert "Your keystore contains 1 entry" in said.stdout
        assert "Entry type: PrivateKeyEntry" in said.stdout
        assert "Certificate chain length: %d" % len(chain) in said.stdout
    done = subprocess.run(["openssl", *map(str, opened), "-info", "-noout"], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr
