# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Decisions about any certificate for any task: what fits gives no reason, and nothing else than what is told counts."""

from __future__ import annotations

import copy

from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import plan, record
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CertificateError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.certificate.test_plan import (
    assert_reasons,
    found,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import HOUR, NOW, lab, steady


@steady
@given(making.issues())
def test_what_was_just_issued_and_accepted_gives_no_reason(issue):
    wanted, chain = issue
    roots, key = [lab().root, making.brief().root], making.key(wanted.key_type)
    try:
        certificates.check_issued(chain, wanted, making.key_sha256(key), roots, NOW)
    except CertificateError:
        assume(False)
    assume(not wanted.max_lifetime or not certificates.lives_longer(chain, wanted.max_lifetime, NOW))
    text = record.make(wanted, "ansible", chain, roots, "2026-07-01T12:00:00Z")
    lies = found(chain, key=key, record=record.parse(text), roots=roots)
    assert_reasons(plan.decide(wanted, lies, NOW, "ansible"), [])


@steady
@given(
    making.issues(), making.tasks(), st.integers(-48, 2000), st.booleans(), st.sampled_from([None, "ansible", "ops"])
)
def test_a_decision_depends_on_nothing_but_what_is_told(issue, wanted, hours, by_host, provisioner):
    """No CA, no clock of its own: twice the same, with reasons where there is something to do and only there."""
    asked, chain = issue
    now = NOW + hours * HOUR
    text = record.make(asked, "ansible", chain, [lab().root], "2026-07-01T12:00:00Z")
    lies = found(chain, key=making.key(asked.key_type), record=record.parse(text))
    first = plan.decide(wanted, lies, now, provisioner, by_host)
    assert first == plan.decide(copy.deepcopy(wanted), lies, now, provisioner, by_host)
    assert bool(first.reasons) is (first.outcome != "none")
    assert first.outcome in ("none", "issued", "renewed", "rekeyed") and not first.needs_roots
    assert len(set(first.reasons)) == len(first.reasons)
