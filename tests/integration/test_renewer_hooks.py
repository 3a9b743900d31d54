# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""After a renewal: services are told, once it is true; the former set comes back where that is asked; ports are watched."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from pathlib import Path

import pytest

from tests.integration.judging import judge, see
from tests.integration.pairs import OUTPUTS, TLS, pair
from tests.integration.renewing import serials, set_up

# What is decided on the host, by code that is the same with any ansible-core.
pytestmark = pytest.mark.oldest_core

pytestmark = pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd would run the commands, not we")


def script(host, name, text):
    """A program of the host."""
    path = host.path("/bin/" + name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n" + text, encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_command_that_fails_is_tried_until_it_was_told(play, host, authority):
    """The certificate is new, the command fails: an error until a later run told it, and then no more."""
    log = host.path("/log")
    hook = script(host, "hook", "echo 'cannot reload' >&2; exit 3\n")
    mail = script(host, "mail", 'echo "$STEPCA_CERTIFICATE_PATH: $STEPCA_ERROR" >> %s\n' % host.path("/mail"))
    renewer = set_up(play, host, authority, [pair("site")], {"run_after": [str(hook)], "on_failure": [str(mail)]})
    was = serials(host)
    words = "site.crt was replaced, but: The command %s failed with code 3: cannot reload." % hook
    (line,) = renewer.fails("renew", "--force")
    assert words in line and serials(host) != was and renewer.history("site.crt")["pending"]
    now = serials(host)
    (line,) = renewer.fails("renew")
    assert words in line and serials(host) == now, "it is not due any more, but nobody knows of it"
    assert words in renewer.status(code=1)["site.crt"]["problem"]
    mails = host.path("/mail").read_text(encoding="utf-8").splitlines()
    assert len(mails) == 2 and all(one.startswith("%s/site.crt: " % host.path("/etc/tls")) for one in mails)
    assert all(words in one for one in mails)
    script(host, "hook", "echo told >> %s\n" % log)
    assert renewer("renew").startswith("notified %s/site.crt: an earlier run replaced it" % host.path("/etc/tls"))
    assert renewer("renew") == ""
    assert log.read_text(encoding="ascii") == "told\n" and serials(host) == now
    assert (renewer.status()["site.crt"]["problem"], renewer.history("site.crt")["pending"]) == ("", False)


def test_rollback(play, host, authority):
    """A service that refuses the new set gets the former one again: byte for byte, with owners and modes."""
    tls, log = host.path("/etc/tls"), host.path("/log")
    good = host.path("/good")
    hook = script(host, "hook", "echo told >> %s\ncmp -s %s %s/site.crt || exit 5\n" % (log, good, tls))
    outputs = {option: TLS + "site" + ending for option, ending in OUTPUTS.items()}
    entry = pair("site", key_policy="always", mode="0640", **outputs)
    renewer = set_up(play, host, authority, [entry], {"run_after": [str(hook)], "rollback": True})
    if os.geteuid() == 0:
        os.chown(tls / "site.key", 65534, 65534)
    good.write_bytes((tls / "site.crt").read_bytes())
    before = _as_is(tls)
    for turn in (1, 2):
        (line,) = renewer.fails("renew", "--force")
        assert "failed with code 5" in line and line.endswith("are back in their places. The next run tries again.")
        assert (_as_is(tls), log.read_text(encoding="ascii")) == (before, "told\n" * 2 * turn)
        assert not renewer.history("site.crt")["pending"]
    script(host, "hook", "exit 0\n")
    assert renewer("renew", "--force").startswith("rekeyed ")
    judge(authority, tls / "site.crt", tls / "site.key")
    assert _as_is(tls).keys() == before.keys()


def _as_is(folder):
    """Content, owner and mode of each file, what lies hidden included."""
    found = {}
    for path in sorted(folder.iterdir()):
        status = path.stat()
        found[path.name] = (status.st_uid, status.st_gid, status.st_mode, path.read_bytes())
    return found


SERVICE = """\
case "$1 $2" in
  "stopped status") exit 3;;
  "broken reload") echo "bad configuration"; exit 1;;
esac
echo "$1 $2" >> %s
"""


def test_services_without_systemd(play, host, authority):
    """Only what runs is reloaded; one that fails does not keep the others from it."""
    log = host.path("/log")
    script(host, "service", SERVICE % log)
    hooks = {"reload": ["nginx", "stopped", "broken", {"name": "db", "action": "restarted"}]}
    renewer = set_up(play, host, authority, [pair("site")], hooks)
    path = "%s:%s" % (host.path("/bin"), os.environ["PATH"])
    (line,) = renewer.fails("renew", "--force", PATH=path)
    assert "site.crt was replaced, but: service broken reload failed with code 1: bad configuration." in line
    assert log.read_text(encoding="ascii").splitlines() == [
        "nginx status",
        "nginx reload",
        "broken status",
        "db status",
        "db restart",
    ]


class Listener:
    """A TLS server that serves the pair as it was when it was last reloaded, as a proxy does."""

    def __init__(self, folder):
        self._folder = folder
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.reload()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ends = False

    def reload(self):
        self._context.load_cert_chain(self._folder / "site.crt", self._folder / "site.key")

    def _serve(self):
        while True:
            plain = self._socket.accept()[0]
            if self._ends:
                return
            plain.settimeout(5)
            with contextlib.suppress(OSError), plain, self._context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(1)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exception):
        self._ends = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(10)
        self._socket.close()


def test_a_port_that_serves_the_former_one(play, host, authority):
    """The commonest real outage: told by renew, status and metrics, until somebody reloads."""
    tls, metrics = host.path("/etc/tls"), host.path("/stepca.prom")
    renewer = set_up(play, host, authority, [pair("site")])
    with Listener(tls) as server:
        renewer.edit("site.crt", served="127.0.0.1:%d" % server.port)
        assert renewer.status()["site.crt"]["served"] is True
        old = see(tls / "site.crt").serial
        (line,) = renewer.fails("renew", "--force", "--metrics", metrics)
        words = "The file %s/site.crt has serial %s, but 127.0.0.1:%d still serves %s. Reload or restart what listens there."
        words %= (tls, see(tls / "site.crt").serial, server.port, old)
        assert line == "failed: " + words and old not in serials(host).values()
        row = renewer.status(code=1)["site.crt"]
        assert (row["state"], row["served"], row["problem"]) == ("failing", False, words)
        served = 'stepca_certificate_served{path="%s/site.crt"} %%d' % tls
        assert served % 0 in metrics.read_text(encoding="utf-8")
        assert words in renewer("status", code=1)
        server.reload()
        row = renewer.status()["site.crt"]
        assert (row["state"], row["served"], row["problem"]) == ("ok", True, "")
        renewer("renew", "--metrics", metrics)
        assert served % 1 in metrics.read_text(encoding="utf-8")
    row = renewer.status(code=1)["site.crt"]
    assert "Nothing tells which certificate 127.0.0.1:%d serves: " % server.port in row["problem"]
