# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Where options come from, and in what forms a provisioner's key may come. What was used is told by the certificate."""

from __future__ import annotations

import json

import pytest

from tests.integration.judging import judge, make_request, post, see
from tests.integration.support import as_variables, connection, enrolment, to_yaml

CERTIFICATE = "privatepki.stepca.stepca_certificate"
HEALTH = "privatepki.stepca.stepca_health"
GROUP = "group/privatepki.stepca.stepca"
TLS = "{{ host_root }}/etc/tls/"

DEAD = "https://localhost:1"


def certificate(name, **options):
    """A task that has a certificate issued; further options are those of connection and provisioner."""
    paths = {"certificate_path": TLS + name + ".crt", "key_path": TLS + name + ".key", "sans": [name + ".example.com"]}
    return {"name": name, CERTIFICATE: {**paths, **options}}


def failing(name, **options):
    """The same, where the play is to go on after the failure."""
    return {**certificate(name, **options), "ignore_errors": True}


def vouching(authority, name):
    """Provisioner and password, as options."""
    chosen = authority.provisioner(name)
    return {"provisioner": chosen.name, "provisioner_password": chosen.password}


def a_play(tasks, **keywords):
    return {"hosts": "all", "gather_facts": False, **keywords, "tasks": tasks}


@pytest.mark.both_cores
def test_the_nearest_source_wins(play, host, authority):
    """Each source names another provisioner; an empty value counts as not given."""
    far = {"STEPCA_URL": authority.url, "STEPCA_FINGERPRINT": authority.fingerprint}
    p384 = authority.provisioner("p384")
    far.update(STEPCA_PROVISIONER=p384.name, STEPCA_PROVISIONER_PASSWORD=p384.password)
    variables = {"vars": as_variables(vouching(authority, "p521"))}
    group = {"module_defaults": {GROUP: vouching(authority, "rsa")}}
    module = {"module_defaults": {CERTIFICATE: vouching(authority, "ansible"), GROUP: vouching(authority, "rsa")}}
    empty = {"provisioner": "", "provisioner_password": "{{ omit }}"}
    plays = [
        a_play([certificate("environment")]),
        a_play([certificate("variable")], **variables),
        a_play([certificate("group")], **variables, **group),
        a_play([certificate("module")], **variables, **module),
        a_play([certificate("task", **vouching(authority, "ed25519"))], **variables, **group),
        a_play([certificate("empty", **empty)], **variables),
        a_play(
            [certificate("templated", **vouching(authority, "long"))],
            vars={"stepca_provisioner": "{{ nothing_of_that_name }}"},
        ),
        a_play([certificate("blank")], vars={"stepca_provisioner": "", "stepca_ca_url": [], "stepca_retries": None}),
    ]
    run = play(plays, env=far).expect_ok()
    expected = {
        "environment": "p384",
        "variable": "p521",
        "group": "rsa",
        "module": "ansible",
        "task": "ed25519",
        "empty": "p521",
        "templated": "long",
        "blank": "p384",
    }
    assert {name: run[name]["certificate"]["provisioner"] for name in expected} == expected
    for name, provisioner in expected.items():
        assert see(host.path("/etc/tls/%s.crt" % name)).provisioner_is(provisioner)


# All names of the environment, the nearest first.
ENVIRONMENT = {
    "url": ("STEPCA_URL", "STEP_CA_URL", "CERTCTL_STEPCA_URL"),
    "fingerprint": ("STEPCA_FINGERPRINT", "STEP_FINGERPRINT"),
    "provisioner": ("STEPCA_PROVISIONER", "STEP_PROVISIONER", "CERTCTL_STEPCA_PROVISIONER"),
    "password": ("STEPCA_PROVISIONER_PASSWORD", "CERTCTL_STEPCA_PASSWORD"),
}


@pytest.mark.one_core
@pytest.mark.parametrize("first", [0, 1, 2])
def test_names_of_the_environment(play, host, authority, first):
    """The first that is set wins, for modules and lookup alike; what stands behind it is wrong on purpose."""
    right = {
        "url": "%s,%s" % (DEAD, authority.url),
        "fingerprint": authority.fingerprint.upper(),
        "provisioner": "long",
        "password": authority.provisioner("long").password,
    }
    wrong = {"url": DEAD, "fingerprint": "0" * 64, "provisioner": "nobody", "password": "wrong"}
    env = {"STEPCA_RETRIES": "no such variable is read"}
    for option, names in ENVIRONMENT.items():
        used = names[min(first, len(names) - 1) :]
        env.update(dict.fromkeys(used, wrong[option]))
        env[used[0]] = right[option]
    token = "{{ lookup('privatepki.stepca.stepca_token', 'token.example.com') }}"
    run = play([certificate("site"), certificate("token", token=token)], env=env).expect_ok()
    assert run["site"]["ca_url"] == run["token"]["ca_url"] == authority.url
    for name in ("site", "token"):
        assert judge(
            authority, host.path("/etc/tls/%s.crt" % name), host.path("/etc/tls/%s.key" % name)
        ).provisioner_is("long")


