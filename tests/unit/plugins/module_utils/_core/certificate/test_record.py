# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The record beside a certificate: what it keeps, when it is believed, and what it is never trusted with."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import timedelta

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import record
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import Authority, lab
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import NOBODY, root_only

ISSUED = "2026-07-01T12:00:00Z"


def made(**options):
    chain = lab().chain(["web.example.com", "extra.example"])
    return record.make(making.wanted(**options), "ansible", chain, [lab().root], ISSUED)


def changed(**members):
    return json.dumps(dict(json.loads(made().decode("ascii")), **members)).encode("utf-8")


def beside_of(folder):
    """A certificate's path with a record beside it, and the record's path."""
    path = folder / ".web.crt.stepca.json"
    path.write_bytes(made())
    path.chmod(0o644)
    return str(folder / "web.crt"), path


@pytest.fixture(name="beside")
def fixture_beside(tmp_path):
    return beside_of(tmp_path)


def test_the_record_lies_beside_the_certificate_and_is_hidden():
    assert record.path_of("/etc/pki/web.crt") == "/etc/pki/.web.crt.stepca.json"
    assert record.beside("web.crt") == ".web.crt.stepca.json"


def test_what_a_record_holds():
    chain = lab().chain(["web.example.com", "extra.example"])
    wanted = making.wanted(not_after="1d", not_before="2026-07-01T12:00:00Z", common_name="Web")
    text = record.make(wanted, "ansible", chain, [lab().root], ISSUED)
    assert text.endswith(b"}\n")
    assert json.loads(text.decode("ascii")) == {
        "version": 1,
        "asked": {
            "names": ["dns:web.example.com"],
            "common_name": "Web",
            "not_before": "2026-07-01T12:00:00Z",
            "not_after": "24h",
            "provisioner": "ansible",
            "template_data": None,
        },
        "given": {
            "serial": str(chain[0].serial_number),
            "names": ["dns:web.example.com", "dns:extra.example"],
            "not_before": "2026-07-01T11:59:00Z",
            "not_after": "2026-07-02T12:00:00Z",
        },
        "issued_at": ISSUED,
        "signed_at": "",
        "key_sha256": making.key_sha256(making.key()),
        "roots": making.pem(lab().root).decode("ascii"),
        "files": {"certificate_path": "/etc/pki/web.crt", "key_path": "/etc/pki/web.key"},
        "kept": [],
    }


@making.table(
    "options, files",
    {
        "derived files": (
            {"chain_path": "/c/chain", "pkcs12_path": "/c/p12", "pkcs12_password": "canary"},
            {
                "certificate_path": "/etc/pki/web.crt",
                "key_path": "/etc/pki/web.key",
                "chain_path": "/c/chain",
                "pkcs12_path": "/c/p12",
            },
        ),
        "a request and key of the user": (
            {"csr_path": "/etc/pki/web.csr"},
            {"certificate_path": "/etc/pki/web.crt", "key_path": None},
        ),
    },
)
def test_a_record_lists_the_files_that_the_task_writes_and_no_secret(options, files):
    text = made(**options)
    assert json.loads(text.decode("ascii"))["files"] == files
    assert b"canary" not in text
    assert set(record.files(record.parse(text))) == set(filter(None, files.values()))


@making.table(
    "listed, paths",
    {
        "good": ({"a": "/a", "b": "/b"}, ["/a", "/b"]),
        "relative": ({"a": "a", "b": "../b", "c": ""}, []),
        "no paths": ({"a": 7, "b": None, "c": ["/c"], "d": {"e": "/e"}}, []),
        "a list": (["/a"], []),
        "nothing": (None, []),
    },
)
def test_of_listed_files_only_absolute_paths_count(listed, paths):
    assert record.files(record.parse(changed(files=listed))) == paths
    assert record.files(None) == []


