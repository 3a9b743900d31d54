# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What a task did not make is never destroyed, and what cannot be replaced is named before a token is spent."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.judging import judge, traffic
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, everything, pair
from tests.integration.support import enrolment

pytestmark = pytest.mark.one_core

BOOTSTRAP = "privatepki.stepca.stepca_bootstrap"
RENEWER = "privatepki.stepca.stepca_renewer"
NAMES = ["site.crt", "site.key", "site.chain", "site.leaf", "site.root", "site.pem", "site.p12"]


def openssh_key(path: Path) -> None:
    """A key of another form, in the place of a file."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f", path], check=True)
    path.with_name(path.name + ".pub").unlink()


def fill(tls: Path, round_: int) -> dict[str, bytes]:
    """Something in the place of each file that is not of our making; what it is, by name."""
    texts = {
        "site.crt": b"Notes of round %d.\n" % round_,
        "site.chain": os.urandom(300),
        "site.leaf": b"-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n# %d\n" % round_,
        "site.root": b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n%d" % round_,
        "site.pem": b"password = hunter%d\n" % round_,
        "site.p12": os.urandom(500),
    }
    for name, content in texts.items():
        (tls / name).write_bytes(content)
    openssh_key(tls / "site.key")
    return {name: (tls / name).read_bytes() for name in NAMES}


def test_what_is_not_ours_is_kept_whatever_it_is(play, host, authority):
    """At a first issue and later, for each file, under names that no later backup takes; and said in a warning."""
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority)}}
    site = {**pair("site"), **everything("site")}
    kept = {}
    for round_ in (1, 2):
        content = fill(tls, round_)
        run = play([{"name": "issue", CERTIFICATE: site}, {"name": "again", CERTIFICATE: site}], **settings).expect_ok()
        assert (run["issue"]["outcome"], run["again"]["outcome"], run["again"]["backup_files"]) == (
            "issued",
            "none",
            [],
        )
        ending = ".stepca.backup" if round_ == 1 else ".stepca.backup-2"
        found = {"." + name + ending: one for name, one in content.items()}
        kept.update(found)
        assert sorted(run["issue"]["backup_files"]) == sorted(str(tls / name) for name in found)
        shown = re.sub(r"\s+", " ", run.output)
        assert all("It is kept as %s" % (tls / name) in shown for name in found)
        judge(authority, tls / "site.crt", tls / "site.key")
    # Backups of our own take other names than these.
    forced = {"name": "force", CERTIFICATE: {**site, "force": True, "backup": True}}
    for _time in range(2):
        done = play([forced], **settings).expect_ok()["force"]
        assert {Path(path).name for path in done["backup_files"]} == {".%s.stepca.backup-3" % name for name in NAMES}
    assert {name: (tls / name).read_bytes() for name in kept} == kept


def test_what_is_ours_and_broken_is_repaired_without_a_backup(play, host, authority):
    """Empty or cut short, as a crash leaves it."""
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority)}}
    site = {**pair("site"), **everything("site")}
    del site["pkcs12_path"], site["pkcs12_password"], site["pkcs12_encryption"]
    names = [name for name in NAMES if name != "site.p12"]
    play([{"name": "issue", CERTIFICATE: site}], **settings).expect_ok()
    for cut in (0, 20, 90, -3):
        for name in names:
            content = (tls / name).read_bytes()
            (tls / name).write_bytes(content[:cut])
        done = play([{"name": "repair", CERTIFICATE: site}], **settings).expect_ok()["repair"]
        assert (done["outcome"], done["backup_files"]) == ("issued", []), cut
        judge(authority, tls / "site.crt", tls / "site.key")
    assert list(tls.glob(".*backup*")) == []


def test_roots_and_what_the_step_client_reads_are_kept(play, host, authority):
    """A file that holds no roots, a defaults.json that is no JSON; also where the task takes its own away."""
    etc = host.path("/etc")
    root, defaults, copied = etc / "roots.pem", etc / "step/config/defaults.json", etc / "step/certs/root_ca.crt"
    contents = {root: b"allow = all\n", defaults: b"{ca-url: not JSON}\n", copied: b"\x30\x03\x02\x01\x01"}
    task = {"root_path": "{{ host_root }}/etc/roots.pem", "step_path": "{{ host_root }}/etc/step"}
    trust = {name: enrolment(authority)[name] for name in ("ca_url", "ca_fingerprint")}
    backups = {path: path.with_name(".%s.stepca.backup" % path.name) for path in contents}
    for state in ("present", "absent"):
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        run = play([{"name": "trust", BOOTSTRAP: {**trust, **task, "state": state}}]).expect_ok()
        named = set(run["trust"]["backup_files"])
        expected = {str(backups[path]) for path in contents if state == "present" or path != defaults}
        assert named == expected and "is kept as" in re.sub(r"\s+", " ", run.output)
        assert all(backups[path].read_bytes() == content for path, content in contents.items())
    assert not root.exists() and not copied.exists()


def test_metrics_path_of_somebody_else(play, host, authority):
    """Refused, neither shown nor touched; with state absent it stays."""
    entry = {**pair("site"), "certificate_path": TLS + "site.crt"}
    secret = host.path("/etc/secret.pem")
    openssh_key(secret)
    content = secret.read_bytes()
    places = {name: "{{ host_root }}/opt/%s" % name for name in ("renewer.pyz", "renew.d")}
    options = {"path": places["renewer.pyz"], "config_path": places["renew.d"], "unrenewable": "warn"}
    options["metrics_path"] = "{{ host_root }}/etc/secret.pem"
    trust = {name: enrolment(authority)[name] for name in ("ca_url", "ca_fingerprint")}
    task = {"name": "set up", RENEWER: {**trust, **options, "entries": [entry]}}
    run = play([task], diff=True, verbosity=3)
    run.expect_failure("metrics_path:", str(secret), "holds something else than metrics")
    removal = {"name": "take away", RENEWER: {**options, "state": "absent"}}
    gone = play([removal], diff=True, verbosity=3).expect_ok()
    assert secret.read_bytes() == content and "and stays" in re.sub(r"\s+", " ", gone.output)
    lines = [line for line in content.decode().splitlines() if not line.startswith("-----")]
    assert not [line for line in lines if line in run.output + gone.output]


@contextmanager
def bound(path: Path):
    """A file that is a mount of its own."""
    other = path.with_name(path.name + ".outside")
    other.write_bytes(path.read_bytes())
    subprocess.run(["mount", "--bind", other, path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@contextmanager
def flagged(path: Path, flag: str):
    """A file or folder with a flag of chattr."""
    subprocess.run(["chattr", "+" + flag, path], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-" + flag, path], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount and set flags")
@pytest.mark.parametrize("obstacle", ["mounted", "immutable key", "append-only folder", "folder in the place"])
def test_obstacles_are_named_before_a_token_is_spent(play, host, authority, obstacle):
    tls = host.path("/etc/tls")
    settings = {"module_defaults": {GROUP: enrolment(authority)}}
    site = {**pair("site"), **everything("site")}
    play([{"name": "issue", CERTIFICATE: site}], **settings).expect_ok()
    before = {name: (tls / name).read_bytes() for name in NAMES}
    force = [{"name": "force", CERTIFICATE: {**site, "force": True}}]
    words, ways = {
        "mounted": ((str(tls / "site.crt"), "is mounted by itself", "Mount its folder"), bound(tls / "site.crt")),
        "immutable key": ((str(tls / "site.key"), "is immutable", "chattr -i"), flagged(tls / "site.key", "i")),
        "append-only folder": ((str(tls), "is append-only", "chattr -a"), flagged(tls, "a")),
        "folder in the place": (("chain_path: %s is a folder" % (tls / "site.chain"),), folder(tls / "site.chain")),
    }[obstacle]
    with ways, traffic(authority) as asked:
        play(force, **settings).expect_failure(*words)
    assert asked == []
    assert {name: (tls / name).read_bytes() for name in NAMES} == before
    assert play(force, **settings).expect_ok()["force"]["outcome"] == "issued"


@contextmanager
def folder(path: Path):
    """A folder in the place of a file."""
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    path.mkdir()
    try:
        yield
    finally:
        path.rmdir()
        aside.rename(path)
