# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A host with one certificate that its renewer keeps alive, and an authority that answers it."""

from __future__ import annotations

import json
from datetime import timedelta

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import ladder, record
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import (
    configuration,
    history,
    renewable,
    renewal,
    services,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, enrol
from ansible_collections.privatepki.stepca.tests.unit.plugins.stand_in import StandIn

#: Of the 24 hours of a certificate so many are over: it is due.
LATER = pki.NOW + timedelta(hours=20)
RENEW = "/1.0/renew"


class Host:
    """tls: where the pair is; config, state: folders of the renewer; told: what run_after writes a line to."""

    def __init__(self, folder, stand_in):
        self.tls, self.config, self.state = [folder / name for name in ("tls", "renew.d", "state")]
        for one in (self.tls, self.config, self.state):
            one.mkdir()
        self.stand_in = stand_in
        self.told = folder / "told"

    @property
    def now_fresh(self):
        """A time at which the certificate is not due."""
        return pki.NOW + timedelta(hours=1)

    def entry(self, **more) -> dict:
        """An entry of stepca_renewer."""
        paths = {"certificate_path": str(self.tls / "site.crt"), "key_path": str(self.tls / "site.key")}
        return dict(paths, sans=["a.example"], run_after=self.telling(), **more)

    def telling(self) -> list:
        """A command that leaves a line."""
        return ["sh", "-c", "echo told >> %s" % self.told]

    def enrol(self, **more) -> None:
        """The pair, and the configuration; more: of the entry."""
        entry = self.entry()
        entry.update(more)
        made = ("combined_path", "chain_path", "key_policy", "backup")
        enrol(self.tls, **{name: more[name] for name in made if name in more})
        self.configure(entry)

    def configure(self, entry: dict) -> None:
        """The configuration of an entry."""
        self.path(entry).write_bytes(configuration.make(entry, self.stand_in.connection()))

    def path(self, entry=None):
        """Of the configuration."""
        return self.config / record.name_of((entry or self.entry())["certificate_path"])

    def edit(self, change) -> None:
        """Change what the configuration says: change(content)."""
        content = json.loads(self.path().read_text(encoding="utf-8"))
        change(content)
        self.path().write_text(json.dumps(content), encoding="utf-8")

    def history(self) -> history.History:
        """As it is on disk."""
        return history.load(str(self.state), self.path().name)

    def renew(self, now=LATER, **more) -> tuple:
        """One run for the certificate."""
        return renewal.run(configuration.load(str(self.path())), self.history(), now, **more)

    def lines(self) -> int:
        """How often run_after ran."""
        return len(self.told.read_text(encoding="ascii").splitlines()) if self.told.exists() else 0

    def save(self) -> dict:
        """All files of the set with owner, mode and content."""
        found = {}
        for path in sorted(self.tls.iterdir()):
            status = path.stat()
            found[path.name] = (status.st_uid, status.st_gid, status.st_mode, path.read_bytes())
        return found


def start(folder, monkeypatch, now=LATER) -> Host:
    """A host without systemd at this time of its clock, and its authority."""
    stand_in = StandIn(CA)
    stand_in.clock = now
    for module in (ladder, renewable):
        monkeypatch.setattr(module.https, "Transport", stand_in.transport)
    monkeypatch.setattr(services, "systemd_runs", lambda: False)
    monkeypatch.setattr(durations, "now", lambda: now)
    return Host(folder, stand_in)
