# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Which certificate does a port serve? That of the file, or still the one before: the commonest real outage."""

from __future__ import annotations

import time
from contextlib import suppress

from ..errors import HostFileError, StepCAError, TransportError
from ..files import reading
from ..x509 import certificates, keys

_SECONDS = 5.0
#: How long a service that was told may take until it serves the new certificate.
_PATIENCE = 15.0


class StillServed(StepCAError):
    """Not the certificate of the file is served, or nothing is."""


def problem(configuration) -> str:
    """ "" where the port serves the certificate of the file, or no port is named; else a sentence."""
    try:
        refuse_another(configuration)
    except TransportError as error:
        return "Nothing tells which certificate %s:%d serves: %s." % (*configuration.served, str(error).rstrip("."))
    except StillServed as error:
        return str(error)
    return ""


def refuse_another(configuration) -> None:
    """StillServed where the port serves another certificate than that of the file; TransportError where it serves none."""
    if configuration.served is None:
        return
    host, port = configuration.served
    chain = certificates.read(configuration.certificate_path)[0]
    if not chain:
        return  # which is said elsewhere
    expected, name = chain[0].serial_number, _name_to_ask_for(chain[0]) or host
    served = _serial(host, port, configuration.options, name)
    if served != expected:
        with suppress(TransportError):  # a port may have one of each kind, and gave that which it likes best
            served = _serial(host, port, configuration.options, name, _ciphers(chain[0].public_key()))
    if served != expected:
        raise StillServed(
            "The file %s has serial %d, but %s:%d still serves %d. Reload or restart what listens there."
            % (configuration.certificate_path, expected, host, port, served)
        )


def _name_to_ask_for(leaf) -> str:
    """A name under which a server finds this certificate; one that a wildcard matches where it has no other; "" for none."""
    domains = sorted((san.value for san in certificates.sans(leaf) if san.kind == "dns"), key=lambda name: "*" in name)
    return domains[0].replace("*", "stepca", 1) if domains else ""


def _ciphers(public_key) -> str:
    """Of TLS 1.2, those with which a server shows a certificate of this kind (ciphers(1))."""
    return "aRSA" if keys.type_of(public_key).startswith("rsa") else "aECDSA"


def wait(configuration, patience: float = _PATIENCE) -> None:
    """StillServed unless the port serves the certificate of the file after a while at most."""
    deadline = time.monotonic() + patience
    while True:
        found = problem(configuration)
        if not found:
            return
        if time.monotonic() > deadline:
            raise StillServed(found)
        time.sleep(0.2)


def _serial(host: str, port: int, options: dict, name: str, ciphers: str = "") -> int:
    """The serial of the certificate that comes in a handshake; TransportError.

    name: what is asked for (SNI, RFC 6066); ciphers: of TLS 1.2, which alone is spoken then. In TLS 1.3 no option of Python's
    ssl chooses the kind of a certificate.
    """
    import socket
    import ssl

    from ..ca import https, identity

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # whose certificate it is, the serial tells
    with suppress(OSError, ValueError, HostFileError):  # where the service asks for a client's, our own may do
        chain, key = [reading.read(options.get(name) or "/") for name in ("certificate_path", "key_path")]
        identity.present(context, chain or b"", key or b"")
    if ciphers:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
    try:
        plain = socket.create_connection((host, port), _SECONDS)
        with plain, context.wrap_socket(plain, server_hostname=name) as connection:
            return certificates.load_der(connection.getpeercert(binary_form=True)).serial_number
    except OSError as error:
        raise https.explain(error, _SECONDS, sent=False) from None
    except ValueError as error:
        raise TransportError("its certificate cannot be read: %s" % error) from None
