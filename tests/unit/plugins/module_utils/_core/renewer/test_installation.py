# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The renewer's own files on a host: put there, repaired, taken away; and whether it could ever renew what it is given."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import pytest
from cryptography import x509

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    HostFileError,
    OptionError,
    TransportError,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import locks
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import history, services
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer.installation import Installation
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, enrol
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import step_extension, table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.renewer.renewing import start
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    MALLORY,
    give,
    link_of,
    root_only,
)

PROGRAM = b"#!/usr/bin/env python3\nPK... privatepki.stepca ..."
PROVISIONERS = "/1.0/provisioners?limit=100&cursor="


@pytest.fixture(name="host")
def fixture_host(tmp_path, monkeypatch):
    found = start(tmp_path, monkeypatch)
    monkeypatch.setattr(history, "FOLDER", str(tmp_path / "var" / "stepca"))
    found.config.rmdir()
    return found


class Place:
    """What the module does, once."""

    def __init__(self, host, entries=(), dry=False, metrics_path=None, strict=True, content=PROGRAM):
        folder = host.tls.parent
        self.program = folder / "lib" / "stepca" / "renewer.pyz"
        self.made = Installation(str(self.program), str(host.config), dry)
        self.made.install(content)
        self.made.configure(list(entries), host.stand_in.connection(), metrics_path, strict)
        self.reasons, self.problems = self.made.reasons, self.made.problems


def remove(host, dry=False, metrics_path=None):
    folder = host.tls.parent
    made = Installation(str(folder / "lib" / "stepca" / "renewer.pyz"), str(host.config), dry)
    made.remove(metrics_path)
    return made


def test_do_and_again(host):
    enrol(host.tls)
    before = pki.snapshot(host.tls.parent)
    dry = Place(host, [host.entry()], dry=True)
    assert pki.snapshot(host.tls.parent) == before
    done = Place(host, [host.entry()])
    assert dry.reasons == done.reasons == ["%s is missing" % done.program, "%s is missing" % host.path()]
    assert [one["after_header"] for one in done.made.differences] == [str(done.program), str(host.path())]
    assert done.made.differences[0]["after"] == "the renewer, %d bytes\n" % len(PROGRAM)
    assert done.made.differences[1]["after"] == host.path().read_text(encoding="ascii")
    assert done.program.read_bytes() == PROGRAM
    assert [oct(one.stat().st_mode & 0o777) for one in (done.program, host.path())] == ["0o755", "0o644"]
    again = Place(host, [host.entry()])
    assert again.reasons == again.problems == again.made.differences == []
    assert again.made.configurations() == [str(host.path())]
    assert again.made.folders(None) == ([str(host.tls)], [])
    assert again.made.folders(str(host.state / "x.prom")) == (sorted([str(host.tls), str(host.state)]), [])


def test_what_was_changed_is_put_right(host):
    enrol(host.tls)
    done = Place(host, [host.entry()])
    done.program.write_bytes(b"#!something else")
    host.path().chmod(0o666)
    other = host.config / "other.json"
    other.write_text("{", encoding="ascii")
    found = Place(host, [host.entry()])
    assert found.reasons == [
        "%s is not what it should be" % done.program,
        "the owner or mode of %s is not root's and 0644" % host.path(),
    ]
    assert found.made.folders(None) == ([str(host.tls)], []) and other.exists()
    assert Place(host, [host.entry()]).reasons == []
    (backup,) = found.made.backups
    with open(backup, "rb") as stream:
        assert stream.read() == b"#!something else"
    assert found.made.warnings == ["%s held what is not of our making. It is kept as %s." % (done.program, backup)]


def test_what_is_ours_and_what_is_empty_is_replaced_without_a_backup(host):
    enrol(host.tls)
    done = Place(host, [host.entry()], content=PROGRAM + b"of before")
    for content in (None, b"", b" \n"):
        if content is not None:
            done.program.write_bytes(content)
            host.path().write_bytes(content)
        again = Place(host, [host.entry()])
        assert again.reasons[0] == "%s is not what it should be" % done.program
        assert (again.made.backups, again.made.warnings) == ([], [])
    assert sorted(os.listdir(done.program.parent)) == [done.program.name]
    assert os.listdir(host.config) == [host.path().name]


