# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""An image that was configured for another name enrols with a token: killed or failing at any step, the next run finishes."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from itertools import count

import jwt
import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError, StepCAError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import (
    command,
    configuration,
    enrolment,
    renewal,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import pair_of
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.killing import Points
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.renewer.renewing import start

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
NAME = "web-17.example.com"
_numbers = count()


@pytest.fixture(name="image")
def fixture_image(tmp_path, monkeypatch):
    """A host that has a configuration and no certificate."""
    host = start(tmp_path, monkeypatch, now=pki.NOW)
    host.configure(host.entry(served="1"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
    monkeypatch.setattr(renewal.served, "problem", lambda _one: "")
    return host


def token(*names) -> str:
    claims = {"sans": list(names) or [NAME], "sub": NAME, "jti": str(next(_numbers))}
    return jwt.encode(claims, "no secret of anybody's, but long enough", "HS256")


def enrol(host, words=None, **given):
    return enrolment.enrol(str(host.path()), str(host.state), given, words or token(), pki.NOW)


def names(host) -> list:
    """What the host's configuration is for."""
    return configuration.load(str(host.path())).options["sans"]


def renew(host) -> int:
    """What the timer does; its exit code."""
    return command.main(["renew", "--config", str(host.config), "--state", str(host.state)])


def left_behind(host) -> list:
    """Configurations beside that of the certificate."""
    ours = (".json", ".json.enrolment")
    return [name for name in os.listdir(host.config) if name.endswith(ours) and name != host.path().name]


def test_the_configuration_is_for_the_names_of_the_token(image):
    assert enrol(image)[0] == "issued"
    assert (names(image), image.lines(), left_behind(image)) == ([NAME], 1, [])
    assert pair_of(image.tls)[2] == [NAME]
    assert enrol(image)[0] == "none"


def test_a_hook_that_fails_leaves_the_names_that_were_issued(image):
    image.configure(dict(image.entry(), run_after=["false"]))
    with pytest.raises(StepCAError, match="was replaced, but: The command false failed"):
        enrol(image)
    assert names(image) == [NAME] and image.history().pending
    image.edit(lambda content: content.update(run_after=image.telling()))
    assert renew(image) == 0
    assert (image.lines(), image.history().pending, names(image)) == (1, False, [NAME])


def test_a_token_that_will_not_do_leaves_what_was_true(image):
    """Of a host that has its certificate, too: it goes on to be renewed."""
    before = image.path().read_bytes()
    image.stand_in.say["/1.0/sign"] = [(401, {"message": "no"})]
    with pytest.raises(StepCAError, match="401"):
        enrol(image)
    assert image.path().read_bytes() == before and left_behind(image) == []
    del image.stand_in.say["/1.0/sign"]
    enrol(image)
    image.stand_in.say["/1.0/sign"] = [(401, {"message": "no"})]
    with pytest.raises(StepCAError, match="401"):
        enrol(image, token("other.example.com"))
    assert (names(image), renew(image)) == ([NAME], 0)


def test_killed_at_any_point(image, tmp_path, monkeypatch):
    """The timer finishes what has its certificate; for what has none, the next token does. Nothing is lost or left."""
    kept = tmp_path / "kept"
    for one in (image.tls, image.state, image.config):
        shutil.copytree(one, kept / one.name)

    def again():
        for one in (image.tls, image.state, image.config):
            shutil.rmtree(one)
            shutil.copytree(kept / one.name, one)
        image.told.unlink(missing_ok=True)

    enrol(image)  # the folder of the locks is there from now on
    again()
    with monkeypatch.context() as patched:
        points = Points().install(patched.setattr)
        enrol(image)
    seen = set()
    for number in points.changing:
        again()
        run_killed(image, number)
        code = renew(image)
        seen.add(code)
        if code:
            assert enrol(image)[0] == "issued"
        assert (pair_of(image.tls)[2], names(image)) == ([NAME], [NAME]), number
        assert image.lines() and not image.history().pending
        assert (renew(image), left_behind(image)) == (0, [])
    assert seen == {0, 1} and len(points.changing) > 20


def run_killed(host, number) -> None:
    """Enrol in a process that is killed at this point."""
    words = token()
    pid = os.fork()
    if pid == 0:
        try:
            Points(number, lambda: os.kill(os.getpid(), signal.SIGKILL)).install()
            enrol(host, words)
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_a_first_enrolment_without_a_configuration_is_finished_too(image, monkeypatch):
    image.path().unlink()
    given = {"certificate_path": str(image.tls / "site.crt"), "key_path": str(image.tls / "site.key")}
    given.update(ca_url=["https://ca.internal"], ca_fingerprint=[image.stand_in.authority.fingerprint])

    def die(*_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(enrolment, "_settle", die)
        enrol(image, **given)
    assert not image.path().exists()
    assert renew(image) == 0 and names(image) == [NAME]


def test_files_of_others_stay_where_they_are(image):
    """Hidden or not, and whatever they are called: a run takes nothing for its own that no enrolment wrote."""
    enrol(image)
    waiting = configuration.staged(str(image.path()))
    another = configuration.make(dict(image.entry(), certificate_path="/etc/other.crt"), image.stand_in.connection())
    others = {".kept.json": b"{}", ".%s" % image.path().name: b"notes", os.path.basename(waiting): another}
    others[".odd.json.enrolment"] = b"no configuration"
    for name, content in others.items():
        (image.config / name).write_bytes(content)
    assert renew(image) == 0
    assert {name: (image.config / name).read_bytes() for name in others} == others
    assert names(image) == [NAME]


def test_a_full_disk_says_so(image, monkeypatch):
    def full(*_given, **_more):
        raise HostFileError("No space left on device.")

    monkeypatch.setattr(enrolment.replacing, "put", full)
    with pytest.raises(HostFileError, match="No space left"):
        enrol(image)
    assert os.listdir(image.tls) == []
