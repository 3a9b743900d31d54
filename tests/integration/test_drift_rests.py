# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What is no drift: another spelling, another place to run from, a CA that went on. No change, no request to the CA.

Rows that stand elsewhere: a lost or damaged record and the rotation of the intermediate in test_certificate_drift.py,
a certificate that `step` renewed in test_interop.py.
"""

from __future__ import annotations

import pytest

from tests.integration.conftest import make_core
from tests.integration.drifting import Case, prove
from tests.integration.interpreters import interpreter
from tests.integration.judging import see, traffic, tree
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, outcomes, pair
from tests.integration.support import Playbooks, enrolment
from tools.authority import Provisioner

pytestmark = pytest.mark.oldest_core

#: Names and subject that nobody asked for.
REWRITING_ALL = """{
  "subject": {"commonName": "rewritten", "organization": "Example"},
  "sans": {{ toJson (append .SANs (dict "type" "dns" "value" "added.example.com")) }},
  "keyUsage": ["digitalSignature"],
  "extKeyUsage": ["serverAuth", "clientAuth"]
}"""


def rests(name, made=None, asked=None, harm=None):
    """A row where nothing may happen."""
    return Case(name, outcome="none", made=made or {}, asked=asked or {}, harm=harm)


def sans(*names):
    return {"sans": list(names)}


def rewrite(change):
    """Another text for the certificate and the key."""

    def harm(tls, name):
        for path in (tls / (name + ".crt"), tls / (name + ".key")):
            path.write_bytes(change(path.read_bytes()))

    return harm


def forget_record(tls, name):
    (tls / (".%s.crt.stepca.json" % name)).unlink()


SPELLINGS = [
    rests(
        "order", sans("a.example.com", "10.0.0.7", "b.example.com"), sans("10.0.0.7", "b.example.com", "a.example.com")
    ),
    rests("case", sans("www.example.com"), sans("WWW.Example.COM.")),
    rests(
        "to-a-label", sans("bücher.example", "straße.example"), sans("xn--bcher-kva.example", "xn--strae-oqa.example")
    ),
    rests("to-u-label", sans("xn--bcher-kva.example"), sans("BÜCHER.example")),
    rests("ipv6", sans("2001:db8::1"), sans("2001:0DB8:0:0:0::0001")),
    rests("mapped", sans("10.0.0.8"), sans("::ffff:10.0.0.8")),
    rests("duplicates", sans("a.example.com"), sans("a.example.com", "A.example.com", "dns:a.example.com.")),
    rests(
        "prefixes",
        sans("a.example.com", "10.0.0.7", "admin@example.com", "https://a.example.com/x"),
        sans("DNS:a.example.com", "ip:10.0.0.7", "Email:admin@example.com", "uri:https://a.example.com/x"),
    ),
    rests("subject-given", asked={"common_name": "subject-given.example.com"}),
    rests("subject-default", {"common_name": "Somebody"}, {"common_name": None}),
    rests(
        "subject-alone",
        {"sans": None, "common_name": "a.example.com"},
        {"sans": ["a.example.com"], "common_name": None},
    ),
    rests("mail", sans("Admin@Example.com"), sans("email:Admin@example.COM")),
    rests("uri", sans("https://Example.com/ü"), sans("HTTPS://example.com/%C3%BC")),
    rests("urn", sans("uri:urn:uuid:0c1a8b7e", "a.example.com")),
    rests("spiffe", sans("spiffe://Example.com/web/server"), sans("SPIFFE://example.com/web/server")),
    rests("newlines", harm=rewrite(lambda content: content + b"\n\n")),
    rests("crlf", harm=rewrite(lambda content: content.replace(b"\n", b"\r\n"))),
    rests("comments", harm=rewrite(lambda content: content + b"# made by hand\n")),
    rests("lifetime", {"not_after": "5h"}, {"not_after": "300m"}),
    rests("lifetime-seconds", {"not_after": "5h"}, {"not_after": 18000}),
    rests("lifetime-dropped", {"not_after": "5h"}, {"not_after": None}),
    rests("data-dropped", {"template_data": {"a": 1, "b": [2]}}, {"template_data": None}),
    rests("data-order", {"template_data": {"a": 1, "b": [2]}}, {"template_data": {"b": [2], "a": 1}}),
    rests("capped", {"not_after": "5h"}, {"max_lifetime": "5h"}),
    rests("since", asked={"issued_since": "2020-01-01T00:00:00+02:00"}),
    rests("keep", asked={"key_policy": "keep"}),
    rests("always", asked={"key_policy": "always"}),
]


def test_other_spellings(play, host, authority):
    """Names, lives, line ends in another way, options dropped, records lost: the same certificate."""
    told = prove(play, host, authority, SPELLINGS, enrolment(authority))
    assert told.asked == [], "nothing is asked of the CA"


def test_long_lives_and_lost_records(play, host, authority):
    """Hundreds of hours, also in minutes and days; without the record the certificate itself tells what was asked."""
    hours = {"not_after": "100h"}, {"not_after": "6000m"}
    cases = [rests("hours", *hours), rests("days", {"not_after": "10d"}, {"not_after": "240h"})]
    told = prove(play, host, authority, cases, enrolment(authority, "long"))
    assert told.asked == []
    cases = [
        rests("lost", sans("a.example.com", "10.0.0.7"), sans("10.0.0.7", "A.example.com"), forget_record),
        rests("lost-life", *hours, forget_record),
        rests("lost-subject", {"common_name": "Somebody"}, harm=forget_record),
        rests("lost-cap", {"not_after": "100h"}, {"max_lifetime": "100h", "not_after": None}, forget_record),
    ]
    told = prove(play, host, authority, cases, enrolment(authority, "long"))
    assert told.asked.posts == [], "the roots may be asked for, since they were in the record"


@pytest.mark.parametrize("backdate", ["0s", "10m"])  # that of the shared authority is a minute
def test_backdate(play, host, new_authority, backdate):
    """The CA adds its backdate to the life asked for: it still fits, also where the record is lost."""
    authority = new_authority(Provisioner("ansible", rounds=100_000), backdate=backdate)
    cases = [
        rests("kept", {"not_after": "1h"}),
        rests("lost", {"not_after": "1h"}, harm=forget_record),
        rests("capped", {"not_after": "1h", "max_lifetime": "1h"}, harm=forget_record),
    ]
    told = prove(play, host, authority, cases, enrolment(authority))
    assert told.before["lost"].seconds == 3600 + {"0s": 0, "10m": 600}[backdate] and told.asked.posts == []


def test_a_template_that_rewrites_all(play, host, new_authority):
    """With the record nothing is due; without it one re-issue, where the certificate cannot tell, and then it is quiet."""
    authority = new_authority(Provisioner("ansible", template=REWRITING_ALL, rounds=100_000))
    made = {"common_name": "Somebody", "not_after": "2h"}
    lost = "the names are dns:lost.example.com, dns:added.example.com, expected dns:lost.example.com"
    cases = [
        rests("kept", made),
        Case("lost", [lost, "the commonName is 'rewritten', expected 'Somebody'"], made=made, harm=forget_record),
    ]
    told = prove(play, host, authority, cases, enrolment(authority))
    assert "CN = rewritten" in told.after["kept"].text or "CN=rewritten" in told.after["kept"].text
    assert "DNS:added.example.com" in told.after["kept"].names


def test_no_extension_and_a_key_rotated(play, host, new_authority):
    """Without step's extension nobody knows the provisioner; with it its name counts, and not its key."""
    silent = new_authority(
        Provisioner("ansible", rounds=100_000, claims={"disableSmallstepExtensions": True}),
        Provisioner("other", rounds=100_000),
    )
    told = prove(play, host, silent, [rests("silent")], enrolment(silent), enrolment(silent, "other"))
    assert "37476.9000.64.1" not in told.before["silent"].text and told.asked == []

    authority = new_authority(Provisioner("ansible", rounds=100_000))
    successor = Provisioner("ansible", rounds=100_000)

    def rotate():
        authority.provisioners["ansible"] = successor
        authority.restart()

    after = {**enrolment(authority), "provisioner_password": successor.password}
    told = prove(play, host, authority, [rests("rotated")], enrolment(authority), after, meanwhile=rotate)
    assert told.asked == []


