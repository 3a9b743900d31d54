# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""A token that somebody else made, which serves one request."""

from __future__ import annotations

from ...module_utils._core.errors import OptionError
from ...module_utils._core.x509 import jws, names
from .credential import Credential


class Token(Credential):
    """From whatever source, it replaces minting."""

    NAME = "token"
    OPTIONS = ("token",)
    SERVES_ONE = True

    @property
    def provisioner(self):
        """None: whoever made the token chose it."""
        return None

    def check_request(self, wanted) -> None:
        """The CA would refuse a token made for other names only after it was spent."""
        token = self.settings.find("token")
        if wanted.revoke:
            raise OptionError(
                "revoke needs the provisioner's options: the token (from %s) serves one request, and is for signing."
                % token.where
            )
        if wanted.state != "present":
            return
        _header, claims = jws.claims(str(token.value))
        if not claims:
            raise OptionError(
                "token (from %s) is no token of step-ca's: a JWT has three parts with dots between them." % token.where
            )
        if not isinstance(claims.get("sans"), list):
            return
        has = {names.from_certificate(names.stepca_reads(str(text)), str(text)) for text in claims["sans"]}
        if has != set(wanted.sans):
            raise OptionError(
                "token (from %s) is for %s; the task asks for %s. A token serves only the names that it was made for."
                % (token.where, ", ".join(sorted(map(str, has))), ", ".join(map(str, wanted.sans)))
            )

    def mint(self, purpose):
        """The token as it is, until it may have reached the CA."""
        text = str(self.settings.find("token").value)
        return lambda spent: None if spent else text
