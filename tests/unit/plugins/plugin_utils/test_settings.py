# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Where options come from: the nearest source wins, alternatives are never mixed, and no message quotes a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ansible_collections.privatepki.stepca.plugins.module_utils import _options
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _settings
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

CA, OTHER = pki.Authority(), pki.Authority("Other")
MIDDLE = pki.fingerprint(CA.intermediate)
CANARY = "canary-7f3a"
BLANKS = [None, "", "  ", "\n", [], [None], [" "], {}, ()]


def source(label, **values):
    return _settings.Source(lambda name: label, values.get, values.__contains__)


def no_file(path):
    raise OSError(2, "No such file or directory")


def settings(task=None, defaults=None, variables=None, environ=None, read_file=no_file):
    sources = [source("the task", **task or {}), source("module_defaults", **defaults or {})]
    sources += [source("the variable", **variables or {}), _settings.environment(environ or {})]
    return _settings.Settings(sources, read_file)


def connection(read_file=no_file, environ=None, **task):
    return settings(dict({"ca_fingerprint": CA.fingerprint}, **task), environ=environ, read_file=read_file).connection()


# order


@pytest.mark.parametrize("nearest", range(4))
def test_the_nearest_source_wins(nearest):
    kinds = ["task", "defaults", "variables"]
    given_ = {kind: {"provisioner": kind} for kind in kinds[nearest:]}
    found = settings(environ={"STEPCA_PROVISIONER": "environment"}, **given_).find("provisioner")
    labels = ["the task", "module_defaults", "the variable", "the environment variable STEPCA_PROVISIONER"]
    assert found == ("provisioner", (kinds + ["environment"])[nearest], labels[nearest])


def test_what_nobody_gives_is_none():
    assert (
        settings().find("provisioner") is None and settings().one_of("provisioner_key", "provisioner_key_path") is None
    )


@pytest.mark.parametrize("blank", BLANKS)
def test_blank_is_not_given(blank):
    assert settings({"provisioner": blank}, variables={"provisioner": "far"}).find("provisioner").value == "far"
    assert settings({"provisioner": blank}, environ={"STEPCA_PROVISIONER": " "}).find("provisioner") is None


@pytest.mark.parametrize("value", [0, False, 0.0])
def test_nought_is_given(value):
    assert settings({"retries": value}, variables={"retries": 7}).find("retries").value == value


def test_a_source_that_is_not_needed_is_not_opened():
    def vault(name):
        raise AssertionError("opened")

    far = _settings.Source(lambda name: "the variable", vault, lambda name: True)
    found = _settings.Settings([source("the task", provisioner_key="x"), far], no_file)
    assert found.one_of("provisioner_key", "provisioner_key_path").value == "x"


def test_looking_for_two_opens_no_lone_one():
    def vault(name):
        raise AssertionError("opened")

    far = _settings.Source(lambda name: "the variable", vault, lambda name: name == "provisioner_key")
    _settings.Settings([far], no_file).refuse_two("provisioner_key", "provisioner_key_path")


# environment


@pytest.mark.parametrize("name, variables", sorted(_options.ENVIRONMENT.items()))
def test_the_first_variable_of_the_environment_that_is_set_wins(name, variables):
    for first in range(len(variables)):
        environ = {variable: variable for variable in variables[first:]}
        environ.update({variable: " " for variable in variables[:first]})
        found = settings(environ=environ).find(name)
        assert found == (name, variables[first], "the environment variable %s" % variables[first])


@pytest.mark.parametrize(
    "name", sorted(set(_options.CONNECTION) | set(_options.PROVISIONER) - set(_options.ENVIRONMENT))
)
def test_what_has_no_variable_in_the_environment_has_none(name):
    if name not in _options.ENVIRONMENT:
        assert settings(environ={"STEPCA_" + name.upper(): "x"}).find(name) is None


def test_the_environment_of_this_process(monkeypatch):
    monkeypatch.setenv("STEPCA_PROVISIONER", "ops")
    assert _settings.of_controller().get("provisioner") == "ops"


# alternatives

PAIR = ("provisioner_key", "provisioner_key_path")


@pytest.mark.parametrize("near, far", [PAIR, PAIR[::-1]])
def test_an_alternative_displaces_its_siblings_farther_off(near, far):
    found = settings({near: "near"}, variables={far: "far"}, environ={"STEPCA_PROVISIONER_KEY": "env"})
    assert found.one_of(*PAIR) == (near, "near", "the task")


def test_two_alternatives_of_one_source_are_refused():
    both = settings(variables={"provisioner_key": CANARY, "provisioner_key_path": CANARY})
    for check in (both.one_of, both.refuse_two):
        with pytest.raises(OptionError) as caught:
            check(*PAIR)
        assert str(caught.value) == (
            "provisioner_key (from the variable) and provisioner_key_path (from the variable) exclude each other: "
            "give one of them."
        )


