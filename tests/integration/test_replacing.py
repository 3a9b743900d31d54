# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Files of a set while they are replaced: by two plays at once, before the eyes of others, through links."""

from __future__ import annotations

import os
import threading

import pytest

from tests.integration.faults import FaultProxy, believed_context, head
from tests.integration.judging import judge, leftovers, mode, openssl
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, pair
from tests.integration.rows import Row, check_failures, run_unchanged, tasks
from tests.integration.support import Playbooks, enrolment
from tests.integration.watching import watching

pytestmark = pytest.mark.oldest_core

PASSWORD = "only for this test"


def everything(name, **options):
    """A pair and all that is made of it."""
    outputs = {word + "_path": TLS + "%s.%s" % (name, word) for word in ("chain", "leaf", "root", "combined", "pkcs12")}
    # The one form that the oldest library on a host can make.
    outputs.update(pkcs12_password=PASSWORD, pkcs12_encryption="compatible")
    return pair(name, **outputs, backup=True, **options)


def assert_one_set(authority, tls, name):
    """All files are of one certificate."""
    seen = judge(authority, tls / (name + ".crt"), tls / (name + ".key"))
    chain, key = (tls / (name + ".crt")).read_text(), (tls / (name + ".key")).read_text()
    assert (tls / (name + ".combined")).read_text() == key + chain
    assert (tls / (name + ".leaf")).read_text() + (tls / (name + ".chain")).read_text() == chain
    bundle = ["pkcs12", "-in", tls / (name + ".pkcs12"), "-passin", "pass:" + PASSWORD, "-nodes"]
    in_bundle = openssl(*bundle, "-clcerts", "-nokeys")
    assert in_bundle[in_bundle.index("-----BEGIN") :] == (tls / (name + ".leaf")).read_text()
    return seen


@pytest.mark.parametrize("request_from", ["controller", "host"])
def test_who_is_overtaken_finds_nothing_left_to_do(play, lab, core, host, authority, tmp_path, request_from):
    """While a play waits for the CA, another one, or the host's own renewer, does all that it wants."""
    task = {"name": "issue", CERTIFICATE: {**enrolment(authority, request_from=request_from), **pair("site")}}
    other = Playbooks(tmp_path / "other", core, lab.collections, [host])
    faster = []

    def overtake(handler, proxy, ask):
        served = ask()
        faster.append(other([task]).expect_ok()["issue"])
        head(handler, served.status, served.content_type, len(served.content))
        handler.wfile.write(served.content)

    with FaultProxy(authority, believed_context(authority, tmp_path), "POST /1.0/sign", overtake) as proxy:
        slow = {
            "name": "issue",
            CERTIFICATE: {**task[CERTIFICATE], "ca_url": proxy.url, "timeout": "50s", "retries": 0},
        }
        result = play([slow]).expect_ok()["issue"]
    tls = host.path("/etc/tls")
    seen = judge(authority, tls / "site.crt", tls / "site.key")
    assert (faster[0]["outcome"], faster[0]["certificate"]["serial"]) == ("issued", seen.serial)
    assert (result.changed, result["outcome"], result["reasons"]) == (False, "none", [])
    assert result["certificate"]["serial"] == seen.serial and leftovers(host) == []


def test_two_plays_at_once(play, lab, core, host, authority, tmp_path):
    """Both replace the same sets with other names: whoever comes second waits or says so, and nothing is mixed."""
    names = ["one", "two", "three", "four"]
    defaults = {GROUP: enrolment(authority)}
    tls = host.path("/etc/tls")
    usual = [{"name": "usual", CERTIFICATE: {"certificates": [everything(one) for one in names]}}]
    play(usual, module_defaults=defaults).expect_ok()
    plays = {word: Playbooks(tmp_path / word, core, lab.collections, [host]) for word in ("left", "right")}
    runs = {}

    def run(word):
        wanted = [everything(one, sans=["%s.%s.example.com" % (word, one)]) for one in names]
        content = [{"name": "new", CERTIFICATE: {"certificates": wanted}, "ignore_errors": True}] * 3
        runs[word] = plays[word](content, module_defaults=defaults)

    with watching(tls) as seen:
        threads = [threading.Thread(target=run, args=(word,)) for word in plays]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen.looks > 100 and seen.readable_by_others(".key", ".combined", ".pkcs12") == {}
    installed = {one: set() for one in names}
    for word, done in runs.items():
        assert "Traceback" not in done.output, done
        for result in [result for task in done.tasks for result in task["results"]]:
            if result.get("failed"):
                assert "another run or person was faster. Run again." in result["msg"], done
            else:
                name = os.path.basename(result["certificate_path"])[:-4]
                installed[name].add("DNS:%s.%s.example.com" % (word, name))
    for name in names:
        assert assert_one_set(authority, tls, name).names[0] in installed[name]
    play(usual, module_defaults=defaults).expect_ok()
    assert [assert_one_set(authority, tls, name).names for name in names] == [
        ["DNS:%s.example.com" % name] for name in names
    ]
    assert [name for name in leftovers(host) if not name.endswith(".stepca.backup")] == []


