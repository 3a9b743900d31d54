# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Which folders the renewer's unit opens for writing: as the play named them, and none that others can rename."""

from __future__ import annotations

import os

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError, OptionError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import sandbox
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    acl_of,
    file_of,
    folder_of,
    give,
    give_acl,
    link_of,
    root_only,
)


def folder(path) -> str:
    return sandbox.folder_of(str(path), "key_path")


def refusal(path) -> str:
    with pytest.raises(HostFileError) as caught:
        folder(path)
    return str(caught.value)


# where only root can rename anything


def test_it_is_the_folder_of_the_file(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert folder(tmp_path / "a" / "b" / "site.key") == str(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "site.key").write_bytes(b"")
    assert folder(tmp_path / "a" / "b" / "site.key") == str(tmp_path / "a" / "b")
    assert folder("%s//a/./b/../b/site.key" % tmp_path) == str(tmp_path / "a" / "b")


def test_a_folder_that_root_will_make_is_named_as_it_will_be(tmp_path):
    assert folder(tmp_path / "no" / "such" / "site.key") == str(tmp_path / "no" / "such")


# the guides' own set-ups


@root_only
def test_postgresql_owns_the_folder_of_its_configuration(tmp_path):
    """As Debian packages it: /etc/postgresql belongs to postgres, and with it the name of /etc/postgresql/tls."""
    owned = folder_of(tmp_path / "postgresql", ALICE)
    for inner in (folder_of(owned / "tls", 0), folder_of(owned / "own", ALICE)):
        assert folder(inner / "site.key") == str(owned)
    assert folder(owned / "site.key") == str(owned), "its own name only root can change"
    assert folder(owned / "tls" / "deeper" / "site.key") == str(owned)
    assert folder(owned / "no" / "site.key") == str(owned)


@root_only
def test_prometheus_owns_the_folder_of_its_metrics(tmp_path):
    owned = folder_of(tmp_path / "prometheus", ALICE)
    textfile = folder_of(owned / "node-exporter", 0)
    assert sandbox.folder_of(str(textfile / "stepca.prom"), "metrics_path") == str(owned)


@root_only
def test_certbot_keeps_links_of_roots(tmp_path):
    """What is written lies in archive, whose name the play does not know: the folder above holds both."""
    for name in ("live", "archive"):
        (tmp_path / "letsencrypt" / name / "site").mkdir(parents=True)
    link = tmp_path / "letsencrypt" / "live" / "site" / "privkey.pem"
    link.symlink_to("../../archive/site/privkey1.pem")
    assert folder(link) == str(tmp_path / "letsencrypt")


# others on the way


@root_only
@table(
    "spoil",
    {
        "its owner": lambda path: give(path, MALLORY),
        "everybody": lambda path: path.chmod(0o777),
        "a group": lambda path: (os.chown(path, 0, MALLORY), path.chmod(0o775)),
        "an ACL": lambda path: give_acl(path, acl_of(0o755, ("user", MALLORY, 7))),
    },
)
def test_where_somebody_else_can_rename_folders_it_is_the_one_above(tmp_path, spoil):
    above = tmp_path / "above"
    (above / "middle" / "tls").mkdir(parents=True)
    spoil(above / "middle")
    assert folder(above / "middle" / "tls" / "site.key") == str(above / "middle")
    spoil(above)
    assert folder(above / "middle" / "tls" / "site.key") == str(above)


@root_only
def test_in_a_sticky_folder_only_what_is_roots_keeps_its_name(tmp_path):
    sticky = folder_of(tmp_path / "sticky", 0, 0o1777)
    folder_of(sticky / "ours", 0)
    folder_of(sticky / "theirs", MALLORY)
    assert folder(sticky / "ours" / "site.key") == str(sticky / "ours")
    assert folder(sticky / "theirs" / "site.key") == str(sticky)
    assert folder(sticky / "new" / "site.key") == str(sticky / "new")


# links


@root_only
def test_a_link_of_roots_is_named_as_the_play_named_it(tmp_path):
    """/var/run, /etc/ssl/private: what they lead to is the host's business."""
    (tmp_path / "real" / "tls").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    assert folder(tmp_path / "link" / "tls" / "site.key") == str(tmp_path / "link" / "tls")
    assert folder(tmp_path / "link" / "site.key") == str(tmp_path / "link")


@root_only
def test_a_link_to_a_folder_that_others_can_rename_is_not_named(tmp_path):
    owned = folder_of(tmp_path / "owned", MALLORY)
    folder_of(owned / "tls", MALLORY)
    (tmp_path / "above").mkdir()
    (tmp_path / "above" / "link").symlink_to(owned / "tls")
    assert folder(tmp_path / "above" / "link" / "site.key") == str(tmp_path)


@root_only
def test_a_file_that_is_a_link_is_written_where_it_leads(tmp_path):
    (tmp_path / "a" / "tls").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "tls" / "site.key").symlink_to("../../b/site.key")
    assert folder(tmp_path / "a" / "tls" / "site.key") == str(tmp_path)


