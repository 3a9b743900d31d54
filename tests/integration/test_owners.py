# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Root writes where others own the folder, as packages of services have it; who may read a file stays as it was meant.

The attacks on that are in `extensions/molecule/redteam`.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import struct
import subprocess

import pytest

from tests.integration.judging import judge, mode, owner, see, somebody, tree
from tests.integration.pairs import CERTIFICATE, GROUP
from tests.integration.renewing import Renewer, tasks, wait_until_aged
from tests.integration.support import enrolment

pytestmark = [
    pytest.mark.one_core,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away"),
]

FOREIGN = "{{ host_root }}/etc/service/tls/"


@pytest.fixture(name="service")
def fixture_service(host):
    """A folder of a service account's, below one that is its own, too; the account and its group."""
    folder = host.path("/etc/service/tls")
    folder.mkdir(parents=True)
    user, group = somebody()
    for one in (folder.parent, folder):
        shutil.chown(one, user, group)
    return folder, user, group


def foreign(**options):
    """The pair in that folder."""
    names = {"certificate_path": FOREIGN + "site.crt", "key_path": FOREIGN + "site.key"}
    return {**names, "sans": ["site.example.com"], **options}


def let_read(path, user):
    """What setfacl -m u:USER:r makes of a file of mode 0600 (acl(5); the form is Linux's)."""
    entries = [(1, 6, -1), (2, 4, pwd.getpwnam(user).pw_uid), (4, 0, -1), (16, 4, -1), (32, 0, -1)]
    packed = b"".join(struct.pack("<HHI", tag, may, number & 0xFFFFFFFF) for tag, may, number in entries)
    os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)


def names(folder):
    """What is in it."""
    return sorted(path.name for path in folder.iterdir())


def test_a_key_of_the_service_in_its_own_folder(play, host, authority, service):
    """Made, steady, mended by copies, renewed by the renewer under a lock of theirs; the record is root's."""
    folder, user, group = service
    entry = foreign(key_owner=user, key_group=group, key_mode="u=rw,g=r", combined_path=FOREIGN + "site.pem")
    steps = tasks(authority, [entry])
    first = play(steps).expect_ok()
    assert first["enrol"]["results"][0]["outcome"] == "issued"
    assert names(folder) == ["site.crt", "site.key", "site.pem"]
    again = play(steps).expect_ok()
    assert not again.changed
    for name, theirs in (("site.crt", ("root", "root")), ("site.key", (user, group)), ("site.pem", (user, group))):
        assert owner(folder / name) == theirs
    assert [mode(folder / name) for name in ("site.crt", "site.key", "site.pem")] == ["0644", "0640", "0640"]
    assert again["renewer"]["folders"] == [str(folder.parent)]  # the deepest that only root can rename

    # What they changed is mended by fresh files, and theirs is never touched.
    (folder / "site.key").chmod(0o666)
    before = (folder / "site.key").stat()
    with open(folder / "site.key", "rb") as theirs:
        mended = play(steps[:1]).expect_ok()["enrol"]["results"][0]
        assert mended["outcome"] == "files" and "the mode of" in mended["reasons"][0]
        left = os.fstat(theirs.fileno())
        assert (left.st_ino, left.st_mode, left.st_nlink) == (before.st_ino, before.st_mode, 0)
    assert mode(folder / "site.key") == "0640"

    renewer, old = Renewer(host), judge(authority, folder / "site.crt", folder / "site.key")
    wait_until_aged(folder / "site.crt", 1.1)
    held = [os.open(one, os.O_RDONLY) for one in (folder, folder.parent)]
    for descriptor in held:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert "renewed" in renewer("renew", "--force")
    for descriptor in held:
        os.close(descriptor)
    assert judge(authority, folder / "site.crt", folder / "site.key").serial != old.serial
    assert (owner(folder / "site.key"), mode(folder / "site.pem")) == ((user, group), "0640")
    assert names(folder) == ["site.crt", "site.key", "site.pem"] and renewer.status()["site.crt"]["state"] == "ok"


