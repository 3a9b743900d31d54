# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Servers on loopback that write down what they are asked: somebody in between, a proxy, a redirecting front."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tools.authority import Authority
from tools.pki import Issuer


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


#: (method, path) -> (status, headers, body)
Answer = Callable[[str, str], tuple[int, dict[str, str], bytes]]


class Double:
    """A server on loopback, over TLS where it is given a context; it runs inside a `with` block."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        double = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 5

            def setup(self) -> None:
                double.connections += 1
                super().setup()

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # a handshake that failed, or a client that went away
                    super().handle()

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return self._serve
                raise AttributeError(name)

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "replace")
                double.asked.append(Asked(self.command, self.path, dict(self.headers.items()), body))
                status, headers, content = answer(self.command, self.path)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.scheme = "https" if context else "http"
        if context:
            # The handshake belongs to the thread of its connection.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return "%s://localhost:%d" % (self.scheme, self.port)

    @property
    def https_url(self) -> str:
        """As a user would write it, whatever the server speaks."""
        return "https://localhost:%d" % self.port

    def __enter__(self) -> Double:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def tls_context(folder: Path, issuer: Issuer, names: Sequence[str] = ("localhost", "127.0.0.1")) -> ssl.SSLContext:
    """What a server needs to be believed by those who trust the issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    general = [
        x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(general), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "server.pem"
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def relay(authority: Authority) -> Answer:
    """The real CA's own answers to GET; anything else is a step-ca's error."""

    def answer(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if method == "GET":
            status, content = authority.get(path)
            return status, {"Content-Type": "application/json"}, content
        return 500, {}, json.dumps({"status": 500, "message": "no POST came so far"}).encode()

    return answer


def says(status: int, content: bytes, **headers: str) -> Answer:
    """The same answer to everything."""
    return lambda method, path: (status, headers, content)
