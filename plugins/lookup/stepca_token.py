# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mints one-time tokens on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stepca_token
short_description: Mint one-time tokens for a step-ca authority
version_added: 0.1.0
description:
  - Mints a token for each name, on the controller, with the provisioner's key. Nothing is written to disk, and nothing is printed at
    any verbosity.
  - Ansible evaluates a lookup each time that the expression around it is used. So this one mints at every run, and once more for
    each use of a variable that holds it. Write it into the task's own option.
    M(privatepki.stepca.stepca_certificate) with the provisioner's options mints only when a certificate is due.
options:
  _terms:
    description: The names, one token each. The name is the commonName, and, without O(sans), the only name.
    type: list
    elements: str
    required: true
  purpose:
    description: What the token is for. With V(revoke) the names are serial numbers, decimal.
    type: str
    choices: [sign, revoke]
    default: sign
  sans:
    description: All names of the token. Needs a single term.
    type: list
    elements: str
  csr:
    description:
      - PEM of the one request that the token is to serve. Without it, the token serves any request for these names.
    type: str
  ca_url:
    description: Addresses of the CA. A token is for all of them.
    type: list
    elements: str
    vars:
      - name: stepca_ca_url
    env:
      - name: CERTCTL_STEPCA_URL
      - name: STEP_CA_URL
      - name: STEPCA_URL
  ca_fingerprint:
    description: SHA-256 of the root, or of all roots to trust. This, O(ca_root) or O(ca_root_path) is required.
    type: list
    elements: str
    vars:
      - name: stepca_ca_fingerprint
    env:
      - name: STEP_FINGERPRINT
      - name: STEPCA_FINGERPRINT
  ca_root:
    description: PEM text of the roots to trust.
    type: str
    vars:
      - name: stepca_ca_root
  ca_root_path:
    description: Path of a PEM file with the roots to trust.
    type: str
    vars:
      - name: stepca_ca_root_path
    env:
      - name: STEP_ROOT
      - name: STEPCA_ROOT
  ca_name:
    description: The name expected in the CA's own certificate, and in tokens. Without it, the host of each URL.
    type: str
    vars:
      - name: stepca_ca_name
  timeout:
    description: How long one request may take, as a duration. Without it, 15 seconds.
    type: str
    vars:
      - name: stepca_timeout
  retries:
    description: Further rounds over all URLs after connection errors. Without it, 3.
    type: int
    vars:
      - name: stepca_retries
  request_from:
    description: Accepted and ignored. A lookup runs on the controller.
    type: str
    choices: [controller, host]
    vars:
      - name: stepca_request_from
  provisioner:
    description: Name of the provisioner. May be left out where O(provisioner_key) is given and the CA lists it.
    type: str
    vars:
      - name: stepca_provisioner
    env:
      - name: CERTCTL_STEPCA_PROVISIONER
      - name: STEP_PROVISIONER
      - name: STEPCA_PROVISIONER
  provisioner_key:
    description:
      - Its private key. A JWK, a JWE (as text or as a mapping; a JWE also in compact form), or a private key in PEM (PKCS#8, SEC1
        or PKCS#1, encrypted or not).
      - A key without a key id, such as one in PEM, is looked up by its thumbprint among the provisioners that the CA lists.
    type: raw
    vars:
      - name: stepca_provisioner_key
    env:
      - name: STEPCA_PROVISIONER_KEY
  provisioner_key_path:
    description: Path of a file with that key, in any of these forms. It may be encrypted by Ansible Vault.
    type: str
    vars:
      - name: stepca_provisioner_key_path
    env:
      - name: CERTCTL_STEPCA_KEY_PATH
      - name: STEPCA_PROVISIONER_KEY_PATH
  provisioner_password:
    description: Opens the key. With no key given, it opens the encrypted key that the CA hands out.
    type: str
    vars:
      - name: stepca_provisioner_password
    env:
      - name: CERTCTL_STEPCA_PASSWORD
      - name: STEPCA_PROVISIONER_PASSWORD
  provisioner_password_file:
    description: Path of a file with that password.
    type: str
    vars:
      - name: stepca_provisioner_password_file
    env:
      - name: STEP_PROVISIONER_PASSWORD_FILE
      - name: STEPCA_PROVISIONER_PASSWORD_FILE
  token:
    description: Accepted and ignored, so that one set of variables serves modules and lookup.
    type: str
  token_lifetime:
    description: How long the token is good for, as a duration of seven days at most; above an hour is a warning. Without it, 5 minutes.
    type: str
    vars:
      - name: stepca_token_lifetime
notes:
  - Each option comes from the nearest of the lookup's own arguments, the variable C(stepca_<option>) and the controller's
    environment. In the environment C(STEPCA_*) comes before C(STEP_*), and that before C(CERTCTL_*).
seealso:
  - module: privatepki.stepca.stepca_certificate
requirements:
  - requests, PyJWT and cryptography >= 3.3
author:
  - privatepki.stepca contributors (@privatepki)
"""

EXAMPLES = r"""
- name: Enrol with a token, and no option of the provisioner in the task
  privatepki.stepca.stepca_certificate:
    certificate_path: /etc/ssl/private/web1.crt
    key_path: /etc/ssl/private/web1.key
    sans: [web1.example.com]
    token: "{{ lookup('privatepki.stepca.stepca_token', 'web1.example.com') }}"

- name: A token for several names
  ansible.builtin.set_fact:
    enrolment_token: "{{ lookup('privatepki.stepca.stepca_token', 'web1', sans=['web1.example.com', '10.0.0.7'], token_lifetime='10m') }}"
  no_log: true
"""

RETURN = r"""
_raw:
  description: The tokens, in the order of the names.
  type: list
  elements: str
"""

import os

from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ..module_utils import _options
from ..module_utils._core.ca import client
from ..module_utils._core.errors import OptionError, StepCAError
from ..module_utils._core.x509 import csr, names
from ..plugin_utils import _http, _idna, _libraries
from ..plugin_utils._credentials import table
from ..plugin_utils._credentials.credential import Purpose
from ..plugin_utils._settings import Settings, Source, environment


class LookupModule(LookupBase):
    """Options are resolved by the same Settings as those of the modules, with the same order and the same errors."""

    def run(self, terms, variables=None, **kwargs):
        """One token for each term."""
        try:
            _libraries.require_cryptography()
            return self._mint([str(term) for term in terms], variables or {}, kwargs)
        except StepCAError as error:
            raise AnsibleLookupError("privatepki.stepca.stepca_token: %s" % error) from None

    def _mint(self, terms: list, variables: dict, options: dict) -> list:
        settings = self._settings(variables, options)
        for sentence in table.check(settings):
            Display().warning(sentence)
        purpose = options.get("purpose") or "sign"
        if purpose not in ("sign", "revoke"):
            raise OptionError("purpose: %r is neither sign nor revoke." % purpose)
        if options.get("sans") and len(terms) != 1:
            raise OptionError("sans: they are all names of one token, so give a single term.")
        connection = settings.connection()
        for sentence in settings.warnings:
            Display().warning(sentence)
        if not connection.urls:
            raise OptionError("ca_url is required: a token is made for the CA at that address.")
        binding = csr.binding(csr.load(str(options["csr"]))) if options.get("csr") else ""
        authority = client.StepCA(connection, _http.Transport)
        credential = table.choose(settings, connection, lambda: authority, table.MINTING)
        purposes = [
            Purpose(
                purpose,
                _subject(term, purpose, bool(options.get("sans"))),
                tuple(_sans(term, purpose, options.get("sans"))),
                binding,
            )
            for term in terms
        ]
        return [credential.mint(one)(False) for one in purposes]

    def _settings(self, variables: dict, options: dict) -> Settings:
        known = set(_known_options())
        unknown = sorted(set(options) - known)
        if unknown:
            raise OptionError("%s: no such option. There are: %s." % (", ".join(unknown), ", ".join(sorted(known))))

        def variable(name):
            return self._templar.template(variables["stepca_%s" % name])

        def read_file(path):
            try:
                found = self.find_file_in_search_path(variables, "files", path)
                if not found:
                    raise FileNotFoundError(2, "no such file")
                return self._loader._get_file_contents(found)[0]
            except AnsibleError as error:
                raise OSError(0, str(error.message).split("\n", maxsplit=1)[0]) from None

        sources = [
            Source(lambda name: "the lookup's own option", options.get, options.__contains__),
            Source(
                lambda name: "the variable stepca_%s" % name, variable, lambda name: "stepca_%s" % name in variables
            ),
            environment(os.environ),
        ]
        return Settings(sources, read_file)


def _known_options() -> list:
    return ["purpose", "sans", "csr"] + list(_options.CONNECTION) + list(_options.PROVISIONER)


def _subject(term: str, purpose: str, free: bool) -> str:
    """The commonName: free text beside sans, else the name itself; a serial number to be revoked."""
    if purpose == "revoke":
        if not term.isdigit():
            raise OptionError("%r is no serial number: give it in decimal digits." % term)
        return term
    return term if free else names.parse_san(_idna.to_ascii(term)).value


def _sans(term: str, purpose: str, given) -> list:
    if purpose == "revoke":
        return []
    texts = given if isinstance(given, list) else str(given or term).split(",")
    return [san.value for san in names.parse_sans([_idna.to_ascii(str(text).strip()) for text in texts])]