def test_two_alternatives_of_which_one_is_blank_are_one():
    assert settings({PAIR[0]: "x", PAIR[1]: ""}).one_of(*PAIR).name == PAIR[0]
    assert settings({PAIR[0]: "", PAIR[1]: ""}, variables={PAIR[1]: "x"}).one_of(*PAIR).name == PAIR[1]


TWO_FAR = {"provisioner_key": "a", "provisioner_key_path": "b"}


def test_two_alternatives_of_a_source_that_is_displaced_do_not_matter():
    assert settings({"provisioner_key": "near"}, variables=TWO_FAR).one_of(*PAIR).value == "near"


def test_two_alternatives_behind_a_blank_one_are_refused():
    with pytest.raises(OptionError, match="exclude each other"):
        settings({"provisioner_key": ""}, variables=TWO_FAR).one_of(*PAIR)


# files


def test_text_in_a_file_loses_the_white_space_at_its_end():
    found = settings({"provisioner_password_file": "/p"}, read_file=lambda path: b" pass word \r\n\n")
    assert found.text_of(found.find("provisioner_password_file")) == " pass word"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["provisioner_password_file", "provisioner_key_path"])
def test_text_in_a_file_loses_the_mark_of_an_editor(name, encoding):
    found = settings(task={name: "/f"}, read_file=lambda path: "p\u00e4ss\r\n".encode(encoding))
    assert found.text_of(found.find(name)) == "p\u00e4ss"


def test_text_that_the_lookup_file_read_loses_the_mark_of_an_editor():
    found = settings(task={"provisioner_password": "\ufeffsecret "})
    assert found.text_of(found.find("provisioner_password")) == "secret "


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_roots_in_a_file_of_any_editor(encoding):
    found = settings(task={"ca_root_path": "/r"}, read_file=lambda path: CA.root_pem.encode(encoding))
    assert found.connection().fingerprints == [CA.fingerprint]


def test_text_in_an_option_stays_as_it_is():
    found = settings({"provisioner_password": " pass word \n"})
    assert found.text_of(found.find("provisioner_password")) == " pass word \n"


def test_a_file_that_cannot_be_read_is_named_with_its_source():
    found = settings(variables={"provisioner_key_path": "/no/key"})
    with pytest.raises(OptionError) as caught:
        found.text_of(found.find("provisioner_key_path"))
    assert str(caught.value) == (
        "provisioner_key_path (from the variable): the controller's file /no/key cannot be read: "
        "No such file or directory."
    )


# where the CA is


def test_a_connection_by_default():
    found = connection()
    assert (found.urls, found.fingerprints, found.roots) == ([], [CA.fingerprint], [])
    assert (found.name, found.timeout, found.retries) == (None, 15.0, 3)


@pytest.mark.parametrize(
    "urls",
    [["https://a", " https://b/ "], "https://a,https://b", " https://a , ,https://b/ ", ("https://a", "https://b")],
)
def test_urls_are_a_list_or_text_with_commas(urls):
    assert connection(ca_url=urls).urls == ["https://a", "https://b"]
    if isinstance(urls, str):
        assert connection(environ={"STEPCA_URL": urls}).urls == ["https://a", "https://b"]


def test_all_of_a_connection():
    found = connection(ca_url="https://a", ca_name="ca.name", timeout="1m30s", retries="0")
    assert (found.name, found.timeout, found.retries) == ("ca.name", 90.0, 0)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"timeout": "0s"}, r"timeout \(from the task\): 0 leaves no time"),
        ({"timeout": "soon"}, r"timeout \(from the task\): 'soon' is not a duration"),
        ({"retries": -1}, r"retries \(from the task\): not a number of retries from 0 to 100"),
        ({"retries": 101}, "from 0 to 100"),
        ({"retries": "many"}, "from 0 to 100"),
        ({"ca_url": "http://a"}, "ca_url: 'http://a' does not begin with https://"),
        ({"ca_fingerprint": "ab"}, "ca_fingerprint: 'ab' is not the SHA-256"),
    ],
)
def test_what_cannot_mean_anything_is_refused(options, text):
    with pytest.raises(OptionError, match=text):
        connection(**options)


def test_who_talks_to_the_authority():
    assert settings().request_from() == "controller"
    assert settings(variables={"request_from": "host"}).request_from() == "host"


# whom to trust

FILES = {
    "/ca.pem": CA.root_pem.encode("ascii"),
    "/other.pem": OTHER.root_pem.encode("ascii"),
    "/junk.pem": CANARY.encode("ascii"),
}


def trust(environ=None, variables=None, **task):
    found = settings(task, variables=variables, environ=environ, read_file=FILES.__getitem__).connection()
    return found.fingerprints, found.roots


