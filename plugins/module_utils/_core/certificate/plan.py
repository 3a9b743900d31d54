# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""When is a certificate replaced? Here, and nowhere else.

`decide` is pure: what is wanted, what was found, what time it is; out comes what to do, and why in sentences that name
the wanted and the found value. A certificate that fits must give no reason, and one that was just issued must fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Optional

from .. import durations
from ..x509 import certificates, keys, names
from ..x509.certificates import BACKDATE, CLOCK_GRACE
from . import record


@dataclass
class Found:
    """What lies on the host.

    chain: certificates of certificate_path, empty if they cannot be read, and then certificate_problem says why;
    key: private key of key_path, or public key of the request that a user brings; None, and key_problem says why;
    record: dict or None; roots: those to verify against, or None while they are not known here;
    revoked: a sentence if the CA revoked it; refused: why the CA did not renew it, if it was asked to.
    """

    chain: list
    certificate_problem: str
    key: object
    key_problem: str
    record: Optional[dict]
    roots: Optional[list]
    revoked: str = ""
    refused: str = ""


@dataclass
class Plan:
    """outcome: issued, rekeyed, renewed or none; reasons: sentences, empty for none; needs_roots: undecidable without."""

    outcome: str = "none"
    reasons: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    needs_roots: bool = False


def decide(wanted, found: Found, now: datetime, provisioner: Optional[str] = None, by_host: bool = False) -> Plan:
    """What to do about one certificate: issue it anew, or the cheaper renewal where time is the sole reason.

    now: the controller's clock; provisioner: the name that would issue, None when it is not known or does not matter;
    by_host: whether the host itself asks the CA, which alone can show a client certificate.
    """
    plan = Plan()
    found = replace(found, record=record.fitting(found.record, found.chain))
    plan.reasons = [problem for problem in (found.certificate_problem, found.key_problem) if problem]
    if found.key is not None and not wanted.csr_path:
        plan.reasons += _key_type(wanted, found.key)
    if found.chain:
        plan.reasons += _pair(wanted, found)
        plan.reasons += _names(wanted, found)
        plan.reasons += _life_asked_for(wanted, found)
        plan.reasons += _template(wanted, found)
        plan.reasons += _provisioner(provisioner, found.chain[0])
        plan.reasons += _first_issued(wanted, found)
        plan.reasons += _not_yet_valid(wanted, found.chain, now)
        plan.reasons += [found.revoked] if found.revoked else []
        plan.reasons += _trust(found, now) if found.roots is not None else []
        plan.warnings += _expired_for_ever(wanted, found.chain, found.roots, now)
    if wanted.force:
        plan.reasons.append("force is true")
    plan.needs_roots = bool(found.chain and found.roots is None and not plan.reasons)
    due = _due(wanted, found.chain, found.roots, now) if found.chain else []
    if plan.reasons:
        plan.outcome = "issued"
    elif due:
        plan.outcome, why = _cheapest(wanted, found, by_host)
        due += why
    plan.reasons += due
    return plan


def issued_instead(outcome: str, problem: str) -> str:
    """Why a certificate that is merely due is not renewed or rekeyed."""
    return "it is issued anew instead of %s: %s" % (outcome, problem)


def _cheapest(wanted, found: Found, by_host: bool) -> tuple:
    """(outcome, why it is not cheaper) for a certificate that is merely due."""
    if wanted.csr_path:
        return "issued", ["the request %s is signed again, since only its key could renew" % wanted.csr_path]
    problem = found.refused or certificates.renewal_problem(found.chain[0], by_proof=not by_host)
    if problem:
        return "issued", [issued_instead("renewed", problem)]
    if wanted.key_policy == "always":
        why = "key_policy is always, and a renewal by way of the controller would keep the key"
        return ("rekeyed", []) if by_host else ("issued", [why])
    return "renewed", []


def _key_type(wanted, key) -> list:
    found = keys.type_of(key)
    return ["the key is of type %s, expected %s" % (found, wanted.key_type)] if found != wanted.key_type else []


def _pair(wanted, found: Found) -> list:
    if found.key is None or keys.fingerprint(found.key) == keys.fingerprint(found.chain[0].public_key()):
        return []
    if wanted.csr_path:
        return ["the certificate is for another key than the request %s" % wanted.csr_path]
    return ["the certificate %s is for another key than the one in %s" % (wanted.certificate_path, wanted.key_path)]


