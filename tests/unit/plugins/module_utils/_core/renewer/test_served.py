# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Ports as there are: one certificate of each kind, and names that only a wildcard has."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import connections
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import served
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer.configuration import Configuration
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import key


@contextmanager
def listening(*pairs, newest=None, knows=None):
    """A port that serves these pairs (paths); newest: the TLS version it speaks at most; knows(name): whether there is such a site."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for certificate_path, key_path in pairs:
        context.load_cert_chain(certificate_path, key_path)
    if newest:
        context.maximum_version = newest
    if knows:
        context.sni_callback = lambda _connection, name, _context: (
            None if name and knows(name) else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, context), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _serve(listener, context):
    while True:
        try:
            plain = listener.accept()[0]
        except OSError:
            return
        with suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as connection:
            connection.recv(1)


def pair(folder, name, key_type="ec-p256", names=("a.example",), number=0):
    """(paths of certificate and key) of a new certificate in the folder."""
    private = key(key_type, number)
    leaf = CA.leaf(private.public_key(), list(names))
    paths = [str(folder / (name + ending)) for ending in (".crt", ".key")]
    for path, content in zip(
        paths, [pki.pem_of(leaf, CA.intermediate).encode("ascii"), pki.key_pem(private)], strict=True
    ):
        with open(path, "wb") as stream:
            stream.write(content)
    return paths


def problem(paths, port):
    options = {"certificate_path": paths[0], "key_path": paths[1]}
    return served.problem(Configuration(options, connections.Connection([], []), served=("127.0.0.1", port)))


@pytest.mark.parametrize("newest", [None, ssl.TLSVersion.TLSv1_2], ids=["any TLS", "TLS 1.2"])
def test_each_kind_is_found_on_a_port_that_serves_both(tmp_path, newest):
    pairs = [pair(tmp_path, "ec", "ec-p256"), pair(tmp_path, "rsa", "rsa-2048")]
    with listening(*pairs, newest=newest) as port:
        assert [problem(paths, port) for paths in pairs] == ["", ""]
        for name, key_type in (("new-ec", "ec-p256"), ("new-rsa", "rsa-2048")):
            successor = pair(tmp_path, name, key_type, number=1)
            assert "still serves" in problem(successor, port), "which is not hidden by the other"


@pytest.mark.parametrize(
    "names", [["*.example.com"], ["*.example.com", "*.example.net"], ["*.example.com", "10.0.0.1"]]
)
def test_a_wildcard_is_asked_for_by_a_name_that_it_matches(tmp_path, names):
    paths = pair(tmp_path, "wild", names=names)
    with listening(
        paths, knows=lambda name: name.count(".") == 2 and name.endswith((".example.com", ".example.net"))
    ) as port:
        assert problem(paths, port) == ""


def test_a_name_without_a_wildcard_is_asked_for_first(tmp_path):
    paths = pair(tmp_path, "both", names=["*.example.com", "example.com"])
    with listening(paths, knows=lambda name: name == "example.com") as port:
        assert problem(paths, port) == ""
