# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A host's answer is read by known keys of known sizes, whatever the host makes of it."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.privatepki.stepca.plugins.module_utils._core import wire

FACTS = dict.fromkeys(wire.facts({}), "x")
GOOD = {
    "outcome": "issued",
    "reasons": ["a"],
    "warnings": ["b"],
    "certificate": dict(FACTS, sans=["dns:a"]),
    "needs_roots": False,
    "revocable": True,
    "former": "pem",
    "former_roots": "pem",
    "holding": "a.b.c",
    "revoked": False,
    "backup_files": ["/f"],
    "ca_url": "https://ca.internal",
    "proofs": ["d.e.f"],
    "csr": "pem",
    "digest": "d",
}
#: What an answer says that went well.
FINE = {"failed": False, "msg": None, "overtaken": False}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(GOOD) + ["failed", "msg", "sans"]), inner)
    ),
    max_leaves=20,
)


def one(**changes):
    """What is read of a good answer with these members instead."""
    return vars(wire.Answer.from_json(dict(GOOD, **changes)))


def test_a_good_answer_is_read_as_it_is():
    assert one() == dict(GOOD, **FINE)


def test_what_is_not_known_is_left_out():
    assert one(token="canary", ansible_facts={"a": "b"}, certificate=dict(FACTS, sans=[], canary="x"))[
        "certificate"
    ] == dict(FACTS, sans=[])
    assert set(one(token="canary", changed=True)) == set(GOOD) | set(FINE)


@pytest.mark.parametrize(
    "given_, kept",
    [
        *[(outcome, outcome) for outcome in ("issued", "rekeyed", "renewed", "files", "none", "removed")],
        ("canary", "none"),
        (None, "none"),
        (7, "none"),
    ],
)
def test_outcomes_are_known_ones(given_, kept):
    assert one(outcome=given_)["outcome"] == kept


@pytest.mark.parametrize("outcome", [None, "issued"], ids=["nothing done", "after it was installed"])
def test_a_failure_has_a_reason(outcome):
    assert one(outcome=outcome, failed=True, msg="the disk is full")["msg"] == "the disk is full"
    assert one(outcome=outcome, failed=True, msg=None)["msg"] == "The host gives no reason."
    assert one(outcome=outcome, failed=True, msg=["x"])["msg"] == "The host gives no reason."
    assert len(one(outcome=outcome, failed=True, msg="x" * 10**6)["msg"]) == 2000


def test_a_failure_before_anything_was_done_is_all_there_is_to_tell():
    found = wire.Answer.from_json(dict(GOOD, outcome=None, failed=True, msg="no"))
    assert found == wire.Answer(failed=True, msg="no")


def test_a_failure_after_the_successor_was_installed_stands_beside_it():
    assert one(failed=True, msg="not revoked") == dict(GOOD, failed=True, msg="not revoked", overtaken=False)


@pytest.mark.parametrize("name", ["needs_roots", "revocable", "revoked"])
def test_only_true_is_true(name):
    assert one(**{name: True})[name] is True
    assert [one(**{name: value})[name] for value in (1, "yes", None, [])] == [False] * 4


PROOF = "e30.e30.AA"


@pytest.mark.parametrize(
    "given_, kept",
    [
        ([PROOF, PROOF], [PROOF, PROOF]),
        ([PROOF + "\r\nX-Canary: 1", PROOF], [PROOF]),
        ([PROOF + "\n"], []),
        (["e30.e30", "e30.e30.AA.AA", "e30..AA", "", " " + PROOF], []),
        ([7, None, [PROOF], {"a": PROOF}], []),
        (["a.b." + "c" * 64 * 1024], ["a.b." + "c" * 64 * 1024]),
        (["a.b." + "c" * 256 * 1024], []),
        ([PROOF] * 1000, [PROOF] * 100),
        (PROOF, []),
        (None, []),
    ],
    ids=[
        "good",
        "a header smuggled in",
        "end of line",
        "parts",
        "types",
        "long",
        "too long",
        "too many",
        "text",
        "nothing",
    ],
)
def test_only_what_can_be_a_proof_is_sent_on(given_, kept):
    assert one(proofs=given_)["proofs"] == kept
    assert one(holding=PROOF)["holding"] == PROOF
    assert one(holding=PROOF + "\n")["holding"] == one(holding=None)["holding"] == ""


@pytest.mark.parametrize("name", ["former", "former_roots"])
def test_a_former_certificate_is_cut_at_the_size_of_a_chain(name):
    assert len(one(**{name: "x" * 10**6})[name]) == 256 * 1024
    assert one(**{name: None})[name] == ""


