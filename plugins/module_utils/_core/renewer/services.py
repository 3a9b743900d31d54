# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Tell those who use a certificate that it changed: reload services, run commands.

The renewer's own service may do next to nothing, and so might its children. Services are reloaded by systemd itself,
and commands run in transient units of their own; without systemd both are children.
"""

from __future__ import annotations

import os
import subprocess

from ..errors import StepCAError
from .history import one_line

_SECONDS = 300


class HookError(StepCAError):
    """A service could not be reloaded, or a command failed."""


def systemd_runs() -> bool:
    """Whether systemd is what runs this host (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def unknown(configuration) -> list:
    """The services to reload that systemd has never heard of, by name."""
    if not systemd_runs():
        return []
    return [one.name for one in configuration.reload if call(["systemctl", "cat", "--", one.name])[0] != 0]


def tell(configuration) -> None:
    """Reload the services that run, then run_after. HookError names all that failed."""
    problems = [_problem(_reload, service) for service in configuration.reload]
    if configuration.run_after:
        problems.append(_problem(run, configuration.run_after))
    failed = [problem for problem in problems if problem]
    if failed:
        raise HookError(" ".join(failed))


def _problem(act, subject) -> str:
    try:
        act(subject)
    except HookError as error:
        return str(error)
    return ""


def _reload(service) -> None:
    manager = ["systemctl", service.action, "--", service.name]
    asking = ["systemctl", "is-active", "--quiet", "--", service.name]
    if not systemd_runs():
        manager, asking = ["service", service.name, service.action], ["service", service.name, "status"]
    if call(asking)[0] != 0:
        return  # what does not run reads its files when it starts
    code, output = call(manager)
    if code:
        advice = " See journalctl -u %s." % service.name if systemd_runs() else ""
        raise HookError(
            "%s failed with code %d: %s.%s" % (" ".join(manager), code, output or "it said nothing", advice)
        )


def run(words: list, environment=None) -> None:
    """A command of the user's, outside the renewer's own confinement; HookError. environment: further variables."""
    added = dict(environment or {})
    command = words
    if systemd_runs():
        settings = ["--setenv=%s=%s" % item for item in sorted(added.items())]
        # systemd would put variables in, before the command, a shell perhaps, takes them for its own words.
        literal = [word.replace("$", "$$") for word in words]
        command = ["systemd-run", "--quiet", "--collect", "--wait", "--pipe"] + settings + ["--"] + literal
    code, output = call(command, added)
    if code:
        raise HookError(
            "The command %s failed with code %d: %s." % (" ".join(words), code, output or "it said nothing")
        )


def call(command: list, environment=None) -> tuple:
    """(exit code, the end of what it said) of a command that may take five minutes."""
    try:
        # There is no module here that could run it.
        # pylint: disable-next=ansible-bad-function
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, **(environment or {})),
            timeout=_SECONDS,
            check=False,
        )
    except OSError as error:
        return 127, "%s cannot be run: %s" % (command[0], error.strerror or error)
    except subprocess.TimeoutExpired:
        return 124, "no end after %d s" % _SECONDS
    return done.returncode, one_line(done.stdout.decode("utf-8", "replace"))[-500:].rstrip(".")
