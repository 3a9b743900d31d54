# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Owners and modes that cannot be set: the entry fails with a sentence, however Ansible says so."""

from __future__ import annotations

import errno
import os

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._attributes import Attributes
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError


class Module:
    """What Attributes needs of an AnsibleModule, whose way of setting a mode fails."""

    check_mode = False

    def __init__(self, fail):
        self._fail = fail

    def load_file_common_arguments(self, params, path=None):
        return dict(params)

    def set_fs_attributes_if_different(self, arguments, changed, diff=None):
        self._fail(self)

    def fail_json(self, msg="", **details):
        pytest.fail("the whole module ended")


def raise_as_chmod_does(module):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize(
    "fail, words",
    [
        (raise_as_chmod_does, ["Cannot set owner, group or mode of /etc/site.crt: Read-only", "mount it writable"]),
        (
            lambda module: module.fail_json(path="/x", msg="chown failed: no such user"),
            ["Owner, group or mode of /etc/site.crt cannot be set: chown failed: no such user."],
        ),
    ],
)
def test_what_cannot_be_set_fails_the_entry(fail, words):
    module = Module(fail)
    with pytest.raises(HostFileError) as caught:
        Attributes(module, {"certificate": {"mode": "0644"}}, dry=False)("/x", "/etc/site.crt", "certificate")
    assert [word for word in words if word not in str(caught.value)] == []
    assert module.fail_json.__func__ is Module.fail_json and module.check_mode is False
