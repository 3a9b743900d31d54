# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Links on the way to a file: followed where only root or the task's user can have made them, else refused by name."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import places
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import steady, table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    NOBODY,
    acl_of,
    as_user,
    folder_of,
    give_acl,
    link_of,
    name_of,
    root_only,
)


def resolved(path) -> str:
    return places.resolve(str(path), "key_path")


@table(
    "leads_to, way",
    {
        "a file": ("real/site.key", "link"),
        "a folder": ("real", "link/site.key"),
        "an absolute path": ("HERE/real/site.key", "link"),
        "an absolute folder": ("HERE/real", "link/site.key"),
        "above": ("../NAME/real", "link/site.key"),
        "a folder, with a slash": ("real/", "link/site.key"),
        "what is here": ("./real/./site.key", "link"),
    },
)
def test_a_link_of_ours_in_a_place_of_ours_is_followed(tmp_path, leads_to, way):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(leads_to.replace("HERE", str(tmp_path)).replace("NAME", tmp_path.name))
    assert resolved(tmp_path / way) == str(tmp_path / "real" / "site.key")
    (tmp_path / "real" / "site.key").write_bytes(b"")
    assert resolved(tmp_path / way) == os.path.realpath(str(tmp_path / way)) == str(tmp_path / "real" / "site.key")


def test_a_link_may_lead_to_what_is_not_there_yet(tmp_path):
    (tmp_path / "link").symlink_to("no/folder")
    with places.opened(str(tmp_path / "link" / "site.key")) as place:
        assert place.path == str(tmp_path / "no" / "folder" / "site.key")
        assert (place.missing, place.status) == (["no", "folder"], None)


def test_a_way_out_of_where_a_link_leads_is_the_real_one(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    assert resolved(tmp_path / "link" / ".." / "site.key") == str(tmp_path / "a" / "site.key")


@table("number, refused", {"as many as Linux allows": (40, False), "one more": (41, True)})
def test_links_that_lead_to_links(tmp_path, number, refused):
    (tmp_path / "0").write_bytes(b"")
    for one in range(number):
        (tmp_path / str(one + 1)).symlink_to(str(one))
    if refused:
        with pytest.raises(
            HostFileError, match="key_path: Cannot follow .*: Too many .*. Symbolic links go in a circle there."
        ):
            resolved(tmp_path / str(number))
    else:
        assert resolved(tmp_path / str(number)) == str(tmp_path / "0")


@pytest.mark.parametrize("way", ["one", "one/site.key", "self", "self/site.key"])
def test_links_in_a_circle(tmp_path, way):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "self").symlink_to("self")
    with pytest.raises(HostFileError, match="Symbolic links go in a circle there."):
        resolved(tmp_path / way)


PARTS = st.sampled_from(["a", "b", "c", "f", "x", "y", "..", "."])
WAYS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)


@steady
@given(
    links=st.dictionaries(st.sampled_from(["x", "y", "a/x", "a/y", "a/b/x", "c/y"]), WAYS),
    absolute=st.booleans(),
    way=WAYS,
)
def test_in_places_of_ours_each_way_leads_where_the_kernel_goes(links, absolute, way):
    with tempfile.TemporaryDirectory() as top:
        for folder in ("a", "a/b", "c"):
            os.mkdir(os.path.join(top, folder))
        for file in ("f", "a/f", "c/f"):
            with open(os.path.join(top, file), "wb"):
                pass
        for name, leads_to in links.items():
            os.symlink(os.path.join(top, leads_to) if absolute else leads_to, os.path.join(top, name))
        path = os.path.join(top, way)
        try:
            found = resolved(path)
        except HostFileError:
            assert not os.path.isfile(path)
        else:
            assert found == os.path.realpath(path) and not os.path.isdir(path)


# of others


@root_only
@table("way", {"the file": "link", "a folder": "link/site.key", "a folder further up": "link/a/b/site.key"})
@pytest.mark.parametrize("owner", [MALLORY, NOBODY])
def test_a_link_of_somebody_else_is_refused_by_name(tmp_path, way, owner):
    """Though it lies where only root can have put it by now: it was theirs before, or root copied it with its owner."""
    victim = tmp_path / "victim"
    victim.mkdir()
    link_of(tmp_path / "link", victim, owner)
    with pytest.raises(HostFileError) as caught:
        resolved(tmp_path / way)
    assert str(caught.value) == (
        "key_path: %s is a symbolic link of %s, so it is not followed. Name what it leads to, or have root replace it by a "
        "folder or file." % (tmp_path / "link", name_of(owner))
    )


