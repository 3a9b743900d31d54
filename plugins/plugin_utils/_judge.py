# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What a host hands over, judged before the CA is asked on its word. CsrError for what is not believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from ..module_utils._core import durations
from ..module_utils._core.ca import one_time
from ..module_utils._core.certificate import plan
from ..module_utils._core.errors import CertificateError, CsrError
from ..module_utils._core.wire import Answer
from ..module_utils._core.x509 import certificates, csr, extensions, proof

#: Between the CA's answer and its clock.
_GRACE = timedelta(minutes=1)


def judge_request(pem, wanted):
    """The certificate request (x509), if it is what the task asks for (request.Request)."""
    request = csr.load(pem)
    (csr.check_brought if wanted.csr_path else csr.check_made)(request, wanted)
    return request


def judge_proofs(proofs: list, wanted, provisioner=None, rewrites=None) -> list:
    """The chain that renewal proofs are for; a host gets nothing prolonged but what the task asks for: CertificateError.

    provisioner: the name of the one that is to issue, None where none is resolved; rewrites(leaf): whether a template could
    have made its names, None for never.
    """
    chains = []
    for text in proofs:
        try:
            chains.append(proof.chain_of(text))
        except (ValueError, TypeError):
            raise CsrError("The host's renewal proof cannot be read.") from None
    if not chains or any(chain != chains[0] for chain in chains):
        raise CsrError("The host's renewal proofs are not for one certificate.")
    leaf = chains[0][0]
    _refuse_other_names(leaf, wanted, rewrites)
    problems = _problems_of_life(leaf, wanted) + _problems(chains[0], wanted, provisioner)
    if problems:
        raise CertificateError("; ".join(problems))
    return chains[0]


def judge_renewed(leaf, wanted, date) -> None:
    """CertificateError where what a renewal gave ends later than the task allows. date: the CA's clock, aware.

    What the CA backdates is known only now. Before, it cannot be told from a life that is too long.
    """
    for option, longest in _limits(wanted):
        if certificates.not_after(leaf) > date + longest + _GRACE:
            raise CertificateError(
                "a renewal would live for %s from now, expected at most %s (%s)"
                % (_in_words(certificates.not_after(leaf) - date), durations.format_duration(longest), option)
            )


def _refuse_other_names(leaf, wanted, rewrites) -> None:
    """A host's record, which tells what a template made of the names, is only its word. The CA says who has a template."""
    found = certificates.sans(leaf)
    renamed = wanted.common_name_given and certificates.common_name(leaf) != wanted.common_name
    if set(found) == set(wanted.sans) and not renamed:
        return
    if set(found) >= set(wanted.sans) and rewrites and rewrites(leaf):
        return
    raise CertificateError(
        "only the play says which names are renewed; the certificate has %s, the task asks for %s"
        % (
            _listed(sorted(map(str, found)), certificates.common_name(leaf), renamed),
            _listed(list(map(str, wanted.sans)), wanted.common_name, renamed),
        )
    )


def _listed(names: list, common_name: str, with_common_name: bool) -> str:
    return (", ".join(names) or "none") + (" and the commonName %r" % common_name if with_common_name else "")


def _problems(chain: list, wanted, provisioner) -> list:
    """Why it is to be issued anew, as the host itself would say that has no record. Names and life are judged apart."""
    leaf = chain[0]
    problems = ["the request %s is signed again, since only its key could renew" % wanted.csr_path] * bool(
        wanted.csr_path
    )
    if wanted.key_policy == "always":
        problems.append("key_policy is always, and a renewal by way of the controller would keep the key")
    unasked = extensions.unasked_usages(leaf.extensions, (), wanted.sans)
    problems += ["it is for %s, which nobody asked for" % ", ".join(unasked)] if unasked else []
    found = plan.Found(chain, "", leaf.public_key(), "", record=None, roots=None)
    judged = {"sans": certificates.sans(leaf), "common_name_given": False, "csr_path": None, "key_policy": "on_issue"}
    limits = dict.fromkeys(("not_before", "not_after", "max_lifetime"))
    decision = plan.decide(replace(wanted, **judged, **limits), found, durations.now(), provisioner)
    return problems + (decision.reasons if decision.outcome == "issued" else [])


def _problems_of_life(leaf, wanted) -> list:
    """What a span shows that renewals keep. What it is too long by may be what the CA backdates, if that is little."""
    if isinstance(wanted.not_after, datetime):
        return ["not_after is a time, and a renewal would end later"]
    span = certificates.not_after(leaf) - certificates.not_before(leaf)
    problems = []
    for option, longest in _limits(wanted):
        if span > longest + max(certificates.BACKDATE, longest / 4):
            problems.append(
                "the certificate lives for %s, expected at most %s (%s)"
                % (_in_words(span), durations.format_duration(longest), option)
            )
    if wanted.not_after and span < wanted.not_after - timedelta(seconds=1):
        problems.append(
            "the certificate lives for %s, expected %s (not_after)"
            % (_in_words(span), durations.format_duration(wanted.not_after))
        )
    return problems


def _limits(wanted) -> list:
    """(option, the longest life that it allows)."""
    options = [("not_after", wanted.not_after), ("max_lifetime", wanted.max_lifetime)]
    return [(option, longest) for option, longest in options if isinstance(longest, timedelta)]


def _in_words(span: timedelta) -> str:
    return durations.format_duration(timedelta(seconds=int(span.total_seconds())))


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
