# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""All of stepca_sign: it runs on the controller alone."""

from __future__ import annotations

from dataclasses import replace

from ..module_utils import _options
from ..module_utils._core import durations, wire
from ..module_utils._core.ca import one_time
from ..module_utils._core.certificate import request
from ..module_utils._core.errors import CsrError, nobody_vouches
from ..module_utils._core.x509 import certificates
from ..plugin_utils import _idna
from ..plugin_utils._action import StepCAAction
from ..plugin_utils._ca import CA
from ..plugin_utils._credentials.credential import Nobody
from ..plugin_utils._judge import judge_request
from ..plugin_utils._settings import plain_data


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_sign.py for what users are told."""

    OPTIONS = _options.SIGN

    def act(self) -> dict:
        wanted = self._asked()
        ca = CA(self)
        ca.credential.check_request(wanted)
        try:
            request = judge_request(self.options["csr"], wanted)
        except CsrError as error:
            raise CsrError("csr: %s" % error) from None
        result = {"changed": True, "certificate": None, "certificate_pem": None, "chain_pem": None}
        if self._task.check_mode:
            return result
        if isinstance(ca.credential, Nobody):
            raise nobody_vouches("A certificate is asked for")
        chain = one_time.load(ca.sign(request, wanted)[0])
        facts = wire.facts(certificates.facts(chain, wanted.renew_before, None, ca.roots))
        return {
            "changed": True,
            "certificate": facts,
            "certificate_pem": certificates.to_pem(chain).decode("ascii"),
            "chain_pem": certificates.to_pem(chain[1:]).decode("ascii"),
        }

    def _asked(self) -> request.Request:
        """What the task asks for, as of a request that a user brings; it becomes no file."""
        options = dict(self.options)
        options["sans"] = [_idna.to_ascii(str(text)) for text in options.get("sans") or []]
        if not options["sans"] and options.get("common_name"):
            options["common_name"] = _idna.to_ascii(options["common_name"])
        data = plain_data(options.get("template_data"))
        wanted = request.parse(dict(options, template_data=data, certificate_path="-", csr_path="csr"))
        request.refuse_past(wanted, durations.now())
        return replace(wanted, certificate_path="")
