# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The password of a PKCS#12 file goes to the host, and shows nowhere: not at -vvvv, in no result, record, diff or error."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.integration.derived import blocks, encryption_of, judge_pkcs12
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, pair
from tests.integration.support import enrolment
from tools.canary import find_in_bytes, find_in_files, find_in_text

pytestmark = pytest.mark.oldest_core


def test_the_password_shows_nowhere(play, host, core, authority):
    """Flat and in `certificates`, pretended, done, done again and failing, with --diff, and all that the play knows."""
    tls = host.path("/etc/tls")
    forms = {"the password": secrets.token_urlsafe(18), "the other": secrets.token_urlsafe(18)}

    def bundle(name, word="{{ word }}", **options):
        made = {"pkcs12_path": TLS + name + ".p12", "pkcs12_password": word, "pkcs12_encryption": encryption_of(core)}
        return pair(name, **made, **options)

    many = {"certificates": [bundle("a"), bundle("b", "{{ other }}"), bundle("c", sans=["a..b"])]}
    tasks = [
        {"name": "pretended", CERTIFICATE: bundle("flat"), "check_mode": True},
        {"name": "flat", CERTIFICATE: bundle("flat")},
        {"name": "again", CERTIFICATE: bundle("flat")},
        {"name": "changed", CERTIFICATE: bundle("flat", "{{ other }}")},
        {"name": "by the host", CERTIFICATE: bundle("own", request_from="host")},
        {"name": "many", CERTIFICATE: many},
        {"name": "refused by the options", CERTIFICATE: bundle("flat", key_policy="sometimes")},
        {"name": "refused by the host", CERTIFICATE: bundle("flat", force=True, owner="nobody-of-this-name")},
        {"name": "refused by the authority", CERTIFICATE: bundle("flat", force=True, not_after="99999h")},
        {"name": "without its path", CERTIFICATE: {**bundle("flat"), "pkcs12_path": None}},
        {"name": "twice", CERTIFICATE: bundle("flat", pkcs12_password_file="/password")},
        {"name": "removed", CERTIFICATE: bundle("flat", state="absent")},
    ]
    tasks = [{**task, "ignore_errors": True, "register": "task%d" % index} for index, task in enumerate(tasks)]
    known = (
        "{{ hostvars[inventory_hostname] | dict2items | selectattr('key', 'match', 'task') | items2dict | to_json }}"
    )
    dump = {"name": "everything", "ansible.builtin.copy": {"dest": "{{ host_root }}/known", "content": known}}
    secret = {"word": forms["the password"], "other": forms["the other"]}
    run = play(
        [*tasks, dump], module_defaults={GROUP: enrolment(authority)}, variables=secret, verbosity=4, diff=True
    ).expect_ok()

    failed = {"many", "refused by the options", "refused by the host", "refused by the authority", "twice"}
    assert {task.task for task in run.failed} == failed, run
    assert find_in_text(forms, run.output) == []
    assert find_in_bytes(forms, (run.folder / "results.jsonl").read_bytes()) == []
    assert find_in_files(forms, [host.root]) == []
    assert len(json.loads(host.path("/known").read_text(encoding="utf-8"))) == len(tasks)
    shown = run["flat"]["invocation"]["module_args"]
    assert shown["pkcs12_password"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    in_many = run["many"]["invocation"]["module_args"]["certificates"]
    assert [one["pkcs12_password"] for one in in_many] == ["VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"] * 3
    for name, word in (("a", "the password"), ("b", "the other"), ("own", "the password")):
        (key,) = blocks(tls / (name + ".key"))
        judge_pkcs12(tls / (name + ".p12"), forms[word], key, blocks(tls / (name + ".crt")), java=False)
