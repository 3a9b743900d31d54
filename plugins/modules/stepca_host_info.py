#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on the host for stepca_host_info. Its other half: plugins/action/stepca_host_info.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stepca_host_info
short_description: List the certificates of a host and how they are
version_added: 0.4.0
description:
  - Lists the certificates that the renewer of the host knows, those that the task names, and what else lies in the same folders.
  - Changes nothing and asks no CA. One call reads all certificates of a host. The playbook C(privatepki.stepca.expiry_report) is made
    of it.
  - A certificate that cannot be read is listed with the reason.
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
      - Certificates to look at besides those that the renewer knows, each with the options of
        M(privatepki.stepca.stepca_certificate). Of these C(certificate_path), C(key_path), C(renew_before) and C(state) matter; what is
        V(absent) is left out. Nothing else goes to the host.
    type: list
    elements: dict
    default: []
  folders:
    description:
      - Folders to look into besides those of the certificates. What ends with C(.crt), C(.pem), C(.cer) or C(.cert) is looked at, up to
        200 files each. Certificates of CAs are left out.
    type: list
    elements: path
    default: []
  config_path:
    description:
      - Where the renewer has its files.
    type: path
    default: /etc/stepca/renew.d
seealso:
  - module: privatepki.stepca.stepca_certificate_info
  - module: privatepki.stepca.stepca_revoke
author:
  - privatepki.stepca contributors (@privatepki)
"""

EXAMPLES = r"""
- name: See how the certificates of a host are
  privatepki.stepca.stepca_host_info:
  register: host

- name: Fail where one has less than a day left
  ansible.builtin.assert:
    that: host.certificates | rejectattr('days_left', 'none') | map(attribute='days_left') | min > 1
"""

RETURN = r"""
certificates:
  description: A dictionary for each certificate.
  returned: success
  type: list
  elements: dict
  contains:
    certificate_path:
      description: Where it lies.
      type: str
      sample: /etc/nginx/tls/site.crt
    known_by:
      description: Who says that it is there, V(renewer), V(play) (the task names it) or V(folder) (it lies beside the others).
      type: str
      sample: renewer
    state:
      description: V(ok), V(due), V(failing) (something is wrong, or it is missing) or V(expired).
      type: str
      sample: ok
    problem:
      description: What is wrong, empty if nothing is.
      type: str
      sample: ""
    certificate:
      description: Facts of the certificate, as of M(privatepki.stepca.stepca_certificate). Null if there is none.
      type: dict
      sample: {"serial": "236871453013387650102857451012903411234", "sans": ["dns:web1.example.com"]}
    not_after:
      description: When the chain in the file ends.
      type: str
      sample: "2026-11-22T10:00:00Z"
    days_left:
      description: Days until then, negative once it has ended.
      type: float
      sample: 0.66
    served:
      description: Whether the port serves the certificate of the file, as far as the renewer knows of a port.
      type: bool
      sample: true
    last_success:
      description: When the renewer last found or put it in order.
      type: str
      sample: "2026-11-21T18:15:07Z"
    last_error:
      description: When the renewer last failed.
      type: str
      sample: "2026-11-20T18:15:07Z"
problems:
  description: Folders that could not be looked at, in sentences.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.privatepki.stepca.plugins.module_utils import _answering, _options
from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.inspection import survey
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import history
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates


def look(module):
    """The module's answer."""
    params = module.params
    exchange = params["_exchange"]
    now = durations.parse_time(exchange["now"], "now")
    roots = certificates.load(exchange["roots"].encode("ascii")) if exchange["roots"] else None
    found = survey.look(
        params["config_path"],
        history.FOLDER,
        params["certificates"],
        params["folders"],
        roots,
        exchange["fingerprints"],
        now,
    )
    return dict(found, changed=False)


def main():
    """Look."""
    module = AnsibleModule(argument_spec=_options.spec(_options.HOST_INFO), supports_check_mode=True)
    _answering.run(module, look)


if __name__ == "__main__":
    main()
