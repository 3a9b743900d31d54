#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on the host for stepca_bootstrap. Its other half: plugins/action/stepca_bootstrap.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stepca_bootstrap
short_description: Have a host trust the roots of a step-ca authority
version_added: 0.1.0
description:
  - Puts the CA's root certificates on a host, in a file of their own, in the system's trust store, and where the C(step) client looks
    for them. Roots that are known by fingerprint only are fetched by the controller, and proved by the fingerprint.
  - Nothing is asked of the CA when the host holds these roots already.
extends_documentation_fragment:
  - privatepki.stepca._attributes
  - privatepki.stepca._connection
  - privatepki.stepca._provisioner
options:
  state:
    description:
      - V(present) makes sure that the roots are there.
      - V(absent) takes away what V(present) would have put there. What else stands in C(config/defaults.json) of O(step_path) stays.
    type: str
    choices: [present, absent]
    default: present
  root_path:
    description:
      - This file is made to hold exactly the trusted roots, PEM. An absolute path. Its folder must exist, unless O(make_folder) is V(true).
      - At least one of this, O(system_trust) and O(step_path) is required.
    type: path
  make_folder:
    description:
      - Make the folder of O(root_path), 0755, where it is missing.
      - O(state=absent) takes away again what was made so, as far as nothing else is in it. A hidden file beside O(root_path) remembers it.
    type: bool
    default: false
  system_trust:
    description:
      - Also put each root into the trust store of the system, which is that of Debian, Ubuntu, EL, Fedora, SUSE, Alpine or Arch.
        Java's store follows where the distribution keeps it in step, as these do.
      - V(false) leaves the trust store alone.
      - Each root there is a file that says which O(root_path) it is there for. A root that a task does not name any more leaves with
        its last owner, so several CAs and a rotation do not get in each other's way.
      - A task without O(root_path) and O(step_path) owns what it names together. Once it names V([new]) instead of V([old, new]), the
        old root goes. Where it names another root at once, the former one stays. Take it out with O(state=absent) and its fingerprint,
        which without a path takes a root out whatever it is there for.
    type: bool
    default: false
  system_trust_folder:
    description:
      - Where the system looks for added roots, for a system whose trust store is not known here. Needs O(system_trust_command).
    type: path
  system_trust_command:
    description:
      - Program and arguments that have the system take over what is in O(system_trust_folder). No shell is involved.
    type: list
    elements: str
  step_path:
    description:
      - Also write C(config/defaults.json) and C(certs/root_ca.crt) into this folder, as the C(step) client expects them.
      - Needs O(ca_url).
    type: path
  accept_new_root:
    description:
      - Where a file holds roots and none of them is trusted any more, it is probably another CA's, and the task fails.
        V(true) replaces them.
    type: bool
    default: false
  owner:
    description: Owner of O(root_path). Enforced when given.
    type: str
  group:
    description: Group of O(root_path). Enforced when given.
    type: str
  mode:
    description: Mode of O(root_path), as in M(ansible.builtin.file). Enforced; V(0644) where it is not given.
    type: raw
seealso:
  - module: privatepki.stepca.stepca_certificate
author:
  - privatepki.stepca contributors (@privatepki)
"""

EXAMPLES = r"""
- name: Trust the CA on this host, for all its programs
  privatepki.stepca.stepca_bootstrap:
    ca_url: https://ca.internal
    ca_fingerprint: "{{ root_fingerprint }}"
    root_path: /etc/stepca/roots.pem
    system_trust: true

- name: Trust the old root and the new one while the root is rotated
  privatepki.stepca.stepca_bootstrap:
    ca_fingerprint:
      - "{{ old_root_fingerprint }}"
      - "{{ new_root_fingerprint }}"
    root_path: /etc/stepca/roots.pem
    system_trust: true

- name: Trust the CA on a system whose trust store is not known here
  privatepki.stepca.stepca_bootstrap:
    ca_url: https://ca.internal
    ca_fingerprint: "{{ root_fingerprint }}"
    system_trust: true
    system_trust_folder: /usr/local/share/certs
    system_trust_command: [certctl, rehash]

