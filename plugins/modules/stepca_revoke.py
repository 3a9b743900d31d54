#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on the host for stepca_revoke. Its other half: plugins/action/stepca_revoke.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stepca_revoke
short_description: Revoke a certificate at step-ca
version_added: 0.2.0
description:
  - Revokes a certificate by its serial number, or the one in a file on the host. The controller asks the CA.
  - Revoking what is already revoked changes nothing.
  - step-ca revokes passively. A revoked certificate is not renewed any more, and stands in the CA's list where the CA publishes one;
    the CA signs its key again, and those who do not look at the list go on trusting it.
extends_documentation_fragment:
  - privatepki.stepca._attributes
  - privatepki.stepca._connection
  - privatepki.stepca._provisioner
attributes:
  check_mode:
    details:
      - Says "changed", unless the CA publishes a list of revoked certificates that has it.
  diff_mode:
    support: none
options:
  serial:
    description:
      - The serial number, in decimal, or in hex with C(0x) before it or colons between its bytes.
      - This or O(certificate_path) is required. The CA does not tell whether it ever issued such a certificate.
    type: str
  certificate_path:
    description:
      - A file on the host. Its first certificate is revoked, if this CA issued it.
      - The host's word is taken for what lies there. Of a host that is not trusted any more, give O(serial) instead.
    type: path
  kind:
    description:
      - What kind of certificate it is.
    type: str
    choices: [x509]
    default: x509
  reason:
    description:
      - Why, a name or number of RFC 5280, such as V(keyCompromise) or V(superseded). 7 is not used there and refused.
    type: str
    default: unspecified
notes:
  - With O(token), the token must have been made for revoking this serial, as the lookup with C(purpose=revoke) does.
seealso:
  - module: privatepki.stepca.stepca_certificate
  - plugin: privatepki.stepca.stepca_token
    plugin_type: lookup
author:
  - privatepki.stepca contributors (@privatepki)
"""

EXAMPLES = r"""
- name: Revoke by serial
  privatepki.stepca.stepca_revoke:
    serial: "236871453013387650102857451012903411234"
    reason: keyCompromise

- name: Revoke what a host holds
  privatepki.stepca.stepca_revoke:
    certificate_path: /etc/nginx/tls/site.crt
    reason: cessationOfOperation
"""

RETURN = r"""
serial:
  description: The serial number, decimal.
  returned: success
  type: str
  sample: "236871453013387650102857451012903411234"
kind:
  description: What kind of certificate it is.
  returned: success
  type: str
  sample: x509
reason:
  description: The reason given to the CA, by its name in RFC 5280.
  returned: success
  type: str
  sample: keyCompromise
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.privatepki.stepca.plugins.module_utils import _answering, _options
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CertificateError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import places
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates


def hand_over(module):
    """The module's answer."""
    chain, problem = certificates.read(places.resolve(module.params["certificate_path"], "certificate_path"))
    if problem:
        raise CertificateError("certificate_path: %s. Nothing was revoked." % problem)
    return {"changed": False, "chain": certificates.to_pem(chain).decode("ascii")}


def main():
    """Hand over the certificate in a file."""
    module = AnsibleModule(argument_spec=_options.spec(_options.REVOKE), supports_check_mode=True)
    _answering.run(module, hand_over)


if __name__ == "__main__":
    main()
