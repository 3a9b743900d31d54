# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The environment of processes that are started here: variables by name, and none of the play's.

A play's environment may hold the password of the real CA (see _options.ENVIRONMENT), and a process that outlives the play
would keep it for days, for its owner to read in /proc.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase

#: What any program may need to run.
_ANY = (
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE LC_* TZ TERM TMPDIR TMP TEMP LD_LIBRARY_PATH DYLD_LIBRARY_PATH "
    "XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_RUNTIME_DIR SSL_CERT_FILE SSL_CERT_DIR"
)
#: What one needs that fetches something.
_NETWORK = "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy NETRC"
#: Go's own (go help environment), git's for modules that come by it, and pip's (pip config --help).
_BUILD = (
    "GOPROXY GOSUMDB GONOSUMDB GONOSUMCHECK GOPRIVATE GONOPROXY GOINSECURE GOVCS GOAUTH GOENV GOFLAGS GOTOOLCHAIN GOROOT GOPATH GOBIN "
    "GOCACHE GOMODCACHE GOTMPDIR GOMAXPROCS GOMEMLIMIT GOOS GOARCH GIT_SSL_CAINFO GIT_CONFIG_GLOBAL GIT_SSH_COMMAND SSH_AUTH_SOCK "
    "PIP_CERT PIP_CLIENT_CERT PIP_CONFIG_FILE PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX PIP_TRUSTED_HOST "
    "PIP_PROXY PIP_CACHE_DIR PIP_DEFAULT_TIMEOUT PIP_RETRIES PIP_CONSTRAINT PIP_DISABLE_PIP_VERSION_CHECK "
    "REQUESTS_CA_BUNDLE CURL_CA_BUNDLE"
)
#: Where the engine and the registry are.
_CONTAINERS = (
    "CONTAINER_HOST CONTAINER_SSHKEY CONTAINERS_CONF CONTAINERS_STORAGE_CONF CONTAINERS_REGISTRIES_CONF REGISTRY_AUTH_FILE "
    "DBUS_SESSION_BUS_ADDRESS DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG DOCKER_CERT_PATH DOCKER_TLS_VERIFY SSH_AUTH_SOCK"
)


def to_run() -> dict[str, str]:
    """Of a program that needs nothing else."""
    return _chosen(_ANY)


def to_build() -> dict[str, str]:
    """Of one that fetches and builds a program."""
    return _chosen(_ANY, _NETWORK, _BUILD)


def of_container() -> dict[str, str]:
    """Of podman or docker."""
    return _chosen(_ANY, _NETWORK, _CONTAINERS)


def _chosen(*groups: str) -> dict[str, str]:
    patterns = " ".join(groups).split()
    return {name: value for name, value in os.environ.items() if any(fnmatchcase(name, one) for one in patterns)}
