# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""One hostile text on its way through everything that shows the words of hosts, CAs and files to people."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from ansible_collections.privatepki.stepca.plugins.action import (
    stepca_bootstrap,
    stepca_certificate_info,
    stepca_doctor,
    stepca_health,
    stepca_host_info,
    stepca_renewer,
)
from ansible_collections.privatepki.stepca.plugins.module_utils import _answering
from ansible_collections.privatepki.stepca.plugins.module_utils._core import wire
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import ApiError, StepCAError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import (
    command,
    history,
    metrics,
    renewal,
    services,
    status,
)
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _answers, _doctor
from ansible_collections.privatepki.stepca.plugins.plugin_utils._action import StepCAAction
from ansible_collections.privatepki.stepca.tests.unit.plugins.hostile import TEXT, is_harmless
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.renewer.renewing import start

#: What a parser reads, and no person.
FOR_PARSERS = {"csr", "former", "former_roots"}
ROW = dict(status.UNKNOWN, certificate_path=TEXT, problem=TEXT, served=None, last_success=None, last_error=None)


class Everything(dict):
    """An answer in which whatever is asked for is the hostile text, or a list or mapping of it."""

    def get(self, name, _default=None):
        if name in ("certificate", "systemd"):
            return Everything()
        if name in ("certificates", "roots", "route", "tried") or (name == "diff" and self.get("lists")):
            return [Everything()] * 3
        return [TEXT] * 3 if name in LISTS else {TEXT: [TEXT]} if name == "diff" else TEXT


LISTS = {"sans", "reasons", "warnings", "problems", "folders", "too_wide", "configurations", "backup_files"}


def texts(value) -> list:
    """All texts in it."""
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in texts(one)]
    if isinstance(value, (list, tuple)):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(
    "read",
    [
        stepca_bootstrap._DONE,
        stepca_certificate_info._FOUND,
        stepca_doctor._FOUND,
        stepca_health._FACTS,
        stepca_host_info._ROW,
        stepca_renewer._DONE,
        wire.facts,
        wire.data,
    ],
)
def test_what_an_action_reads_of_a_host(read):
    found = texts(read(Everything(x=TEXT)))
    assert found and [text for text in found if not is_harmless(text)] == []


def test_what_an_action_reads_of_many_certificates():
    told = {"certificates": [dict.fromkeys(stepca_host_info._ROW({}), TEXT)], "problems": [TEXT]}
    found = texts(stepca_host_info._read(told))
    assert len(found) > 5 and all(map(is_harmless, found))


def test_the_answer_about_a_certificate():
    answer = vars(wire.Answer.from_json(Everything(outcome="issued", failed=True)))
    shown = texts({name: value for name, value in answer.items() if name not in FOR_PARSERS})
    assert len(shown) > 5 and all(map(is_harmless, shown))


def test_a_failure_of_a_module():
    for result in (
        {"msg": TEXT},
        {"exception": TEXT},
        {"msg": "see stdout/stderr", "module_stderr": TEXT, "module_stdout": TEXT},
        {"exception": SimpleNamespace(event=SimpleNamespace(msg=TEXT))},
    ):
        assert "pin" in _answers.reason(result) and _answers.reason(result).isprintable()
        assert all(map(is_harmless, _answers.failure(result).values()))


def test_a_warning_of_a_task():
    action = StepCAAction.__new__(StepCAAction)
    action._warnings = []
    action.warn([TEXT])
    assert action._warnings[0].isprintable()


def test_a_finding_of_the_doctor():
    findings = _doctor.Findings()
    findings.add("host", False, TEXT)
    findings.attempt("url", lambda: (one for one in ()).throw(ApiError(TEXT)))
    findings.attempt("url", lambda: {}[TEXT])
    for one in findings:
        assert one["found"].isprintable() and not re.search("[✘✔]", one["found"])


def test_the_words_of_the_renewer(capsys, monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    command._say(TEXT)
    command._say("warning: %s" % TEXT, 4)
    command._complain(TEXT, StepCAError(TEXT))
    said = capsys.readouterr()
    assert said.out.count("\n") == 1 and said.err.count("\n") == 2
    assert is_harmless(said.out) and is_harmless(said.err)


def test_a_terminal_that_knows_few_letters(monkeypatch):
    written = []
    stream = SimpleNamespace(encoding="ascii", write=written.append, flush=lambda: None)
    monkeypatch.setattr(command.sys, "stdout", stream)
    command._say("größer %s" % TEXT)
    assert "".join(written).isascii() and r"gr\xf6\xdfer" in written[0]


def test_status_and_metrics(tmp_path, capsys, monkeypatch):
    table = status.table([ROW, ROW])
    assert table.count("\n") == 2 and is_harmless(table)
    text = metrics.render([dict(ROW, served=True, last_error="2030-01-01T00:00:00Z")])
    assert is_harmless(text) and all(re.match(r'(#|stepca_\w+\{path=".*"\} \d+$)', line) for line in text.splitlines())
    host = start(tmp_path, monkeypatch)
    host.enrol()
    history.History(str(host.state / host.path().name), error=TEXT).save()
    places = ["--config", str(host.config), "--state", str(host.state)]
    command.main(["status", *places]), command.main(["status", "--json", *places])
    said = capsys.readouterr().out
    assert is_harmless(said) and "curl" in said


def test_what_is_remembered_and_told_of_a_failure(tmp_path, monkeypatch):
    host = start(tmp_path, monkeypatch)
    said = tmp_path / "said"
    host.enrol(on_failure=["sh", "-c", 'printf %%s "$STEPCA_ERROR" > %s' % said])
    monkeypatch.setattr(renewal.by_host, "examine", lambda *_all: (one for one in ()).throw(ApiError(TEXT)))
    with pytest.raises(ApiError):
        host.renew()
    assert said.read_text(encoding="utf-8").isprintable() and host.history().error.isprintable()


def test_what_a_command_says():
    code, output = services.call(["printf", r"\033[2J\n\342\200\250✘ curl\000"])
    assert code == 0 and output.isprintable() and "curl" in output


def test_what_a_module_sends_can_be_read():
    sent = []
    module = SimpleNamespace(exit_json=lambda **result: sent.append(result), fail_json=None)
    found = _answering._encodable({"a": [TEXT, 1, None, {"b": TEXT}]})
    module.exit_json(**found)
    json.dumps(sent, ensure_ascii=False).encode("utf-8")
    assert found["a"][1:3] == [1, None]
