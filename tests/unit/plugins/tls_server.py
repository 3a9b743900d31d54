# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A loopback HTTPS server that misbehaves as it is told: for faults that a real authority cannot be made to show.

    with Server(AUTHORITY, [redirect("https://elsewhere"), answer(200, b"{}")]) as server:
        ...  server.url, server.requests

Each connection is met by the next act of the script, the last one for ever. An act is a function of the connection.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import ssl
import struct
import tempfile
import threading
from collections import namedtuple

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import https
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

#: headers: dict with lower-case names.
Received = namedtuple("Received", "method path headers body")
NAMES = ("127.0.0.1", "localhost", "ca.test")
TRANSPORTS = ("stdlib", "requests")


def transport(name: str):
    """The class of a transport; the test is skipped where its library is missing."""
    if name == "stdlib":
        return https.Transport
    pytest.importorskip("requests")
    return importlib.import_module("ansible_collections.privatepki.stepca.plugins.plugin_utils._http").Transport


class Server:
    """Serves on threads until the end of its `with` block. clients: whose certificates it asks for, if any.

    requests: what came; shown: the certificates of clients, DER.
    """

    def __init__(self, authority, script, names=NAMES, clients=None):
        self.requests = []
        self.shown = []
        self.connections = 0
        self.certificate = None
        self.closing = threading.Event()
        self._script = list(script)
        self.context = self._tls(authority, names)
        if clients:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(cadata=clients.root_pem)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(16)
        self.port = self._socket.getsockname()[1]
        self.url = "https://127.0.0.1:%d" % self.port
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_ignored):
        self.closing.set()
        # A thread in accept() is not woken by close() everywhere, but by a last visitor.
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self._threads:
            thread.join(10)
        self._socket.close()

    def wait_for_threads(self):
        """Until every connection so far has been served."""
        for thread in self._threads[1:]:
            thread.join(10)

    def _tls(self, authority, names):
        key = pki.new_key()
        self.certificate = authority.leaf(key.public_key(), list(names))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "server.pem")
            with open(path, "wb") as stream:
                stream.write(pki.key_pem(key) + pki.pem_of(self.certificate, authority.intermediate).encode("ascii"))
            context.load_cert_chain(path)
        return context

    def _accept(self):
        while True:
            plain = self._socket.accept()[0]
            if self.closing.is_set():
                plain.close()
                return
            self.connections += 1
            act = self._script.pop(0) if len(self._script) > 1 else self._script[0]
            thread = threading.Thread(target=self._serve, args=(plain, act), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain, act):
        plain.settimeout(10)
        connection = Connection(self, plain)
        try:
            if not getattr(act, "before_tls", False):
                connection.begin_tls()
            act(connection)
        except (OSError, ValueError):
            pass  # the client went away, or refused us
        finally:
            connection.close()


class Connection:
    """One connection: stream is the socket, wrapped in TLS unless the act came before."""

    def __init__(self, server, plain):
        self.server = server
        self.stream = plain

    def send(self, data: bytes):
        self.stream.sendall(data)

    def begin_tls(self):
        """The handshake, and the request behind it."""
        self.stream = self.server.context.wrap_socket(self.stream, server_side=True)
        self.server.requests.append(self.read_request())
        self.server.shown += filter(None, [self.stream.getpeercert(binary_form=True)])

    def read_request(self) -> Received:
        reader = self.stream.makefile("rb")
        method, path, _version = reader.readline().decode("ascii").split()
        headers = {}
        for line in iter(reader.readline, b"\r\n"):
            name, value = line.decode("ascii").split(":", 1)
            headers[name.lower()] = value.strip()
        return Received(method, path, headers, reader.read(int(headers.get("content-length", 0))))

    def close(self):
        with contextlib.suppress(OSError):
            self.stream.shutdown(socket.SHUT_RDWR)
        self.stream.close()


def before_tls(act):
    """Mark an act that is due before any handshake."""
    act.before_tls = True
    return act


def answer(status=200, body=b"{}", *headers, length=None):
    """An answer; length: what Content-Length says, if not the truth."""

    def act(connection):
        lines = ["HTTP/1.1 %d Words" % status, "Content-Length: %d" % (len(body) if length is None else length)]
        connection.send("\r\n".join(lines + list(headers) + ["", ""]).encode("ascii") + body)

    return act


def redirect(target: str, status=307):
    """A redirect to another place."""
    return answer(status, b"", "Location: %s" % target)


def raw(data: bytes):
    """These bytes instead of HTTP."""
    return lambda connection: connection.send(data)


def drip(first: bytes, drop: bytes):
    """Some bytes, then a drop now and then, never too slow for the timeout of a single read, for ten seconds."""

    def act(connection):
        connection.send(first)
        for _drop in range(200):
            if connection.server.closing.wait(0.05):
                break
            connection.send(drop)

    return act


def silence(connection):
    """Nothing, until the client goes."""
    while not connection.server.closing.is_set() and connection.stream.recv(4096):
        pass


def then_silence(first: bytes):
    """Some bytes, and nothing more until the client goes."""
    return lambda connection: (connection.send(first), silence(connection))


def hang_up(connection):
    """The end of the connection, without an answer."""


def reset(connection):
    """End the connection by force."""
    connection.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.stream.close()


def broken_record(connection):
    """Bytes beneath TLS that are no record of it."""
    with socket.socket(fileno=os.dup(connection.stream.fileno())) as beneath:
        beneath.sendall(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)
    silence(connection)


@before_tls
def plain_http(connection):
    """What a server without TLS says to a handshake."""
    connection.stream.recv(4096)
    connection.send(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent a handshake to an HTTP server.\n")


reset_at_once = before_tls(lambda connection: (connection.stream.recv(1), reset(connection)))


def late_handshake(event):
    """A handshake and a request that are waited for only after this event; what comes is noted like any other."""

    @before_tls
    def act(connection):
        event.wait(10)
        connection.begin_tls()
        answer()(connection)

    return act


@before_tls
def silence_at_once(connection):
    """Not even a handshake."""
    silence(connection)
