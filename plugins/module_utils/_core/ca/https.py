# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The transport of a host, which has nothing but the standard library: HTTPS pinned to the trusted roots."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

from ..errors import TransportError
from ..library import ExtensionOID, x509
from ..x509 import certificates, fields
from . import api
from .identity import present

#: An end of the connection without a word, in OpenSSL 3; Python 3.7 takes its number for another one's.
_CUT = ("UNEXPECTED_EOF_WHILE_READING", "KRB5_S_TKT_NYV")


class Transport:
    """See client.py for what a transport is.

    No proxy, no netrc, no redirect and no store of the system has a say; nothing is kept open between requests.
    identity: (certificate with its intermediates, its key) in PEM to present, or None.
    """

    def __init__(self, roots_pem, server_name, seconds: float, identity=None):
        self._server_name = server_name
        self._seconds = seconds
        self._identity = identity
        self._context = context_for(roots_pem)
        if identity:
            self._present(*identity)

    def _present(self, chain: bytes, key: bytes) -> None:
        try:
            present(self._context, chain, key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise TransportError(
                "the certificate of this host cannot be shown to the CA (%s)"
                % (getattr(error, "reason", None) or getattr(error, "strerror", None) or error),
                sent=False,
                retry=False,
            ) from None

    def send(self, base_url: str, request: api.Request) -> api.Answer:
        """One request, one answer. TransportError says whether any of it may have reached the CA."""
        parts = urlsplit(base_url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port or 443)
        watch = None
        sent = False
        try:
            deadline = time.monotonic() + self._seconds
            plain = socket.create_connection((parts.hostname, parts.port or 443), self._seconds)
            # Timeouts of sockets are for each read; the watch ends slow headers and bodies too.
            watch = _Watch(plain, max(0.0, deadline - time.monotonic()))
            connection.sock = self._context.wrap_socket(plain, server_hostname=self._server_name or parts.hostname)
            watch.guard(connection.sock)
            peer = connection.sock.getpeercert(binary_form=True)
            if self._context.verify_mode != ssl.CERT_NONE:
                refuse_another_name(peer, self._server_name or parts.hostname)
            sent = True
            headers = dict(request.headers, Host=parts.netloc, **{"Content-Type": "application/json"})
            connection.request(request.method, request.path, body=api.body_of(request), headers=headers)
            response = connection.getresponse()
            body = response.read(request.largest + 1)
            if watch.fired:
                raise socket.timeout()
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = explain(error, self._seconds, sent, bool(watch and watch.fired))
            if self._identity and problem.broken_off:
                problem.retry = False  # so step-ca ends a connection whose certificate it does not accept
            raise problem from None
        finally:
            if watch:
                watch.stop()
            connection.close()
        names = {name.lower(): value for name, value in response.getheaders()}
        check_body(body, names, request.largest)
        return api.Answer(response.status, names, body, base_url + request.path, peer)


def context_for(roots_pem):
    """An ssl.SSLContext that trusts these roots alone; it leaves the name to refuse_another_name. None verifies nothing.

    Its flags are ours: strict ones, which Python 3.13 and urllib3 bring, refuse roots that every other version takes.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST
    if roots_pem is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=roots_pem)
    return context


def refuse_another_name(peer: bytes, name: str) -> None:
    """TransportError unless this certificate (DER), which is verified, is for this host.

    As OpenSSL compares: the alternative names alone count, and a * stands for a whole first label. OpenSSL itself, Python and
    urllib3 have differed on commonNames and on c*.internal from version to version.
    """
    try:
        certificate = certificates.load_der(peer)
    except ValueError as error:
        raise _untrusted("it cannot be read: %s" % error, "") from None
    named = fields.extension(certificate, ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    if any(_is_for(one, name) for one in named or []):
        return
    listed = ", ".join(map(str, certificates.sans(certificate)))
    found = (
        "it is for %s" % listed if listed else "it has no subject alternative names, and its commonName does not count"
    )
    raise _untrusted("%s; expected %s" % (found, name), "ca_name is needed, or ca_url leads to another host")


def _is_for(one, name: str) -> bool:
    """Whether this alternative name is that of the host."""
    try:
        address = ipaddress.ip_address(name.strip("[]").partition("%")[0])
    except ValueError:
        return isinstance(one, x509.DNSName) and _is_domain(one.value.lower(), _ascii(name).lower().rstrip("."))
    return isinstance(one, x509.IPAddress) and one.value == address


def _is_domain(pattern: str, domain: str) -> bool:
    label, dot, rest = pattern.partition(".")
    if label == "*" and "." in rest:
        first, dot, others = domain.partition(".")
        return bool(first and dot) and others == rest
    return pattern == domain and "*" not in pattern


def _ascii(name: str) -> str:
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


def check_body(body: bytes, headers: dict, largest: int) -> None:
    """TransportError for a body that is too large or was cut. headers: with lower-case names."""
    if len(body) > largest:
        raise TransportError(
            "the answer is larger than %d MiB, which no step-ca sends" % (largest // 1024**2), retry=False
        )
    announced = headers.get("content-length", "")
    if re.match("[0-9]{1,18}$", announced) and len(body) < int(announced):
        raise TransportError("the answer was cut after %d of %s bytes" % (len(body), announced))


def explain(error: Exception, seconds: float, sent: bool, late: bool = False) -> TransportError:
    """What a broken connection means, for people. sent: whether any of the request may have reached the CA."""
    if late or isinstance(error, socket.timeout):
        return TransportError("no whole answer within %g s" % seconds, sent)
    if isinstance(error, ssl.SSLError) and not sent:
        return explain_tls(error.reason or str(error), getattr(error, "verify_message", ""))
    if isinstance(error, ssl.SSLError):
        reason = "the connection was cut" if error.reason in _CUT else error.reason or error
        return TransportError("TLS broke after the request was sent (%s)" % reason, broken_off=True)
    if isinstance(error, socket.gaierror):
        return TransportError("the name cannot be resolved (%s)" % (error.strerror or error), sent)
    if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.RemoteDisconnected):
        # What such an error holds is the other side's, and nobody knows who that is.
        return TransportError("what answers there does not speak HTTP as step-ca does", sent)
    broken_off = sent and isinstance(error, ConnectionError)
    return TransportError(
        "%s" % (getattr(error, "strerror", None) or error or type(error).__name__), sent, True, broken_off
    )


def explain_tls(reason: str, verify_message: str) -> TransportError:
    """What a failed TLS handshake means; no request was written before it."""
    if verify_message or "CERTIFICATE_VERIFY_FAILED" in reason:
        why = verify_message or reason
        if re.search("expired|not yet valid", why):
            return _untrusted(
                why, "another CA answers there, it missed a renewal, or the clock of this machine is wrong"
            )
        if not verify_message or re.search("issuer|self.signed|verify the first|signature failure", why):
            return _untrusted(why, "another CA answers there, somebody is in between, or ca_name is needed")
        return _untrusted(
            why, "the chain that answers there breaks a rule (crt in the CA's ca.json), whoever issued it"
        )
    return TransportError(
        "no TLS there (%s): is that the port of a step-ca?" % reason, sent=False, retry=False, broken_off=True
    )


def _untrusted(why: str, reasons: str) -> TransportError:
    return TransportError(
        "its certificate is not trusted (%s). Only the roots of ca_fingerprint or ca_root count, and the name must be in the "
        "certificate%s" % (why, reasons and ": " + reasons),
        sent=False,
        retry=False,
    )


class _Watch:
    """Shuts a socket down when its time is over."""

    def __init__(self, sock, seconds: float):
        self.fired = False
        self._sock = sock
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def guard(self, sock) -> None:
        """Watch this socket instead: TLS took the plain one over."""
        self._sock = sock

    def stop(self) -> None:
        """All went well in time."""
        self._timer.cancel()

    def _end(self) -> None:
        self.fired = True
        with suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
