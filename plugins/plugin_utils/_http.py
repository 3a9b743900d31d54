# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The controller's transport: requests, pinned to the trusted roots. The only file that imports requests.

✔ measured: without `trust_env = False` and `verify=` in every request, REQUESTS_CA_BUNDLE replaces the pin and a netrc
entry replaces the Authorization header; a redirect would resend the token elsewhere.
"""

from __future__ import annotations

import http.client
import os
import ssl
import tempfile
import threading
from concurrent.futures import Future

from ..module_utils._core.ca import api, https
from ..module_utils._core.errors import TransportError
from ._libraries import require

try:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import disable_warnings
    from urllib3.connection import HTTPSConnection
    from urllib3.connectionpool import HTTPSConnectionPool
    from urllib3.exceptions import (
        HTTPError,
        InsecureRequestWarning,
        NewConnectionError,
        TimeoutError,
    )
except ImportError:
    requests = None
    HTTPAdapter = HTTPSConnection = HTTPSConnectionPool = object

_thread = threading.local()


class _Progress:
    """How far one request came; what was given up before its first byte is never sent."""

    def __init__(self):
        self.outcome = Future()
        self.sent = False
        self._given_up = False
        self._lock = threading.Lock()

    def note_sending(self) -> None:
        """Called before bytes are written; OSError where nobody waits for the answer any more."""
        with self._lock:
            if self._given_up:
                raise OSError("given up")
            self.sent = True

    def give_up(self) -> bool:
        """Nothing more is to be sent; whether anything was."""
        with self._lock:
            self._given_up = True
            return self.sent


class Transport:
    """See module_utils/_core/ca/client.py for what a transport is."""

    def __init__(self, roots_pem, server_name, seconds: float):
        require("requests", requests)
        self._seconds = seconds
        self._roots_pem = roots_pem
        self._server_name = server_name
        if roots_pem is None:  # meant, for the one request whose answer a fingerprint proves
            disable_warnings(InsecureRequestWarning)

    def send(self, base_url: str, request: api.Request) -> api.Answer:
        """One request, one answer, within the time; TransportError says whether any of it may have reached the CA."""
        progress = _Progress()
        # requests counts its timeout anew for each read; a thread can be given up after a whole request's time.
        worker = threading.Thread(target=self._attempt, args=(base_url, request, progress), daemon=True)
        worker.start()
        worker.join(self._seconds)
        if not progress.outcome.done():
            raise https.explain(OSError(), self._seconds, progress.give_up(), late=True)
        return progress.outcome.result()

    def _attempt(self, base_url: str, request: api.Request, progress: _Progress) -> None:
        _thread.progress = progress
        try:
            progress.outcome.set_result(self._send(base_url, request))
        except TransportError as error:
            progress.outcome.set_exception(error)
        except Exception as error:  # pylint: disable=broad-except
            # requests and urllib3 let errors of many families through, such as one for a name that no resolver accepts.
            progress.outcome.set_exception(_explain(error, self._seconds, progress.sent))

    def _new_session(self):
        """A session for one request: requests < 2.32 gives a second one the roots file of the first, which is gone."""
        session = requests.Session()
        session.trust_env = False
        session.mount("https://", _NamedAdapter(self._server_name, https.context_for(self._roots_pem)))
        return session

    def _send(self, base_url: str, request: api.Request) -> api.Answer:
        with (
            _RootsFile(self._roots_pem) as verify,
            self._new_session() as session,
            session.request(
                request.method,
                base_url + request.path,
                data=api.body_of(request),
                headers={**request.headers, "Content-Type": "application/json", "Accept-Encoding": "identity"},
                timeout=self._seconds,
                verify=verify,
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            peer = _peer(response)
            body = response.raw.read(request.largest + 1, decode_content=False)
            headers = {name.lower(): value for name, value in response.headers.items()}
            https.check_body(body, headers, request.largest)
            return api.Answer(response.status_code, headers, body, base_url + request.path, peer)


class _Connection(HTTPSConnection):
    """Notes when the first byte of a request is written; until then a token is unspent."""

    def connect(self):
        super().connect()
        if self.ssl_context.verify_mode != ssl.CERT_NONE:
            https.refuse_another_name(self.sock.getpeercert(binary_form=True), self.server_hostname or self.host)

    def send(self, data):
        _thread.progress.note_sending()
        return super().send(data)


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _NamedAdapter(HTTPAdapter):
    """Verifies as the transport of hosts does. server_name: expected in the CA's certificate, None for the host of the URL."""

    def __init__(self, server_name, context):
        self._server_name = server_name
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args, **kwargs):
        # The name is compared by _Connection: urllib3 and OpenSSL do not agree on what a * may stand for.
        kwargs.update(ssl_context=self._context, server_hostname=self._server_name, assert_hostname=False)
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = dict(self.poolmanager.pool_classes_by_scheme, https=_Pool)


class _RootsFile:
    """The roots as a file for the length of a request: the one form in which requests trusts them and nothing else."""

    def __init__(self, roots_pem):
        self._roots_pem = roots_pem
        self._path = None

    def __enter__(self):
        if self._roots_pem is None:
            return False
        descriptor, self._path = tempfile.mkstemp(prefix="privatepki-stepca-roots-", suffix=".pem")
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(self._roots_pem)
        return self._path

    def __exit__(self, *_ignored):
        if self._path:
            os.unlink(self._path)


def _peer(response):
    """DER of the certificate at the other end, or None where the connection is gone already."""
    sock = getattr(getattr(response.raw, "connection", None), "sock", None)
    return sock.getpeercert(binary_form=True) if sock else None


def _explain(error: Exception, seconds: float, sent: bool) -> TransportError:
    """What an error of requests or urllib3 means: that of the standard library inside it says it best."""
    chain = list(_causes(error))
    if any(isinstance(one, (requests.exceptions.Timeout, TimeoutError)) for one in chain) and not any(
        isinstance(one, NewConnectionError) for one in chain
    ):
        return https.explain(error, seconds, sent, late=True)
    for one in chain:
        known = not isinstance(one, (requests.exceptions.RequestException, HTTPError))
        if known and isinstance(one, (OSError, http.client.HTTPException)):
            return https.explain(one, seconds, sent)
    return TransportError("no connection (%s)" % type(error).__name__, sent)


def _causes(error):
    """An error and those inside it, the innermost last."""
    seen = []
    todo = [error]
    while todo and len(seen) < 20:
        one = todo.pop(0)
        if isinstance(one, Exception) and one not in seen:
            seen.append(one)
            todo += [getattr(one, "reason", None), one.__cause__, one.__context__, *one.args]
    return seen
