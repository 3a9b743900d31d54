# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The renewer's file for a certificate: what goes in comes out, and garbage of every kind is one sentence."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import connections
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import record
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    HostFileError,
    OptionError,
    StepCAError,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import configuration, sandbox
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import steady, table

ENTRY = {
    "certificate_path": "/etc/tls/site.crt",
    "key_path": "/etc/tls/site.key",
    "sans": ["a.example"],
    "combined_path": "/etc/tls/private/site.pem",
    "pkcs12_path": "/etc/tls/site.p12",
    "pkcs12_password_file": "/etc/tls/password",
    "not_after": "24h",
    "backup": True,
}
HOOKS = {
    "reload": ["nginx", {"name": "postgresql@15-main", "action": "restarted"}],
    "run_after": ["/usr/bin/true", "--quiet"],
    "on_failure": ["mail", "root"],
    "rollback": True,
    "served": "[::1]:8443",
}


def connection(**more):
    return connections.Connection(["https://ca.internal"], [CA.fingerprint], **dict({"roots": [CA.root]}, **more))


def made(**more) -> dict:
    """The content of a configuration."""
    return json.loads(configuration.make(dict(ENTRY, **more), connection()).decode("ascii"))


def parse(content):
    return configuration.parse(json.dumps(content).encode("utf-8"))


def test_what_goes_in_comes_out():
    text = configuration.make(
        dict(ENTRY, **HOOKS, key_type=None, owner="nginx", key_mode=0o640), connection(name="ca", retries=1)
    )
    found = configuration.parse(text)
    assert (
        found.options == dict(ENTRY, owner="nginx", key_mode="0640") and found.certificate_path == "/etc/tls/site.crt"
    )
    assert [vars(one) for one in found.reload] == [
        {"name": "nginx", "action": "reload"},
        {"name": "postgresql@15-main", "action": "restart"},
    ]
    assert (found.run_after, found.on_failure) == (HOOKS["run_after"], HOOKS["on_failure"])
    assert (found.rollback, found.served) == (True, ("::1", 8443))
    assert (found.connection.urls, found.connection.retries) == (["https://ca.internal"], 1)
    assert found.connection.roots == [CA.root]
    assert configuration.make(found.entry(), found.connection) == configuration.make(
        dict(found.options, **dict(HOOKS, reload=[vars(one) for one in found.reload])), connection(name="ca", retries=1)
    )
    assert found.wanted().outputs["combined_path"] == ENTRY["combined_path"]


def test_nothing_secret_is_taken_along():
    secrets = {"pkcs12_password": "hidden", "template_data": {"a": "hidden"}, "token": "hidden"}
    entry = {name: value for name, value in ENTRY.items() if not name.startswith("pkcs12")}
    assert b"hidden" not in configuration.make(dict(entry, **secrets), connection())


def test_the_files_that_a_renewal_writes_are_named_as_the_play_named_them(tmp_path):
    """Where links lead to is the host's business, and goes into no unit (sandbox.py)."""
    (tmp_path / "real").mkdir()
    (tmp_path / "tls").symlink_to("real")
    (tmp_path / "site.key").symlink_to("/srv/keys/site.key")
    paths = {"certificate_path": str(tmp_path / "tls" / "site.crt"), "key_path": str(tmp_path / "site.key")}
    found = parse(made(**dict(paths, combined_path="", pkcs12_path="")))
    assert found.written() == paths


def test_each_certificate_has_a_file_of_its_own():
    names = [record.name_of(path) for path in ("/a/site.crt", "/b/site.crt", "/c/..x y\u00e4.crt", "/d/\udcff")]
    assert len(set(names)) == 4 and all(name.endswith(".json") and name[0] != "." for name in names)
    assert names[0].startswith("site.crt-") and names[2].startswith("x_y_.crt-")


@table(
    "text, found",
    {
        "port": ("443", ("localhost", 443)),
        "number": (8443, ("localhost", 8443)),
        "host": ("web.internal:443", ("web.internal", 443)),
        "address": ("192.0.2.1:443", ("192.0.2.1", 443)),
        "ipv6": ("[2001:db8::1]:443", ("2001:db8::1", 443)),
        "spaces": (" 443\n", ("localhost", 443)),
    },
)
def test_served(text, found):
    assert configuration.parse_served(text) == found


