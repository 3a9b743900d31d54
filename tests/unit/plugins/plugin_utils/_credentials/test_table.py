# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Which credential the options mean, and that each kind is one file and a line in the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils import _options
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _settings
from ansible_collections.privatepki.stepca.plugins.plugin_utils._credentials import credential, table


def choose(kinds=table.KINDS, **options):
    source = _settings.Source(lambda name: "the task", options.get, options.__contains__)
    return table.choose(_settings.Settings([source], None), None, None, kinds)


@pytest.mark.parametrize(
    "options, name",
    [
        ({}, "nobody"),
        ({"provisioner": "ops"}, "nobody"),
        ({"provisioner_password": ""}, "nobody"),
        ({"provisioner_key_path": "/key"}, "JWK"),
        ({"provisioner_password_file": "/password"}, "JWK"),
        ({"token": "a.b.c"}, "token"),
        ({"token": "a.b.c", "provisioner_key": "x"}, "token"),
    ],
)
def test_the_options_say_who_vouches(options, name):
    assert name == choose(**options).NAME


def test_whoever_mints_has_no_use_for_a_token():
    assert choose(table.MINTING, token="a.b.c", provisioner_password="x").NAME == "JWK"


def test_nobody_names_the_provisioner_that_certificates_are_to_be_of():
    assert choose(provisioner="ops").provisioner.value == "ops"


@pytest.mark.parametrize(
    "purpose, words", [("sign", "A certificate is due"), ("revoke", "A certificate is to be revoked")]
)
def test_nobody_says_what_is_missing(purpose, words):
    with pytest.raises(OptionError, match=words + ", and no option says who vouches for it. Give provisioner and prov"):
        choose().mint(credential.Purpose(purpose, "a.example"))


def test_each_kind_is_one_file_and_names_options_that_there_are():
    modules = [kind.__module__.rpartition(".")[2] for kind in table.KINDS]
    folder = Path(table.__file__).parent
    beside = {"__init__", "credential", "table", "key_files"}
    assert sorted(modules) == sorted({path.stem for path in folder.glob("*.py")} - beside)
    named = [option for kind in table.KINDS for option in kind.OPTIONS]
    assert set(named) <= set(_options.PROVISIONER) and len(named) == len(set(named))
