# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What is told of a certificate by those who only look."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import info, record
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError, OptionError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import status
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, FOREIGN, enrol
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making

KEYS = {"exists", "certificate", "key_matches", "chain_ok", "days_left", "due", "revoked"}


def look(folder, **more):
    """As the module asks."""
    told = {"key_path": None, "renew_before": durations.Share(0.33), "roots": [CA.root], "now": pki.NOW}
    told.update(more)
    return info.look(
        str(folder / "site.crt"),
        told["key_path"],
        told["renew_before"],
        told["roots"],
        told.get("fingerprints", [CA.fingerprint]),
        told["now"],
    )


def test_a_good_certificate(tmp_path):
    facts = enrol(tmp_path).certificate
    before = pki.snapshot(tmp_path)
    found = look(tmp_path, key_path=str(tmp_path / "site.key"))
    assert set(found) == KEYS | {"needs_roots", "problem"} and found["problem"] is None
    assert (found["exists"], found["key_matches"], found["chain_ok"], found["due"]) == (True, True, True, False)
    assert (found["certificate"], found["days_left"], found["revoked"]) == (facts, 1.0, None)
    assert found["needs_roots"] is False and pki.snapshot(tmp_path) == before


@pytest.mark.parametrize("content", [None, b"", b"rubbish", pki.key_pem(pki.new_key())])
def test_where_there_is_none_all_is_null_but_due(tmp_path, content):
    if content is not None:
        (tmp_path / "site.crt").write_bytes(content)
    found = look(tmp_path, key_path=str(tmp_path / "site.key"))
    assert {name: found[name] for name in KEYS} == dict(dict.fromkeys(KEYS), exists=False, due=True)


@pytest.mark.parametrize(
    "hours, renew_before, days_left, due",
    [
        (12, durations.Share(0.33), 0.5, False),
        (17, durations.Share(0.33), 0.2917, True),
        (17, timedelta(hours=6), 0.2917, False),
        (30, durations.Share(0.33), -0.25, True),
        (30, durations.Share(0.0), -0.25, True),
    ],
)
def test_the_days_that_are_left(tmp_path, hours, renew_before, days_left, due):
    enrol(tmp_path)
    found = look(tmp_path, renew_before=renew_before, now=pki.NOW + timedelta(hours=hours))
    assert (found["days_left"], found["due"], found["chain_ok"]) == (days_left, due, True)


def test_a_root_that_ends_before_the_leaf_ends_its_life(tmp_path):
    """For the row of status, metrics and report, too."""
    ending = making.Authority("Ending", number=220, root_end=9 * making.HOUR)
    path = tmp_path / "ending.crt"
    path.write_bytes(making.pem(*ending.chain()))

    def seen(hours):
        known = [
            None,
            durations.Share(0.5),
            [ending.root],
            [making.sha256(ending.root)],
            making.NOW + hours * making.HOUR,
        ]
        return info.look(str(path), *known), status.look_at_files(str(path), *known)

    found, row = seen(3)
    assert (found["days_left"], found["due"], found["chain_ok"]) == (0.25, False, True)
    assert (row["days_left"], row["state"], row["not_after"]) == (0.25, "ok", "2026-07-01T21:00:00Z")
    assert row["renew_at"] == found["certificate"]["renew_at"] == "2026-07-01T16:29:30Z"
    assert seen(5)[1]["state"] == "due"
    found, row = seen(10)
    assert (found["chain_ok"], row["state"]) == (False, "expired")


@pytest.mark.parametrize(
    "content", [None, b"rubbish", pki.key_pem(pki.new_key())], ids=["missing", "rubbish", "another"]
)
def test_a_key_that_does_not_belong_to_it(tmp_path, content):
    enrol(tmp_path)
    (tmp_path / "site.key").unlink()
    if content:
        (tmp_path / "site.key").write_bytes(content)
    assert look(tmp_path, key_path=str(tmp_path / "site.key"))["key_matches"] is False


def test_a_link_to_the_key_is_followed(tmp_path):
    enrol(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "site.key")
    assert look(tmp_path, key_path=str(tmp_path / "link"))["key_matches"] is True


