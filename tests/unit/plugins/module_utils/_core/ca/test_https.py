# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Both transports, the host's and the controller's: pinned, in time, and honest about what was sent."""

from __future__ import annotations

import importlib.util
import json
import socket
import threading
import time

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import api, client, connections
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import ApiError, TransportError
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki, tls_server
from ansible_collections.privatepki.stepca.tests.unit.plugins.tls_server import Server, answer

CA, OTHER = pki.Authority(), pki.Authority("Other")
SIGN = api.sign("request", "secret-token")
MEBIBYTE = 1024 * 1024


@pytest.fixture(name="make", params=tls_server.TRANSPORTS)
def fixture_make(request):
    """Makes a transport that trusts our authority."""
    kind = tls_server.transport(request.param)
    return lambda roots=CA.root_pem, name=None, seconds=10.0: kind(roots, name, seconds)


def fails(transport, url, request=api.HEALTH):
    """The TransportError of this request."""
    with pytest.raises(TransportError) as caught:
        transport.send(url, request)
    return caught.value


# good answers


def test_a_question_and_its_answer(make):
    with Server(CA, [answer(200, b'{"status": "ok"}', "Date: Sun, 06 Nov 1994 08:49:37 GMT", "X-Odd: Yes")]) as server:
        found = make().send(server.url, api.HEALTH)
    assert (found.status, found.body, found.url) == (200, b'{"status": "ok"}', server.url + "/health")
    assert (found.headers["date"], found.headers["x-odd"]) == ("Sun, 06 Nov 1994 08:49:37 GMT", "Yes")
    assert found.peer == server.certificate.public_bytes(serialization.Encoding.DER)
    (asked,) = server.requests
    assert (asked.method, asked.path, asked.body) == ("GET", "/health", b"")
    assert asked.headers["host"] == "127.0.0.1:%d" % server.port


def test_a_request_to_sign_arrives_whole(make):
    with Server(CA, [answer(201)]) as server:
        assert make().send(server.url, SIGN).status == 201
    (asked,) = server.requests
    assert (asked.method, asked.path, asked.headers["content-type"]) == ("POST", "/1.0/sign", "application/json")
    assert json.loads(asked.body.decode("utf-8")) == SIGN.body
    assert not {"authorization", "cookie", "proxy-authorization"} & set(asked.headers)


@pytest.mark.parametrize("status", [201, 400, 401, 403, 404, 500, 502])
def test_any_status_is_an_answer(make, status):
    with Server(CA, [answer(status, b'{"message": "words"}')]) as server:
        found = make().send(server.url, SIGN)
    assert (found.status, api.message_of(found)) == (status, "words")


def test_requests_follow_each_other(make):
    transport = make()
    with Server(CA, [answer(200, b"{}"), answer(201, b"[]")]) as server:
        assert [transport.send(server.url, api.HEALTH).status for _turn in range(3)] == [200, 201, 201]


def test_an_answer_in_chunks(make):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Server(CA, [tls_server.raw(head + b"2\r\n{}\r\n0\r\n\r\n")]) as server:
        assert make().send(server.url, api.HEALTH).body == b"{}"


# whom to trust


def test_a_server_of_another_root_is_refused_before_anything_is_sent(make):
    with Server(OTHER, [answer()]) as server:
        error = fails(make(), server.url, SIGN)
        assert server.requests == []
    assert (error.sent, error.retry) == (False, False)
    assert str(error).startswith("its certificate is not trusted (")
    assert "another CA answers there, somebody is in between, or ca_name is needed" in str(error)


def test_any_of_several_roots_is_enough(make):
    with Server(OTHER, [answer()]) as server:
        assert make(CA.root_pem + OTHER.root_pem).send(server.url, api.HEALTH).status == 200


def test_without_roots_nothing_is_verified(make):
    with Server(OTHER, [answer()], names=["elsewhere"]) as server:
        assert make(None).send(server.url, api.root("ab" * 32)).status == 200


def test_a_certificate_of_another_name_is_refused(make):
    with Server(CA, [answer()], names=["elsewhere"]) as server:
        error = fails(make(), server.url, SIGN)
        assert server.requests == []
    assert (error.sent, error.retry) == (False, False) and "ca_name is needed" in str(error)


def test_the_name_of_the_authority_may_differ_from_the_host(make):
    with Server(CA, [answer()], names=["elsewhere"]) as server:
        assert make(name="elsewhere").send(server.url, SIGN).status == 200
        assert server.requests[0].headers["host"] == "127.0.0.1:%d" % server.port


