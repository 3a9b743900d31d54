# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A host decides nothing about itself: what it asks for beyond the task is refused before a token is made.

The hosts here have an interpreter that runs the module and then changes what it says. See lies.py for the lies.
"""

from __future__ import annotations

import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration import lies
from tests.integration.lies import EVIL, HOST
from tests.integration.remains import staged
from tests.integration.support import enrolment

#: The sentence for each lie about a request.
SENTENCES = {
    "other names": ["names dns:%s" % EVIL, "the task asks for dns:%s" % HOST],
    "one more name": ["names dns:%s, dns:%s" % (HOST, EVIL), "the task asks for dns:%s" % HOST],
    "no names": ["names nothing", "the task asks for dns:%s" % HOST],
    "a directory name": ["names dns:%s, other:" % HOST, "the task asks for dns:%s" % HOST],
    "a CA": ["extensions that the task does not", "2.5.29.19", "template"],
    "a signer": ["extensions that the task does not", "2.5.29.15", "template"],
    "more usages": ["extensions that the task does not", "2.5.29.37", "template"],
    "another subject": ["is not what this collection makes", "subject, attributes or encoding differ"],
    "another common name": ["is not what this collection makes", "subject, attributes or encoding differ"],
    "an attribute": ["is not what this collection makes", "subject, attributes or encoding differ"],
    "another spelling": ["is not what this collection makes", "subject, attributes or encoding differ"],
    "critical names": ["is not what this collection makes", "subject, attributes or encoding differ"],
    "a larger key": ["key of type ec-p384", "the task asks for ec-p256"],
    "another family": ["key of type rsa-2048", "the task asks for ec-p256"],
    "a curve of its own": ["key of type ec-secp256k1", "the task asks for ec-p256"],
    "five megabytes": ["bytes; more than 131072 are not looked at"],
    "two blocks": ["must be one PEM block; 2 blocks came"],
    "a private key too": ["must be one PEM block; 2 blocks came"],
    "wrong signature": ["signature of the certificate request is wrong"],
    "no DER": ["certificate request cannot be read"],
    "no ASCII": ["certificate request cannot be read"],
    "no PEM": ["must be one PEM block; 0 blocks came"],
    "a number": ["answered with no certificate request"],
    "nothing": ["answered with no certificate request"],
    "brought, other names": ["names dns:%s" % EVIL, "the task asks for dns:%s" % HOST],
    "brought, a CA": ["asks to be a CA"],
    "brought, another common name": ["commonName '%s'" % EVIL],
}

#: Lies about the staged key itself: it is known by the request, and removed with it.
REFUSED_IN_ORDER = [name for name in SENTENCES if "brought" not in name][:12]


def entry(name="site"):
    """One certificate of a task."""
    place = "{{ host_root }}/etc/tls/" + name
    made = {"certificate_path": place + ".crt", "sans": [HOST]}
    return {**made, "csr_path": place + ".csr"} if "brought" in name else {**made, "key_path": place + ".key"}


def issue(authority, options, name="issue"):
    """A task."""
    return {
        "name": name,
        "privatepki.stepca.stepca_certificate": {**options, **enrolment(authority)},
        "ignore_errors": True,
    }


def test_each_lie_has_its_sentence():
    """A lie without a sentence would go untested."""
    assert sorted(SENTENCES) == sorted(lies.REQUESTS)


@pytest.mark.one_core
def test_a_request_that_the_task_did_not_ask_for_is_refused(play, liar, authority):
    """Each lie with its sentence; no request to the CA at all, so nothing was minted; the staged keys are gone."""
    host = liar("liar", list(lies.REQUESTS))
    for name in lies.REQUESTS:
        if "brought" in name:
            honest = lies.request(ec.generate_private_key(ec.SECP256R1()))
            host.path("/etc/tls/%s.csr" % name).write_text(honest, encoding="ascii")
    before = len(authority.requests())
    run = play([issue(authority, {"certificates": [entry(name) for name in lies.REQUESTS]})], hosts=[host], verbosity=3)
    failure = run.expect_failure("%d of %d certificates failed" % (len(SENTENCES), len(SENTENCES)))
    messages = dict(zip(lies.REQUESTS, [str(one["msg"]) for one in failure["results"]], strict=True))
    wrong = {
        name: message for name, message in messages.items() if not all(words in message for words in SENTENCES[name])
    }
    assert wrong == {}, run
    assert not any(one["changed"] or one["ca_url"] for one in failure["results"])
    assert authority.requests()[before:] == []
    left = " ".join(staged([host]))
    assert [name for name in REFUSED_IN_ORDER if ".%s.key" % name in left] == []
    assert not list(host.path("/etc/tls").glob("*.crt")) and not list(host.path("/etc/tls").glob("*.key"))


AT_LARGE = [name for name in lies.RESULTS if "answers" in name]


def test_what_is_no_answer_of_our_module(play, liar, authority):
    """One sentence, whatever else it is."""
    hosts = [liar(name, name) for name in AT_LARGE]
    before = len(authority.requests())
    run = play([issue(authority, entry())], hosts=hosts, verbosity=3)
    for host in hosts:
        run.expect_failure("did not answer as this collection's module does", host=host.name)
    assert authority.requests()[before:] == []


def test_words_of_a_host_are_measured(play, liar, authority):
    """An honest request among noise is served; of the noise, only what is known and short comes through."""
    host = liar("talkative", "talkative")
    show = {"name": "show", "ansible.builtin.debug": {"msg": "{{ pwned | default('nothing') }} {{ ansible_facts }}"}}
    run = play([issue(authority, entry()), show], hosts=[host]).expect_ok()
    result = run["issue"].result
    assert result["changed"] and result["outcome"] == "issued"
    assert len(result["reasons"]) <= 100 and max(map(len, result["reasons"])) <= 2000
    assert max(map(len, result["warnings"])) <= 2000 and "as any module may say" in result["warnings"]
    assert "surprise" not in result["certificate"] and result["certificate"]["issuer"] is None
    assert len(result["certificate"]["serial"]) <= 2000
    assert "surprise" not in result and "ansible_facts" not in result
    assert len(result["backup_files"]) <= 100 and max(map(len, result["backup_files"])) <= 2000
    assert (result["ca_url"], result["revoked"]) == (authority.url, False), "the controller asked, and knows"
    assert run["show"].msg.split()[0] == "nothing"


def test_known_keys_of_another_type(play, liar, authority):
    """What Ansible itself reads of a module's answer makes no difference to the certificate, and no traceback."""
    run = play([issue(authority, entry())], hosts=[liar("odd", "odd")], verbosity=3).expect_ok()
    assert run["issue"]["outcome"] == "issued"
    assert "Traceback" not in run.output


@pytest.mark.both_cores
def test_a_failure_of_a_host_is_measured(play, liar, authority):
    """The words of a failure are as long as a host may make them; what else it sends is not passed on."""
    host = liar("failing", "failing")
    show = {"name": "show", "ansible.builtin.debug": {"msg": "{{ pwned | default('nothing') }}"}}
    run = play([issue(authority, entry()), show], hosts=[host])
    failure = run.expect_failure("mmm", name="issue")
    assert len(failure.msg) <= 10_000
    assert not failure.changed
    assert "surprise" not in failure.result and "ansible_facts" not in failure.result
    assert run["show"].msg == "nothing"


@pytest.mark.one_core
def test_the_lies_are_told(play, liar, authority):
    """The same interpreter with nothing to tell issues: it is the lie that is refused."""
    host = liar("honest", [])
    run = play([issue(authority, entry())], hosts=[host]).expect_ok()
    assert run["issue"]["outcome"] == "issued"
    assert sys.executable not in host.path("/python").read_text(encoding="utf-8")
