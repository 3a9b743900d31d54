# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Answers that are not step-ca's: who may have given them, and what to do.

step-ca answers an error with JSON of its own shape (api/errors: status and message; admin: type and message). Anything
else came from whatever stands before it, which often minds the size of a request: a proof is a header, and holds a whole
chain.
"""

from __future__ import annotations

import json
import re

#: Statuses by which proxies refuse what is too large for them; step-ca says 400 too, but in its own words.
_TOO_LARGE = (400, 413, 414, 431, 494)
#: step-ca itself never says these in words of its own.
_NEVER_OWN = (413, 414, 431, 494)
#: The least that any proxy's limit for one header is, in practice.
_SMALLEST_LIMIT = 4 * 1024
_KIB = 1024


def own_words(answer) -> str:
    """What step-ca itself says in an error (api.Answer), or "" where it is not step-ca that answered."""
    content = _content(answer)
    is_own = content.get("status", answer.status) == answer.status and answer.status not in _NEVER_OWN
    return _message(content) if is_own else ""


def explain(request, answer, size: int) -> str:
    """What an answer that is not step-ca's means, as the rest of a sentence that ended with its status.

    request: api.Request; answer: api.Answer; size: bytes of the request's body.
    """
    text = ", in words that are not step-ca's%s" % _signature(answer)
    if answer.status in _TOO_LARGE:
        problem = _size_problem(request, size, answer.status)
        if problem:
            return "%s: a proxy in front of it answered. %s" % (text, problem)
    said = answer.body or answer.headers.get("server")
    if answer.status >= 500 and said:
        return "%s: a proxy in front of it answered, and reaches no step-ca behind it" % text
    return "%s. Is ca_url the address of a step-ca?" % text if said or answer.status == 404 else ""


def _size_problem(request, body: int, status: int) -> str:
    """What in this request was too large for a proxy; "" where nothing is large."""
    header = max([len(name) + 2 + len(value) for name, value in request.headers.items()] or [0])
    if header > _SMALLEST_LIMIT:
        return (
            "The proof of a renewal travels in the header Authorization, of %d bytes here, since it holds the certificate with all "
            "its names; many proxies take 8 KiB. Let the proxy take more (nginx: large_client_header_buffers 4 %dk), have it pass "
            "TLS through and let the host ask by its client certificate (request_from: host), or spread the names over "
            "several certificates" % (header, _rounded(header))
        )
    if status == 413 or (status != 400 and body > _SMALLEST_LIMIT):
        return "The request has %d bytes. Let the proxy take more (nginx: client_max_body_size)" % body
    return ""


def _rounded(size: int) -> int:
    """A number of KiB that is enough for a header of this size and all beside it, as people write it."""
    wanted = 16
    while wanted * _KIB < size + 2 * _KIB:
        wanted *= 2
    return wanted


def _content(answer) -> dict:
    try:
        content = json.loads(answer.body.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _message(content: dict) -> str:
    message = content.get("message")
    return " ".join(message.split())[:1000] if isinstance(message, str) else ""


def _signature(answer) -> str:
    """By what a proxy may be known: its Server header, and the title of its page or its message; plain characters alone."""
    server = re.match(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,39}", answer.headers.get("server", ""))
    title = re.search(rb"<title>([^<]{1,200})</title>", answer.body[:4096], re.IGNORECASE)
    known = ["Server: %s" % server.group()] if server else []
    said = title.group(1).decode("ascii", "replace") if title else _message(_content(answer))
    plain = " ".join(re.sub("[^A-Za-z0-9 .,:'()/-]+", " ", said).split())[:80]
    known += ['"%s"' % plain] if plain else []
    return " (%s)" % ", ".join(known) if known else ""
