# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""One certificate of a task: what the host is asked and told of it, and what the task returns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import wire
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import request
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate.options import SHARED, SINGLE
from ansible_collections.privatepki.stepca.plugins.module_utils._core.wire import Answer, Errand, Question
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import csr
from ansible_collections.privatepki.stepca.plugins.plugin_utils._certificates.entry import Entry

OPTIONS = {"certificate_path": "/c", "key_path": "/k", "sans": ["a.example"], "key_type": "ec-p256"}
FOUND = dict(dict.fromkeys(wire.facts({}), "old"), sans=["dns:a.example"])
NEW = dict(FOUND, serial="new")
URL = "https://ca.internal"


def answered(**members):
    """A host's answer, as it is read."""
    return Answer.from_json(members)


def entry(**members):
    """An entry that the host has examined."""
    found = Entry(dict(OPTIONS))
    found.wanted = request.parse({**dict.fromkeys(SINGLE + SHARED), **OPTIONS})
    members = {"outcome": "issued", "reasons": ["why"], "certificate": FOUND, "digest": "d", "csr": "pem", **members}
    found.answer = answered(**members)
    return found


# what the host is asked


@pytest.mark.parametrize("outcome", ["issued", "rekeyed", "renewed", "files", "none"])
def test_the_authority_is_needed_for_what_it_alone_can_do(outcome):
    assert entry(outcome=outcome).is_due is (outcome in ("issued", "rekeyed", "renewed"))
    assert not Entry(dict(OPTIONS)).is_due


@pytest.mark.parametrize("revoke, revocable, due", [(True, True, True), (True, False, False), (False, True, False)])
def test_a_removal_needs_the_authority_only_where_there_is_something_to_revoke(revoke, revocable, due):
    one = entry(outcome="removed", revocable=revocable)
    one.wanted = replace(one.wanted, revoke=revoke)
    assert one.is_due is due


def test_a_host_looks_first_where_the_list_of_revoked_ones_comes_later():
    one = entry()
    assert one.question(look=True) == Question(look=True)
    one.looked_up, one.revoked, one.refused = True, "it is revoked", "it was refused"
    assert one.question(look=True) == Question(look=False, refused="it was refused", revoked="it is revoked")
    assert entry().question(look=False).look is False


# what the host is told


@pytest.mark.parametrize("outcome, renewal", [("issued", False), ("renewed", True)])
def test_a_chain_goes_back_with_what_it_is(outcome, renewal):
    one = entry(outcome=outcome)
    one.chain_pem, one.issued_at = "chain", "2030-01-01T00:00:00Z"
    expected = Errand("install", digest="d", chain="chain", issued_at="2030-01-01T00:00:00Z", renewal=renewal)
    assert one.errand() == expected


def test_what_was_revoked_is_to_be_removed():
    assert entry(outcome="removed").errand() == Errand("remove")


@pytest.mark.parametrize(
    "pem, told",
    [("pem", "pem"), (None, None), (7, None), (["pem"], None), ("x" * (csr.LARGEST + 1), None)],
    ids=["request", "none", "number", "list", "too long"],
)
@pytest.mark.parametrize(
    "step", [Entry.errand, lambda one: one.errand_by_host("source")], ids=["relayed", "by the host"]
)
def test_what_failed_leaves_no_staged_key_behind(step, pem, told):
    one = entry(csr=pem)
    one.error = "refused"
    assert step(one) == Errand("discard", csr=told)


def test_a_host_that_asks_by_itself_is_told_what_was_judged():
    one = entry(outcome="renewed")
    one.request, one.former = "judged", "7"
    expected = Errand("obtain", digest="d", outcome="renewed", csr="judged", source="from the task", revoke="7")
    assert one.errand_by_host("from the task") == expected
    assert entry().errand_by_host("") == Errand("obtain", digest="d", outcome="issued", csr="pem")


# what the task returns


def done(one, dry=False):
    """The result without its diff."""
    result = one.result(URL, dry)
    assert set(result) - {"failed", "msg"} == {
        "certificate_path",
        "changed",
        "outcome",
        "reasons",
        "certificate",
        "revoked",
        "backup_files",
        "ca_url",
        "diff",
    }
    return result


