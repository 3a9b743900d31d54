# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A key is handed to OpenSSL by a path that nobody else can follow, and that is gone at once; test_https_identity.py shows it."""

from __future__ import annotations

import os
import ssl
import stat
import tempfile

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import identity
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki


class Context:
    """In the place of an ssl.SSLContext: looks at what it is handed."""

    def __init__(self, real):
        self._real = real
        self.paths, self.modes, self.links = [], [], []

    def load_cert_chain(self, *paths, password):
        for path in paths:
            status = os.stat(path)
            self.paths.append(path)
            self.modes.append(stat.S_IMODE(status.st_mode))
            self.links.append(status.st_nlink)
        self._real.load_cert_chain(*paths, password=password)


@pytest.fixture(name="context")
def fixture_context():
    return Context(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


@pytest.fixture(name="pair")
def fixture_pair():
    """A certificate with its intermediate, and its key, in PEM."""
    key = pki.new_key()
    return pki.Authority().sign(pki.request_pem(key, ["host.example"])).encode("ascii"), pki.key_pem(key)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="not applicable: no files of memory here")
def test_it_is_handed_over_from_memory(context, pair):
    before = os.listdir("/dev/fd")
    identity.present(context, *pair)
    assert all(path.startswith("/proc/self/fd/") for path in context.paths) and context.links == [0, 0]
    assert os.listdir("/dev/fd") == before


@pytest.mark.parametrize("lacking", ["memory", "proc"])
def test_where_there_is_none_by_a_file_of_ours_for_a_moment(context, pair, monkeypatch, tmp_path, lacking):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    real = os.path.isdir
    if lacking == "memory":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(os.path, "isdir", lambda path: path != "/proc/self/fd" and real(path))
    before = os.umask(0)
    try:
        identity.present(context, *pair)
    finally:
        os.umask(before)
    assert all(path.startswith(str(tmp_path)) for path in context.paths)
    assert context.modes == [0o600, 0o600] and os.listdir(tmp_path) == []


@pytest.mark.parametrize("lacking", [False, True])
def test_nothing_stays_where_openssl_refuses_it(context, pair, monkeypatch, tmp_path, lacking):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if lacking:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    before = os.listdir("/dev/fd")
    with pytest.raises(ssl.SSLError):
        identity.present(context, pair[0], pki.key_pem(pki.new_key()))
    assert os.listdir(tmp_path) == [] and os.listdir("/dev/fd") == before