#: A host whose clock is off by as many seconds, as Python sees it.
CLOCK = """\
import time
real = time.time
time.time = lambda: real() + %d
"""


@pytest.mark.parametrize(("minutes", "request_from"), [(-9, "controller"), (9, "host")])
def test_the_host_s_clock_is_off(play, host, core, authority, tmp_path, minutes, request_from):
    """Nine minutes behind or ahead: what it was given fits, now and later."""
    host.variables["ansible_python_interpreter"] = str(interpreter(core, tmp_path, CLOCK % (60 * minutes)))
    options = enrolment(authority, request_from=request_from)
    told = prove(play, host, authority, [rests("site"), rests("life", {"not_after": "1h"})], options)
    assert told.asked == []


@pytest.mark.one_core
def test_another_place_to_run_from(lab, play, host, tmp_path, authority):
    """Each ansible-core, with its Python on the host, finds in order what the other made, from wherever it runs."""
    tls = host.path("/etc/tls")
    outputs = {"chain_path": TLS + "full.chain", "root_path": TLS + "full.root", "combined_path": TLS + "full.pem"}
    pkcs12 = {"pkcs12_path": TLS + "full.p12", "pkcs12_password": "password", "pkcs12_encryption": "compatible"}
    names = sans("bücher.example", "10.0.0.7", "2001:db8::1", "admin@example.com", "spiffe://example.com/site")
    entries = [
        pair("names", **names, not_after="5h"),
        pair("full", **outputs, **pkcs12),
        pair("rsa", key_type="rsa-2048", common_name="Somebody", template_data={"a": [1, {"b": "ü"}]}),
        pair("ed", key_type="ed25519", not_before="1s"),
    ]
    task = [{"name": "site", CERTIFICATE: {"certificates": entries}}]
    places = {"2.17": "Asia/Kolkata", "newest": "America/St_Johns"}
    runs = {}
    for name, zone in places.items():
        core = make_core(name)
        host.variables["ansible_python_interpreter"] = str(core.host_environment.python)
        runs[name] = Playbooks(tmp_path / name, core, lab.collections, [host]), {"TZ": zone}
    for maker, finder in (("2.17", "newest"), ("newest", "2.17")):
        for path in tls.iterdir():
            path.unlink()
        _run(host, runs, maker, task, authority)
        before = tree(tls)
        with traffic(authority) as asked:
            for check in (True, False):
                again = _run(host, runs, finder, task, authority, check=check)["site"]
                assert set(outcomes(again).values()) == {"none"}, again.result
        assert (tree(tls), asked) == (before, [])


