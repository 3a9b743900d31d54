# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""StepCA: ask a CA that may have several URLs, over whichever transport it is given.

A transport is a class: Transport(roots_pem, server_name, seconds) with send(base_url, request) -> api.Answer, which
raises TransportError. roots_pem None means "do not verify", and is used for one request only: GET /root/{fingerprint}.
"""

from __future__ import annotations

import random
import time

from .. import durations
from ..errors import ApiError, TransportError
from ..x509 import certificates, extensions
from . import api
from .connections import Connection

_TRY_AGAIN = (502, 503, 504)
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
#: Of a hundred provisioners each.
_MOST_PAGES = 100
_TYPES = {"type": str, "key": dict, "options": dict, "state": str, "stateReason": str}


class StepCA:
    """One authority.

    roots: the trusted roots, x509; absent_roots: fingerprints that the CA does not offer; url: the one that answered
    last; tried: [{"url", "outcome"}]; warnings: sentences.
    """

    def __init__(self, connection: Connection, transport_class, sleep=time.sleep):
        self.connection = connection
        self.url = None
        self.tried = []
        self._last = {}
        self.warnings = []
        self._transport_class = transport_class
        self._sleep = sleep
        self._transport = None
        self._answered = ""
        self._peer = None
        self.roots = list(connection.roots)
        self.absent_roots = []

    def trust(self) -> list:
        """The trusted roots; those known by fingerprint only are fetched, once.

        ApiError if the CA offers none of them. One that it does not offer, beside others that it does, is a warning.
        """
        if self.roots or not self.connection.fingerprints:
            return self.roots
        unverified = self._transport_class(None, self.connection.name, self.connection.timeout)
        for wanted in self.connection.fingerprints:
            found = self._root(unverified, wanted)
            if found is None:
                self.absent_roots.append(wanted)
            else:
                self.roots.append(found)
        self.roots, left_out = certificates.only_roots(self.roots)
        if left_out and not self.roots:
            raise ApiError("ca_fingerprint: %s" % " ".join(left_out))
        self.warnings += left_out
        if not self.roots:
            raise ApiError(
                "The CA at %s has no root with the SHA-256 fingerprint %s (it answered %s). Either ca_url leads to another CA, "
                "or ca_fingerprint is wrong: compare it with `step certificate fingerprint root_ca.crt` on the CA."
                % (self.url, ", ".join(self.absent_roots), self._answered)
            )
        self.warnings += [
            "The CA at %s does not offer the root %s of ca_fingerprint." % (self.url, one) for one in self.absent_roots
        ]
        return self.roots

    def ask(self, request: api.Request) -> api.Answer:
        """Any answer to a request that may be repeated; TransportError if no URL gave one."""
        return self._ask(self._trusted(), lambda spent: request)

    def get(self, request: api.Request) -> dict:
        """The JSON object of a good answer; ApiError or TransportError."""
        return api.parse(request, self.ask(request))

    def provisioners(self) -> list:
        """All provisioners, as GET /provisioners lists them; what is of another type than step-ca's is left out."""
        found, cursors = [], [""]
        while len(cursors) <= _MOST_PAGES:
            content = self.get(api.provisioners(cursors[-1]))
            listed = content.get("provisioners")
            found += [one for one in map(_provisioner, listed) if one] if isinstance(listed, list) else []
            cursor = content.get("nextCursor") or ""
            if not cursor:
                return found
            if not isinstance(cursor, str) or cursor in cursors:
                break
            cursors.append(cursor)
        raise ApiError(
            "GET %s/1.0/provisioners: the list of provisioners has no end: its pages lead on for ever, or to no page. Is ca_url the "
            "address of a step-ca?" % self.url,
        )

    def names(self) -> list:
        """The names in the CA's own certificate, as they are spelled there; none where it was not seen so far."""
        try:
            return extensions.texts(certificates.load_der(self._peer).extensions) if self._peer else []
        except ValueError:
            return []

    def version(self) -> str:
        """What the CA says of its version; "N/A" where it was built without one."""
        return str(self.get(api.VERSION).get("version", "N/A"))

    def obtain(self, make_request) -> tuple:
        """(chain as PEM, the CA's clock or None) for requests to sign, renew or rekey; see spend."""
        content, date = self.spend(make_request)
        return api.chain_of(content), date

    def spend(self, make_request) -> tuple:
        """(JSON object of the good answer, the CA's clock or None) for requests that are sent once at most.

        make_request(spent): a new request, or None where there is none left; spent tells whether an earlier one may
        have reached the CA.
        """
        requests = []

        def make(spent):
            requests.append(make_request(spent))
            return requests[-1]

        answer = self._ask(self._trusted(), make)
        return api.parse(requests[-1], answer), api.date_of(answer)

    def _trusted(self):
        if self._transport is None:
            roots_pem = certificates.to_pem(self.trust()).decode("ascii")
            self._transport = self._transport_class(roots_pem, self.connection.name, self.connection.timeout)
        return self._transport

    def _root(self, unverified, wanted: str):
        """One root, proved by its fingerprint alone; None where the CA has none. Of anything else only the status is told."""
        answer = self._ask(unverified, lambda spent: api.root(wanted))
        self._answered = api.status_line(answer.status)
        try:
            found = certificates.load(api.parse(api.root(wanted), answer)["ca"].encode("ascii"))
        except (ApiError, ValueError, KeyError, AttributeError):
            return None
        return found[0] if certificates.fingerprint(found[0]) == wanted else None

    def _ask(self, transport, make) -> api.Answer:
        spent = False
        hopeless = set()
        broken_off = set()
        for turn in range(self.connection.retries + 1):
            for url in self.connection.urls:
                if url in hopeless:
                    continue
                request = make(spent)
                if request is None:
                    raise TransportError(
                        "%s The token may have been used by that, and is not sent again." % self._outcomes()
                    )
                try:
                    answer = transport.send(url, request)
                except TransportError as error:
                    spent = spent or error.sent
                    (broken_off.add if error.broken_off else broken_off.discard)(url)
                    self._note(url, str(error))
                    if not error.retry:
                        hopeless.add(url)
                    continue
                spent = True
                self.url = url
                proven = transport is self._transport  # of any other nothing is believed or quoted
                self._peer = answer.peer if proven else None
                if answer.status not in _TRY_AGAIN:
                    return answer
                in_full = api.outcome_of(request, answer) if proven else ""
                self._note(url, api.status_line(answer.status), in_full)
            if len(hopeless) == len(self.connection.urls):
                break
            if turn < self.connection.retries:
                self._sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**turn) * (0.5 + random.random()))
        everywhere = len(broken_off) == len(self.connection.urls)
        raise TransportError("No answer from the CA. %s" % self._outcomes(), spent, broken_off=everywhere)

    def _note(self, url: str, outcome: str, in_full: str = "") -> None:
        self.tried.append({"url": url, "outcome": outcome})
        self._last[url] = in_full or outcome

    def _outcomes(self) -> str:
        last = self._last
        times = {url: sum(one["url"] == url for one in self.tried) for url in last}
        return " ".join(
            "%s: %s%s" % (url, outcome.rstrip("."), " (tried %d times)." % times[url] if times[url] > 1 else ".")
            for url, outcome in last.items()
        )