- name: Take a root out of the trust store, whatever it is there for
  privatepki.stepca.stepca_bootstrap:
    state: absent
    ca_fingerprint: "{{ old_root_fingerprint }}"
    system_trust: true

- name: Forget the CA
  privatepki.stepca.stepca_bootstrap:
    state: absent
    root_path: /etc/stepca/roots.pem
    system_trust: true
"""

RETURN = r"""
reasons:
  description: What differed, in sentences. Empty if nothing did.
  returned: success
  type: list
  elements: str
  sample: ["/etc/stepca/roots.pem is missing"]
roots:
  description: The trusted roots, as far as they are known; with O(state=absent) those that were taken away.
  returned: success
  type: list
  elements: dict
  contains:
    fingerprint:
      description: SHA-256, hex.
      type: str
      sample: 0d7d3834cf187726cf331c40a31fa7ef6b29ba4df601416c9788f6ee01058cf3
    subject:
      description: Subject, RFC 4514.
      type: str
      sample: CN=Example Root CA,O=Example
    not_after:
      description: End of validity.
      type: str
      sample: "2040-01-01T00:00:00Z"
    system_trust_path:
      description: Where this root lies in the system's trust store. Null without O(system_trust).
      type: str
      sample: /usr/local/share/ca-certificates/stepca-0d7d3834cf187726.crt
backup_files:
  description: Where files are kept that held something else than roots, or nothing that can be read.
  returned: success
  type: list
  elements: str
  sample: []
system_trust_path:
  description: Where the first root lies in the system's trust store. Null without O(system_trust).
  returned: success
  type: str
  sample: /usr/local/share/ca-certificates/stepca-0d7d3834cf187726.crt
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.privatepki.stepca.plugins.module_utils import _answering, _options
from ansible_collections.privatepki.stepca.plugins.module_utils._attributes import Attributes
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import client, connections, https
from ansible_collections.privatepki.stepca.plugins.module_utils._core.trust import roots


def work(module):
    """What is to be done about each place, then do it unless in check mode."""
    options, connection = module.params, connections.restore(module.params["_exchange"])
    attributes = {"root": {name: options[name] for name in ("owner", "group", "mode")}}
    wanted = roots.Wanted(
        present=options["state"] == "present",
        root_path=options["root_path"],
        step_path=options["step_path"],
        system_trust=options["system_trust"],
        accept_new_root=options["accept_new_root"],
        fingerprints=connection.fingerprints,
        url=connection.urls[0] if connection.urls else None,
        make_folder=options["make_folder"],
        system_trust_folder=options["system_trust_folder"],
        system_trust_command=options["system_trust_command"],
    )
    authority = client.StepCA(connection, https.Transport)
    ask = authority.trust if options["_exchange"]["ask_from_host"] else None
    plan = roots.examine(
        wanted, connection.roots, Attributes(module, attributes, module.check_mode), module.check_mode, ask
    )
    if plan.needs_roots:
        return {"changed": False, "needs_roots": True}
    warnings, backups = plan.warnings, []
    if not module.check_mode:
        applied, backups = roots.apply(
            wanted, plan, Attributes(module, attributes, module.check_mode), module.run_command
        )
        warnings += applied
    return {
        "changed": bool(plan.reasons),
        "needs_roots": False,
        "reasons": plan.reasons,
        "roots": plan.roots,
        "system_trust_path": plan.roots[0]["system_trust_path"] if plan.roots else None,
        "diff": {"before": plan.before, "after": plan.after},
        "backup_files": backups,
        "told": authority.warnings + warnings,
    }


def main():
    """Compare and write, as the action plugin says."""
    module = AnsibleModule(argument_spec=_options.spec(_options.BOOTSTRAP), supports_check_mode=True)
    _answering.run(module, work)


if __name__ == "__main__":
    main()
