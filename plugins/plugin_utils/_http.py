# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The controller's transport: requests, pinned to the trusted roots. The only file that imports requests.

✔ measured: without `trust_env = False` and `verify=` in every request, REQUESTS_CA_BUNDLE replaces the pin and a netrc
entry replaces the Authorization header; a redirect would resend the token elsewhere.
"""

from __future__ import annotations

import os
import tempfile
import threading

from ..module_utils._core import api, https
from ..module_utils._core.errors import TransportError
from ._libraries import require

try:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import disable_warnings
    from urllib3.exceptions import InsecureRequestWarning
except ImportError:
    requests = None
    HTTPAdapter = object


class Transport:
    """See module_utils/_core/client.py for what a transport is. One session, so connections are kept open."""

    def __init__(self, roots_pem, server_name, seconds: float):
        require("requests", requests)
        self._seconds = seconds
        self._roots_pem = roots_pem
        self._session = requests.Session()
        self._session.trust_env = False
        if roots_pem is None:  # meant, for the one request whose answer a fingerprint proves
            disable_warnings(InsecureRequestWarning)
        self._session.mount("https://", _NamedAdapter(server_name))

    def send(self, base_url: str, request: api.Request) -> api.Answer:
        """One request, one answer, within the time; TransportError says whether any of it may have reached the CA."""
        outcome = []
        # requests counts its timeout anew for each read; a thread can be given up after a whole request's time.
        worker = threading.Thread(target=self._attempt, args=(base_url, request, outcome), daemon=True)
        worker.start()
        worker.join(self._seconds + 0.5)
        if not outcome:
            raise https.explain(TimeoutError(), self._seconds, sent=True, late=True)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def _attempt(self, base_url: str, request: api.Request, outcome: list) -> None:
        try:
            outcome.append(self._send(base_url, request))
        except TransportError as error:
            outcome.append(error)
        except requests.exceptions.RequestException as error:
            outcome.append(_explain(error, self._seconds))
        except Exception as error:  # pylint: disable=broad-except
            # urllib3 lets some through as they are, such as a name that no resolver accepts.
            outcome.append(TransportError("%s" % error))

    def _send(self, base_url: str, request: api.Request) -> api.Answer:
        with (
            _RootsFile(self._roots_pem) as verify,
            self._session.request(
                request.method,
                base_url + request.path,
                data=api.body_of(request),
                headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
                timeout=self._seconds,
                verify=verify,
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            peer = _peer(response)
            body = response.raw.read(api.LARGEST_ANSWER + 1, decode_content=False)
            if len(body) > api.LARGEST_ANSWER:
                raise TransportError("the answer is larger than 1 MiB, which no step-ca sends", retry=False)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return api.Answer(response.status_code, headers, body, base_url + request.path, peer)


class _NamedAdapter(HTTPAdapter):
    """Expects this name in the CA's certificate, whatever the host of the URL is."""

    def __init__(self, server_name):
        self._server_name = server_name
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args, **kwargs):
        if self._server_name:
            kwargs.update(server_hostname=self._server_name, assert_hostname=self._server_name)
        super().init_poolmanager(*args, **kwargs)


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


def _explain(error, seconds: float) -> TransportError:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return TransportError("no connection within %g s" % seconds, sent=False)
    if isinstance(error, requests.exceptions.Timeout):
        return TransportError("no whole answer within %g s" % seconds)
    reason = getattr(error.args[0] if error.args else error, "reason", error)
    if isinstance(error, requests.exceptions.SSLError):
        inner = reason.args[0] if getattr(reason, "args", None) else reason
        return https.explain_tls(getattr(inner, "reason", None) or str(inner), getattr(inner, "verify_message", ""))
    unsent = type(reason).__name__ in ("NewConnectionError", "NameResolutionError")
    text = str(reason)
    cause = getattr(reason, "__cause__", None) or getattr(reason, "__context__", None)
    return TransportError(getattr(cause, "strerror", None) or text.rsplit(": ", 1)[-1], sent=not unsent)
