# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Whether the renewer of a host could ever renew what the host was given. Asked when it is set up, not when it is late."""

from __future__ import annotations

import shutil

from ..ca import client, https
from ..errors import StepCAError
from ..x509 import certificates


class Renewable:
    """Asks the CA once for all certificates of a host. connection: connections.Connection."""

    def __init__(self, connection):
        self._authority = client.StepCA(connection, https.Transport)
        self._listed = None

    def problem(self, one) -> str:
        """Why this configuration.Configuration will never be renewed, a sentence; "" where nothing speaks against it."""
        if one.only_by_play:
            return one.only_by_play
        for option, words in (("run_after", one.run_after), ("on_failure", one.on_failure)):
            if words and not shutil.which(words[0]):
                return "%s: %s is no program that this host can run." % (option, words[0])
        chain = certificates.read(one.certificate_path)[0]
        if not chain:
            return ""  # an image that is yet to be enrolled
        problem = certificates.renewal_problem(chain[0], by_proof=False)
        if problem:
            return "%s will not be renewed: %s." % (one.certificate_path, problem)
        return self._refusal(one, certificates.provisioner(chain[0])[0])

    def _refusal(self, one, name) -> str:
        try:
            if self._listed is None:
                self._listed = self._authority.provisioners()
        except StepCAError as error:
            return "%s will not be renewed, because this host does not reach the CA: %s" % (one.certificate_path, error)
        named = [entry for entry in self._listed if entry.get("name") == name]
        if name and not named:
            return "%s will not be renewed: the CA has no provisioner %r any more." % (one.certificate_path, name)
        claims = named[0].get("claims") if named else None
        if isinstance(claims, dict) and claims.get("disableRenewal") is True:
            return "%s will not be renewed: the provisioner %r does not allow it (disableRenewal)." % (
                one.certificate_path,
                name,
            )
        return ""
