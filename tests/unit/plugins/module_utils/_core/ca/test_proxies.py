# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Answers of what stands before step-ca: who answered is said, what was too large for it, and what to do."""

from __future__ import annotations

import json

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import api, client, connections, diagnosis
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import TransportError
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

URL = "https://ca.internal/1.0/renew"
CA = pki.Authority()
#: What nginx 1.22 says where a header is larger than its buffers.
NGINX = (
    b"<html>\r\n<head><title>400 Request Header Or Cookie Too Large</title></head>\r\n<body>\r\n"
    b"<center><h1>400 Bad Request</h1></center>\r\n<center>Request Header Or Cookie Too Large</center>\r\n"
    b"<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
)


def refused(request, status, body=b"", **headers):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode("utf-8")
    return api.refusal(request, api.Answer(status, headers, body, URL, None))


@pytest.mark.parametrize(
    "status, body",
    [
        (400, NGINX),
        (400, b"<h1>Bad Request</h1>\nYour browser sent an invalid request.\n"),
        (413, b""),
        (413, {"message": "Request size limit exceeded"}),
        (414, b"<html>"),
        (431, b"431 Request Header Fields Too Large"),
        (494, b"<html>"),
    ],
    ids=["nginx", "haproxy", "413", "kong", "414", "traefik", "494"],
)
def test_a_proof_that_is_too_large_for_a_proxy(status, body):
    error = refused(api.renew("p" * 9000), status, body, server="nginx")
    text = str(error)
    assert text.startswith(
        "POST %s: %s, in words that are not step-ca's (Server: nginx" % (URL, api.status_line(status))
    )
    assert (
        "a proxy in front of it answered. The proof of a renewal travels in the header Authorization, of 9022 bytes"
        in text
    )
    assert "large_client_header_buffers 4 16k" in text and "request_from: host" in text
    assert error.message == "" and text.rstrip(".") in diagnosis.explain_renewal(error, "")


@pytest.mark.parametrize("size, buffers", [(14000, 16), (14400, 32), (101621, 128)])
def test_the_buffer_that_is_named_is_enough(size, buffers):
    assert "buffers 4 %dk)" % buffers in str(refused(api.renew("p" * size), 400, NGINX))


def test_the_title_of_a_page_is_told():
    text = str(refused(api.renew("p" * 9000), 400, NGINX, server="nginx/1.22.1"))
    assert '(Server: nginx/1.22.1, "400 Request Header Or Cookie Too Large")' in text


@pytest.mark.parametrize(
    "server, title",
    [
        ("\x1b[31mevil", "\u2718 all is lost\x1b[0m"),
        ("a b\r\nX: y", "one\ntwo `rm -rf /` \u202e"),
        ("x" * 500, "y" * 150),
    ],
)
def test_of_a_page_only_plain_characters_are_told(server, title):
    text = str(refused(api.HEALTH, 403, ("<title>%s</title>" % title).encode("utf-8"), server=server))
    assert text.isascii() and text.isprintable() and "`" not in text and len(text) < 400


@pytest.mark.parametrize("request_", [api.sign("c" * 9000, "token"), api.revoke("7", "t" * 9000, 1, "x")])
def test_a_body_that_is_too_large_for_a_proxy(request_):
    text = str(refused(request_, 413, b"<title>413 Request Entity Too Large</title>"))
    assert "The request has %d bytes" % len(api.body_of(request_)) in text and "client_max_body_size" in text


@pytest.mark.parametrize("request_", [api.renew("short"), api.sign("csr", "token"), api.HEALTH, api.renew()])
def test_what_is_small_is_not_blamed(request_):
    text = str(refused(request_, 400, b"<html>"))
    assert text.endswith("in words that are not step-ca's. Is ca_url the address of a step-ca?") and "bytes" not in text


@pytest.mark.parametrize("status", [400, 401, 403])
def test_the_words_of_the_authority_are_not_taken_for_a_proxys(status):
    error = refused(api.renew("p" * 9000), status, {"status": status, "message": "The request could not be completed."})
    assert error.message and "proxy" not in str(error)


def test_words_of_another_status_are_not_the_authoritys():
    assert refused(api.renew("x"), 400, {"status": "fail", "message": "no"}).message == ""


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("explain", [diagnosis.explain_signing, lambda *told: diagnosis.explain_revoking(*told, "7")])
def test_no_token_is_blamed_where_a_proxy_refuses(status, explain):
    error = refused(api.sign("csr", "token"), status, b"<title>Log in</title>", server="proxy")
    assert str(explain(error, "token", None, "")) == (
        'POST %s: %s, in words that are not step-ca\'s (Server: proxy, "Log in"). Is ca_url the address of a step-ca?'
        % (URL, api.status_line(status))
    )


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_with_no_authority_behind_it(status):
    class Transport:
        def __init__(self, *_told):
            pass

        def send(self, url, request):
            page = b"<html><head><title>Bad Gateway</title></head>"
            return api.Answer(status, {"server": "nginx"}, page, url + request.path, None)

    connection = connections.Connection(["https://ca.internal"], [CA.fingerprint], [CA.root], retries=1)
    with pytest.raises(TransportError) as caught:
        client.StepCA(connection, Transport, lambda seconds: None).get(api.HEALTH)
    assert str(caught.value) == (
        'No answer from the CA. https://ca.internal: %s, in words that are not step-ca\'s (Server: nginx, "Bad Gateway"): '
        "a proxy in front of it answered, and reaches no step-ca behind it (tried 2 times)." % api.status_line(status)
    )
