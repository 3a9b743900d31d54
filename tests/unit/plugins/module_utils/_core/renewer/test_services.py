# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Services are told by those who may: by systemd in its own units, by `service` and as children where it does not run."""

from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import connections
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import services
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer.configuration import (
    Configuration,
    Service,
)


def configured(**more):
    return Configuration({"certificate_path": "/etc/tls/site.crt"}, connections.Connection([], []), **more)


@pytest.fixture(name="calls")
def fixture_calls(monkeypatch):
    """What would be run; calls.answers: {first words: (code, output)}."""

    class Calls(list):
        answers = {}

    found = Calls()

    def run(command, **more):
        found.append(command)
        answers = [one for words, one in found.answers.items() if " ".join(command).startswith(words)]
        code, output = answers[0] if answers else (0, b"")
        return subprocess.CompletedProcess(command, code, output)

    monkeypatch.setattr(services.subprocess, "run", run)
    return found


@pytest.fixture(name="systemd")
def fixture_systemd(monkeypatch):
    monkeypatch.setattr(services, "systemd_runs", lambda: True)


@pytest.fixture(name="bare")
def fixture_bare(monkeypatch):
    monkeypatch.setattr(services, "systemd_runs", lambda: False)


def test_systemd_reloads_what_runs(calls, systemd):
    calls.answers = {"systemctl is-active --quiet -- stopped": (3, b"")}
    done, failed = services.tell(
        [configured(reload=[Service("nginx"), Service("stopped"), Service("db@1", "restart")])]
    )
    assert (len(done), failed) == (2, {}) and not [sentence for sentence in done if "stopped" in sentence]
    assert calls == [
        ["systemctl", "is-active", "--quiet", "--", "nginx"],
        ["systemctl", "reload", "--", "nginx"],
        ["systemctl", "is-active", "--quiet", "--", "stopped"],
        ["systemctl", "is-active", "--quiet", "--", "db@1"],
        ["systemctl", "restart", "--", "db@1"],
    ]


def test_service_reloads_where_there_is_no_systemd(calls, bare):
    calls.answers = {"service stopped": (3, b"")}
    services.tell([configured(reload=[Service("nginx"), Service("stopped")])])
    assert calls == [["service", "nginx", "status"], ["service", "nginx", "reload"], ["service", "stopped", "status"]]


def test_commands_run_in_units_of_their_own(calls, systemd):
    services.run(["/bin/mail", "-s", "it failed"], {"STEPCA_ERROR": "no; $(way)", "A": "1"})
    assert calls == [
        ["systemd-run", "--quiet", "--collect", "--wait", "--pipe", "--setenv=A=1", "--setenv=STEPCA_ERROR=no; $(way)"]
        + ["--", "/bin/mail", "-s", "it failed"]
    ]


def test_systemd_puts_no_variables_into_the_words_of_a_command(calls, systemd):
    """It would do so before the shell sees them: a word of the CA would become a word of the script."""
    services.run(["sh", "-c", 'mail -s "${STEPCA_ERROR}" $TO'], {"STEPCA_ERROR": "$(reboot)"})
    assert calls[0][5:] == ["--setenv=STEPCA_ERROR=$(reboot)", "--", "sh", "-c", 'mail -s "$${STEPCA_ERROR}" $$TO']


def test_services_that_systemd_does_not_know(calls, systemd, monkeypatch):
    calls.answers = {"systemctl cat -- nginx": (1, b"No files found")}
    one = configured(reload=[Service("nginx"), Service("haproxy")])
    assert services.unknown(one) == ["nginx"]
    monkeypatch.setattr(services, "systemd_runs", lambda: False)
    assert services.unknown(one) == []


def test_all_that_failed_is_named(calls, systemd):
    calls.answers = {"systemctl reload -- nginx": (1, b"bad\nconfiguration.\n"), "systemd-run": (9, b"")}
    site = configured(reload=[Service("nginx"), Service("haproxy")], run_after=["/bin/hook", "x"])
    assert services.tell([site])[1][site.certificate_path] == (
        "systemctl reload -- nginx failed with code 1: bad configuration. See journalctl -u nginx. "
        "The command /bin/hook x failed with code 9: it said nothing."
    )
    assert ["systemctl", "reload", "--", "haproxy"] in calls


def test_without_systemd_nobody_is_sent_to_its_journal(calls, bare):
    calls.answers = {"service nginx reload": (1, b"no")}
    failed = services.tell([configured(reload=[Service("nginx")])])[1]
    assert list(failed.values()) == ["service nginx reload failed with code 1: no."]


def of(path, **more):
    return Configuration({"certificate_path": path}, connections.Connection([], []), **more)


def test_a_service_of_several_certificates_is_told_once(calls, systemd):
    """Whatever the spelling; where one of them asks for a restart, that is what it gets. What failed is said of each."""
    calls.answers = {"systemctl restart -- nginx": (1, b"no")}
    sites = [
        of("/a.crt", reload=[Service("nginx"), Service("nginx.service")]),
        of("/b.crt", reload=[Service("nginx.service", "restart")], run_after=["/bin/hook"]),
        of("/c.crt", reload=[Service("haproxy")]),
    ]
    done, failed = services.tell(sites)
    acts = [call[1] + " " + call[3] for call in calls if call[:1] == ["systemctl"] and call[1] != "is-active"]
    assert acts == ["restart nginx", "reload haproxy"] and sorted(failed) == ["/a.crt", "/b.crt"]
    assert done == [
        "the service nginx uses /a.crt and /b.crt, which was replaced",
        "the service haproxy uses /c.crt, which was replaced",
        "/b.crt was replaced, and run_after is /bin/hook",
    ]
    del calls[:]
    assert services.tell(sites, dry=True) == (done, {})
    assert {call[1] for call in calls} == {"is-active"}, "check mode asks, and does nothing"


def test_an_ordinary_user_runs_its_own_commands(calls, systemd, monkeypatch):
    """It may start no unit of the system."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    services.run(["/bin/hook", "$HOME"])
    assert calls == [["/bin/hook", "$HOME"]]


def test_a_real_command_with_its_variables(bare, tmp_path):
    script = 'test -z "$(cat)" && echo "$STEPCA_ERROR $HOME" > %s' % (tmp_path / "said")
    services.run(["sh", "-c", script], {"STEPCA_ERROR": "why"})
    assert (tmp_path / "said").read_text(encoding="utf-8") == "why %s\n" % os.environ.get("HOME", "")


@pytest.mark.parametrize(
    "words, problem",
    [
        (["/missing/hook"], "failed with code 127: /missing/hook cannot be run: No such file or directory."),
        (["/etc"], "failed with code 127: /etc cannot be run: Permission denied."),
        (["sh", "-c", "head -c 9000 /dev/zero | tr '\\0' x; printf '\\377. '; exit 4"], "failed with code 4: x"),
    ],
)
def test_a_command_that_fails(bare, words, problem):
    with pytest.raises(services.HookError) as caught:
        services.run(words)
    assert problem in str(caught.value) and len(str(caught.value)) < 800 and str(caught.value).endswith(".")


def test_a_command_without_end(bare, monkeypatch):
    monkeypatch.setattr(services, "_SECONDS", 0.1)
    with pytest.raises(services.HookError, match="failed with code 124: no end after"):
        services.run(["sleep", "60"])


def test_whether_systemd_runs(monkeypatch):
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system")
    assert services.systemd_runs()
