#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of stepca_sign, which runs on the controller alone: plugins/action/stepca_sign.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stepca_sign
short_description: Have a certificate request signed by step-ca
version_added: 0.2.0
description:
  - Has a request signed that comes as text, and returns the certificate as text. For appliances, Kubernetes secrets, and whatever
    is not a file on a host.
  - It runs on the controller alone. No host is asked, and no file is written.
  - It always issues, so it is always "changed". For files on a host, M(privatepki.stepca.stepca_certificate) issues only what is due.
  - Names come from the play. The request must have exactly the names of the task, and must not ask for anything dangerous.
extends_documentation_fragment:
  - privatepki.stepca._attributes
  - privatepki.stepca._connection
  - privatepki.stepca._provisioner
attributes:
  idempotent:
    support: none
    details:
      - It issues at every run.
  diff_mode:
    support: none
options:
  csr:
    description:
      - The request, PEM. What it may ask for is the same as with O(privatepki.stepca.stepca_certificate#module:csr_path).
      - What it asks for and the CA does not give is a warning.
    type: str
    required: true
  sans:
    description:
      - The names of the certificate, as in M(privatepki.stepca.stepca_certificate). Those of the request must be the same.
      - Without it, O(common_name) alone. One of both is required.
    type: list
    elements: str
  common_name:
    description:
      - The commonName, up to 64 characters. Without it, the first of O(sans) that is short enough.
    type: str
  not_before:
    description:
      - Start of validity, as a time (RFC 3339) or as a duration from now. Without it, the CA's own.
    type: raw
  not_after:
    description:
      - End of validity, as a duration from O(not_before) or as a time (RFC 3339). Without it, the CA's default.
    type: raw
  template_data:
    description:
      - Data for the template of the provisioner. It is hidden in results and journals like a password.
    type: dict
seealso:
  - module: privatepki.stepca.stepca_certificate
  - module: privatepki.stepca.stepca_revoke
author:
  - privatepki.stepca contributors (@privatepki)
"""

EXAMPLES = r"""
- name: Have the request of a switch signed
  privatepki.stepca.stepca_sign:
    csr: "{{ switch_facts.csr }}"
    sans: [switch7.example.com]
    not_after: 24h
  register: signed

- name: Put the certificate where the play needs it
  ansible.builtin.set_fact:
    switch_certificate: "{{ signed.certificate_pem }}"
"""

RETURN = r"""
certificate:
  description: Facts of the certificate, as of M(privatepki.stepca.stepca_certificate). Null in check mode.
  returned: success
  type: dict
  sample: {"serial": "236871453013387650102857451012903411234", "sans": ["dns:switch7.example.com"]}
certificate_pem:
  description: The leaf, followed by the intermediates, PEM. Null in check mode.
  returned: success
  type: str
  sample: "-----BEGIN CERTIFICATE-----..."
chain_pem:
  description: The intermediates alone, PEM. Null in check mode.
  returned: success
  type: str
  sample: "-----BEGIN CERTIFICATE-----..."
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.privatepki.stepca.plugins.module_utils import _options


def main():
    """Never reached from a task: the action plugin of the same name does it all."""
    module = AnsibleModule(argument_spec=_options.spec(_options.SIGN), supports_check_mode=True)
    _options.refuse_bypass(module)
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
