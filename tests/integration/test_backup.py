# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What is kept of former files, links that are followed, and SELinux options where there is no SELinux."""

from __future__ import annotations

import os
import secrets
import subprocess

import pytest

from tests.integration.derived import ENDINGS, all_files, blocks, judge_files
from tests.integration.judging import judge, leftovers, mode, owner, see, somebody, traffic, tree, wait_until_aged
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, outcomes, pair
from tests.integration.support import enrolment

pytestmark = pytest.mark.oldest_core


def kept(folder):
    """{name of a file: content of its backup}."""
    found = {}
    for path in folder.glob(".*.stepca.backup"):
        found[path.name[1 : -len(".stepca.backup")]] = path.read_bytes()
    return found


def contents(folder, names):
    """What these files hold."""
    return {name: (folder / name).read_bytes() for name in names}


def foreign_pair(tls, name):
    """A pair that no CA of ours signed, and a bundle of it."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=%s.example.com" % name]
    command += ["-addext", "subjectAltName=DNS:%s.example.com" % name, "-days", "30"]
    command += ["-keyout", tls / (name + ".key"), "-out", tls / (name + ".crt")]
    subprocess.run(command, check=True, capture_output=True)
    bundle = (tls / (name + ".key")).read_bytes() + (tls / (name + ".crt")).read_bytes()
    (tls / (name + "-all.pem")).write_bytes(bundle)
    (tls / (name + "-all.pem")).chmod(0o600)


def test_the_former_set_is_kept(play, host, core, authority):
    """With backup: all that is replaced, the last one only, with owner and mode; a key that stays is not copied."""
    tls = host.path("/etc/tls")
    user, group = somebody()
    owned = {"key_owner": user, "key_group": group, "key_mode": "0440", "backup": True}
    site = pair("site", **all_files("site", core, **owned))
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"password": secrets.token_hex(8)}}
    names = ["site.crt", "site.key"] + ["site" + ending for ending in ENDINGS.values()]
    made = play([{"name": "make", CERTIFICATE: site}], **settings).expect_ok()["make"]
    assert (made["backup_files"], kept(tls)) == ([], {})
    for name, options in (
        ("force", {"force": True}),
        ("twice", {"force": True}),
        ("renew", {"renew_before": "23h59m57s"}),
    ):
        before = contents(tls, names)
        wait_until_aged(tls / "site.crt", 4)
        done = play([{"name": name, CERTIFICATE: {**site, **options}}], **settings).expect_ok()[name]
        assert done["outcome"] == ("renewed" if name == "renew" else "issued")
        expected = [one for one in names if name != "renew" or one != "site.key"]
        assert sorted(done["backup_files"]) == sorted(str(tls / (".%s.stepca.backup" % one)) for one in expected)
        assert {one: kept(tls)[one] for one in expected} == {one: before[one] for one in expected}
    backup = tls / ".site.key.stepca.backup"
    assert (mode(backup), owner(backup)) == ("0440", (user, group))
    before = tree(tls)
    again = play([{"name": "again", CERTIFICATE: site}], **settings).expect_ok()["again"]
    assert (again.changed, tree(tls)) == (False, before)
    assert [path.name for path in tls.glob(".*stepca-*")] == []


def test_what_this_authority_did_not_issue_is_kept(play, host, authority):
    """Whatever backup says: a foreign pair, a foreign bundle, a key without a certificate; our own never."""
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority)}}
    for name in ("foreign", "key-only", "certificate-only"):
        foreign_pair(tls, name)
    (tls / "key-only.crt").unlink()
    (tls / "certificate-only.key").unlink()
    entries = [
        pair("foreign", combined_path=TLS + "foreign-all.pem"),
        pair("key-only"),
        pair("certificate-only"),
        pair("own"),
    ]
    names = ["foreign.crt", "foreign.key", "foreign-all.pem", "key-only.key", "certificate-only.crt"]
    task = {CERTIFICATE: {"certificates": entries}}
    before, whole = contents(tls, names), tree(tls)
    dry = play([{"name": "make", **task}], check=True, **settings).expect_ok()["make"]
    assert tree(tls) == whole and [one["backup_files"] for one in dry["results"]] == [[]] * 4
    run = play([{"name": "make", **task}], **settings).expect_ok()["make"]
    assert set(outcomes(run).values()) == {"issued"} and kept(tls) == before
    listed = [path for one in run["results"] for path in one["backup_files"]]
    assert sorted(listed) == sorted(str(tls / (".%s.stepca.backup" % name)) for name in names)
    for name in ("foreign", "key-only", "certificate-only", "own"):
        judge(authority, tls / (name + ".crt"), tls / (name + ".key"))
    for entry in entries:
        entry["force"] = True
    (tls / "own.crt").unlink()  # the key is known by the record
    run = play([{"name": "force", **task}], **settings).expect_ok()["force"]
    assert [one["backup_files"] for one in run["results"]] == [[]] * 4 and kept(tls) == before

    # A foreign bundle in the place of one of ours is replaced without the CA, and kept too.
    (tls / "foreign-all.pem").write_bytes(before["foreign-all.pem"])
    (tls / ".foreign-all.pem.stepca.backup").unlink()
    entries[0]["force"] = False
    with traffic(authority) as asked:
        mended = play([{"name": "mend", CERTIFICATE: entries[0]}], **settings).expect_ok()["mend"]
    assert (mended["outcome"], asked) == ("files", [])
    assert mended["backup_files"] == [str(tls / ".foreign-all.pem.stepca.backup")] and kept(tls) == before
    assert "holds another key" in mended["reasons"][0]
    assert blocks(tls / "foreign-all.pem")[1:] == blocks(tls / "foreign.crt")


def test_links_are_followed(play, host, core, authority):
    """Relative, absolute, to a file not made yet, by way of a link to a folder: links stay, their targets are replaced."""
    tls, live = host.path("/etc/tls"), host.path("/etc/live")
    live.mkdir()
    (host.path("/etc") / "current").symlink_to("live")
    targets = {"site.crt": "../live/a.crt", "site.key": live / "a.key", "site-all.pem": "../current/a.pem"}
    for name, target in targets.items():
        (tls / name).symlink_to(target)
    settings = {"module_defaults": {GROUP: enrolment(authority)}, "variables": {"password": secrets.token_hex(8)}}
    site = pair("site", **all_files("site", core))
    run = play([{"name": "make", CERTIFICATE: site}, {"name": "again", CERTIFICATE: site}], **settings).expect_ok()
    assert (run["make"]["outcome"], run["again"]["outcome"]) == ("issued", "none")
    assert run["make"]["certificate"]["path"] == str(live / "a.crt")
    first = see(tls / "site.crt").serial
    play([{"name": "force", CERTIFICATE: {**site, "force": True}}], **settings).expect_ok()
    for name, target in targets.items():
        assert (tls / name).is_symlink() and os.readlink(tls / name) == str(target)
    assert sorted(path.name for path in live.iterdir()) == [".a.crt.stepca.json", "a.crt", "a.key", "a.pem"]
    assert judge(authority, tls / "site.crt", tls / "site.key").serial != first
    assert mode(live / "a.key") == mode(live / "a.pem") == "0600" and leftovers(host) == []
    judge_files(authority, tls, "site", settings["variables"]["password"])
    before = tree(host.path("/etc"))
    direct = {
        **site,
        "certificate_path": "{{ host_root }}/etc/current/a.crt",
        "key_path": "{{ host_root }}/etc/live/a.key",
    }
    run = play([{"name": "direct", CERTIFICATE: direct}], **settings).expect_ok()
    assert (run["direct"]["outcome"], tree(host.path("/etc"))) == ("none", before)
    (tls / "site-leaf.pem").unlink()
    (tls / "site-leaf.pem").symlink_to("site-chain.pem")
    failed = play([{"name": "one file", CERTIFICATE: site}], **settings)
    failed.expect_failure("chain_path and leaf_path resolve to the same file", str(tls / "site-chain.pem"))


def test_selinux_options_without_selinux(play, host, authority):
    """Accepted, flat and in a list, and no drift."""
    context = {"seuser": "system_u", "serole": "object_r", "setype": "cert_t", "selevel": "s0"}
    many = {"certificates": [pair("a", setype="cert_t"), pair("b")], **context}
    content = [
        {"name": "flat", CERTIFICATE: pair("site", **context)},
        {"name": "flat again", CERTIFICATE: pair("site", **context)},
        {"name": "many", CERTIFICATE: many},
        {"name": "many again", CERTIFICATE: many},
    ]
    run = play(content, module_defaults={GROUP: enrolment(authority)}).expect_ok()
    assert [run[task["name"]].changed for task in content] == [True, False, True, False]
