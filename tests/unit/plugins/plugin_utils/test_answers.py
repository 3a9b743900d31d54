# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A host's answer is read by known keys of known sizes, whatever the host makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CsrError
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _answers

FACTS = {name: "x" for name in _answers._FACTS}
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
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(GOOD) + ["failed", "msg", "sans"]), inner)
    ),
    max_leaves=20,
)


def one(**changes):
    return _answers.read({"answers": [dict(GOOD, **changes)]}, 1)[0]


def test_a_good_answer_is_read_as_it_is():
    assert one() == GOOD


def test_what_is_not_known_is_left_out():
    assert one(token="canary", ansible_facts={"a": "b"}, certificate=dict(FACTS, sans=[], canary="x"))[
        "certificate"
    ] == dict(FACTS, sans=[])
    assert set(one(token="canary", changed=True)) == set(GOOD)


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"answers": None},
        {"answers": {}},
        {"answers": []},
        {"answers": [{}, {}]},
        {"answers": ["x"]},
        {"answers": "x"},
    ],
)
def test_what_is_no_answer_of_ours_is_refused(result):
    with pytest.raises(CsrError, match="did not answer as this collection's module does"):
        _answers.read(result, 1)


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
    assert one(outcome=None, failed=True, msg="no") == {"failed": True, "msg": "no", "overtaken": False}


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
        (["a.b." + "c" * 64 * 1024], []),
        ([PROOF] * 1000, [PROOF] * 100),
        (PROOF, []),
        (None, []),
    ],
    ids=["good", "a header smuggled in", "end of line", "parts", "types", "too long", "too many", "text", "nothing"],
)
def test_only_what_can_be_a_proof_is_sent_on(given_, kept):
    assert one(proofs=given_)["proofs"] == kept
    assert one(holding=PROOF)["holding"] == PROOF
    assert one(holding=PROOF + "\n")["holding"] == one(holding=None)["holding"] == ""


@pytest.mark.parametrize("name", ["former", "former_roots"])
def test_a_former_certificate_is_cut_at_the_size_of_a_chain(name):
    assert len(one(**{name: "x" * 10**6})[name]) == 64 * 1024
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
    assert _answers.texts(["a", 7, None, "b" * 5000]) == ["a", "b" * 2000]
    assert _answers.texts("canary") == _answers.texts(None) == []


def test_a_failure_of_a_module_is_passed_on_by_known_keys():
    told = {
        "module_stderr": "x" * 20000,
        "module_stdout": ["canary"],
        "exception": "trace",
        "ansible_facts": {"a": "canary"},
    }
    assert _answers.failure(told) == {"module_stderr": "x" * 10000}


@pytest.mark.parametrize("value", [None, "text", 7, {}, [1, None, {}]])
def test_reasons_are_sentences(value):
    assert one(reasons=value, warnings=value)["reasons"] == []


@settings(derandomize=True, database=None, deadline=None)
@given(JSON)
def test_whatever_comes_has_the_shape_of_an_answer(answer):
    try:
        (found,) = _answers.read({"answers": [answer]}, 1)
    except CsrError:
        assert not isinstance(answer, dict)
        return
    if found.pop("failed", False):
        assert isinstance(found.pop("msg"), str) and isinstance(found.pop("overtaken"), bool)
    assert set(found) in (set(GOOD), set())
    if not found:
        return
    assert found["outcome"] in _answers._OUTCOMES
    assert all(isinstance(proof, str) for proof in found["proofs"])
    assert all(isinstance(reason, str) for reason in found["reasons"] + found["warnings"])
    assert found["digest"] is None or isinstance(found["digest"], str)
    for name, value in (found["certificate"] or {}).items():
        assert isinstance(value, list) if name == "sans" else value is None or isinstance(value, str)
