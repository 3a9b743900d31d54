# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""All certificates of a host: who knows them, what is wrong with each, and what is none for a host."""

from __future__ import annotations

import os

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.inspection import survey
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, FOREIGN, enrol
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.renewer.renewing import LATER, start


@pytest.fixture(name="host")
def fixture_host(tmp_path, monkeypatch):
    found = start(tmp_path, monkeypatch)
    found.enrol()
    return found


def look(host, named=(), folders=(), now=pki.NOW, config=None):
    """(rows by the name of their file, problems)."""
    prints = [pki.fingerprint(CA.root)]
    config = str(config or host.config)
    found = survey.look(config, str(host.state), list(named), [str(one) for one in folders], None, prints, now)
    return {os.path.basename(row["certificate_path"]): row for row in found["certificates"]}, found["problems"]


def put_foreign(path, name="b.example"):
    path.write_text(FOREIGN.sign(pki.request_pem(pki.new_key(), [name])), encoding="ascii")


def test_each_is_known_by_the_nearest(host):
    """Of the renewer, of the play, of nobody; each once, whatever files are made of it."""
    other = host.tls.parent / "other"
    other.mkdir()
    enrol(other)
    (host.tls / "leaf.pem").write_bytes((host.tls / "site.crt").read_bytes().partition(b"-----END")[0])
    (host.tls / "again.crt").write_bytes((host.tls / "site.crt").read_bytes())
    (host.tls / "root.crt").write_text(CA.root_pem, encoding="ascii")
    put_foreign(host.tls / "theirs.pem")
    put_foreign(host.tls / "theirs.txt")
    put_foreign(host.tls / ".hidden.pem")
    os.mkfifo(host.tls / "pipe.pem")
    (host.tls / "large.pem").write_bytes(b" " * (survey.LARGEST_FILE + 1))
    played = {"certificate_path": str(other / "site.crt"), "key_path": str(other / "site.key")}
    named = [played, {"certificate_path": str(host.tls / "site.crt")}]
    found = survey.look(str(host.config), str(host.state), named, [], None, [pki.fingerprint(CA.root)], pki.NOW)
    seen = [(row["certificate_path"], row["known_by"], row["state"]) for row in found["certificates"]]
    assert seen == [
        (str(host.tls / "site.crt"), "renewer", "ok"),
        (str(other / "site.crt"), "play", "ok"),
        (str(host.tls / "theirs.pem"), "folder", "ok"),
    ]
    assert found["problems"] == []


def test_what_is_wrong_is_a_row_and_not_the_end(host):
    """A missing one, a relative path, a threshold that is none, a configuration of another version."""
    host.edit(lambda content: content.update(version=9))
    named = [
        {"certificate_path": str(host.tls / "never.crt")},
        {"certificate_path": "relative.crt"},
        {"certificate_path": str(host.tls / "odd.crt"), "renew_before": "soon"},
        {},
    ]
    rows, problems = look(host, named)
    words = {
        host.path().name: "no configuration of version 1",
        "never.crt": "is missing.",
        "relative.crt": "not an absolute path",
        "odd.crt": "renew_before",
        "None": "not an absolute path",
    }
    assert set(rows) == set(words) and problems == []
    assert [name for name, text in words.items() if text not in rows[name]["problem"]] == []
    assert {row["state"] for row in rows.values()} == {"failing"}


def test_time_and_key_and_chain_are_judged(host):
    """Of a certificate that only a play knows, as of the renewer's."""
    nothing, path = host.tls.parent / "nothing", str(host.tls / "site.crt")
    rows, _problems = look(host, [{"certificate_path": path, "key_path": "/nowhere/site.key"}], config=nothing)
    assert rows["site.crt"]["state"] == "failing" and "belongs to another certificate" in rows["site.crt"]["problem"]
    rows, _problems = look(host, [{"certificate_path": path}], now=LATER, config=nothing)
    assert (rows["site.crt"]["state"], rows["site.crt"]["problem"]) == ("due", "")
    trust = ([FOREIGN.root], [pki.fingerprint(FOREIGN.root)])
    found = survey.look(str(nothing), "/nowhere", [{"certificate_path": path}], [], *trust, pki.NOW)
    assert "does not lead to a trusted root" in found["certificates"][0]["problem"]


def test_folders(host, monkeypatch, tmp_path):
    """Those that are named are looked into, too; what cannot be, and where it stops, is said."""
    more = tmp_path / "more"
    more.mkdir()
    for number in range(4):
        put_foreign(more / ("%d.crt" % number), "n%d.example" % number)
    monkeypatch.setattr(survey, "MOST_FILES", 3)
    rows, problems = look(host, folders=[more, tmp_path / "nowhere", host.tls / "site.key"])
    assert set(rows) == {"site.crt", "0.crt", "1.crt", "2.crt"} and rows["0.crt"]["known_by"] == "folder"
    assert len(problems) == 3 and any("%s holds 1 more files" % more in text for text in problems)
    _rows, problems = look(host, config=host.tls / "site.key")
    assert "site.key" in problems[0]
