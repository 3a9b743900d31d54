# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Starts ansible-playbook from a process that has already imported the libraries that every run imports.

A short run spends a good part of its time on imports. So the tests keep one process for each controller's environment:
it imports, and forks for each run. The fork takes on the run's folder, variables, input and outputs, then runs the
program itself, from its first line to its exit. Nothing of ansible-core is imported before: all that it does, a run
does itself.

What an interpreter looks at when it starts cannot be given to a fork. Where a run has such variables of its own, and
wherever this is not Linux (libraries of macOS do not survive a fork), the program is started as usual.

Imported by tests, this file is the client; run by a controller's Python, it is the process that forks.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

# These are read after the fork: settings of Ansible, and where our callback writes.
_MAY_DIFFER = ("HOME", "LAB_LINES")
_MAY_DIFFER_PREFIX = "ANSIBLE_"

# What ansible-core, the collection and these themselves import.
LIBRARIES = (
    "cmd",
    "concurrent.futures.thread",
    "configparser",
    "cryptography.hazmat.backends.openssl.backend",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.pbkdf2",
    "cryptography.hazmat.primitives.keywrap",
    "cryptography.hazmat.primitives.padding",
    "cryptography.hazmat.primitives.serialization.pkcs12",
    "cryptography.x509",
    "ctypes.util",
    "curses",
    "decimal",
    "getpass",
    "importlib.metadata",
    "importlib.resources",
    "jinja2.nativetypes",
    "jinja2.sandbox",
    "jwt",
    "logging.handlers",
    "multiprocessing.managers",
    "multiprocessing.pool",
    "multiprocessing.queues",
    "multiprocessing.synchronize",
    "packaging.specifiers",
    "platform",
    "pty",
    "requests",
    "resolvelib",
    "runpy",
    "secrets",
    "shlex",
    "syslog",
    "tarfile",
    "urllib.request",
    "uuid",
    "xml.dom.minidom",
    "yaml",
    "zipfile",
)

# A run begins with nothing of it: it is the first import that reads settings, and the order of imports makes a difference.
_NEVER = "ansible"


class Warm:
    """The client's side of one such process."""

    def __init__(self, python: Path, environment: Mapping[str, str]) -> None:
        self._requests, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its_end:
            self._process = subprocess.Popen(
                [python, __file__, str(its_end.fileno())],
                pass_fds=[its_end.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                # Of the kind that a run's outputs are: Python looks at them once, when it starts.
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )

    def run(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, bytes, bytes]:
        """Run a Python program to its end, as subprocess.run() would; return code, output and errors."""
        message = json.dumps({"command": list(command), "folder": str(folder), "environment": dict(environment)})
        ours, its_end = socket.socketpair()
        (out, its_out), (err, its_err) = os.pipe(), os.pipe()
        with ours, open(out, "rb") as output, open(err, "rb") as errors, open(os.devnull, "rb") as nothing:
            with its_end, open(its_out, "wb") as to_output, open(its_err, "wb") as to_errors:
                its_ends = [nothing, to_output, to_errors, its_end]
                self._send(message.encode("utf-8", "surrogateescape"), [end.fileno() for end in its_ends])
            pid = self._number(ours)
            try:
                texts: list[bytes] = []
                reader = threading.Thread(target=lambda: texts.append(errors.read()))
                reader.start()
                text = output.read()
                reader.join()
                return self._number(ours), text, texts[0]
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                raise

    def _send(self, message: bytes, descriptors: Sequence[int]) -> None:
        try:
            socket.send_fds(self._requests, [message], descriptors)
        except BrokenPipeError:
            raise self._ended() from None

    def _number(self, answers: socket.socket) -> int:
        word = answers.recv(4, socket.MSG_WAITALL)
        if len(word) < 4:
            raise self._ended()
        return int.from_bytes(word, "big", signed=True)

    def _ended(self) -> RuntimeError:
        _output, errors = self._process.communicate()
        said = self._process.returncode, errors.decode("utf-8", "replace")
        return RuntimeError("%s ended with %d: %s" % (__file__, *said))

    def close(self) -> None:
        """Let it end; runs that still go on are not touched."""
        self._requests.close()
        self._process.communicate()


class WarmStarts:
    """One such process for each Python and each environment to start in, begun when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: dict[Path, tuple[dict[str, str], Warm]] = {}

    def fitting(self, python: Path, usual: Mapping[str, str], wanted: Mapping[str, str]) -> Warm | None:
        """Return the process for a run with the variables `wanted`, of which `usual` are those of every run."""
        if sys.platform != "linux" or _of_the_start(usual) != _of_the_start(wanted):
            return None
        with self._lock:
            if python not in self._begun:
                self._begun[python] = _of_the_start(usual), Warm(python, _of_the_start(usual))
            variables, warm = self._begun[python]
        return warm if variables == _of_the_start(usual) else None

    def close(self) -> None:
        """End all of them."""
        for _variables, warm in self._begun.values():
            warm.close()
        self._begun.clear()


def _of_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name not in _MAY_DIFFER and not name.startswith(_MAY_DIFFER_PREFIX)
    }


def _import_all() -> None:
    for name in LIBRARIES:
        importlib.import_module(name)
    spoiled = sorted(name for name in sys.modules if name.startswith(_NEVER))
    if spoiled:
        sys.exit("imported before the fork, and may not be: %s" % ", ".join(spoiled))
    # What is here stays here: collecting garbage, a fork need not look at it.
    gc.collect()
    gc.freeze()


def _serve(requests: socket.socket) -> str | None:
    """Fork for each request, and tell how each ended; return the program in each fork, and None at the end of all."""
    running: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as events:
        events.register(requests, selectors.EVENT_READ)
        while events.get_map():
            for key, _events in events.select():
                if key.fileobj is not requests:
                    events.unregister(key.fd)
                    _finish(key.fd, *running.pop(key.fd))
                    continue
                message, descriptors, _flags, _address = socket.recv_fds(requests, 1 << 20, 4)
                if not message:
                    events.unregister(requests)
                    continue
                answers = socket.socket(fileno=descriptors.pop())
                pid = os.fork()
                if pid == 0:
                    _leave_behind(running, requests, answers)
                    return _take_on(json.loads(message), descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
                watched = os.pidfd_open(pid)
                running[watched] = pid, answers
                events.register(watched, selectors.EVENT_READ)
                _tell(answers, pid)
    return None


def _finish(watched: int, pid: int, answers: socket.socket) -> None:
    os.close(watched)
    with answers:
        _tell(answers, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _leave_behind(running: Mapping[int, tuple[int, socket.socket]], *its_own: socket.socket) -> None:
    """Close, in a fork, what belongs to the process that forks."""
    for watched, (_pid, answers) in running.items():
        os.close(watched)
        answers.close()
    for one in its_own:
        one.close()


def _tell(answers: socket.socket, number: int) -> None:
    # Nobody listens any more where a test was broken off.
    with contextlib.suppress(BrokenPipeError):
        answers.sendall(number.to_bytes(4, "big", signed=True))


def _take_on(request: dict, descriptors: Sequence[int]) -> str:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    program = request["command"][0]
    sys.argv = request["command"]
    sys.path.insert(0, str(Path(program).parent))
    return program


if __name__ == "__main__":
    del sys.path[0]  # the tests' folder
    _import_all()
    chosen = _serve(socket.socket(fileno=int(sys.argv[1])))
    if chosen:
        runpy.run_path(chosen, run_name="__main__")