@root_only
@pytest.mark.parametrize("way", ["link/site.key", "link"])
def test_a_link_of_somebody_else_is_refused(tmp_path, way):
    link_of(tmp_path / "link", "/etc")
    assert "link is a symbolic link of the user %d, so it is not followed" % MALLORY in refusal(tmp_path / way)


@root_only
def test_no_name_of_the_hosts_file_system_is_told(tmp_path):
    """By a folder's name, its owner would write lines of a unit that root runs."""
    owned = folder_of(tmp_path / "owned", MALLORY)
    odd = folder_of(owned / 'x"\nExecStartPre=+sh', MALLORY)
    (tmp_path / "above").mkdir()
    (tmp_path / "above" / "link").symlink_to(odd)
    (owned / "inner").mkdir()
    for path in (tmp_path / "above" / "link" / "site.key", owned / "inner" / "site.key"):
        assert folder(path) in (str(tmp_path), str(owned))
    with pytest.raises(OptionError):
        folder(odd / "site.key")


# too wide


@table(
    "path, whole, proposal",
    {
        "at the top": ("/site.key", "/", "/site/site.key"),
        "in /etc": ("/etc/site.key", "/etc", "/etc/site/site.key"),
        "in /usr": ("/usr/site.key", "/usr", "/usr/site/site.key"),
        "by another way": ("/usr/../etc/./site.key", "/etc", "/etc/site/site.key"),
        "without an ending": ("/etc/key", "/etc", "/etc/key/key"),
        "with nothing but an ending": ("/etc/.key", "/etc", "/etc/.key/.key"),
    },
)
def test_a_folder_that_holds_everything_is_refused_with_another_path(path, whole, proposal):
    assert refusal(path) == (
        "key_path: to renew %s, the renewer would have to be let write to all of %s. Put the file into a folder of its own, "
        "such as %s." % (path, whole, proposal)
    )


@root_only
def test_a_link_that_leads_to_all_of_etc_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/etc")
    assert "let write to all of " in refusal(tmp_path / "link" / "site.key")


@root_only
def test_a_file_that_is_a_link_to_another_tree_is_refused_and_what_it_leads_to_proposed(tmp_path):
    (tmp_path / "site.key").symlink_to("/var/lib/site.key")
    said = refusal(tmp_path / "site.key")
    assert "let write to all of /." in said and "such as /var/lib/site.key." in said


def test_a_part_of_the_path_that_is_a_file_is_explained(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert "Cannot reach" in refusal(tmp_path / "file" / "site.key")


# characters


@table(
    "odd",
    {
        "a line": "\n",
        "another line": "\r",
        "nothing": "\0",
        "a tabulator": "\t",
        "an escape": "\x1b",
        "delete": "\x7f",
        "a line of old": "\x85",
        "a line separator": "\u2028",
        "a paragraph separator": "\u2029",
        "a quote": '"',
        "another quote": "'",
        "a backslash": "\\",
    },
)
@pytest.mark.parametrize(
    "where", ["/etc/tls%s/site.key", "/etc/tls/site%s.key", "%s/etc/tls/site.key", "/etc/tls/site.key%s"]
)
def test_what_would_end_a_line_or_a_word_is_refused_by_the_options_name(odd, where):
    path = where % odd
    for act in (sandbox.refuse_odd, sandbox.folder_of):
        with pytest.raises(OptionError) as caught:
            act(path, "metrics_path")
        assert str(caught.value).startswith("metrics_path: %r has the character %r. " % (path, odd))
        assert "give another path" in str(caught.value)


@pytest.mark.parametrize("name", ["a b", "100%", "$HOME", "%h", "ä", "a;b", "a#b", "(x)", "~", "*", "a&b", "-", "{x}"])
def test_other_characters_may_be_in_a_path(tmp_path, name):
    """The templates escape what means something to systemd and cron."""
    (tmp_path / name).mkdir()
    sandbox.refuse_odd(str(tmp_path / name / "site.key"), "key_path")
    assert folder(tmp_path / name / "site.key") == str(tmp_path / name)


@root_only
def test_a_file_of_theirs_says_nothing(tmp_path):
    """Only folders count."""
    file_of(tmp_path / "site.key")
    assert folder(tmp_path / "site.key") == str(tmp_path)
