# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""`revoke: true` with state present: once the successor is in place, the certificate that was there before is revoked."""

from __future__ import annotations

import pytest

from tests.integration.judging import judge, leftovers, see, traffic, wait_until_aged
from tests.integration.pairs import CERTIFICATE, GROUP, pair
from tests.integration.support import enrolment
from tests.integration.test_revoke import listed
from tools.authority import Provisioner

pytestmark = pytest.mark.oldest_core

BY = pytest.mark.parametrize("by", ["controller", "host"])


@BY
def test_the_former_is_revoked(play, host, new_authority, tmp_path, by):
    """After an issue and after a renewal, each time the one that was there; never in a steady run, never a stranger's."""
    authority, stranger = new_authority(), new_authority(Provisioner("ansible", rounds=100_000))
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority, request_from=by)}}
    site = pair("site", revoke=True, reason="superseded")
    play([{"name": "foreign", CERTIFICATE: pair("site", **enrolment(stranger))}]).expect_ok()
    run = play(
        [{"name": "taken over", CERTIFICATE: site}, {"name": "again", CERTIFICATE: site}], **settings
    ).expect_ok()
    assert (run["taken over"]["outcome"], run["taken over"]["revoked"]) == ("issued", False)
    assert (run["again"].changed, run["again"]["revoked"], listed(authority, tmp_path)) == (False, False, {})

    serials = [see(tls / "site.crt").serial]
    for name, options in (("issued", {"force": True}), ("renewed", {"renew_before": "23h59m57s"})):
        task = [{"name": name, CERTIFICATE: {**site, **options}}]
        wait_until_aged(tls / "site.crt", 4)
        with traffic(authority) as asked:
            dry = play(task, check=True, **settings).expect_ok()[name]
        assert (dry["outcome"], dry["revoked"], asked.posts) == (name, False, [])
        with traffic(authority) as asked:
            done = play(task, **settings).expect_ok()[name]
        way = {"issued": "/1.0/sign", "renewed": "/1.0/renew"}[name]
        assert (done["outcome"], done["revoked"]) == (name, True), done.result
        assert asked.posts == [("POST", way), ("POST", "/1.0/revoke")]
        assert listed(authority, tmp_path) == dict.fromkeys(serials, "Superseded")
        serials.append(judge(authority, tls / "site.crt", tls / "site.key").serial)
    assert len(set(serials)) == 3 and leftovers(host) == []
    foreign = sorted(path.name for path in tls.glob(".*.backup"))
    assert foreign == [".site.crt.stepca.backup", ".site.key.stepca.backup"]


@BY
def test_a_former_that_cannot_be_revoked(play, host, new_authority, by):
    """The task fails saying so; the successor stays, and the next run has nothing to do."""
    authority = new_authority(database=False)
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority, request_from=by)}}
    site = pair("site", revoke=True)
    serial = play([{"name": "make", CERTIFICATE: site}], **settings).expect_ok()["make"]["certificate"]["serial"]
    many = {"certificates": [{**site, "force": True}, pair("other")]}
    run = play([{"name": "force", CERTIFICATE: many}], **settings)
    failure = run.expect_failure(
        "1 of 2 certificates failed", "is replaced, but", "501", "Revoke it with stepca_revoke"
    )
    first, second = failure["results"]
    now = judge(authority, tls / "site.crt", tls / "site.key").serial
    assert failure.changed and first["changed"] and first["failed"] and not first["revoked"]
    assert (first["outcome"], first["certificate"]["serial"]) == ("issued", now) and now != serial
    assert (second["outcome"], second.get("failed", False)) == ("issued", False)
    again = play([{"name": "again", CERTIFICATE: site}], **settings).expect_ok()["again"]
    assert again["outcome"] == "none" and leftovers(host) == []


@BY
def test_a_former_whose_key_is_gone(play, host, new_authority, tmp_path, by):
    """With the names that the play gives it, it is revoked without the key; with others, the host's word is not enough."""
    authority = new_authority()
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority, request_from=by)}}
    made = play([{"name": "make", CERTIFICATE: {"certificates": [pair("a"), pair("b")]}}], **settings).expect_ok()
    serials = [one["certificate"]["serial"] for one in made["make"]["results"]]
    for name in ("a", "b"):
        (tls / (name + ".key")).unlink()
    entries = [pair("a", revoke=True), pair("b", sans=["other.example.com"], revoke=True)]
    run = play([{"name": "again", CERTIFICATE: {"certificates": entries}}], **settings)
    failure = run.expect_failure("is not revoked on the mere word of the host", serials[1])
    assert [one["revoked"] for one in failure["results"]] == [True, False]
    assert set(listed(authority, tmp_path)) == {serials[0]}
    judge(authority, tls / "a.crt", tls / "a.key")
    assert leftovers(host) == []