def test_data_of_a_template_is_kept_as_its_hash_only():
    data = {"b": [1, {"c": "\u00fc"}], "a": "canary"}
    text = record.asked(making.wanted(template_data=data), None)["template_data"]
    canonical = json.dumps({"a": "canary", "b": [1, {"c": "\u00fc"}]}, sort_keys=True, separators=(",", ":"))
    assert text == hashlib.sha256(canonical.encode("ascii")).hexdigest()
    assert b"canary" not in made(template_data=data)
    assert record.template_digest(None) is None
    assert record.template_digest({}) is not None


def test_when_it_was_first_issued_is_known_from_a_record_that_fits():
    chain, another = lab().chain(["web.example.com", "extra.example"]), lab().chain()
    begin = "2026-07-01T11:59:00Z"

    def told(content, chain):
        return durations.format_time(record.issued_at(record.fitting(content, chain), chain))

    assert told(record.parse(made()), chain) == ISSUED
    assert told(None, chain) == begin
    assert told(record.parse(changed(issued_at="canary")), chain) == begin
    assert told(record.parse(made()), another) == begin
    assert record.fitting(record.parse(made()), []) is None


def test_what_was_not_asked_for_is_null_in_the_record():
    asked = record.asked(making.wanted(), None)
    assert asked == {
        "names": ["dns:web.example.com"],
        "common_name": None,
        "not_before": None,
        "not_after": None,
        "provisioner": None,
        "template_data": None,
    }


def test_a_record_of_ones_own_is_believed(beside):
    assert record.read(beside[0]) == json.loads(beside[1].read_text(encoding="ascii"))


def test_no_record_is_none(tmp_path):
    assert record.read(str(tmp_path / "web.crt")) is None
    assert record.read(str(tmp_path / "missing" / "web.crt")) is None


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o622])
def test_a_record_that_others_may_write_is_not_believed(beside, mode):
    beside[1].chmod(mode)
    assert record.read(beside[0]) is None


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o444])
def test_a_record_that_only_its_owner_may_write_is_believed(beside, mode):
    beside[1].chmod(mode)
    assert record.read(beside[0]) is not None


@pytest.mark.parametrize("owner, believed", [(0, True), (1001, True), (1002, False)], ids=["root", "user", "somebody"])
def test_a_record_is_believed_from_root_and_the_user_only(beside, monkeypatch, owner, believed):
    real = os.fstat

    def fstat(descriptor):
        return os.stat_result(real(descriptor)[:4] + (owner,) + real(descriptor)[5:10])

    monkeypatch.setattr(record.os, "fstat", fstat)
    monkeypatch.setattr(record.os, "geteuid", lambda: 1001)
    assert (record.read(beside[0]) is not None) is believed


@root_only
def test_a_symbolic_link_of_somebody_else_is_not_believed(beside):
    elsewhere = beside[1].with_name("elsewhere.json")
    beside[1].rename(elsewhere)
    beside[1].symlink_to(elsewhere)
    assert record.read(beside[0]) is not None  # root's own, in a place that is root's
    os.chown(beside[1], NOBODY, -1, follow_symlinks=False)
    assert record.read(beside[0]) is None


def test_a_pipe_is_not_believed_and_not_waited_for(tmp_path):
    os.mkfifo(str(tmp_path / ".web.crt.stepca.json"))
    assert record.read(str(tmp_path / "web.crt")) is None


def test_a_folder_is_not_believed(tmp_path):
    (tmp_path / ".web.crt.stepca.json").mkdir()
    assert record.read(str(tmp_path / "web.crt")) is None


@making.table(
    "text",
    {
        "empty": b"",
        "text": b"hello",
        "binary": b"\xff\xfe",
        "null": b"null",
        "list": b"[]",
        "string": b'"text"',
        "no member": b"{}",
        "cut short": made()[:-20],
        "later version": changed(version=2),
        "version as text": changed(version="1"),
        "asked null": changed(asked=None),
        "asked list": changed(asked=[]),
        "given text": changed(given="web"),
        "key a number": changed(key_sha256=7),
        "no roots": changed(roots=None),
        "issued_at a number": changed(issued_at=0),
    },
)
def test_garbage_is_no_record(text):
    assert record.parse(text) is None


