# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A key in a place of others: whose it shall be is said by the task, and never by whoever put one there."""

from __future__ import annotations

import os

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import examine, ownership
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import keys
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import ask, context, enrol
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    NOBODY,
    as_user,
    file_of,
    folder_of,
    name_of,
    root_only,
    seen,
)

pytestmark = root_only
NAMES = {"key_path": "site.key", "combined_path": "all", "pkcs12_path": "p12"}


@pytest.fixture(name="theirs")
def fixture_theirs(tmp_path):
    return folder_of(tmp_path / "theirs")


def refusal(folder, **more) -> str:
    """What is said, "" where nothing is."""
    paths = {option: str(folder / name) for option, name in NAMES.items()}
    try:
        ownership.refuse_unowned(ask(folder, **dict(paths, pkcs12_password="secret", **more)))
    except HostFileError as error:
        return str(error)
    return ""


@table("option", {option: option for option in NAMES})
@pytest.mark.parametrize("owner", [MALLORY, NOBODY])
def test_a_key_of_somebody_else_is_left_alone_while_nobody_says_whose_it_shall_be(theirs, option, owner):
    file_of(theirs / NAMES[option], uid=owner)
    assert refusal(theirs) == (
        "%s: %s belongs to %s, in a place that others can change (%s belongs to the user %d), so it is left alone: only you can "
        "say whose it shall be. Set key_owner: %s, or have root own it."
        % (option, theirs / NAMES[option], name_of(owner), theirs, MALLORY, name_of(owner))
    )
    for key_owner in (name_of(NOBODY), "root", "0", str(MALLORY)):
        assert refusal(theirs, key_owner=key_owner) == ""
    assert refusal(theirs, key_mode="0640", key_group="root") != ""


@table(
    "prepare",
    {
        "nothing is there": lambda folder: None,
        "root's key": lambda folder: file_of(folder / "site.key", uid=0),
        "their certificate": lambda folder: file_of(folder / "site.crt"),
        "their chain": lambda folder: file_of(folder / "chain"),
    },
)
def test_what_is_no_key_of_somebody_else_is_no_matter(theirs, prepare):
    prepare(theirs)
    assert refusal(theirs, chain_path=str(theirs / "chain")) == ""


def test_in_a_place_of_ours_only_root_can_have_given_it_away(tmp_path):
    file_of(tmp_path / "site.key")
    assert refusal(tmp_path) == ""


def test_a_key_that_a_user_brings_is_the_users(theirs):
    file_of(theirs / "site.key")
    asked = ask(theirs, csr_path=str(theirs / "site.csr"))
    ownership.refuse_unowned(asked)


def test_an_ordinary_user_has_its_own_in_a_folder_of_others(open_folder):
    sticky = folder_of(open_folder / "sticky", 0, 0o1777)
    file_of(sticky / "site.key", uid=ALICE)
    assert as_user(ALICE, refusal, sticky) == ""
    os.chown(sticky / "site.key", MALLORY, -1)
    assert "belongs to the user %d, in a place that others can change" % MALLORY in as_user(ALICE, refusal, sticky)


# the entry fails, and nothing is touched


@pytest.mark.parametrize("dry", [False, True])
def test_the_entry_fails_before_anything_is_asked_for(theirs, dry):
    file_of(theirs / "site.key", pki.key_pem(pki.new_key()), mode=0o600)
    before = seen(theirs / "site.key")
    with pytest.raises(HostFileError, match="key_path: .*Set key_owner: the user %d, or have root own it." % MALLORY):
        examine.examine(ask(theirs), context(dry=dry))
    assert seen(theirs / "site.key") == before and os.listdir(theirs) == ["site.key"]


def test_with_a_named_owner_it_is_replaced_and_kept(theirs):
    content = pki.key_pem(pki.new_key())
    file_of(theirs / "site.key", content, mode=0o600)
    before = seen(theirs / "site.key")
    done = enrol(theirs, key_owner=str(MALLORY))
    (backup,) = done.backup_files
    assert seen(backup) == before, "it is the very same file, untouched"
    assert seen(theirs / "site.key")[4] != content


# whose a key is that lies there


@table(
    "owner, key_owner, known, proven",
    {
        "root's, and no record": (0, None, False, False),
        "root's, and the record knows it": (0, None, True, True),
        "theirs, as the task says": (MALLORY, str(MALLORY), False, True),
        "theirs, as the task says, and another record": (MALLORY, str(MALLORY), None, True),
        "theirs, and the task says another": (MALLORY, str(ALICE), False, False),
        "root's, and the task says theirs": (0, str(MALLORY), False, False),
        "root's, and the task says root": (0, "root", False, False),
        "theirs, and the record knows it": (MALLORY, None, True, True),
        "an owner that nobody is": (MALLORY, "nobody-of-this-name", False, False),
    },
)
def test_whether_a_key_is_taken_for_the_one_of_the_certificate(theirs, owner, key_owner, known, proven):
    """They may have put there a key of root's that they cannot read, to have it given to them."""
    key = pki.new_key()
    file_of(theirs / "site.key", pki.key_pem(key), owner, 0o600)
    fingerprint = keys.fingerprint(key.public_key())
    kept = {"key_sha256": fingerprint if known else "another"} if known is not False else None
    said = ownership.unproven(ask(theirs, key_owner=key_owner), os.stat(theirs / "site.key"), fingerprint, kept)
    assert (said == "") is proven
    if said:
        assert (
            "the private key %s belongs to %s, in a place that others can change, and no record of root's"
            % (
                theirs / "site.key",
                name_of(owner),
            )
            in said
        )


def test_where_nobody_else_can_have_put_it_no_key_needs_a_proof(tmp_path, open_folder):
    file_of(tmp_path / "site.key", uid=MALLORY)
    status = os.stat(tmp_path / "site.key")
    assert ownership.unproven(ask(tmp_path), status, "x", None) == ""
    theirs = folder_of(open_folder / "theirs")
    file_of(theirs / "site.key")
    assert as_user(ALICE, ownership.unproven, ask(theirs), os.stat(theirs / "site.key"), "x", None) == ""
