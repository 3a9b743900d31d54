# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The library on the host: there, missing, too old, or there for another Python only."""

from __future__ import annotations

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils import _cryptography
from ansible_collections.privatepki.stepca.plugins.module_utils._core import library


class Failed(Exception):
    """The module ended with fail_json."""


class Respawned(Exception):
    """The module began anew under another Python."""


class Module:
    """What `ensure` needs of an AnsibleModule."""

    def fail_json(self, **answer):
        raise Failed(answer)


class Host:
    """A host with this version of the library, and perhaps another Python that has it."""

    def __init__(self, monkeypatch, version, other=None, respawned=False):
        self.probed = []
        monkeypatch.setattr(library, "VERSION", version)
        monkeypatch.setattr(library, "FILE", "/opt/cryptography/__init__.py")
        monkeypatch.setattr(library, "PROBLEM", None if version else "Traceback: no module")
        monkeypatch.setattr(_cryptography, "has_respawned", lambda: respawned)
        monkeypatch.setattr(_cryptography, "probe_interpreters_for_module", self.probe)
        monkeypatch.setattr(_cryptography, "respawn_module", self.respawn)
        monkeypatch.setattr(_cryptography, "_SYSTEM_PYTHONS", ("/no/python", __file__))
        self.other = other

    def probe(self, paths, name):
        self.probed.append((paths, name))
        return self.other

    @staticmethod
    def respawn(interpreter):
        raise Respawned(interpreter)


@pytest.mark.parametrize("version", ["3.3", "3.3.2", "3.4.8", "3.10.0", "42.0.5", "50.0.2", "43.0.0.dev1"])
def test_a_library_that_is_new_enough_is_used(monkeypatch, version):
    host = Host(monkeypatch, version, other="/usr/bin/python3")
    _cryptography.ensure(Module())
    assert host.probed == []


@pytest.mark.parametrize("version", [None, "2.8", "3.2.1", "3"])
def test_another_python_that_has_it_takes_over(monkeypatch, version):
    host = Host(monkeypatch, version, other="/usr/bin/python3")
    with pytest.raises(Respawned, match="^/usr/bin/python3$"):
        _cryptography.ensure(Module())
    assert host.probed == [([__file__], "cryptography")]


@pytest.mark.parametrize("respawned", [False, True])
def test_without_the_library_the_packages_are_named(monkeypatch, respawned):
    host = Host(monkeypatch, None, other="/usr/bin/python3" if respawned else None, respawned=respawned)
    with pytest.raises(Failed) as caught:
        _cryptography.ensure(Module())
    answer = caught.value.args[0]
    for word in ("cryptography >= 3.3", "python3-cryptography", "Alpine py3-cryptography"):
        assert word in answer["msg"]
    assert answer["exception"] == "Traceback: no module"
    assert len(host.probed) == (0 if respawned else 1)


@pytest.mark.parametrize("respawned", [False, True])
def test_a_library_that_is_too_old_is_named_with_its_place(monkeypatch, respawned):
    Host(monkeypatch, "2.8", respawned=respawned)
    with pytest.raises(Failed) as caught:
        _cryptography.ensure(Module())
    assert caught.value.args[0] == {
        "msg": "cryptography >= 3.3 is needed on the host; found is 2.8 at /opt/cryptography/__init__.py. "
        "Install a newer "
        "python3-cryptography, or set ansible_python_interpreter to a Python that has one."
    }


def test_the_guard_names_what_it_imports():
    assert all(getattr(library, name) is not None for name in library.__all__ if name != "PROBLEM")
    assert library.PROBLEM is None
