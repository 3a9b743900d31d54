# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""One task's certificates, from examination to installation: what the action plugin stepca_certificate does.

    examine (host) -> judge the request, mint, sign, check (here) -> accept (host)

Nothing is due in a steady run: one module execution, no request to the CA. An entry that fails leaves the others be.
"""

from __future__ import annotations

from ..module_utils._core import api, certificates, client, csr, diagnosis, durations, keys, names, wanted
from ..module_utils._core.errors import ApiError, CertificateError, OptionError, StepCAError
from . import _answers, _names, _provisioner
from ._action import roots_pem

#: Older ones ignore the claim that binds a token to one request.
_BINDING_SINCE = (0, 27, 3)


class _Entry:
    """One certificate on its way: its options, what they mean, the host's answer, what was signed, its result."""

    def __init__(self, options: dict):
        self.options = options
        self.wanted = None
        self.answer = {}
        self.chain_pem = None
        self.issued_at = None
        self.error = None
        self.installed = None

    @property
    def is_due(self) -> bool:
        """Whether the CA is needed."""
        return self.error is None and self.answer["outcome"] == "issued"

    def result(self, url, dry: bool) -> dict:
        """What the task returns about it."""
        found = self.answer.get("certificate")
        outcome = self.answer.get("outcome", "none")
        result = {
            "certificate_path": self.options["certificate_path"],
            "changed": outcome != "none" and self.error is None,
            "outcome": outcome if self.error is None else "none",
            "reasons": self.answer.get("reasons", []),
            "certificate": self.installed or found,
            "ca_url": url if self.installed else None,
            "diff": self._diff(found, dry),
        }
        if self.error is not None:
            result.update(failed=True, msg=self.error)
        return result

    def _diff(self, found, dry: bool) -> dict:
        """The facts before and after; in check mode what is not known yet is said in words."""
        after = self.installed or found
        if dry and self.error is None and self.answer["outcome"] == "issued":
            after = {"to be issued": self.answer["reasons"], "names": [str(san) for san in self.wanted.sans]}
        if self.error is None and self.answer["outcome"] == "files":
            after = dict(after or {}, **{"put right": self.answer["reasons"]})
        header = self.options["certificate_path"]
        return {"before": found or {}, "after": after or {}, "before_header": header, "after_header": header}