def test_what_somebody_else_put_in_the_place_of_a_configuration_is_kept(host):
    enrol(host.tls)
    Place(host, [host.entry()])
    for number in (1, 2):
        host.path().write_bytes(b"notes, %d" % number)
        dry = Place(host, [host.entry()], dry=True)
        assert (dry.made.backups, host.path().read_bytes()) == ([], b"notes, %d" % number)
        found = Place(host, [host.entry()])
        assert found.made.differences[0]["before"] == "something else, 8 bytes\n"
    kept = sorted(name for name in os.listdir(host.config) if "backup" in name)
    assert [(host.config / name).read_bytes() for name in kept] == [b"notes, 1", b"notes, 2"]
    assert found.made.configurations() == [str(host.path())], "a backup is no configuration"


def test_an_entry_that_is_absent(host):
    enrol(host.tls)
    Place(host, [host.entry()])
    os.makedirs(history.FOLDER)
    past = history.History(os.path.join(history.FOLDER, host.path().name), error="no route")
    past.save()
    gone = dict(host.entry(), state="absent")
    assert Place(host, [gone], dry=True).reasons == ["%s is there" % host.path()]
    assert os.path.exists(past.path)
    assert Place(host, [gone]).reasons == ["%s is there" % host.path()]
    assert not host.path().exists() and not os.path.exists(past.path) and (host.tls / "site.crt").exists()
    assert Place(host, [gone]).reasons == []


def test_absent_leaves_the_host_as_before(host):
    enrol(host.tls)
    metrics = host.state / "stepca.prom"
    folder = host.tls.parent
    (folder / "lib").mkdir()
    (folder / "var").mkdir()
    names = sorted(pki.snapshot(folder))
    Place(host, [host.entry()], metrics_path=str(metrics))
    metrics.write_text("", encoding="ascii")
    os.makedirs(history.FOLDER)
    history.History(os.path.join(history.FOLDER, host.path().name)).save()
    there = pki.snapshot(folder)
    dry = remove(host, dry=True, metrics_path=str(metrics))
    assert pki.snapshot(folder) == there
    done = remove(host, metrics_path=str(metrics))
    assert dry.reasons == done.reasons and len(done.reasons) == 3 and done.configurations() == []
    assert sorted(pki.snapshot(folder)) == names
    assert remove(host).reasons == []


def test_folders_of_others_stay_though_they_are_empty(host, tmp_path):
    for name in ("opt", "srv"):
        (tmp_path / name).mkdir()
    made = Installation(str(tmp_path / "opt" / "renewer.pyz"), str(tmp_path / "srv"), False)
    made.remove()
    assert (tmp_path / "opt").exists() and (tmp_path / "srv").exists()


def test_the_folder_of_the_metrics_must_be_there(host):
    with pytest.raises(
        HostFileError, match="metrics_path: the folder .*missing is missing. Name the one that node_exp"
    ):
        Place(host, metrics_path=str(host.state / "missing" / "stepca.prom"))
    with pytest.raises(OptionError, match="path: 'lib/renewer.pyz' is not an absolute path"):
        Installation("lib/renewer.pyz", "/etc", True)


# what could never be renewed


def issued_by(host, name, **more):
    """The pair, of a provisioner of this name."""
    key = pki.new_key()
    leaf = CA.leaf(key.public_key(), ["a.example"], extensions=[step_extension(name)], **more)
    (host.tls / "site.crt").write_text(pki.pem_of(leaf, CA.intermediate), encoding="ascii")
    (host.tls / "site.key").write_bytes(pki.key_pem(key))


def listed(host, **claims):
    host.stand_in.say[PROVISIONERS] = [(200, {"provisioners": [{"name": "ansible", "claims": claims}, {"name": "b"}]})]


