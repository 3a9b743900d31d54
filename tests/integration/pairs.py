# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Certificates as tasks ask for them."""

from __future__ import annotations

from typing import Any

from tests.integration.support import TaskResult

CERTIFICATE = "privatepki.stepca.stepca_certificate"
GROUP = "group/privatepki.stepca.stepca"
TLS = "{{ host_root }}/etc/tls/"


def pair(name: str, **options: Any) -> dict[str, Any]:
    """The options of a certificate with its key, named after its files unless other names are given."""
    paths = {"certificate_path": TLS + name + ".crt", "key_path": TLS + name + ".key"}
    if not {"sans", "common_name"} & set(options):
        options["sans"] = [name + ".example.com"]
    return {**paths, **options}


def outcomes(result: TaskResult) -> dict[str, str]:
    """The outcome of each certificate of a task with a list, by the name of its file."""
    names = [one["certificate_path"].rsplit("/", 1)[1].removesuffix(".crt") for one in result["results"]]
    return dict(zip(names, (one["outcome"] for one in result["results"]), strict=True))
