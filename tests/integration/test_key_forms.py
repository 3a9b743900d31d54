# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The provisioner's key in every form, written by `step` and openssl; the real CA signs with it, or a sentence says why
it cannot be used."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.judging import make_request, openssl, post, see
from tests.integration.pairs import CERTIFICATE, GROUP, pair
from tests.integration.support import as_variables, connection

pytestmark = pytest.mark.one_core

SEC1, PKCS1, PKCS8 = "EC PRIVATE KEY", "RSA PRIVATE KEY", "PRIVATE KEY"
KEYS = ["ansible", "p384", "p521", "rsa", "ed25519"]


@dataclass
class Form:
    """A file with the key of a provisioner, and whether the password of `Forms` opens it."""

    path: Path
    provisioner: str
    is_encrypted: bool

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="ascii")


class Forms(dict):
    """By name, the keys of the authority's provisioners in all forms, below a folder; all have one password."""

    def __init__(self, folder, step, authority):
        super().__init__()
        folder.mkdir()
        self.folder, self.step, self.authority = folder, step, authority
        self.password = secrets.token_urlsafe(12)
        self.password_file = folder / "password"
        self.password_file.write_text(self.password + "\n", encoding="ascii")
        for name in KEYS:
            (folder / (name + ".jwk")).write_text(json.dumps(authority.provisioner(name).jwk), encoding="ascii")
        self._pem_by_step()
        self._pem_by_openssl()
        self._jwe()

    def path(self, name, suffix=""):
        return self.folder / (name + suffix)

    def add(self, name, provisioner, is_encrypted, label=""):
        """Keep what was written there, after a look at what it is."""
        self[name] = Form(self.path(name), provisioner, is_encrypted)
        head = self[name].text
        if label:
            assert head.startswith("-----BEGIN %s-----\n" % label), name
            assert ("ENCRYPTED" in head) == is_encrypted, name

    def _pem_by_step(self):
        """`step crypto key format` writes each kind of key in its own form, and as PKCS#8."""
        plain, encrypted = ("--no-password", "--insecure"), ("--password-file", self.password_file)
        for kind, label in zip(KEYS, [SEC1, SEC1, SEC1, PKCS1, PKCS8], strict=True):
            for name, words, written in [
                ("%s_own" % kind, [*plain], label),
                ("%s_own_encrypted" % kind, [*encrypted], label),
                ("%s_pkcs8" % kind, ["--pkcs8", *plain], PKCS8),
                ("%s_pkcs8_encrypted" % kind, ["--pkcs8", *encrypted], PKCS8),
            ]:
                is_encrypted = name.endswith("encrypted")
                written = "ENCRYPTED " + PKCS8 if is_encrypted and written == PKCS8 else written
                out = ("--out", self.path(name))
                self.step("crypto", "key", "format", "--pem", *words, *out, self.path(kind, ".jwk"))
                self.add(name, kind, is_encrypted, written)

    def _pem_by_openssl(self):
        password = ("-passout", "file:%s" % self.password_file)
        for name, kind, words, label in [
            ("openssl_aes", "ansible", ["pkcs8", "-topk8", *password], "ENCRYPTED PRIVATE KEY"),
            ("openssl_scrypt", "ed25519", ["pkcs8", "-topk8", "-scrypt", *password], "ENCRYPTED PRIVATE KEY"),
            ("openssl_pkcs8", "rsa", ["pkcs8", "-topk8", "-nocrypt"], PKCS8),
            ("openssl_sec1", "p384", ["ec"], SEC1),
            ("openssl_sec1_encrypted", "p384", ["ec", "-aes256", *password], SEC1),
            ("openssl_pkcs1", "rsa", ["rsa", "-traditional"], PKCS1),
            ("openssl_pkcs1_encrypted", "rsa", ["rsa", "-traditional", "-des3", *password], PKCS1),
        ]:
            openssl(*words, "-in", self.path(kind + "_own"), "-out", self.path(name))
            self.add(name, kind, bool({*password} & {*words}), label)

    def _jwe(self):
        """By `step`, flattened and compact; with several recipients, which step never writes, by jwcrypto."""
        public, own = self.path("public.jwk"), self.path("ansible_own")
        words = ("--from-pem", own, "--password-file", self.password_file)
        self.step("crypto", "jwk", "create", *words, public, self.path("jwe_flattened"))
        self.add("jwe_flattened", "ansible", True)
        assert {"protected", "encrypted_key", "ciphertext"} <= set(json.loads(self["jwe_flattened"].text))
        compact = self.step("crypto", "jose", "format", given=self["jwe_flattened"].text)
        self.path("jwe_compact").write_text(compact, encoding="ascii")
        self.add("jwe_compact", "ansible", True)
        general = self.authority.provisioner("rsa").jwe_for("another password", self.password)
        self.path("jwe_general").write_text(general, encoding="ascii")
        self.add("jwe_general", "rsa", True)


