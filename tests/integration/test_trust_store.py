# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""stepca_bootstrap and a trust store that the play describes: the real ones are tried on whole hosts (scenario trust)."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.judging import traffic, tree
from tests.integration.support import connection
from tools.pki import make_intermediate, make_root

pytestmark = pytest.mark.oldest_core

BOOTSTRAP = "privatepki.stepca.stepca_bootstrap"
GROUP = "group/privatepki.stepca.stepca"
#: Takes the anchors over into a bundle, which is what openssl is asked by.
PROGRAM = "cd {{ host_root }}/etc/anchors && cat stepca-*.crt > ../bundle.pem 2>/dev/null || rm -f ../bundle.pem"
STORE = {
    "system_trust": True,
    "system_trust_folder": "{{ host_root }}/etc/anchors",
    "system_trust_command": ["/bin/sh", "-c", PROGRAM],
}


def trust(name, path, *roots, **options):
    """A task that trusts these roots in a file and in the store."""
    place = {
        "root_path": "{{ host_root }}/" + path,
        "make_folder": True,
        "ca_root": "".join(root.pem for root in roots),
    }
    return {"name": name, BOOTSTRAP: {**STORE, **place, **options}}


def files(host):
    """Everything on the host but the times at which it was written."""
    return {path: facts[:3] + facts[4:] for path, facts in tree(host.root).items()}


@pytest.fixture
def trusted(host, tmp_path):
    """Whether the store trusts what this root signed, as openssl has it."""
    host.path("/etc/anchors").mkdir()
    host.path("/srv").mkdir()

    def judge(root):
        leaf = tmp_path / "signed.pem"
        leaf.write_text(make_intermediate(root).pem, encoding="ascii")
        bundle = host.path("/etc/bundle.pem")
        verify = ["openssl", "verify", "-no-CApath", "-CAfile", bundle, leaf]
        return bundle.exists() and subprocess.run(verify, capture_output=True, check=False).returncode == 0

    return judge


def test_two_authorities_a_rotation_and_nothing_left(play, host, trusted):
    """Each task minds its own roots: what leaves is what it does not name any more; in the end all is as it was."""
    old, new, other = (make_root(name) for name in ("Old", "New", "Other"))
    before = files(host)

    def run(*tasks, changed=True):
        done = play(list(tasks), diff=True).expect_ok()
        assert [done[task["name"]].changed for task in tasks] == [changed] * len(tasks)
        again = play(list(tasks), diff=True).expect_ok()
        assert again.changed == [] and [trusted(root) for root in (old, new, other)] == expected
        return done

    pretended = {**trust("pretended", "srv/one/roots.pem", old), "check_mode": True}
    assert play([pretended]).expect_ok()["pretended"].changed and files(host) == before
    expected = [True, False, True]
    done = run(trust("one", "srv/one/roots.pem", old), trust("other", "srv/two/of/roots.pem", other))
    (described,) = done["one"]["roots"]
    assert "%s is missing" % described["system_trust_path"] in done["one"]["reasons"]
    assert str(host.path("/srv/one/roots.pem")) in str(done["one"]["diff"]["after"])
    expected = [True, True, True]
    run(trust("both", "srv/one/roots.pem", old, new))
    expected = [False, True, True]
    run(trust("new", "srv/one/roots.pem", new))
    expected = [False, False, True]
    run(trust("gone", "srv/one/roots.pem", new, state="absent"))
    assert not host.path("/srv/one").exists() and host.path("/srv/two/of/roots.pem").exists()
    expected = [False, False, False]
    run(trust("gone", "srv/two/of/roots.pem", other, state="absent"))
    assert files(host) == before


def test_a_root_that_expired(play, host, authority):
    """Refused where there is no other, told where there is; both without a word to the CA, and it can be taken away."""
    expired, good = make_root("Expired", days=-1), make_root("Good")
    file = {"system_trust": False, "system_trust_folder": "", "system_trust_command": []}
    tasks = [
        {**trust("refused", "etc/roots.pem", expired, **file), "ignore_errors": True},
        trust("told", "etc/roots.pem", expired, good, **file),
        trust("told again", "etc/roots.pem", expired, good, **file),
        {**trust("refused later", "etc/roots.pem", expired, **file), "ignore_errors": True},
        trust("gone", "etc/roots.pem", expired, **file, state="absent"),
    ]
    with traffic(authority) as asked:
        run = play(tasks, module_defaults={GROUP: {"ca_url": authority.url}}).expect_ok()
    for name in ("refused", "refused later"):
        run.expect_failure("CN=Expired", expired.fingerprint, "expired at", "ca_fingerprint", name=name)
    for name in ("told", "told again"):
        (warning,) = run[name]["warnings"]
        assert "CN=Expired" in warning and "expired at" in warning and good.fingerprint not in warning
    assert [run[name].changed for name in ("told", "told again", "gone")] == [True, False, True]
    assert asked == [] and not host.path("/etc/roots.pem").exists()


def test_what_is_not_self_issued_becomes_no_anchor(play, host, trusted):
    """An intermediate among the roots is named and left out; one that an older version put into file and store leaves."""
    root, other = make_root("Root"), make_root("Other")
    middle = make_intermediate(other, "Between")
    host.path("/etc/roots.pem").write_text(root.pem + middle.pem, encoding="ascii")
    anchor = host.path("/etc/anchors/stepca-%s.crt" % middle.fingerprint[:16])
    anchor.write_text('# privatepki.stepca: "%s"\n%s' % (host.path("/etc/roots.pem"), middle.pem), encoding="ascii")
    tasks = [
        trust("both", "etc/roots.pem", middle, root),
        trust("again", "etc/roots.pem", middle, root),
        {**trust("alone", "etc/other.pem", middle), "ignore_errors": True},
    ]
    run = play(tasks).expect_ok()
    for name in ("both", "again"):
        (warning,) = run[name]["warnings"]
        assert "ca_root (from the task): CN=Between (SHA-256 %s) is no root: CN=Other" % middle.fingerprint in warning
    assert [run[name].changed for name in ("both", "again")] == [True, False]
    run.expect_failure("CN=Between", "is no root", "give the root instead", name="alone")
    assert host.path("/etc/roots.pem").read_text(encoding="ascii") == root.pem
    assert trusted(root) and not anchor.exists() and len(list(host.path("/etc/anchors").iterdir())) == 1


def test_a_store_that_cannot_be(play, host, authority):
    """Said before anything is written."""
    before = files(host)
    wrong = {
        "half": ({"system_trust_folder": ""}, ["system_trust_folder and system_trust_command need each other"]),
        "no folder": ({}, ["there is no folder", "anchors"]),
        "no program": (
            {"system_trust_folder": "{{ host_root }}/etc", "system_trust_command": "nowhere"},
            ["system_trust_command: there is no program nowhere"],
        ),
        "fails": (
            {
                "system_trust_folder": "{{ host_root }}/etc/tls",
                "system_trust_command": ["/bin/sh", "-c", "echo no >&2; false"],
            },
            ["anchors in", "failed: no", "Mend that"],
        ),
    }
    root = make_root("Root")
    tasks = [
        {**trust(name, "etc/roots.pem", root, **options), "ignore_errors": True}
        for name, (options, _words) in wrong.items()
    ]
    run = play(tasks, module_defaults={GROUP: connection(authority, ca_fingerprint="")}).expect_ok()
    for name, (_options, words) in wrong.items():
        run.expect_failure(*words, name=name)
    (anchor,) = host.path("/etc/tls").iterdir()
    anchor.unlink()
    assert files(host) == before