def test_what_was_installed_is_the_result():
    one = entry(outcome="renewed", backup_files=["/old"])
    one.accept(answered(outcome=None, certificate=NEW))
    result = done(one)
    assert (result["changed"], result["outcome"], result["certificate"], result["ca_url"]) == (
        True,
        "renewed",
        NEW,
        URL,
    )
    assert (result["reasons"], result["backup_files"], result["revoked"]) == (["why"], ["/old"], False)
    assert result["diff"] == {"before": FOUND, "after": NEW, "before_header": "/c", "after_header": "/c"}


def test_the_news_of_a_host_that_asked_by_itself():
    one = entry(outcome="renewed")
    one.accept(
        answered(
            outcome="issued",
            reasons=["it is issued anew instead of renewed"],
            certificate=NEW,
            ca_url="https://b.internal",
            revoked=True,
            backup_files=["/b"],
        ),
        by_host=True,
    )
    result = done(one)
    assert (result["outcome"], result["ca_url"], result["revoked"]) == ("issued", "https://b.internal", True)
    assert result["reasons"] == ["why", "it is issued anew instead of renewed"] and result["backup_files"] == ["/b"]


def test_a_failure_changes_nothing():
    one = entry()
    one.accept(answered(failed=True, msg="the disk is full"))
    result = done(one)
    assert (result["failed"], result["msg"], result["changed"]) == (True, "the disk is full", False)
    assert (result["outcome"], result["certificate"], result["ca_url"]) == ("none", FOUND, None)
    assert result["diff"]["before"] == result["diff"]["after"] == FOUND


def test_a_failure_after_the_successor_was_installed_is_a_change():
    one = entry()
    one.accept(answered(outcome="issued", failed=True, msg="not revoked", certificate=NEW, ca_url=URL))
    result = done(one)
    assert (result["failed"], result["msg"]) == (True, "not revoked")
    assert (result["changed"], result["outcome"], result["certificate"]) == (True, "issued", NEW)


def test_an_entry_that_was_never_examined_has_a_result():
    one = Entry(dict(OPTIONS))
    one.error = "sans: '' is empty."
    result = done(one)
    assert (result["failed"], result["changed"], result["outcome"], result["certificate"]) == (
        True,
        False,
        "none",
        None,
    )
    assert result["diff"]["before"] == result["diff"]["after"] == {}


def test_nothing_to_do_is_no_change():
    result = done(entry(outcome="none", reasons=[]))
    assert (result["changed"], result["certificate"], result["ca_url"], result["reasons"]) == (False, FOUND, None, [])


@pytest.mark.parametrize("dry", [False, True])
def test_a_removal_shows_what_was_there(dry):
    result = done(entry(outcome="removed"), dry)
    assert (result["changed"], result["certificate"], result["ca_url"]) == (True, FOUND, None)
    assert (result["diff"]["before"], result["diff"]["after"]) == (FOUND, {})


@pytest.mark.parametrize("outcome", ["issued", "rekeyed", "renewed"])
def test_check_mode_says_in_words_what_is_not_known_yet(outcome):
    result = done(entry(outcome=outcome), dry=True)
    assert (result["changed"], result["outcome"], result["certificate"], result["ca_url"]) == (
        True,
        outcome,
        FOUND,
        None,
    )
    assert result["diff"]["after"] == {"to be %s" % outcome: ["why"], "names": ["dns:a.example"]}


def test_files_that_are_put_right_are_shown():
    result = done(entry(outcome="files", reasons=["the mode of /c was 0600, expected 0644"]))
    assert result["diff"]["after"] == dict(FOUND, **{"repaired": ["the mode of /c was 0600, expected 0644"]})


# what belongs to a template


def test_data_of_a_template_stay_here_and_a_digest_is_told():
    one = entry()
    one.options["template_data"] = {"a": "secret"}
    one.wanted = request.parse({**dict.fromkeys(SINGLE + SHARED), **one.options})
    digest = one.wanted.template_digest
    assert one.for_host == OPTIONS and len(digest) == 64
    told = [one.question(look=False), one.errand(), one.errand_by_host("")]
    assert [value.template for value in told] == [digest] * 3
    assert not any("secret" in str(value.to_json()) for value in told)


@pytest.mark.parametrize("data", [{}, {"a": [1, None, "\u00fc"]}])
def test_data_that_a_host_needs_are_one_text(data):
    assert wire.unpacked(wire.packed(data)) == data
    assert [wire.unpacked(given) for given in (None, "", "{}", {}, 7)] == [None] * 5
