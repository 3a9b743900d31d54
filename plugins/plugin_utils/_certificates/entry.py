# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""One certificate of a task on its way: what is asked of the host about it, and what the task returns."""

from __future__ import annotations

from dataclasses import replace

from ...module_utils._core import durations
from ...module_utils._core.certificate import request
from ...module_utils._core.errors import shown
from ...module_utils._core.wire import Answer, Errand, Question
from ...module_utils._core.x509 import csr
from .. import _idna
from .._settings import plain_data

_NEEDS_CA = ("issued", "rekeyed", "renewed")


def understand(options: dict) -> request.Request:
    """What the options of one certificate mean; they themselves get their normal form. OptionError."""
    request.refuse_unwritable(options)
    options["sans"] = [_idna.to_ascii(str(text)) for text in options.get("sans") or []]
    if not options["sans"] and options.get("common_name"):
        options["common_name"] = _idna.to_ascii(options["common_name"])
    options["template_data"] = plain_data(options.get("template_data"))
    wanted = request.parse(options)
    options["sans"] = [str(san) for san in wanted.sans]
    for limit in ("not_before", "not_after", "issued_since"):  # YAML may have made a datetime of it
        options[limit] = durations.format_limit(getattr(wanted, limit)) or None
    return wanted


class Entry:
    """Its options, what they mean, the host's answer, what the CA said, its result."""

    def __init__(self, options: dict):
        self.options = options
        self.wanted = None
        self.answer = Answer()
        self.refused = ""
        self.revoked = ""
        self.looked_up = False
        self.request = None
        self.former = None
        self.chain_pem = None
        self.issued_at = None
        self.error = None
        self.overtaken = False
        self.installed = None
        self.revoked_now = False
        self.ca_url = None

    @property
    def for_host(self) -> dict:
        """Its options without what stays here."""
        return {name: value for name, value in self.options.items() if name != "template_data"}

    @property
    def template(self):
        """The digest of template_data, or None."""
        return self.wanted.template_digest

    @property
    def is_due(self) -> bool:
        """Whether the CA is needed."""
        outcome = self.answer.outcome
        return outcome in _NEEDS_CA or (outcome == "removed" and self.wanted.revoke and self.answer.revocable)

    def fits(self, answer: Answer) -> bool:
        """Whether this can come of what is wanted: nothing is signed for a certificate that is to go."""
        removing = self.wanted.state == "absent"
        return answer.outcome == "none" or removing == (answer.outcome == "removed")

    def question(self, look: bool) -> Question:
        """What the host is told for its examination. look: whether the list of revoked certificates comes first."""
        return Question(
            look=look and not self.looked_up, refused=self.refused, revoked=self.revoked, template=self.template
        )

    def errand(self) -> Errand:
        """What the host is told after the CA was asked."""
        if self.error is not None:
            return Errand("discard", csr=self._staged())
        if self.answer.outcome == "removed":
            return Errand("remove")
        renewal, digest = self.answer.outcome == "renewed", self.answer.digest
        return Errand(
            "install",
            digest=digest,
            chain=self.chain_pem,
            issued_at=self.issued_at,
            renewal=renewal,
            template=self.template,
        )

    def errand_by_host(self, source: str) -> Errand:
        """What a host is told that asks the CA itself. source: where the provisioner's name came from."""
        if self.error is not None:
            return self.errand()
        return Errand(
            "obtain",
            digest=self.answer.digest,
            outcome=self.answer.outcome,
            csr=self.request or self._staged(),
            source=source,
            revoke=self.former,
            template=self.template,
        )

    def _staged(self):
        """The host's own word for the key that it staged; None where that is no request."""
        pem = self.answer.csr
        return pem if pem and len(pem) <= csr.LARGEST else None

    def accept(self, answer: Answer, by_host: bool = False) -> None:
        """Take over what the host says of the second call. by_host: whether it was to ask the CA itself."""
        if answer.failed:
            self.error, self.overtaken = answer.msg, answer.overtaken
        if answer.failed and not answer.certificate:
            return
        self.installed = answer.certificate or self.answer.certificate
        self.answer = replace(self.answer, backup_files=answer.backup_files or self.answer.backup_files)
        if by_host:  # which rung of the ladder held is its news
            self.answer = replace(self.answer, outcome=answer.outcome, reasons=self.answer.reasons + answer.reasons)
            self.ca_url = answer.ca_url
            self.revoked_now = answer.revoked

    def result(self, url, dry: bool) -> dict:
        """What the task returns about it."""
        found, outcome = self.answer.certificate, self.answer.outcome
        done = self.error is None or bool(self.installed)
        result = {
            "certificate_path": shown(self.options["certificate_path"]),
            "changed": outcome != "none" and done,
            "outcome": outcome if done else "none",
            "reasons": self.answer.reasons,
            "certificate": self.installed or found,
            "revoked": self.revoked_now,
            "backup_files": self.answer.backup_files,
            "ca_url": (self.ca_url or url) if self.installed else None,
            "diff": self._diff(found, outcome if done else "none", dry),
        }
        if self.error is not None:
            result.update(failed=True, msg=self.error)
        return result

    def _diff(self, found, outcome: str, dry: bool) -> dict:
        """The facts before and after; in check mode what is not known yet is said in words."""
        after = self.installed or found
        if outcome == "removed":
            after = {}
        elif outcome in _NEEDS_CA and dry:
            after = {"to be %s" % outcome: self.answer.reasons, "names": [str(san) for san in self.wanted.sans]}
        elif outcome == "files":
            after = dict(after or {}, **{"repaired": self.answer.reasons})
        header = shown(self.options["certificate_path"])
        return {"before": found or {}, "after": after or {}, "before_header": header, "after_header": header}
