# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A host as the controller meets it: what it hands over, true or not."""

from __future__ import annotations

import base64
from datetime import timedelta

from ansible_collections.privatepki.stepca.plugins.module_utils._core.wire import Answer
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import proof
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA
from ansible_collections.privatepki.stepca.tests.unit.plugins.stand_in import URL

RENEW = "/1.0/renew"
HALF = timedelta(hours=12)


class Host:
    """A key, its certificate in the middle of its life, and what such a host sends."""

    def __init__(self, names=("a.example",), authority=CA, extensions=()):
        self.key = pki.new_key()
        life = {"begin": pki.NOW - HALF, "end": pki.NOW + HALF}
        self.leaf = authority.leaf(self.key.public_key(), list(names), extensions=extensions, **life)
        self.chain = [self.leaf, authority.intermediate]
        self.root = authority.root

    def proof(self, chain=None, key=None):
        return proof.renewal(chain or self.chain, key or self.key, [URL + RENEW], pki.NOW)

    def former(self, holding=None):
        """Its word on the certificate that it wants revoked."""
        shown = self.proof() if holding is None else holding
        return Answer(former=pki.pem_of(*self.chain), holding=shown, former_roots=pki.pem_of(self.root))


def bomb():
    """A header that no parser of JSON likes."""
    return base64.urlsafe_b64encode(b"[" * 40000).rstrip(b"=").decode("ascii") + ".e30.AA"
