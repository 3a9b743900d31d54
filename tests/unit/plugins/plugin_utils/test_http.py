# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What the environment of the controller must not change, and what is particular to the transport over requests.

How both transports behave on the wire: tests/unit/plugins/module_utils/_core/ca/test_https.py.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import socket
import tempfile
import threading
import warnings

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import api
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import TransportError
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _http, _libraries
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki, tls_server
from ansible_collections.privatepki.stepca.tests.unit.plugins.tls_server import Server, answer

CA, OTHER = pki.Authority(), pki.Authority("Other")
BUNDLES = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]
PROXIES = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY"]


@pytest.fixture(name="make", params=tls_server.TRANSPORTS)
def fixture_make(request):
    """Makes a transport that trusts our authority."""
    return lambda: tls_server.transport(request.param)(CA.root_pem, None, 10.0)


@pytest.fixture(name="other_bundle")
def fixture_other_bundle(tmp_path):
    (tmp_path / "bundle.pem").write_text(OTHER.root_pem, encoding="ascii")
    return str(tmp_path / "bundle.pem")


# the environment


@pytest.mark.parametrize("variable", BUNDLES)
def test_a_bundle_of_the_environment_adds_no_trust(make, monkeypatch, other_bundle, variable):
    monkeypatch.setenv(variable, other_bundle)
    with Server(OTHER, [answer()]) as server:
        with pytest.raises(TransportError, match="its certificate is not trusted"):
            make().send(server.url, api.HEALTH)
        assert server.requests == []


@pytest.mark.parametrize("variable", BUNDLES)
def test_a_bundle_of_the_environment_takes_no_trust(make, monkeypatch, other_bundle, variable):
    monkeypatch.setenv(variable, other_bundle)
    with Server(CA, [answer()]) as server:
        assert make().send(server.url, api.HEALTH).status == 200


def test_a_folder_of_trusted_roots_adds_no_trust(make, monkeypatch, tmp_path, other_bundle):
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with Server(OTHER, [answer()]) as server, pytest.raises(TransportError, match="its certificate is not trusted"):
        make().send(server.url, api.HEALTH)


@pytest.mark.parametrize("variable", PROXIES)
def test_a_proxy_of_the_environment_is_not_used(make, monkeypatch, variable):
    with Server(CA, [answer()]) as proxy, Server(CA, [answer()]) as server:
        monkeypatch.setenv(variable, "http://127.0.0.1:%d" % proxy.port)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert make().send("https://localhost:%d" % server.port, api.HEALTH).status == 200
        assert (proxy.connections, server.connections) == (0, 1)


@pytest.mark.parametrize("where", ["NETRC", "HOME"])
def test_an_entry_in_netrc_says_nothing(make, monkeypatch, tmp_path, where):
    entry = tmp_path / ".netrc"
    entry.write_text(
        "machine 127.0.0.1 login canary password canary\ndefault login canary password canary\n", encoding="ascii"
    )
    entry.chmod(0o600)
    monkeypatch.setenv(where, str(entry if where == "NETRC" else tmp_path))
    with Server(CA, [answer()]) as server:
        make().send(server.url, api.sign("csr", "token"))
    assert "authorization" not in server.requests[0].headers


# the transport over requests alone


def test_the_file_of_roots_is_gone_after_each_request(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []
    with Server(CA, [lambda connection: (seen.extend(os.listdir(str(tmp_path))), answer()(connection))]) as server:
        _http.Transport(CA.root_pem, None, 10.0).send(server.url, api.HEALTH)
    with Server(OTHER, [answer()]) as server, pytest.raises(TransportError):
        _http.Transport(CA.root_pem, None, 10.0).send(server.url, api.HEALTH)
    assert len(seen) == 1 and seen[0].startswith("privatepki-stepca-roots-")
    assert os.listdir(str(tmp_path)) == []


def test_urllib3_of_the_distributions_is_enough(monkeypatch):
    # Those of 1.26 have no NameResolutionError.
    monkeypatch.delattr("urllib3.exceptions.NameResolutionError", raising=False)
    found = importlib.util.spec_from_file_location(_http.__name__ + "_again", _http.__file__)
    again = importlib.util.module_from_spec(found)
    found.loader.exec_module(again)
    assert again.requests is not None


def test_a_second_request_has_roots_of_its_own(monkeypatch):
    # As requests < 2.32 does: its pools, and the connections in them, outlive the file of roots they were made with.
    def by_host_alone(self, request, verify, proxies=None, cert=None):
        return self.get_connection(request.url, proxies)

    monkeypatch.setattr(_http._NamedAdapter, "get_connection_with_tls_context", by_host_alone, raising=False)
    transport = _http.Transport(CA.root_pem, None, 10.0)
    with warnings.catch_warnings(), Server(CA, [answer()]) as server:
        warnings.simplefilter("ignore", DeprecationWarning)
        assert [transport.send(server.url, api.HEALTH).status for _turn in range(3)] == [200] * 3


def test_the_file_of_roots_is_for_its_owner_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with _http._RootsFile(CA.root_pem) as path:
        assert os.stat(path).st_mode & 0o777 == 0o600
        with open(path, encoding="ascii") as stream:
            assert stream.read() == CA.root_pem
    with _http._RootsFile(None) as path:
        assert path is False and glob.glob(str(tmp_path / "*")) == []


def test_no_thread_outlives_a_request_that_is_answered():
    before = threading.active_count()
    with Server(CA, [answer()]) as server:
        _http.Transport(CA.root_pem, None, 10.0).send(server.url, api.HEALTH)
    assert threading.active_count() == before


def test_a_name_that_no_resolver_accepts_is_a_failure_of_the_transport():
    with pytest.raises(TransportError):
        _http.Transport(CA.root_pem, None, 10.0).send("https://" + "a" * 70 + ".internal", api.HEALTH)


def test_a_warning_about_verification_is_never_printed(recwarn):
    with Server(OTHER, [answer()]) as server:
        _http.Transport(None, None, 10.0).send(server.url, api.HEALTH)
    assert [str(one.message) for one in recwarn if "verif" in str(one.message).lower()] == []


def test_without_requests_the_sentence_names_it(monkeypatch):
    monkeypatch.setattr(_http, "requests", None)
    with pytest.raises(
        _libraries.LibraryMissing,
        match="The Python library requests is missing on the controller.*-m pip install requests",
    ):
        _http.Transport(CA.root_pem, None, 10.0)


def test_an_address_in_brackets():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with pytest.raises(TransportError) as caught:
        _http.Transport(CA.root_pem, None, 2.0).send("https://[::1]:1", api.HEALTH)
    assert not caught.value.sent
