# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What the controller asks of the CA for a host: proofs relayed, answers checked."""

from __future__ import annotations

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import client
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import ApiError, CertificateError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _ca as ca
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, FOREIGN, ask
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import step_extension
from ansible_collections.privatepki.stepca.tests.unit.plugins.plugin_utils.hosting import RENEW, Host
from ansible_collections.privatepki.stepca.tests.unit.plugins.stand_in import SECRETIVE, StandIn


class Action:
    """What a CA needs of an action plugin: settings, an authority, a place for warnings."""

    def __init__(self, stand_in, **connection):
        self.settings = self
        self.stand_in = stand_in
        self.warnings = []
        self._connection = connection

    def connection(self):
        return self.stand_in.connection(**self._connection)

    def find(self, name):
        return None

    def nearest(self, *names):
        return []

    def authority(self, connection):
        return client.StepCA(connection, self.stand_in.transport, sleep=lambda _seconds: None)

    def warn(self, sentences):
        self.warnings += sentences


@pytest.fixture(name="stand_in")
def fixture_stand_in():
    return StandIn(CA)


def test_a_proof_is_relayed_as_it_is(stand_in, tmp_path):
    host = Host()
    one = host.proof()
    chain_pem, at = ca.CA(Action(stand_in)).renew([one, host.proof()], ask(tmp_path))
    renewed = certificates.load(chain_pem.encode("ascii"))
    assert renewed[0].public_key() == host.leaf.public_key() and at == pki.NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert [asked.token for asked in stand_in.asked] == [one]


def test_the_next_proof_is_for_the_next_attempt(stand_in, tmp_path):
    host = Host()
    proofs = [host.proof() for _one in range(3)]
    stand_in.say[RENEW] = [(503, b""), (502, b""), None]
    ca.CA(Action(stand_in, retries=2)).renew(proofs, ask(tmp_path))
    assert [asked.token for asked in stand_in.asked] == proofs


def test_a_refusal_is_a_reason_to_issue(stand_in, tmp_path):
    stand_in.say[RENEW] = [(401, {"message": SECRETIVE})]
    with pytest.raises(ApiError, match="the CA refused to renew it .401 Unauthorized"):
        ca.CA(Action(stand_in)).renew([Host().proof()], ask(tmp_path))


def test_an_answer_that_is_no_renewal_is_not_handed_on(stand_in, tmp_path):
    host = Host()
    other = FOREIGN.sign(pki.request_pem(host.key, ["a.example"]))
    stand_in.say[RENEW] = [(201, {"certChain": [other]})]
    with pytest.raises(CertificateError, match="does not lead to a trusted root"):
        ca.CA(Action(stand_in)).renew([host.proof()], ask(tmp_path))


def listing(*provisioners):
    """The answer to who the provisioners are."""
    return (200, {"provisioners": list(provisioners)})


PROVISIONERS = "/1.0/provisioners?limit=100&cursor="
TEMPLATED = {"name": "ansible", "options": {"x509": {"template": "{}"}}}


@pytest.mark.parametrize(
    "provisioners, relayed",
    [
        ([TEMPLATED], True),
        ([{"name": "ansible", "options": {"x509": {"templateFile": "leaf.tpl"}}}], True),
        ([{"name": "other"}, dict(TEMPLATED, name="another"), {"name": "ansible", "options": {"x509": {}}}], False),
        ([{"name": "ansible", "options": 7}], False),
        ([], False),
    ],
)
def test_names_differ_where_the_provisioner_has_a_template(stand_in, tmp_path, provisioners, relayed):
    stand_in.say[PROVISIONERS] = [listing(*provisioners)]
    host = Host(["a.example", "b.example"], extensions=[step_extension()])
    action = Action(stand_in)
    if relayed:
        assert ca.CA(action).renew([host.proof()], ask(tmp_path))
        assert "The CA added dns:b.example to the names" in " ".join(action.warnings)
    else:
        with pytest.raises(CertificateError, match="only the play says which names are renewed"):
            ca.CA(action).renew([host.proof()], ask(tmp_path))
    assert [asked.by for asked in stand_in.asked] == [""] + ["proof"] * relayed


def test_a_renewal_that_ends_too_late_is_not_handed_on(stand_in, tmp_path):
    """The span of 24 hours is not the CA's backdate of one minute and the 20 hours that the task asks for."""
    with pytest.raises(CertificateError, match="would live for 23h59m from now, expected at most 20h"):
        ca.CA(Action(stand_in)).renew([Host().proof()], ask(tmp_path, not_after="20h"))
    stand_in.backdate = pki.DAY / 6
    assert ca.CA(Action(stand_in)).renew([Host().proof()], ask(tmp_path, not_after="20h"))


@pytest.mark.parametrize(
    "version, asked, old",
    [
        ("0.30.2", 1, False),
        ("v0.27.3-rc1", 1, False),
        ("0.27.2", 1, True),
        ("N/A", 2, False),
        ("0.\u00b2.1", 2, False),
        ("9" * 5000 + ".1.1", 2, False),
        (["0.1.1"], 2, False),
        (None, 2, False),
    ],
)
def test_the_age_of_a_ca(stand_in, version, asked, old):
    """Where the version says nothing, what it can do tells."""
    stand_in.say["/version"] = [(200, {"version": version})]
    authority = Action(stand_in).authority(stand_in.connection())
    assert bool(ca.age_problem(authority)) is old
    assert len(stand_in.asked) == asked
