# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The one filter for the words of others, and the one sentence for what nobody foresaw."""

from __future__ import annotations

import copy
import re
import sys

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import errors
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import jws
from ansible_collections.privatepki.stepca.tests.unit.plugins import hostile

ALL = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.StepCAError)]


@pytest.mark.parametrize("filtered", [errors.shown, errors.one_line])
def test_what_cannot_be_printed_is_shown_as_an_escape(filtered):
    found = filtered(hostile.TEXT)
    assert found.isprintable() and hostile.is_harmless(found)
    for escape in (r"\x1b[2J", r"\x9b31m", r"\u2028", r"\u2029", r"\x85", r"\u202e", r"\u2066", r"\ud800", r"\x00"):
        assert escape in found
    assert filtered(found) == found


def test_every_character_of_unicode_is_harmless_afterwards():
    whole = "".join(map(chr, range(sys.maxunicode + 1)))
    assert errors.shown(whole).isprintable() and errors.one_line(whole).isprintable()
    errors.shown(whole).encode("utf-8")
    assert errors.shown_lines(whole).replace("\n", "").replace("\t", "").isprintable()


@pytest.mark.parametrize(
    "text", ["", "a b", "größer", "名前", "CN=Example Intermediate CA,O=Example", "/etc/a  b.crt", "✘"]
)
def test_what_can_be_printed_is_left_as_it_is(text):
    assert errors.shown(text) == errors.shown_lines(text) == text


def test_lines_and_blanks():
    assert errors.one_line(" a\r\n\tb  c\n") == "a b c"
    assert errors.shown("a\nb") == r"a\nb"
    assert errors.shown_lines("a\n\tb\r\x1b[1m") == "a\n\tb\\r\\x1b[1m"


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_no_error_says_more_than_a_line(kind):
    error = kind("The CA says: %s." % hostile.TEXT)
    assert str(error).isprintable() and "curl" in str(error)
    assert str(copy.copy(error)) == str(error)


def test_what_nobody_foresaw_names_type_and_place_and_no_value():
    with pytest.raises(TypeError) as caught:
        jws.make(None, {"canary": {"canary-secret"}}, {})
    said = str(errors.unforeseen(caught.value))
    assert re.search(r"TypeError at x509/jws\.py:\d+\. Please report this message at https://\S+/issues\.$", said)
    assert "canary" not in said


def test_a_place_outside_of_our_code_is_not_named():
    with pytest.raises(KeyError) as caught:
        raise KeyError("canary")
    said = str(errors.unforeseen(caught.value))
    assert "KeyError at a place that is not known" in said and "canary" not in said


def test_what_was_foreseen_is_left_as_it_is():
    known = errors.ApiError("no", status=403)
    assert errors.unforeseen(known) is known