def test_what_cannot_be_looked_at_is_said(tmp_path):
    enrol(tmp_path)
    with pytest.raises(OptionError, match="key_path: 'site.key' is not an absolute path"):
        look(tmp_path, key_path="site.key")
    (tmp_path / "site.key").write_bytes(pki.key_pem(pki.new_key(), b"password"))
    with pytest.raises(HostFileError, match="is encrypted with a password"):
        look(tmp_path, key_path=str(tmp_path / "site.key"))


@pytest.mark.parametrize(
    "roots, kept, chain_ok, needs_roots",
    [
        ([CA.root], False, True, False),
        ([FOREIGN.root], False, False, False),
        (None, True, True, False),
        (None, False, None, True),
    ],
    ids=["known", "of others", "in the record", "nowhere"],
)
def test_the_chain_is_judged_by_the_roots_that_are_known(tmp_path, roots, kept, chain_ok, needs_roots):
    enrol(tmp_path)
    if not kept:
        os.unlink(record.path_of(str(tmp_path / "site.crt")))
    found = look(tmp_path, roots=roots)
    assert (found["chain_ok"], found["needs_roots"]) == (chain_ok, needs_roots)


def test_a_root_that_the_record_lacks_is_asked_for_before_the_chain_is_called_bad(tmp_path):
    enrol(tmp_path)
    both = [CA.fingerprint, FOREIGN.fingerprint]
    chain = FOREIGN.sign(pki.request_pem(pki.new_key(), ["a.example"]))
    (tmp_path / "site.crt").write_text(chain, encoding="ascii")
    assert look(tmp_path, roots=None, fingerprints=both)["needs_roots"] is True
    assert look(tmp_path, roots=[CA.root, FOREIGN.root], fingerprints=both)["chain_ok"] is True


# what is no PEM


def write(folder, content):
    folder.mkdir(exist_ok=True)
    (folder / "site.crt").write_bytes(content)


@pytest.fixture(name="chain")
def fixture_chain(tmp_path):
    enrol(tmp_path)
    return x509.load_pem_x509_certificates((tmp_path / "site.crt").read_bytes())


def test_der_is_read_and_named(tmp_path, chain):
    before = look(tmp_path)
    write(tmp_path, chain[0].public_bytes(serialization.Encoding.DER))
    found = look(tmp_path, key_path=str(tmp_path / "site.key"))
    assert (found["exists"], found["certificate"], found["key_matches"]) == (True, before["certificate"], True)
    assert found["chain_ok"] is False and found["problem"].startswith(
        str(tmp_path / "site.crt") + " is a certificate in DER, which most services do not read: `openssl x509"
    )


@pytest.mark.parametrize("encoding", [serialization.Encoding.DER, serialization.Encoding.PEM])
def test_pkcs7_is_read_and_named(tmp_path, chain, encoding):
    before = look(tmp_path)
    write(tmp_path, pkcs7.serialize_certificates(chain[::-1], encoding))
    found = look(tmp_path)
    assert (found["exists"], found["certificate"], found["chain_ok"]) == (True, before["certificate"], True)
    assert "site.crt is PKCS#7 (p7b)" in found["problem"]


def test_of_a_bundle_the_first_is_told_and_how_many_there_are(tmp_path, chain):
    before = look(tmp_path)
    write(tmp_path, pki.pem_of(*chain, *[CA.root] * 138).encode())
    found = look(tmp_path)
    assert (found["exists"], found["certificate"]) == (True, before["certificate"])
    assert "it holds 140 certificates; more than 10 are not looked at" in found["problem"]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"rubbish", "cannot be read as a certificate: it holds no PEM certificate"),
        (pki.key_pem(pki.new_key()), "it holds no PEM certificate, but a private key"),
        (pki.request_pem(pki.new_key(), ["a.example"]).encode(), "a certificate request, which no CA has signed"),
        (bytes.fromhex("3082010030820100") + b"x" * 252, "DER, not PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read as a certificate"),
    ],
)
def test_a_file_without_a_certificate_says_what_it_is(tmp_path, content, words):
    write(tmp_path, content)
    found = look(tmp_path)
    assert (found["exists"], found["certificate"], found["due"]) == (False, None, True)
    assert found["problem"].startswith(str(tmp_path / "site.crt")) and words in found["problem"]


def test_where_there_is_no_file_there_is_no_problem(tmp_path):
    assert "problem" not in look(tmp_path)
