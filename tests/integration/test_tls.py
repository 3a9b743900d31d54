# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Only the trusted roots count: no one in between, no environment, proxy, netrc or redirect changes where a token goes.

Each task runs twice where it can: asked from the controller, and from the host.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess

import pytest

from tests.integration.doubles import Double, relay, says, tls_context
from tests.integration.rows import Row, check_failures, run_unchanged, tasks
from tests.integration.support import connection, enrolment
from tools.pki import make_root

pytestmark = pytest.mark.one_core

UNTRUSTED = ["its certificate is not trusted", "Only the roots of ca_fingerprint or ca_root count"]
ROOTS = {"root_path": "{{ host_root }}/etc/tls/roots.pem"}


def health(words, name="", **options):
    """The CA asked by both transports."""
    from_host = {**options, "request_from": "host"}
    return [
        Row(("health " + name).strip(), words, options, "stepca_health"),
        Row(("health from the host " + name).strip(), words, from_host, "stepca_health"),
    ]


def everywhere(words, name="", **options):
    """Every way in which the CA is asked."""
    return [*health(words, name, **options), Row(("certificate " + name).strip(), words, options)]


def bootstrap(words, **options):
    """The roots, asked for from both sides."""
    from_host = {**options, "request_from": "host"}
    return [
        Row("bootstrap", words, {**ROOTS, **options}, "stepca_bootstrap"),
        Row("bootstrap from the host", words, {**ROOTS, **from_host}, "stepca_bootstrap"),
    ]


def fail(play, host, authority, rows, env=None):
    """Run rows that change nothing at all."""
    content = tasks(rows, {**enrolment(authority), "retries": 0})
    check_failures(run_unchanged(play, host, content, env=env or {}), rows)


def work(play, host, authority, env=None, **options):
    """Run every way of asking; each succeeds."""
    rows = everywhere([], **options) + bootstrap([], **options)
    run = play(tasks(rows, enrolment(authority)), hosts=[host], env=env or {}, verbosity=3).expect_ok()
    assert not run.failed, run
    assert run["certificate"].changed and run["bootstrap"].changed
    return run


@pytest.fixture
def foreign_root():
    """The root of somebody else."""
    return make_root("somebody else's root")


@pytest.fixture
def between(authority, foreign_root, tmp_path):
    """Somebody in between, with a certificate of his own root and the CA's own answers."""
    with Double(relay(authority), tls_context(tmp_path / "between", foreign_root)) as double:
        yield double


def test_another_root(play, host, authority, foreign_root):
    """The CA does not offer the root of this fingerprint; or is not the one of this root."""
    none = ["has no root with the SHA-256 fingerprint " + foreign_root.fingerprint, "ca_fingerprint is wrong"]
    rows = health(none, ca_fingerprint=foreign_root.fingerprint)
    rows += bootstrap([foreign_root.fingerprint], ca_fingerprint=foreign_root.fingerprint)
    rows += health(UNTRUSTED, "by root", ca_fingerprint=None, ca_root=foreign_root.pem)
    fail(play, host, authority, rows)


def variables(path):
    """What makes other programs trust more, or other, roots."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return {name: str(path.parent if name.endswith("DIR") else path) for name in names}


@pytest.mark.parametrize("trusted_elsewhere", [False, True])
def test_somebody_in_between(play, host, authority, core, foreign_root, between, tmp_path, trusted_elsewhere):
    """Known by fingerprint, he may hand out the real root, and is asked for nothing else; known by root, for nothing."""
    env = {}
    if trusted_elsewhere:
        bundle = tmp_path / "certs" / "foreign.pem"
        bundle.parent.mkdir()
        bundle.write_text(foreign_root.pem, encoding="ascii")
        subprocess.run(["openssl", "rehash", bundle.parent], check=False, capture_output=True)
        env = variables(bundle)
        trap(core, between, env)
    fail(play, host, authority, everywhere(UNTRUSTED, ca_url=between.url), env)
    assert {asked.path for asked in between.asked} == {"/1.0/root/" + authority.fingerprint}
    assert all(asked.method == "GET" and not asked.body for asked in between.asked)
    between.asked.clear()
    known = {"ca_fingerprint": None, "ca_root": authority.root_pem}
    fail(play, host, authority, everywhere(UNTRUSTED, ca_url=between.url, **known), env)
    assert between.asked == []


def trap(core, double, env):
    """The environment does lead others astray: without this, the tests would prove nothing."""
    ask = "import requests, sys; print(requests.get(sys.argv[1]).status_code)"
    command = [core.controller.python, "-c", ask, double.url + "/health"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert double.asked, done.stderr
    double.asked.clear()


def test_his_own_root(play, host, authority, foreign_root, tmp_path):
    """Somebody in between who answers with a root of his own, whatever fingerprint is asked for."""
    lie = says(200, ('{"ca": %s}' % quoted(foreign_root.pem)).encode())
    with Double(lie, tls_context(tmp_path / "between", foreign_root)) as double:
        words = ["has no root with the SHA-256 fingerprint " + authority.fingerprint]
        fail(play, host, authority, health(words, ca_url=double.url) + bootstrap([], ca_url=double.url))
        assert {asked.path for asked in double.asked} == {"/1.0/root/" + authority.fingerprint}


def quoted(text):
    """Text as JSON."""
    return '"%s"' % text.replace("\n", "\\n")


def test_the_environment_breaks_nothing(play, host, authority, core, between, foreign_root, tmp_path):
    """With foreign bundles, a proxy for everything, and a netrc entry: all works, and none of them is used."""
    bundle = tmp_path / "certs" / "foreign.pem"
    bundle.parent.mkdir()
    bundle.write_text(foreign_root.pem, encoding="ascii")
    with Double(says(502, b"")) as proxy:
        names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
        proxied = dict.fromkeys(names, proxy.url)
        proxy_trap(core, proxy, between, proxied)
        work(play, host, authority, {**variables(bundle), **proxied})
        assert proxy.asked == [] and proxy.connections == 0


def proxy_trap(core, proxy, between, env):
    """The proxy is asked by others."""
    ask = "import requests, sys; requests.get(sys.argv[1])"
    subprocess.run([core.controller.python, "-c", ask, between.url], env=env, capture_output=True, check=False)
    assert [asked.method for asked in proxy.asked] == ["CONNECT"]
    proxy.asked.clear()
    proxy.connections = 0


@pytest.fixture
def front(authority, tmp_path):
    """A front of the CA that everybody trusts who trusts its root, with the CA's own answers to GET."""
    with Double(relay(authority), tls_context(tmp_path / "front", authority.root)) as double:
        yield double