@pytest.mark.parametrize("text", ["0", "65536", "https", "host:", "::1:443", "a b:443", "host:44\u0663", [443], True])
def test_what_is_no_port(text):
    with pytest.raises(OptionError, match="served: .* is no port. Write 443, host:443 or"):
        configuration.parse_served(text)


@table(
    "more, words",
    {
        "request": ({"csr_path": "/etc/tls/site.csr"}, "csr_path: the renewer has no key of its own for /etc/tls/site"),
        "time": ({"not_after": "2040-01-01T00:00:00Z"}, "not_after: 2040-01-01T00:00:00Z is a time"),
        "password": ({"pkcs12_password": "secret", "pkcs12_password_file": None}, "Give pkcs12_password_file"),
    },
)
def test_what_no_renewer_could_ever_renew(more, words):
    entry = dict(ENTRY, **more)
    why = configuration.never_renewed(entry)
    assert words in why and "renewer: none" in why.replace("stepca_", "") and "secret" not in why
    entry.pop("pkcs12_password", None)  # which stays on the controller
    found = configuration.parse(configuration.make(dict(entry, only_by_play=why), connection()))
    assert found.only_by_play == why and found.wanted().outputs == {}
    assert ("renew_before" in found.options) == ("not_after" in more)
    assert configuration.never_renewed(ENTRY) == ""


@table(
    "more, words",
    {
        "reload": ({"reload": "nginx"}, "reload: 'nginx' is no list"),
        "an option": ({"reload": ["--now"]}, "reload: '--now' is no service"),
        "line break": ({"reload": ["nginx\n"]}, "is no service"),
        "another action": ({"reload": [{"name": "nginx", "action": "stop"}]}, "neither reload nor restart"),
        "another key": ({"reload": [{"name": "nginx", "state": "reloaded"}]}, "Write nginx, or {name: nginx"),
        "a string": ({"run_after": "true"}, "run_after: 'true' is no list"),
        "nothing": ({"run_after": [""]}, "run_after: \\[''\\] is no command"),
        "a mapping": ({"on_failure": [{"a": 1}]}, "on_failure: .* is no command"),
        "no port": ({"served": "https"}, "served: 'https' is no port"),
    },
)
def test_hooks_that_mean_nothing(more, words):
    with pytest.raises(OptionError, match=words):
        configuration.hooked(dict(more, certificate_path="/etc/tls/site.crt"))


def nested(*keys):
    """change(content, value) at this place."""

    def change(content, value):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