def test_alternatives_displace_each_other(play, host, authority, policy_authority, tmp_path):
    """A nearer sibling hides those farther off; two from one source agree or fail, and errors name the source."""
    chosen = authority.provisioner("ansible")
    password_file, key_path = tmp_path / "password", tmp_path / "key.jwe"
    password_file.write_text(chosen.password + " \r\n\n", encoding="utf-8")
    key_path.write_text(chosen.jwe, encoding="utf-8")
    other_key = json.dumps(authority.provisioner("long").jwk)
    far = {"STEPCA_PROVISIONER_PASSWORD": "wrong", "STEPCA_ROOT": str(policy_authority.root_path)}
    near = connection(authority, provisioner="ansible")
    by_file = {**near, "provisioner_password_file": str(password_file)}
    trust = {"ca_url": authority.url, "ca_fingerprint": [], "ca_root_path": str(authority.root_path)}
    variables = as_variables({"provisioner_key_path": str(key_path), "ca_root": policy_authority.root_pem})
    both_passwords = {"provisioner_password": "one", "provisioner_password_file": "two"}
    plays = [
        a_play(
            [
                certificate("file-hides-password", **by_file),
                certificate("root-path", **{**by_file, **trust}),
                certificate("root-text", **{**by_file, **trust, "ca_root_path": "", "ca_root": authority.root_pem}),
                certificate("root-and-print", **{**by_file, "ca_root_path": str(authority.root_path)}),
                failing("disagree", **{**by_file, "ca_root": policy_authority.root_pem}),
                failing("two-passwords", **near, **both_passwords),
                failing("two-keys", **by_file, provisioner_key="{}", provisioner_key_path=str(key_path)),
                failing("far-password", **near),
            ]
        ),
        a_play(
            [
                certificate("key-hides-path", **connection(authority), provisioner_key=other_key),
                certificate("path-and-password", **by_file),
                failing("hidden-path", **near, provisioner_key="not a key"),
                failing("far-root", **{**by_file, "ca_fingerprint": ""}),
            ],
            vars=variables,
        ),
    ]
    run = play(plays, env=far).expect_ok()
    made = ("file-hides-password", "root-path", "root-text", "root-and-print", "path-and-password")
    assert {name: run[name]["certificate"]["provisioner"] for name in made} == dict.fromkeys(made, "ansible")
    assert run["key-hides-path"]["certificate"]["provisioner"] == "long"
    failures = {
        "disagree": ["ca_fingerprint (from the task)", "ca_root (from the task)", "disagree"],
        "two-passwords": ["provisioner_password (from the task)", "provisioner_password_file (from the task)"],
        "two-keys": ["provisioner_key (from the task)", "provisioner_key_path (from the task)"],
        "far-password": ["does not open", "the environment variable STEPCA_PROVISIONER_PASSWORD"],
        "hidden-path": ["provisioner_key (from the task)", "no key that can be read"],
        "far-root": ["certificate is not trusted"],
    }
    for name, words in failures.items():
        run.expect_failure(*words, name=name)
    assert "not a key" not in run["hidden-path"].msg


@pytest.mark.both_cores
def test_environment_of_a_task(play, host, authority):
    """`environment:` is for the host: it decides nothing here, and may not carry a secret there."""
    options = enrolment(authority)
    dead = {"STEPCA_URL": DEAD, "STEPCA_PROVISIONER": "nobody"}
    secret = {"STEPCA_PROVISIONER_PASSWORD": "the secret"}
    tasks = [
        {**certificate("no-effect", provisioner_password=options["provisioner_password"]), "environment": dead},
        {**failing("secret"), "environment": secret},
        {**failing("templated"), "environment": "{{ in_a_variable }}"},
        {"name": "health", HEALTH: {}, "environment": secret, "ignore_errors": True},
    ]
    right = {"STEPCA_URL": options["ca_url"], "STEPCA_FINGERPRINT": options["ca_fingerprint"]}
    content = {"in_a_variable": {"CERTCTL_STEPCA_PASSWORD": "the secret"}}
    run = play(tasks, env={**right, "STEPCA_PROVISIONER": "ansible"}, variables=content).expect_ok()
    assert run["no-effect"]["ca_url"] == authority.url and run["no-effect"]["certificate"]["provisioner"] == "ansible"
    for name in ("secret", "health"):
        run.expect_failure("environment", "STEPCA_PROVISIONER_PASSWORD", name=name)
    run.expect_failure("environment", "CERTCTL_STEPCA_PASSWORD", name="templated")
    assert "the secret" not in "".join(task.msg for task in run.failed)


