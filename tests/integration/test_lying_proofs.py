# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A host gets nobody's certificate renewed or revoked but its own: proofs and serials are judged like requests.

See lies.py for the lies, and test_lying_host.py for the host that tells them.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from tests.integration import lies
from tests.integration.judging import leftovers, see, traffic, wait_until_aged
from tests.integration.lies import EVIL, HOST
from tests.integration.pairs import CERTIFICATE, GROUP, outcomes, pair
from tests.integration.support import enrolment
from tests.integration.test_revoke import listed
from tools.authority import Provisioner

pytestmark = pytest.mark.one_core


def moment(hours):
    """An instant so many hours from when these tests were read."""
    return (START + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


START = datetime.now(timezone.utc)
#: What comes of each lie about proofs: renewed nevertheless, issued anew for a reason, or a failure.
AFTER_PROOFS = {
    "of another": ("issued", "only the play says which names are renewed; the certificate has dns:" + EVIL),
    "of two": ("failed", "The host's renewal proofs are not for one certificate"),
    "of its own making": ("issued", "the CA refused to renew it (401 Unauthorized"),
    "with a line break": ("failed", "are not for one certificate"),
    "tampered with": ("failed", "The host's renewal proof cannot be read"),
    "of a key that signs nothing": ("failed", "The host's renewal proof cannot be read"),
    "deep": ("failed", "The host's renewal proof cannot be read"),
    "no proofs": ("failed", "The host's renewal proof cannot be read"),
    "no text": ("failed", "are not for one certificate"),
    "no list": ("failed", "are not for one certificate"),
    "none": ("failed", "are not for one certificate"),
    "long": ("failed", "are not for one certificate"),
    "many": ("renewed", ""),
}
#: And of each lie about a certificate to be revoked; None: it is not revoked, and nobody minds.
AFTER_FORMERS = {
    "of another": "is not revoked on the mere word of the host",
    "of another with one's own proof": "is not revoked on the mere word of the host",
    "of another with a proof and a line": "is not revoked on the mere word of the host",
    "of another, tampered with": "is not revoked on the mere word of the host",
    "no certificate": "cannot be read",
    "of its own making": "is not revoked on the mere word of the host",
    "many": "cannot be read",
    "no text": "cannot be read",
    "not to be revoked": None,
}


def entries(table, **options):
    """A certificate for each lie, and one of other names that is told of truthfully."""
    names = [name.replace(" ", "-").replace("'", "") for name in table]
    return [pair(name, sans=[HOST], **options) for name in names] + [pair("another", sans=[EVIL], **options)]


def tell(host, told):
    """From now on, the host says this."""
    (host.root / "lies.json").write_text(told, encoding="utf-8")


def lies_about(host, kind, table):
    """Have the host lie about each certificate of a table."""
    names = ", ".join('"%s %s"' % (kind, name) for name in table)
    tell(host, '{"about": [%s, ""]}' % names)


def test_each_lie_has_its_end():
    """A lie without an end would go untested."""
    assert sorted(AFTER_PROOFS) == sorted(lies.PROOFS)
    assert sorted(AFTER_FORMERS) == sorted(lies.FORMERS)


def test_only_its_own_certificate_is_renewed(play, liar, new_authority):
    """No proof of other names reaches the CA; what is got anew has the task's names."""
    authority = new_authority()
    host = liar("liar", [])
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "hosts": [host]}
    made = entries(AFTER_PROOFS, not_after="10h")
    play([{"name": "make", CERTIFICATE: {"certificates": made}}], **settings).expect_ok()
    serials = [see(tls / entry["certificate_path"].rpartition("/")[2]).serial for entry in made]
    lies_about(host, "proofs", AFTER_PROOFS)
    task = {CERTIFICATE: {"certificates": made, "renew_before": "9h59m55s"}}
    wait_until_aged(tls / "another.crt", 6)
    with traffic(authority) as asked:
        run = play([{"name": "renew", **task}], verbosity=3, **settings)
    failure = run.expect_failure("certificates failed")
    wrong = {}
    for (lie, (outcome, words)), one in zip(AFTER_PROOFS.items(), failure["results"], strict=False):
        ended = "failed" if one.get("failed") else one["outcome"]
        said = one.get("msg") or " ".join(one["reasons"])
        if ended != outcome or words not in said:
            wrong[lie] = (ended, said[:300])
    assert wrong == {}, run
    assert failure["results"][-1]["outcome"] == "renewed"
    outcomes = [outcome for outcome, _words in AFTER_PROOFS.values()]
    # Of its own making, many, and the honest one; the same proof twice is for the CA to refuse.
    assert asked.posts.count(("POST", "/1.0/renew")) == 3
    assert asked.posts.count(("POST", "/1.0/sign")) == outcomes.count("issued")
    for entry, serial, ended in zip(made, serials, [*outcomes, "renewed"], strict=True):
        seen = see(tls / entry["certificate_path"].rpartition("/")[2])
        assert seen.names == ["DNS:" + entry["sans"][0]]
        assert (seen.serial == serial) == (ended == "failed")
    assert leftovers(host) == []


@pytest.mark.parametrize("by", ["controller", "host"])
def test_only_its_own_certificate_is_revoked(play, liar, new_authority, tmp_path, by):
    """Nobody's certificate is revoked on the word of a host that does not show its key."""
    authority = new_authority()
    host = liar("liar", [])
    settings = {"module_defaults": {GROUP: enrolment(authority, request_from=by)}, "hosts": [host]}
    made = entries(AFTER_FORMERS, revoke=True)
    first = play([{"name": "make", CERTIFICATE: {"certificates": made}}], **settings).expect_ok()["make"]
    another = first["results"][-1]["certificate"]["serial"]
    lies_about(host, "former", AFTER_FORMERS)
    task = {CERTIFICATE: {"certificates": [{**entry, "force": True} for entry in made]}}
    run = play([{"name": "force", **task}], verbosity=3, **settings)
    failure = run.expect_failure("certificates failed")
    wrong = {}
    for (lie, words), one in zip(AFTER_FORMERS.items(), failure["results"], strict=False):
        said = one.get("msg")
        if one["revoked"] or (said is None) != (words is None) or (words and words not in said):
            wrong[lie] = said
    assert wrong == {}, run
    assert set(listed(authority, tmp_path)) == {another} and failure["results"][-1]["revoked"]
    assert "Traceback" not in run.output