def _names(wanted, found: Found) -> list:
    leaf = found.chain[0]
    has = certificates.sans(leaf)
    common_name = certificates.common_name(leaf)
    then = found.record["asked"] if found.record else {}
    reasons = []
    wanted_names = [str(san) for san in wanted.sans]
    if set(has) != set(wanted.sans) and set(then.get("names") or []) != set(wanted_names):
        reasons.append("the names are %s, expected %s" % (names.listed(has) or "none", names.listed(wanted_names)))
    if wanted.common_name_given and wanted.common_name not in (common_name, then.get("common_name")):
        reasons.append("the commonName is %r, expected %r" % (common_name, wanted.common_name))
    return reasons


def _life_asked_for(wanted, found: Found) -> list:
    reasons = []
    for option in ("not_before", "not_after"):
        now_asked = getattr(wanted, option)
        if now_asked is None:
            continue
        if found.record:
            then_asked = record.asked_limit(found.record, option)
            if then_asked != now_asked:
                then_text = durations.format_limit(then_asked) or "the CA's own"
                reasons.append("%s was %s, expected %s" % (option, then_text, durations.format_limit(now_asked)))
        else:
            reasons += _measured(option, now_asked, found.chain[0])
    # A begin that the task asks for may be long past when the certificate is issued, and is no part of its life here.
    since = max(certificates.not_before(found.chain[0]), record.signed_at(found.record, found.chain))
    span = certificates.not_after(found.chain[0]) - since
    if wanted.max_lifetime and span > wanted.max_lifetime + BACKDATE:
        reasons.append(
            "the certificate lives for %s, expected at most %s (max_lifetime)"
            % (durations.format_duration(span), durations.format_duration(wanted.max_lifetime))
        )
    return reasons


def _measured(option: str, limit, leaf) -> list:
    """Without a record only the certificate itself can tell what was asked for."""
    if isinstance(limit, datetime):
        has = getattr(certificates, option)(leaf)
        if abs(has - limit) > timedelta(seconds=1):
            return ["%s is %s, expected %s" % (option, durations.format_time(has), durations.format_time(limit))]
    elif option == "not_after":
        span = certificates.not_after(leaf) - certificates.not_before(leaf)
        if not limit - timedelta(seconds=1) <= span <= limit + BACKDATE:
            return [
                "the certificate lives for %s, expected not_after %s"
                % (durations.format_duration(span), durations.format_duration(limit))
            ]
    return []


def _template(wanted, found: Found) -> list:
    if wanted.template_digest is None or not found.record:
        return []
    then, now = found.record["asked"].get("template_data"), wanted.template_digest
    if then == now:
        return []
    return ["template_data was %s, expected %s" % (_digest_in_words(then), _digest_in_words(now))]


def _digest_in_words(digest) -> str:
    return "SHA-256 %s..." % digest[:16] if isinstance(digest, str) else "none"


def _first_issued(wanted, found: Found) -> list:
    since = record.issued_at(found.record, found.chain)
    if wanted.issued_since and since < wanted.issued_since:
        return [
            "it was first issued on %s, expected since %s (issued_since)"
            % (durations.format_time(since), durations.format_time(wanted.issued_since))
        ]
    return []


def _provisioner(name: Optional[str], leaf) -> list:
    has, _key_id = certificates.provisioner(leaf)
    if name and has and has != name:
        return ["the provisioner %r issued it, expected %r" % (has, name)]
    return []


def _not_yet_valid(wanted, chain, now: datetime) -> list:
    begin = certificates.not_before(chain[0])
    if begin > now + CLOCK_GRACE and wanted.not_before is None:
        return ["it is not valid before %s; here it is %s" % (durations.format_time(begin), durations.format_time(now))]
    return []


def _due(wanted, chain, roots, now: datetime) -> list:
    end = certificates.end_of_life(chain, roots)
    if isinstance(wanted.not_after, datetime) or _never_due(wanted):
        return []
    if end <= now:
        return ["it expired on %s" % durations.format_time(end)]
    due = certificates.renew_at(chain, wanted.renew_before, roots)
    if due <= now:
        return [
            "it is due since %s, and ends on %s"
            % (durations.format_time(due.replace(microsecond=0)), durations.format_time(end))
        ]
    return []


def _never_due(wanted) -> bool:
    return durations.threshold_of(wanted.renew_before, timedelta(days=1)) == timedelta(0)


def _expired_for_ever(wanted, chain, roots, now: datetime) -> list:
    end = certificates.end_of_life(chain, roots)
    if _never_due(wanted) and end <= now and not isinstance(wanted.not_after, datetime):
        return [
            "%s expired on %s and stays so, since renew_before is 0."
            % (wanted.certificate_path, durations.format_time(end))
        ]
    return []


def _trust(found: Found, now: datetime) -> list:
    problem = certificates.chain_problem(found.chain, found.roots, now)
    return ["the chain does not lead to a trusted root: %s" % problem] if problem else []
