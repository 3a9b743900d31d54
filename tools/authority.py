# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A real step-ca in a folder of its own, on an address of this machine. Needs the environment workbench, demo or molecule."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.commands import ToolError, wait_until
from tools.pki import Issuer, make_intermediate, make_root
from tools.ports import free_port
from tools.provisioners import Provisioner
from tools.running import Background

__all__ = ["Authority", "Provisioner"]

# Tells our own questions from those of the code under test in the CA's log.
_PROBE = "privatepki.stepca-probe"


class Authority:
    """A step-ca with its root, intermediate, provisioners and log; it runs inside a `with` block."""

    def __init__(
        self,
        folder: Path,
        program: Path | str,
        provisioners: Sequence[Provisioner] = (),
        dns_names: Sequence[str] = ("localhost", "127.0.0.1"),
        claims: Mapping[str, Any] | None = None,
        policy: Mapping[str, Any] | None = None,
        backdate: str = "1m",
        crl: bool = True,
        database: bool = True,
        address: str = "127.0.0.1",
        port: int | None = None,
        root: Issuer | None = None,
        extra_roots: Sequence[Issuer] = (),
    ) -> None:
        """`policy` holds for the whole CA: a standalone step-ca knows none for one provisioner.

        `root` lets two authorities share one; `extra_roots` are handed out beside it, as in a rotation; what `cross_pem` holds
        later follows the intermediate in each chain.
        """
        self.folder = folder
        self.provisioners = {provisioner.name: provisioner for provisioner in provisioners}
        self.address = address
        self.port = port or free_port()
        self.root = root or make_root()
        self.extra_roots = list(extra_roots)
        self.intermediates = [make_intermediate(self.root)]
        self.cross_pem = ""
        self.dns_names = list(dns_names)
        self.claims = dict(claims or {})
        self.policy = dict(policy or {})
        self.backdate = backdate
        self.crl = crl
        self.database = database
        folder.mkdir(parents=True, exist_ok=True)
        self.root_path = folder / "root.crt"
        self.log_path = folder / "step-ca.log"
        self.config_path = folder / "ca.json"
        self._probes = itertools.count(1)
        self._process = Background([program, self.config_path], folder, self.log_path)

    @property
    def url(self) -> str:
        return "https://%s:%d" % ("localhost" if self.address == "127.0.0.1" else self.address, self.port)

    @property
    def fingerprint(self) -> str:
        return self.root.fingerprint

    @property
    def root_pem(self) -> str:
        return self.root.pem

    def __enter__(self) -> Authority:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Write the configuration and start; return when the CA answers over TLS with its root."""
        self.write_configuration()
        self._process.start(self._healthy)

    def stop(self) -> None:
        """Stop the CA; what it has written stays in its folder."""
        self._process.stop()

    def restart(self) -> None:
        """Stop and start again, on the same port, with whatever the attributes say now."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Have the CA read its configuration again, as it lies there; return when it serves by it."""
        served = self._times_served()
        self._process.reload()
        wait_until(lambda: self._times_served() > served and self._healthy(), 20, "the CA to serve again")

    def _times_served(self) -> int:
        return self.log_path.read_text(encoding="utf-8", errors="replace").count("Serving HTTPS on")

    def rotate_intermediate(self) -> None:
        """Go on with a new intermediate under the same root."""
        name = "privatepki.stepca test intermediate %d" % (len(self.intermediates) + 1)
        self.intermediates.append(make_intermediate(self.root, name))
        self.restart()

    def rotate_root(self, root: Issuer) -> None:
        """Go on under another root; the old one is handed out beside it."""
        self.root, self.extra_roots = root, [self.root]
        self.intermediates.append(make_intermediate(root))
        self.restart()

    def write_configuration(self) -> None:
        """Write ca.json and the files that it names."""
        issuing = self.intermediates[-1]
        self.root_path.write_text(self.root.pem, encoding="ascii")
        roots = [self.root_path]
        for number, extra in enumerate(self.extra_roots):
            roots.append(self.folder / ("extra_root_%d.crt" % number))
            roots[-1].write_text(extra.pem, encoding="ascii")
        (self.folder / "intermediate.crt").write_text(issuing.pem + self.cross_pem, encoding="ascii")
        key_path = self.folder / "intermediate.key"
        key_path.touch(mode=0o600)
        key_path.write_text(issuing.key_pem, encoding="ascii")
        self.config_path.write_text(json.dumps(self._configuration(roots), indent=2), encoding="utf-8")

    def _configuration(self, roots: Sequence[Path]) -> dict[str, Any]:
        authority: dict[str, Any] = {
            "backdate": self.backdate,
            "claims": self.claims,
            "provisioners": [provisioner.ca_entry() for provisioner in self.provisioners.values()],
        }
        if self.policy:
            authority["policy"] = self.policy
        configuration: dict[str, Any] = {
            "root": [str(path) for path in roots],
            "crt": str(self.folder / "intermediate.crt"),
            "key": str(self.folder / "intermediate.key"),
            "address": "%s:%d" % (self.address, self.port),
            "dnsNames": self.dns_names,
            "logger": {"format": "json"},
            "authority": authority,
        }
        if self.database:
            configuration["db"] = {"type": "bbolt", "dataSource": str(self.folder / "db")}
            configuration["crl"] = {"enabled": self.crl, "generateOnRevoke": self.crl}
        return configuration

    def get(self, path: str, user_agent: str = _PROBE) -> tuple[int, bytes]:
        """Ask the CA over TLS with its root as the only anchor; return status and body."""
        context = ssl.create_default_context(cadata=self.root.pem)
        context.check_hostname = False  # an authority may be made without the name localhost
        connection = http.client.HTTPSConnection(self.address, self.port, timeout=5, context=context)
        try:
            connection.request("GET", path, headers={"User-Agent": user_agent})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _healthy(self) -> bool:
        try:
            return self.get("/health")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def requests(self) -> list[dict[str, Any]]:
        """Return the HTTP requests that the CA has logged (method, path, status, user-agent ...), oldest first.

        The CA writes a line after it has answered. So that nothing is missed, a running CA is asked once more
        and its log is read up to that question.
        """
        if not self._process.running:
            return self._foreign(self._lines())
        marker = "%s %d.%d" % (_PROBE, os.getpid(), next(self._probes))
        self.get("/health", user_agent=marker)

        def lines_up_to_marker() -> list[dict[str, Any]] | None:
            lines = self._lines()
            return lines if any(line["user-agent"] == marker for line in lines) else None

        return self._foreign(wait_until(lines_up_to_marker, 10, "the CA's log"))

    def _lines(self) -> list[dict[str, Any]]:
        lines = []
        for text in self.log_path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # the CA's greeting is plain text, and the last line may be half written
            if isinstance(line, dict) and "method" in line:
                lines.append({"user-agent": "", **line})
        return lines

    @staticmethod
    def _foreign(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [line for line in lines if not str(line["user-agent"]).startswith(_PROBE)]

    def provisioner(self, name: str) -> Provisioner:
        """Return one of the provisioners, with an error that lists them."""
        if name not in self.provisioners:
            raise ToolError("this authority has no provisioner %r, only %s" % (name, ", ".join(self.provisioners)))
        return self.provisioners[name]