@pytest.fixture(name="forms")
def fixture_forms(step, authority, tmp_path):
    """Keys of the session's authority in all forms."""
    return Forms(tmp_path / "keys", step, authority)


@pytest.fixture(name="vault_password")
def fixture_vault_password(tmp_path):
    """The file with Ansible Vault's password."""
    path = tmp_path / "vault-password"
    path.write_text(secrets.token_urlsafe(12), encoding="ascii")
    return path


def test_the_authority_signs_for_every_form(play, core, forms, authority, vault_password, tmp_path):
    """As text, as a path and as a vaulted file; the provisioner is found by the key. The lookup mints: it is quicker
    than a task for each. A password beside a plain key does no harm, and is not needed."""
    tokens = {}
    for name, form in forms.items():
        vaulted = form.path.with_name(name + ".vault")
        vaulted.write_text(form.text, encoding="ascii")
        opens = {"provisioner_password": forms.password} if form.is_encrypted else {}
        ways = {
            "text": {"provisioner_key": form.text, "provisioner_password": forms.password},
            "path": {"provisioner_key_path": str(form.path), **opens},
            "vaulted": {"provisioner_key_path": str(vaulted), "provisioner": form.provisioner, **opens},
        }
        for way, options in ways.items():
            tokens["%s_%s" % (name, way)] = (form.provisioner, options)
    core.vault_files(vault_password, forms.folder.glob("*.vault"))
    mint = "{{ lookup('privatepki.stepca.stepca_token', 'x.example.com', **ways.%s) }}"
    task = {"name": "tokens", "ansible.builtin.set_fact": {name: mint % name for name in tokens}}
    variables = {**as_variables(connection(authority)), "ways": {name: item[1] for name, item in tokens.items()}}
    run = play([task], variables=variables, arguments=["--vault-password-file", vault_password]).expect_ok()

    request = make_request(tmp_path, "x", "x.example.com")
    for name, (provisioner, _options) in tokens.items():
        body = {"csr": request, "ott": run["tokens"]["ansible_facts"][name]}
        status, text = post(authority, "/1.0/sign", body)
        assert status == 201, "%s: %s" % (name, text)
        (tmp_path / name).write_text(json.loads(text)["crt"], encoding="ascii")
        assert see(tmp_path / name).provisioner_is(provisioner), name
    assert len(tokens) == 3 * 30


def test_tasks_and_variables_bring_every_form(play, core, forms, authority, vault_password):
    """JSON read by `lookup('file')` may arrive as a mapping, and a vaulted value may stand inline."""
    file = "lookup('ansible.builtin.file', '%s')"
    mapping = "{{ %s | from_json }}"
    keys = {
        "flattened-mapping": mapping % (file % forms["jwe_flattened"].path),
        "flattened-lookup": "{{ %s }}" % (file % forms["jwe_flattened"].path),
        "general-mapping": mapping % (file % forms["jwe_general"].path),
        "general-lookup": "{{ %s }}" % (file % forms["jwe_general"].path),
        "pem-lookup": "{{ %s }}" % (file % forms["ansible_own"].path),
        "pem-inline": core.vault(forms["p521_pkcs8_encrypted"].text, vault_password),
        "jwe-inline": core.vault(forms["jwe_flattened"].text, vault_password),
        "pem-variable": "{{ kept }}",
    }
    tasks = [{"name": name, CERTIFICATE: pair(name, provisioner_key=key)} for name, key in keys.items()]
    tasks.append({"name": "environment", CERTIFICATE: pair("environment")})
    run = play(
        tasks,
        module_defaults={GROUP: connection(authority, provisioner_password_file=str(forms.password_file))},
        variables={"kept": core.vault(forms["openssl_sec1_encrypted"].text, vault_password)},
        env={"STEPCA_PROVISIONER_KEY": forms["openssl_pkcs1_encrypted"].text},
        arguments=["--vault-password-file", vault_password],
    ).expect_ok()
    expected = dict.fromkeys([*keys, "environment"], "ansible")
    expected.update({"general-mapping": "rsa", "general-lookup": "rsa", "environment": "rsa"})
    expected.update({"pem-inline": "p521", "pem-variable": "p384"})
    found = {name: run[name]["certificate"] for name in expected}
    assert {name: facts["provisioner"] for name, facts in found.items()} == expected
    assert {name: facts["provisioner_key_id"] for name, facts in found.items()} == {
        name: authority.provisioner(provisioner).key_id for name, provisioner in expected.items()
    }