def test_lists_and_texts_have_a_limit():
    flood = one(
        reasons=["x" * 10**5] * 1000,
        digest="y" * 10**6,
        certificate={"sans": ["z" * 10**5] * 1000, "serial": "1" * 10**6},
    )
    assert (len(flood["reasons"]), len(flood["reasons"][0]), len(flood["digest"])) == (100, 2000, 2000)
    assert (len(flood["certificate"]["sans"]), len(flood["certificate"]["serial"])) == (100, 2000)


def test_texts_of_a_host_are_cut():
    assert wire.texts(["a", 7, None, "b" * 5000]) == ["a", "b" * 2000]
    assert wire.texts("canary") == wire.texts(None) == []


@pytest.mark.parametrize("value", [None, "text", 7, {}, [1, None, {}]])
def test_reasons_are_sentences(value):
    assert one(reasons=value, warnings=value)["reasons"] == []


@settings(derandomize=True, database=None, deadline=None)
@given(JSON.filter(lambda one: isinstance(one, dict)))
def test_whatever_comes_has_the_shape_of_an_answer(answer):
    found = wire.Answer.from_json(answer)
    assert found.outcome in wire.OUTCOMES
    assert all(isinstance(text, str) for text in found.proofs + found.reasons + found.warnings + found.backup_files)
    assert all(text is None or isinstance(text, str) for text in (found.digest, found.csr, found.ca_url))
    assert isinstance(found.msg, str) if found.failed else found.msg is None
    for name, value in (found.certificate or {}).items():
        assert isinstance(value, list) if name == "sans" else value is None or isinstance(value, str)
    assert wire.Answer.from_json(found.to_json()) == found


VALUES = [
    wire.Terms(now="2030-01-01T00:00:00Z", fingerprints=["00"], roots="pem", audiences=["https://ca/1.0/renew"]),
    wire.Question(look=True, refused="no", revoked="yes"),
    wire.Errand("obtain", digest="d", outcome="issued", csr="pem", source="from the task", revoke="7"),
    wire.Answer(outcome="issued", reasons=["a"], csr="pem", digest="d"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_is_sent_is_what_is_received(value):
    assert type(value).from_json(json.loads(json.dumps(value.to_json()))) == value
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.now = value.look = value.step = value.outcome = "changed"


def test_only_what_differs_from_nothing_travels():
    assert wire.Question().to_json() == wire.Answer().to_json() == {}


# other modules


@pytest.mark.parametrize(
    "given_, kept",
    [
        (0, 0),
        (1.5, 1.5),
        (-7, -7),
        (True, None),
        ("1", None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
    ],
)
def test_numbers_are_finite(given_, kept):
    assert wire.number(given_) == kept


def test_what_is_not_known_is_neither_true_nor_false():
    assert [wire.known(one) for one in (True, False, None, 1, "true")] == [True, False, None, None, None]


def test_a_shape_has_its_members_whatever_is_given():
    row = wire.shape(path=wire.text, state=wire.choice(("ok", "due"), "failing"))
    assert row({"path": "/c", "state": "ok", "canary": 1}) == {"path": "/c", "state": "ok"}
    assert row({"path": 7, "state": ["ok"]}) == {"path": None, "state": "failing"}
    assert row(None) is None and row([]) is None
    assert wire.listed(row)([{}, None, "x"] * 200) == [{"path": None, "state": "failing"}] * 34
    assert wire.listed(row)({"path": "/c"}) == []
    assert len(wire.listed(row)([{}] * 5000)) == 100 and len(wire.listed(row, most=4000)([{}] * 5000)) == 4000


def test_a_diff_is_cut_in_depth_and_width():
    deep = {"a": {"b": {"c": {"d": {"e": "canary"}}}}}
    assert wire.data(deep) == {"a": {"b": {"c": {"d": None}}}}
    assert wire.data({"x" * 5000: ["y" * 5000] * 500}) == {"x" * 2000: ["y" * 2000] * 100}
    assert wire.data({"a": [1, True, None, object()]}) == {"a": [1, True, None, None]}


def test_many_names_are_all_told():
    sans = ["dns:host-%d.example.com" % number for number in range(3000)]
    assert one(certificate=dict(FACTS, sans=sans))["certificate"]["sans"] == sans


@pytest.mark.parametrize("sans", [["x" * 2000] * 10**5, [None] * 10**6, ["x"] * 10**6, [""] * 10**6])
def test_names_without_end_are_cut(sans):
    kept = one(certificate=dict(FACTS, sans=sans))["certificate"]["sans"]
    assert sum(len(text) + 1 for text in kept) <= 201000
