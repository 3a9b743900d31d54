# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The result of a module, whatever a host makes of it; and every action reads it by _core/wire.py."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import wire
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CsrError
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _answers

ACTIONS = Path(_answers.__file__).parents[1] / "action"


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
        _answers.of_certificates(result, 1)


def test_there_is_one_answer_for_each_certificate():
    answers = _answers.of_certificates({"answers": [{"outcome": "issued"}, {"failed": True, "msg": "no"}]}, 2)
    assert answers == [wire.Answer(outcome="issued"), wire.Answer(failed=True, msg="no")]


@pytest.mark.parametrize(
    "serial, number", [("1", 1), ("9" * 50, int("9" * 50)), (None, None), ("9" * 51, None), ("0x1", None)]
)
def test_a_serial_is_a_number(serial, number):
    if number is None:
        with pytest.raises(CsrError, match="The host names no serial number"):
            _answers.serial({"serial": serial})
    else:
        assert _answers.serial({"serial": serial}) == number


def test_a_failure_of_a_module_is_passed_on_by_known_keys():
    told = {
        "module_stderr": "x" * 20000,
        "module_stdout": ["canary"],
        "exception": "trace",
        "ansible_facts": {"a": "canary"},
    }
    assert _answers.failure(told) == {"module_stderr": "x" * 10000}


@pytest.mark.parametrize("path", sorted(ACTIONS.glob("stepca_*.py")), ids=lambda path: path.stem)
def test_an_action_uses_nothing_of_a_result_that_was_not_read(path):
    """What `execute` returns goes through a reader: no member of it is taken, and it is not returned, as it is."""
    functions = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)]
    assert [loose for function in functions for loose in unread(function)] == []


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def unread(function: ast.FunctionDef) -> list:
    """(line, name) where a variable that holds a host's result is used, and not by a reader."""
    nodes = list(ast.walk(function))
    asked = ("execute", "_look", "_run")
    raw = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and called(node.value) in asked
        for target in node.targets
    }
    read = {
        id(inner)
        for node in nodes
        if isinstance(node, ast.Call) and (hasattr(wire, called(node)) or called(node).startswith("_"))
        for argument in node.args
        for inner in ast.walk(argument)
    }
    loaded = [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    return [(node.lineno, node.id) for node in loaded if node.id in raw and id(node) not in read]
