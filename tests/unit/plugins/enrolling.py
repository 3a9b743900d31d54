# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""One certificate on one host, both steps of the exchange, signed by a local authority."""

from __future__ import annotations

import os
import stat

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import examine, issue, request
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate.options import SHARED, SINGLE
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import attributes, places, reading
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import keys
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

CA = pki.Authority()
FOREIGN = pki.Authority("Foreign")
ISSUED_AT = "2030-01-01T00:00:00Z"
_DEFAULTS = {"key_type": "ec-p256", "renew_before": "33%", "sans": ["a.example"]}


def ask(folder, **changes):
    """One certificate as a task asks for it."""
    entry = dict(_DEFAULTS, certificate_path=str(folder / "site.crt"), key_path=str(folder / "site.key"))
    entry.update(changes)
    return request.parse({name: entry.get(name) for name in SINGLE + SHARED})


def context(finish=None, **changes):
    """What the controller says of the task."""
    told = {"now": pki.NOW, "roots": [CA.root], "fingerprints": [CA.fingerprint], "provisioner": None}
    told.update(changes)
    return examine.Context(finish=finish or Finish(told.get("dry", False)), **told)


class Finish:
    """Attributes as Ansible would set them: a key has 0600, all else 0644."""

    def __init__(self, dry=False):
        self.dry = dry
        self.calls = []

    def __call__(self, target, kind, staged=None, look=False):
        path = staged.path if staged else target
        self.calls.append((os.path.basename(path), os.path.basename(target), kind))
        mode = 0o600 if kind == "key" else 0o644
        if staged:
            attributes.inherit(staged, {})
        if not os.path.exists(path) or stat.S_IMODE(os.stat(path).st_mode) == mode:
            return []
        if not (self.dry or look):
            with places.explained("set owner, group or mode of", target):
                os.chmod(path, mode)
        return [] if staged else ["the mode of %s differs" % target]


def enrol(folder, signer=CA, told=None, **changes):
    """Both steps; returns the facts of what was installed."""
    told = told or context()
    answer = examine.examine(ask(folder, **changes), told)
    assert answer.outcome == "issued"
    chain = signer.sign(answer.csr)
    return issue.accept(ask(folder, **changes), told, chain, answer.digest, ISSUED_AT)


def pair_of(folder) -> tuple:
    """(fingerprint of the certificate's key, of the private key, the certificate's names), None where missing."""
    chain, key = reading.read(str(folder / "site.crt")), reading.read(str(folder / "site.key"))
    leaf = x509.load_pem_x509_certificate(chain) if chain else None
    return (
        leaf and keys.fingerprint(leaf.public_key()),
        key and keys.fingerprint(serialization.load_pem_private_key(key, None)),
        leaf and [san.value for san in leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value],
    )


def assert_whole(folder, names) -> None:
    """Key and certificate belong to each other, and the certificate has these names."""
    in_certificate, in_key, found = pair_of(folder)
    assert in_certificate is not None and in_certificate == in_key
    assert found == names
