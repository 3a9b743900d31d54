# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Whoever gets hold of a token on its way to the CA has gained nothing: it serves the one request that it was made for."""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.integration.judging import leftovers, make_request, post
from tests.integration.pairs import CERTIFICATE, GROUP, pair
from tests.integration.support import enrolment

pytestmark = pytest.mark.one_core


@contextmanager
def thief(authority, certificate, key):
    """A server with a certificate of the CA that passes on what is asked, and keeps what is sent for itself."""
    stolen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(*authority.get(self.path))

        def do_POST(self):
            stolen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(500, b'{"status": 500, "message": "not today"}')

        def _answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield "https://localhost:%d" % server.server_port, stolen
        server.shutdown()


def test_a_stolen_token_serves_no_other_request(play, host, authority, tmp_path):
    """The real CA refuses it for the thief's own request of the same names, and would have taken it for the host's."""
    tls = host.path("/etc/tls")
    defaults = {GROUP: enrolment(authority)}
    play([{"name": "server", CERTIFICATE: pair("server", sans=["localhost"])}], module_defaults=defaults).expect_ok()
    with thief(authority, tls / "server.crt", tls / "server.key") as (url, stolen):
        task = {"name": "robbed", CERTIFICATE: pair("site", ca_url=url), "ignore_errors": True}
        run = play([task, {**task, "name": "robbed again"}], module_defaults=defaults).expect_ok()
    for name in ("robbed", "robbed again"):
        run.expect_failure(url, "500", "not today", name=name)
    first, second = stolen
    assert first["csr"] != second["csr"] and first["ott"] != second["ott"]
    assert not (tls / "site.key").exists() and leftovers(host) == []

    own = make_request(tmp_path, "thief", "site.example.com")
    status, text = post(authority, "/1.0/sign", {"csr": own, "ott": first["ott"]})
    assert status == 403 and "certificate request fingerprint does not match" in text
    assert post(authority, "/1.0/sign", {"csr": second["csr"], "ott": second["ott"]})[0] == 201
