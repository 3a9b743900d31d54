# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Twin of PROVISIONER in plugins/module_utils/_options.py."""

from __future__ import annotations


class ModuleDocFragment:
    """Who vouches for a certificate: read on the controller, never sent to a host."""

    DOCUMENTATION = r"""
options:
  provisioner:
    description:
      - Name of the provisioner at the CA. May be left out where O(provisioner_key) is given and the CA lists it.
      - "Variable C(stepca_provisioner); environment: E(STEPCA_PROVISIONER), E(STEP_PROVISIONER), E(CERTCTL_STEPCA_PROVISIONER)."
    type: str
  provisioner_key:
    description:
      - The provisioner's private key. A JWK, a JWE (both as C(step crypto jwk create) writes them, as text or as a mapping; a JWE
        also in compact form), or a private key in PEM (PKCS#8, SEC1 or PKCS#1, encrypted or not).
      - An encrypted one is opened by O(provisioner_password).
      - A key without a key id, such as one in PEM, is looked up by its thumbprint among the provisioners that the CA lists.
      - A key in OpenSSH's own form is not read. C(step crypto key format --pem) converts it.
      - It is used on the controller only and never reaches a managed host.
      - "Variable C(stepca_provisioner_key); environment: E(STEPCA_PROVISIONER_KEY)."
    type: raw
  provisioner_key_path:
    description:
      - Path on the controller of a file with that key, in any of these forms. It may be encrypted by Ansible Vault, and is then opened in memory.
      - "Variable C(stepca_provisioner_key_path); environment: E(STEPCA_PROVISIONER_KEY_PATH), E(CERTCTL_STEPCA_KEY_PATH)."
    type: str
  provisioner_password:
    description:
      - Opens the key. With no key given, it opens the encrypted key that the CA hands out for O(provisioner).
      - Ignored for a key that is not encrypted.
      - "Variable C(stepca_provisioner_password); environment: E(STEPCA_PROVISIONER_PASSWORD), E(CERTCTL_STEPCA_PASSWORD)."
      - Every program that Ansible starts inherits the environment. E(STEPCA_PROVISIONER_PASSWORD_FILE) names a file instead
        (O(provisioner_password_file)), which keeps the secret out of it.
    type: str
  provisioner_password_file:
    description:
      - Path on the controller of a file with that password. White space at its end is cut, as C(step) does.
      - "Variable C(stepca_provisioner_password_file); environment: E(STEPCA_PROVISIONER_PASSWORD_FILE),
        E(STEP_PROVISIONER_PASSWORD_FILE)."
    type: str
  token:
    description:
      - A one-time token that somebody else made, such as P(privatepki.stepca.stepca_token#lookup) or C(step ca token).
        It replaces minting, and serves one certificate whose names are those of the token.
      - Variable C(stepca_token).
    type: str
  token_lifetime:
    description:
      - How long a minted token is good for, as a duration. More than an hour is a warning, more than seven days an error.
      - Without it, 5 minutes.
      - Variable C(stepca_token_lifetime).
    type: str
"""
