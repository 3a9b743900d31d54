# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Bad input that a host's files show: one clear failure each, the files stay as they were, no staged key is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration import lies
from tests.integration.interpreters import FULL, interpreter, ordinary
from tests.integration.remains import staged, tree
from tests.integration.rows import HOST, PAIR, Row, check_failures, run_unchanged
from tests.integration.support import enrolment

SITE = {**PAIR, "sans": [HOST]}


def a_key():
    """A key on P-256."""
    return lies.private_pem(ec.generate_private_key(ec.SECP256R1())).encode()


def encrypted_key():
    """A key that a password protects."""
    form, cipher = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(serialization.Encoding.PEM, form, cipher)


def a_request(**asked):
    """A request for site.example.com, unless asked otherwise."""
    return lies.request(ec.generate_private_key(ec.SECP256R1()), **asked).encode()


@dataclass
class Place:
    """An entry whose files lie in a folder of its own, how the folder is made, and the words of the failure."""

    words: list
    make: Callable = lambda folder: None
    options: tuple = ()

    def entry(self, name):
        """The options of the certificate; {} is the folder."""
        own = {"certificate_path": "{}/site.crt", "key_path": "{}/site.key", "sans": [HOST], **dict(self.options)}
        folder = "{{ host_root }}/etc/%s" % name
        own = {key: value.replace("{}", folder) if isinstance(value, str) else value for key, value in own.items()}
        return {key: value for key, value in own.items() if value is not None}


def write(name, content, mode=0o600):
    """A maker of one file."""

    def make(folder):
        (folder / name).write_bytes(content)
        (folder / name).chmod(mode)

    return make


def brought(content, *words):
    """A request that a user brings."""
    return Place(["csr_path", *words], write("site.csr", content), (("csr_path", "{}/site.csr"), ("key_path", None)))


def link(name, target):
    """A maker of one link."""
    return lambda folder: (folder / name).symlink_to(target)


def at(option, value):
    """Options with one of them changed."""
    return ((option, value),)


