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

from ..errors import StepCAError, one_line
from .configuration import Service

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


def tell(changed: list, dry: bool = False) -> tuple:
    """Reload the services that run, each once, then run every run_after.

    changed: configuration.Configuration of each certificate that changed; dry: say what would be done, and do nothing.
    Returns (what was done, in sentences; {certificate_path: what failed, in sentences}).
    """
    done, failed = [], {}
    for name, users in _users(changed).items():
        service = Service(name, max(service.action for service, _path in users))
        paths = list(dict.fromkeys(path for _service, path in users))
        if runs(name):  # what does not run reads its files when it starts
            done.append("the service %s uses %s, which was replaced" % (name, " and ".join(paths)))
            _attempt(_reload, service, paths, failed, dry)
    for one in changed:
        if one.run_after:
            done.append("%s was replaced, and run_after is %s" % (one.certificate_path, " ".join(one.run_after)))
            _attempt(run, one.run_after, [one.certificate_path], failed, dry)
    return done, failed


def _users(changed: list) -> dict:
    """{name of a service: [(Service, path of the certificate that it uses)]}, each service under one spelling."""
    users = {}
    for one in changed:
        for service in one.reload:
            name = service.name[: -len(".service")] if service.name.endswith(".service") else service.name
            users.setdefault(name, []).append((service, one.certificate_path))
    return users


def _attempt(act, subject, paths: list, failed: dict, dry: bool) -> None:
    try:
        if not dry:
            act(subject)
    except HookError as error:
        for path in paths:
            failed[path] = " ".join(filter(None, [failed.get(path), str(error)]))


def runs(name: str) -> bool:
    """Whether this service runs."""
    asking = ["systemctl", "is-active", "--quiet", "--", name] if systemd_runs() else ["service", name, "status"]
    return call(asking)[0] == 0


def _reload(service) -> None:
    manager = ["systemctl", service.action, "--", service.name]
    if not systemd_runs():
        manager = ["service", service.name, service.action]
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
    if systemd_runs() and os.geteuid() == 0:  # no other user may start units of the system
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
