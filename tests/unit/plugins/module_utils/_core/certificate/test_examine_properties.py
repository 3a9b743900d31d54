# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Any state of a host and any task: acting leads to "none", "none" never acts, check mode changes no byte.

The authority is a stand-in that signs what it is asked for, and renews what it is shown with the same names and span.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from datetime import timedelta
from unittest import mock

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import client, one_time
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import examine, issue, ladder, request
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    CertificateError,
    OptionError,
    StepCAError,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.wire import Errand
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates, proof
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, FOREIGN, ask, context
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.stand_in import URL, StandIn

NAMES = [["a.example"], ["b.example", "10.0.0.1"], ["10.0.0.1", "B.example"]]
DERIVED = ("chain_path", "leaf_path", "root_path", "combined_path", "pkcs12_path")
FILES = ("site.crt", "site.key", ".site.crt.stepca.json") + DERIVED
RUBBISH = [None, b"", b"rubbish", pki.key_pem(pki.new_key()), pki.pem_of(CA.intermediate).encode(), "cut"]
EXTRA = "extra.example"


#: What mostly happens.
often = st.sampled_from([True] * 5 + [False])


class Host:
    """A folder, and an authority to go with it. by_host: whether the host itself asks the authority."""

    def __init__(self, folder, by_host=False):
        self.folder = pathlib.Path(folder)
        self.stand_in = StandIn(CA)
        self.by_host = by_host
        self.provisioner = None
        self.revoked = None
        self.roots = [CA.root]

    def asked(self, options):
        """The task."""
        return ask(self.folder, **options)

    def told(self, dry=False, **more):
        """What the controller says."""
        return context(
            dry=dry,
            now=self.stand_in.clock,
            roots=self.roots,
            provisioner=self.provisioner,
            by_host=self.by_host,
            audiences=(URL + "/1.0/renew",),
            attempts=2,
            revoked=lambda serial: "the CA revoked it" if serial == self.revoked else "",
            **more,
        )

    def examine(self, options, dry=False, **more):
        """The first call."""
        return examine.examine(self.asked(options), self.told(dry, **more))

    def act(self, options):
        """A whole run, as the action plugin goes about it."""
        self.stand_in.extensions = [making.step_extension(self.provisioner or "ansible")]
        answer = self.examine(options)
        if self.by_host and answer.outcome in ("issued", "renewed", "rekeyed"):
            return self._descend(options, answer)
        if answer.proofs:
            try:
                return self._renewed(options, answer)
            except CertificateError as error:
                answer = self.examine(options, refused=str(error))
        if answer.csr:
            try:
                self._signed(options, answer)
            except StepCAError:
                issue.discard(self.asked(options), answer.csr)
                raise
        return answer

    def _renewed(self, options, answer):
        former = proof.chain_of(answer.proofs[0])
        chain = self.stand_in.prolong(former[0])
        public = making.sha256_of_key(former[0].public_key())
        task = self.asked(options)
        certificates.check_renewed(
            one_time.load(chain), former, task, public, [CA.root], self.stand_in.clock, self.stand_in.clock
        )
        issue.accept(task, self.told(), chain, answer.digest, durations.format_time(self.stand_in.clock), True)
        return answer

    def _signed(self, options, answer):
        authority = client.StepCA(self.stand_in.connection(), self.stand_in.transport)
        chain, date = one_time.sign(authority, self.asked(options), answer.csr, lambda _spent: os.urandom(8).hex())
        issue.accept(self.asked(options), self.told(), chain, answer.digest, durations.format_time(date))

    def _descend(self, options, answer):
        errand = Errand("obtain", outcome=answer.outcome, csr=answer.csr, digest=answer.digest)
        tokens = {"sign": [os.urandom(8).hex() for _one in range(4)]}
        connection = self.stand_in.connection()
        with mock.patch.object(ladder.https, "Transport", self.stand_in.transport):
            return ladder.Ladder(self.asked(options), self.told(), connection, errand, tokens).run()


@st.composite
def tasks(draw, folder):
    """Options of a task for this folder; few of them, so that two tasks are often nearly the same."""
    values = dict(
        making.options(pki.NOW),
        common_name=[None, "a.example"],
        pkcs12_friendly_name=[None, "Web"],
        pkcs12_encryption=["modern", "compatible"],
    )
    values = {name: some for name, some in values.items() if name not in DERIVED}
    named = draw(st.lists(st.sampled_from(sorted(values)), max_size=4, unique=True))
    options = {name: draw(st.sampled_from(values[name])) for name in named}
    options.update({name: str(folder / name) for name in draw(st.lists(st.sampled_from(DERIVED), max_size=2))})
    options["key_policy"] = draw(st.sampled_from(["on_issue", "on_issue", "always", "keep"]))
    options["sans"] = draw(st.sampled_from(NAMES))
    if options.get("pkcs12_path"):
        options["pkcs12_password"] = draw(st.sampled_from(["one", "two"]))
    return options


