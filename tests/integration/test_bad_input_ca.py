# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Bad input that the CA shows: one clear failure each, the files stay as they were, no staged key is left."""

from __future__ import annotations

import json
import re
import time

import pytest
from jwcrypto.common import base64url_encode

from tests.integration.rows import HOST, PAIR, Row, check_failures, run_unchanged, tasks
from tests.integration.support import connection, enrolment
from tests.integration.tokens import make_token, spend
from tools.authority import Provisioner
from tools.ports import free_port

pytestmark = pytest.mark.one_core

STRANGER = Provisioner("stranger")


def variables(authority):
    """Secrets as variables: from 2.19 on, Ansible shows the lines around a failing task."""
    provisioners = authority.provisioners.values()
    return {
        "passwords": {one.name: one.password for one in provisioners},
        "keys": {one.name: one.jwk for one in provisioners},
        "encrypted": {one.name: one.jwe for one in provisioners},
        "stranger": STRANGER.jwk,
        "namesake": {**STRANGER.jwk, "kid": authority.provisioner("ansible").key_id},
    }


def enrol(authority, play, host):
    """A certificate that is there before."""
    play([Row("enrol", []).task(enrolment(authority))], hosts=[host]).expect_ok()


def key_rows(authority):
    """Provisioners, keys and passwords, as a certificate needs them."""
    right, other = authority.provisioner("ansible"), authority.provisioner("long")
    password = {"provisioner_password": "{{ passwords.ansible }}"}
    named = {"provisioner": "ansible"}
    nobody = ["The CA at", 'has no provisioner "ansibel"; it has: ', '"ansible" (JWK)', "(from the task)"]
    refused = ["401", 'The CA has no provisioner "ansibel"; it has: ', '"hidden" (JWK)', "Check the option provisioner"]
    closed = 'provisioner_password (from the task), does not open the CA\'s key of the provisioner "ansible"'
    foreign = ["401", 'The key is not that of the provisioner "ansible"', other.key_id, right.key_id]
    namesake = [*foreign[:2], "names its key id " + right.key_id, "signed with another key"]
    hidden = {"provisioner": "hidden", "provisioner_password": "{{ passwords.hidden }}"}
    handed = ['hands out no encrypted key for the provisioner "hidden"', "Give the key itself"]
    return [
        Row("no such name", nobody, {"provisioner": "ansibel", **password}),
        Row("no such name, a key", refused, {"provisioner": "ansibel", "provisioner_key": "{{ keys.ansible }}"}),
        Row("wrong password", [closed], {**named, "provisioner_password": "hunter2"}),
        Row("another's key", foreign, {**named, "provisioner_key": "{{ keys.long }}"}),
        Row("another's key, this id", namesake, {**named, "provisioner_key": "{{ namesake }}"}),
        Row("no key file", ["key_path (from the task)", "nowhere.json"], {"provisioner_key_path": "nowhere.json"}),
        Row("no encrypted key", handed, hidden),
        Row(
            "nobody vouches",
            ["A certificate is due (force is true), and", "no option says who vouches", "provisioner_password"],
        ),
    ]


def lookup_rows(authority):
    """More of the same, where a token alone is asked for."""
    right, other = authority.provisioner("ansible"), authority.provisioner("long")
    password = {"provisioner_password": "{{ passwords.ansible }}"}
    named = {"provisioner": "ansible"}
    no_id = {name: value for name, value in other.jwk.items() if name != "kid"}
    encrypted = {"provisioner_key": "{{ encrypted.long }}"}
    listed = "lists no provisioner with this key"
    return [
        Row("a name alone", ["no option says who vouches for it"], named),
        Row("a password alone", ["provisioner is required where only its password is given"], password),
        Row(
            "wrong password, a key",
            ["does not open provisioner_key (from "],
            {"provisioner_password": "hunter2", **encrypted},
        ),
        Row("no password", ["provisioner_key (from ", "is encrypted", "provisioner_password"], encrypted),
        Row(
            "another's key, no id",
            [listed + ' under the name "ansible"; it has: '],
            {**named, "provisioner_key": no_id},
        ),
        Row("nobody's key", [listed + "; it has: "], {"provisioner_key": "{{ stranger }}"}),
        Row("no password file", ["nowhere cannot be read"], {**named, "provisioner_password_file": "nowhere"}),
        Row(
            "no file", ["provisioner_key_path (from ", "nowhere.json cannot"], {"provisioner_key_path": "nowhere.json"}
        ),
        Row("a public key", ["is a public key"], {"provisioner_key": right.public_jwk}),
        Row("no key", ["is no key that can be read"], {"provisioner_key": "hunter2"}),
        Row(
            "a broken key", ["make no EC key"], {**named, "provisioner_key": {**right.public_jwk, "d": "AA", "x": "AA"}}
        ),
        Row("too many rounds", ["rounds of PBKDF2"], {**named, **password, "provisioner_key": many_rounds()}),
    ]


