# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Twin of CONNECTION in plugins/module_utils/_options.py."""

from __future__ import annotations


class ModuleDocFragment:
    """Where the CA is and whom to trust."""

    DOCUMENTATION = r"""
options:
  ca_url:
    description:
      - Addresses of the CA, C(https) without a path, tried in order. The next one is asked when a connection fails or the
        answer is 502, 503 or 504.
      - Needed only when a request to the CA is due.
      - Not given here, it comes from the variable C(stepca_ca_url), then from the controller's environment
        (E(STEPCA_URL), E(STEP_CA_URL), E(CERTCTL_STEPCA_URL)). So it is with every option of connection and provisioner.
    type: list
    elements: str
  ca_fingerprint:
    description:
      - SHA-256 of the CA's root certificate, as C(step certificate fingerprint root_ca.crt) prints it, or of all roots to
        trust. During a rotation that is the old one and the new one.
      - Upper case, colons and spaces are accepted.
      - This, O(ca_root) or O(ca_root_path) is required. If one source gives several of them, they must agree.
      - "Variable C(stepca_ca_fingerprint); environment: E(STEPCA_FINGERPRINT), E(STEP_FINGERPRINT)."
    type: list
    elements: str
  ca_root:
    description:
      - PEM text of the root certificates to trust. What another certificate issued, such as an intermediate, is no root; it is left out,
        and a warning names it.
      - Variable C(stepca_ca_root).
    type: str
  ca_root_path:
    description:
      - Path on the controller of a PEM file with the root certificates to trust, and no others, as for O(ca_root).
      - "Variable C(stepca_ca_root_path); environment: E(STEPCA_ROOT), E(STEP_ROOT)."
    type: str
  ca_name:
    description:
      - The name expected in the CA's own certificate, and in tokens. Give it where O(ca_url) leads through a tunnel, a virtual
        address or by a bare IP address.
      - Without it, the host of each URL.
      - Variable C(stepca_ca_name).
    type: str
  timeout:
    description:
      - How long one request may take, slow bodies included, as a duration.
      - Without it, 15 seconds.
      - Variable C(stepca_timeout).
    type: str
  retries:
    description:
      - Further rounds over all URLs after connection errors and answers of 502, 503 and 504. Other answers are final.
      - Without it, 3.
      - Variable C(stepca_retries).
    type: int
  request_from:
    description:
      - Who talks to the CA, the controller or the managed host.
      - Without it, the controller.
      - With V(host), M(privatepki.stepca.stepca_certificate) hands the host a one-time token for each attempt that it may make, and
        nothing else. Lifetime and template data lie outside the token, so there only the CA's own limits bind the host.
      - M(privatepki.stepca.stepca_sign) and M(privatepki.stepca.stepca_revoke) accept and ignore it.
      - Variable C(stepca_request_from).
    type: str
    choices:
      - controller
      - host
  _exchange:
    description:
      - Internal. What the action plugin tells the module on the host. Do not set it.
    type: dict
  _tokens:
    description:
      - Internal. The one-time tokens for a host that asks the CA itself. Do not set it.
    type: dict
notes:
  - Every option of connection and provisioner comes from the nearest of the task, C(module_defaults), the variable
    C(stepca_<option>) and the controller's environment. An empty value counts as not given.
  - C(environment:) on a task has no effect on these options, since it reaches the host and not the controller. A secret in it
    is refused.
  - O(ca_fingerprint), O(ca_root) and O(ca_root_path) are alternatives. The nearest source that gives one of them hides the others
    farther off.
"""