@root_only
@table(
    "owner, mode, why",
    {
        "of theirs": (MALLORY, 0o755, "FOLDER belongs to the user %d" % MALLORY),
        "open to all": (0, 0o777, "everybody may write to FOLDER"),
        "sticky": (0, 0o1777, "everybody may write to FOLDER"),
        "of a group": (0, 0o775, "the group %d may write to FOLDER" % MALLORY),
    },
)
def test_a_link_of_roots_where_others_can_put_one_is_refused(tmp_path, owner, mode, why):
    """They can move one there that root made elsewhere, for another purpose."""
    folder = folder_of(tmp_path / "folder", MALLORY)
    os.chown(folder, owner, MALLORY)
    folder.chmod(mode)
    (tmp_path / "victim").mkdir()
    (folder / "link").symlink_to(tmp_path / "victim")
    for way in ("link", "link/site.key"):
        with pytest.raises(HostFileError) as caught:
            resolved(folder / way)
        assert "%s is a symbolic link of root in a folder that others can change (%s), so it is not followed." % (
            folder / "link",
            why.replace("FOLDER", str(folder)),
        ) in str(caught.value)


@root_only
def test_a_link_in_a_folder_that_others_can_rename_is_refused(tmp_path):
    inner = folder_of(tmp_path / "theirs") / "ours"
    inner.mkdir()
    (inner / "link").symlink_to(tmp_path)
    with pytest.raises(HostFileError, match="of root in a folder that others can change .*theirs belongs to the user"):
        resolved(inner / "link" / "site.key")


@root_only
def test_a_link_that_an_acl_lets_somebody_replace_is_refused(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    give_acl(folder, acl_of(0o755, ("user", MALLORY, 7)))
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(HostFileError, match="others can change .an ACL lets the user %d write to" % MALLORY):
        resolved(folder / "link" / "site.key")


@root_only
def test_a_chain_of_links_ends_where_it_leaves_what_is_ours(tmp_path):
    theirs = folder_of(tmp_path / "theirs")
    link_of(theirs / "second", tmp_path / "victim")
    (tmp_path / "first").symlink_to(theirs / "second")
    with pytest.raises(HostFileError, match="theirs/second is a symbolic link of the user %d in a folder" % MALLORY):
        resolved(tmp_path / "first" / "site.key")


@root_only
def test_where_a_link_of_ours_leads_to_a_place_of_theirs_that_is_foreign(tmp_path):
    theirs = folder_of(tmp_path / "theirs")
    (tmp_path / "link").symlink_to(theirs)
    assert resolved(tmp_path / "link" / "site.key") == str(theirs / "site.key")
    assert not places.is_ours(str(tmp_path / "link" / "site.key"))


@root_only
def test_root_keeps_links_as_certbot_does(tmp_path):
    """/etc/letsencrypt/live/site/privkey.pem leads to ../../archive/site/privkey1.pem."""
    live, archive = tmp_path / "live" / "site", tmp_path / "archive" / "site"
    for folder in (live, archive):
        folder.mkdir(parents=True)
        folder.parent.chmod(0o700)
    (archive / "privkey1.pem").write_bytes(b"")
    (live / "privkey.pem").symlink_to("../../archive/site/privkey1.pem")
    assert resolved(live / "privkey.pem") == str(archive / "privkey1.pem")
    assert places.is_ours(str(live / "privkey.pem"))


@root_only
def test_which_links_an_ordinary_user_follows(open_folder):
    """Its own and root's, not those of another user."""
    home = folder_of(open_folder / "alice", ALICE, 0o700)
    folder_of(home / "real", ALICE)
    link_of(home / "own", home / "real", ALICE)
    (home / "of-root").symlink_to(home / "real")
    link_of(home / "of-mallory", home / "real", MALLORY)
    for name in ("own", "of-root"):
        found = as_user(ALICE, places.resolve, str(home / name / "site.key"), "key_path")
        assert found == str(home / "real" / "site.key")
    with pytest.raises(HostFileError, match="of-mallory is a symbolic link of the user %d, so it is not" % MALLORY):
        as_user(ALICE, places.resolve, str(home / "of-mallory" / "site.key"), "key_path")
    with pytest.raises(HostFileError, match="own is a symbolic link of the user %d in a folder that others" % ALICE):
        resolved(home / "own" / "site.key")  # root


@root_only
def test_an_ordinary_user_follows_no_link_in_tmp(open_folder):
    sticky = folder_of(open_folder / "tmp", 0, 0o1777)
    link_of(sticky / "link", open_folder, ALICE)
    with pytest.raises(HostFileError, match="in a folder that others can change .everybody may write to"):
        as_user(ALICE, places.resolve, str(sticky / "link" / "site.key"), "key_path")


@root_only
def test_what_is_removed_lies_in_no_folder_that_somebody_elses_link_leads_to(tmp_path):
    theirs = folder_of(tmp_path / "theirs")
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "site.key").write_bytes(b"")
    link_of(theirs / "tls", victim)
    for act in (places.remove, places.is_there, places.exists, places.missing_folder):
        with pytest.raises(HostFileError, match="tls is a symbolic link of the user %d" % MALLORY):
            act(str(theirs / "tls" / "site.key"))
    assert os.listdir(victim) == ["site.key"]