@pytest.mark.both_cores
def test_vault(play, core, authority, tmp_path):
    """Inline values in every source, and key and password files that are encrypted as a whole."""
    vault_password = tmp_path / "vault-password"
    vault_password.write_text("open sesame", encoding="utf-8")
    chosen, where = authority.provisioner("p521"), connection(authority)
    plain = {
        "key.jwe": chosen.jwe + "\n",
        "key.json": json.dumps(chosen.jwk, indent=2),
        "password": chosen.password + "\n",
    }
    files = tmp_path / "site" / "files"  # `copy` would look there too
    files.mkdir(parents=True)
    for name, content in plain.items():
        (files / name).write_text(content, encoding="utf-8")
    core.vault_files(vault_password, files.iterdir())
    password = core.vault(chosen.password, vault_password)
    key = core.vault(plain["key.json"], vault_password)
    token = "{{ lookup('privatepki.stepca.stepca_token', '%s.example.com'%s) }}"
    variables = {**as_variables(where), "stepca_provisioner": "p521", "stepca_provisioner_password": password}
    plays = [
        a_play(
            [
                certificate("task", **where, provisioner="p521", provisioner_password=password),
                certificate("key", **where, provisioner_key=key),
                certificate("file", **where, provisioner_key_path="key.json"),
                certificate("both", **where, provisioner_key_path="key.jwe", provisioner_password_file="password"),
                certificate("files", **where, token=token % ("files", ", provisioner_key_path='key.json'")),
            ],
            vars=as_variables(where),
        ),
        a_play([certificate("variable"), certificate("lookup", token=token % ("lookup", ""))], vars=variables),
        a_play([certificate("defaults")], module_defaults={GROUP: {**where, "provisioner_key": key}}),
        a_play([certificate("indirect")], module_defaults={GROUP: {**where, "provisioner_key": "{{ kept }}"}}),
    ]
    playbook = tmp_path / "site" / "playbook.yml"
    playbook.write_text(to_yaml(plays), encoding="utf-8")
    run = play(playbook, variables={"kept": key}, arguments=["--vault-password-file", vault_password]).expect_ok()
    names = ["task", "key", "file", "both", "files", "variable", "lookup", "defaults", "indirect"]
    assert {name: run[name]["certificate"]["provisioner"] for name in names} == dict.fromkeys(names, "p521")
    assert len(run.changed) == len(names)


def test_every_form_of_a_key(play, authority, tmp_path):
    """Open as text, as mapping and as what `lookup` makes of a file; encrypted; or handed out by the CA."""
    chosen = authority.provisioner("ansible")
    (tmp_path / "key.json").write_text(json.dumps(chosen.jwk, indent=2) + "\n", encoding="utf-8")
    file = "lookup('ansible.builtin.file', '%s/key.json')" % tmp_path
    forms = {
        "text": {"provisioner_key": json.dumps(chosen.jwk)},
        "mapping": {"provisioner": "ansible", "provisioner_key": "{{ %s | from_json }}" % file},
        "bare": {"provisioner_key": {name: chosen.jwk[name] for name in ("kty", "crv", "x", "y", "d")}},
        "lookup": {"provisioner_key": "{{ %s }}" % file},
        "encrypted": {"provisioner_key": chosen.jwe + "\n", "provisioner_password": chosen.password},
        "handed-out": vouching(authority, "ansible"),
    }
    run = play([certificate(name, **connection(authority), **options) for name, options in forms.items()]).expect_ok()
    for name in forms:
        facts = run[name]["certificate"]
        assert (facts["provisioner"], facts["provisioner_key_id"]) == ("ansible", chosen.key_id)
    assert len(run.changed) == len(forms)


# On every curve, encrypted with 100,000 and 600,000 rounds, A128GCM and A256GCM: see the fixture `authority`.
KINDS = ["ansible", "p384", "p521", "rsa", "ed25519", "named-key", "hidden"]