def test_a_record_of_brackets_is_no_record():
    assert record.parse(b"[" * 100000) is None


@pytest.mark.parametrize("names", [5, [{}], "text", [1]], ids=["number", "mappings", "text", "numbers"])
def test_a_record_with_impossible_names_is_no_record(names):
    asked = dict(json.loads(made().decode("ascii"))["asked"], names=names)
    assert record.parse(changed(asked=asked)) is None


def test_a_record_of_endless_size_is_not_read_whole(beside):
    beside[1].write_bytes(made() + b" " * (2 * 1024 * 1024) + b"x")
    assert record.read(beside[0]) is None


def test_a_record_fits_the_certificate_it_is_about():
    chain = lab().chain(["web.example.com", "extra.example"])
    kept = record.parse(made())
    assert record.fits(kept, chain)
    assert record.fits(kept, [lab().leaf(["web.example.com", "extra.example"], end=making.NOW + 9 * making.DAY)])
    assert not record.fits(kept, lab().chain(["web.example.com"]))
    assert not record.fits(kept, lab().chain(["web.example.com", "extra.example"], private=making.key(number=1)))
    assert not record.fits(None, chain)
    assert not record.fits(record.parse(changed(given={})), chain)


def test_only_roots_with_a_trusted_fingerprint_are_taken_from_a_record():
    foreign = Authority("Foreign", number=10).root
    kept = record.parse(changed(roots=making.pem(lab().root, foreign).decode("ascii")))
    assert record.roots(kept, [making.sha256(lab().root)]) == [lab().root]
    assert record.roots(kept, [making.sha256(lab().intermediate)]) == []
    assert record.roots(kept, []) == []
    assert record.roots(None, [making.sha256(foreign)]) == []


@pytest.mark.parametrize(
    "text", ["", "hello", "\ud800", making.key_pem(making.key()).decode()], ids=["empty", "text", "surrogate", "key"]
)
def test_a_record_without_roots_has_none(text):
    assert record.roots(record.parse(changed(roots=text)), [making.sha256(lab().root)]) == []


@making.table(
    "text, limit",
    {
        "not asked": (None, None),
        "empty": ("", None),
        "duration": ("24h", timedelta(hours=24)),
        "time": ("2030-01-31T12:00:00Z", durations.parse_time("2030-01-31T12:00:00Z", "not_after")),
        "nonsense": ("nonsense", None),
        "mapping": ({"a": 1}, None),
    },
)
def test_the_limits_that_were_asked_for(text, limit):
    assert record.asked_limit({"asked": {"not_after": text}}, "not_after") == limit


def test_a_limit_that_the_record_does_not_have_was_not_asked_for():
    assert record.asked_limit({"asked": {}}, "not_after") is None


# which backups, which bundle


def test_what_is_kept_and_what_was_made_is_listed():
    chain = lab().chain()
    digest = record.digest_of(b"bundle")
    text = record.make(making.wanted(), None, chain, [lab().root], ISSUED, ["/b", "/a"], digest)
    kept = record.parse(text)
    assert (record.kept(kept), kept["pkcs12_sha256"]) == (["/b", "/a"], hashlib.sha256(b"bundle").hexdigest())
    assert "pkcs12_sha256" not in json.loads(made())


@making.table(
    "listed, paths",
    {
        "paths": (["/a", "/b"], ["/a", "/b"]),
        "nothing": ([], []),
        "no paths": (["/a", 7, None, ["/b"]], ["/a"]),
        "no list": ({"/a": 1}, None),
        "null": (None, None),
    },
)
def test_backups_that_a_record_lists(listed, paths):
    assert record.kept(record.parse(changed(kept=listed))) == paths


def test_a_record_of_an_older_version_says_nothing_of_backups():
    content = json.loads(made())
    del content["kept"]
    assert record.kept(record.parse(json.dumps(content).encode())) is None
    assert record.kept(None) is None
