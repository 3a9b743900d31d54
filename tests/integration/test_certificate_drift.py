# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What has become of a certificate since it was made: each damage is seen, told with its cause, and repaired once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from datetime import datetime, timedelta, timezone

import pytest

from tests.integration.judging import backups, judge, leftovers, mode, openssl, owner, see, somebody, traffic, tree
from tests.integration.pairs import CERTIFICATE, GROUP, outcomes, pair
from tests.integration.support import enrolment
from tools.authority import Provisioner
from tools.commands import wait_until

# What is decided on the host, by code that is the same with any ansible-core.
pytestmark = pytest.mark.oldest_core

# Adds a name to those of the token.
ADDING_TEMPLATE = """{
  "subject": {{ toJson .Subject }},
  "sans": {{ toJson (append .SANs (dict "type" "dns" "value" "added.example.com")) }},
  "keyUsage": ["digitalSignature"],
  "extKeyUsage": ["serverAuth"]
}"""


def reasons(result, name):
    """Why, in one text."""
    return " ".join(
        *(one["reasons"] for one in result["results"] if one["certificate_path"].endswith("/%s.crt" % name))
    )


# What is done to a pair, and words of the reason; "" where nothing is wrong.
DAMAGES = {
    "key-deleted": "private key {tls}/key-deleted.key is missing",
    "key-emptied": "private key {tls}/key-emptied.key is empty",
    "key-rubbish": "private key {tls}/key-rubbish.key cannot be read as one",
    "key-of-another": "for another key than the one in {tls}/key-of-another.key",
    "deleted": "certificate {tls}/deleted.crt is missing",
    "emptied": "certificate {tls}/emptied.crt is empty",
    "rubbish": "certificate {tls}/rubbish.crt cannot be read",
    "foreign": "none of the trusted roots",
    "leaf-alone": "none of the trusted roots",
    "both-gone": "private key {tls}/both-gone.key is missing",
    "record-lost": "",
    "record-rubbish": "",
    "untouched": "",
}


def _damage(tls):
    """Harm the pairs as their names say."""
    for name in ("key-deleted.key", "deleted.crt", "both-gone.crt", "both-gone.key", ".record-lost.crt.stepca.json"):
        (tls / name).unlink()
    for name in ("key-emptied.key", "emptied.crt"):
        (tls / name).write_text("\n", encoding="ascii")
    for name in ("key-rubbish.key", "rubbish.crt", ".record-rubbish.crt.stepca.json"):
        (tls / name).write_text("-----BEGIN NOTHING-----\n", encoding="ascii")
    shutil.copy(tls / "untouched.key", tls / "key-of-another.key")
    leaf = openssl("x509", "-in", tls / "leaf-alone.crt")
    (tls / "leaf-alone.crt").write_text(leaf, encoding="ascii")
    self_signed = ["openssl", "req", "-x509", "-key", tls / "foreign.key", "-subj", "/CN=foreign.example.com"]
    self_signed += ["-addext", "subjectAltName=DNS:foreign.example.com", "-days", "30", "-out", tls / "foreign.crt"]
    subprocess.run(self_signed, check=True, capture_output=True)


def test_every_damage_is_mended_once(play, host, authority):
    """Thirteen pairs, harmed in as many ways: check mode names each, one run mends them, the next finds nothing."""
    tls = host.path("/etc/tls")
    defaults = {GROUP: enrolment(authority)}
    task = {CERTIFICATE: {"certificates": [pair(name) for name in DAMAGES], "not_after": "10h"}}
    first = play([{"name": "make", **task}], module_defaults=defaults).expect_ok()["make"]
    serials = {name: see(tls / (name + ".crt")).serial for name in DAMAGES}
    assert list(serials.values()) == [one["certificate"]["serial"] for one in first["results"]]

    _damage(tls)
    for name in DAMAGES:  # the mode was loosened by somebody
        if (tls / (name + ".crt")).exists() and (tls / (name + ".key")).exists():
            (tls / (name + ".key")).chmod(0o644)
    before = tree(tls)
    with traffic(authority) as asked:
        dry = play([{"name": "look", **task}], module_defaults=defaults, check=True).expect_ok()["look"]
    assert (asked.posts, tree(tls)) == ([], before)
    with traffic(authority) as asked:
        run = play([{"name": "mend", **task}, {"name": "again", **task}], module_defaults=defaults).expect_ok()

    expected = {name: "issued" if words else "files" for name, words in DAMAGES.items()}
    assert outcomes(dry) == outcomes(run["mend"]) == expected
    assert not run["again"].changed and outcomes(run["again"]) == dict.fromkeys(DAMAGES, "none")
    assert len(asked.posts) == list(expected.values()).count("issued")
    for name, words in DAMAGES.items():
        assert reasons(dry, name) == reasons(run["mend"], name)
        assert words.format(tls=tls) in reasons(run["mend"], name)
        seen = judge(authority, tls / (name + ".crt"), tls / (name + ".key"))
        assert (seen.serial == serials[name]) == (not words), name
        assert mode(tls / (name + ".key")) == "0600"
    assert leftovers(host) == []
    assert backups(host) == {"foreign.crt", "foreign.key", "key-of-another.key", "key-rubbish.key", "rubbish.crt"}, (
        "what this CA did not issue, or nobody can read, is kept"
    )
    told = [path for one in run["mend"]["results"] for path in one["backup_files"]]
    assert sorted(told) == sorted(str(path) for path in tls.glob(".*.stepca.backup"))


