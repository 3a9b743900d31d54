# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""check_revocation: the CA's list is read at every run, believed only when it is the CA's own and in time."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.integration.doubles import Double, relay, tls_context
from tests.integration.judging import judge, leftovers, make_request, openssl, see, traffic, tree, wait_until_aged
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, outcomes, pair
from tests.integration.support import connection, enrolment
from tools.pki import Issuer, make_intermediate, make_root

pytestmark = pytest.mark.oldest_core

BY = pytest.mark.parametrize("by", ["controller", "host"])
HOUR = datetime.timedelta(hours=1)


def revoke(*names):
    """The tasks that revoke what lies there."""
    module = "privatepki.stepca.stepca_revoke"
    return [{"name": "revoke " + name, module: {"certificate_path": TLS + name + ".crt"}} for name in names]


def last_parts(asked):
    """Which things were asked for, without versions and hashes."""
    return sorted(next(part for part in path.split("/") if part not in ("", "1.0")) for _method, path in asked)


@BY
def test_revoked_means_a_new_key(play, host, new_authority, by):
    """Steady runs read the list and no more; what is revoked is issued anew, never renewed, with another key."""
    authority = new_authority()
    tls = host.path("/etc/tls")
    options = enrolment(authority, request_from=by)
    options["ca_root"] = authority.root_pem
    settings = {"module_defaults": {GROUP: options}}
    entries = [pair("a"), pair("due", not_after="10h")]
    task = {CERTIFICATE: {"certificates": entries, "check_revocation": True}}
    run = play([{"name": "make", **task}], **settings).expect_ok()
    keys = {name: (tls / (name + ".key")).read_bytes() for name in ("a", "due")}
    serials = {name: see(tls / (name + ".crt")).serial for name in keys}
    before = tree(tls)
    for check in (False, True):
        with traffic(authority) as asked:
            steady = play([{"name": "steady", **task}], check=check, **settings).expect_ok()["steady"]
        assert (steady.changed, tree(tls)) == (False, before)
        assert (asked.posts, set(last_parts(asked))) == ([], {"crl", "intermediates"})
        assert by == "host" or len(asked) == 2, "one list serves all"

    play(revoke("a", "due"), **settings).expect_ok()
    entries[1]["renew_before"] = "9h59m57s"
    wait_until_aged(tls / "due.crt", 4)
    with traffic(authority) as asked:
        dry = play([{"name": "look", **task}], check=True, **settings).expect_ok()["look"]
        unasked = {CERTIFICATE: {"certificates": [pair("a")]}}
        ignorant = play([{"name": "unasked", **unasked}], **settings).expect_ok()["unasked"]
    assert (asked.posts, tree(tls), ignorant.changed) == ([], before, False)
    run = play([{"name": "again", **task}], **settings).expect_ok()["again"]
    assert outcomes(dry) == outcomes(run) == {"a": "issued", "due": "issued"}
    for name, was, now in zip(keys, dry["results"], run["results"], strict=True):
        assert "the CA revoked it (serial %s) on " % serials[name] in " ".join(now["reasons"])
        assert "the CA revoked it (serial %s) on " % serials[name] in " ".join(was["reasons"])
        assert (tls / (name + ".key")).read_bytes() != keys[name]
        judge(authority, tls / (name + ".crt"), tls / (name + ".key"))
    entries[1]["renew_before"] = "33%"
    assert not play([{"name": "steady", **task}], **settings).expect_ok()["steady"].changed
    assert leftovers(host) == []


@BY
def test_a_key_that_must_not_change(play, host, new_authority, tmp_path, by):
    """keep and csr_path forbid the new key: the task fails with that sentence, and the files stay."""
    authority = new_authority()
    tls = host.path("/etc/tls")
    (tls / "brought.csr").write_text(make_request(tmp_path, "brought", "brought.example.com"), encoding="ascii")
    settings = {"module_defaults": {GROUP: enrolment(authority, request_from=by)}}
    brought = {
        "certificate_path": TLS + "brought.crt",
        "csr_path": TLS + "brought.csr",
        "sans": ["brought.example.com"],
    }
    entries = [pair("kept", key_policy="keep"), brought, pair("free")]
    task = {CERTIFICATE: {"certificates": entries, "check_revocation": True}}
    play([{"name": "make", **task}, *revoke("kept", "brought")], **settings).expect_ok()
    before = tree(tls)
    for check in (True, False):
        with traffic(authority) as asked:
            run = play([{"name": "again", **task}], check=check, **settings)
        failure = run.expect_failure("2 of 3 certificates failed", "a revoked certificate always gets a new key")
        words = [one.get("msg", "")[: len("key_policy: keep: the CA revoked it")] for one in failure["results"]]
        assert words[0] == "key_policy: keep: the CA revoked it" and words[1].startswith("csr_path: the CA revoked it")
        assert (words[2], asked.posts, tree(tls)) == ("", [], before)
    # A request of another key is what the sentence asks for.
    (tls / "brought.csr").write_text(make_request(tmp_path, "other", "brought.example.com"), encoding="ascii")
    task = [{"name": name, CERTIFICATE: {**brought, "check_revocation": True}} for name in ("other", "steady")]
    run = play(task, **settings).expect_ok()
    assert (run["other"]["outcome"], run["steady"]["outcome"]) == ("issued", "none")
    assert "the CA revoked it" in " ".join(run["other"]["reasons"])


