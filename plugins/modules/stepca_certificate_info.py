#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on the host for stepca_certificate_info. Its other half: plugins/action/stepca_certificate_info.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stepca_certificate_info
short_description: Look at a certificate from step-ca on a host
version_added: 0.2.0
description:
  - Tells what a certificate on a host is, whether its key and its chain belong to it, and when it is due. Changes nothing.
  - The CA is asked only for O(check_revocation), and for the roots where the record beside the certificate does not have them.
extends_documentation_fragment:
  - privatepki.stepca._attributes
  - privatepki.stepca._connection
  - privatepki.stepca._provisioner
attributes:
  diff_mode:
    support: none
options:
  certificate_path:
    description:
      - The file, PEM, the leaf followed by the intermediates. An absolute path.
      - DER and PKCS#7 are looked at, too; RV(problem) says so, because most services do not read them.
    type: path
    required: true
  key_path:
    description:
      - The private key. Given, RV(key_matches) tells whether it belongs to the certificate.
    type: path
  renew_before:
    description:
      - How much of the life is left when it is due, as a share of it or as a duration. As in M(privatepki.stepca.stepca_certificate).
    type: str
    default: 33%
  check_revocation:
    description:
      - Look the certificate up in the CA's list of revoked certificates.
    type: bool
    default: false
seealso:
  - module: privatepki.stepca.stepca_certificate
author:
  - privatepki.stepca contributors (@privatepki)
"""

EXAMPLES = r"""
- name: Look at the certificate of the web server
  privatepki.stepca.stepca_certificate_info:
    certificate_path: /etc/nginx/tls/site.crt
    key_path: /etc/nginx/tls/site.key
  register: site

- name: Refuse to go on with a certificate that ends within two days
  ansible.builtin.assert:
    that: site.exists and site.days_left > 2
"""

RETURN = r"""
exists:
  description: Whether the file holds a certificate that can be read.
  returned: success
  type: bool
  sample: true
certificate:
  description: Facts of the certificate, as of M(privatepki.stepca.stepca_certificate). Null if there is none.
  returned: success
  type: dict
  sample: {"serial": "236871453013387650102857451012903411234", "sans": ["dns:web1.example.com"]}
key_matches:
  description: Whether the key belongs to the certificate. Null without O(key_path).
  returned: success
  type: bool
  sample: true
chain_ok:
  description: Whether the chain in the file leads to a trusted root.
  returned: success
  type: bool
  sample: true
days_left:
  description: Days until the chain ends, negative once it has ended.
  returned: success
  type: float
  sample: 0.66
due:
  description: Whether it is due. True, and all else null, where there is no certificate.
  returned: success
  type: bool
  sample: false
revoked:
  description: Whether the CA revoked it. Null unless O(check_revocation) is set.
  returned: success
  type: bool
problem:
  description:
    - What the file is, where it is not what services take for a certificate, such as DER, a private key, or a bundle of more than ten
      certificates, of which the first is told of. Null where nothing is wrong with it, or where there is none.
  returned: success
  type: str
  sample: "/etc/ssl/site.der is a certificate in DER, which most services do not read: `openssl x509 -inform DER` writes PEM"
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.privatepki.stepca.plugins.module_utils import _answering, _options
from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import client, connections, crl, https
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import info
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import places
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates


def look(module):
    """The module's answer."""
    params = module.params
    exchange = params["_exchange"]
    now = durations.parse_time(exchange["now"], "now")
    threshold = durations.parse_threshold(params["renew_before"], "renew_before")
    path = places.resolve(params["certificate_path"], "certificate_path")
    roots = certificates.load(exchange["roots"].encode("ascii")) if exchange["roots"] else None
    authority = (
        client.StepCA(connections.restore(exchange["by_host"]), https.Transport) if exchange["by_host"] else None
    )
    found = info.look(path, params["key_path"], threshold, roots, exchange["fingerprints"], now)
    if authority and found.get("needs_roots"):
        found = info.look(path, params["key_path"], threshold, authority.trust(), exchange["fingerprints"], now)
    if authority and params["check_revocation"] and found["exists"]:
        serial = int(found["certificate"]["serial"])
        found["revoked"] = bool(crl.fetch(authority, now).sentence(serial))
    return dict(found, changed=False)


def main():
    """Look."""
    module = AnsibleModule(argument_spec=_options.spec(_options.INFO), supports_check_mode=True)
    _answering.run(module, look)


if __name__ == "__main__":
    main()
