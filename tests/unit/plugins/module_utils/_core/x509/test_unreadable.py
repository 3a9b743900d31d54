# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What versions of `cryptography` raise for what they cannot read: each is a sentence, and costs one file."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InternalError

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CsrError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates, csr, keys
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

#: A curve in numbers and a BIT STRING in a name, as versions 3.3 to 39 say; what surprises OpenSSL.
RAISED = {
    "curve": (NotImplementedError("ECDSA keys with unnamed curves are unsupported"), "unnamed curves"),
    "name": (KeyError(3), "does not know the type of a name in it"),
    "OpenSSL": (InternalError("Unknown OpenSSL error " * 50, []), "OpenSSL on this machine cannot read it"),
}


@pytest.fixture(name="raised", params=RAISED)
def _raised(request, monkeypatch):
    error, words = RAISED[request.param]

    def refuse(*_all, **_more):
        raise error

    monkeypatch.setattr(certificates.x509, "load_pem_x509_certificate", refuse)
    monkeypatch.setattr(certificates.x509, "load_pem_x509_csr", refuse)
    monkeypatch.setattr(keys.serialization, "load_pem_private_key", refuse)
    return words


def test_a_file_that_the_library_cannot_read(raised, tmp_path):
    path = tmp_path / "site.crt"
    path.write_text(pki.Authority().root_pem, encoding="ascii")
    chain, problem = certificates.read(str(path))
    assert chain == [] and raised in problem and len(problem) < 500


def test_a_request_that_the_library_cannot_read(raised):
    with pytest.raises(CsrError, match=raised):
        csr.load(pki.request_pem(pki.new_key(), ["a.example"]))


def test_a_key_that_the_library_cannot_read(raised):
    key, problem = keys.understand(pki.key_pem(pki.new_key()), "/k")
    assert raised and key is None and "the private key /k cannot be read as one" in problem