def test_trust_is_required():
    with pytest.raises(
        OptionError, match="ca_fingerprint is required .or ca_root, ca_root_path.*never trusts what merely answers"
    ):
        trust()


@pytest.mark.parametrize(
    "options",
    [{"ca_root": CA.root_pem}, {"ca_root_path": "/ca.pem"}, {"ca_root": CA.root_pem, "ca_root_path": "/ca.pem"}],
)
def test_roots_have_fingerprints(options):
    assert trust(**options) == ([CA.fingerprint], [CA.root])
    assert trust(ca_fingerprint=CA.fingerprint.upper(), **options) == ([CA.fingerprint], [CA.root])


@pytest.mark.parametrize("more", [{}, {"ca_fingerprint": CA.fingerprint}, {"ca_fingerprint": [CA.fingerprint, MIDDLE]}])
def test_what_is_not_self_issued_is_named_and_left_out(more):
    both = pki.pem_of(CA.intermediate) + CA.root_pem
    asked = settings({"ca_root": both, **more})
    found = asked.connection()
    assert (found.fingerprints, found.roots) == ([CA.fingerprint], [CA.root])
    (warning,) = asked.warnings
    assert warning.startswith(
        "ca_root (from the task): CN=Test CA (SHA-256 %s) is no root: CN=Test Root issued it." % MIDDLE
    )


def test_an_intermediate_alone_is_refused():
    with pytest.raises(
        OptionError, match=r"ca_root \(from the task\): CN=Test CA .* is no root: .* give the root instead"
    ):
        trust(ca_root=pki.pem_of(CA.intermediate))


def test_what_is_left_out_is_never_a_reason_to_disagree():
    both = pki.pem_of(CA.intermediate) + CA.root_pem
    with pytest.raises(OptionError, match="disagree"):
        trust(ca_root=both, ca_fingerprint=[CA.fingerprint, OTHER.fingerprint])
    assert trust(ca_root=both, ca_root_path="/ca.pem") == ([CA.fingerprint], [CA.root])


def test_a_root_of_the_environment_is_a_path():
    assert trust({"STEP_ROOT": "/ca.pem"}) == ([CA.fingerprint], [CA.root])


def test_several_fingerprints_keep_their_order_and_lose_their_doubles():
    both = [OTHER.fingerprint, CA.fingerprint, OTHER.fingerprint.upper()]
    assert trust(ca_fingerprint=both) == ([OTHER.fingerprint, CA.fingerprint], [])
    assert trust({"STEPCA_FINGERPRINT": ",".join(both)}) == ([OTHER.fingerprint, CA.fingerprint], [])


@pytest.mark.parametrize(
    "options",
    [
        {"ca_fingerprint": OTHER.fingerprint, "ca_root": CA.root_pem},
        {"ca_fingerprint": [CA.fingerprint, OTHER.fingerprint], "ca_root_path": "/ca.pem"},
        {"ca_fingerprint": CA.fingerprint, "ca_root": CA.root_pem + OTHER.root_pem},
        {"ca_root": CA.root_pem, "ca_root_path": "/other.pem"},
    ],
)
def test_what_one_source_says_of_roots_must_agree(options):
    with pytest.raises(
        OptionError, match=r"\(from the task\) and .* \(from the task\) disagree about which roots to trust"
    ):
        trust(**options)


def test_a_nearer_root_displaces_a_fingerprint_farther_off():
    assert trust(variables={"ca_fingerprint": OTHER.fingerprint}, ca_root=CA.root_pem) == ([CA.fingerprint], [CA.root])
    far = {"STEP_ROOT": "/other.pem", "STEP_FINGERPRINT": CA.fingerprint}
    assert trust(far, ca_fingerprint=CA.fingerprint) == ([CA.fingerprint], [])


@pytest.mark.parametrize("options", [{"ca_root": CANARY}, {"ca_root_path": "/junk.pem"}])
def test_what_is_no_root_is_not_quoted(options):
    with pytest.raises(
        OptionError, match="ca_root.* .from the task.: no root certificate there: it holds no PEM certificate"
    ) as caught:
        trust(**options)
    assert CANARY not in str(caught.value)


# values as Ansible has them


class Wrapped(str):
    """As a vaulted or tagged string is: its text comes by str()."""

    def __new__(cls, text):
        return super().__new__(cls, "hidden")

    def __init__(self, text):
        self._text = text

    def __str__(self):
        return self._text


def test_wrapped_text_is_unwrapped():
    found = _settings.plain({"a": [Wrapped("b")]})
    assert found == {"a": ["b"]} and not isinstance(found["a"][0], Wrapped)
    assert _settings.plain(Wrapped(" ")) is None


@examples(derandomize=True, database=None, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_plain_is_plain_already(value):
    once = _settings.plain(value)
    assert _settings.plain(once) == once
    assert once is None or once not in ("", [], {})
