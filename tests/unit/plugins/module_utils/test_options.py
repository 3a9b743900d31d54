# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Options: every module takes all of the group, secrets are secret, and nothing passes the controller by."""

from __future__ import annotations

import copy

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils import _options
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate.options import (
    OPTIONS,
    SHARED,
    SINGLE,
    WRITTEN,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import keys

MODULES = {
    "doctor": _options.DOCTOR,
    "health": _options.HEALTH,
    "host_info": _options.HOST_INFO,
    "bootstrap": _options.BOOTSTRAP,
    "certificate": _options.CERTIFICATE,
    "info": _options.INFO,
    "sign": _options.SIGN,
    "revoke": _options.REVOKE,
}
SECRETS = {"provisioner_key", "provisioner_password", "token"}
#: What reaches a host: a password of a file there, and with request_from: host tokens that serve once.
SENT = {"template_data", "pkcs12_password", "_tokens"}


class Failed(Exception):
    """The module ended with fail_json."""


class Module:
    """What refuse_bypass needs of an AnsibleModule."""

    _name = "privatepki.stepca.stepca_certificate"

    def __init__(self, **params):
        self.params = dict({name: None for name in _options.spec(_options.CERTIFICATE)}, **params)

    def fail_json(self, msg):
        raise Failed(msg)


@pytest.mark.parametrize("own", MODULES.values(), ids=list(MODULES))
def test_every_module_takes_the_options_of_the_group(own):
    spec = _options.spec(own)
    assert set(spec) == set(own) | set(_options.CONNECTION) | set(_options.PROVISIONER) | {"_exchange", "_tokens"}
    assert not set(own) & (set(_options.CONNECTION) | set(_options.PROVISIONER))


def test_options_of_the_group_have_no_default_and_no_place_on_the_host():
    for option in list(_options.CONNECTION.values()) + list(_options.PROVISIONER.values()):
        assert not {"default", "required", "fallback"} & set(option)
        assert option["type"] != "path"


def everything():
    """(name, option) of all options, those of entries too."""
    for own in MODULES.values():
        for name, option in _options.spec(own).items():
            yield name, option
            yield from option.get("options", {}).items()


def test_secrets_are_secret_and_nothing_else_is():
    assert {name for name, option in everything() if option.get("no_log")} == SECRETS | SENT


def test_what_sounds_secret_says_that_it_is_none():
    sounding = [
        (name, option) for name, option in everything() if any(word in name for word in ("key", "pass", "token"))
    ]
    assert [name for name, option in sounding if "no_log" not in option and option["type"] != "bool"] == []


def test_variables_of_the_environment_belong_to_options():
    assert set(_options.ENVIRONMENT) <= set(_options.CONNECTION) | set(_options.PROVISIONER)
    every = [variable for variables in _options.ENVIRONMENT.values() for variable in variables]
    assert len(every) == len(set(every))
    assert all(variables[0].startswith("STEPCA_") for variables in _options.ENVIRONMENT.values())


def test_variables_that_hold_a_secret_are_known():
    holding = {variable for name in SECRETS for variable in _options.ENVIRONMENT.get(name, ())}
    assert set(_options.SECRET_ENVIRONMENT) == holding


def test_an_entry_has_the_options_of_a_single_certificate():
    entry = _options.CERTIFICATE["certificates"]["options"]
    flat = set(_options.CERTIFICATE) - {"certificates"}
    assert set(entry) == flat == set(SINGLE + SHARED)
    for name in flat:
        assert {key: value for key, value in entry[name].items() if key not in ("default", "required")} == {
            key: value for key, value in _options.CERTIFICATE[name].items() if key != "default"
        }


def test_shared_options_of_an_entry_have_no_default_that_would_hide_the_flat_one():
    entry = _options.CERTIFICATE["certificates"]["options"]
    assert [name for name in SHARED if "default" in entry[name]] == []


def test_types_of_keys_are_those_that_can_be_made():
    kinds = _options.CERTIFICATE["key_type"]["choices"]
    assert len(kinds) == 7
    assert all(keys.type_of(keys.generate(kind)) == kind for kind in kinds if "rsa" not in kind)


def test_what_two_modules_take_is_declared_once():
    for other in (_options.SIGN, _options.INFO, _options.RENEWER_ENTRY):
        for name in set(other) & set(_options.CERTIFICATE):
            shapes = [
                (option["type"], option.get("choices"), option.get("elements"))
                for option in (other[name], _options.CERTIFICATE[name])
            ]
            assert shapes[0] == shapes[1], name


def test_a_renewal_needs_whatever_says_what_is_written():
    """What is not kept for it is decided by plays alone: removal, revocation, templates, and what holds a secret."""
    by_plays = {name for name, option in OPTIONS.items() if not option.renewed}
    assert by_plays == {
        *("state", "csr_path", "pkcs12_password", "template_data", "force", "check_revocation", "revoke", "reason"),
        *("make_folder", "seuser", "serole", "setype", "selevel"),
    }
    assert not [name for name, option in OPTIONS.items() if option.no_log and (option.renewed or option.watched)]
    assert {name for name in OPTIONS if name.endswith("_path") and name != "csr_path"} == set(WRITTEN)


@pytest.mark.parametrize("own", MODULES.values(), ids=list(MODULES))
def test_paths_of_the_host_are_text_on_the_controller(own):
    before = copy.deepcopy(own)
    checked = _options.for_controller(own)
    assert own == before
    flat = list(checked.values()) + [one for option in checked.values() for one in option.get("options", {}).values()]
    assert "path" not in [option["type"] for option in flat]
    assert {name: dict(option, type="x", options=0) for name, option in checked.items()} == {
        name: dict(option, type="x", options=0) for name, option in own.items()
    }


def test_a_module_without_its_action_plugin_refuses():
    with pytest.raises(
        Failed, match="did not run.* Call the module by its full name, privatepki.stepca.stepca_certificate"
    ):
        _options.refuse_bypass(Module())
    _options.refuse_bypass(Module(_exchange={}))


@pytest.mark.parametrize("name", sorted(_options.PROVISIONER))
def test_a_secret_that_came_to_the_host_is_an_error_and_not_quoted(name):
    with pytest.raises(Failed, match="%s came to the host" % name) as caught:
        _options.refuse_bypass(Module(_exchange={}, **{name: "canary"}))
    assert "canary" not in str(caught.value)