def lookup(row, defaults):
    """The task of a row that asks for a token."""
    message = "{{ lookup('privatepki.stepca.stepca_token', 'site.example.com', **given) }}"
    given = {**defaults, **row.options}
    return {
        "name": row.name,
        "ansible.builtin.debug": {"msg": message},
        "vars": {"given": given},
        "ignore_errors": True,
    }


def many_rounds():
    """A key that would keep the controller busy for hours."""
    header = {"alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "p2c": 10**9, "p2s": base64url_encode(b"x" * 16)}
    return ".".join([base64url_encode(json.dumps(header)), *[base64url_encode(b"x" * 40)] * 4])


def life_rows():
    """More, or less, than the CA gives."""
    who = {"provisioner": "ansible", "provisioner_password": "{{ passwords.ansible }}"}
    return [
        Row(
            "more life",
            ["403 Forbidden", "24h", 'provisioner "ansible"', "Ask for a life within that (not_after)"],
            {**who, "not_after": "9999h"},
        ),
        Row("less life", ["403 Forbidden", "5m0s", "Ask for a life within that"], {**who, "not_after": "10s"}),
        Row("due at once", ["would be due at once", "Lower renew_before"], {**who, "renew_before": "30h"}),
    ]


def test_provisioner_and_life(play, host, authority):
    """Each with its words."""
    enrol(authority, play, host)
    rows, lookups = key_rows(authority) + life_rows(), lookup_rows(authority)
    content = tasks(rows, connection(authority, retries=0) | {"force": True})
    content += [lookup(row, connection(authority)) for row in lookups]
    run = run_unchanged(play, host, content, variables=variables(authority))
    check_failures(run, rows + lookups)
    shown = [one.password for one in authority.provisioners.values()] + [STRANGER.jwk["d"]]
    assert [text for text in shown if text in run.output] == []
    assert "hunter2" not in "".join(task.msg for task in run.tasks)


def token_rows(authority):
    """Tokens that somebody made."""
    provisioner = authority.provisioner("ansible")
    now = int(time.time())

    def row(name, *words, provisioner=provisioner, **claims):
        token = make_token(authority, provisioner, **claims)
        return Row("token: " + name, words, {"token": "{{ tokens['%s'] }}" % name}), name, token

    refused = "refused the token (401 Unauthorized)"
    other = "token (from the task) is for dns:other.example.com; the task asks for dns:" + HOST
    return [
        row("used before", refused, "probably used before", "Each token serves once"),
        row("of other names", other, sans=["other.example.com"]),
        row("of another subject", "403 Forbidden", sans=None, sub="other.example.com"),
        row("expired", refused, "The token expired on", "Make a new one", nbf=now - 900, exp=now - 600),
        row(
            "for another CA",
            refused,
            "The token is for other.internal, but the CA knows itself as",
            "Set ca_name",
            aud="https://other.internal/1.0/sign",
        ),
        row(
            "for another request",
            "403 Forbidden",
            "certificate request fingerprint does not match",
            cnf={"x5rt#S256": "A" * 43},
        ),
    ]


def test_tokens_that_serve_nothing(play, host, authority):
    """Each with its words; the token itself is never shown."""
    enrol(authority, play, host)
    made = token_rows(authority)
    tokens = {name: token for _row, name, token in made}
    spend(authority, tokens["used before"])
    two = Row("token: two due", ["A token serves one certificate, and 2 are due"], two_due("{{ tokens['expired'] }}"))
    none = Row("token: none", ["token (from the task) is no"], {"token": "hunter2"})
    rows = [row for row, _name, _token in made] + [none, two]
    content = tasks(rows, connection(authority, retries=0) | {"force": True})
    content[-1]["privatepki.stepca.stepca_certificate"].pop("force")
    run = run_unchanged(play, host, content, variables={"tokens": tokens})
    check_failures(run, rows)
    assert [name for name, token in tokens.items() if token in run.output] == []


def two_due(token):
    """Options of a task with two certificates."""
    entry = {**PAIR, "sans": [HOST], "force": True}
    second = {**entry, **{name: path.replace("site", "second") for name, path in PAIR.items()}}
    return {**dict.fromkeys([*PAIR, "sans"]), "certificates": [entry, second], "token": token}


def test_names_refused_by_policy(play, host, policy_authority):
    """In the CA's own words."""
    enrol(policy_authority, play, host)
    verbatim = 'The request was forbidden by the certificate authority: dns name "evil.example.org" not allowed'
    rows = [
        Row("policy", ["403 Forbidden", verbatim], {"sans": [HOST, "evil.example.org"]}),
        Row("policy: address", ["403 Forbidden", "10.0.0.1"], {"sans": [HOST, "10.0.0.1"]}),
    ]
    check_failures(run_unchanged(play, host, tasks(rows, enrolment(policy_authority))), rows)


def test_addresses(play, host, authority):
    """Nobody there, twice; and a dead first URL beside a live one, which works."""
    enrol(authority, play, host)
    dead = "https://localhost:%d" % free_port()
    rows = [
        Row("refused", ["No answer from the CA", dead, "Connection refused"], {"ca_url": dead, "retries": 0}),
        Row("refused twice", ["Connection refused", "(tried 2 times)"], {"ca_url": dead, "retries": 1}),
        Row("no URL", ["ca_url is required: a request to the CA is due"], {"ca_url": None}),
    ]
    words = {"force": True, **enrolment(authority)}
    check_failures(run_unchanged(play, host, tasks(rows, words)), rows)
    live = Row("live", [], {"ca_url": [dead, authority.url]}).task(words)
    run = play([live], hosts=[host]).expect_ok()
    assert run["live"].changed and run["live"]["ca_url"] == authority.url


CLOCK = """\
import os, sys, time
if sys.prefix == os.environ["SHIFTED_PREFIX"]:
    real, shift = time.time, float(os.environ["SHIFTED_BY"])
    time.time = lambda: real() + shift
"""


@pytest.mark.parametrize("hours", [1, -1])
def test_clocks_an_hour_apart(play, host, core, authority, tmp_path, hours):
    """The controller's clock is wrong, the host's and the CA's are right: the failure says by how much."""
    enrol(authority, play, host)
    (tmp_path / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")
    shifted = {
        "SHIFTED_PREFIX": str(core.controller.folder),
        "SHIFTED_BY": str(3600 * hours),
        "PYTHONPATH": str(tmp_path),
    }
    begins = "The token is not valid yet" if hours > 0 else "The token expired on"
    # The skew is measured over a request, so a second more or less is in it.
    rows = [
        Row("clock", ["refused the token (401 Unauthorized)", begins, "The CA's clock is ", "set the clocks (NTP)"])
    ]
    health = {"name": "health", "privatepki.stepca.stepca_health": connection(authority)}
    content = [*tasks(rows, {"force": True, **enrolment(authority)}), health]
    run = run_unchanged(play, host, content, env=shifted)
    check_failures(run, rows)
    named = re.search("clock is (1h|1h1s|1h2s|59m5[0-9]s) (behind|ahead of) the controller's", run["clock"].msg)
    assert named and named.group(2) == ("behind" if hours > 0 else "ahead of"), run["clock"].msg
    assert abs(run["health"]["clock_skew"] + 3600 * hours) <= 2
