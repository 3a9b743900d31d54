# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What is written down twice must be the same: role defaults and role specs, the action group and its files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ansible_collections.privatepki.stepca.plugins.module_utils import _options

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def load(path: str):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def plugins(kind: str) -> set[str]:
    return {path.stem for path in (ROOT / "plugins" / kind).glob("*.py")} - {"__init__"}


@pytest.mark.parametrize("role", ROLES)
def test_the_defaults_of_a_role_are_those_of_its_spec(role):
    options = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    documented = {name: option["default"] for name, option in options.items() if "default" in option}
    assert load(f"roles/{role}/defaults/main.yml") == documented


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_of_a_role_has_the_prefix(role):
    options = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert [name for name in options if not name.startswith("stepca_")] == []
    internal = ROOT / "roles" / role / "vars" / "main.yml"
    if internal.exists():
        names = yaml.safe_load(internal.read_text(encoding="utf-8"))
        assert [name for name in names if not name.startswith("__stepca_")] == []


def test_an_entry_of_the_role_has_the_options_of_the_module():
    def shape(entry):
        return {name: (option["type"], option.get("elements"), option.get("choices")) for name, option in entry.items()}

    role = load("roles/certificate/meta/argument_specs.yml")["argument_specs"]["main"]["options"][
        "stepca_certificates"
    ]["options"]
    assert shape(_options.RENEWER_ENTRY) == shape(role)


def test_the_action_group_is_complete():
    group = load("meta/runtime.yml")["action_groups"]["stepca"]
    assert group == sorted(group)
    # It makes a CA of its own, and takes no option of another.
    assert {*group, "stepca_disposable_ca"} == plugins("modules") == plugins("action")


def test_the_role_puts_the_renewer_where_the_module_does():
    role = load("roles/certificate/defaults/main.yml")
    own = _options.RENEWER
    assert (role["stepca_renewer_path"], role["stepca_renewer_config_path"]) == (
        own["path"]["default"],
        own["config_path"]["default"],
    )