def test_the_name_of_the_authority_replaces_that_of_the_host(make):
    with Server(CA, [answer()]) as server:
        assert not fails(make(name="elsewhere"), server.url).sent


def test_a_host_by_name(make):
    with Server(CA, [answer()]) as server:
        assert make().send("https://localhost:%d" % server.port, api.HEALTH).status == 200


def test_a_leaf_of_the_other_side_that_expired_is_refused(make, monkeypatch):
    leaf = CA.leaf
    monkeypatch.setattr(
        CA, "leaf", lambda key, names: leaf(key, names, begin=pki.NOW - 2 * pki.DAY, end=pki.NOW - pki.DAY)
    )
    with Server(CA, [answer()]) as server:
        error = fails(make(), server.url)
    assert "expired" in str(error) and not error.sent


# redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_said(make, status):
    with Server(CA, [answer()]) as elsewhere:
        with Server(CA, [tls_server.redirect(elsewhere.url + "/1.0/sign", status)]) as server:
            found = make().send(server.url, SIGN)
        assert elsewhere.connections == 0
    assert found.status == status
    with pytest.raises(ApiError, match="A redirect is never followed"):
        api.parse(SIGN, found)


# sizes


def test_a_mebibyte_is_read_and_no_more(make):
    with Server(CA, [answer(200, b"x" * MEBIBYTE), answer(200, b"x" * (MEBIBYTE + 1))]) as server:
        assert len(make().send(server.url, api.HEALTH).body) == MEBIBYTE
        error = fails(make(), server.url, SIGN)
    assert (error.sent, error.retry) == (True, False) and "larger than 1 MiB" in str(error)


def test_a_body_without_an_end_is_not_read_to_its_end(make):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with Server(CA, [tls_server.drip(head, chunk * 8)]) as server:
        assert "larger than 1 MiB" in str(fails(make(), server.url))


def test_a_compressed_bomb_is_not_unpacked(make):
    with Server(CA, [answer(200, b"\x1f\x8b\x08rubbish", "Content-Encoding: gzip")]) as server:
        assert make().send(server.url, api.HEALTH).body == b"\x1f\x8b\x08rubbish"


# time

ONE_LINE = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "no answer": tls_server.silence,
    "no end of the headers": tls_server.then_silence(ONE_LINE),
    "no end of the body": tls_server.then_silence(ONE_LINE + b"Content-Length: 9\r\n\r\n{"),
    "slow status": tls_server.drip(b"", b"H"),
    "slow headers": tls_server.drip(ONE_LINE, b"X-A: b\r\n"),
    "slow body": tls_server.drip(ONE_LINE + b"Content-Length: 100000\r\n\r\n", b" "),
    "slow chunks": tls_server.drip(ONE_LINE + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "body to the end of the connection": tls_server.drip(ONE_LINE + b"\r\n", b" "),
}


def late(transport, url):
    """The error of a request that ends in time, and no sooner."""
    begin = time.monotonic()
    error = fails(transport, url, SIGN)
    assert 0.3 < time.monotonic() - begin < 1.4
    assert error.retry
    return error


@pytest.mark.parametrize("act", SLOW.values(), ids=[name.replace(" ", "-") for name in SLOW])
def test_a_slow_answer_ends_in_time(make, act):
    with Server(CA, [act]) as server:
        assert late(make(seconds=0.4), server.url).sent


def test_a_slow_answer_is_told_in_words(make):
    with Server(CA, [SLOW["no end of the body"]]) as server:
        assert str(late(make(seconds=0.4), server.url)) == "no whole answer within 0.4 s"


def test_a_silent_port_ends_in_time(make):
    with Server(CA, [tls_server.silence_at_once]) as server:
        assert "within 0.4 s" in str(late(make(seconds=0.4), server.url))


@pytest.fixture(name="slow_way")
def fixture_slow_way(monkeypatch):
    """slow_way(seconds): every connection takes so long to be made."""

    def slow(seconds):
        places = ["socket"] + (["urllib3.util.connection"] if importlib.util.find_spec("urllib3") else [])
        for module in map(importlib.import_module, places):
            real = module.create_connection

            def create_connection(*args, real=real, **kwargs):
                time.sleep(seconds)
                return real(*args, **kwargs)

            monkeypatch.setattr(module, "create_connection", create_connection)

    return slow


def test_the_way_there_is_part_of_the_time(make, slow_way):
    slow_way(1.3)
    with Server(CA, [tls_server.silence]) as server:
        begin = time.monotonic()
        fails(make(seconds=1.4), server.url, SIGN)
        assert time.monotonic() - begin < 2.4


