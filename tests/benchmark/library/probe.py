# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The least that any module can do which looks after a certificate: import the library, read both files, compare."""

from __future__ import annotations

DOCUMENTATION = r"""
module: probe
short_description: Whether a certificate and a key belong together
description:
  - The floor of the benchmark.
author:
  - privatepki.stepca contributors
options:
  certificate_path:
    description: The certificate.
    type: path
    required: true
  key_path:
    description: The key.
    type: path
    required: true
"""

from ansible.module_utils.basic import AnsibleModule
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


def main():
    """Say whether they match."""
    module = AnsibleModule(
        argument_spec={
            "certificate_path": {"type": "path", "required": True},
            "key_path": {"type": "path", "required": True, "no_log": False},
        },
        supports_check_mode=True,
    )
    with open(module.params["certificate_path"], "rb") as handle:
        certificate = x509.load_pem_x509_certificate(handle.read())
    with open(module.params["key_path"], "rb") as handle:
        key = load_pem_private_key(handle.read(), None)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    module.exit_json(matches=certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form))


if __name__ == "__main__":
    main()