def test_netrc_changes_no_request(play, host, authority, core, front, tmp_path):
    """An entry for the CA's host, where every program looks for it: no request carries it."""
    home = tmp_path / "home-with-netrc"
    home.mkdir()
    netrc = home / ".netrc"
    netrc.write_text("machine localhost login somebody password hunter2\n", encoding="ascii")
    netrc.chmod(0o600)
    env = {"HOME": str(home), "NETRC": str(netrc)}
    root = tmp_path / "front" / "root.pem"
    root.write_text(authority.root_pem, encoding="ascii")
    ask = "import requests, sys; requests.get(sys.argv[1], verify=sys.argv[2])"
    subprocess.run([core.controller.python, "-c", ask, front.url + "/health", root], env=env, check=True)
    assert "Authorization" in front.asked.pop().headers, "others do use it"
    fail(play, host, authority, [Row("certificate", ["no POST came so far"], {"ca_url": front.url})], env)
    run = play(tasks(health([], ca_url=front.url), connection(authority)), env=env)
    assert not run.failed, run
    assert {asked.method for asked in front.asked} == {"GET", "POST"}
    assert [asked.path for asked in front.asked if "Authorization" in asked.headers] == []


REDIRECT = ["A redirect is never followed: it would carry the token elsewhere", "Give the CA's own address in ca_url"]


def test_redirects_are_never_followed(play, host, authority, front, tmp_path):
    """To a place that everybody trusts, too: it is asked for nothing, and the token stays where it was sent."""

    def only_posts(method, path):
        to_there = (307, {"Location": front.url + path}, b"")
        return relay(authority)(method, path) if method == "GET" else to_there

    rows, known = [], {"ca_fingerprint": None, "ca_root": authority.root_pem}
    with contextlib.ExitStack() as running:
        posts = running.enter_context(Double(only_posts, tls_context(tmp_path / "posts", authority.root)))
        rows.append(Row("certificate", ["307", *REDIRECT], {"ca_url": posts.url}))
        for status in (301, 302, 303, 307, 308):
            answer = says(status, b"", Location=front.url + "/health")
            double = running.enter_context(Double(answer, tls_context(tmp_path / str(status), authority.root)))
            rows += health([str(status), *REDIRECT], str(status), ca_url=double.url, **known)
        fail(play, host, authority, rows)
    assert [asked.path for asked in posts.asked if asked.method == "POST"] == ["/1.0/sign"]
    assert front.asked == [] and front.connections == 0


def test_a_port_that_is_no_step_ca(play, host, authority, tmp_path):
    """Plain HTTP; a web server of somebody else; JSON of another kind; too much; nothing at all."""
    known = {"ca_fingerprint": None, "ca_root": authority.root_pem}
    answers = {
        "web": (says(404, b"<html>Not here</html>"), ["404 Not Found", "Is ca_url the address of a step-ca?"]),
        "hello": (says(200, b"<html>Hello</html>"), ["not as step-ca does", "Is ca_url the address of a step-ca?"]),
        "list": (says(200, b"[1]"), ["not as step-ca does"]),
        "large": (says(200, b"x" * (2**20 + 1)), ["larger than 1 MiB"]),
    }
    with contextlib.ExitStack() as running:
        plain = running.enter_context(Double(says(200, b"hello")))
        rows = health(["no TLS there", "is that the port of a step-ca?"], ca_url=plain.https_url)
        for name, (answer, words) in answers.items():
            double = running.enter_context(Double(answer, tls_context(tmp_path / name, authority.root)))
            rows += health(words, name, ca_url=double.url, **known)
        # The time of a request is its whole time.
        silent = running.enter_context(socket.create_server(("127.0.0.1", 0)))
        url = "https://localhost:%d" % silent.getsockname()[1]
        rows += health(["within 0.3 s"], "silent", ca_url=url, timeout="300ms")
        fail(play, host, authority, rows)


def test_the_name_of_the_ca(play, host, new_authority):
    """An address that is not in the CA's certificate needs ca_name; with it all works, tokens included."""
    authority = new_authority(dns_names=["ca.internal"])
    wanted = [*UNTRUSTED, "ca_name is needed"]
    address = "https://127.0.0.1:%d" % authority.port
    rows = health(wanted) + health(wanted, "by address", ca_url=address)
    fail(play, host, authority, rows + health(wanted, "by another name", ca_name="other.internal"))
    work(play, host, authority, ca_url=address, ca_name="ca.internal")