def test_nobody_else_ever_reads_a_key(play, host, authority):
    """Made, replaced, loosened by somebody and mended, removed: with a umask that forbids nothing."""
    defaults = {GROUP: enrolment(authority)}
    tls = host.path("/etc/tls")
    content = [
        {"name": "make", CERTIFICATE: everything("site")},
        {"name": "replace", CERTIFICATE: everything("site", sans=["other.example.com"])},
        {"name": "force", CERTIFICATE: everything("site", sans=["other.example.com"], force=True)},
        {"name": "remove", CERTIFICATE: {"certificate_path": TLS + "site.crt", "state": "absent"}},
    ]
    mask = os.umask(0)
    try:
        with watching(tls) as seen:
            run = play(content, module_defaults=defaults).expect_ok()
    finally:
        os.umask(mask)
    assert [task["outcome"] for task in run.tasks] == ["issued", "issued", "issued", "removed"]
    private = (".key", ".combined", ".pkcs12")
    assert seen.looks > 100 and seen.readable_by_others(*private) == {}
    for word in private:
        assert "site" + word in seen.modes and any(name.startswith(".site" + word) for name in seen.modes)
    assert seen.readable_by_others("site.crt"), "the watcher does see what others may read"
    assert sorted(path.name for path in tls.iterdir()) == sorted(
        ".site.%s.stepca.backup" % word for word in ("crt", "key", "chain", "leaf", "root", "combined", "pkcs12")
    )


@pytest.mark.one_core
def test_a_folder_that_everybody_may_write_to(play, host, authority):
    """There, others could put their own files in place of ours; the sticky bit forbids it."""
    tls = host.path("/etc/tls")
    for name in ("open", "sticky"):
        (tls / name).mkdir()
    (tls / "open").chmod(0o777)
    (tls / "sticky").chmod(0o1777)
    words = ["Everybody may write to the folder %s" % (tls / "open"), "Make it 0755 or stricter"]
    apart = {"certificate_path": TLS + "site.crt", "key_path": TLS + "open/site.key"}
    rows = [Row("both", words, pair("open/site", sans=["site.example.com"])), Row("key", words, apart)]
    run = run_unchanged(play, host, tasks(rows, enrolment(authority)))
    check_failures(run, rows)
    sticky = {**pair("sticky/site", sans=["site.example.com"]), **enrolment(authority)}
    play([{"name": "sticky", CERTIFICATE: sticky}]).expect_ok()
    judge(authority, tls / "sticky" / "site.crt", tls / "sticky" / "site.key")


def test_links_are_followed(play, host, authority):
    """Through a chain of links, one of them to a folder: the files at its end are replaced, the links stay."""
    tls, real = host.path("/etc/tls"), host.path("/etc/real")
    real.mkdir()
    (tls / "folder").symlink_to(real, target_is_directory=True)
    for word in ("crt", "key"):
        (tls / ("middle." + word)).symlink_to("folder/end." + word)
        (tls / ("site." + word)).symlink_to(tls / ("middle." + word))
    links = {path: os.readlink(path) for path in tls.iterdir()}
    defaults = {GROUP: enrolment(authority)}
    content = [
        {"name": "make", CERTIFICATE: pair("site", backup=True)},
        {"name": "again", CERTIFICATE: pair("site", backup=True)},
        {"name": "replace", CERTIFICATE: pair("site", backup=True, sans=["other.example.com"])},
    ]
    run = play(content, module_defaults=defaults).expect_ok()
    assert [task["outcome"] for task in run.tasks] == ["issued", "none", "issued"]
    assert judge(authority, real / "end.crt", real / "end.key").names == ["DNS:other.example.com"]
    assert {path: os.readlink(path) for path in tls.iterdir()} == links
    assert (mode(real / "end.key"), mode(real / "end.crt")) == ("0600", "0644")
    expected = [".end.crt.stepca.backup", ".end.crt.stepca.json", ".end.key.stepca.backup", "end.crt", "end.key"]
    assert sorted(path.name for path in real.iterdir()) == expected
