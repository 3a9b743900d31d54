# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""StepCA over a transport that is told what to answer: order, rounds, and no token twice."""

from __future__ import annotations

import json
from email.utils import format_datetime

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import api, client, connections
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    ApiError,
    TransportError,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

CA, OTHER = pki.Authority(), pki.Authority("Other")
A, B = "https://a.internal", "https://b.internal"
OK = (200, {"status": "ok"})
CHAIN = (201, {"certChain": ["leaf", "ca"]})
REFUSED = TransportError("connection refused", sent=False)
BROKEN = TransportError("connection reset", sent=True)
UNTRUSTED = TransportError("its certificate is not trusted", sent=False, retry=False)


class World:
    """A transport class and what happened in it. script: outcomes of each URL in turn, the last one for ever."""

    def __init__(self, **script):
        self.script = {A: list(script.get("a", [OK])), B: list(script.get("b", [OK]))}
        self.made = []
        self.sent = []
        self.slept = []

    def transport(self, roots_pem, server_name, seconds):
        self.made.append((roots_pem, server_name, seconds))
        return self

    def send(self, url, request):
        self.sent.append((url, request))
        outcomes = self.script[url]
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        status, body = outcome[:2]
        body = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8")
        return api.Answer(status, outcome[2] if len(outcome) > 2 else {}, body, url + request.path, None)

    def authority(self, urls=(A, B), retries=1, **more):
        told = dict({"fingerprints": [CA.fingerprint], "roots": [CA.root]}, **more)
        return client.StepCA(
            connections.Connection(list(urls), retries=retries, **told), self.transport, self.slept.append
        )

    @property
    def asked(self):
        return [url for url, _request in self.sent]


# order and rounds


def test_the_first_url_that_answers_is_enough():
    world = World()
    authority = world.authority()
    assert authority.get(api.HEALTH) == {"status": "ok"}
    assert (world.asked, authority.url, authority.tried) == ([A], A, [])


@pytest.mark.parametrize("outcome", [REFUSED, BROKEN, (502, b""), (503, b""), (504, b"")])
def test_the_next_url_is_asked_when_one_does_not_serve(outcome):
    world = World(a=[outcome])
    authority = world.authority()
    authority.get(api.HEALTH)
    assert (world.asked, authority.url, world.slept) == ([A, B], B, [])
    assert [one["url"] for one in authority.tried] == [A]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 429, 500, 501, 505])
def test_any_other_answer_is_final(status):
    world = World(a=[(status, {"message": "no"})])
    with pytest.raises(ApiError) as caught:
        world.authority().get(api.HEALTH)
    assert (world.asked, caught.value.status) == ([A], status)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_rounds_are_bounded_and_pauses_grow(retries):
    world = World(a=[REFUSED], b=[(503, b"")])
    with pytest.raises(TransportError) as caught:
        world.authority(retries=retries).get(api.HEALTH)
    assert world.asked == [A, B] * (retries + 1)
    assert len(world.slept) == retries
    assert all(0.1 * 2**turn <= pause <= 0.3 * 2**turn for turn, pause in enumerate(world.slept))
    times = " (tried %d times)" % (retries + 1) if retries else ""
    assert str(caught.value) == (
        "No answer from the CA. %s: connection refused%s. %s: 503 Service Unavailable%s." % (A, times, B, times)
    )


def test_a_pause_has_a_limit():
    world = World(a=[REFUSED])
    with pytest.raises(TransportError):
        world.authority(urls=[A], retries=12).get(api.HEALTH)
    assert max(world.slept) <= 7.5


def test_a_proxy_that_has_trouble_once_is_asked_again():
    world = World(a=[(502, b""), OK])
    assert world.authority(urls=[A]).get(api.HEALTH) == {"status": "ok"}
    assert (world.asked, len(world.slept)) == ([A, A], 1)


