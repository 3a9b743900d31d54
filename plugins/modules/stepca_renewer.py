#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on the host for stepca_renewer. Its other half: plugins/action/stepca_renewer.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stepca_renewer
short_description: Let a host renew its certificates from step-ca by itself
version_added: 0.3.0
description:
  - Puts the renewer on the host, and for each certificate a file that says how it is renewed. The role
    P(privatepki.stepca.certificate#role) does this, and brings the timer that runs it.
  - The renewer is one file, made of the same code as M(privatepki.stepca.stepca_certificate). It needs Python and
    C(cryptography), and no secret of a provisioner. A host proves itself to the CA with the key of the certificate that it renews.
  - Called by hand it has the commands C(renew), C(status) and C(enrol); C(--help) explains them.
  - Certificates that no entry names keep their files.
extends_documentation_fragment:
  - privatepki.stepca._attributes
  - privatepki.stepca._connection
  - privatepki.stepca._provisioner
options:
  state:
    description:
      - V(absent) removes the renewer, all of its files and what it remembers. The certificates stay.
      - V(checked) looks at the options alone, on the controller, and fails for certificates that the renewer could never renew, or not
        in time. What else is wrong with an entry M(privatepki.stepca.stepca_certificate) says.
      - V(notified) does what O(notify) says, and nothing else. For users who may not install a renewer.
    type: str
    choices: [present, absent, checked, notified]
    default: present
  path:
    description:
      - Where the renewer goes.
    type: path
    default: /usr/local/lib/stepca/renewer.pyz
  config_path:
    description:
      - The folder of its files, one for each certificate. Nothing in them is secret.
    type: path
    default: /etc/stepca/renew.d
  entries:
    description:
      - The certificates. Each entry has the options of M(privatepki.stepca.stepca_certificate), with C(module_defaults) of that
        module, and those below. An entry with C(state=absent) is not renewed any more. With the last one the renewer itself goes,
        as with O(state=absent).
      - C(reload), a list of services to reload after a change. C(nginx), or C({name=nginx, action=restart}). Only what runs is
        reloaded.
      - C(run_after), a command as a list of words, to run after the reloads.
      - C(rollback), whether the former files come back where a reload or C(run_after) fails. Default C(false).
      - C(on_failure), a command as a list of words, to run when a renewal fails. It finds C(STEPCA_CERTIFICATE_PATH) and
        C(STEPCA_ERROR) in its environment.
      - C(served), a port (C(443)) or C(host:port) where the certificate is served. It is compared with the file after a reload, and
        in C(status).
      - C(pkcs12_password) cannot be kept on the host; C(pkcs12_password_file) serves instead.
    type: list
    elements: dict
    default: []
  notify:
    description:
      - The C(certificate_path) of certificates that were just replaced. The services of their entries are reloaded, each once,
        and C(run_after) is run, as after a renewal on the host. Where that fails, the task fails with everything else in place, and
        the next task or the next renewal tries again.
      - Certificates that an earlier run replaced without notifying anybody need not be named.
    type: list
    elements: path
    default: []
    version_added: 0.4.0
  interval:
    description:
      - How often the host looks whether something is due. It must divide a minute, an hour or a day into equal parts.
      - Each certificate must be due for at least that long before it ends, or the task fails; where the options do not show it, at its
        end, with everything set up. With O(unrenewable=warn) this is not looked at.
      - RV(schedule) has it in the words of systemd and cron, at an offset that belongs to the host.
    type: str
    default: 15m
  metrics_path:
    description:
      - The file that the renewer will write for node_exporter's textfile collector. Its folder must exist.
    type: path
  python:
    description:
      - The Python of the host that runs the renewer. By default the one that ran this module.
    type: path
    version_added: 0.4.0
  unrenewable:
    description:
      - What to do about a certificate that the renewer could never renew, because it is not for clients (no C(clientAuth)),
        the provisioner forbids renewal, the host does not reach the CA, or C(not_after) is a time. This is looked at when a
        certificate is new to the renewer, or its entry changed.
      - V(fail) leaves such a certificate out. V(warn) is for plays that renew by themselves; C(status) shows the certificate all
        the same.
    type: str
    choices: [fail, warn]
    default: fail
seealso:
  - module: privatepki.stepca.stepca_certificate
author:
  - privatepki.stepca contributors (@privatepki)
"""

EXAMPLES = r"""
- name: Let the host renew its certificate by itself
  privatepki.stepca.stepca_renewer:
    ca_url: https://ca.internal
    ca_fingerprint: 5575626f42f67b83bf2dd4c4cde6ccd2ea8c35e56a3a2c9ab5c0e6df0a8b8e6f
    entries:
      - certificate_path: /etc/nginx/tls/site.crt
        key_path: /etc/nginx/tls/site.key
        sans: ["{{ inventory_hostname }}"]
        reload: [nginx]
        served: "443"
  register: renewer

- name: Run it every quarter of an hour
  ansible.builtin.cron:
    cron_file: stepca-renewer
    name: renew certificates
    user: root
    minute: "{{ renewer.schedule.cron.split() | first }}"
    job: "{{ renewer.python }} {{ renewer.path }} renew"
"""

RETURN = r"""
reasons:
  description: What differed, in sentences. Empty if nothing did.
  returned: success
  type: list
  elements: str
  sample: ["/etc/stepca/renew.d/site.crt-0f3b5c1a.json is missing"]
path:
  description: Where the renewer is.
  returned: success
  type: str
  sample: /usr/local/lib/stepca/renewer.pyz
python:
  description: A Python of the host that can run it.
  returned: success
  type: str
  sample: /usr/bin/python3
configurations:
  description: The files of all certificates that the renewer knows now, those of other plays included.
  returned: success
  type: list
  elements: str
  sample: [/etc/stepca/renew.d/site.crt-0f3b5c1a.json]
folders:
  description:
    - The folders that the renewer has to write to, as the entries name them. Of each file the deepest whose name only root can change.
  returned: success
  type: list
  elements: str
  sample: [/etc/nginx/tls]
too_wide:
  description: Why a file has no such folder, in sentences, because the renewer would need all of C(/etc), say.
  returned: success
  type: list
  elements: str
  sample: []
backup_files:
  description: Where files are kept that stood in the places of the renewer's own and were not of its making.
  returned: success
  type: list
  elements: str
  sample: []
schedule:
  description: When this host has its turn, as C(on_calendar) of a systemd timer and as the five fields of C(cron).
  returned: success
  type: dict
  sample: {"on_calendar": "*-*-* *:10/15:50", "cron": "10,25,40,55 * * * *"}
"""

import os
import stat
import sys

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.privatepki.stepca.plugins.module_utils import _answering, _options, _zipapp
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import connections
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError, shown, unforeseen
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import (
    command,
    installation,
    notification,
    sandbox,
)

_COMMAND = command.__name__  # the renewer itself: with it, all that it needs is on the host


def entries_of(module):
    """The entries, with paths as this host reads them."""
    validator = ArgumentSpecValidator(_options.RENEWER_ENTRY)
    entries = [validator.validate(entry).validated_parameters for entry in module.params["entries"]]
    return [dict(entry, **octal_modes(module, entry)) for entry in entries]


def octal_modes(module, entry):
    """The modes of an entry as the renewer, which has nothing of Ansible, understands them: as a new file would get them."""
    new = os.stat_result((stat.S_IFREG | 0o600,) + (0,) * 9)
    octal = {}
    for name in ("mode", "key_mode"):
        mode = entry.get(name)
        if isinstance(mode, str) and mode and not mode.isdigit():
            try:
                octal[name] = "%04o" % module._symbolic_mode_to_octal(new, mode)
            except ValueError as error:
                raise OptionError("%s: %r is no mode: %s." % (name, mode, error)) from None
    return octal


def entries_to_keep(module, entries):
    """The entries, and how often the renewer looks at them where it is to renew them."""
    strict = module.params["unrenewable"] == "fail"
    return [dict(entry, interval=module.params["interval"]) for entry in entries] if strict else entries


def notify(module, entries):
    """(what was to be done, what failed): those who use certificates that were replaced, in sentences."""
    reasons, failed = notification.notify(entries, module.params["notify"], module.check_mode)
    return reasons, ["%s was replaced, but: %s" % problem for problem in sorted(failed.items())]


def set_up(module, entries):
    """Have the renewer's files say what the task says; installation.Installation."""
    options, exchange = module.params, module.params["_exchange"]
    sandbox.refuse_odd(options["python"] or sys.executable, "python")
    place = installation.Installation(options["path"], options["config_path"], module.check_mode)
    if options["state"] == "present":
        connection = connections.restore(exchange["connection"]) if exchange["connection"] else None
        strict = options["unrenewable"] == "fail"
        place.configure(entries_to_keep(module, entries), connection, options["metrics_path"], strict)
    if options["state"] == "absent" or place.is_idle(options["entries"]):
        place.remove(options["metrics_path"])
    else:
        place.install(_zipapp.build())
    return place


def outcome_of(module, place):
    """(result, problems) of the renewer's own files."""
    options, strict = module.params, module.params["unrenewable"] == "fail"
    for sentence in place.warnings + ([] if strict else place.problems):
        module.warn(shown(sentence))
    folders, too_wide = place.folders(options["metrics_path"])
    result = {
        "reasons": place.reasons,
        "path": options["path"],
        "python": options["python"] or sys.executable,
        "configurations": place.configurations(),
        "folders": folders,
        "too_wide": too_wide,
        "backup_files": place.backups,
        "diff": place.differences,
    }
    return result, (place.problems if strict else []) + place.too_rare


def work(module):
    """Notify, set the renewer up, or take it away, as the action plugin says."""
    reasons, problems, result = [], [], {}
    try:
        entries = entries_of(module) if module.params["state"] != "absent" else []
        reasons, problems = notify(module, entries)
        if module.params["state"] != "notified":
            result, more = outcome_of(module, set_up(module, entries))
            problems += more
    except Exception as error:
        return {"failed": True, "msg": " ".join([*problems, str(unforeseen(error))])}
    result["reasons"] = reasons + result.get("reasons", [])
    # Set up all the same: it is the action plugin that makes a failure of it.
    return dict(result, changed=bool(result["reasons"]), problems=problems)


def main():
    """Do it."""
    module = AnsibleModule(argument_spec=_options.spec(_options.RENEWER), supports_check_mode=True)
    _answering.run(module, work)


if __name__ == "__main__":
    main()
