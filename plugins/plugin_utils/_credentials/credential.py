# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What every kind of credential is to its users: who vouches, in one task, for what the CA is asked."""

from __future__ import annotations

from dataclasses import dataclass

from ...module_utils._core.errors import nobody_vouches


@dataclass(frozen=True)
class Purpose:
    """What a token is to serve.

    name: sign or revoke; subject: the commonName, or the serial number in decimal; sans: as the CSR spells them;
    binding: csr.binding of the one CSR that it serves, "" for a token that serves any.
    """

    name: str
    subject: str
    sans: tuple = ()
    binding: str = ""


class Credential:
    """One kind. A subclass is a file, and a line in table.py.

    settings: a Settings; connection: connections.Connection; authority() -> client.StepCA, asked only when that is needed.
    """

    #: For people.
    NAME = ""
    #: Any of them, given, means this kind.
    OPTIONS: tuple = ()
    #: Whether there is one token for one request, and no other can be made.
    SERVES_ONE = False
    #: Whether its tokens are bound to one CSR, by a CA that is new enough.
    BINDS = False

    def __init__(self, settings, connection, authority):
        self.settings = settings
        self.connection = connection
        self.authority = authority

    @staticmethod
    def check(settings) -> None:
        """OptionError for what the options alone show. It is called whether they mean this kind or not."""

    @staticmethod
    def warnings(_settings) -> list:
        """Sentences on what the options alone show, for an action or a lookup to tell."""
        return []

    @property
    def provisioner(self):
        """The Setting that names the provisioner which certificates are to be of, or None."""
        return self.settings.find("provisioner")

    def check_request(self, wanted) -> None:
        """OptionError where this could never serve what is asked for (request.Request): before the host is touched."""

    def mint(self, purpose: Purpose):
        """next_token(spent) -> a token that was never sent, or None where there is none left (see ca/one_time.py).

        What it needs is opened here, so that what is wrong with it shows before anything is sent. OptionError,
        ProvisionerError, ApiError, TransportError.
        """
        raise NotImplementedError


class Nobody(Credential):
    """No option says who vouches: enough for whatever only renews."""

    NAME = "nobody"

    def mint(self, purpose: Purpose):
        """Nothing: OptionError."""
        raise nobody_vouches("A certificate is %s" % ("to be revoked" if purpose.name == "revoke" else "due"))
