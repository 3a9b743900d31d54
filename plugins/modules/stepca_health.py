#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on the host for stepca_health, where the host is to ask. Its other half: plugins/action/stepca_health.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stepca_health
short_description: Ask a step-ca authority whether it is well
version_added: 0.1.0
description:
  - Asks the CA for its health, over TLS that is pinned to its root, and tells which URL answered, how far the clocks are apart, and
    how long the CA's own certificate lasts.
  - Fails with the reason of every URL when none is healthy.
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
  wait:
    description:
      - Keep asking for this long until the CA is healthy, as a duration. V(0s) asks once.
    type: str
    default: 0s
seealso:
  - module: privatepki.stepca.stepca_bootstrap
  - module: privatepki.stepca.stepca_certificate
author:
  - privatepki.stepca contributors (@privatepki)
"""

EXAMPLES = r"""
- name: Wait until the CA is there
  privatepki.stepca.stepca_health:
    ca_url: https://ca.internal
    ca_fingerprint: "{{ root_fingerprint }}"
    wait: 2m

- name: See whether the hosts themselves reach the CA
  privatepki.stepca.stepca_health:
    request_from: host
"""

RETURN = r"""
status:
  description: What the CA says of itself.
  returned: success
  type: str
  sample: ok
url:
  description: The URL that answered.
  returned: success
  type: str
  sample: https://ca.internal
version:
  description: Version of step-ca, C(N/A) if it was built without one.
  returned: success
  type: str
  sample: 0.30.2
clock_skew:
  description: Seconds by which the CA's clock is ahead of the asker's.
  returned: success
  type: int
  sample: 0
tls_not_after:
  description: End of the CA's own TLS certificate.
  returned: success
  type: str
  sample: "2030-01-02T00:00:00Z"
tried:
  description: Each URL that was asked, with what came of it.
  returned: success
  type: list
  elements: dict
  contains:
    url:
      description: The URL.
      type: str
      sample: https://ca.internal
    outcome:
      description: What came of it.
      type: str
      sample: ok
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.privatepki.stepca.plugins.module_utils import _answering, _options
from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import client, connections, https


def ask(module):
    """The module's answer, from here."""
    connection = connections.restore(module.params["_exchange"])
    wait = durations.parse_duration(module.params["wait"], "wait").total_seconds()
    return dict(client.wait_until_healthy(lambda: client.StepCA(connection, https.Transport), wait), changed=False)


def main():
    """Ask from here."""
    module = AnsibleModule(argument_spec=_options.spec(_options.HEALTH), supports_check_mode=True)
    _answering.run(module, ask)


if __name__ == "__main__":
    main()