def test_a_key_of_openssh_converted_as_the_sentence_says(play, forms, step, authority):
    """What step writes in OpenSSH's form is refused, and read after the command that the error names."""
    path, converted = forms.path("openssh"), forms.path("converted")
    plain = ("--no-password", "--insecure")
    step("crypto", "key", "format", "--ssh", *plain, "--out", path, forms["ed25519_own"].path)
    assert path.read_text(encoding="ascii").startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    step("crypto", "key", "format", "--pem", "--password-file", forms.password_file, "--out", converted, path)
    options = {"provisioner_password_file": str(forms.password_file)}
    tasks = [
        {
            "name": "openssh",
            CERTIFICATE: pair("openssh", provisioner_key_path=str(path), **options),
            "ignore_errors": True,
        },
        {"name": "converted", CERTIFICATE: pair("converted", provisioner_key_path=str(converted), **options)},
    ]
    run = play(tasks, module_defaults={GROUP: connection(authority)}).expect_ok()
    run.expect_failure(
        "provisioner_key_path (from the task)", "OpenSSH", "`step crypto key format --pem FILE`", name="openssh"
    )
    assert run["converted"]["certificate"]["provisioner"] == "ed25519"


def test_keys_that_cannot_be_used(play, forms, authority, policy_authority, tmp_path):
    """One sentence each, that names option and source, says what is needed and quotes nothing."""
    public, foreign, garbage = (tmp_path / name for name in ("public.pem", "foreign.pem", "garbage"))
    openssl("pkey", "-in", forms["ansible_own"].path, "-pubout", "-out", public)
    foreign.write_text(policy_authority.provisioner("ansible").pem, encoding="ascii")
    garbage.write_text("garbage-of-%s" % forms.password, encoding="ascii")
    cut, in_one_line = forms["rsa_own"].text[:900], forms["ansible_own"].text.replace("\n", "\\n")
    wrong = {"provisioner_password": "a-wrong-password"}
    plain, encrypted = forms["ansible_pkcs8"].text, forms["ansible_pkcs8_encrypted"].text
    not_opened = ["The provisioner password, provisioner_password (from the task), does not open provisioner_key"]
    key, path = "provisioner_key (from the task) ", "provisioner_key_path (from the task) "
    rows = {
        "public": ({"provisioner_key_path": str(public)}, [path + "is a public key: it cannot sign. Give the private"]),
        "certificate": (
            {"provisioner_key_path": str(authority.root_path)},
            [path + "is a certificate: it cannot sign. Give the provisioner's private key"],
        ),
        "garbage": (
            {"provisioner_key_path": str(garbage)},
            [path + "is no key that can be read", "a JWK", "a JWE", "a private key in PEM"],
        ),
        "cut": ({"provisioner_key": cut}, [key + "is PEM that cannot be read"]),
        "one-line": ({"provisioner_key": in_one_line}, [key + "is PEM that cannot be read", "line breaks"]),
        "two": ({"provisioner_key": plain + forms["rsa_own"].text}, [key + "holds 2 private keys"]),
        "foreign": ({"provisioner_key_path": str(foreign)}, ["lists no provisioner with this key", '"ansible" (JWK)']),
        "other": (
            {"provisioner_key": plain, "provisioner": "p384"},
            ['lists no provisioner with this key under the name "p384"'],
        ),
        "wrong-pkcs8": ({"provisioner_key": encrypted, **wrong}, not_opened),
        "wrong-old": ({"provisioner_key": forms["rsa_own_encrypted"].text, **wrong}, not_opened),
        "wrong-jwe": ({"provisioner_key": json.loads(forms["jwe_flattened"].text), **wrong}, not_opened),
        "wrong-general": ({"provisioner_key": forms["jwe_general"].text, **wrong}, not_opened),
    }
    for name in ("ansible_pkcs8_encrypted", "rsa_own_encrypted", "jwe_flattened", "jwe_general"):
        needed = [path + "is encrypted: give provisioner_password or provisioner_password_file to open it"]
        rows["needs-" + name] = ({"provisioner_key_path": str(forms[name].path)}, needed)
    tasks = [
        {"name": name, CERTIFICATE: pair(name, **options), "ignore_errors": True}
        for name, (options, _words) in rows.items()
    ]
    run = play(tasks, module_defaults={GROUP: connection(authority)}).expect_ok()
    quoted = [line for form in forms.values() for line in form.text.splitlines()[1:-1] if len(line) > 20]
    quoted += ["garbage-of", "a-wrong-password", "Traceback", *public.read_text(encoding="ascii").splitlines()[1:-1]]
    for name, (_options, words) in rows.items():
        failure = run.expect_failure(*words, name=name)
        assert not [text for text in quoted if text in failure.msg], name
