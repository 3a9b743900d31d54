# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What the controller does not do on the mere word of a host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CertificateError, CsrError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates, jws
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _judge
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, FOREIGN, ask
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
