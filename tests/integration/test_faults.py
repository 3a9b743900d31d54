# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Every wrong that a network, a proxy or a CA can do, to every kind of request.

Afterwards there is the old set or the new one, the message names the fault, no token or proof was sent twice, and no
task lasted longer than its options allow.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import socket
import time

import pytest

from tests.integration.faults import FaultProxy, believed_context, faults
from tests.integration.judging import judge, leftovers, make_request, see, tree
from tests.integration.pairs import CERTIFICATE, GROUP, pair
from tests.integration.support import enrolment
from tools.commands import wait_until

pytestmark = pytest.mark.one_core

TIMEOUT, RETRIES = 1, 1
#: The longest that requests to one URL may take: each round in full, and the longest pause between them.
BOUND = (RETRIES + 1) * TIMEOUT + RETRIES * 0.2 * 1.5
#: What a loaded machine may add.
PATIENCE = 4

UNLIKE = ["not as step-ca does"]
#: What the message says: patterns, since Pythons name the same fault differently.
WORDS = {
    "refuse": ["Connection refused", "tried 2 times"],
    "reset": ["Connection reset by peer|Remote end closed connection", "tried 2 times"],
    "hang": ["no whole answer within 1 s", "tried 2 times"],
    "502": ["502 Bad Gateway", "tried 2 times"],
    "cut": ["the (answer|connection) was cut", "tried 2 times"],
    "slow": ["no whole answer within 1 s", "tried 2 times"],
    "rubbish": UNLIKE,
    "html": UNLIKE,
    "large": ["larger than 1 MiB"],
    "redirect": ["307", "A redirect is never followed"],
}
#: Faults after which a certificate that cannot be renewed is issued anew instead: the CA, or who stands for it, said no.
REFUSALS = ("rubbish", "html", "redirect")


class Row:
    """One fault: its proxy, the task, and the name of the certificate."""

    def __init__(self, name, url, proxy):
        self.name, self.url, self.proxy = name, url, proxy

    def task(self, module, options):
        return {
            "name": self.name,
            "privatepki.stepca." + module: {**options, "ca_url": self.url},
            "ignore_errors": self.name != "none",
        }


@pytest.fixture
def proxied(authority, tmp_path):
    """Proxies for one kind of request, each with its fault: `proxied("POST /1.0/sign")` -> rows, the last without."""
    with contextlib.ExitStack() as running:
        context = believed_context(authority, tmp_path)
        closed = running.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))  # bound, and not listening: nobody else takes the port
        elsewhere = running.enter_context(FaultProxy(authority, context, "", None))

        def make(target):
            rows = [Row("refuse", "https://localhost:%d" % closed.getsockname()[1], None)]
            for name, fault in {**faults(elsewhere.url + "/1.0/sign"), "none": None}.items():
                proxy = running.enter_context(FaultProxy(authority, context, target, fault))
                rows.append(Row(name, proxy.url, proxy))
            return rows

        yield make
        assert elsewhere.asked == []


@pytest.fixture(params=["controller", "host"])
def request_from(request, core):
    """Who asks; a host does so with its own Python and no library, and is tried with both."""
    if request.param == "controller" and core.name != "newest":
        pytest.skip("not applicable: the newest ansible-core alone will do for a controller that asks")
    return request.param


def options_of(authority, **others):
    """The CA is known by its root, so that the faulty request is the first one that tells."""
    known = {"ca_fingerprint": None, "ca_root": authority.root_pem, "timeout": TIMEOUT, "retries": RETRIES}
    options = {**enrolment(authority), **known, **others}
    return {name: value for name, value in options.items() if value is not None}


def check(run, rows, words=None, succeeding=()):
    """Each row failed with its words, in time, and nothing that may be sent once was sent twice."""
    usual = run["none"]
    assert not usual.failed, run
    assert "Traceback" not in run.output, run
    wrong = []
    for row in rows[:-1]:
        result = run[row.name]
        missing = [word for word in {**WORDS, **(words or {})}[row.name] if not re.search(word, said(result))]
        if missing or result.failed == (row.name in succeeding):
            wrong.append("%s: %s without %s: %s" % (row.name, result.status, missing, said(result)))
        if result.seconds > PATIENCE * (BOUND + usual.seconds):
            wrong.append("%s: %.1f s, and %.1f s are usual" % (row.name, result.seconds, usual.seconds))
        if row.proxy and not row.proxy.struck:
            wrong.append("%s: no request met with it" % row.name)
    assert not wrong, "\n".join(wrong)
    assert_sent_once(rows)


def said(result):
    """What a user reads of a task."""
    return " ".join([result.msg, *result.result.get("reasons", [])])


def assert_sent_once(rows):
    """Tokens are in bodies, proofs in a header."""
    sent = []
    for asked in [asked for row in rows if row.proxy for asked in row.proxy.asked]:
        sent += [asked.headers[name] for name in asked.headers if name.lower() == "authorization"]
        sent += [json.loads(asked.body)["ott"]] if "ott" in asked.body else []
    assert len(sent) == len(set(sent))


