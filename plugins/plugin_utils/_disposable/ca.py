# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""A real step-ca with a PKI of its own, for tests: in a folder, until it is removed again."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from ...module_utils._core import durations
from ...module_utils._core.ca import client, connections
from ...module_utils._core.errors import OptionError, StepCAError
from ...module_utils._core.x509 import certificates
from .. import _http
from .._credentials import key_files
from . import pki
from .background import Background
from .program import STEP_CA, Finder, ProgramError, cache_folder, run
from .surroundings import of_container, to_run

_STATE = "disposable_ca.json"
_ROOT, _CHAIN, _KEY = "root.crt", "intermediate.crt", "intermediate.key"
_PASSWORD, _CONFIGURATION, _DATABASE, _LOG, _RUNNING = "password", "ca.json", "db", "step-ca.log", "running"
_UNFINISHED = "unfinished"
#: All that is ever in the folder; nothing else is removed.
_FILES = (_STATE, _ROOT, _CHAIN, _KEY, _PASSWORD, _CONFIGURATION, _DATABASE, _LOG, _RUNNING, _UNFINISHED)

_ENGINES = ("podman", "docker")
_START_SECONDS = 30.0
_LOG_LINES = 5
_DAY = timedelta(hours=24)
_COUNTERPART = "privatepki.stepca.disposable_ca_absent"


def default_folder() -> Path:
    """One for each molecule scenario, one for what runs without molecule.

    It is not in molecule's own folder: molecule empties that, and what still runs could not be found again.
    """
    scenario = os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY", "")
    return cache_folder() / ("disposable_ca-%s" % hashlib.sha256(scenario.encode()).hexdigest()[:12])