def test_what_a_task_asks_for_changes(play, host, authority):
    """Names, subject, key, provisioner, force: drift as soon as the task says otherwise, and once."""
    tls = host.path("/etc/tls")
    long = enrolment(authority, "long")
    other = {name: long[name] for name in ("provisioner", "provisioner_password")}
    made = [pair(name) for name in ("names", "order", "subject", "subject-dropped", "key", "forced", "same")]
    made[3]["common_name"] = "Dropped later"
    changed = [
        pair("names", sans=["names.example.com", "more.example.com"]),
        pair("order", sans=["dns:ORDER.example.com.", "order.example.com"]),
        pair("subject", common_name="Somebody"),
        pair("subject-dropped"),
        pair("key", key_type="ec-p521"),
        pair("forced", force=True),
        pair("same", renew_before="1h"),
    ]
    tasks = [
        {"name": "make", CERTIFICATE: {"certificates": made}},
        {"name": "change", CERTIFICATE: {"certificates": changed}},
        {"name": "again", CERTIFICATE: {"certificates": changed}},
        {"name": "provisioner", CERTIFICATE: {**pair("same"), **other}},
        {"name": "provisioner again", CERTIFICATE: {**pair("same"), **other}},
        {
            "name": "only its password",
            CERTIFICATE: pair("same", provisioner_password="not looked at"),
            "check_mode": True,
        },
    ]
    run = play(tasks, module_defaults={GROUP: enrolment(authority)}).expect_ok()
    due = ("names", "subject", "key", "forced")
    assert outcomes(run["change"]) == {one: "issued" if one in due else "none" for one in outcomes(run["change"])}
    assert outcomes(run["again"]) == {one: "issued" if one == "forced" else "none" for one in outcomes(run["again"])}
    assert "the commonName is 'subject.example.com', expected 'Somebody'" in reasons(run["change"], "subject")
    assert "ec-p256, expected ec-p521" in reasons(run["change"], "key")
    assert reasons(run["again"], "forced") == "force is true"
    assert run["provisioner"]["reasons"] == ["the provisioner 'ansible' issued it, expected 'long'"]
    assert run["provisioner again"]["outcome"] == "none" and run["only its password"]["outcome"] == "issued"
    assert judge(authority, tls / "key.crt", tls / "key.key", "ec-p521")
    assert see(tls / "subject.crt").common_name == "Somebody"
    assert see(tls / "subject-dropped.crt").common_name == "Dropped later"
    assert see(tls / "same.crt").provisioner_is("long")


