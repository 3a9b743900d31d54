# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""No secret of the provisioner leaves the controller: not in a file, a program, a result, a fact or a line of output.

Every member of the action group runs with secrets in group module_defaults, with what Ansible sends to hosts kept
there, at the highest verbosity and with --diff. Then password, key and the tokens that the CA really received are
searched in all that is left. Tokens for a host that asks the CA itself are found in the program that it was sent for
the second call, and nowhere else.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration import lies
from tests.integration.remains import MODULE, payloads
from tests.integration.support import Playbooks, connection
from tests.integration.tokens import make_token
from tools import tree
from tools.cache import CHECKOUT
from tools.canary import find_in_bytes, find_in_files, find_in_text
from tools.ports import free_port

GROUP = "group/privatepki.stepca.stepca"
MEMBERS = yaml.safe_load((CHECKOUT / "meta" / "runtime.yml").read_text(encoding="utf-8"))["action_groups"]["stepca"]

SOME = (
    "asked from the host",
    "asked from here",
    "done",
    "no folder",
    "issued",
    "issued once more",
    "refused by the CA",
)

#: How the secrets are given, beside `provisioner_password`, and which tasks run then (None: all). With "host" it is
#: the host that asks the CA.
WAYS = {"mapping": None, "host": None, "token": SOME}
WAYS.update(dict.fromkeys(["text", "pem", "encrypted", "published", "lookup"], ("issued",)))


#: What an entry of the renewer may hold for the play alone.
BUNDLE, TEMPLATE = "password-of-a-bundle-7f3a", "template-data-7f3a"


def listed():
    """Certificates as the role has them, with what is for the play alone."""
    pair = {"certificate_path": "{{ host_root }}/etc/tls/site.crt", "key_path": "{{ host_root }}/etc/tls/site.key"}
    return {"certificates": [{**pair, "pkcs12_password": BUNDLE, "template_data": {"inner": TEMPLATE}}]}


def doctor_tasks():
    """All that is right, a list that is none, and a CA that is away."""
    dead = {"ca_url": "https://localhost:%d" % free_port(), "retries": 0}
    return [("examined", listed(), True), ("examined in vain", dead, True), ("no list", {"certificates": "x"}, False)]


def host_info_tasks():
    """Listed, and a list that is none."""
    return [("listed", listed(), True), ("none listed", {"certificates": "x"}, False)]


def health_tasks():
    """From both sides, well and not."""
    dead = {"ca_url": "https://localhost:%d" % free_port(), "retries": 0}
    return [
        ("asked from the host", {"request_from": "host"}, True),
        ("asked from here", {}, True),
        ("nobody there", dead, False),
        ("nobody there for the host", {**dead, "request_from": "host"}, False),
    ]


def bootstrap_tasks():
    """Done, done already, and not to be done on the host."""
    place = {"root_path": "{{ host_root }}/etc/tls/roots.pem"}
    return [
        ("done", place, True),
        ("done already", {**place, "request_from": "host"}, True),
        ("no folder", {"root_path": "{{ host_root }}/nowhere/roots.pem"}, False),
        ("another root", {**place, "ca_fingerprint": "ab" * 32}, False),
    ]


def certificate_tasks():
    """Each end that a certificate can come to: pretended, issued, kept, refused by the options, the host and the CA."""
    pair = {"certificate_path": "{{ host_root }}/etc/tls/site.crt", "key_path": "{{ host_root }}/etc/tls/site.key"}
    site = {**pair, "sans": ["site.example.com"], "template_data": {"inner": TEMPLATE, "number": 7, "none": {}}}
    return [
        ("issued", site, True),
        ("kept", site, True),
        ("made stricter", {**site, "mode": "0600"}, True),
        ("issued once more", {**site, "force": True}, None),  # the same token serves no second time
        ("refused by the CA", {**site, "force": True, "not_after": "99999h"}, False),
        ("refused by the options", {**pair, "sans": ["a..b"]}, False),
        ("refused by the host", {**site, "key_path": "{{ host_root }}/nowhere/site.key", "force": True}, False),
        ("unknown option", {**site, "provisioner_passwort": "x"}, False),
        (
            "a failure among many",
            {"certificates": [{**site, "sans": ["site.example.com"]}, {**pair, "sans": []}]},
            False,
        ),
    ]


def info_tasks():
    """Looked at, from here or by the host as the defaults say, and not to be looked at."""
    site = {"certificate_path": "{{ host_root }}/etc/tls/site.crt", "key_path": "{{ host_root }}/etc/tls/site.key"}
    return [
        ("looked at", {**site, "check_revocation": True}, True),
        ("not an absolute path", {"certificate_path": "site.crt"}, False),
    ]