def _run(host, runs, name, task, authority, **options):
    """Run a task with one core, and its Python on the host."""
    play, env = runs[name]
    host.variables["ansible_python_interpreter"] = str(play.core.host_environment.python)
    return play(task, module_defaults={GROUP: enrolment(authority)}, env=env, **options).expect_ok()


def test_what_step_made(play, host, step, authority, tmp_path):
    """A certificate that `step ca certificate` made in our place fits, and is ours from then on."""
    tls = host.path("/etc/tls")
    chosen = authority.provisioner("ansible")
    (tmp_path / "password").write_text(chosen.password, encoding="utf-8")
    files = [tls / "site.crt", tls / "site.key"]
    words = ["--provisioner", chosen.name, "--provisioner-password-file", tmp_path / "password"]
    words += ["--san", "site.example.com", "--san", "10.0.0.7", "--not-after", "5h"]
    step("ca", "certificate", "site.example.com", *files, *words, where=True)
    serial = see(files[0]).serial
    made = pair("site", sans=["10.0.0.7", "site.example.com"], not_after="5h", mode="0600")
    for check in (True, False):
        before = tree(tls)
        with traffic(authority) as asked:
            done = play(
                [{"name": "site", CERTIFICATE: made}], module_defaults={GROUP: enrolment(authority)}, check=check
            )
        assert (done.expect_ok()["site"]["outcome"], done["site"]["reasons"]) == ("none", [])
        assert (asked.posts, tree(tls)) == ([], before)
    assert see(files[0]).serial == serial
