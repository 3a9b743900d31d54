# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What the controller does not do on the mere word of a host."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CertificateError, CsrError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates, jws
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _judge
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, FOREIGN, ask
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import step_extension
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.x509.test_certificates import (
    of_unknown_version,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.plugin_utils.hosting import Host, bomb

FINGERPRINTS = [certificates.fingerprint(CA.root)]


def judge_former(answer, asked, roots=(CA.root,)):
    return _judge.judge_former(answer, asked, list(roots), FINGERPRINTS)


# renewals


@pytest.mark.parametrize("names", [["b.example"], ["a.example", "b.example"]])
def test_a_host_gets_no_names_prolonged_but_those_of_the_play(tmp_path, names):
    with pytest.raises(CertificateError, match="only the play says which names are renewed; .* asks for dns:a.example"):
        _judge.judge_proofs([Host(names).proof()], ask(tmp_path))


def prolonged(tmp_path, host, rewrites=None, provisioner="ansible", **options):
    """What is made of the proof of a host, for a task with these options."""
    options.setdefault("renew_before", "13h")
    return _judge.judge_proofs([host.proof()], ask(tmp_path, **options), provisioner, rewrites)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"not_after": "24h"},
        {"not_after": "23h50m"},
        {"not_after": "23h", "max_lifetime": "23h55m"},
        {"issued_since": durations.format_time(pki.NOW - pki.DAY)},
        {"common_name": "a.example"},
        {"key_policy": "keep"},
    ],
)
def test_what_the_task_asks_for_is_prolonged(tmp_path, options):
    host = Host(extensions=[step_extension()])
    assert prolonged(tmp_path, host, **options) == host.chain


#: What the play asks for and the certificate is not.
UNLIKE = {
    "key type": ({"key_type": "ec-p384"}, "the key is of type ec-p256, expected ec-p384"),
    "longer": ({"not_after": "15h"}, "lives for 24h, expected at most 15h .not_after"),
    "shorter": ({"not_after": "25h"}, "lives for 24h, expected 25h .not_after"),
    "longer than allowed": ({"max_lifetime": "14h"}, "lives for 24h, expected at most 14h .max_lifetime"),
    "a time": ({"not_after": durations.format_time(pki.NOW + pki.DAY)}, "not_after is a time"),
    "before": ({"issued_since": durations.format_time(pki.NOW)}, "it was first issued on .* expected since"),
    "force": ({"force": True}, "force is true"),
    "a new key": ({"key_policy": "always"}, "key_policy is always"),
    "a request": ({"csr_path": "/etc/site.csr"}, "only its key could renew"),
    "a request, long before it is due": (
        {"csr_path": "/etc/site.csr", "renew_before": "1h"},
        "only its key could renew",
    ),
    "a new key, long before it is due": ({"key_policy": "always", "renew_before": "1h"}, "key_policy is always"),
    "another commonName": (
        {"common_name": "Somebody"},
        "only the play says which names .* commonName 'a.example', the task asks for .* commonName 'Somebody'",
    ),
}


@pytest.mark.parametrize("options, words", list(UNLIKE.values()), ids=list(UNLIKE))
def test_nothing_else_is_prolonged(tmp_path, options, words):
    host = Host(extensions=[step_extension()])
    with pytest.raises(CertificateError, match=words):
        prolonged(tmp_path, host, **options)


def test_the_provisioner_counts_where_one_is_resolved_and_named(tmp_path):
    with pytest.raises(CertificateError, match="the provisioner 'other' issued it, expected 'ansible'"):
        prolonged(tmp_path, Host(extensions=[step_extension("other")]))
    assert prolonged(tmp_path, Host(extensions=[step_extension("other")]), provisioner=None)
    assert prolonged(tmp_path, Host())


def test_usages_that_nobody_asked_for_are_not_prolonged(tmp_path):
    host = Host(extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.CODE_SIGNING])])
    with pytest.raises(CertificateError, match="it is for codeSigning .*, which nobody asked for"):
        prolonged(tmp_path, host)


