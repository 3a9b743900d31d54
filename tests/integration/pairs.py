# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Certificates as tasks ask for them."""

from __future__ import annotations

from typing import Any

from tests.integration.support import TaskResult

CERTIFICATE = "privatepki.stepca.stepca_certificate"
GROUP = "group/privatepki.stepca.stepca"
TLS = "{{ host_root }}/etc/tls/"

#: Options of PEM files made of a pair, and the ends of their names in tests.
OUTPUTS = {"chain_path": ".chain", "leaf_path": ".leaf", "root_path": ".root", "combined_path": ".pem"}


def pair(name: str, **options: Any) -> dict[str, Any]:
    """The options of a certificate with its key, named after its files unless other names are given."""
    paths = {"certificate_path": TLS + name + ".crt", "key_path": TLS + name + ".key"}
    if not {"sans", "common_name"} & set(options):
        options["sans"] = [name + ".example.com"]
    return {**paths, **options}


def everything(name: str, password: str = "first") -> dict[str, str]:
    """Options for all files that can be made of a pair; compatible, since any cryptography makes that."""
    outputs = {option: TLS + name + ending for option, ending in OUTPUTS.items()}
    pkcs12 = {"pkcs12_path": TLS + name + ".p12", "pkcs12_password": password, "pkcs12_encryption": "compatible"}
    return {**outputs, **pkcs12}


def outcomes(result: TaskResult) -> dict[str, str]:
    """The outcome of each certificate of a task with a list, by the name of its file."""
    names = [one["certificate_path"].rsplit("/", 1)[1].removesuffix(".crt") for one in result["results"]]
    return dict(zip(names, (one["outcome"] for one in result["results"]), strict=True))
