# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The options of every module, each written once. Their documentation: plugins/doc_fragments, of the same names.

Modules and action plugins build their argument specs here; environment names are read on the controller only.
"""

from __future__ import annotations

__all__ = [
    "BOOTSTRAP",
    "CERTIFICATE",
    "CONNECTION",
    "DISPOSABLE_CA",
    "DOCTOR",
    "ENVIRONMENT",
    "EXCHANGE",
    "HEALTH",
    "HOST_INFO",
    "INFO",
    "PROVISIONER",
    "RENEWER",
    "RENEWER_ENTRY",
    "REVOKE",
    "SECRET_ENVIRONMENT",
    "SIGN",
    "for_controller",
    "refuse_bypass",
    "spec",
]

from ._core.certificate import options
from ._core.renewer import defaults

#: Where the CA is and whom to trust.
CONNECTION = {
    "ca_url": {"type": "list", "elements": "str"},
    "ca_fingerprint": {"type": "list", "elements": "str"},
    "ca_root": {"type": "str"},
    "ca_root_path": {"type": "str"},
    "ca_name": {"type": "str"},
    "timeout": {"type": "str"},
    "retries": {"type": "int"},
    "request_from": {"type": "str", "choices": ["controller", "host"]},
}

#: Who vouches for a certificate: read on the controller, never sent to a host.
PROVISIONER = {
    "provisioner": {"type": "str"},
    "provisioner_key": {"type": "raw", "no_log": True},
    "provisioner_key_path": {"type": "str", "no_log": False},
    "provisioner_password": {"type": "str", "no_log": True},
    "provisioner_password_file": {"type": "str", "no_log": False},
    "token": {"type": "str", "no_log": True},
    "token_lifetime": {"type": "str", "no_log": False},
}

#: The channel between an action plugin and its module.
EXCHANGE = {"_exchange": {"type": "dict"}, "_tokens": {"type": "dict", "no_log": True}}

HEALTH = {"wait": {"type": "str", "default": "0s"}}

BOOTSTRAP = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "root_path": {"type": "path"},
    "make_folder": {"type": "bool", "default": False},
    "system_trust": {"type": "bool", "default": False},
    "system_trust_folder": {"type": "path"},
    "system_trust_command": {"type": "list", "elements": "str"},
    "step_path": {"type": "path"},
    "accept_new_root": {"type": "bool", "default": False},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "raw"},
}

REVOKE = {
    "serial": {"type": "str"},
    "certificate_path": {"type": "path"},
    "kind": {"type": "str", "choices": ["x509"], "default": "x509"},
    "reason": {"type": "str", "default": "unspecified"},
}

_SIGNED = ("sans", "common_name", "not_before", "not_after", "template_data")
SIGN = {
    "csr": {"type": "str", "required": True},
    **{name: spec for name, spec in options.flat().items() if name in _SIGNED},
}

INFO = {
    name: dict(spec, required=True) if name == "certificate_path" else spec
    for name, spec in options.flat().items()
    if name in ("certificate_path", "key_path", "renew_before", "check_revocation")
}

HOST_INFO = {
    "certificates": {"type": "list", "elements": "dict", "default": []},
    "folders": {"type": "list", "elements": "path", "default": []},
    "config_path": {"type": "path", "default": defaults.CONFIGURATIONS},
}

DOCTOR = {
    "certificates": {"type": "list", "elements": "dict", "default": []},
    "renewer": {"type": "str", "choices": ["systemd", "cron", "none"], "default": "systemd"},
    "renewer_path": {"type": "path", "default": defaults.PROGRAM},
    "renewer_config_path": {"type": "path", "default": defaults.CONFIGURATIONS},
}

#: One certificate, flat; or many, each entry with the same options.
CERTIFICATE = dict(options.flat(), certificates={"type": "list", "elements": "dict", "options": options.entry()})

RENEWER = {
    "state": {"type": "str", "choices": ["present", "absent", "checked", "notified"], "default": "present"},
    "path": {"type": "path", "default": defaults.PROGRAM},
    "config_path": {"type": "path", "default": defaults.CONFIGURATIONS},
    "entries": {"type": "list", "elements": "dict", "default": []},
    "notify": {"type": "list", "elements": "path", "default": []},
    "interval": {"type": "str", "default": "15m"},
    "metrics_path": {"type": "path"},
    "python": {"type": "path"},
    "unrenewable": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
}
#: What an entry of stepca_renewer may say: one certificate, and who is to know of a renewal.
RENEWER_ENTRY = dict(
    options.entry(),
    reload={"type": "list", "elements": "raw"},
    run_after={"type": "list", "elements": "str"},
    on_failure={"type": "list", "elements": "str"},
    rollback={"type": "bool"},
    served={"type": "str"},
)

#: It makes its own CA, so it takes no option of another; everything is on the controller.
DISPOSABLE_CA = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "folder": {"type": "path"},
    "address": {"type": "str", "default": "127.0.0.1"},
    "names": {"type": "list", "elements": "str", "default": []},
    "port": {"type": "int"},
    "program": {"type": "path"},
    "image": {"type": "str"},
    "max_lifetime": {"type": "str", "default": "90d"},
    "provisioner": {"type": "str", "default": "ansible"},
}

#: Environment variables of the controller, first found wins.
ENVIRONMENT = {
    "ca_url": ("STEPCA_URL", "STEP_CA_URL", "CERTCTL_STEPCA_URL"),
    "ca_fingerprint": ("STEPCA_FINGERPRINT", "STEP_FINGERPRINT"),
    "ca_root_path": ("STEPCA_ROOT", "STEP_ROOT"),
    "provisioner": ("STEPCA_PROVISIONER", "STEP_PROVISIONER", "CERTCTL_STEPCA_PROVISIONER"),
    "provisioner_key": ("STEPCA_PROVISIONER_KEY",),
    "provisioner_key_path": ("STEPCA_PROVISIONER_KEY_PATH", "CERTCTL_STEPCA_KEY_PATH"),
    "provisioner_password": ("STEPCA_PROVISIONER_PASSWORD", "CERTCTL_STEPCA_PASSWORD"),
    "provisioner_password_file": ("STEPCA_PROVISIONER_PASSWORD_FILE", "STEP_PROVISIONER_PASSWORD_FILE"),
}
#: Those that hold a secret itself; as a task's `environment:` they would travel to the host.
SECRET_ENVIRONMENT = ("STEPCA_PROVISIONER_KEY", "STEPCA_PROVISIONER_PASSWORD", "CERTCTL_STEPCA_PASSWORD")


def spec(*groups) -> dict:
    """The argument spec of a module: its own options and those of every member of the action group."""
    merged = {}
    for group in groups + (CONNECTION, PROVISIONER, EXCHANGE):
        merged.update(group)
    return merged


def for_controller(own: dict) -> dict:
    """A module's own options as the action plugin checks them: a host's path is text there, its ~ is the host's."""
    checked = {}
    for name, option in own.items():
        checked[name] = dict(option, type="str") if option["type"] == "path" else dict(option)
        if "options" in option:
            checked[name]["options"] = for_controller(option["options"])
    return checked


def refuse_bypass(module) -> None:
    """Fail unless the action plugin of the same name has run before: it keeps secrets on the controller."""
    if module.params["_exchange"] is None:
        module.fail_json(
            msg="The action plugin of this module did not run, so nothing kept the provisioner's secrets on the controller. "
            "Call the module by its full name, privatepki.stepca.%s, from a task." % module._name.rsplit(".", 1)[-1]
        )
    sent = [name for name in PROVISIONER if module.params.get(name) is not None]
    if sent:
        module.fail_json(
            msg="%s came to the host, where no option of the provisioner may be. Please report this." % ", ".join(sent)
        )