def test_a_url_that_is_hopeless_is_not_asked_twice():
    world = World(a=[UNTRUSTED], b=[REFUSED])
    with pytest.raises(TransportError, match="its certificate is not trusted. .*connection refused .tried 3 times."):
        world.authority(retries=2).get(api.HEALTH)
    assert world.asked == [A, B, B, B]


def test_hopeless_urls_are_not_waited_for():
    world = World(a=[UNTRUSTED], b=[UNTRUSTED])
    with pytest.raises(TransportError):
        world.authority(retries=5).get(api.HEALTH)
    assert (world.asked, world.slept) == ([A, B], [])


@pytest.mark.parametrize("outcome, sent", [(REFUSED, False), (UNTRUSTED, False), (BROKEN, True), ((503, b""), True)])
def test_the_end_says_whether_anything_was_sent(outcome, sent):
    with pytest.raises(TransportError) as caught:
        World(a=[outcome]).authority(urls=[A]).ask(api.HEALTH)
    assert caught.value.sent is sent


OFF = TransportError("TLS broke after the request was sent", sent=True, broken_off=True)


@pytest.mark.parametrize(
    "a, b, everywhere",
    [
        ([OFF], [OFF], True),
        ([OFF], [REFUSED], False),
        ([OFF], [(503, b"")], False),
        ([OFF, REFUSED], [OFF], False),
        ([REFUSED, OFF], [OFF], True),
    ],
)
def test_the_end_says_whether_every_url_broke_the_connection_off(a, b, everywhere):
    """As step-ca does where it does not accept a client certificate; anything else means that nobody is there."""
    with pytest.raises(TransportError) as caught:
        World(a=a, b=b).authority().ask(api.HEALTH)
    assert caught.value.broken_off is everywhere


# one token is never sent twice


def signing(world, tokens, **more):
    """Sign with these tokens in turn, then None; returns (what make_request was told, the chain)."""
    told = []

    def make(spent):
        told.append(spent)
        return api.sign("csr", tokens[len(told) - 1]) if len(told) <= len(tokens) else None

    return told, lambda: world.authority(**more).obtain(make)


def test_a_chain_comes_with_the_clock_of_the_authority():
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    _told, sign = signing(World(a=[CHAIN + ({"date": date},)]), ["one"])
    assert sign() == ("leaf\nca\n", api.date_of(api.Answer(200, {"date": date}, b"", A, None)))


def test_a_new_token_is_made_for_each_attempt():
    world = World(a=[BROKEN], b=[(502, b""), CHAIN])
    told, sign = signing(world, ["one", "two", "three", "four"])
    sign()
    assert [request.body["ott"] for _url, request in world.sent] == ["one", "two", "three", "four"]
    assert told == [False, True, True, True]


@pytest.mark.parametrize("first, spent", [(REFUSED, False), (UNTRUSTED, False), (BROKEN, True), ((503, b""), True)])
def test_who_makes_requests_is_told_whether_the_last_may_have_arrived(first, spent):
    told, sign = signing(World(a=[first], b=[CHAIN]), ["one", "two"])
    sign()
    assert told == [False, spent]


def test_spent_once_is_spent_for_ever():
    told, sign = signing(World(a=[BROKEN, CHAIN], b=[REFUSED]), ["one", "two", "three"])
    sign()
    assert told == [False, True, True]


@pytest.mark.parametrize("first", [BROKEN, (502, b"")])
def test_where_no_token_is_left_nothing_is_sent(first):
    world = World(a=[first])
    _told, sign = signing(world, ["one"])
    with pytest.raises(TransportError, match="%s: .*The token may have been used by that, and is not sent again" % A):
        sign()
    assert world.asked == [A]


def test_a_refused_token_is_not_tried_elsewhere():
    world = World(a=[(401, {"message": "no"})])
    told, sign = signing(world, ["one", "two"])
    with pytest.raises(ApiError):
        sign()
    assert (told, world.asked) == ([False], [A])


# roots


def root_answer(authority):
    return (200, {"ca": authority.root_pem})


