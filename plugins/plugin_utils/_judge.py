# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What a host hands over, judged before the CA is asked on its word. CsrError for what is not believed."""

from __future__ import annotations

from ..module_utils._core.ca import one_time
from ..module_utils._core.errors import CertificateError, CsrError
from ..module_utils._core.wire import Answer
from ..module_utils._core.x509 import certificates, csr, proof


def judge_request(pem, wanted):
    """The certificate request (x509), if it is what the task asks for (request.Request)."""
    request = csr.load(pem)
    (csr.check_brought if wanted.csr_path else csr.check_made)(request, wanted)
    return request


def judge_proofs(proofs: list, wanted) -> list:
    """The chain that renewal proofs are for; a host gets no other names prolonged than those of the task: CertificateError."""
    chains = []
    for text in proofs:
        try:
            chains.append(proof.chain_of(text))
        except (ValueError, TypeError):
            raise CsrError("The host's renewal proof cannot be read.") from None
    if not chains or any(chain != chains[0] for chain in chains):
        raise CsrError("The host's renewal proofs are not for one certificate.")
    names = set(certificates.sans(chains[0][0]))
    if names != set(wanted.sans):
        raise CertificateError(
            "only the play says which names are renewed; the certificate has %s, the task asks for %s"
            % (", ".join(sorted(map(str, names))) or "none", ", ".join(map(str, wanted.sans)))
        )
    return chains[0]


def judge_former(answer: Answer, wanted, roots, fingerprints: list) -> str:
    """The serial of the certificate that a host wants revoked.

    Nobody's certificate is revoked on the word of another host: it must show that it holds the key, or at least the
    names must be those that the play gives it. roots: None where only the fingerprints are known.
    """
    chain = one_time.load(answer.former)
    if not roots:  # those in the host's record, as far as the fingerprints prove them
        listed = one_time.load(answer.former_roots)
        roots = [root for root in listed if certificates.fingerprint(root) in fingerprints]
    try:
        holds = bool(answer.holding) and proof.chain_of(answer.holding)[0] == chain[0]
    except (ValueError, TypeError):
        holds = False
    named = bool(wanted.sans) and set(certificates.sans(chain[0])) == set(wanted.sans)
    if certificates.is_foreign(chain, roots) or not (holds or named):
        raise CsrError(
            "The certificate with the serial %d is not revoked on the mere word of the host, which does not show the key that "
            "belongs to it. If it is to be revoked, name its serial to stepca_revoke." % chain[0].serial_number
        )
    return str(chain[0].serial_number)
