# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_doctor: looks at the CA from here, has the host look, and judges both."""

from __future__ import annotations

import hashlib

from ansible.errors import AnsibleError

from ..module_utils import _options, _zipapp
from ..module_utils._core import durations, wire
from ..module_utils._core.ca import connections, diagnosis
from ..module_utils._core.errors import OptionError
from ..plugin_utils import _answers, _doctor
from ..plugin_utils._action import StepCAAction, TaskFailed

_SET_UP = "Run the role certificate on this host."


#: One word, such as systemctl says: no sentence of a host's own stands in the table but why the CA does not answer.
_WORD = wire.matching(r"[A-Za-z0-9.+~_-]{1,60}")
_FOUND = wire.shape(
    python=wire.matching(r"[A-Za-z0-9.+~_-]{1,60} \(/[!-~]{0,200}\)"),
    cryptography=_WORD,
    now=wire.word,
    route=wire.listed(wire.shape(url=wire.word, problem=wire.word), most=20),
    renewer=wire.matching("[0-9a-f]{64}"),
    systemd=wire.shape(enabled=_WORD, active=_WORD, result=_WORD),
    cron=wire.flag,
    too_rare=wire.texts,
)


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_doctor.py for what users are told."""

    OPTIONS = _options.DOCTOR

    def act(self) -> dict:
        findings = _doctor.Findings()
        present = [entry for entry in self.options["certificates"] if entry.get("state") != "absent"]
        _doctor.controller(findings)
        connection = _doctor.authority(findings, self, present)
        self._look_at_host(findings, connection, bool(present))
        return {"changed": False, "findings": list(findings)}

    def _look_at_host(self, findings: _doctor.Findings, connection, has_certificates: bool) -> None:
        options = {name: self.options[name] for name in ("renewer", "renewer_path", "renewer_config_path")}
        before = durations.now()
        try:
            told = self.execute(options, {"connection": connection and connections.describe(connection)})
        except TaskFailed as failed:
            findings.add("host", False, str(failed.result["msg"]))
            return
        except AnsibleError as error:  # nobody answers there, or nobody lets us in
            remedy = "See whether `ansible HOST -m ansible.builtin.ping` comes through."
            findings.add("host", False, "%s %s" % (str(error.message).rstrip(".") + ".", remedy))
            return
        found = _FOUND(told)
        versions = found["python"] or "?", found["cryptography"] or "?"
        findings.add("host", True, "Python %s, cryptography %s." % versions)
        _judge_clock(findings, found["now"], before)
        urls = connection.urls if connection else []
        route = [way for way in found["route"] if way["url"] in urls]
        _judge_route(findings, route, self._asks_by_itself())
        _judge_renewer(findings, found, self.options["renewer"], has_certificates)

    def _asks_by_itself(self) -> bool:
        return self.options["renewer"] != "none" or self.settings.request_from() == "host"


def _judge_clock(findings: _doctor.Findings, told, before) -> None:
    try:
        now = durations.parse_time(told, "now")
    except OptionError:
        findings.add("host", False, _answers.NOT_OURS)
        return
    # Its answer was made between our question and now.
    behind, ahead = (before - now).total_seconds(), (now - durations.now()).total_seconds()
    apart = max(behind, ahead)
    if apart <= diagnosis.LEEWAY.total_seconds():
        findings.add("host clock", True, "The host's clock is that of the controller.")
        return
    words = "behind" if behind > 0 else "ahead of"
    findings.add(
        "host clock", False, "The host's clock is %d s %s the controller's. Set the clocks (NTP)." % (apart, words)
    )


def _judge_route(findings: _doctor.Findings, told: list, needed: bool) -> None:
    for way in told:
        url, problem = way["url"], way["problem"]
        if not problem:
            findings.add("route", True, "The host reaches %s." % url)
        elif needed:
            remedy = " Open the way, or have the controller renew: stepca_renewer: none, and the playbook privatepki.stepca.renew."
            findings.add("route", False, "From the host: %s%s" % (problem, remedy))
        else:
            findings.add("route", None, "The host does not reach %s, and need not: the controller asks." % url)


def _judge_renewer(findings: _doctor.Findings, told: dict, wanted: str, has_certificates: bool) -> None:
    """The renewer's file, and what runs it. told: as of _FOUND."""
    if wanted == "none":
        findings.add("timer", None, "Renewed by plays alone (stepca_renewer: none). Do they run often enough?")
        return
    digest = told["renewer"]
    if not digest:
        found = "There is no renewer. %s" % _SET_UP if has_certificates else "No renewer, and no certificate is known."
        findings.add("renewer", False if has_certificates else None, found)
        return
    same = digest == hashlib.sha256(_zipapp.build()).hexdigest()
    other = "The renewer is of another version of the collection than the controller's. %s" % _SET_UP
    findings.add("renewer", same, "The renewer is that of this version." if same else other)
    for problem in told["too_rare"]:
        findings.add("interval", False, "From the host: %s" % problem)
    systemd, there = told["systemd"], told["cron"]
    if systemd is None or wanted == "cron":
        findings.add("timer", there, "cron runs the renewer." if there else "Nothing runs the renewer. %s" % _SET_UP)
        return
    enabled, active, result = systemd["enabled"], systemd["active"], systemd["result"]
    fine = (enabled, active) == ("enabled", "active")
    found = (
        "The timer runs the renewer."
        if fine
        else (
            "stepca-renewer.timer is %s and %s. Run systemctl enable --now stepca-renewer.timer, or the role again."
            % (enabled or "not there", active or "inactive")
        )
    )
    findings.add("timer", fine, found)
    if result not in ("", "success"):
        findings.add("renewal", False, "The last renewal failed (%s). See journalctl -u stepca-renewer there." % result)