def test_owner_and_mode_are_put_right_without_the_authority(play, host, authority):
    """Outcome files: pair and record stay byte for byte, nothing is asked of the CA."""
    tls = host.path("/etc/tls")
    certificate, key = tls / "site.crt", tls / "site.key"
    user, group = somebody()
    plain = [{"name": "plain", CERTIFICATE: pair("site")}]
    owned = {
        "owner": user,
        "group": group,
        "mode": "0640",
        "key_owner": user,
        "key_group": group,
        "key_mode": "u=r,g=r",
    }
    defaults = {GROUP: enrolment(authority)}
    play(plain, module_defaults=defaults).expect_ok()
    content = {path: path.read_bytes() for path in tls.iterdir()}
    own = owner(key)
    certificate.chmod(0o777)
    key.chmod(0o644)
    before = tree(tls)
    with traffic(authority) as asked:
        dry = play(plain, module_defaults=defaults, check=True, diff=True).expect_ok()["plain"]
        assert tree(tls) == before
        tasks = [*plain, {"name": "owned", CERTIFICATE: pair("site", **owned)}]
        tasks += [{"name": "again", CERTIFICATE: pair("site", **owned)}]
        run = play(tasks, module_defaults=defaults, diff=True).expect_ok()
    assert dry["outcome"] == run["plain"]["outcome"] == run["owned"]["outcome"] == "files"
    assert (dry.changed, run["plain"].changed, run["owned"].changed, run["again"].changed) == (True, True, True, False)
    assert "mode of %s is 0777, expected 0644" % certificate in " ".join(run["plain"]["reasons"])
    assert "mode of %s is 0644, expected 0600" % key in " ".join(run["plain"]["reasons"])
    assert (run["owned"]["ca_url"], asked) == (None, [])
    assert run["owned"]["diff"]["before"] != run["owned"]["diff"]["after"]
    assert (mode(certificate), mode(key)) == ("0640", "0440")
    assert owner(certificate) == owner(key) == (user, group)
    assert {path: path.read_bytes() for path in tls.iterdir()} == content

    # Owners that are not asked for stay as they are, also when the files are replaced.
    run = play([{"name": "force", CERTIFICATE: pair("site", force=True)}], module_defaults=defaults).expect_ok()
    assert run["force"]["outcome"] == "issued"
    assert owner(certificate) == owner(key) == (user, group) and (os.getuid() != 0 or own != (user, group))
    assert (mode(certificate), mode(key)) == ("0644", "0600")