@BY
def test_after_the_intermediate_was_rotated(play, host, new_authority, by):
    """The list is signed by the new one then, also for certificates of the old one."""
    authority = new_authority()
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority, request_from=by)}}
    task = {CERTIFICATE: {"certificates": [pair("a"), pair("b")], "check_revocation": True}}
    play([{"name": "make", **task}, *revoke("a")], **settings).expect_ok()
    authority.rotate_intermediate()
    play(revoke("a"), **settings).expect_ok()  # has the CA make its list anew
    run = play([{"name": "again", **task}, {"name": "steady", **task}], **settings).expect_ok()
    assert outcomes(run["again"]) == {"a": "issued", "b": "none"} and not run["steady"].changed
    assert "intermediate 2" in openssl("x509", "-in", tls / "a.crt", "-noout", "-issuer")


def a_list(issuer: Issuer, end=HOUR, name=None, key=None):
    """A list of revoked certificates that this issuer signs, or somebody else in its name."""
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateRevocationListBuilder().issuer_name(name or issuer.certificate.subject)
    builder = builder.last_update(now - 48 * HOUR).next_update(now + end)
    return builder.sign(key or issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def bad_lists(authority):
    """By name: status and content of what somebody in between says, and the words of the failure."""
    issuing, stranger = authority.intermediates[-1], make_root("stranger")
    namesake = make_intermediate(stranger, issuing.certificate.subject.rfc4514_string().partition("=")[2])
    good = a_list(issuing)
    return {
        "stale": (200, a_list(issuing, -HOUR), "is out of date since"),
        "of-a-stranger": (200, a_list(stranger), "was signed by a stranger (CN=stranger)"),
        "of-a-namesake": (200, a_list(namesake), "was signed by a stranger"),
        "of-a-host": (200, a_list(issuing, key=stranger.key), "was signed by a stranger"),
        "damaged": (200, good[:-1] + bytes([good[-1] ^ 1]), "was signed by a stranger"),
        "cut": (200, good[:-20], "cannot be read"),
        "garbage": (200, b"<html>", "cannot be read"),
        "empty": (200, b"", "cannot be read"),
        "absent": (404, b"404 page not found", "publishes no list of revoked certificates"),
        "broken": (500, b"{}", "500"),
    }


@BY
def test_lists_that_are_not_believed(play, host, new_authority, tmp_path, by):
    """Never "not revoked" for want of a list: each fails with its words, and changes nothing."""
    authority = new_authority()
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority, request_from=by)}}
    play([{"name": "make", CERTIFICATE: pair("site")}], **settings).expect_ok()
    before = tree(tls)
    answers, tasks = bad_lists(authority), []
    honest = relay(authority)
    doubles = {}
    for name, (status, content, _words) in {**answers, "right": (200, a_list(authority.intermediates[-1]), "")}.items():

        def answer(method, path, told=(status, {}, content)):
            return told if path.endswith("/crl") else honest(method, path)

        doubles[name] = Double(answer, tls_context(tmp_path / name, authority.root))
        options = pair("site", check_revocation=True, **connection(authority, retries=0))
        tasks.append({"name": name, CERTIFICATE: {**options, "ca_url": doubles[name].url}, "ignore_errors": True})
    for double in doubles.values():
        double.__enter__()
    try:
        with traffic(authority):
            run = play(tasks, **settings).expect_ok()
    finally:
        for double in doubles.values():
            double.__exit__()
    for name, (_status, _content, words) in answers.items():
        assert words in run.expect_failure("", name=name).msg, name
    assert not run["right"].failed and not run["right"].changed
    assert all(asked.method == "GET" for double in doubles.values() for asked in double.asked)
    assert tree(tls) == before

    authority.crl = False
    authority.restart()
    failed = play([{"name": "off", CERTIFICATE: pair("site", check_revocation=True)}], **settings)
    failed.expect_failure("publishes no list of revoked certificates", "Set crl.enabled in its ca.json")
    assert tree(tls) == before