def test_sign(play, host, authority, proxied, request_from):
    """Another name is wanted: the old pair stays, down to its times."""
    rows = proxied("POST /1.0/sign")
    options = options_of(authority, request_from=request_from)
    play([{"name": "old", CERTIFICATE: {**pair("site"), **enrolment(authority)}}]).expect_ok()
    before = tree(host.path("/etc/tls"))
    wanted = pair("site", sans=["new.example.com"])
    run = play([row.task("stepca_certificate", {**wanted, **options}) for row in rows[:-1]])
    assert tree(host.path("/etc/tls")) == before, run
    done = play([rows[-1].task("stepca_certificate", {**wanted, **options})]).expect_ok()
    run.tasks += done.tasks
    check(run, rows)
    tls = host.path("/etc/tls")
    assert judge(authority, tls / "site.crt", tls / "site.key").names == ["DNS:new.example.com"]
    assert leftovers(host) == []


def test_renew(play, host, authority, proxied, request_from):
    """Due certificates, one for each fault: those that the CA seems to refuse are issued anew, the others stay."""
    rows = proxied("POST /1.0/renew")
    names = [row.name for row in rows]
    play(
        [{"name": "old", CERTIFICATE: {"certificates": [pair(one) for one in names]}}],
        module_defaults={GROUP: enrolment(authority)},
    ).expect_ok()
    tls = host.path("/etc/tls")
    old = {name: see(tls / (name + ".crt")).serial for name in names}
    made = max((tls / (name + ".crt")).stat().st_mtime for name in names)
    wait_until(lambda: time.time() - made > 15, 30, "certificates that are 15 s old")
    before = tree(tls)
    # Due when less than that is left: of the old ones, and for 10 s not of one that comes now.
    options = options_of(authority, request_from=request_from, renew_before="23h59m50s")
    run = play([row.task("stepca_certificate", {**pair(row.name), **options}) for row in rows])
    check(run, rows, {"large": ["larger than 1 MiB"]}, succeeding=REFUSALS)
    after = tree(tls)
    for row in rows:
        seen = judge(authority, tls / (row.name + ".crt"), tls / (row.name + ".key"))
        kept = {path for path in after if path.strip(".").startswith(row.name + ".")}
        if row.name in (*REFUSALS, "none"):
            assert seen.serial != old[row.name]
        else:
            assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    assert [run[name]["outcome"] for name in (*REFUSALS, "none")] == ["issued"] * 3 + ["renewed"]
    assert leftovers(host) == []


def test_list_of_revoked_certificates(play, host, authority, proxied, request_from):
    """Nothing is due; without the list nobody knows whether that is so."""
    rows = proxied("GET /1.0/crl")
    options = {**pair("site"), **options_of(authority, request_from=request_from)}
    play([{"name": "old", CERTIFICATE: options | {"ca_url": authority.url}}]).expect_ok()
    before = tree(host.path("/etc/tls"))
    run = play([row.task("stepca_certificate", {**options, "check_revocation": True}) for row in rows])
    assert tree(host.path("/etc/tls")) == before, run
    unreadable = ["list of revoked certificates cannot be read"]
    check(run, rows, {"rubbish": unreadable, "html": unreadable, "large": ["larger than 64 MiB"]})
    assert not run.changed


def test_revoke(play, authority, proxied):
    """What was revoked although its answer was lost is told as a failure; revoking it again would be fine."""
    rows = proxied("POST /1.0/revoke")
    options = options_of(authority)
    run = play([row.task("stepca_revoke", {**options, "serial": "0x" + secrets.token_hex(15)}) for row in rows])
    check(run, rows)


def test_root(play, authority, proxied):
    """Whoever is asked for the root is not trusted yet, and not quoted: what he did is told, not what he said."""
    rows = proxied("GET /1.0/root/")
    options = options_of(authority, ca_root=None, ca_fingerprint=authority.fingerprint)
    known = {name: options[name] for name in ("ca_fingerprint", "timeout", "retries")}
    run = play([row.task("stepca_health", known) for row in rows])
    another = ["has no root with the SHA-256 fingerprint"]
    told = {"rubbish": [*another, "it answered 200 OK"], "redirect": [*another, "it answered 307 Temporary Redirect"]}
    check(run, rows, {**told, "html": told["rubbish"]})


def test_provisioners(play, authority, proxied, tmp_path):
    """The provisioner's key is the CA's own to hand out, opened by its password."""
    rows = proxied("GET /1.0/provisioners")
    request = make_request(tmp_path, "a", "a.example.com")
    run = play(
        [row.task("stepca_sign", {**options_of(authority), "csr": request, "sans": ["a.example.com"]}) for row in rows]
    )
    check(run, rows)
