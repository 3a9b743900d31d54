# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Names in other scripts, by IDNA 2008."""

from __future__ import annotations

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import names
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _idna, _libraries


@pytest.mark.parametrize(
    "text, expected",
    [
        ("stra\u00dfe", "xn--strae-oqa"),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),
        ("M\u00dcNCHEN.example", "xn--mnchen-3ya.example"),
        ("mu\u0308nchen.example", "xn--mnchen-3ya.example"),
        ("*.m\u00fcnchen.example", "*.xn--mnchen-3ya.example"),
        ("_tls.m\u00fcnchen.example", "_tls.xn--mnchen-3ya.example"),
        ("m\u00fcnchen.example.", "xn--mnchen-3ya.example."),
        ("dns:m\u00fcnchen.example", "dns:xn--mnchen-3ya.example"),
        ("\u65e5\u672c\u8a9e.jp", "xn--wgv71a119e.jp"),
        ("user@m\u00fcnchen.example", "user@xn--mnchen-3ya.example"),
        ("email:user@m\u00fcnchen.example", "email:user@xn--mnchen-3ya.example"),
        ("https://m\u00fcnchen.example/path", "https://xn--mnchen-3ya.example/path"),
        ("spiffe://m\u00fcnchen.example/\u00fc", "spiffe://xn--mnchen-3ya.example/\u00fc"),
        ("https://\u00fc.example:8443/", "https://xn--tda.example:8443/"),
    ],
)
def test_labels_that_are_not_ascii_become_a_labels(text, expected):
    assert _idna.to_ascii(text) == expected
    names.parse_san(_idna.to_ascii(text))


@pytest.mark.parametrize(
    "text",
    ["a.example", "*.a.example", "_x.a.example", "A.Example", "10.0.0.1", "::1", "uri:urn:a:b", "a..b", "", "dns:"],
)
def test_text_in_ascii_comes_back_as_it_is(text):
    assert _idna.to_ascii(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "\u2603.example",
        "-\u00fc.example",
        "a\u00fc b.example",
        "\u00fc" * 64 + ".example",
        "xn--\u00fc.example",
        "\u00fc*.example",
    ],
)
def test_what_is_no_international_name(text):
    with pytest.raises(OptionError, match="^sans: '.*' is not an international domain name: "):
        _idna.to_ascii(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://\u65e5\u672c:8443/",
        "https://user@\u00fc.example/",
    ],
)
def test_only_the_host_of_a_uri_is_a_domain(text):
    assert "xn--" in _idna.to_ascii(text)


def test_without_idna_the_sentence_names_it(monkeypatch):
    monkeypatch.setattr(_idna, "idna", None)
    assert _idna.to_ascii("a.example") == "a.example"
    with pytest.raises(_libraries.LibraryMissing, match="The Python library idna is missing on the controller"):
        _idna.to_ascii("\u00fc.example")
