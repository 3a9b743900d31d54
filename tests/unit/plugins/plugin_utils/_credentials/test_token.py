# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A token of somebody else's: for one request, and never sent where it cannot serve."""

from __future__ import annotations

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import jws
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _settings
from ansible_collections.privatepki.stepca.plugins.plugin_utils._credentials import table
from ansible_collections.privatepki.stepca.plugins.plugin_utils._credentials.credential import Purpose
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import ask
from ansible_collections.privatepki.stepca.tests.unit.plugins.plugin_utils.hosting import bomb


def credential(**options):
    """The credential of these options, all given by the task, whose CA may not be asked."""
    source = _settings.Source(lambda name: "the task", options.get, options.__contains__)
    return table.choose(_settings.Settings([source], None), None, lambda: pytest.fail("the CA was asked"))


def token(**claims):
    return jws.make(pki.new_key(), {}, claims)


@pytest.mark.parametrize("sans", [["a.example"], ["A.Example", "a.example"], None])
def test_a_token_for_the_names_of_the_task_is_used(tmp_path, sans):
    made = token(sans=sans) if sans else token(sub="x")
    credential(token=made).check_request(ask(tmp_path))
    next_token = credential(token=made).mint(Purpose("sign", "a.example"))
    assert [next_token(False), next_token(False), next_token(True)] == [made, made, None]


@pytest.mark.parametrize(
    "made, words",
    [
        (token(sans=["b.example"]), "is for dns:b.example; the task asks for dns:a.example"),
        (token(sans=["a.example", "b.example"]), "is for dns:a.example, dns:b.example"),
        (token(sans=[]), "is for ; the task asks for"),
        ("canary", "is no token of step-ca's"),
        (bomb(), "is no token of step-ca's"),
    ],
    ids=["others", "more", "none", "text", "bomb"],
)
def test_a_token_for_other_names_is_refused_before_it_is_spent(tmp_path, made, words):
    with pytest.raises(OptionError, match="^token .from the task. .*%s" % words) as caught:
        credential(token=made).check_request(ask(tmp_path))
    assert "canary" not in str(caught.value)


def test_a_token_revokes_nothing_besides(tmp_path):
    asked = ask(tmp_path, revoke=True)
    with pytest.raises(
        OptionError, match="^revoke needs the provisioner's options: the token .from the task. serves one"
    ):
        credential(token=token()).check_request(asked)


def test_a_token_replaces_minting_and_asks_for_no_provisioner():
    chosen = credential(token=token(), provisioner="ops", provisioner_password="x")
    assert (chosen.NAME, chosen.SERVES_ONE, chosen.provisioner) == ("token", True, None)