# what was sent


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_refused_connection_sent_nothing(make):
    error = fails(make(), "https://127.0.0.1:%d" % closed_port(), SIGN)
    assert (error.sent, error.retry) == (False, True)
    assert "refused" in str(error).lower()


def test_a_name_that_nobody_knows_sent_nothing(make):
    error = fails(make(), "https://nobody.invalid", SIGN)
    assert not error.sent and str(error)


def test_a_port_without_tls_says_so(make):
    with Server(CA, [tls_server.plain_http]) as server:
        error = fails(make(), server.url, SIGN)
    assert (error.sent, error.retry) == (False, False)
    assert str(error).startswith("no TLS there (") and str(error).endswith("is that the port of a step-ca?")


def test_a_handshake_that_is_cut_sent_nothing(make):
    with Server(CA, [tls_server.reset_at_once]) as server:
        error = fails(make(), server.url, SIGN)
        assert server.requests == []
    assert not error.sent


def test_a_handshake_without_answer_sent_nothing(make):
    with Server(CA, [tls_server.silence_at_once]) as server:
        assert not fails(make(seconds=0.4), server.url, SIGN).sent


def test_what_was_given_up_unsent_is_not_sent_later(make, slow_way):
    slow_way(0.3)
    gone = threading.Event()
    with Server(CA, [tls_server.late_handshake(gone)]) as server:
        error = fails(make(seconds=0.4), server.url, SIGN)
        gone.set()
        server.wait_for_threads()
        assert error.sent or server.requests == []


@pytest.mark.parametrize("act", [tls_server.reset, tls_server.hang_up, tls_server.raw(b"rubbish\r\n\r\n")])
def test_a_connection_that_breaks_after_the_request_may_have_served_it(make, act):
    with Server(CA, [act]) as server:
        error = fails(make(), server.url, SIGN)
        assert len(server.requests) == 1
    assert (error.sent, error.retry) == (True, True) and str(error)


def test_tls_that_breaks_after_the_request_may_have_served_it(make):
    with Server(CA, [tls_server.broken_record]) as server:
        error = fails(make(), server.url, SIGN)
        assert len(server.requests) == 1
    assert error.sent


def test_a_broken_connection_is_told_in_words(make):
    with Server(CA, [tls_server.hang_up]) as server:
        error = fails(make(), server.url)
    assert "('" not in str(error) and len(str(error).split()) > 3


def test_an_answer_that_is_cut_is_none(make):
    with Server(CA, [answer(200, b'{"status": "ok"}', length=100)]) as server:
        error = fails(make(), server.url, SIGN)
    assert (error.sent, error.retry) == (True, True)


@pytest.mark.parametrize(
    "length", [b"\xb2", b"9" * 5000, b"-1", b"two"], ids=["no digit", "endless", "negative", "word"]
)
def test_a_length_that_is_none_is_no_traceback(make, length):
    with Server(OTHER, [tls_server.raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n{}")]) as server:
        try:
            assert make(None).send(server.url, api.HEALTH).status == 200
        except TransportError as error:
            assert str(error)


def test_rubbish_of_a_server_that_was_not_verified_is_not_quoted(make):
    with Server(OTHER, [tls_server.raw(b"canary canary\r\n\r\n")]) as server:
        assert "canary" not in str(fails(make(None), server.url))


# under StepCA


@pytest.mark.parametrize("name", tls_server.TRANSPORTS)
def test_bad_gateway_then_good(name):
    with Server(CA, [answer(502, b"<html>"), answer(200, b'{"status": "ok"}')]) as server:
        connection = connections.Connection([server.url], [CA.fingerprint], [CA.root])
        authority = client.StepCA(connection, tls_server.transport(name), sleep=lambda seconds: None)
        assert authority.get(api.HEALTH) == {"status": "ok"}
        assert authority.tried == [{"url": server.url, "outcome": "502 Bad Gateway"}]


@pytest.mark.parametrize("name", tls_server.TRANSPORTS)
def test_an_authority_known_by_fingerprint_only(name):
    found = answer(200, json.dumps({"ca": CA.root_pem}).encode("ascii"))
    with Server(CA, [found, answer(200, b'{"status": "ok"}'), answer(200, b'{"version": "0.30.2"}')]) as server:
        authority = client.StepCA(connections.Connection([server.url], [CA.fingerprint]), tls_server.transport(name))
        health = client.health(authority)
    assert (health["status"], health["version"], health["url"]) == ("ok", "0.30.2", server.url)
    assert health["tls_not_after"] is not None