def _provisioner(listed):
    """A provisioner as far as its members have the types that step-ca gives them; None for what has no name."""
    if not isinstance(listed, dict) or not isinstance(listed.get("name"), str):
        return None
    known = {name: value for name, value in listed.items() if isinstance(value, _TYPES.get(name, object))}
    key = known.get("key")
    if key and not isinstance(key.get("kid", ""), str):
        known["key"] = {name: value for name, value in key.items() if name != "kid"}
    return known


def has_template(provisioner: dict) -> bool:
    """Whether a provisioner, as GET /provisioners lists it, makes X.509 certificates by a template of its own."""
    options = provisioner.get("options")
    x509_options = options.get("x509") if isinstance(options, dict) else None
    return isinstance(x509_options, dict) and bool(x509_options.get("template") or x509_options.get("templateFile"))


def health(authority: StepCA) -> dict:
    """What `stepca_health` returns of an authority that answers; ApiError or TransportError otherwise."""
    answer = authority.ask(api.HEALTH)
    status = api.parse(api.HEALTH, answer).get("status")
    if status != "ok":
        raise ApiError('GET %s: the CA says that its status is %r, not "ok".' % (answer.url, status))
    date = api.date_of(answer)
    end = certificates.not_after(certificates.load_der(answer.peer)) if answer.peer else None
    return {
        "status": status,
        "url": authority.url,
        "version": authority.version(),
        # The header counts whole seconds, so ours are cut the same way.
        "clock_skew": int((date - durations.now().replace(microsecond=0)).total_seconds()) if date else None,
        "tls_not_after": durations.format_time(end) if end else None,
        "tried": authority.tried + [{"url": authority.url, "outcome": "ok"}],
    }


def wait_until_healthy(make_authority, seconds: float, sleep=time.sleep) -> dict:
    """health(), asked again until it is good or this time has passed; raises what the last one raised."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        try:
            return health(make_authority())
        except (ApiError, TransportError):
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            sleep(min(pause, left))
            pause = min(pause * 1.5, 2.0)
