# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""First boot without Ansible: a token that was minted elsewhere, a key that the host makes, and renewals from then on."""

from __future__ import annotations

import time

import pytest

from tests.integration.judging import judge, mode, traffic
from tests.integration.pairs import TLS, pair
from tests.integration.renewing import PATHS, RENEWER, Renewer, set_up
from tests.integration.support import connection, enrolment
from tests.integration.tokens import make_token, spend

pytestmark = pytest.mark.oldest_core

LOOKUP = (
    "{{ lookup('privatepki.stepca.stepca_token', 'web-17.example.com', sans=['web-17.example.com', '192.0.2.17']) }}"
)


@pytest.fixture(name="renewer")
def fixture_renewer(play, host, authority):
    """The renewer on a host that has no certificate, as an image brings it."""
    play([{"name": "renewer", RENEWER: {**connection(authority), **PATHS}}]).expect_ok()
    return Renewer(host)


def minted(play, authority):
    """A token of the lookup's, as whoever starts instances hands it over."""
    variables = {"stepca_" + name: value for name, value in enrolment(authority).items()}
    task = {"name": "mint", "ansible.builtin.debug": {"msg": LOOKUP}, "vars": variables}
    return play([task]).expect_ok()["mint"]["msg"]


def places(authority, host):
    tls = host.path("/etc/tls")
    return [tls / "site.crt", "--key-path", tls / "site.key", "--ca-url", authority.url] + [
        "--ca-fingerprint",
        authority.fingerprint,
    ]


def holders(host, secret):
    """Files of the host in which it lies."""
    return [path.name for path in host.files() if secret.encode() in path.read_bytes()]


def test_enrol_with_a_token_of_the_lookup(play, host, authority, renewer):
    """From standard input; the names are those of the token; then it is renewed like any other."""
    tls, token = host.path("/etc/tls"), minted(play, authority)
    with traffic(authority) as asked:
        said = renewer("enrol", *places(authority, host), "--token-file", "-", given=token + "\n")
    assert said.startswith("issued %s/site.crt: " % tls) and token not in said and holders(host, token) == []
    assert asked.posts == [("POST", "/1.0/sign")]
    seen = judge(authority, tls / "site.crt", tls / "site.key")
    assert seen.names == ["DNS:web-17.example.com", "IP Address:192.0.2.17"]
    assert (mode(tls / "site.crt"), mode(tls / "site.key")) == ("0644", "0600")
    assert mode(renewer.configuration("site.crt")) == "0644"
    with traffic(authority) as asked:
        again = renewer("enrol", *places(authority, host), "--token-file", "-", given=token)
    assert (again, asked) == ("%s/site.crt: nothing to do\n" % tls, [])
    time.sleep(1.1)  # a renewal must end later, and certificates count in seconds
    assert renewer("renew", "--force").startswith("renewed ")
    assert judge(authority, tls / "site.crt", tls / "site.key").serial != seen.serial
    assert renewer.status()["site.crt"]["state"] == "ok"


def test_enrol_what_an_image_was_configured_for(play, host, authority):
    """The path and the token are enough, which has the names of this very host; services are told of the first certificate, too."""
    told, tls = host.path("/told"), host.path("/etc/tls")
    entry = pair("site", sans=["build.example.com"], combined_path=TLS + "site.pem", key_mode="0640", mode=0o600)
    hooks = {"run_after": ["sh", "-c", "echo told >> %s" % told]}
    play([{"name": "image", RENEWER: {**connection(authority), **PATHS, "entries": [{**entry, **hooks}]}}]).expect_ok()
    renewer = Renewer(host)
    (line,) = renewer.fails("renew")
    assert "site.crt is missing" in line and "hand over a one-time token: renewer.pyz enrol %s/site.crt" % tls in line
    token = host.path("/token")
    token.write_text(make_token(authority, authority.provisioner("ansible")), encoding="ascii")
    assert renewer("enrol", tls / "site.crt", "--token-file", token).startswith("issued ")
    assert judge(authority, tls / "site.crt", tls / "site.key").names == ["DNS:site.example.com"]
    assert [mode(tls / name) for name in ("site.crt", "site.key", "site.pem")] == ["0600", "0640", "0640"]
    assert told.read_text(encoding="ascii") == "told\n"
    assert holders(host, token.read_text(encoding="ascii")) == ["token"]


def test_tokens_that_will_not_do(play, host, authority, renewer):
    """Used, of another root, for other names, none at all: one line, no file, and never the token in it."""
    used = make_token(authority, authority.provisioner("ansible"))
    spend(authority, used)
    fresh = make_token(authority, authority.provisioner("ansible"))
    where = places(authority, host)
    wrong = [*where[:-1], "ab" * 32]
    cases = [
        (where, used, 1, "401 Unauthorized"),
        (wrong, fresh, 1, "has no root with the SHA-256 fingerprint " + "ab" * 32),
        ([*where, "--san", "other.example.com"], fresh, 1, "other.example.com"),
        (where, "eyJhbGciOiJub25lIn0.", 64, "--token-file: what it holds is no token."),
        (where[:1], fresh, 64, "so give --key-path and --ca-url and --ca-fingerprint, too."),
    ]
    for words, token, code, said in cases:
        output = renewer("enrol", *words, "--token-file", "-", code=code, given=token)
        assert said in output and token not in output and output.count("\n") == 1, output
        assert list(host.path("/etc/tls").iterdir()) == [] and not list(renewer.config.glob("*"))
        assert holders(host, token) == []
    fresh = make_token(authority, authority.provisioner("ansible"))
    assert renewer("enrol", *where, "--san", "site.example.com", "--token-file", "-", given=fresh).startswith("issued ")


def test_a_certificate_that_lies_there_already(play, host, authority):
    """In order: the token is not spent; lost: it is."""
    tls = host.path("/etc/tls")
    renewer = set_up(play, host, authority, [pair("site")])
    token = make_token(authority, authority.provisioner("ansible"))
    with traffic(authority) as asked:
        assert "nothing to do" in renewer("enrol", tls / "site.crt", "--token-file", "-", given=token)
    assert asked == []
    (tls / "site.key").unlink()
    assert renewer("enrol", tls / "site.crt", "--token-file", "-", given=token).startswith("issued ")
    judge(authority, tls / "site.crt", tls / "site.key")