PLACES = {
    "missing": Place(
        ["The folder", "/nowhere is missing", "state: directory"], options=at("certificate_path", "{}/nowhere/site.crt")
    ),
    "missing-key": Place(["The folder", "/nowhere is missing"], options=at("key_path", "{}/nowhere/site.key")),
    "missing-link": Place(["/nowhere is missing"], link("site.crt", "nowhere/site.crt")),
    "readonly": Place(["Cannot write", "Permission denied", "path"], lambda folder: folder.chmod(0o555)),
    "below-a-file": Place(
        ["Not a directory", "A part of the path is a file"],
        write("file", b""),
        at("certificate_path", "{}/file/site.crt"),
    ),
    "key-below-a-file": Place(["Not a directory"], write("file", b""), at("key_path", "{}/file/site.key")),
    "folder": Place(
        ["certificate_path", "is a folder. Name a file in it"], lambda folder: (folder / "site.crt").mkdir()
    ),
    "key-folder": Place(["key_path", "is a folder"], lambda folder: (folder / "site.key").mkdir()),
    "encrypted": Place(["is encrypted with a password", "move it away"], write("site.key", encrypted_key())),
    "unreadable": Place(
        # Root has no right of root's here: see ordinary().
        ["Cannot read", "site.key", "Permission denied", "confined" if os.geteuid() == 0 else "become"],
        write("site.key", encrypted_key(), 0),
    ),
    "unreadable-certificate": Place(["Cannot read", "site.crt", "Permission denied"], write("site.crt", b"", 0)),
    "large": Place(["larger than 1 MiB"], write("site.key", b"x" * 2**21)),
    "for-everybody": Place(["Everybody may write to the folder"], lambda folder: folder.chmod(0o777)),
    "relative": Place(
        ["certificate_path: 'site.crt' is not an absolute path"], options=at("certificate_path", "site.crt")
    ),
    "one-file": Place(["resolve to the same file"], link("site.key", "site.crt")),
    "loop": Place(["symbolic links"], link("site.crt", "site.crt")),
    "owner": Place(["Owner, group or mode", "site.crt cannot be set"], options=at("owner", "nobody-of-this-name")),
    "group": Place(
        ["Owner, group or mode", "site.key cannot be set"], options=at("key_group", "no-group-of-this-name")
    ),
    "mode": Place(["Owner, group or mode", "mode must be in octal or symbolic"], options=at("mode", "u=whatever")),
    "no-request": Place(["csr_path", "is missing"], options=(("csr_path", "{}/site.csr"), ("key_path", None))),
    "no-request-at-all": brought(b"trust me", "one PEM block"),
    "request-for-others": brought(a_request(names=["evil.example.com"]), "names dns:evil.example.com"),
    "request-for-a-ca": brought(a_request(others=[lies.CA]), "asks to be a CA"),
    "request-signed-by-another": brought(
        lies.REQUESTS["wrong signature"](ec.generate_private_key(ec.SECP256R1())).encode(), "signature", "is wrong"
    ),
    "two-requests": brought(a_request() + a_request(), "must be one PEM block; 2 blocks came"),
    "kept-key-of-another-type": Place(
        ["key_policy: keep", "is of type ec-p256, and key_type asks for rsa-2048"],
        write("site.key", a_key()),
        (("key_policy", "keep"), ("key_type", "rsa-2048")),
    ),
    "no-password-file": Place(
        ["pkcs12_password_file: ", "is missing", "mode 0600"],
        options=(("pkcs12_path", "{}/site.p12"), ("pkcs12_password_file", "{}/password")),
    ),
    "open-password-file": Place(
        ["pkcs12_password_file: others than its owner may read or change", "must be 0600"],
        write("password", b"x", 0o644),
        (("pkcs12_path", "{}/site.p12"), ("pkcs12_password_file", "{}/password")),
    ),
    "empty-password-file": Place(
        ["pkcs12_password_file: ", "is empty"],
        write("password", b" \n"),
        (("pkcs12_path", "{}/site.p12"), ("pkcs12_password_file", "{}/password")),
    ),
    "missing-output": Place(
        ["The folder", "/nowhere is missing", "state: directory"], options=at("chain_path", "{}/nowhere/chain.pem")
    ),
    "output-folder": Place(
        ["combined_path", "is a folder"], lambda folder: (folder / "all").mkdir(), at("combined_path", "{}/all")
    ),
    "output-relative": Place(["leaf_path: 'leaf.pem' is not an absolute path"], options=at("leaf_path", "leaf.pem")),
    "outputs-one-file": Place(
        ["key_path and combined_path resolve to the same file"], link("all", "site.key"), at("combined_path", "{}/all")
    ),
    "request-of-another-key": Place(
        ["is not the key of the request"],
        lambda folder: [
            write("site.csr", a_request())(folder),
            write("site.key", a_key())(folder),
        ],
        at("csr_path", "{}/site.csr"),
    ),
}


def test_files_of_the_host(play, new_hosts, core, authority, tmp_path):
    """All in one task: each fails for itself, with its words; the one that can be done is done."""
    (host,) = new_hosts("web9", python=ordinary(core, tmp_path))
    for name, place in PLACES.items():
        host.path("/etc/" + name).mkdir(mode=0o755)
        place.make(host.path("/etc/" + name))
    before = tree(*(host.path("/etc/" + name) for name in PLACES))
    posts = len([line for line in authority.requests() if line["method"] == "POST"])
    entries = [place.entry(name) for name, place in PLACES.items()] + [SITE]
    task = {"privatepki.stepca.stepca_certificate": {"certificates": entries, **enrolment(authority)}}
    run = play([{"name": "all", **task}], hosts=[host], verbosity=3)
    failure = run.expect_failure("%d of %d certificates failed" % (len(PLACES), len(entries)))
    wrong = {
        name: one.get("msg")
        for (name, place), one in zip(PLACES.items(), failure["results"], strict=False)
        if not one.get("failed") or [word for word in place.words if word not in one["msg"]]
    }
    assert wrong == {}
    assert failure["results"][-1]["outcome"] == "issued"
    assert staged([host]) == []
    assert tree(*(host.path("/etc/" + name) for name in PLACES)) == before
    assert len([line for line in authority.requests() if line["method"] == "POST"]) == posts + 1


#: Goes away, as a host that restarts, when it is called for the second time.
GONE = """\
#!/bin/sh
if [ -e %(flag)s ]; then rm %(flag)s; exit 1; fi
touch %(flag)s
exec %(python)s "$@"
"""


