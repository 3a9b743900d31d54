# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Requests and answers as values."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import api
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import ApiError

URL = "https://ca.internal/health"
FOREIGN = ", in words that are not step-ca's. Is ca_url the address of a step-ca?"


def answer(status=200, body=b"{}", **headers):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode("utf-8")
    return api.Answer(status, headers, body, URL, None)


# requests


@pytest.mark.parametrize(
    "request_, method, path, good",
    [
        (api.HEALTH, "GET", "/health", (200,)),
        (api.VERSION, "GET", "/version", (200,)),
        (api.INTERMEDIATES, "GET", "/1.0/intermediates", (200, 201)),
        (api.root("ab" * 32), "GET", "/1.0/root/" + "ab" * 32, (200,)),
        (api.provisioners(), "GET", "/1.0/provisioners?limit=100&cursor=", (200,)),
        (api.provisioners("x1"), "GET", "/1.0/provisioners?limit=100&cursor=x1", (200,)),
        (api.encrypted_key("a/b?"), "GET", "/1.0/provisioners/a%2Fb%3F/encrypted-key", (200,)),
        (api.encrypted_key("kid"), "GET", "/1.0/provisioners/kid/encrypted-key", (200,)),
        (api.CRL, "GET", "/1.0/crl", (200,)),
        (api.sign("csr", "token"), "POST", "/1.0/sign", (200, 201)),
        (api.rekey("csr"), "POST", "/1.0/rekey", (200, 201)),
        (api.revoke("7", "token", 1, "keyCompromise"), "POST", "/1.0/revoke", (200,)),
    ],
)
def test_each_request_has_its_route(request_, method, path, good):
    assert (request_.method, request_.path, request_.good) == (method, path, good)
    assert (api.body_of(request_) is None) == (method == "GET")


def test_a_request_to_sign_has_the_members_that_the_authority_reads():
    body = json.loads(api.body_of(api.sign("csr", "token", "1m", "24h")).decode("utf-8"))
    assert body == {"csr": "csr", "ott": "token", "notBefore": "1m", "notAfter": "24h"}
    assert api.sign("csr", "token").body["notAfter"] == ""


@pytest.mark.parametrize("data", [{}, {"a": {"b": [1]}}])
def test_data_for_a_template_goes_along_even_if_it_is_empty(data):
    assert api.sign("csr", "token", template_data=data).body["templateData"] == data


def test_a_renewal_has_no_body_and_its_proof_in_a_header():
    assert api.renew() == api.Request("POST", "/1.0/renew", None, (200, 201))
    assert api.renew("a.b.c").headers == {"Authorization": "Bearer a.b.c"} and api.renew().headers == {}
    assert api.body_of(api.renew("a.b.c")) is None


def test_other_requests_have_the_members_that_the_authority_reads():
    assert api.rekey("csr").body == {"csr": "csr"}
    assert api.revoke("7", "token", 1, "keyCompromise").body == {
        "serial": "7",
        "ott": "token",
        "reasonCode": 1,
        "reason": "keyCompromise",
        "passive": True,
    }


def test_a_list_of_revoked_certificates_may_be_long_and_nothing_else():
    assert (api.CRL.largest, api.HEALTH.largest, api.renew().largest) == (64 * 1024**2, 1024**2, 1024**2)


# good answers


def test_a_good_answer_is_its_object():
    assert api.parse(api.HEALTH, answer(body={"status": "ok"})) == {"status": "ok"}


@pytest.mark.parametrize("status, good", [(200, True), (201, True), (202, False), (204, False)])
def test_good_is_what_the_request_says(status, good):
    if good:
        assert api.parse(api.INTERMEDIATES, answer(status)) == {}
    else:
        with pytest.raises(ApiError):
            api.parse(api.INTERMEDIATES, answer(status))


@pytest.mark.parametrize(
    "body",
    [b"", b"404 page not found", b"<html>", b"[]", b"null", b'"ok"', b"\xff\xfe", b'{"a": ', b"[" * 100000],
    ids=["empty", "text", "html", "list", "null", "string", "binary", "cut", "brackets without end"],
)
def test_a_body_that_is_no_object_is_not_a_step_ca(body):
    with pytest.raises(
        ApiError, match="GET %s answered 200 OK, but not as step-ca does.*Is ca_url the address" % URL
    ) as caught:
        api.parse(api.HEALTH, answer(body=body))
    assert (caught.value.status, caught.value.url) == (200, URL)


def test_a_chain_is_leaf_and_intermediates():
    assert api.chain_of({"certChain": ["leaf\n", "ca\n\n"], "crt": "no", "ca": "no"}) == "leaf\nca\n"
    assert api.chain_of({"crt": "leaf", "ca": "ca"}) == "leaf\nca\n"


@pytest.mark.parametrize(
    "content", [{}, {"crt": "leaf"}, {"certChain": "leaf"}, {"certChain": ["leaf", 1]}, {"certChain": {"a": "b"}}]
)
def test_an_answer_without_a_chain_is_refused(content):
    with pytest.raises(ApiError, match="holds no certificate chain"):
        api.chain_of(content)


# refusals


@pytest.mark.parametrize(
    "status, body, text",
    [
        (403, {"status": 403, "message": "not allowed."}, "GET %s: 403 Forbidden: not allowed." % URL),
        (401, {"type": "unauthorized", "message": "no\n way"}, "GET %s: 401 Unauthorized: no way." % URL),
        (500, b"", "GET %s: 500 Internal Server Error." % URL),
        (
            404,
            b"404 page not found",
            "GET %s: 404 Not Found, in words that are not step-ca's. Is ca_url the address of a step-ca?" % URL,
        ),
        (404, {"message": "not found"}, "GET %s: 404 Not Found: not found." % URL),
        (400, {"message": "what?"}, "GET %s: 400 Bad Request: what?" % URL),
        (400, {"message": ["list"]}, "GET %s: 400 Bad Request%s" % (URL, FOREIGN)),
        (400, b"\xff", "GET %s: 400 Bad Request%s" % (URL, FOREIGN)),
        (400, b"[" * 100000, "GET %s: 400 Bad Request%s" % (URL, FOREIGN)),
    ],
)
def test_a_refusal_in_the_words_of_the_authority(status, body, text):
    error = api.refusal(api.HEALTH, answer(status, body))
    assert str(error) == text
    assert (error.status, error.url) == (status, URL)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_said_and_not_followed(status):
    text = str(api.refusal(api.HEALTH, answer(status, {"message": "come here"}, location="https://evil.example")))
    assert "A redirect is never followed: it would carry the token elsewhere" in text
    assert "evil" not in text and "come here" not in text


def test_words_are_cut():
    error = api.refusal(api.HEALTH, answer(400, {"message": "x" * 5000}))
    assert len(error.message) == 1000


def test_the_clock_of_the_authority():
    good = answer(date="Sun, 06 Nov 1994 08:49:37 GMT")
    assert api.date_of(good) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=timezone.utc)
    assert api.refusal(api.HEALTH, answer(401, date="Sun, 06 Nov 1994 08:49:37 GMT")).date == api.date_of(good)


@pytest.mark.parametrize(
    "headers", [{}, {"date": ""}, {"date": "yesterday"}, {"date": "Sun, 36 Nov 1994 08:49:37 GMT"}]
)
def test_a_clock_that_cannot_be_read_is_none(headers):
    assert api.date_of(answer(**headers)) is None


def test_a_date_without_a_zone_is_never_naive():
    date = api.date_of(answer(date="Sun, 06 Nov 1994 08:49:37 -0000"))
    assert date is None or date.tzinfo is not None
