# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The renewer as one file: it runs alone, holds all of the core, and is the same bytes each time."""

from __future__ import annotations

import ast
import io
import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils import _zipapp
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import installation
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.renewer.renewing import start

CORE = Path(_zipapp.__file__).parent / "_core"


@pytest.fixture(name="program", scope="module")
def fixture_program(tmp_path_factory):
    path = tmp_path_factory.mktemp("alone") / "renewer.pyz"
    path.write_bytes(_zipapp.build())
    path.chmod(0o755)
    return path


def call(program, *words, code=0):
    """Run it as a host does, with nothing of the checkout in reach."""
    command = [sys.executable, "-I", str(program), *map(str, words)]
    done = subprocess.run(command, cwd=program.parent, env={}, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code and done.stderr == "", done.stderr
    return done.stdout


def test_it_is_the_same_each_time_and_depends_on_no_clock():
    content = _zipapp.build()
    assert content == _zipapp.build() and content.startswith(b"#!/usr/bin/env python3\n")
    entries = zipfile.ZipFile(io.BytesIO(content)).infolist()
    assert {(one.date_time, one.compress_type, one.external_attr) for one in entries} == {
        ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, 0o644 << 16)
    }
    assert [one.filename for one in entries] == sorted(one.filename for one in entries)
    assert len(content) < 1024 * 1024, "what the module may read again"


def test_it_holds_all_of_the_core_and_nothing_of_ansible():
    archive = zipfile.ZipFile(io.BytesIO(_zipapp.build()))
    expected = {"stepca/" + path.relative_to(CORE).as_posix(): path.read_bytes() for path in CORE.rglob("*.py")}
    assert {name: archive.read(name) for name in archive.namelist() if name != "__main__.py"} == expected
    assert not [name for name in archive.namelist() if b"import ansible" in archive.read(name)]


def test_ansible_sends_all_of_the_core_to_the_module_that_packs_it():
    """A module gets what it is seen to import: what is missing there would be missing in the renewer."""
    named = set()
    for node in ast.walk(ast.parse(Path(_zipapp.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("_core"):
            folder = node.module[len("_core") :].replace(".", "/").lstrip("/")
            named |= {"/".join(filter(None, [folder, alias.name])) + ".py" for alias in node.names}
    assert named == {path.relative_to(CORE).as_posix() for path in CORE.rglob("*.py") if path.stem != "__init__"}


def test_it_is_known_again_as_ours():
    """What is not is kept where a renewer is to be put."""
    content = _zipapp.build()
    assert installation._is_renewer(content)
    for other in (b"#!/bin/sh\n", b"#!/usr/bin/env python3\nprint()\n", content[23:], b"PK"):
        assert not installation._is_renewer(other)


def test_help_runs_alone(program):
    assert "enrol" in call(program, "--help")
    assert "--san" in call(program, "enrol", "--help")


def test_each_of_its_modules_can_be_imported_alone(program):
    names = zipfile.ZipFile(program).namelist()
    modules = [name[:-3].replace("/", ".") for name in names if name.startswith("stepca/") and "__" not in name]
    code = "import sys; sys.path.insert(0, sys.argv[1])\nimport %s" % ", ".join(modules)
    done = subprocess.run([sys.executable, "-I", "-c", code, str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_status_runs_alone(program, tmp_path, monkeypatch):
    host = start(tmp_path, monkeypatch)
    places = ["--config", host.config, "--state", host.state]
    assert call(program, "status", *places).startswith("There are no certificates")
    host.enrol()
    metrics = tmp_path / "stepca.prom"
    (row,) = json.loads(call(program, "status", "--json", "--metrics", metrics, *places))
    assert (row["certificate_path"], row["state"]) == (str(host.tls / "site.crt"), "ok")
    assert "stepca_certificate_failing" in metrics.read_text(encoding="ascii")
    assert call(program, "renew", *places) == ""


@pytest.mark.parametrize(
    "words",
    [["renew"], ["renew", "--force"], ["status", "--json"], ["enrol", "CERTIFICATE", "--token-file", "-"]],
    ids=["nothing due", "renewal", "status", "enrolment"],
)
def test_it_goes_on_though_it_is_replaced_while_it_runs(tmp_path, monkeypatch, words):
    """A play brings another version, while this one waits for a service or the CA: whatever it needs then, it has."""
    program = tmp_path / "renewer.pyz"
    program.write_bytes(_zipapp.build())
    host, metrics = start(tmp_path, monkeypatch), tmp_path / "stepca.prom"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        address = "127.0.0.1:%d" % server.getsockname()[1]
        host.enrol(served=address, on_failure=host.telling())
        host.edit(lambda content: content["ca"].update(urls=["https://" + address], retries=0, timeout=5))
        if words[0] == "enrol":
            (host.tls / "site.crt").unlink()
        words = [str(host.tls / "site.crt") if word == "CERTIFICATE" else word for word in words]
        more = ["--metrics", metrics] if words[0] != "enrol" else []
        command = [sys.executable, "-I", program, *words, *more, "--config", host.config, "--state", host.state]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen([str(one) for one in command], text=True, **pipes) as running:
            running.stdin.write("e30.e30.AA")
            running.stdin.close()
            connection = server.accept()[0]
            other = tmp_path / "other"
            other.write_bytes(b"#!/usr/bin/env python3\n# another version\n" + _zipapp.build()[100:])
            os.replace(other, program)
            connection.close()
            while running.poll() is None:  # it may ask once more
                server.settimeout(0.2)
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue
            said, complaint = running.stdout.read(), running.stderr.read()
    assert "Unexpected error" not in said + complaint and "Traceback" not in complaint
    assert words[0] == "enrol" or "stepca_certificate_failing" in metrics.read_text(encoding="ascii")
    assert host.lines() == (words != ["renew"] and words[0] != "status")