def test_names_that_a_template_may_have_made_are_prolonged(tmp_path):
    more, other = Host(["a.example", "b.example"]), Host(["b.example"])
    assert prolonged(tmp_path, more, lambda leaf: leaf == more.leaf) == more.chain
    assert prolonged(tmp_path, more, lambda leaf: True, common_name="Somebody") == more.chain
    for host, rewrites in ((more, lambda leaf: False), (other, lambda leaf: True)):
        with pytest.raises(CertificateError, match="only the play says which names are renewed"):
            prolonged(tmp_path, host, rewrites)


def test_a_renewal_ends_no_later_than_the_task_allows(tmp_path):
    """How much of a life is backdated shows in what was renewed."""
    host, asked = Host(), ask(tmp_path, not_after="20h")
    begin, end = certificates.not_before(host.leaf), certificates.not_after(host.leaf)
    assert prolonged(tmp_path, host, not_after="20h") == host.chain
    _judge.judge_renewed(host.leaf, asked, begin + timedelta(hours=4))
    with pytest.raises(
        CertificateError, match="a renewal would live for 20h1m1s from now, expected at most 20h .not_after"
    ):
        _judge.judge_renewed(host.leaf, asked, end - timedelta(hours=20, seconds=61))


def claiming(listed):
    """A token with this in the place of the chain."""
    return jws.make(pki.new_key(), {"x5cInsecure": listed}, {})


@pytest.mark.parametrize(
    "proofs",
    [
        [],
        ["e30.e30.AA"],
        [bomb()],
        [claiming([])],
        [claiming(["AAAA"])],
        [claiming([b"".join(of_unknown_version().splitlines()[1:-1]).decode("ascii")])],
        [Host().proof(key=pki.new_key())],
        [Host().proof(), Host().proof()],
    ],
    ids=["none", "empty", "bomb", "no chain", "rubbish", "unknown version", "of another key", "of two certificates"],
)
def test_what_a_host_makes_up_is_refused_in_a_sentence(tmp_path, proofs):
    with pytest.raises(CsrError, match="The host's renewal proof"):
        _judge.judge_proofs(proofs, ask(tmp_path))


# what is to be revoked


def test_who_shows_the_key_may_have_a_certificate_revoked(tmp_path):
    host = Host(["x.example"])
    assert judge_former(host.former(), ask(tmp_path)) == str(host.leaf.serial_number)


def test_a_certificate_with_the_names_of_the_play_needs_no_key(tmp_path):
    host = Host()
    assert judge_former(host.former(""), ask(tmp_path)) == str(host.leaf.serial_number)


def test_roots_in_a_record_count_as_far_as_the_fingerprints_prove_them(tmp_path):
    host, stranger = Host(), Host(authority=FOREIGN)
    assert judge_former(host.former(), ask(tmp_path), []) == str(host.leaf.serial_number)
    with pytest.raises(CsrError, match="is not revoked on the mere word of the host"):
        judge_former(stranger.former(), ask(tmp_path), [])


def absent(folder):
    """A task that removes a certificate, and names none of its names."""
    return ask(folder, state="absent", key_path=None, sans=None)


@pytest.mark.parametrize(
    "make, task",
    [
        (lambda: Host(["b.example"]).former(""), ask),
        (lambda: Host(["b.example"]).former("e30.e30.AA"), ask),
        (lambda: Host(["b.example"]).former(bomb()), ask),
        (lambda: Host(["b.example"]).former(Host(["b.example"]).proof()), ask),
        (lambda: Host(authority=FOREIGN).former(), ask),
        (lambda: Host().former(""), absent),
        (lambda: replace(Host().former(""), former=pki.pem_of(CA.intermediate, CA.root)), absent),
    ],
    ids=[
        "other names, no proof",
        "other names, rubbish",
        "other names, bomb",
        "other names, proof of another certificate",
        "of somebody else",
        "removed, no proof",
        "the intermediate, which has no names either",
    ],
)
def test_nothing_is_revoked_on_the_mere_word_of_a_host(tmp_path, make, task):
    with pytest.raises(
        CsrError, match="is not revoked on the mere word of the host.* name its serial to stepca_revoke"
    ):
        judge_former(make(), task(tmp_path))
