# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""State absent: all of a certificate goes, once, and nothing that is not of it; with revoke it is revoked first."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.integration.derived import all_files
from tests.integration.judging import leftovers, openssl, see, traffic, tree
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, outcomes, pair
from tests.integration.support import connection, enrolment
from tests.integration.test_revoke import listed
from tools.authority import Provisioner

pytestmark = pytest.mark.oldest_core


def gone(name, **options):
    """The options of a removal."""
    return {"certificate_path": TLS + name + ".crt", "state": "absent", **options}


def names(folder):
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_all_of_it_goes(play, host, core, authority):
    """By its certificate_path alone: what the record lists, staged files, a link and what it leads to; backups stay."""
    tls, live = host.path("/etc/tls"), host.path("/etc/live")
    live.mkdir()
    (tls / "site.crt").symlink_to("../live/site.pem")
    (tls / "site.key").symlink_to(live / "key.pem")
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"password": secrets.token_hex(8)}}
    site = pair("site", **all_files("site", core, backup=True))
    made = [
        {"name": "other", CERTIFICATE: pair("other")},
        {"name": "make", CERTIFICATE: site},
        {"name": "force", CERTIFICATE: {**site, "force": True}},
    ]
    serial = play(made, **settings).expect_ok()["force"]["certificate"]["serial"]
    (live / ".key.pem.stepca-0123456789abcdef").write_text("left by a run", encoding="ascii")
    (live / ".site.pem.stepca-old").write_text("left by a run", encoding="ascii")
    (tls / "neighbour").write_text("not of it", encoding="ascii")
    kept = names(tls), names(live)

    removal = [{"name": "gone", CERTIFICATE: gone("site")}]
    before = tree(host.path("/etc"))
    with traffic(authority) as asked:
        dry = play(removal, check=True, diff=True, **settings).expect_ok()["gone"]
        assert tree(host.path("/etc")) == before
        run = play([*removal, {"name": "again", CERTIFICATE: gone("site")}], diff=True, **settings).expect_ok()
    assert asked == []
    done, again = run["gone"], run["again"]
    assert (dry["outcome"], done["outcome"], again["outcome"]) == ("removed", "removed", "none")
    assert (dry.changed, done.changed, again.changed) == (True, True, False)
    assert dry["reasons"] == done["reasons"] and again["reasons"] == []
    assert done["certificate"]["serial"] == dry["certificate"]["serial"] == serial
    assert again["certificate"] is None and (done["revoked"], done["ca_url"]) == (False, None)
    assert done["diff"]["before"]["serial"] == serial and done["diff"]["after"] == {}

    backups = [name for name in kept[0] + kept[1] if name.endswith(".stepca.backup")]
    assert len(backups) == 7 and sorted(path.rpartition("/")[2] for path in done["backup_files"]) == sorted(backups)
    assert [name for name in names(live) if name not in backups] == []
    own = [".other.crt.stepca.json", "neighbour", "other.crt", "other.key"]
    assert [name for name in names(tls) if name not in backups] == own
    gone_files = {str(live / name) for name in kept[1]} | {str(tls / name) for name in kept[0]}
    gone_files -= {str(path) for name in own + backups for path in (tls / name, live / name)}
    assert gone_files == {reason.partition(" is there")[0] for reason in done["reasons"]}
    assert see(tls / "other.crt").names == ["DNS:other.example.com"]


def test_what_stays(play, host, authority):
    """A request that the user brought, its key; without a record, or with one that others may write, what nobody names."""
    tls = host.path("/etc/tls")
    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=brought.example.com", "-addext",
            "subjectAltName=DNS:brought.example.com", "-keyout", tls / "brought.key", "-out", tls / "brought.csr")  # fmt: skip
    brought = pair("brought", csr_path=TLS + "brought.csr")
    settings = {"module_defaults": {GROUP: enrolment(authority)}}
    made = {"certificates": [brought, pair("lost"), pair("forged"), pair("broken"), pair("half")]}
    play([{"name": "make", CERTIFICATE: made}], **settings).expect_ok()
    (tls / ".lost.crt.stepca.json").unlink()
    record = tls / ".forged.crt.stepca.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    content["files"]["chain_path"] = str(tls / "neighbour")
    record.write_text(json.dumps(content), encoding="utf-8")
    record.chmod(0o666)
    (tls / "neighbour").write_text("not of it", encoding="ascii")
    (tls / ".broken.crt.stepca.json").write_text("{", encoding="ascii")
    (tls / "broken.crt").write_text("trust me", encoding="ascii")
    (tls / "half.crt").unlink()  # a removal that was interrupted
    removals = [gone("brought", key_path=TLS + "brought.key", csr_path=TLS + "brought.csr")]
    removals += [gone("lost"), gone("forged"), gone("broken", key_path=TLS + "broken.key"), gone("half"), gone("never")]
    removals += [gone("nowhere/at-all")]
    task = {CERTIFICATE: {"certificates": removals}}
    with traffic(authority) as asked:
        run = play([{"name": "gone", **task}, {"name": "again", **task}], **settings).expect_ok()
    expected = dict.fromkeys(outcomes(run["gone"]), "removed") | {"never": "none", "at-all": "none"}
    assert outcomes(run["gone"]) == expected and asked == []
    assert set(outcomes(run["again"]).values()) == {"none"} and not run["again"].changed
    assert names(tls) == ["brought.csr", "brought.key", "forged.key", "lost.key", "neighbour"]