def revoke_tasks():
    """By the file on the host, by its serial once more, and not at all."""
    return [
        ("by file", {"certificate_path": "{{ host_root }}/etc/tls/site.crt"}, True),
        ("by serial", {"serial": "{{ stepca_revoke_by_file.serial }}"}, True),
        ("no reason", {"serial": "1", "reason": 7}, False),
    ]


def sign_tasks():
    """Signed, refused by the CA, and no request."""
    request = {"csr": lies.request(ec.generate_private_key(ec.SECP256R1())), "sans": [lies.HOST]}
    request["template_data"] = {"inner": TEMPLATE}
    return [
        ("signed", request, True),
        ("not signed", {**request, "not_after": "99999h"}, False),
        ("no request", {**request, "csr": "trust me"}, False),
    ]


def renewer_tasks():
    """Set up, kept, with an entry whose secrets only a play can use, and refused because of them."""
    tls = "{{ host_root }}/etc/tls/"
    site = {"certificate_path": tls + "site.crt", "key_path": tls + "site.key", "sans": ["site.example.com"]}
    site["template_data"] = {"inner": TEMPLATE}
    places = {"path": "{{ host_root }}/usr/renewer.pyz", "config_path": "{{ host_root }}/etc/renew.d"}
    bundle = {**places, "entries": [{**site, "pkcs12_path": tls + "site.p12", "pkcs12_password": BUNDLE}]}
    return [
        ("set up", {**places, "entries": [site]}, True),
        ("set up already", {**places, "entries": [site]}, True),
        ("a bundle of the play", {**bundle, "unrenewable": "warn"}, True),
        ("a bundle refused", bundle, False),
    ]


TASKS = {
    "stepca_doctor": doctor_tasks,
    "stepca_health": health_tasks,
    "stepca_host_info": host_info_tasks,
    "stepca_bootstrap": bootstrap_tasks,
    "stepca_certificate": certificate_tasks,
    "stepca_certificate_info": info_tasks,
    "stepca_renewer": renewer_tasks,
    "stepca_revoke": revoke_tasks,
    "stepca_sign": sign_tasks,
}
#: How many tokens reach the CA when all tasks run: three of the certificate's, two to revoke, two to sign.
SENT_IN_ALL = 7


def test_every_member_of_the_group_is_searched():
    """A new module comes with its tasks here."""
    assert sorted(TASKS) == sorted(MEMBERS)


def secret_forms(provisioner, tokens):
    """What must show nowhere, in whichever form it could come by: the text, and the number behind the key's `d`."""
    number = base64.urlsafe_b64decode(provisioner.jwk["d"] + "=" * (-len(provisioner.jwk["d"]) % 4))
    # The last part of a token is enough to look for: without it, the rest is no secret.
    signatures = {"the token %d" % index: token.rsplit(".", 1)[1] for index, token in enumerate(tokens)}
    return {
        "the password": provisioner.password,
        "the bundle's password": BUNDLE,
        "the template's data": TEMPLATE,
        "the key": provisioner.jwk["d"],
        "the opened key": json.dumps(provisioner.jwk),
        "the key in hex": number.hex(),
        "the key in PEM": provisioner.pem.splitlines()[2],
        "the key in decimal": str(int.from_bytes(number, "big")),
        **{"the key in DER or PEM %d" % offset: text for offset, text in enumerate(encoded_number(number))},
        **signatures,
    }


def encoded_number(number):
    """How bytes show inside base64 at each of the three offsets."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + number).decode("ascii")
        yield encoded[-(-offset * 8 // 6) : (offset + len(number)) * 8 // 6]


def given(way, authority, provisioner):
    """The module_defaults of a way to give secrets."""
    keys = {"mapping": provisioner.jwk, "text": json.dumps(provisioner.jwk), "encrypted": provisioner.jwe}
    keys.update(token=provisioner.jwk, pem=provisioner.pem)
    options = connection(authority, provisioner=provisioner.name, provisioner_password=provisioner.password)
    if way == "host":
        options["request_from"] = "host"
    if way in keys:
        options["provisioner_key"] = keys[way]
    if way == "token":
        options["token"] = make_token(authority, provisioner)
    if way == "lookup":
        mint = "lookup('privatepki.stepca.stepca_token', 'site.example.com', **%s)" % json.dumps(options)
        options = connection(authority, token="{{ %s }}" % mint)
    return options


def chosen_tasks(way):
    """(member, name, options, whether it succeeds) of each task of a way."""
    for member in MEMBERS:
        for name, options, succeeds in TASKS[member]():
            if WAYS[way] is None or name in WAYS[way]:
                yield member, name, options, way != "token" if succeeds is None else succeeds


def playbook(way, defaults):
    """A certificate first pretended, then the tasks of this way, and at the end everything that the play knows."""
    tasks = [{"name": "facts", "ansible.builtin.setup": {"gather_subset": ["!all", "env"]}}]
    name, options, _succeeds = certificate_tasks()[0]
    pretended = {"privatepki.stepca.stepca_certificate": options, "check_mode": True, "register": "pretended"}
    tasks.append({"name": "pretended", **pretended})
    for member, name, options, _succeeds in chosen_tasks(way):
        one = {"privatepki.stepca." + member: options, "ignore_errors": True}
        register = "%s_%s" % (member, name.replace(" ", "_"))
        tasks.append({"name": "%s: %s" % (member, name), **one, "register": register})
    everything = "{{ hostvars[inventory_hostname] | to_nice_json }}"
    dump = {"dest": "{{ host_root }}/everything.json", "content": everything}
    tasks.append({"name": "everything", "ansible.builtin.copy": dump})
    return [{"hosts": "all", "gather_facts": False, "module_defaults": {GROUP: defaults}, "tasks": tasks}]


@pytest.fixture(name="short_path")
def fixture_short_path():
    """A folder for the controller's temporary files: a socket of Ansible's goes there, whose path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="privatepki.stepca-") as folder:
        yield Path(folder)