GARBAGE = {
    "another version": (nested("version"), 2, "no configuration of version 1"),
    "a typing mistake": (nested("run_afer"), [], "run_afer: no such key. Is it run_after\\?"),
    "another option": (nested("certificate", "renew_befor"), "1h", "Is it renew_before\\?"),
    "an owner": (nested("certificate", "token"), "x", "token: no such option of a certificate here"),
    "no certificate": (nested("certificate"), None, "certificate: it does not say which"),
    "no path": (nested("certificate", "certificate_path"), "", "certificate_path"),
    "a relative path": (nested("certificate", "key_path"), "site.key", "'site.key' is not an absolute path"),
    "a path with a NUL": (nested("certificate", "key_path"), "/etc/\0", "is no value for it"),
    "half a letter": (nested("certificate", "common_name"), "\ud800", "is no value for it"),
    "a number": (nested("certificate", "common_name"), 5, "common_name: 5 is no value for it"),
    "a word": (nested("certificate", "backup"), "no", "backup: 'no' is no value"),
    "names in a word": (nested("certificate", "sans"), "a.example", "sans: 'a.example' is no value"),
    "no names": (nested("certificate", "sans"), [], "sans or common_name is required"),
    "a name that is none": (nested("certificate", "sans"), ["a..b"], "sans"),
    "a wrong choice": (nested("certificate", "key_type"), "rsa-1024", "key_type: 'rsa-1024' is no value"),
    "a wrong policy": (nested("certificate", "key_policy"), "never", "key_policy"),
    "no duration": (nested("certificate", "renew_before"), "soon", "renew_before"),
    "a share too large": (nested("certificate", "renew_before"), "100%", "renew_before"),
    "a request": (nested("certificate", "csr_path"), "/x.csr", "csr_path: only a play can renew"),
    "no ca": (nested("ca"), [], "ca: it does not say where"),
    "no urls": (nested("ca", "urls"), [], "ca: it lacks urls"),
    "no fingerprints": (nested("ca", "fingerprints"), [], "ca: it lacks fingerprints"),
    "http": (nested("ca", "urls"), ["http://ca"], "does not begin with https"),
    "a short fingerprint": (nested("ca", "fingerprints"), ["ab"], "64 hex digits"),
    "roots that are none": (nested("ca", "roots"), "PEM", "ca: it does not say where"),
    "an eternal timeout": (nested("ca", "timeout"), float("inf"), "ca: it does not say where"),
    "no timeout": (nested("ca", "timeout"), 0, "ca: it does not say where"),
    "endless retries": (nested("ca", "retries"), 10**9, "ca: it does not say where"),
    "infinite retries": (nested("ca", "retries"), float("inf"), "ca: it does not say where"),
    "a name in a list": (nested("ca", "name"), ["ca"], "ca: it does not say where"),
    "rollback": (nested("rollback"), "yes", "rollback: 'yes' is neither true nor false"),
    "run_after": (nested("run_after"), [7], "run_after: \\[7\\] is no command"),
}


@table("change, value, words", GARBAGE)
def test_what_was_edited_to_nonsense(tmp_path, change, value, words):
    content = made()
    change(content, value)
    path = tmp_path / "site.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(HostFileError, match=words) as caught:
        configuration.load(str(path))
    text = str(caught.value)
    assert text.startswith("The configuration %s cannot be used: " % path)
    assert text.endswith(". Run the play again, which writes it anew.")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[]", b"null", b"7", b"[" * 100000, b'{"version": 1}'])
def test_what_is_no_configuration(text):
    with pytest.raises(OptionError, match="it is no JSON|it is no configuration|certificate: it does not say which"):
        configuration.parse(text)


def test_a_file_that_was_cut_is_never_half_believed():
    text = configuration.make(dict(ENTRY, **HOOKS), connection())
    for length in range(0, len(text) - 2, 7):
        with pytest.raises(OptionError, match="it is no JSON"):
            configuration.parse(text[:length])


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8) | st.just("/x"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
PLACES = [("certificate", name) for name in configuration.OPTIONS + ("csr_path",)]
PLACES += [("ca", name) for name in ("urls", "fingerprints", "roots", "name", "timeout", "retries")]
PLACES += [(name,) for name in (*configuration.HOOKS, "only_by_play", "version", "certificate", "ca")]
WHOLE = dict(made(**HOOKS))


@steady
@given(place=st.sampled_from(PLACES), value=ANYTHING)
def test_whatever_stands_there_it_is_understood_or_refused(place, value):
    """Never an error of another kind, now or when it is put to use."""
    content = json.loads(json.dumps(WHOLE))
    nested(*place)(content, value)
    try:
        found = parse(content)
    except OptionError:
        return
    assert isinstance(found.wanted().certificate_path, str)
    for option, path in found.written().items():
        with suppress(StepCAError):
            assert sandbox.folder_of(path, option)
    configuration.make(found.entry(), found.connection)


def test_paths(tmp_path):
    assert configuration.paths(str(tmp_path / "missing")) == []
    for name in ("b.json", "a.json", ".hidden.json", "c.json.bak"):
        (tmp_path / name).write_text("", encoding="ascii")
    assert configuration.paths(str(tmp_path)) == [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    with pytest.raises(HostFileError, match="Cannot list"):
        configuration.paths(str(tmp_path / "a.json"))
    with pytest.raises(HostFileError, match="There is no configuration .*missing. Run the play again"):
        configuration.load(str(tmp_path / "missing"))