@pytest.mark.parametrize("by", ["controller", "host"])
def test_revoked_before_it_goes(play, host, new_authority, tmp_path, by):
    """On the CA's list, with its reason; check mode asks for nothing; what was revoked before goes all the same."""
    authority = new_authority()
    tls = host.path("/etc/tls")
    stranger = new_authority(Provisioner("ansible", rounds=100_000))
    settings = {"module_defaults": {GROUP: enrolment(authority, request_from=by)}}
    made = [
        {"name": "foreign", CERTIFICATE: pair("foreign", **enrolment(stranger))},
        {"name": "make", CERTIFICATE: {"certificates": [pair("a"), pair("b"), pair("lost"), pair("recordless")]}},
        {"name": "revoke", "privatepki.stepca.stepca_revoke": {"certificate_path": TLS + "b.crt"}},
    ]
    run = play(made, **settings).expect_ok()
    serials = [one["certificate"]["serial"] for one in run["make"]["results"]]
    (tls / ".recordless.crt.stepca.json").unlink()

    removals = [
        gone("a", revoke=True, reason="cessationOfOperation"),
        gone("b", revoke=True),
        gone("never", revoke=True),
    ]
    removals += [gone("recordless", key_path=TLS + "recordless.key", revoke=True), gone("foreign", revoke=True)]
    task = {CERTIFICATE: {"certificates": removals}}
    before = tree(tls)
    with traffic(authority) as asked:
        dry = play([{"name": "gone", **task}], check=True, **settings).expect_ok()["gone"]
    assert (asked.posts, tree(tls)) == ([], before)
    run = play([{"name": "gone", **task}, {"name": "again", **task}], **settings).expect_ok()
    expected = {"a": "removed", "b": "removed", "never": "none", "recordless": "removed", "foreign": "removed"}
    assert outcomes(dry) == outcomes(run["gone"]) == expected and not run["again"].changed
    assert [one["revoked"] for one in run["gone"]["results"]] == [True, True, False, True, False]
    assert "foreign.crt is removed, but not revoked: this CA did not issue it" in " ".join(run["gone"]["warnings"])
    found = listed(authority, tmp_path)
    assert found == {serials[0]: "Cessation Of Operation", serials[1]: "", serials[3]: ""}
    assert names(tls) == [".lost.crt.stepca.json", "lost.crt", "lost.key"]

    # Nobody's certificate is revoked on the word of a host that cannot show its key.
    (tls / "lost.key").unlink()
    before = tree(tls)
    failed = play([{"name": "gone", CERTIFICATE: gone("lost", revoke=True)}], **settings)
    failed.expect_failure("is not revoked on the mere word of the host", serials[2], "stepca_revoke")
    assert (tree(tls), listed(authority, tmp_path)) == (before, found)


@pytest.mark.parametrize("by", ["controller", "host"])
def test_what_cannot_be_revoked_stays(play, host, new_authority, by):
    """No database, nobody who vouches, no answer: the task fails, and the files are as they were."""
    authority = new_authority(database=False)
    tls = host.path("/etc/tls")
    play([{"name": "make", CERTIFICATE: pair("site", **enrolment(authority))}]).expect_ok()
    before = tree(tls)
    removal = gone("site", revoke=True, request_from=by, retries=0)
    content = [
        {"name": "refused", CERTIFICATE: {**removal, **enrolment(authority)}},
        {"name": "nobody", CERTIFICATE: {**removal, **connection(authority)}},
    ]
    run = play([{**task, "ignore_errors": True} for task in content]).expect_ok()
    run.expect_failure("501", "Revocation needs the CA's database", name="refused")
    run.expect_failure("A certificate is to be revoked, and no option says who vouches", name="nobody")
    authority.stop()
    key = authority.provisioner("ansible")
    alone = {"provisioner": "ansible", "provisioner_key": key.jwk}
    lost = play([{"name": "lost", CERTIFICATE: {**removal, **connection(authority), **alone}}])
    lost.expect_failure("No answer from the CA", "Connection refused")
    assert tree(tls) == before and leftovers(host) == []
