# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What goes over the wire: each request to step-ca and each answer as a value. No sockets here.

Routes and shapes: step-ca `api/api.go`, `api/sign.go`, `api/errors`; all are mounted at /1.0.
"""

from __future__ import annotations

import json
from collections import namedtuple
from datetime import timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import quote

from ..errors import ApiError
from . import proxies

#: The most that is read of an answer, bytes; lists of revoked certificates may be long.
LARGEST_ANSWER = 1024 * 1024
LARGEST_CRL = 64 * LARGEST_ANSWER

#: method; path; body: dict or None; good: the statuses that mean success; headers: dict; largest: bytes of an answer.
Request = namedtuple("Request", "method path body good headers largest", defaults=({}, LARGEST_ANSWER))
#: status; headers: dict with lower-case names; body: bytes; url: what was asked; peer: DER of the CA's certificate or None.
Answer = namedtuple("Answer", "status headers body url peer")

HEALTH = Request("GET", "/health", None, (200,))
VERSION = Request("GET", "/version", None, (200,))
INTERMEDIATES = Request("GET", "/1.0/intermediates", None, (200, 201))
CRL = Request("GET", "/1.0/crl", None, (200,), largest=LARGEST_CRL)


def root(fingerprint: str) -> Request:
    """GET /1.0/root/{sha256}: one root by its fingerprint."""
    return Request("GET", "/1.0/root/%s" % fingerprint, None, (200,))


def provisioners(cursor: str = "") -> Request:
    """GET /1.0/provisioners: a page of them."""
    return Request(
        "GET", "/1.0/provisioners?limit=100&cursor=%s" % quote(cursor, safe="", errors="surrogatepass"), None, (200,)
    )


def encrypted_key(key_id: str) -> Request:
    """GET /1.0/provisioners/{kid}/encrypted-key."""
    return Request(
        "GET", "/1.0/provisioners/%s/encrypted-key" % quote(key_id, safe="", errors="surrogatepass"), None, (200,)
    )


def sign(csr: str, token: str, not_before: str = "", not_after: str = "", template_data=None) -> Request:
    """POST /1.0/sign: csr as PEM; the bounds as RFC 3339 or Go durations, "" for the CA's default."""
    body = {"csr": csr, "ott": token, "notBefore": not_before, "notAfter": not_after}
    if template_data is not None:
        body["templateData"] = template_data
    return Request("POST", "/1.0/sign", body, (200, 201))


def renew(proof: str = "") -> Request:
    """POST /1.0/renew: by a proof (see proof.py), or by the client certificate of the connection."""
    return Request("POST", "/1.0/renew", None, (200, 201), {"Authorization": "Bearer " + proof} if proof else {})


def rekey(csr: str) -> Request:
    """POST /1.0/rekey, by the client certificate: of the request (PEM) the CA takes the key and nothing else."""
    return Request("POST", "/1.0/rekey", {"csr": csr}, (200, 201))


def revoke(serial: str, token: str, reason_code: int, reason: str) -> Request:
    """POST /1.0/revoke: serial in decimal; reason_code of RFC 5280, 5.3.1."""
    body = {"serial": serial, "ott": token, "reasonCode": reason_code, "reason": reason, "passive": True}
    return Request("POST", "/1.0/revoke", body, (200,))


def body_of(request: Request):
    """The bytes of a request's body, or None."""
    return None if request.body is None else json.dumps(request.body).encode("utf-8")


def parse(request: Request, answer: Answer) -> dict:
    """The JSON object of a good answer; ApiError for any other."""
    if answer.status not in request.good:
        raise refusal(request, answer)
    try:
        content = json.loads(answer.body.decode("utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ApiError(
            "%s %s answered %s, but not as step-ca does: its body is no JSON object. Is ca_url the address of a step-ca?"
            % (request.method, answer.url, status_line(answer.status)),
            answer.status,
            answer.url,
        )
    return content


def chain_of(content: dict) -> str:
    """PEM of the chain in the answer to sign, renew or rekey: leaf, then intermediates (older CAs have no certChain)."""
    chain = content.get("certChain") or [content.get("crt"), content.get("ca")]
    if not isinstance(chain, list) or not all(isinstance(pem, str) for pem in chain):
        raise ApiError("The CA's answer holds no certificate chain.")
    return "".join(pem.strip() + "\n" for pem in chain)


def refusal(request: Request, answer: Answer) -> ApiError:
    """The ApiError for an answer that is not a good one, with the CA's own words."""
    words = message_of(answer)
    text = "%s %s: %s" % (request.method, answer.url, status_line(answer.status))
    if 300 <= answer.status < 400:
        text += (
            ". A redirect is never followed: it would carry the token elsewhere. Give the CA's own address in ca_url"
        )
    elif words:
        text += ": %s" % words
    else:
        text += proxies.explain(request, answer, len(body_of(request) or b""))
    return ApiError(
        text.rstrip(".?") + ("?" if text.endswith("?") else "."), answer.status, answer.url, words, date_of(answer)
    )


def outcome_of(request: Request, answer: Answer) -> str:
    """A bad answer in a few words: its status, and who gave it."""
    words = message_of(answer)
    return status_line(answer.status) + (": " + words if words else proxies.explain(request, answer, 0))


def message_of(answer: Answer) -> str:
    """What the CA says in an error ({"status": ..., "message": ...}), or ""."""
    return proxies.own_words(answer)


def date_of(answer: Answer):
    """The CA's clock as an aware datetime, or None."""
    try:
        date = parsedate_to_datetime(answer.headers["date"])
        return date.replace(tzinfo=date.tzinfo or timezone.utc)
    except (KeyError, TypeError, ValueError):
        return None


def status_line(status: int) -> str:
    """A status with its phrase."""
    if status == 494:  # nginx's own
        return "494 Request Header Too Large"
    try:
        return "%d %s" % (status, HTTPStatus(status).phrase)
    except ValueError:
        return str(status)
