# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Variables go to processes by name, each where it is needed."""

from __future__ import annotations

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils import _options
from ansible_collections.privatepki.stepca.plugins.plugin_utils._disposable import surroundings

HERE = {
    "PATH": "/bin",
    "HOME": "/root",
    "LC_TIME": "C",
    "HTTPS_PROXY": "http://proxy",
    "GOPROXY": "https://go.internal",
    "GITHUB_TOKEN": "canary",
    "GOCANARY": "canary",
    "PIP_INDEX_URL": "https://pypi.internal",
    "DOCKER_HOST": "unix:///run/docker.sock",
    **dict.fromkeys(_options.SECRET_ENVIRONMENT, "canary"),
    **{name: "canary" for names in _options.ENVIRONMENT.values() for name in names},
}


@pytest.mark.parametrize(
    "make, more",
    [
        (surroundings.to_run, []),
        (surroundings.to_build, ["HTTPS_PROXY", "GOPROXY", "PIP_INDEX_URL"]),
        (surroundings.of_container, ["HTTPS_PROXY", "DOCKER_HOST"]),
    ],
)
def test_what_is_named_is_given_and_nothing_else(monkeypatch, make, more):
    monkeypatch.setattr(surroundings.os, "environ", HERE)
    assert make() == {name: HERE[name] for name in ["PATH", "HOME", "LC_TIME", *more]}
