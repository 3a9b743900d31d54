# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Which of the certificates that an authority hands out are believed to be roots."""

from __future__ import annotations

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import ApiError
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.ca.test_client import CA, World


def test_what_is_not_self_issued_is_no_root_whatever_the_authority_says():
    middle = pki.fingerprint(CA.intermediate)
    script = [(200, {"ca": pki.pem_of(CA.intermediate)}), (200, {"ca": CA.root_pem})]
    authority = World(a=list(script)).authority(roots=[], fingerprints=[middle, CA.fingerprint])
    assert authority.trust() == [CA.root]
    (warning,) = authority.warnings
    assert "CN=Test CA (SHA-256 %s) is no root: CN=Test Root issued it" % middle in warning
    with pytest.raises(ApiError, match="ca_fingerprint: CN=Test CA .* is no root: .*give the root instead"):
        World(a=script[:1]).authority(roots=[], fingerprints=[middle]).trust()