class Issue:
    """The certificates of one task on one host.

    action: a StepCAAction; entries: the complete options of each. `run` returns one result for each, in their order.
    """

    def __init__(self, action, entries: list):
        self._action = action
        self._settings = action.settings
        self._dry = bool(action._task.check_mode)
        self._now = durations.now()
        self._connection = self._settings.connection()
        self._token = self._settings.find("token")
        name = None if self._token else self._settings.find("provisioner")
        self._provisioner_name = str(name.value) if name else None
        self._provisioner_source = "from %s" % name.where if name else ""
        self._roots = self._connection.roots or None
        self._authority = None
        self._provisioner = None
        self._entries = [_Entry(entry) for entry in entries]

    def run(self) -> list:
        """Results of all entries."""
        for entry in self._entries:
            self._guarded(entry, self._understand)
        understood = [entry for entry in self._entries if entry.error is None]
        self._examine(understood)
        undecided = [entry for entry in understood if entry.answer.get("needs_roots")]
        if undecided:
            self._learn_roots()
            self._examine(undecided)
        due = [entry for entry in understood if entry.is_due]
        if due and not self._dry:
            self._issue(due)
        url = self._authority.url if self._authority else None
        return [entry.result(url, self._dry) for entry in self._entries]

    @staticmethod
    def _guarded(entry: _Entry, step) -> None:
        try:
            step(entry)
        except StepCAError as error:
            entry.error = str(error)

    def _understand(self, entry: _Entry) -> None:
        """What the options alone show, before the host is touched."""
        options = entry.options
        options["sans"] = [_names.to_ascii(str(text)) for text in options.get("sans") or []]
        if not options["sans"] and options.get("common_name"):
            options["common_name"] = _names.to_ascii(options["common_name"])
        entry.wanted = wanted.parse(options)
        wanted.refuse_past(entry.wanted, self._now)
        options["sans"] = [str(san) for san in entry.wanted.sans]
        for limit in ("not_before", "not_after"):  # YAML may have made a datetime of it
            options[limit] = durations.format_limit(getattr(entry.wanted, limit)) or None
        self._refuse_foreign_token(entry.wanted)

    def _refuse_foreign_token(self, asked) -> None:
        """The CA would refuse a token made for other names only after it was spent."""
        if not self._token:
            return
        _header, claims = diagnosis.claims(str(self._token.value))
        if not claims:
            raise OptionError(
                "token (from %s) is no token of step-ca's: a JWT has three parts with dots between them."
                % self._token.where
            )
        if not isinstance(claims.get("sans"), list):
            return
        has = {names.from_certificate(names.stepca_reads(str(text)), str(text)) for text in claims["sans"]}
        if has != set(asked.sans):
            raise OptionError(
                "token (from %s) is for %s; the task asks for %s. A token serves only the names that it was made for."
                % (self._token.where, ", ".join(sorted(map(str, has))), ", ".join(map(str, asked.sans)))
            )

    def _examine(self, entries: list) -> None:
        if not entries:
            return
        for entry, answer in zip(entries, self._call("examine", entries), strict=True):
            entry.answer = answer
            if answer.get("failed"):
                entry.answer = {}
                entry.error = answer["msg"]
            else:
                self._action.warn(answer["warnings"])

    def _call(self, step: str, entries: list, items=None) -> list:
        """Run the module once for these entries; its answers."""
        exchange = {
            "step": step,
            "now": durations.format_time(self._now),
            "fingerprints": self._connection.fingerprints,
            "roots": roots_pem(self._roots),
            "provisioner": self._provisioner_name,
            "items": items,
        }
        result = self._action.execute({"certificates": [entry.options for entry in entries]}, exchange)
        return _answers.read(result, len(entries))

    def _ca(self) -> client.StepCA:
        if self._authority is None:
            self._authority = self._action.authority(self._connection)
        return self._authority

    def _learn_roots(self) -> None:
        """The trusted roots, from the CA if nobody here has them, proved by their fingerprints."""
        authority = self._ca()
        self._roots = authority.trust()
        self._action.warn(authority.warnings)

    def _issue(self, due: list) -> None:
        for entry in due:
            if self._token and len(due) > 1:
                entry.error = (
                    "A token serves one certificate, and %d are due. Use the provisioner's options instead." % len(due)
                )
            else:
                self._guarded(entry, self._sign)
        signed = [entry for entry in due if entry.error is None]
        # One call for all: what was signed is installed, what was refused leaves no staged key behind.
        items = [
            {"discard": entry.answer["csr"]}
            if entry.error is not None
            else {"chain": entry.chain_pem, "digest": entry.answer["digest"], "issued_at": entry.issued_at}
            for entry in due
        ]
        items = [item if len(str(item.get("discard") or "")) <= csr.LARGEST else {"discard": None} for item in items]
        for entry, answer in zip(due, self._call("accept", due, items), strict=True):
            if entry not in signed:
                continue
            if answer.get("failed"):
                entry.error = answer["msg"]
            else:
                entry.installed = answer["certificate"]

    def _sign(self, entry: _Entry) -> None:
        """From the host's request to a chain that was checked."""
        request = csr.load(entry.answer["csr"])
        if entry.wanted.csr_path:
            csr.check_brought(request, entry.wanted)
        else:
            csr.check_made(request, entry.wanted)
        self._learn_roots()
        mint = self._minter(entry.wanted, request)
        tokens = []

        def make_request(spent):
            tokens.append(mint(spent))
            return tokens[-1] and self._sign_request(entry.wanted, request, tokens[-1])

        try:
            entry.chain_pem, date = self._ca().sign(make_request)
        except ApiError as error:
            raise self._explained(error, tokens[-1]) from None
        entry.issued_at = durations.format_time((date or durations.now()).replace(microsecond=0))
        self._check(entry, request)

    @staticmethod
    def _sign_request(asked, request, token: str) -> api.Request:
        """What is sent is what was judged: not the host's text, but the request that was read from it."""
        pem = csr.to_pem(request).decode("ascii")
        return api.sign(pem, token, durations.format_limit(asked.not_before), durations.format_limit(asked.not_after))

    def _minter(self, asked, request):
        """mint(spent) -> a token that was never sent, or None where there is no further one."""
        if self._token:
            return lambda spent: None if spent else str(self._token.value)
        if self._provisioner is None:
            self._provisioner = _provisioner.find(self._settings, self._ca())
            self._warn_of_old_ca()
        return lambda spent: self._provisioner.mint(
            purpose="sign",
            subject=asked.common_name,
            sans=[text for _kind, text in csr.spellings(request.extensions)],
            audiences=_provisioner.audiences(self._connection, "sign"),
            lifetime=_provisioner.lifetime(self._settings),
            binding=csr.binding(request),
        )

    def _warn_of_old_ca(self) -> None:
        """A CA that ignores the binding would sign any request for a stolen token."""
        authority = self._ca()
        text = authority.version()
        numbers = tuple(int(part) for part in text.lstrip("v").split("-")[0].split(".") if part.isdigit())
        known = len(numbers) == 3
        if numbers < _BINDING_SINCE if known else authority.ask(api.INTERMEDIATES).status != 201:
            self._action.warn(
                [
                    "step-ca at %s (%s) is older than 0.27.3 and does not bind tokens to one request: upgrade it."
                    % (authority.url, text if known else "version unknown")
                ]
            )

    def _explained(self, error: ApiError, token: str) -> StepCAError:
        """The CA's refusal with its cause as far as can be seen."""
        authority = self._ca()
        if error.status == 401:
            return ApiError(diagnosis.explain(error, token, authority, self._provisioner_source))
        if error.status not in (400, 403):
            return error
        issuer = diagnosis.claims(token)[1].get("iss")
        text = 'step-ca at %s does not sign this (%s; provisioner "%s"): %s' % (
            authority.url,
            api.status_line(error.status),
            issuer,
            error.message,
        )
        if "requested duration" in error.message:
            text += " Ask for a life within that (not_after), or change the claims of the provisioner at the CA."
        return ApiError(text)

    def _check(self, entry: _Entry, request) -> None:
        try:
            chain = certificates.load(entry.chain_pem.encode("ascii", "replace"))
        except ValueError as error:
            raise CertificateError("The CA's chain cannot be read: %s." % error) from None
        public = keys.fingerprint(request.public_key())
        added = certificates.check_issued(chain, entry.wanted, public, self._roots, durations.now())
        if added:
            self._action.warn(
                [
                    "The CA added %s to the names of %s, as a template of the provisioner may."
                    % (", ".join(map(str, added)), entry.options["certificate_path"])
                ]
            )
