#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on the host for stepca_doctor. Its other half: plugins/action/stepca_doctor.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stepca_doctor
short_description: Find out why certificates are not issued or renewed
version_added: 0.4.0
description:
  - Looks at all that a certificate from step-ca depends on, on the controller, at the CA and on the host, and says what is wrong and
    what to do. The playbook C(privatepki.stepca.doctor) shows it as a table for a fleet.
  - Issues nothing and changes nothing. A token is made and looked at, and never sent.
  - Does not fail because of what it finds.
extends_documentation_fragment:
  - privatepki.stepca._attributes
  - privatepki.stepca._connection
  - privatepki.stepca._provisioner
attributes:
  diff_mode:
    support: none
    details:
      - Changes nothing, so there is nothing to show.
options:
  certificates:
    description:
      - What the host shall have, as the role P(privatepki.stepca.certificate#role) takes it. The lives asked for (C(not_after)) are
        compared with what the provisioner allows. Nothing of it goes to the host.
    type: list
    elements: dict
    default: []
  renewer:
    description:
      - Who renews on this host, as C(stepca_renewer) of the role says. With V(none) neither timer nor route is missed.
    type: str
    choices: [systemd, cron, none]
    default: systemd
  renewer_path:
    description:
      - Where the renewer is.
    type: path
    default: /usr/local/lib/stepca/renewer.pyz
  renewer_config_path:
    description:
      - The folder of its files, one for each certificate. Each must be due for long enough that the renewer looks meanwhile.
    type: path
    default: /etc/stepca/renew.d
    version_added: 0.4.0
seealso:
  - module: privatepki.stepca.stepca_health
  - module: privatepki.stepca.stepca_host_info
author:
  - privatepki.stepca contributors (@privatepki)
"""

EXAMPLES = r"""
- name: Look at all that could be wrong
  privatepki.stepca.stepca_doctor:
  register: doctor

- name: Show what is
  ansible.builtin.debug:
    msg: "{{ doctor.findings | rejectattr('fine', 'equalto', true) }}"
"""

RETURN = r"""
findings:
  description: A dictionary for each thing that was looked at, in the order in which a certificate depends on them.
  returned: success
  type: list
  elements: dict
  contains:
    check:
      description: What was looked at.
      type: str
      sample: route
    fine:
      description: Whether it is as it should be. Null where there is nothing to judge.
      type: bool
      sample: true
    found:
      description: What was found, and what to do where that is not as it should be.
      type: str
      sample: The host reaches https://ca.internal.
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.privatepki.stepca.plugins.module_utils import _answering, _options
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import connections
from ansible_collections.privatepki.stepca.plugins.module_utils._core.inspection import checkup


def look(module):
    """The module's answer."""
    exchange = module.params["_exchange"]["connection"]
    connection = connections.restore(exchange) if exchange else None
    found = checkup.look(connection, module.params["renewer_path"], module.params["renewer_config_path"])
    return dict(found, changed=False)


def main():
    """Look."""
    module = AnsibleModule(argument_spec=_options.spec(_options.DOCTOR), supports_check_mode=True)
    _answering.run(module, look)


if __name__ == "__main__":
    main()
