# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What one task asks of the CA from the controller: judge a request, mint, sign, renew, revoke, check what comes back."""

from __future__ import annotations

from ..module_utils._core import durations
from ..module_utils._core.ca import api, client, connections, crl, one_time
from ..module_utils._core.errors import CertificateError, CsrError, OptionError
from ..module_utils._core.x509 import certificates, csr, extensions, jws, keys, names, proof
from . import _provisioner

#: Older ones ignore the claim that binds a token to one request.
_BINDING_SINCE = (0, 27, 3)
_CREDENTIALS = (
    "token",
    "provisioner_key",
    "provisioner_key_path",
    "provisioner_password",
    "provisioner_password_file",
)
NO_CREDENTIALS = (
    "Only issuing it anew can help, and no option says who vouches: give provisioner and provisioner_password, or "
    "provisioner_key, or a token."
)


class Signing:
    """The CA and the provisioner of one task.

    action: a StepCAAction; by_host: the host asks, and the controller may have no route to the CA; roots: the trusted
    roots, None while they are not known here.
    """

    def __init__(self, action, by_host: bool = False):
        self._action = action
        self._by_host = by_host
        self.settings = action.settings
        self.connection = self.settings.connection()
        self.roots = self.connection.roots or None
        self.token = self.settings.find("token")
        name = None if self.token else self.settings.find("provisioner")
        self.provisioner_name = str(name.value) if name else None
        self.source = "from %s" % name.where if name else ""
        self._authority = None
        self._provisioner = None
        self._revoked = None

    @property
    def can_issue(self) -> bool:
        """Whether any option says who vouches."""
        return bool(self.settings.nearest(*_CREDENTIALS))

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

    def refuse_foreign_token(self, asked) -> None:
        """The CA would refuse a token made for other names only after it was spent."""
        if not self.token:
            return
        _header, claims = jws.claims(str(self.token.value))
        if not claims:
            raise OptionError(
                "token (from %s) is no token of step-ca's: a JWT has three parts with dots between them."
                % self.token.where
            )
        if not isinstance(claims.get("sans"), list):
            return
        has = {names.from_certificate(names.stepca_reads(str(text)), str(text)) for text in claims["sans"]}
        if has != set(asked.sans):
            raise OptionError(
                "token (from %s) is for %s; the task asks for %s. A token serves only the names that it was made for."
                % (self.token.where, ", ".join(sorted(map(str, has))), ", ".join(map(str, asked.sans)))
            )

    @staticmethod
    def judge(pem, asked):
        """The request that a host hands over, if it is what the task asks for; CsrError."""
        request = csr.load(pem)
        (csr.check_brought if asked.csr_path else csr.check_made)(request, asked)
        return request

    def sign(self, request, asked) -> tuple:
        """(chain as PEM, when by the CA's clock) for a request that was judged; the chain is checked.

        What is sent is not the host's text, but the request that was read from it.
        """
        self.learn_roots()
        pem = csr.to_pem(request).decode("ascii")
        chain_pem, date = one_time.sign(self.authority, asked, pem, self.minter(asked, request), self.source)
        public = keys.fingerprint(request.public_key())
        added = certificates.check_issued(one_time.load(chain_pem), asked, public, self.roots, durations.now())
        if added:
            self._action.warn(
                [
                    "The CA added %s to the names of %s, as a template of the provisioner may."
                    % (", ".join(map(str, added)), asked.certificate_path or asked.common_name)
                ]
            )
        return chain_pem, at(date)

    def renew(self, proofs: list, asked) -> tuple:
        """(chain as PEM, when by the CA's clock) for proofs of a host; ApiError or CertificateError where it must be issued."""
        former = self._judged_proof(proofs, asked)
        self.learn_roots()
        left = list(proofs)
        chain_pem, date = one_time.renew(self.authority, lambda _spent: left.pop(0) if left else None)
        public = keys.fingerprint(former[0].public_key())
        certificates.check_renewed(one_time.load(chain_pem), former, asked, public, self.roots, durations.now())
        return chain_pem, at(date)

    @staticmethod
    def _judged_proof(proofs: list, asked) -> list:
        """The chain in a host's proofs; a host gets no other names prolonged than those of the task."""
        chains = []
        for one in proofs:
            try:
                chains.append(proof.chain_of(one))
            except (ValueError, TypeError):
                raise CsrError("The host's renewal proof cannot be read.") from None
        if not chains or any(chain != chains[0] for chain in chains):
            raise CsrError("The host's renewal proofs are not for one certificate.")
        found = set(certificates.sans(chains[0][0]))
        if found != set(asked.sans):
            raise CertificateError(
                "only the play says which names are renewed; the certificate has %s, the task asks for %s"
                % (", ".join(sorted(map(str, found))) or "none", ", ".join(map(str, asked.sans)))
            )
        return chains[0]

    def former_serial(self, answer: dict, asked) -> str:
        """The serial of the certificate that a host wants revoked.

        Nobody's certificate is revoked on the word of another host: it must show that it holds the key, or at least the
        names must be those that the play gives it. CsrError.
        """
        chain = one_time.load(answer["former"])
        roots = self.roots or self._proved(answer["former_roots"])
        try:
            holds = bool(answer["holding"]) and proof.chain_of(answer["holding"])[0] == chain[0]
        except (ValueError, TypeError):
            holds = False
        named = bool(asked.sans) and set(certificates.sans(chain[0])) == set(asked.sans)
        if certificates.is_foreign(chain, roots) or not (holds or named):
            raise CsrError(
                "The certificate with the serial %d is not revoked on the mere word of the host, which does not show the key that "
                "belongs to it. If it is to be revoked, name its serial to stepca_revoke." % chain[0].serial_number
            )
        return str(chain[0].serial_number)

    def _proved(self, pem: str) -> list:
        """The roots in a host's record, as far as the fingerprints prove them."""
        return [one for one in one_time.load(pem) if certificates.fingerprint(one) in self.connection.fingerprints]

    def revoke(self, serial: str, reason: str) -> bool:
        """Revoke the certificate of this serial; False where the CA had done so before."""
        next_token = self._once if self.token else self.revoking_minter(serial)
        return one_time.revoke(self.authority, serial, reason, next_token, self.source)

    def revoking_minter(self, serial: str):
        """mint(spent) -> a token for revoking this serial that was never sent."""
        try:
            provisioner = self.provisioner()
        except OptionError as error:
            raise OptionError(str(error).replace("A certificate is due", "A certificate is to be revoked")) from None
        return lambda _spent: provisioner.mint(
            purpose="revoke",
            subject=serial,
            sans=[],
            audiences=connections.audiences(self.connection, "revoke"),
            lifetime=_provisioner.lifetime(self.settings),
        )

    def minter(self, asked, request):
        """mint(spent) -> a token for this request that was never sent, or None where there is no further one."""
        if self.token:
            return self._once
        provisioner = self.provisioner()
        return lambda _spent: provisioner.mint(
            purpose="sign",
            subject=asked.common_name,
            sans=[text for _kind, text in extensions.spellings(request.extensions)],
            audiences=connections.audiences(self.connection, "sign"),
            lifetime=_provisioner.lifetime(self.settings),
            binding=csr.binding(request),
        )

    def _once(self, spent: bool):
        return None if spent else str(self.token.value)

    def provisioner(self) -> _provisioner.Provisioner:
        """The provisioner with its opened key, found once."""
        if self._provisioner is None:
            self._provisioner = _provisioner.find(self.settings, self.authority)
            if not self._by_host:
                self._warn_of_old_ca()
        return self._provisioner

    def _warn_of_old_ca(self) -> None:
        problem = age_problem(self.authority)
        self._action.warn([problem] if problem else [])


def age_problem(authority: client.StepCA) -> str:
    """What is wrong with a CA that ignores the binding, and would sign any request for a stolen token; "" if nothing."""
    text = authority.version()
    numbers = tuple(int(part) for part in text.lstrip("v").split("-")[0].split(".") if part.isdigit())
    known = len(numbers) == 3
    if not (numbers < _BINDING_SINCE if known else authority.ask(api.INTERMEDIATES).status != 201):
        return ""
    return "step-ca at %s (%s) is older than 0.27.3 and does not bind tokens to one request: upgrade it." % (
        authority.url,
        text if known else "version unknown",
    )


def at(date) -> str:
    """When the CA answered, RFC 3339: its own clock where it tells, else this one."""
    return durations.format_time((date or durations.now()).replace(microsecond=0))