@pytest.mark.one_core
def test_every_kind_of_key(play, authority, tmp_path):
    """The CA signs with the tokens of each; the lookup makes them, because it is quicker than a task for each."""
    lookup = "lookup('privatepki.stepca.stepca_token', 'x.example.com', %s)"
    forms = {
        "open": "provisioner_key=keys.%s.jwk",
        "encrypted": "provisioner_key=keys.%s.jwe, provisioner_password=keys.%s.password",
        "handed_out": "provisioner=keys.%s.name, provisioner_password=keys.%s.password",
    }
    tokens, keys = {}, {}
    for kind in KINDS:
        chosen = authority.provisioner(kind)
        word = kind.replace("-", "_")
        keys[word] = {"jwk": chosen.jwk, "jwe": chosen.jwe, "password": chosen.password, "name": chosen.name}
        for form, options in forms.items():
            if form != "handed_out" or kind not in ("hidden", "named-key"):
                tokens["%s_%s" % (form, word)] = "{{ %s }}" % (lookup % options.replace("%s", word))
    variables = {**as_variables(connection(authority)), "keys": keys}
    run = play([{"name": "tokens", "ansible.builtin.set_fact": tokens}], variables=variables).expect_ok()
    request = make_request(tmp_path, "x", "x.example.com")
    answers = {}
    for name in tokens:
        answers[name], text = post(
            authority, "/1.0/sign", {"csr": request, "ott": run["tokens"]["ansible_facts"][name]}
        )
        (tmp_path / name).write_text(json.loads(text).get("crt", ""), encoding="ascii")
    assert answers == dict.fromkeys(tokens, 201) and len(answers) == 19
    for kind in KINDS:
        assert see(tmp_path / ("open_" + kind.replace("-", "_"))).provisioner_is(kind)


def test_a_key_that_the_authority_does_not_hand_out(play, authority):
    """Name and password are not enough then; the error says what would be."""
    run = play([failing("hidden", **enrolment(authority, "hidden"))]).expect_ok()
    run.expect_failure("hands out no encrypted key", '"hidden"', "provisioner_key", name="hidden")


@pytest.mark.one_core
def test_a_key_id_of_ones_own(play, authority):
    """A key id is free text: step-ca's `kid` may have spaces and quotes."""
    run = play([failing("named", **enrolment(authority, "named-key"))]).expect_ok()
    assert (run["named"].msg, run["named"]["outcome"]) == ("", "issued")
    assert run["named"]["certificate"]["provisioner_key_id"] == authority.provisioner("named-key").key_id


def test_keys_that_do_not_fit(play, authority, policy_authority):
    """One sentence each: it names the option and its source, and quotes neither key nor password."""
    chosen, foreign = authority.provisioner("ansible"), policy_authority.provisioner("ansible")
    public = json.dumps(chosen.public_jwk)
    variables = as_variables(connection(authority, provisioner_password="a wrong password", provisioner="nobody"))
    tasks = [
        failing("unknown"),
        failing("wrong-password", provisioner="ansible"),
        failing("wrong-for-key", provisioner="ansible", provisioner_key=chosen.jwe),
        failing("public", provisioner_key=public),
        failing("foreign", provisioner="ansible", provisioner_key=foreign.jwk),
        failing(
            "unlisted",
            provisioner="ansible",
            provisioner_key={key: foreign.jwk[key] for key in ("kty", "crv", "x", "y", "d")},
        ),
        failing("no-file", provisioner_key_path="/nowhere/key.json"),
        failing("cut", provisioner_key=chosen.jwe[:-8], provisioner_password=chosen.password),
    ]
    words = {
        "unknown": [
            'no provisioner "nobody"; it has: "ansible" (JWK), "short" (JWK)',
            "the variable stepca_provisioner",
        ],
        "wrong-password": ["the variable stepca_provisioner_password", "does not open"],
        "wrong-for-key": [
            "provisioner_password (from the variable stepca_provisioner_password)",
            "provisioner_key (from the task)",
        ],
        "public": ["is a public key"],
        "foreign": ['"ansible"', "key"],
        "unlisted": ["lists no provisioner with this key"],
        "no-file": ["provisioner_key_path (from the task)", "/nowhere/key.json"],
        "cut": ["does not open"],
    }
    run = play(tasks, variables=variables).expect_ok()
    for name, expected in words.items():
        failure = run.expect_failure(*expected, name=name)
        assert not any(
            secret in failure.msg for secret in (chosen.jwe[:40], chosen.jwk["d"], foreign.jwk["d"], "a wrong password")
        )
