# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Libraries that are missing or too old, on the host and on the controller: the failure says what to install, and where."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.interpreters import AGED, customized, interpreter, without
from tests.integration.rows import Row, check_failures, run_unchanged, tasks
from tests.integration.support import connection, enrolment, openssl_verify

SYSTEM_PYTHON = "/usr/bin/python3"
ROOTS = {"root_path": "{{ host_root }}/etc/tls/roots.pem"}


def on_host(*words):
    """A task of each module that runs there."""
    return [
        Row("certificate", words),
        Row("bootstrap", words, ROOTS, "stepca_bootstrap"),
        Row("health", words, {"request_from": "host"}, "stepca_health"),
    ]


@pytest.fixture
def bare_python(core, tmp_path):
    """An interpreter without any library."""
    folder = tmp_path / "bare"
    made_of = core.host_environment.made_of.path
    subprocess.run([made_of, "-m", "venv", "--without-pip", folder], check=True, capture_output=True)
    return folder / "bin" / "python"


@pytest.mark.both_cores
def test_no_cryptography_anywhere(play, new_hosts, core, authority, bare_python, tmp_path):
    """The system's Python has none either."""
    (host,) = new_hosts("web9", python=interpreter(core, tmp_path, without("cryptography"), bare_python))
    rows = on_host("cryptography >= 3.3", "python3-cryptography", "py3-cryptography")
    check_failures(run_unchanged(play, host, tasks(rows, enrolment(authority))), rows)


@pytest.mark.both_cores
def test_cryptography_too_old(play, new_hosts, core, authority, tmp_path):
    """Its version, the one that is needed, and what to do."""
    (host,) = new_hosts("web9", python=interpreter(core, tmp_path, AGED))
    rows = on_host("cryptography >= 3.3 is needed on the host", "found is 2.9.2", "python3-cryptography")
    check_failures(run_unchanged(play, host, tasks(rows, enrolment(authority))), rows)


def test_python_of_the_system_is_used_instead(play, new_hosts, authority, bare_python):
    """Discovery may pick a Python that is not the one which the distribution's package belongs to."""
    ask = [
        SYSTEM_PYTHON,
        "-c",
        "import cryptography as c; assert tuple(map(int, c.__version__.split('.')[:2])) >= (3, 3)",
    ]
    try:
        usable = subprocess.run(ask, capture_output=True, check=False).returncode == 0
    except OSError:
        usable = False
    if not usable:
        pytest.skip("%s has no cryptography >= 3.3" % SYSTEM_PYTHON)
    (host,) = new_hosts("web9", python=bare_python)
    run = play(tasks(on_host(), enrolment(authority)), hosts=[host]).expect_ok()
    assert [run[row.name].failed for row in on_host()] == [False] * 3, run
    assert openssl_verify(authority, host.path("/etc/tls/site.crt")) == ""


LIBRARIES = {"requests": "requests", "jwt": "PyJWT", "cryptography": "cryptography"}


@pytest.mark.both_cores
@pytest.mark.parametrize("module", LIBRARIES)
def test_missing_on_the_controller(play, host, core, authority, tmp_path, module):
    """Its name, the Python that lacks it, and how to install it, also where Ansible came by pipx."""
    name = LIBRARIES[module]
    said = [
        "The Python library %s is missing on the controller" % name,
        str(core.controller.python),
        "pipx inject ansible " + name,
    ]
    lookup = "{{ lookup('privatepki.stepca.stepca_token', 'site.example.com', provisioner='ansible') }}"
    rows = [Row("certificate", said, {"token": None})]
    if module == "requests":
        rows += [Row("health", said, {}, "stepca_health"), Row("bootstrap", said, ROOTS, "stepca_bootstrap")]
    content = tasks(rows, enrolment(authority))
    content.append({"name": "lookup", "ansible.builtin.debug": {"msg": lookup}, "ignore_errors": True})
    hidden = customized(tmp_path / "hidden", without(module, prefix=core.controller.folder))
    variables = {"stepca_" + key: value for key, value in enrolment(authority).items()}
    run = run_unchanged(play, host, content, env={"PYTHONPATH": hidden}, variables=variables)
    check_failures(run, [*rows, Row("lookup", said[:1])])


def test_idna_missing_on_the_controller(play, host, core, authority, tmp_path):
    """Only names in other scripts need it."""
    rows = [
        Row("name", ["The Python library idna is missing on the controller"], {"sans": ["b\u00fccher.example.com"]})
    ]
    hidden = customized(tmp_path / "hidden", without("idna", prefix=core.controller.folder))
    run = run_unchanged(play, host, tasks(rows, connection(authority)), env={"PYTHONPATH": hidden})
    check_failures(run, rows)