def possible(folder, options, now) -> bool:
    """Whether a task can be asked for at all at this time."""
    try:
        request.refuse_past(ask(folder, **options), now)
    except OptionError:
        return False
    return True


def template(names):
    """A template that adds a name."""
    return pki.general_names([str(name.value) for name in names] + [EXTRA])


@st.composite
def situations(draw, folder):
    """(host, what lies there came about by earlier runs and accidents; the task that comes now)."""
    host = Host(folder, by_host=draw(st.booleans()))
    host.stand_in.backdate = timedelta(minutes=draw(st.sampled_from([0, 1, 10])))
    host.stand_in.life = timedelta(hours=draw(st.sampled_from([2, 24, 720])))
    host.stand_in.template = None if draw(often) else template
    host.provisioner = draw(st.sampled_from([None, "ansible"]))
    earlier = draw(tasks(folder)) if draw(often) else None
    if earlier is not None:
        assume(possible(folder, earlier, host.stand_in.clock))
        host.stand_in.authority = CA if draw(often) else FOREIGN
        with contextlib.suppress(StepCAError):
            host.act(earlier)
        host.stand_in.authority = CA
        if (folder / "site.crt").exists() and not draw(often):
            host.revoked = certificates.load((folder / "site.crt").read_bytes())[0].serial_number
    spoilt = draw(st.sampled_from([[], [], DERIVED, FILES]))
    for name in draw(st.lists(st.sampled_from(spoilt), min_size=1, max_size=3, unique=True)) if spoilt else []:
        spoil(folder / name, draw(st.sampled_from(RUBBISH)))
    host.stand_in.clock += timedelta(hours=draw(st.sampled_from([0, 1, 20, 30, 700])))
    host.provisioner = host.provisioner if draw(often) else draw(st.sampled_from([None, "ops"]))
    host.roots = draw(st.sampled_from([[CA.root], None]))
    task = dict(earlier or draw(tasks(folder)))
    if not draw(often):
        task.update(draw(tasks(folder)))
    assume(possible(folder, task, host.stand_in.clock))
    return host, task


def spoil(path, content):
    """Remove a file, cut it in half, or write something else over it."""
    if content is None:
        path.unlink(missing_ok=True)
    elif content == "cut":
        if path.exists():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(content)


def learn_roots(host, task):
    """The second look of those who cannot decide without the roots."""
    if host.examine(task, dry=True).needs_roots:
        host.roots = [CA.root]


many = settings(making.steady, max_examples=120, suppress_health_check=list(HealthCheck))


@many
@given(st.data())
def test_acting_leads_to_none_and_none_never_acts(data):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name).resolve()
        host, task = data.draw(situations(folder))
        before = pki.snapshot(folder)
        try:
            learn_roots(host, task)
            promised = host.examine(task, dry=True)
            assert host.examine(task, dry=True) == promised
        except StepCAError as error:  # a key that may not be replaced, a password that cannot be
            event(type(error).__name__)
            assert pki.snapshot(folder) == before
            return
        assert pki.snapshot(folder) == before
        assert bool(promised.reasons) is (promised.outcome != "none")
        event(promised.outcome)
        former = pair_bytes(folder)
        host.roots = host.roots or [CA.root]
        try:
            host.act(task)
        except (CertificateError, OptionError) as error:  # a life that is due at once, or that the authority cuts
            event("refused: %s" % str(error)[:40])
            assert promised.outcome not in ("none", "files")
            assert pair_bytes(folder) == former
            return
        if promised.outcome == "none":
            assert pki.snapshot(folder) == before
        after = pki.snapshot(folder)
        again = host.examine(task)
        assert (again.outcome, again.reasons) == ("none", [])
        assert (again.csr, again.proofs, again.digest) == (None, [], None)
        assert pki.snapshot(folder) == after
        assert host.examine(task, dry=True).outcome == "none"


def pair_bytes(folder):
    """Certificate and key as they lie there."""
    return [path.read_bytes() if path.exists() else None for path in (folder / "site.crt", folder / "site.key")]
