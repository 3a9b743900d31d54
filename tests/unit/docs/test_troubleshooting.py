# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""guide_troubleshooting quotes errors. What it quotes is what the code says, and no kind of error is left out."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.privatepki.stepca.plugins.module_utils._core import errors

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / "docs" / "docsite" / "rst" / "guide_troubleshooting.rst"
#: Stands in the guide for what differs from case to case.
GAP = "…"
MARK = "``"
#: Says nothing of its own: it repeats, in other words, what the certificate module says.
UNQUOTED = {"plugins/action/stepca_sign.py"}


def quotations() -> list[str]:
    """The words that the guide explains: terms of its definition lists."""
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    return [line[len(MARK) : -len(MARK)] for line in lines if line.startswith(MARK) and line.endswith(MARK)]


def plain(text: str) -> str:
    return " ".join(text.replace("%%", "%").split())


def texts(node: ast.AST) -> list[str]:
    """The texts below a node; Python has joined adjacent literals already."""
    found = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return [plain(text) for text in found]


def documentation(tree: ast.Module) -> set[str]:
    """What a plugin tells in its documentation, which is no error."""
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    blocks = [
        node for node in assigned if getattr(node.targets[0], "id", "") in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    ]
    holders = (ast.Module, ast.FunctionDef, ast.ClassDef)
    docstrings = [ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, holders)]
    return {text for block in blocks for text in texts(block)} | {plain(text) for text in docstrings if text}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def scalars(data: object) -> Iterator[str]:
    """All texts of a YAML file."""
    if isinstance(data, str):
        yield plain(data)
    for one in data.values() if isinstance(data, dict) else data if isinstance(data, list) else []:
        yield from scalars(one)


def said() -> dict[str, set[str]]:
    """Everything that plugins and roles may say, by file."""
    found = {path: set(texts(tree)) - documentation(tree) for path, tree in modules()}
    for path in sorted((ROOT / "roles").glob("*/tasks/*.yml")):
        found[str(path.relative_to(ROOT))] = set(scalars(yaml.safe_load(path.read_text(encoding="utf-8"))))
    return found


def quotes(quotation: str, text: str) -> bool:
    """Whether a sentence of the code has the quoted fragments, in their order."""
    at = 0
    for fragment in quotation.split(GAP):
        at = text.find(fragment.strip(), at)
        if at < 0:
            return False
    return True


def raised() -> Iterator[tuple[str, str, list[str]]]:
    """(file, class, texts) of each error that is raised with words of its own."""
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                words = [text for text in texts(node.exc) if len(text.split()) > 4]
                kind = getattr(node.exc.func, "id", "")
                if words and kind != "ValueError":  # which is caught, and becomes part of another sentence
                    yield path, kind, words


SAID = said()
QUOTATIONS = quotations()


@pytest.mark.parametrize("quotation", QUOTATIONS)
def test_the_guide_quotes_what_is_said(quotation):
    assert len(quotation) > 12, "too short to be searched for"
    every = [text for words in SAID.values() for text in words]
    assert any(quotes(quotation, text) for text in every), "reworded? No plugin and no role says: %s" % quotation


def test_nothing_is_explained_twice():
    assert len(QUOTATIONS) == len(set(QUOTATIONS)) > 80


def is_quoted(words: Iterable[str]) -> bool:
    return any(quotes(quotation, text) for quotation in QUOTATIONS for text in words)


def test_each_kind_of_error_is_explained():
    kinds = {name for name, one in vars(errors).items() if isinstance(one, type)} - {"StepCAError"}
    assert kinds - {kind for _path, kind, words in raised() if is_quoted(words)} == set()


def test_each_file_that_raises_is_explained_or_left_out_for_a_reason():
    raising = {path for path, _kind, _words in raised()}
    assert raising - {path for path, words in SAID.items() if is_quoted(words)} == UNQUOTED


def test_what_makes_a_role_fail_is_explained():
    tasks = [
        task
        for path in (ROOT / "roles").glob("*/tasks/*.yml")
        for task in yaml.safe_load(path.read_text(encoding="utf-8"))
        if "ansible.builtin.fail" in task
    ]
    assert tasks
    assert [task["name"] for task in tasks if not is_quoted(list(scalars(task["ansible.builtin.fail"])))] == []