def test_roots_at_hand_are_not_asked_for():
    world = World()
    authority = world.authority(name="ca.name", timeout=4.0)
    assert authority.trust() == [CA.root]
    authority.get(api.HEALTH)
    assert world.made == [(CA.root_pem, "ca.name", 4.0)]


def test_a_root_is_fetched_once_and_then_pinned():
    world = World(a=[root_answer(CA), OK])
    authority = world.authority(roots=[])
    assert authority.trust() == [CA.root]
    authority.get(api.HEALTH)
    authority.get(api.HEALTH)
    assert world.made == [(None, None, 15.0), (CA.root_pem, None, 15.0)]
    assert [request.path for _url, request in world.sent] == ["/1.0/root/%s" % CA.fingerprint, "/health", "/health"]


@pytest.mark.parametrize(
    "reply",
    [
        root_answer(OTHER),
        (200, {"ca": "canary"}),
        (200, {"ca": 7}),
        (200, {"message": "canary"}),
        (200, b"canary"),
        (200, b"[" * 100000),
        (404, {"message": "canary"}),
        (401, {"message": "canary"}),
        (307, {"message": "canary"}, {"location": "https://canary"}),
    ],
)
def test_nothing_but_the_root_of_the_fingerprint_is_believed_or_quoted(reply):
    world = World(a=[reply])
    authority = world.authority(roots=[])
    with pytest.raises(ApiError) as caught:
        authority.get(api.HEALTH)
    text = str(caught.value) + json.dumps(authority.tried) + " ".join(authority.warnings)
    assert "has no root with the SHA-256 fingerprint %s" % CA.fingerprint in text
    assert "canary" not in text and OTHER.fingerprint not in text
    assert (authority.roots, len(world.sent)) == ([], 1)


@pytest.mark.parametrize("reply", [b"<title>canary</title>", {"message": "canary"}])
def test_a_proxy_that_proves_nothing_is_not_quoted(reply):
    world = World(a=[(502, reply, {"server": "canary"})])
    authority = world.authority(urls=[A], roots=[])
    with pytest.raises(TransportError) as caught:
        authority.get(api.HEALTH)
    assert str(caught.value) == "No answer from the CA. %s: 502 Bad Gateway (tried 2 times)." % A


def test_the_right_root_is_the_first_in_the_answer():
    world = World(a=[(200, {"ca": OTHER.root_pem + CA.root_pem})])
    with pytest.raises(ApiError):
        world.authority(roots=[]).trust()


def test_a_root_that_is_not_offered_beside_one_that_is():
    world = World(a=[(404, {"message": "not found"}), root_answer(CA)])
    authority = world.authority(roots=[], fingerprints=[OTHER.fingerprint, CA.fingerprint])
    assert authority.trust() == [CA.root]
    assert authority.absent_roots == [OTHER.fingerprint]
    assert authority.warnings == ["The CA at %s does not offer the root %s of ca_fingerprint." % (A, OTHER.fingerprint)]
    authority.trust()
    assert len(authority.warnings) == 1


# provisioners, version, health


def test_all_pages_of_provisioners():
    pages = [
        (200, {"provisioners": [{"name": "a"}, "junk"], "nextCursor": "x"}),
        (200, {"provisioners": 7, "nextCursor": "y"}),
        (200, {"provisioners": None, "nextCursor": ""}),
    ]
    world = World(a=pages)
    assert world.authority().provisioners() == [{"name": "a"}]
    assert [request.path.rsplit("=", 1)[1] for _url, request in world.sent] == ["", "x", "y"]


@pytest.mark.parametrize(
    "cursors",
    [["x", "x"], ["x", "y", "x"], [str(number) for number in range(1000)], [7], [{"a": 1}], [["x"]]],
    ids=["one page", "a ring", "a page more each time", "number", "mapping", "list"],
)
def test_pages_without_end_are_an_error(cursors):
    world = World(a=[(200, {"provisioners": [{"name": "a"}], "nextCursor": cursor}) for cursor in cursors])
    with pytest.raises(ApiError, match="/1.0/provisioners: the list of provisioners has no end"):
        world.authority().provisioners()
    assert len(world.sent) <= 101