def test_whose_key_it_shall_be_only_the_play_can_say(play, host, authority, service):
    """A key of theirs stays, and the entry fails; a key of root's that they put there is not given to them."""
    folder, user, _group = service
    for name in ("site.key", "root.key"):
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", folder / name], check=True)
    shutil.chown(folder / "site.key", user)
    before = tree(folder)
    settings = {"module_defaults": {GROUP: enrolment(authority)}}
    failed = play([{"name": "issue", CERTIFICATE: foreign()}], **settings)
    failed.expect_failure(str(folder / "site.key"), "belongs to %s" % user, "Set key_owner: %s" % user)
    assert tree(folder) == before

    (folder / "root.key").replace(folder / "site.key")
    secret = (folder / "site.key").read_bytes()
    options = foreign(key_owner=user, key_type="ed25519", key_policy="keep")
    done = play([{"name": "issue", CERTIFICATE: options}], **settings).expect_ok()["issue"]
    assert "no record of root's says that it is this certificate's" in " ".join(done["reasons"])
    assert (folder / "site.key").read_bytes() != secret and owner(folder / "site.key")[0] == user
    kept = [path for path in folder.iterdir() if path.read_bytes() == secret]
    assert [(owner(path)[0], mode(path)) for path in kept] == [("root", "0600")]


@pytest.mark.parametrize("option", ["certificate_path", "key_path", "chain_path", "combined_path"])
def test_a_link_of_theirs_is_not_followed(play, host, authority, service, option):
    folder, user, _group = service
    victim = host.path("/etc/victim")
    victim.write_text("of root\n", encoding="ascii")
    site = foreign(chain_path=FOREIGN + "site.chain", combined_path=FOREIGN + "site.pem")
    path = folder / site[option].rsplit("/", 1)[1]
    path.symlink_to(victim)
    os.lchown(path, *os.stat(folder)[4:6])
    task = {"name": "issue", CERTIFICATE: site}
    failed = play([task], module_defaults={GROUP: enrolment(authority)})
    failed.expect_failure("%s: %s is a symbolic link of %s" % (option, path, user))
    assert (victim.read_text(encoding="ascii"), owner(victim)[0], mode(victim)) == ("of root\n", "root", "0644")


def test_links_of_root_and_an_acl_that_stays(play, host, authority):
    """The layout of certbot, renewed by the renewer; who could read a key by its ACL can read its successor."""
    live, archive = host.path("/etc/live/site"), host.path("/etc/archive/site")
    for folder in (live, archive):
        folder.mkdir(parents=True)
    for name in ("cert.pem", "key.pem"):
        (live / name).symlink_to("../../archive/site/%s" % name)
    etc = "{{ host_root }}/etc/live/site/"
    entry = {"certificate_path": etc + "cert.pem", "key_path": etc + "key.pem", "sans": ["site.example.com"]}
    user = somebody()[0]
    steps = tasks(authority, [entry])
    run = play(steps).expect_ok()
    assert run["renewer"]["folders"] == [str(host.path("/etc"))]  # of what the play named, what holds both
    readable = ["setpriv", "--reuid", user, "--clear-groups", "test", "-r", archive / "key.pem"]
    for one in archive.parents:  # the folders of a test are root's alone
        if one.stat().st_mode & 0o005 != 0o005:
            one.chmod(one.stat().st_mode | 0o011)
    let_read(archive / "key.pem", user)
    assert not play(steps).expect_ok().changed
    assert subprocess.run(readable, check=False).returncode == 0
    renewer = Renewer(host)
    for how in ("renewer", "play", "named"):
        serial = see(live / "cert.pem").serial
        wait_until_aged(archive / "cert.pem", 1.1)
        if how == "renewer":
            renewer("renew", "--force")
        else:
            entry.update({"force": True}, **({"key_mode": "0600"} if how == "named" else {}))
            play(tasks(authority, [entry])[:1]).expect_ok()
        assert see(live / "cert.pem").serial != serial and (live / "cert.pem").is_symlink()
        assert (subprocess.run(readable, check=False).returncode == 0) == (how != "named"), how