def test_serials_that_are_none(play, liar, new_authority):
    """A failure with a sentence, and never "not revoked"."""
    authority = new_authority()
    host = liar("liar", [])
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "hosts": [host]}
    made = {"certificates": entries(lies.SERIALS), "check_revocation": True}
    play([{"name": "make", CERTIFICATE: made}], **settings).expect_ok()
    lies_about(host, "serial", lies.SERIALS)
    run = play([{"name": "again", CERTIFICATE: made}], **settings)
    failure = run.expect_failure("names no serial number of its certificate")
    assert [bool(one.get("failed")) for one in failure["results"]] == [True] * len(lies.SERIALS) + [False]


@pytest.mark.parametrize("by", ["controller", "host"])
def test_nothing_is_signed_for_what_is_to_go(play, liar, authority, by):
    """A host that is told to remove a certificate cannot ask for one instead."""
    host = liar("liar", [])
    settings = {"module_defaults": {GROUP: enrolment(authority, request_from=by)}, "hosts": [host]}
    made = pair("site", sans=[HOST])
    play([{"name": "make", CERTIFICATE: made}], **settings).expect_ok()
    tell(host, '{"about": ["to be signed"]}')
    removal = {"certificate_path": made["certificate_path"], "state": "absent", "revoke": True}
    with traffic(authority) as asked:
        run = play([{"name": "gone", CERTIFICATE: removal}], verbosity=3, **settings)
    run.expect_failure("did not answer as this collection's module does")
    assert asked.posts == []


#: What the task asks for of a certificate of a day that ends in an hour; what the host's record says instead; the reason.
AFTER_RECORDS = {
    "life": ({"not_after": "2h"}, {"not_after": "2h"}, "lives for 24h, expected at most 2h (not_after)"),
    "cap": ({"max_lifetime": "2h"}, {}, "lives for 24h, expected at most 2h (max_lifetime)"),
    "since": ({"issued_since": moment(-2)}, {}, "expected since %s (issued_since)" % moment(-2)),
    "nothing": ({}, {}, ""),
}


def test_no_more_is_renewed_than_the_play_asks_for(play, host, new_authority):
    """A record that says what the play asks for now makes the host's own module hand over a proof. The certificate tells."""
    authority = new_authority(Provisioner("ansible", rounds=100_000))
    tls, settings = host.path("/etc/tls"), {"module_defaults": {GROUP: enrolment(authority)}}
    made = [pair(name, not_before=moment(-23), not_after=moment(1)) for name in AFTER_RECORDS]
    play([{"name": "make", CERTIFICATE: {"certificates": made}}], **settings).expect_ok()
    for name, (_options, asked, _reason) in AFTER_RECORDS.items():
        path = tls / (".%s.crt.stepca.json" % name)
        record = json.loads(path.read_text(encoding="ascii"))
        record["asked"].update({"not_before": None, "not_after": None, **asked})
        path.write_text(json.dumps({**record, "issued_at": moment(-1)}), encoding="ascii")
    told = [pair(name, renew_before="70m", **options) for name, (options, _asked, _reason) in AFTER_RECORDS.items()]
    with traffic(authority) as asked:
        run = play([{"name": "renew", CERTIFICATE: {"certificates": told}}], **settings).expect_ok()["renew"]
    assert outcomes(run) == {"life": "issued", "cap": "issued", "since": "issued", "nothing": "renewed"}
    for one, (_options, _asked, reason) in zip(run["results"], AFTER_RECORDS.values(), strict=True):
        assert reason in " ".join(one["reasons"])
    assert asked.posts.count(("POST", "/1.0/renew")) == 1
    assert see(tls / "life.crt").seconds <= 2 * 3600 + 61


ADDING = """{
  "subject": {{ toJson .Subject }},
  "sans": {{ toJson (append .SANs (dict "type" "dns" "value" "added.example.com")) }},
  "keyUsage": ["digitalSignature"],
  "extKeyUsage": ["serverAuth", "clientAuth"]
}"""


def test_what_the_authority_itself_decides_is_renewed(play, host, new_authority):
    """Names that its template adds, and an hour that it backdates: no reason to issue anew."""
    plain, adding = Provisioner("ansible", rounds=100_000), Provisioner("adding", rounds=100_000, template=ADDING)
    authority = new_authority(plain, adding, backdate="1h")
    made = [
        {CERTIFICATE: pair("plain", not_after="4h", **enrolment(authority))},
        {CERTIFICATE: pair("adding", **enrolment(authority, "adding"))},
    ]
    play([{"name": "make", **task} for task in made]).expect_ok()
    wait_until_aged(host.path("/etc/tls/adding.crt"), 6)
    made[0][CERTIFICATE]["renew_before"], made[1][CERTIFICATE]["renew_before"] = "3h59m55s", "23h59m55s"
    run = play([{"name": "plain", **made[0]}, {"name": "adding", **made[1]}]).expect_ok()
    assert (run["plain"]["outcome"], run["adding"]["outcome"]) == ("renewed", "renewed"), run
    assert "added dns:added.example.com" in " ".join(run["adding"]["warnings"])