@pytest.mark.parametrize(
    "spoil, words",
    [
        (
            lambda host: listed(host, disableRenewal=True),
            "the provisioner 'ansible' does not allow it .disableRenewal.*",
        ),
        (lambda host: None, "the CA has no provisioner 'ansible' any more"),
        (
            lambda host: host.stand_in.say.update({PROVISIONERS: [TransportError("refused", sent=False)]}),
            "because this host does not reach the CA: No answer from the CA. .*refused",
        ),
    ],
    ids=["disabled", "gone", "no route"],
)
def test_what_the_ca_says(host, spoil, words):
    issued_by(host, "ansible")
    spoil(host)
    found = Place(host, [host.entry()])
    (problem,) = found.problems
    assert problem.startswith("%s will not be renewed" % (host.tls / "site.crt"))
    assert re.search(words, problem)
    assert not host.path().exists(), "so that the next run complains again"
    assert Place(host, [host.entry()]).problems == [problem]
    lenient = Place(host, [host.entry()], strict=False)
    assert lenient.problems == [problem] and host.path().exists()
    assert Place(host, [host.entry()], strict=False).problems == []


def test_what_will_be_renewed(host):
    issued_by(host, "ansible")
    listed(host, allowRenewalAfterExpiry=True)
    assert Place(host, [host.entry()]).problems == []
    asked = len(host.stand_in.asked)
    Place(host, [host.entry()])
    assert len(host.stand_in.asked) == asked, "what is known is not asked again"


def test_many_certificates_ask_once(host):
    issued_by(host, "ansible")
    listed(host)
    entries = [host.entry()]
    for name in ("b", "c"):
        (host.tls / (name + ".crt")).write_bytes((host.tls / "site.crt").read_bytes())
        entries.append(dict(host.entry(), certificate_path=str(host.tls / (name + ".crt"))))
    Place(host, entries)
    assert len(host.stand_in.asked) == 1


@pytest.mark.parametrize("option", ["run_after", "on_failure"])
def test_a_command_that_is_not_executable(host, option):
    script = host.state / "hook"
    script.write_text("#!/bin/sh\n", encoding="ascii")
    entry = dict(host.entry(), **{option: [str(script)]})
    assert Place(host, [entry]).problems == ["%s: %s is no program that this host can run." % (option, script)]
    script.chmod(0o755)
    assert Place(host, [entry]).problems == []


def test_a_service_that_is_not_there_yet_is_a_warning(host, monkeypatch):
    monkeypatch.setattr(services, "unknown", lambda one: [service.name for service in one.reload])
    found = Place(host, [host.entry(reload=["nginx"])])
    assert found.problems == [] and len(found.made.warnings) == 1
    assert "names the service nginx, and systemd knows none of that name" in found.made.warnings[0]
    assert host.path().exists()


def test_a_configuration_that_cannot_be_read_harms_no_other(host):
    (host.config / "folder.json").mkdir(parents=True)
    assert len(Place(host, [host.entry()]).reasons) == 2 and Place(host, [host.entry()]).reasons == []


def test_what_only_a_play_renews_and_what_is_not_there_yet(host):
    host.stand_in.say[PROVISIONERS] = [TransportError("refused", sent=False)]
    assert Place(host, [host.entry()]).problems == [], "an image that is yet to be enrolled"
    entry = dict(host.entry(), only_by_play="Because.", not_after="2040-01-01T00:00:00Z")
    assert Place(host, [entry], strict=False).problems == ["Because."]
    assert host.stand_in.asked == []


def test_a_certificate_that_is_not_for_clients(host):
    key = pki.new_key()
    usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])
    leaf = CA.leaf(key.public_key(), ["a.example"], extensions=[usage], end=pki.NOW + timedelta(hours=1))
    (host.tls / "site.crt").write_text(pki.pem_of(leaf, CA.intermediate), encoding="ascii")
    (problem,) = Place(host, [host.entry()]).problems
    assert "will not be renewed: it is not for clients (extended key usage without clientAuth)" in problem


# what others could do


