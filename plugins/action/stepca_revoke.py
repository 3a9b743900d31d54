# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_revoke: finds out the serial, and revokes."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core import wire
from ..module_utils._core.ca import one_time, revocation
from ..module_utils._core.errors import ApiError, CertificateError, OptionError
from ..module_utils._core.x509 import certificates
from ..plugin_utils._action import StepCAAction
from ..plugin_utils._ca import CA


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_revoke.py for what users are told."""

    OPTIONS = _options.REVOKE

    def act(self) -> dict:
        serial, path = self.options.get("serial"), self.options.get("certificate_path")
        if bool(serial) == bool(path):
            raise OptionError("One of serial and certificate_path is required: say which certificate, once.")
        reason = revocation.parse_reason(self.options["reason"])
        ca = CA(self)
        number = revocation.parse_serial(serial) if serial else self._serial_of(path, ca)
        changed = self._would_change(ca, number) if self._task.check_mode else ca.revoke(number, reason)
        return {"changed": changed, "serial": number, "kind": self.options["kind"], "reason": reason}

    def _serial_of(self, path: str, ca: CA) -> str:
        """The serial of the certificate on the host, if this CA issued it."""
        told = self.execute({"certificate_path": path}, {})
        chain = one_time.load(wire.pem(told.get("chain")))
        ca.learn_roots()
        if certificates.is_foreign(chain, ca.roots):
            raise CertificateError("certificate_path: %s was not issued by this CA. Nothing was revoked." % path)
        return str(chain[0].serial_number)

    @staticmethod
    def _would_change(ca: CA, serial: str) -> bool:
        """True unless the CA publishes a list that has it."""
        try:
            return not ca.revoked().sentence(int(serial))
        except ApiError:
            return True