def test_a_cursor_is_no_part_of_the_url():
    world = World(a=[(200, {"provisioners": [], "nextCursor": "x&limit=1#/"}), (200, {})])
    assert world.authority().provisioners() == []
    assert world.sent[-1][1].path.endswith("cursor=x%26limit%3D1%23%2F")


def test_members_of_another_type_are_left_out():
    good = {"name": "a", "type": "JWK", "key": {"kid": "k", "kty": "EC"}, "options": {"x509": {}}, "claims": 7}
    odd = {"name": "b", "type": 7, "key": ["kid"], "options": "x", "state": {}, "stateReason": []}
    listed = [good, odd, {"name": "c", "key": {"kid": 7, "kty": "EC"}}, {"name": 7}, {"name": None}, {}, None, []]
    world = World(a=[(200, {"provisioners": listed})])
    assert world.authority().provisioners() == [good, {"name": "b"}, {"name": "c", "key": {"kty": "EC"}}]


def test_health_tells_version_clock_and_who_was_tried():
    late = format_datetime(durations.now().replace(microsecond=0) + 2 * pki.DAY / 48, usegmt=True)
    world = World(a=[REFUSED], b=[OK + ({"date": late},), (200, {"version": "0.30.2"})])
    found = client.health(world.authority())
    assert 3595 <= found.pop("clock_skew") <= 3600
    tried = [{"url": A, "outcome": "connection refused"}] * 2 + [{"url": B, "outcome": "ok"}]
    assert found == {"status": "ok", "url": B, "version": "0.30.2", "tls_not_after": None, "tried": tried}


def test_an_authority_that_is_not_ok_is_not_healthy():
    with pytest.raises(ApiError, match="says that its status is 'sick'"):
        client.health(World(a=[(200, {"status": "sick"})]).authority())


def test_health_is_waited_for():
    worlds = [World(a=[REFUSED]), World(a=[(500, {"message": "no"})]), World(a=[OK])]
    pauses = []
    found = client.wait_until_healthy(lambda: worlds.pop(0).authority(urls=[A], retries=0), 60, pauses.append)
    assert found["status"] == "ok" and len(pauses) == 2 and pauses[0] < pauses[1]


def test_health_is_not_waited_for_longer_than_asked():
    pauses = []
    with pytest.raises(TransportError, match="connection refused"):
        client.wait_until_healthy(lambda: World(a=[REFUSED]).authority(urls=[A], retries=0), 0, pauses.append)
    assert pauses == []


# the authority's own names


class Shown(World):
    """An authority that shows this certificate."""

    peer = None

    def send(self, url, request):
        return super().send(url, request)._replace(peer=self.peer)


def test_its_names_are_spelled_as_in_its_certificate():
    world = Shown()
    world.peer = CA.leaf(pki.new_key().public_key(), ["CA.Internal", "10.0.0.1"]).public_bytes(
        serialization.Encoding.DER
    )
    authority = world.authority()
    assert authority.names() == [] and world.asked == []
    authority.get(api.HEALTH)
    assert authority.names() == ["CA.Internal", "10.0.0.1"]


@pytest.mark.parametrize("peer", [None, b"nonsense"])
def test_a_certificate_that_cannot_be_read_shows_no_names(peer):
    world = Shown()
    world.peer = peer
    authority = world.authority()
    authority.get(api.HEALTH)
    assert authority.names() == []


def test_what_was_not_verified_shows_no_names():
    world = Shown(a=[(200, {"ca": CA.root_pem})])
    world.peer = CA.leaf(pki.new_key().public_key(), ["ca.internal"]).public_bytes(serialization.Encoding.DER)
    authority = world.authority(urls=[A], roots=[])
    assert authority.trust() and authority.names() == []