def test_due_and_expired(play, host, authority):
    """Time alone: due at the threshold, expired later, and never where renew_before is 0."""
    tls = host.path("/etc/tls")
    defaults = {GROUP: enrolment(authority, "short")}
    made = [
        pair("expired", not_after="3s", renew_before="1s"),
        pair("never", not_after="3s", renew_before="0%"),
        pair("due", not_after="10m", renew_before="597s"),
        pair("fresh", not_after="10m", renew_before="5m"),
        pair("share", not_after="1h", renew_before="98.2%"),  # of 61 minutes, of which the CA backdates one
    ]
    later = [
        {"name": "later", CERTIFICATE: {"certificates": [pair("expired", renew_before="1s"), *made[1:]]}},
        {"name": "again", CERTIFICATE: {"certificates": [made[1], made[3]]}},
    ]
    first = play([{"name": "make", CERTIFICATE: {"certificates": made}}], module_defaults=defaults).expect_ok()["make"]
    facts = {one["certificate_path"].rsplit("/", 1)[1]: one["certificate"] for one in first["results"]}
    serials = {name: see(tls / (name + ".crt")).serial for name in outcomes(first)}
    moments = [facts["expired.crt"]["not_after"], facts["due.crt"]["renew_at"], facts["share.crt"]["renew_at"]]
    last = max(datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S%z") for moment in moments)
    whole = timedelta(seconds=1)  # facts are told in whole seconds
    wait_until(lambda: datetime.now(timezone.utc) > last + whole, 60, "the moments at which the certificates are due")

    run = play(later, module_defaults=defaults).expect_ok()
    expected = {"expired": "renewed", "never": "none", "due": "renewed", "fresh": "none", "share": "renewed"}
    assert outcomes(run["later"]) == expected
    assert "it expired on %s" % facts["expired.crt"]["not_after"] in reasons(run["later"], "expired")
    for name in ("due", "share"):
        renew_at, not_after = (facts[name + ".crt"][field] for field in ("renew_at", "not_after"))
        assert reasons(run["later"], name) == "it is due since %s, and ends on %s" % (renew_at, not_after)
    assert "never.crt expired on" in " ".join(run["later"]["warnings"])
    assert outcomes(run["again"]) == {"never": "none", "fresh": "none"}
    for name, outcome in expected.items():
        assert (see(tls / (name + ".crt")).serial == serials[name]) == (outcome == "none"), name


def test_a_template_that_rewrites_names(play, host, authority, new_authority):
    """Names added are reported and fit as long as the record is there; a name left out is refused."""
    tls = host.path("/etc/tls")
    adding = new_authority(Provisioner("ansible", template=ADDING_TEMPLATE, rounds=100_000))
    defaults = {GROUP: enrolment(adding)}
    tasks = [
        {"name": "make", CERTIFICATE: pair("site", not_after="2h")},
        {"name": "again", CERTIFICATE: pair("site", not_after="2h")},
    ]
    rewritten = {
        "name": "rewritten",
        CERTIFICATE: pair("lost", **enrolment(authority, "template")),
        "ignore_errors": True,
    }
    run = play([*tasks, rewritten], module_defaults=defaults).expect_ok()
    assert run["make"]["outcome"] == "issued" and run["again"]["outcome"] == "none"
    assert "added dns:added.example.com to the names" in " ".join(run["make"]["warnings"])
    assert run["make"]["certificate"]["sans"] == ["dns:site.example.com", "dns:added.example.com"]
    seen = judge(adding, tls / "site.crt", tls / "site.key")
    assert seen.names == ["DNS:added.example.com", "DNS:site.example.com"]
    run.expect_failure("left out dns:lost.example.com", "has dns:rewritten.example.com", "template", name="rewritten")
    assert sorted(path.name for path in tls.iterdir()) == [".site.crt.stepca.json", "site.crt", "site.key"]

    # Without the record the names differ: one certificate more, and the record is there again.
    (tls / ".site.crt.stepca.json").unlink()
    asked_now = {"name": "both", CERTIFICATE: pair("site", sans=["site.example.com", "added.example.com"])}
    run = play([*tasks, asked_now], module_defaults=defaults).expect_ok()
    assert run["make"]["outcome"] == "issued" and run["again"]["outcome"] == "none"
    assert "expected dns:site.example.com" in " ".join(run["make"]["reasons"])
    assert run["both"]["outcome"] == "none", "it has the names that are asked for now"


def test_the_intermediate_is_rotated(play, host, new_authority):
    """No drift: the old chain still leads to the root. The next issue brings the new intermediate."""
    tls = host.path("/etc/tls")
    authority = new_authority()
    defaults = {GROUP: enrolment(authority)}
    task = [{"name": "site", CERTIFICATE: pair("site")}]
    play(task, module_defaults=defaults).expect_ok()
    before = tree(tls)
    authority.rotate_intermediate()
    with traffic(authority) as asked:
        again = play(task, module_defaults=defaults).expect_ok()["site"]
    assert (again["outcome"], asked, tree(tls)) == ("none", [], before)
    forced = [{"name": "force", CERTIFICATE: pair("site", force=True)}, *task]
    run = play(forced, module_defaults=defaults).expect_ok()
    assert run["force"]["certificate"]["issuer"] == "CN=privatepki.stepca test intermediate 2"
    assert judge(authority, tls / "site.crt", tls / "site.key") and run["site"]["outcome"] == "none"


def test_an_interrupted_replacement_is_finished(play, host, authority):
    """Between the two renames the new key waits beside its place: the next run puts it there, without the CA."""
    tls = host.path("/etc/tls")
    certificate, key = tls / "site.crt", tls / "site.key"
    task = [{"name": "site", CERTIFICATE: pair("site")}]
    play(task, module_defaults={GROUP: enrolment(authority)}).expect_ok()
    serial = see(certificate).serial
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER", "-out", tls / "public"], check=True)
    waiting = tls / (".site.key.stepca-%s" % hashlib.sha256((tls / "public").read_bytes()).hexdigest()[:32])
    (tls / "public").unlink()
    key.rename(waiting)
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    old = tls / ".site.key.stepca-0123456789abcdef"
    old.write_text("left by a run long ago", encoding="ascii")
    os.utime(old, (time.time() - 7200,) * 2)

    before = tree(tls)
    with traffic(authority) as asked:
        dry = play(task, module_defaults={GROUP: enrolment(authority)}, check=True).expect_ok()["site"]
        assert tree(tls) == before
        run = play(task, module_defaults={GROUP: enrolment(authority)}).expect_ok()
    assert (dry["outcome"], dry.changed, run["site"]["outcome"], asked) == ("files", True, "files", [])
    assert judge(authority, certificate, key).serial == serial and mode(key) == "0600"
    again = play(
        [*task, {"name": "force", CERTIFICATE: pair("site", force=True)}],
        module_defaults={GROUP: enrolment(authority)},
    )
    assert (again.expect_ok()["site"]["outcome"], again["force"]["outcome"], leftovers(host)) == ("none", "issued", [])