@root_only
@table(
    "spoil, words",
    {
        "somebody owns its folder": (give, "belongs to the user %d" % MALLORY),
        "everybody may write there": (lambda folder: folder.chmod(0o777), "everybody may write to"),
        "a group may write there": (lambda folder: (os.chown(folder, 0, MALLORY), folder.chmod(0o775)), "the group"),
        "somebody owns the one above": (lambda folder: give(folder.parent), "above belongs to the user %d" % MALLORY),
    },
)
@pytest.mark.parametrize("option", ["path", "config_path"])
def test_what_root_runs_lies_where_only_root_can_write(tmp_path, spoil, words, option):
    ours, theirs = tmp_path / "ours", tmp_path / "above" / "theirs"
    theirs.mkdir(parents=True)
    ours.mkdir()
    spoil(theirs)
    places = {"path": str(ours / "renewer.pyz"), "config_path": str(ours / "renew.d")}
    places[option] = str(theirs / os.path.basename(places[option]))
    for dry in (True, False):
        with pytest.raises(HostFileError) as caught:
            Installation(places["path"], places["config_path"], dry)
        said = str(caught.value)
        assert said.startswith("%s: others can change what lies at %s (" % (option, places[option])) and words in said
        assert "what the renewer reads there is run. Name a path that only root can write to, folders above it" in said


@root_only
def test_a_link_of_somebody_else_as_the_renewer_is_refused(tmp_path):
    link_of(tmp_path / "renewer.pyz", "/bin/true")
    with pytest.raises(HostFileError, match="path: .*renewer.pyz is a symbolic link of the user %d" % MALLORY):
        Installation(str(tmp_path / "renewer.pyz"), str(tmp_path / "renew.d"), False)


def test_a_file_for_which_no_folder_can_be_opened_is_a_problem(host):
    enrol(host.tls)
    made = Place(host, [host.entry(chain_path="/etc/chain.pem")]).made
    found, problems = made.folders("/stepca.prom")
    assert found == [str(host.tls)] and len(problems) == 2
    assert problems[0].startswith(
        "metrics_path: to renew /stepca.prom, the renewer would have to be let write to all of /."
    )
    assert problems[1].startswith(
        "chain_path: to renew /etc/chain.pem, the renewer would have to be let write to all of /etc."
    )


@pytest.mark.parametrize("content", [b"hello", pki.key_pem(pki.new_key())], ids=["text", "key"])
def test_metrics_that_are_none_stay_and_are_not_told(host, content):
    metrics = host.state / "stepca.prom"
    metrics.write_bytes(content)
    with pytest.raises(HostFileError, match="metrics_path: %s holds something else than metrics" % metrics) as caught:
        Place(host, metrics_path=str(metrics))
    made = remove(host, metrics_path=str(metrics))
    assert made.warnings == ["metrics_path: %s holds something else than metrics, and stays." % metrics]
    assert metrics.read_bytes() == content
    assert content.decode().splitlines()[-1] not in str(caught.value) + str(made.differences)


def test_a_run_that_is_under_way_is_waited_for(host, monkeypatch):
    """A zipapp that is replaced meanwhile cannot load what it needs next."""
    Place(host)
    os.makedirs(history.FOLDER, exist_ok=True)
    order = []
    real = locks.locked

    @contextmanager
    def locked(path, **_patience):
        order.append(path)
        with real(path):
            yield
        order.append("let go")

    monkeypatch.setattr(locks, "locked", locked)
    Place(host)
    Place(host, dry=True, content=PROGRAM + b"new")
    assert order == [], "nothing is replaced"
    done = Place(host, content=PROGRAM + b"new")
    assert order == [os.path.join(history.FOLDER, "renewals"), "let go"]
    assert done.program.read_bytes() == PROGRAM + b"new"


def test_a_run_that_never_ends_is_not_waited_for_for_ever(host, monkeypatch):
    Place(host)
    monkeypatch.setattr(locks, "locked", partial(locks.locked, patience=0.0))
    os.makedirs(history.FOLDER, exist_ok=True)
    with locks.locked(os.path.join(history.FOLDER, "renewals")):
        assert Place(host, content=PROGRAM + b"new").program.read_bytes() == PROGRAM + b"new"