def run_and_collect(play, hosts, authority, content, folder):
    """Run it all; return the run and the tokens that the CA received of it."""
    before = len(authority.requests())
    kept = {"verbosity": 5, "diff": True, "keep_remote_files": True, "env": {"TMPDIR": str(folder)}}
    run = play(content, hosts=hosts, **kept).expect_ok()
    spent = [line for line in authority.requests()[before:] if line["path"] in ("/1.0/sign", "/1.0/revoke")]
    return run, [str(line["ott"]) for line in spent]


def leaks(forms, run, hosts, folder):
    """Where a secret shows."""
    hits = ["output: " + name for name in find_in_text(forms, run.output)]
    # Beside the inputs, which hold the secrets: what the run wrote on the controller.
    hits += find_in_files(forms, [folder, run.folder / "home", run.folder / "ansible"])
    hits += ["results: " + name for name in find_in_bytes(forms, (run.folder / "results.jsonl").read_bytes())]
    searched = set()
    for host in hosts:
        hits += find_in_files(forms, [host.root])
        for payload in payloads(host.root):
            for member, content in payload.members.items():
                if content not in searched:
                    hits += ["%s!%s: %s" % (payload.path, member, name) for name in find_in_bytes(forms, content)]
                searched.add(content)
    return hits


@pytest.mark.parametrize("way", WAYS)
def test_no_secret_leaves_the_controller(play, host, core, lab, new_hosts, authority, short_path, way):
    """The search itself."""
    over_ssh = way == "encrypted" and core.name == "newest" and lab.sshd()[0]
    hosts = new_hosts("db1", over_ssh=["db1"]) if over_ssh else [host]
    provisioner = authority.provisioner("ansible")
    defaults = given(way, authority, provisioner)
    run, tokens = run_and_collect(play, hosts, authority, playbook(way, defaults), short_path)
    check_that_it_ran(run, hosts, way)
    # Issued, issued once more, refused by the CA; a token that was given is the same each time.
    assert len(tokens) == {None: SENT_IN_ALL, ("issued",): 1, SOME: 3}[WAYS[way]]
    assert all(token.count(".") == 2 for token in tokens)
    assert set(tokens) == {defaults["token"]} if way == "token" else len(set(tokens)) == len(tokens)
    handed = handed_over(hosts) if way == "host" else {}
    forms = secret_forms(provisioner, sorted({*tokens, *handed}))
    expected = ["%s: %s" % (path, name) for name, path in named(forms, handed).items()]
    # What belongs to the request goes with the tokens to sign, as secret as they are.
    expected += ["%s: the template's data" % path for path in {*handed.values()} if signs(path, hosts)]
    assert sorted(leaks(forms, run, hosts, short_path)) == sorted(expected)
    if WAYS[way] is None:
        assert held_by_the_renewer({"template data": TEMPLATE}, hosts) == []
    if way == "host":
        by_controller = len(sign_tasks()) - 1 + len(revoke_tasks()) - 1
        assert len(set(tokens) & set(handed)) == len(tokens) - by_controller


def held_by_the_renewer(forms, hosts):
    """Where words show that a renewal has no use for: in its files, and in the program that wrote them."""
    hits = []
    for host in hosts:
        assert list(host.path("/etc/renew.d").glob("site.crt-*.json"))
        hits += find_in_files(forms, [host.path("/etc"), host.path("/usr")])
        for payload in payloads(host.root):
            if payload.module == "stepca_renewer":
                hits += [name for content in payload.members.values() for name in find_in_bytes(forms, content)]
    return hits


