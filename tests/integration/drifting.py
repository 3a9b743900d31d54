# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Tables of drift: each case is a certificate that is made and then harmed, grown old, or asked for in another way.

All cases of a table are one list, and each goes the same way: check mode tells what would be done and touches nothing,
the next run does just that, and the one after it finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.integration.judging import Seen, Traffic, judge, leftovers, openssl, see, traffic, tree
from tests.integration.pairs import CERTIFICATE, outcomes, pair
from tests.integration.support import Playbooks, TaskResult
from tools.authority import Authority
from tools.commands import wait_until
from tools.hosts import Host

#: What a case may need of the CA, by its outcome: the paths of the POSTs.
POSTS = {
    "issued": ["/1.0/sign"],
    "renewed": ["/1.0/renew"],
    "rekeyed": ["/1.0/rekey"],
    "files": [],
    "none": [],
}


@dataclass
class Case:
    """One certificate: as it is made, as it is asked for afterwards, and what must come of it.

    words: parts of the reasons, in which {tls} is the folder; maker: options of the task that makes it, where they are
    not those of the table; asked: what differs from made, None drops an option;
    harm: is called with the folder and the name; rung: what check mode says, where it is not the outcome; posts: paths,
    where the outcome alone does not tell; fresh_key: whether the key becomes another one, None where the outcome tells.
    """

    name: str
    words: Sequence[str] = ()
    outcome: str = "issued"
    made: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(default_factory=dict)
    harm: Callable[[Path, str], None] | None = None
    maker: Mapping[str, Any] | None = None
    rung: str | None = None
    posts: Sequence[str] | None = None
    fresh_key: bool | None = None

    def options(self, later: bool) -> dict[str, Any]:
        """The entry of the list, at first or later."""
        changed = self.asked() if callable(self.asked) else self.asked
        options = {"sans": [self.name + ".example.com"], **self.made, **(changed if later else {})}
        return {name: value for name, value in pair(self.name, **options).items() if value is not None}


@dataclass
class Told:
    """What a table came to: the results of its three tasks, and openssl's view of each certificate before and after."""

    dry: TaskResult
    done: TaskResult
    again: TaskResult
    before: dict[str, Seen]
    after: dict[str, Seen]
    asked: Traffic

    def reasons(self, name: str) -> list[str]:
        """Why, for one of the certificates."""
        return result_of(self.done, name)["reasons"]


def result_of(result: TaskResult, name: str) -> dict[str, Any]:
    """The result of one certificate of a list."""
    [found] = [one for one in result["results"] if one["certificate_path"].endswith("/%s.crt" % name)]
    return found


def prove(
    play: Playbooks,
    host: Host,
    authority: Authority,
    cases: Sequence[Case],
    made: Mapping[str, Any],
    asked: Mapping[str, Any] | None = None,
    again: Mapping[str, Any] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Told:
    """Take all cases through check mode, the real run and the one after it.

    made, asked, again: options of the task beside the list, at first, later and at last; meanwhile: what happens before
    it is asked later.
    """
    tls = host.path("/etc/tls")
    asked = made if asked is None else asked
    _make(play, cases, made)
    before = {case.name: see(tls / (case.name + ".crt")) for case in cases}
    keys = {case.name: _public_key(tls, case.name) for case in cases}
    if meanwhile:
        meanwhile()
    for case in cases:
        if case.harm:
            case.harm(tls, case.name)

    entries = [case.options(later=True) for case in cases]
    then = {CERTIFICATE: {**asked, "certificates": entries}}
    was = tree(tls)
    with traffic(authority) as looked:
        dry = play([{"name": "look", **then}], check=True, diff=True).expect_ok()["look"]
    assert (looked.posts, tree(tls)) == ([], was), "check mode touches nothing"
    last = {CERTIFICATE: {**(asked if again is None else again), "certificates": entries}}
    with traffic(authority) as sent:
        run = play([{"name": "do", **then}, {"name": "again", **last}]).expect_ok()
    told = Told(
        dry, run["do"], run["again"], before, {case.name: see(tls / (case.name + ".crt")) for case in cases}, sent
    )
    _compare(told, cases, tls)
    begin = max(seen.not_before for seen in told.after.values())
    wait_until(lambda: datetime.now(timezone.utc) >= begin, 60, "the begin that was asked for")
    for case in cases:
        key_type = case.options(later=True).get("key_type", "ec-p256")
        judge(authority, tls / (case.name + ".crt"), tls / (case.name + ".key"), key_type)
        fresh = case.outcome in ("issued", "rekeyed") if case.fresh_key is None else case.fresh_key
        assert (_public_key(tls, case.name) != keys[case.name]) == fresh, case.name
        assert (told.after[case.name].serial != before[case.name].serial) == (case.outcome not in ("files", "none"))
    if all(case.outcome == "none" for case in cases):
        assert tree(tls) == was
    assert leftovers(host) == []
    return told


def _make(play: Playbooks, cases: Sequence[Case], made: Mapping[str, Any]) -> None:
    """One run, with a task for each maker."""
    tasks = []
    for maker in [None, *(case.maker for case in cases if case.maker)]:
        entries = [case.options(later=False) for case in cases if case.maker == maker]
        if entries:
            tasks.append({"name": "make", CERTIFICATE: {**(maker or made), "certificates": entries}})
    play(tasks).expect_ok()


def _public_key(tls: Path, name: str) -> str:
    return openssl("x509", "-in", tls / (name + ".crt"), "-noout", "-pubkey")


def _compare(told: Told, cases: Sequence[Case], tls: Path) -> None:
    """All that is wrong at once, or each case would cost a run of its own to mend."""
    wrong = []
    rungs = {case.name: case.rung or case.outcome for case in cases}
    results = {case.name: case.outcome for case in cases}
    for what, result, expected in (("check mode", told.dry, rungs), ("the run", told.done, results)):
        found = outcomes(result)
        wrong += ["%s: %s says %s" % (name, what, found[name]) for name in expected if found[name] != expected[name]]
    wrong += ["%s: again %s" % pair for pair in outcomes(told.again).items() if pair[1] != "none"]
    for case in cases:
        dry, done = (result_of(result, case.name)["reasons"] for result in (told.dry, told.done))
        text = " / ".join(done)
        wrong += ["%s: lacks %r" % (case.name, word) for word in case.words if word.format(tls=tls) not in text]
        if dry != done[: len(dry)] or bool(done) != (case.outcome != "none"):
            wrong.append("%s: check mode said %s, the run %s" % (case.name, dry, done))
        elif wrong and wrong[-1].startswith(case.name):
            wrong.append("%s: said %s" % (case.name, done))
    posts = [path for case in cases for path in (POSTS[case.outcome] if case.posts is None else case.posts)]
    if sorted(path for _method, path in told.asked.posts) != sorted(posts):
        wrong.append("the CA was sent %s instead of %s" % (told.asked.posts, posts))
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
