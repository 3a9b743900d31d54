# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The CA of one task, asked from the controller: its roots, its age, what it revoked; sign, renew, revoke."""

from __future__ import annotations

import re

from ..module_utils._core import durations
from ..module_utils._core.ca import api, client, crl, one_time
from ..module_utils._core.x509 import certificates, csr, extensions, keys
from . import _judge
from ._credentials import table
from ._credentials.credential import Purpose

#: Older ones ignore the claim that binds a token to one request.
_BINDING_SINCE = (0, 27, 3)
_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-|$)", re.ASCII)


class CA:
    """The CA and the credential of one task.

    action: a StepCAAction; by_host: the host asks, and the controller may have no route to the CA; roots: the trusted
    roots, None while they are not known here.
    """

    def __init__(self, action, by_host: bool = False):
        self._action = action
        self.connection = action.settings.connection()
        self.credential = table.choose(action.settings, self.connection, lambda: self.authority)
        self.roots = self.connection.roots or None
        name = self.credential.provisioner
        self.provisioner_name = str(name.value) if name else None
        self.source = "from %s" % name.where if name else ""
        self._authority = None
        self._revoked = None
        self._age_matters = self.credential.BINDS and not by_host

    @property
    def authority(self) -> client.StepCA:
        """The CA, asked from here."""
        if self._authority is None:
            self._authority = self._action.authority(self.connection)
        return self._authority

    @property
    def url(self):
        """The URL that answered last, or None while none was asked."""
        return self._authority.url if self._authority else None

    def learn_roots(self) -> None:
        """The trusted roots, from the CA if nobody here has them, proved by their fingerprints."""
        self.roots = self.authority.trust()
        self._action.warn(self.authority.warnings)

    def revoked(self) -> crl.Revoked:
        """The CA's list of revoked certificates, fetched once."""
        if self._revoked is None:
            self._revoked = crl.fetch(self.authority, durations.now())
        return self._revoked

    def sign(self, request, wanted) -> tuple:
        """(chain as PEM, when by the CA's clock) for a request that was judged; the chain is checked.

        What is sent is not the host's text, but the request that was read from it.
        """
        self.learn_roots()
        pem = csr.to_pem(request).decode("ascii")
        chain_pem, date = one_time.sign(self.authority, wanted, pem, self.tokens_to_sign(wanted, request), self.source)
        public = keys.fingerprint(request.public_key())
        chain, usages = one_time.load(chain_pem), extensions.usages(request.extensions)
        added = certificates.check_issued(chain, wanted, public, self.roots, durations.now(), usages)
        where = wanted.certificate_path or wanted.common_name
        missing = csr.not_given(request, chain[0]) if wanted.csr_path else []
        self._action.warn(certificates.names_added(added, where) + certificates.not_given(missing, where))
        return chain_pem, one_time.issued_at(date)

    def renew(self, proofs: list, wanted) -> tuple:
        """(chain as PEM, when by the CA's clock) for proofs of a host; ApiError or CertificateError where it must be issued."""
        former = _judge.judge_proofs(proofs, wanted, self.provisioner_name, self._rewrites)
        self.learn_roots()
        left = list(proofs)
        chain_pem, date = one_time.renew(self.authority, lambda _spent: left.pop(0) if left else None)
        public = keys.fingerprint(former[0].public_key())
        signed_at, chain = one_time.issued_at(date), one_time.load(chain_pem)
        clock = durations.parse_time(signed_at, "date")
        certificates.check_renewed(chain, former, wanted, public, self.roots, durations.now(), clock)
        _judge.judge_renewed(chain[0], wanted, clock)
        added = [san for san in certificates.sans(chain[0]) if san not in wanted.sans]
        self._action.warn(certificates.names_added(added, wanted.certificate_path))
        return chain_pem, signed_at

    def _rewrites(self, leaf) -> bool:
        """Whether the provisioner that issued this certificate has a template, which may make other names of those asked for."""
        name = certificates.provisioner(leaf)[0]
        listed = self.authority.provisioners() if name else []
        return any(client.has_template(one) for one in listed if one.get("name") == name)

    def revoke(self, serial: str, reason: str) -> bool:
        """Revoke the certificate of this serial; False where the CA had done so before."""
        return one_time.revoke(self.authority, serial, reason, self.tokens_to_revoke(serial), self.source)

    def tokens_to_sign(self, wanted, request):
        """next_token(spent) for this request; see Credential.mint."""
        names = tuple(csr.asked_names(request))
        return self._tokens(Purpose("sign", wanted.common_name, names, csr.binding(request)))

    def tokens_to_revoke(self, serial: str):
        """The same for revoking this serial."""
        return self._tokens(Purpose("revoke", serial))

    def _tokens(self, purpose: Purpose):
        next_token = self.credential.mint(purpose)
        if self._age_matters:
            self._age_matters = False
            problem = age_problem(self.authority)
            self._action.warn([problem] if problem else [])
        return next_token


def age_problem(authority: client.StepCA) -> str:
    """What is wrong with a CA that ignores the binding, and would sign any request for a stolen token; "" if nothing."""
    text = authority.version()
    numbers = _VERSION.match(text)
    known = numbers and tuple(int(number) for number in numbers.groups())
    if not (known < _BINDING_SINCE if known else authority.ask(api.INTERMEDIATES).status != 201):
        return ""
    return "step-ca at %s (%s) is older than 0.27.3 and does not bind tokens to one request: upgrade it." % (
        authority.url,
        text if known else "version unknown",
    )
