# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Where a CA is, as users write it and as it travels: what is a URL, what a fingerprint, whom a token is for."""

from __future__ import annotations

import json

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import connections
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

CA = pki.Authority()


@pytest.mark.parametrize(
    "text, url",
    [
        ("https://ca.internal", "https://ca.internal"),
        (" https://ca.internal/ ", "https://ca.internal"),
        ("https://ca.internal:9000", "https://ca.internal:9000"),
        ("https://10.0.0.1:443/", "https://10.0.0.1:443"),
        ("https://[::1]:9000", "https://[::1]:9000"),
        ("HTTPS://ca.internal", "https://ca.internal"),
    ],
)
def test_urls(text, url):
    assert connections.parse_url(text) == url


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "does not begin with https://"),
        ("ca.internal", "does not begin with https://"),
        ("http://ca.internal", "does not begin with https://"),
        ("https://", "does not begin with https://"),
        ("https://ca.internal/acme", "has a path.* write https://ca.internal"),
        ("https://ca.internal/?a=b", "has a path"),
        ("https://ca.internal#a", "has a path"),
        ("https://user@ca.internal", "a user or password"),
        ("https://ca.internal:port", "is not a URL"),
        ("https://ca.internal:70000", "is not a URL"),
        ("https://[::1", "is not a URL"),
    ],
)
def test_what_is_no_url(text, problem):
    with pytest.raises(OptionError, match="^ca_url: .*%s" % problem):
        connections.parse_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://user:canary@ca.internal",
        "https://user:canary@ca.internal/x",
        "http://user:canary@ca.internal",
    ],
)
def test_a_password_in_a_url_is_not_quoted(text):
    with pytest.raises(OptionError) as caught:
        connections.parse_url(text)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["AB" * 32, ":".join(["ab"] * 32), " ".join(["AB"] * 32), "-".join(["ab"] * 32), " %s\n" % ("ab" * 32)]
)
def test_fingerprints(text):
    assert connections.parse_fingerprint(text) == "ab" * 32


@pytest.mark.parametrize(
    "text", ["", "ab", "ab" * 31, "ab" * 33, "ag" * 32, "ab" * 20, "sha256:" + "ab" * 32, "\u0661" * 64]
)
def test_what_is_no_fingerprint(text):
    with pytest.raises(OptionError, match="^ca_fingerprint: .* is not the SHA-256 of a certificate, 64 hex digits"):
        connections.parse_fingerprint(text)


def test_a_connection_travels_as_json():
    connection = connections.Connection(
        ["https://a.internal", "https://b.internal"], [CA.fingerprint], [CA.root], "ca.name", 4.0, 2
    )
    assert connections.restore(json.loads(json.dumps(connections.describe(connection)))) == connection
    bare = connections.Connection([], [CA.fingerprint])
    assert connections.restore(json.loads(json.dumps(connections.describe(bare)))) == bare


@pytest.mark.parametrize(
    "urls, name, hosts",
    [
        (["https://a", "https://b:8443", "https://a"], None, ["a", "b:8443"]),
        (["https://10.0.0.1", "https://b"], "ca.name", ["ca.name"]),
        (["https://[::1]:9000"], None, ["[::1]:9000"]),
        (["https://a"], "::1", ["[::1]"]),
        (["https://a"], "[::1]", ["[::1]"]),
        (["https://CA.Internal:9000"], None, ["CA.Internal:9000", "ca.internal:9000"]),
        (["https://a"], "CA.Internal", ["CA.Internal", "ca.internal"]),
        (["https://[FE80:0::1]:9000"], None, ["[FE80:0::1]:9000", "[fe80::1]:9000"]),
    ],
)
@pytest.mark.parametrize("purpose", ["sign", "revoke"])
def test_audiences(urls, name, hosts, purpose):
    found = connections.audiences(connections.Connection(urls, [], name=name), purpose)
    assert found == ["https://%s/1.0/%s" % (host, purpose) for host in hosts]


@pytest.mark.parametrize(
    "url, known, hosts",
    [
        ("https://ca.internal:9000", ["CA.Internal", "other"], ["ca.internal:9000", "CA.Internal:9000"]),
        ("https://CA.internal", ["cA.Internal"], ["CA.internal", "ca.internal", "cA.Internal"]),
        ("https://[FE80::1]", ["fe80::1", "10.0.0.1"], ["[FE80::1]", "[fe80::1]"]),
        ("https://ca.internal", ["CA.internal.elsewhere", "", "*.internal"], ["ca.internal"]),
    ],
)
def test_audiences_in_the_authoritys_own_spelling(url, known, hosts):
    found = connections.audiences(connections.Connection([url], []), "renew", known)
    assert found == ["https://%s/1.0/renew" % host for host in hosts]


@pytest.mark.parametrize(
    "url, host",
    [
        ("https://CA.Internal:9000/1.0/sign", "CA.Internal"),
        ("https://[FE80::1]:9000/x", "FE80::1"),
        ("https://user@Host", "Host"),
        ("step-certificate-authority", ""),
        ("https://[", ""),
    ],
)
def test_the_host_of_an_audience_keeps_its_spelling(url, host):
    assert connections.host_of(url) == host