def handed_over(hosts):
    """{token: path of the program that brought it} of all that hosts were given: one for each attempt, in second calls."""
    found = {}
    for host in hosts:
        for payload in payloads(host.root):
            for token in re.findall(rb"eyJ[\w-]+\.[\w-]+\.[\w-]+", payload.text):
                assert payload.module == "stepca_certificate" and b'"step": "obtain"' in payload.text
                assert token.decode() not in found, "in two programs"
                found[token.decode()] = payload.path
    assert found
    return found


def signs(path, hosts):
    """Whether a host was told to sign by this program."""
    told = [payload.text for host in hosts for payload in payloads(host.root) if str(payload.path) == str(path)]
    return any(b'"sign": [' in text for text in told)


def named(forms, handed):
    """{name of the form: path} of the tokens that were handed over."""
    names = {text: name for name, text in forms.items()}
    return {names[token.rsplit(".", 1)[1]]: path for token, path in handed.items()}


def check_that_it_ran(run, hosts, way):
    """A search in nothing finds nothing: each task ended as meant, and left its program where it was sent to."""
    for host in hosts:
        for member, name, _options, succeeds in chosen_tasks(way):
            task = run.task("%s: %s" % (member, name), host.name)
            assert task.failed != succeeds, "%s: %s\n%s" % (task.task, task.msg, run)
        assert run.task("pretended", host.name).changed
        kept = [payload for payload in payloads(host.root) if payload.module in MEMBERS]
        on_hosts = {member for member, *_others in chosen_tasks(way)} - {"stepca_sign"}
        assert {payload.module for payload in kept} == on_hosts
        for payload in kept:
            assert MODULE % payload.module in payload.members
            assert b"_exchange" in payload.text, "the arguments are there too"
            assert not [name for name in payload.members if "plugin_utils" in name or "/action/" in name]
        texts = b"".join(payload.text for payload in kept)
        second = b'"step": "obtain"' if way == "host" else b'"step": "accept"'
        assert b'"step": "examine"' in texts and second in texts
        everything = json.loads(host.path("/everything.json").read_text(encoding="utf-8"))
        assert everything["stepca_certificate_issued"]["certificate"]["sans"] == ["dns:site.example.com"]
        assert "env" in everything["ansible_facts"]


# A collection that leaks: into the arguments of a module, encoded; and into a warning.
MUTATIONS = {
    "plugins/plugin_utils/_action.py": (
        "module_args=dict(arguments, _exchange=exchange, ",
        "module_args=dict(arguments, _exchange=dict(exchange, "
        'leak=__import__("base64").b64encode(b"x" + self.settings.find("provisioner_password").value.encode()).decode()), ',
    ),
    "plugins/plugin_utils/_ca.py": (
        "pem, self.tokens_to_sign(wanted, request), self.source)",
        "pem, lambda spent, mint=self.tokens_to_sign(wanted, request): "
        '[(one := mint(spent)), self._action.warn(["minted %s" % one])][0], self.source)',
    ),
}


@pytest.mark.both_cores
def test_a_leak_is_found(core, host, authority, tmp_path, short_path):
    """The same search, with a collection that leaks."""
    copied = tree.copied_tree(tmp_path / "leaky")
    for name, (right, wrong) in MUTATIONS.items():
        text = (copied / name).read_text(encoding="utf-8")
        assert text.count(right) == 1, name
        (copied / name).write_text(text.replace(right, wrong), encoding="utf-8")
    provisioner = authority.provisioner("ansible")
    play = Playbooks(tmp_path, core, tmp_path / "leaky", [host])
    content = playbook("published", given("published", authority, provisioner))
    run, tokens = run_and_collect(play, [host], authority, content, short_path)
    hits = leaks(secret_forms(provisioner, tokens), run, [host], short_path)
    assert {"output: the token 0", "results: the token 0"} <= set(hits)
    assert any("AnsiballZ_" in hit and hit.endswith("the password") for hit in hits)
    assert any("everything.json" in hit and hit.endswith("the token 0") for hit in hits)


@pytest.mark.both_cores
def test_a_secret_inside_a_program_is_found(play, host, authority, tmp_path):
    """Where no search of plain files would: compressed, inside the zip that Ansible sends."""
    run = play([{"name": "send", "ansible.builtin.ping": {}}], keep_remote_files=True).expect_ok()
    (payload,) = payloads(host.root)
    words = {"a word of the module": "pong"}
    assert find_in_files(words, [payload.path.parent]) == []
    tmp = tmp_path / "controller"
    tmp.mkdir()
    assert any("ping.py" in hit for hit in leaks(words, run, [host], tmp))
