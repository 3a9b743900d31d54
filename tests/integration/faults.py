# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A proxy before the real CA that everybody believes, since the CA issued its certificate, and that does one wrong to
one kind of request. All others reach the CA."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration import lies
from tests.integration.doubles import Asked
from tests.integration.judging import post
from tests.integration.tokens import make_token
from tools.authority import Authority

#: Bytes of an answer that is far too large.
LARGE = 100 * 1024 * 1024
# No thread of a proxy outlives this, whatever became of the other side.
_LONGEST = 60


@dataclass(frozen=True)
class Served:
    """An answer of the CA."""

    status: int
    content_type: str
    content: bytes


class FaultProxy:
    """Does its fault to requests whose method and path begin as `target` says; it runs inside a `with` block.

    Where `fault` is None all goes through. `asked`: all that came, `struck`: how many met with the fault.
    """

    def __init__(self, authority: Authority, context: ssl.SSLContext, target: str, fault: Fault | None) -> None:
        self.asked: list[Asked] = []
        self.struck = 0
        self.over = threading.Event()
        self._trust = ssl.create_default_context(cadata=authority.root_pem)
        self._authority = authority
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = _LONGEST

            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):  # whoever asked went away, or was sent away
                    super().handle()

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.asked.append(Asked(self.command, self.path, dict(self.headers.items()), body.decode()))
                if fault and ("%s %s" % (self.command, self.path)).startswith(target):
                    proxy.struck += 1
                    fault(self, proxy, lambda: proxy.forward(self.command, self.path, self.headers, body))
                else:
                    served = proxy.forward(self.command, self.path, self.headers, body)
                    head(self, served.status, served.content_type, len(served.content))
                    self.wfile.write(served.content)

            do_POST = do_GET

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = "https://localhost:%d" % self._server.server_address[1]

    def forward(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Served:
        """The CA's own answer."""
        connection = http.client.HTTPSConnection("localhost", self._authority.port, timeout=10, context=self._trust)
        kept = {name: headers[name] for name in ("Authorization", "Content-Type") if name in headers}
        try:
            connection.request(method, path, body or None, kept)
            answer = connection.getresponse()
            return Served(answer.status, answer.headers.get("Content-Type", ""), answer.read())
        finally:
            connection.close()

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


#: (handler of the request, proxy, () -> the CA's own answer)
Fault = Callable[[http.server.BaseHTTPRequestHandler, FaultProxy, Callable[[], Served]], None]


def head(handler: http.server.BaseHTTPRequestHandler, status: int, kind: str, length: int, **others: str) -> None:
    """Status and headers."""
    handler.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": str(length), **others}.items():
        handler.send_header(name, value)
    handler.end_headers()


def _says(status: int, kind: str, content: bytes, **headers: str) -> Fault:
    """The same answer to everything."""

    def fault(handler, proxy, ask):
        head(handler, status, kind, len(content), **headers)
        handler.wfile.write(content)

    return fault


def _reset(handler, proxy, ask):
    """The request was read, and the connection ends with RST."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())


def _hang(handler, proxy, ask):
    """The request was read, and nothing comes."""
    proxy.over.wait(_LONGEST)


def _cut(handler, proxy, ask):
    """The CA answered, and half of it comes."""
    served = ask()
    head(handler, served.status, served.content_type, len(served.content))
    handler.wfile.write(served.content[: len(served.content) // 2])


def _slow(handler, proxy, ask):
    """The CA answered, and its answer comes byte by byte: each read is in time, the whole is not."""
    served = ask()
    head(handler, served.status, served.content_type, len(served.content))
    for index in range(len(served.content)):
        handler.wfile.write(served.content[index : index + 1])
        if proxy.over.wait(0.1):
            break


def _large(handler, proxy, ask):
    """More than any step-ca sends."""
    head(handler, 200, "application/json", LARGE)
    for _block in range(LARGE // 2**20):
        handler.wfile.write(b" " * 2**20)


def faults(elsewhere: str) -> dict[str, Fault]:
    """All wrongs by name; a redirect leads elsewhere."""
    return {
        "reset": _reset,
        "hang": _hang,
        "502": _says(502, "text/html", b"<html>Bad gateway</html>"),
        "cut": _cut,
        "slow": _slow,
        "rubbish": _says(200, "application/json", b'{"crt": "rubbish", "ca'),
        "html": _says(200, "text/html", b"<html>Welcome to the hotel</html>"),
        "large": _large,
        "redirect": _says(307, "text/html", b"", Location=elsewhere),
    }


def believed_context(authority: Authority, folder: Path) -> ssl.SSLContext:
    """What a server on localhost needs to be believed: a key, and a chain that the real CA signs for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    token = make_token(authority, authority.provisioner("ansible"), sub="localhost", sans=["localhost"])
    request = lies.request(key, names=("localhost",), subject=((lies.NameOID.COMMON_NAME, "localhost"),))
    status, text = post(authority, "/1.0/sign", {"csr": request, "ott": token})
    assert status == 201, text
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode("ascii")
    path = folder / "believed.pem"
    path.touch(mode=0o600)
    path.write_text(pem + "".join(lies.json.loads(text)["certChain"]), encoding="ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