class DisposableCA:
    """The authority of a folder, which may or may not be there.

    say: is told what takes long.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._process = Background(folder / _RUNNING)

    def present(self, options: dict, check_mode: bool) -> dict:
        """Have it running as asked; return where it is and how to enrol. StepCAError.

        asked: the options address, names, port, program, image, max_lifetime and provisioner.
        """
        _check(options)
        if check_mode and not self._folder.exists():
            return self._answer(None, ["there is none in %s" % self._folder])
        with self._locked():
            state = self._state()
            reasons = self._reasons(state, options)
            if reasons and not check_mode:
                state = self._start(state or {}, options)
            elif not reasons:
                self._wait(state)
            return self._answer(state, reasons)

    def absent(self, check_mode: bool) -> dict:
        """Stop it and remove all of it."""
        result = {"changed": self._folder.is_dir(), "reasons": [], "folder": str(self._folder)}
        if not result["changed"]:
            return result
        result["reasons"] = ["there is one in %s" % self._folder]
        with self._locked():
            if not check_mode:
                self._stop(self._state() or {})
                for path in self._folder.iterdir():
                    path.unlink()
                self._folder.rmdir()
        return result

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder, made if need be, so that two plays at once have one authority."""
        while True:
            made = not self._folder.exists()
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                raise OptionError("folder: %s cannot be used: %s." % (self._folder, error.strerror)) from None
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                # Another play may just have removed it: then what is held here has no name any more.
                if self._folder.exists() and os.path.samestat(os.fstat(handle), self._folder.stat()):
                    self._refuse_foreign(os.fstat(handle).st_uid)
                    os.fchmod(handle, 0o700)
                    yield
                    return
            finally:
                os.close(handle)
                if made:  # and nothing came into it
                    with contextlib.suppress(OSError):
                        self._folder.rmdir()

    def _refuse_foreign(self, owner: int) -> None:
        """OptionError for a folder that is somebody else's, or holds something else."""
        if owner != os.geteuid():
            raise OptionError("folder: %s belongs to another user." % self._folder)
        foreign = sorted(path.name for path in self._folder.iterdir() if path.name not in _FILES)
        if foreign:
            raise OptionError(
                "folder: %s holds what is not of a throw-away authority (%s), and is left as it is. Name a folder that is "
                "empty or does not exist." % (self._folder, ", ".join(foreign[:5]))
            )

    def _state(self) -> dict | None:
        try:
            return json.loads((self._folder / _STATE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            raise ProgramError(
                "%s cannot be read. Remove the folder, after ending the step-ca that may run in it."
                % (self._folder / _STATE)
            ) from None

    def _reasons(self, state: dict | None, options: dict) -> list[str]:
        if state is None:
            return ["there is none in %s" % self._folder]
        found = state["asked"]
        reasons = [
            "%s: wanted %s, found %s" % (name, _shown(value), _shown(found.get(name)))
            for name, value in options.items()
            if value != found.get(name)
        ]
        return reasons if self._process.is_running else [*reasons, "it is not running"]

    def _start(self, former: dict, options: dict) -> dict:
        """Start it, or start it again with the same root; the new state."""
        engine = self._engine(options["image"]) if options["image"] else None
        program = None if engine else self._program(options["program"])
        self._stop(former)
        state = dict(
            former, asked=options, engine=engine, program=str(program or "%s in %s" % (options["image"], engine))
        )
        # The port that was free the first time stays: hosts have written it down.
        same_place = former and former["asked"]["address"] == options["address"]
        state["port"] = options["port"] or (former["port"] if same_place else _free_port(options["address"]))
        if not former:
            state.update(self._make_pki())
        self._write(_CONFIGURATION, json.dumps(self._configuration(state), indent=2))
        self._write(_STATE, json.dumps(state, indent=2))
        command = self._container(state) if engine else [program.path, self._folder / _CONFIGURATION]
        try:
            self._process.start(command, self._folder / _LOG, of_container() if engine else to_run())
        except OSError as error:
            raise ProgramError("%s cannot be started: %s." % (command[0], error.strerror)) from None
        self._wait(state)
        return state

    def _program(self, path: str | None):
        finder = Finder(self._say)
        if path:
            return finder.at(Path(path), STEP_CA, "as named")
        try:
            return finder.find(STEP_CA)
        except ProgramError as error:
            raise ProgramError(
                "There is no step-ca on PATH that will do, and building it failed: %s\nInstall step-ca %d.%d.%d or newer, or "
                "name one (program), or a container image that has it (image)." % (error, *STEP_CA.oldest)
            ) from None

    def _engine(self, image: str) -> str:
        """What runs containers here; it has the image by then."""
        engine = next(filter(None, map(shutil.which, _ENGINES)), None)
        if not engine:
            raise ProgramError("Neither podman nor docker is on PATH, and the image %s needs one of them." % image)
        if _try([engine, "image", "inspect", image]):
            self._say("getting the image %s" % image)
            problem = _try([engine, "pull", image])
            if problem:
                raise ProgramError("The image %s is not here, and cannot be had: %s" % (image, problem))
        return engine

    def _stop(self, state: dict) -> None:
        if state.get("engine"):
            # The process started it and waits for it: if that was killed, it runs on.
            _try([state["engine"], "rm", "--force", self._container_name])
        self._process.stop()

    def _make_pki(self) -> dict:
        """A root whose key is thrown away, an intermediate, and a provisioner: what the state holds of them."""
        # Its own name, so that people can tell it from the last one where an error names both.
        name = "privatepki.stepca disposable %s" % secrets.token_hex(3)
        root = pki.make_root(name + " root")
        intermediate = pki.make_intermediate(root, name + " intermediate")
        password = secrets.token_urlsafe(24)
        public, sealed = key_files.make(password)
        self._write(_ROOT, root.pem)
        self._write(_CHAIN, intermediate.pem)
        self._write(_KEY, intermediate.key_pem)
        self._write(_PASSWORD, password)
        return {"fingerprint": root.fingerprint, "key": public, "encryptedKey": sealed}

    def _write(self, name: str, text: str) -> None:
        """Write a file of the folder, whole or not at all."""
        unfinished = self._folder / _UNFINISHED
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
        unfinished.rename(self._folder / name)

    def _configuration(self, state: dict) -> dict:
        """What ca.json says."""
        options, in_container = state["asked"], bool(state["engine"])
        longest = durations.parse_duration(options["max_lifetime"], "max_lifetime")
        claims = {
            "minTLSCertDuration": "1s",
            "maxTLSCertDuration": "%ds" % longest.total_seconds(),
            "defaultTLSCertDuration": "%ds" % min(longest, _DAY).total_seconds(),
        }
        provisioner = {"type": "JWK", "name": options["provisioner"], "key": state["key"]}
        return {
            "root": str(self._folder / _ROOT),
            "crt": str(self._folder / _CHAIN),
            "key": str(self._folder / _KEY),
            # In a container every address is its own; outside, the engine listens.
            "address": _joined("" if in_container else options["address"], state["port"]),
            "dnsNames": list(dict.fromkeys([*_names(options), _near(options["address"]), "localhost", "127.0.0.1"])),
            "logger": {"format": "json"},
            # There, nothing is written into the folder: root in the container may be another user outside.
            "db": {
                "type": "bbolt",
                "dataSource": "/privatepki.stepca.db" if in_container else str(self._folder / _DATABASE),
            },
            "crl": {"enabled": True, "generateOnRevoke": True},
            "authority": {
                "claims": claims,
                "provisioners": [dict(provisioner, encryptedKey=state["encryptedKey"])],
            },
        }

    @property
    def _container_name(self) -> str:
        return "privatepki.stepca-%s" % hashlib.sha256(str(self._folder).encode()).hexdigest()[:12]

    def _container(self, state: dict) -> list:
        """The command that runs it in a container for as long as it lives."""
        engine, image, port = state["engine"], state["asked"]["image"], state["port"]
        _try([engine, "rm", "--force", self._container_name])
        command = [engine, "run", "--rm", "--name", self._container_name, "--no-healthcheck"]
        command += ["--publish", "%s:%d" % (_joined(state["asked"]["address"], port), port)]
        command += ["--volume", "%s:%s:ro,Z" % (self._folder, self._folder)]
        # Root there, whatever the image says: the files are for their owner alone.
        return [*command, "--user", "0", "--entrypoint", "step-ca", image, self._folder / _CONFIGURATION]

    def _wait(self, state: dict) -> None:
        """Return when it answers with its own root; ProgramError with the end of its log if it does not."""
        root = certificates.load((self._folder / _ROOT).read_bytes())
        url = "https://" + _joined(_near(state["asked"]["address"]), state["port"])
        connection = connections.Connection([url], [state["fingerprint"]], root, timeout=5.0, retries=0)

        def authority():
            if not self._process.is_running:
                raise ProgramError(self._with_log("The throw-away step-ca (%s) has ended." % state["program"]))
            return client.StepCA(connection, _http.Transport)

        try:
            client.wait_until_healthy(authority, _START_SECONDS)
        except ProgramError:
            raise
        except StepCAError as error:
            text = "The throw-away step-ca (%s) does not answer: %s" % (state["program"], error)
            raise ProgramError(self._with_log(text)) from None

    def _with_log(self, text: str) -> str:
        lines = (self._folder / _LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return "%s The playbook %s removes it. The end of its log, %s:\n%s" % (
            text,
            _COUNTERPART,
            self._folder / _LOG,
            "\n".join(lines[-_LOG_LINES:]),
        )

    def _answer(self, state: dict | None, reasons: list[str]) -> dict:
        result = {"changed": bool(reasons), "reasons": reasons, "folder": str(self._folder)}
        result.update(dict.fromkeys(("ca_url", "ca_fingerprint", "provisioner", "provisioner_password_file")))
        result.update(root_path=None, log_path=None, program=None)
        if state:
            result.update(
                ca_url="https://" + _joined(_names(state["asked"])[0], state["port"]),
                ca_fingerprint=state["fingerprint"],
                provisioner=state["asked"]["provisioner"],
                provisioner_password_file=str(self._folder / _PASSWORD),
                root_path=str(self._folder / _ROOT),
                log_path=str(self._folder / _LOG),
                program=state["program"],
            )
        return result


def _check(options: dict) -> None:
    """OptionError for what cannot mean anything."""
    try:
        ipaddress.ip_address(options["address"])
    except ValueError:
        raise OptionError("address: %r is no IP address." % options["address"]) from None
    if options["port"] is not None and not 0 < options["port"] < 65536:
        raise OptionError("port: %d is no port." % options["port"])
    if options["program"] and options["image"]:
        raise OptionError("program and image: only one of them can run.")
    durations.parse_duration(options["max_lifetime"], "max_lifetime")


def _names(options: dict) -> list[str]:
    return options["names"] or [_near(options["address"])]


def _near(address: str) -> str:
    """The address by which this machine reaches what listens there."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)


def _joined(host: str, port: int) -> str:
    return "%s:%d" % ("[%s]" % host if ":" in host else host, port)


def _shown(value) -> str:
    return "none" if value in (None, []) else str(value)


def _free_port(address: str) -> int:
    """A port of this address that nothing listens on; OptionError if the address is not this machine's."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
            listener.bind((address, 0))
            return int(listener.getsockname()[1])
    except OSError as error:
        raise OptionError("address: nothing can listen on %s here: %s." % (address, error.strerror)) from None


def _try(command: list) -> str:
    """Run a command of a container engine; what it said if it failed, "" if it did not."""
    try:
        run(command, of_container())
    except ProgramError as error:
        return str(error)
    return ""