def test_a_host_lost_between_signing_and_installing(play, new_hosts, core, authority, tmp_path):
    """The key waits, its certificate is lost: the next run issues again, and says so, and nothing is left."""
    (host,) = new_hosts("web9")
    program = tmp_path / "python"
    program.write_text(GONE % {"flag": tmp_path / "called", "python": core.host_environment.python}, encoding="ascii")
    program.chmod(0o755)
    host.variables["ansible_python_interpreter"] = str(program)
    task = {"name": "site", "privatepki.stepca.stepca_certificate": {**SITE, **enrolment(authority)}}
    lost = play([task], hosts=[host])
    lost.expect_failure()
    assert len(staged([host])) == 1 and not host.path("/etc/tls/site.crt").exists()
    host.variables["ansible_python_interpreter"] = str(core.host_environment.python)
    run = play([task, {**task, "name": "again"}], hosts=[host]).expect_ok()
    assert "made a key whose certificate was never installed: it is issued again" in " ".join(run["site"]["warnings"])
    assert (run["site"]["outcome"], run["again"]["outcome"]) == ("issued", "none")
    # The key of the lost one stays for the hour in which it might still be waited for.
    assert [one for one in staged([host]) if "site.key" not in one] == []


def test_a_pipe_is_no_file(play, host, authority):
    """Reading it would wait for ever."""
    pipe = host.path("/etc/tls/site.crt")
    os.mkfifo(pipe)
    row = Row("pipe", ["site.crt is no file"], keywords={"timeout": 5})
    try:
        check_failures(run_unchanged(play, host, [row.task(enrolment(authority))]), [row])
    finally:
        with contextlib.suppress(OSError):  # nobody waits there, as it should be
            writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            pipe.unlink()
            os.close(writer)


def test_no_room_left(play, host, new_hosts, core, authority, tmp_path):
    """A file system that is full: the key cannot be staged, and nothing is there that was not before."""
    (full,) = new_hosts("full", python=interpreter(core, tmp_path, FULL))
    run = run_unchanged(play, full, [Row("pretended", []).task(enrolment(authority))])
    run.expect_failure("Cannot write", "No space left on device", "The disk is full: make room")


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system with room for so many files."""
    mounted = []

    def mount(folder, pages):
        size = "mode=0755,size=%d" % (pages * os.sysconf("SC_PAGESIZE"))
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "none", folder], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip("not applicable: a small file system cannot be mounted here: %s" % done.stderr.strip())
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.oldest_core
@pytest.mark.parametrize("pages", [0, 1, 2])
def test_a_small_disk(play, host, authority, small_disk, pages):
    """Full at once; full after the key; full after the certificate, when only the record is missing."""
    small_disk(host.path("/etc/tls"), pages + 1)
    host.path("/etc/tls/other").write_bytes(b"x" * os.sysconf("SC_PAGESIZE"))
    run = run_unchanged(play, host, [Row("real", []).task(enrolment(authority))])
    run.expect_failure("Cannot write", "No space left on device", "The disk is full: make room")


def test_check_mode_without_folders(play, host, authority):
    """Not a failure but a reason; no POST, no folder, no file."""
    before = tree(host.path("/etc"))
    posts = len([line for line in authority.requests() if line["method"] == "POST"])
    options = {**enrolment(authority), **{name: path.replace("/tls/", "/no/where/") for name, path in PAIR.items()}}
    roots = {"root_path": "{{ host_root }}/etc/no/where/root.pem"}
    content = [
        Row("certificate", []).task(options),
        Row("roots", [], roots, "stepca_bootstrap").task(enrolment(authority)),
    ]
    run = play(content, check=True, diff=True, verbosity=3).expect_ok()
    assert run["certificate"]["outcome"] == "issued" and run["certificate"]["certificate"] is None
    for name in ("certificate", "roots"):
        assert run[name].changed
        assert "the folder %s is missing" % host.path("/etc/no/where") in run[name]["reasons"]
    assert tree(host.path("/etc")) == before
    assert len([line for line in authority.requests() if line["method"] == "POST"]) == posts
    assert "Traceback" not in run.output
