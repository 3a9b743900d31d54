#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on the host for stepca_certificate. Its other half: plugins/action/stepca_certificate.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stepca_certificate
short_description: Keep a certificate from step-ca on a host
version_added: 0.1.0
description:
  - Makes sure that a host holds a private key and a certificate for it, signed by a step-ca authority, and that both are what
    the task asks for. Acts when and only when something differs, and says why.
  - The host makes its own key and request. The controller judges the request, mints a one-time token that is bound to it, has it
    signed, checks what comes back, and hands the host the certificate. The key never leaves the host, the provisioner's key never
    leaves the controller, and the host needs no route to the CA.
  - Key and certificate are replaced as one. A run that was interrupted is finished by the next.
  - Nothing is due in a steady run, and then there is one round trip to the host and no request to the CA (but for
    O(check_revocation)).
  - What is merely due is renewed with the host's own proof, and no provisioner is needed for that.
  - Names come from the play, never from the host.
extends_documentation_fragment:
  - privatepki.stepca._attributes
  - privatepki.stepca._connection
  - privatepki.stepca._provisioner
attributes:
  idempotent:
    support: partial
    details:
      - With O(force=true) it issues at every run.
options:
  state:
    description:
      - V(present) makes sure that the certificate is there and fits.
      - V(absent) removes the certificate, the files that the task and the record name, the record, and whatever an interrupted run left. It
        needs O(certificate_path) only. Backups stay, and so does a request that you brought (O(csr_path)).
    type: str
    choices: [present, absent]
    default: present
  certificate_path:
    description:
      - Where the certificate goes, the leaf followed by the intermediates, PEM. An absolute path. Its folder must exist.
      - A symbolic link is followed to its target.
      - A record of what was asked and given lies beside it, C(.<name>.stepca.json). It holds no secret, and losing it costs one
        re-issue at most.
      - This or O(certificates) is required.
    type: path
  key_path:
    description:
      - Where the private key goes, PKCS#8 PEM. Required unless O(csr_path) is given.
    type: path
  csr_path:
    description:
      - A request on the host that is to be signed as it is. Its names must be exactly those of the task. Without any, its
        commonName must be the only name of the task.
      - Its commonName is that of the task, or empty. It may have other fields in its subject.
      - It may ask for the extensions keyUsage (but for keyCertSign and cRLSign), extendedKeyUsage (but for anyExtendedKeyUsage),
        subjectKeyIdentifier, TLS feature (must-staple), and basicConstraints of what is no CA. A request that asks for others, such
        as nameConstraints or certificatePolicies, is refused, and so is one that asks for extensions twice, or in another attribute
        than extensionRequest.
      - What it asks for and the CA does not give is a warning.
      - O(key_type) and O(key_policy) are not looked at then, and O(key_path), if given, is read and never written.
      - When the certificate is due, the same request is signed again.
    type: path
  sans:
    description:
      - The names of the certificate. What looks like an IP address, C(scheme://...) or C(user@host) is one; all others are DNS names.
      - A prefix C(dns:), C(ip:), C(email:) or C(uri:) states the kind.
      - Names in other scripts become A-labels (IDNA 2008).
      - Without it, O(common_name) alone. One of both is required, also with O(csr_path).
    type: list
    elements: str
  common_name:
    description:
      - The commonName of the subject, up to 64 characters. Compared only when it is given.
      - Without it, the first of O(sans) that is short enough.
    type: str
  chain_path:
    description:
      - Where the intermediates go, alone, PEM.
    type: path
  leaf_path:
    description:
      - Where the leaf goes, alone, PEM.
    type: path
  root_path:
    description:
      - Where the trusted roots go, beside the pair, as etcd, Consul and PostgreSQL like to have them.
    type: path
  combined_path:
    description:
      - Where key, leaf and intermediates go in one PEM file, as HAProxy likes to have them. It has the key's owner and mode.
    type: path
  pkcs12_path:
    description:
      - Where key and certificates go as PKCS#12. It has the key's owner and mode, and needs a password.
    type: path
  pkcs12_password:
    description:
      - The password of that file. Another one makes the file anew, and leaves the certificate as it is.
    type: str
  pkcs12_password_file:
    description:
      - The password in a file on the host, with mode V(0600). White space at its end is cut.
    type: path
  pkcs12_friendly_name:
    description:
      - The name of the entry in that file. Without it, the commonName.
    type: str
  pkcs12_encryption:
    description:
      - V(modern) is AES-256; V(compatible) is what Java before 8u301 and older versions of Windows can read.
    type: str
    choices: [modern, compatible]
    default: modern
  template_data:
    description:
      - Data for the template of the provisioner. The certificate is issued anew when it changes.
      - It is not part of what a token is bound to.
      - It is hidden in results and journals like a password. A host is given it where it asks the CA itself, and then only when a
        certificate is to be signed; the record has its SHA-256.
    type: dict
  key_type:
    description:
      - The type of the private key.
    type: str
    choices: [ec-p256, ec-p384, ec-p521, rsa-2048, rsa-3072, rsa-4096, ed25519]
    default: ec-p256
  key_policy:
    description:
      - When a new key is made. With V(on_issue), when a certificate is issued anew; a renewal keeps the key.
      - With V(keep), never, as long as there is a key.
      - With V(always), at renewals too. Where the host asks the CA itself (O(request_from=host)) it is a rekey; else it is issued anew.
    type: str
    choices: [on_issue, keep, always]
    default: on_issue
  not_before:
    description:
      - Start of validity, as a time (RFC 3339) or as a duration from now. Without it, the CA's own.
    type: raw
  not_after:
    description:
      - End of validity, as a duration from O(not_before) (V(24h), V(30d)) or as a time (RFC 3339). Without it, the CA's default.
      - A certificate with a time as its end is never due by time, and the task fails once the time is past.
      - A CA as shipped allows 24 hours at most.
    type: raw
  max_lifetime:
    description:
      - The longest life that is asked for and accepted, whatever the CA gives by itself. A certificate that lives longer is issued anew.
    type: str
  renew_before:
    description:
      - The certificate is due when this much of its life is left, as a share of it (V(33%)) or as a duration (V(8h)).
      - What is merely due is renewed, which needs no provisioner, since the host proves that it holds the key. What cannot be
        renewed is issued anew, and the reason is told.
      - V(0%) means that it is never due by time.
    type: str
    default: 33%
  issued_since:
    description:
      - A time (RFC 3339). A certificate that was first issued before it is issued anew, never renewed, as after a leak.
      - Renewals do not count. Where the record is lost, the begin of the certificate does.
    type: raw
  check_revocation:
    description:
      - Look the certificate up in the CA's list of revoked certificates at every run, which is a request to the CA.
      - One that is revoked is issued anew with a new key. A list that is absent, out of date or signed by a stranger is an error.
    type: bool
    default: false
  revoke:
    description:
      - With O(state=absent), revoke the certificate before it is removed. With O(state=present), revoke the one that was replaced, once its
        successor is installed. Should that fail, the task fails and the successor stays.
      - The host shows that it holds the key of what is revoked.
    type: bool
    default: false
  reason:
    description:
      - Why it is revoked, a name or number of RFC 5280.
    type: str
    default: unspecified
  force:
    description:
      - Issue anew, now.
    type: bool
    default: false
  backup:
    description:
      - Keep the former files as C(.<name>.stepca.backup) beside them, the last ones only.
      - Whatever this says, what is not of this CA's making is kept and named in a warning, such as another CA's certificate, a key of
        another form, or a text. It takes a further name where a backup of that kind is there already.
    type: bool
    default: false
  make_folder:
    description:
      - Make the missing folders of the task's files. They belong to the task's user, with mode V(0755), and those go with the last
        certificate that nothing else is in by then.
    type: bool
    default: false
    version_added: 0.4.0
  owner:
    description:
      - Owner of the certificate. Enforced when given.
    type: str
  group:
    description:
      - Group of the certificate. Enforced when given.
    type: str
  mode:
    description:
      - Mode of the certificate, as in M(ansible.builtin.file). Enforced; V(0644) where it is not given.
      - Given, it drops an ACL that the former file had. Not given, that ACL stays, where nobody but root or the task's user can
        write on the way to the file.
    type: raw
  key_owner:
    description:
      - Owner of the private key. Enforced when given.
      - Where others can write on the way to the key, it is needed for a key that belongs to another user today. Who gets the key
        is never taken from what lies there.
    type: str
  key_group:
    description:
      - Group of the private key. Enforced when given.
    type: str
  key_mode:
    description:
      - Mode of the private key, as in M(ansible.builtin.file). Every file that holds the key has it. Enforced; V(0600) where it is
        not given. With an ACL it is as with O(mode).
    type: raw
  seuser:
    description:
      - SELinux user of all files of the task, as in M(ansible.builtin.file).
    type: str
  serole:
    description:
      - SELinux role of all files of the task.
    type: str
  setype:
    description:
      - SELinux type of all files of the task.
    type: str
  selevel:
    description:
      - SELinux level of all files of the task.
    type: str
  certificates:
    description:
      - Many certificates of one host, examined in one round trip and installed in one more.
      - Beside it, O(key_type), O(key_policy), O(not_before), O(not_after), O(max_lifetime), O(renew_before), O(issued_since),
        O(check_revocation), O(revoke), O(reason), O(backup), O(make_folder), the owners, groups and modes and the SELinux options are defaults of
        the entries. Other options of a single certificate are an error there.
      - An entry with a bad value fails alone. The others are done, and the task fails at its end naming those that were not.
    type: list
    elements: dict
    suboptions:
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
        default: present
      certificate_path:
        description: As O(certificate_path).
        type: path
        required: true
      key_path:
        description: As O(key_path).
        type: path
      csr_path:
        description: As O(csr_path).
        type: path
      sans:
        description: As O(sans).
        type: list
        elements: str
      common_name:
        description: As O(common_name).
        type: str
      chain_path:
        description: As O(chain_path).
        type: path
      leaf_path:
        description: As O(leaf_path).
        type: path
      root_path:
        description: As O(root_path).
        type: path
      combined_path:
        description: As O(combined_path).
        type: path
      pkcs12_path:
        description: As O(pkcs12_path).
        type: path
      pkcs12_password:
        description: As O(pkcs12_password).
        type: str
      pkcs12_password_file:
        description: As O(pkcs12_password_file).
        type: path
      pkcs12_friendly_name:
        description: As O(pkcs12_friendly_name).
        type: str
      pkcs12_encryption:
        description: As O(pkcs12_encryption).
        type: str
        choices: [modern, compatible]
        default: modern
      template_data:
        description: As O(template_data).
        type: dict
      key_type:
        description: As O(key_type).
        type: str
        choices: [ec-p256, ec-p384, ec-p521, rsa-2048, rsa-3072, rsa-4096, ed25519]
      key_policy:
        description: As O(key_policy).
        type: str
        choices: [on_issue, keep, always]
      not_before:
        description: As O(not_before).
        type: raw
      not_after:
        description: As O(not_after).
        type: raw
      max_lifetime:
        description: As O(max_lifetime).
        type: str
      renew_before:
        description: As O(renew_before).
        type: str
      issued_since:
        description: As O(issued_since).
        type: raw
      check_revocation:
        description: As O(check_revocation).
        type: bool
      revoke:
        description: As O(revoke).
        type: bool
      reason:
        description: As O(reason).
        type: str
      force:
        description: As O(force).
        type: bool
        default: false
      make_folder:
        description: As O(make_folder).
        type: bool
      backup:
        description: As O(backup).
        type: bool
      owner:
        description: As O(owner).
        type: str
      group:
        description: As O(group).
        type: str
      mode:
        description: As O(mode).
        type: raw
      key_owner:
        description: As O(key_owner).
        type: str
      key_group:
        description: As O(key_group).
        type: str
      key_mode:
        description: As O(key_mode).
        type: raw
      seuser:
        description: As O(seuser).
        type: str
      serole:
        description: As O(serole).
        type: str
      setype:
        description: As O(setype).
        type: str
      selevel:
        description: As O(selevel).
        type: str
notes:
  - With C(pipelining) one round trip to the host is one ssh operation.
  - The CA signs no more than the provisioner's claims allow, and says how much that is.
seealso:
  - module: privatepki.stepca.stepca_certificate_info
  - module: privatepki.stepca.stepca_sign
  - module: privatepki.stepca.stepca_revoke
  - module: privatepki.stepca.stepca_bootstrap
  - module: privatepki.stepca.stepca_health
  - plugin: privatepki.stepca.stepca_token
    plugin_type: lookup
author:
  - privatepki.stepca contributors (@privatepki)
"""

EXAMPLES = r"""
# group_vars/all.yml says where the CA is and who vouches:
#   stepca_ca_url: https://ca.internal
#   stepca_ca_fingerprint: "{{ root_fingerprint }}"
#   stepca_provisioner: ansible
#   stepca_provisioner_password: "{{ vault_stepca_password }}"

- name: A certificate for the web server
  privatepki.stepca.stepca_certificate:
    certificate_path: /etc/nginx/tls/site.crt
    key_path: /etc/nginx/tls/site.key
    sans:
      - "{{ inventory_hostname }}"
      - www.example.com
  notify: Reload nginx

- name: A key that PostgreSQL may read, and an RSA key because of an old client
  privatepki.stepca.stepca_certificate:
    certificate_path: /etc/ssl/postgresql/server.crt
    key_path: /etc/ssl/postgresql/server.key
    sans: [db1.example.com, 10.0.0.7]
    key_type: rsa-3072
    key_owner: postgres
    key_group: postgres

- name: All certificates of a host in one task
  privatepki.stepca.stepca_certificate:
    not_after: 12h
    certificates:
      - certificate_path: /etc/ssl/private/a.crt
        key_path: /etc/ssl/private/a.key
        sans: [a.example.com]
      - certificate_path: /etc/ssl/private/spiffe.crt
        key_path: /etc/ssl/private/spiffe.key
        sans: ["spiffe://example.com/a"]
        common_name: a

- name: A Java keystore and a file for HAProxy, kept in step with the pair
  privatepki.stepca.stepca_certificate:
    certificate_path: /etc/ssl/private/app.crt
    key_path: /etc/ssl/private/app.key
    sans: [app.example.com]
    combined_path: /etc/haproxy/app.pem
    pkcs12_path: /etc/app/keystore.p12
    pkcs12_password: "{{ vault_keystore_password }}"

- name: After a leak, issue anew whatever was issued before noon, and revoke what it replaces
  privatepki.stepca.stepca_certificate:
    certificate_path: /etc/nginx/tls/site.crt
    key_path: /etc/nginx/tls/site.key
    sans: ["{{ inventory_hostname }}"]
    issued_since: "2030-06-01T12:00:00Z"
    revoke: true
    reason: keyCompromise

- name: Take a certificate off a host, and revoke it
  privatepki.stepca.stepca_certificate:
    certificate_path: /etc/ssl/private/old.crt
    state: absent
    revoke: true
    reason: cessationOfOperation

- name: A token from elsewhere instead of a provisioner
  privatepki.stepca.stepca_certificate:
    certificate_path: /etc/ssl/private/b.crt
    key_path: /etc/ssl/private/b.key
    sans: [b.example.com]
    token: "{{ lookup('privatepki.stepca.stepca_token', 'b.example.com') }}"
"""

RETURN = r"""
outcome:
  description:
    - What was done, the first that applies. V(removed); V(issued) anew; V(rekeyed), renewed with a new key; V(renewed); V(files) put
      right without the CA (files made of the pair, owner, mode, an interrupted run); V(none).
  returned: always, unless O(certificates) is used
  type: str
  sample: issued
reasons:
  description: Why, in sentences that name the wanted and the found value. Empty for V(none).
  returned: always, unless O(certificates) is used
  type: list
  elements: str
  sample: ["the names are dns:a.example.com, expected dns:a.example.com, dns:b.example.com"]
certificate:
  description: Facts of the certificate, in check mode of the one that was found, of a removed one those it had. Null if there is none.
  returned: always, unless O(certificates) is used
  type: dict
  contains:
    serial:
      description: Serial number, decimal.
      type: str
      sample: "236871453013387650102857451012903411234"
    common_name:
      description: Its commonName.
      type: str
      sample: web1.example.com
    sans:
      description: Its names, each as C(kind:value).
      type: list
      elements: str
      sample: ["dns:web1.example.com", "ip:10.0.0.7"]
    not_before:
      description: Start of validity.
      type: str
      sample: "2030-01-01T00:00:00Z"
    not_after:
      description: End of validity.
      type: str
      sample: "2030-01-02T00:00:00Z"
    renew_at:
      description: When it is due.
      type: str
      sample: "2030-01-01T16:00:00Z"
    fingerprint:
      description: SHA-256 of the certificate, hex.
      type: str
      sample: 0d7d3834cf187726cf331c40a31fa7ef6b29ba4df601416c9788f6ee01058cf3
    issuer:
      description: Who issued it, RFC 4514.
      type: str
      sample: CN=Example Intermediate CA,O=Example
    provisioner:
      description: Name of the provisioner, if the CA put it in.
      type: str
      sample: ansible
    provisioner_key_id:
      description: Key id of the provisioner, if the CA put it in.
      type: str
      sample: 4UELJx8e0aS9m0CH3fZ0EB7D5aUPICb759zALHFejvc
    key_type:
      description: Type of its key, in the words of O(key_type).
      type: str
      sample: ec-p256
    path:
      description: Where it lies.
      type: str
      sample: /etc/nginx/tls/site.crt
revoked:
  description: Whether the certificate that was removed or replaced is revoked now.
  returned: always, unless O(certificates) is used
  type: bool
  sample: false
backup_files:
  description: Where former files are kept.
  returned: always, unless O(certificates) is used
  type: list
  elements: str
  sample: [/etc/nginx/tls/.site.crt.stepca.backup]
ca_url:
  description: The URL of the CA that signed. Null if none was asked to.
  returned: always, unless O(certificates) is used
  type: str
  sample: https://ca.internal
results:
  description:
    - For each entry of O(certificates), in their order, the values above, with C(changed) and C(certificate_path). One that failed
      has C(failed) and C(msg).
  returned: when O(certificates) is used, also on failure
  type: list
  elements: dict
  sample: []
"""

from dataclasses import replace

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.privatepki.stepca.plugins.module_utils import _answering, _options
from ansible_collections.privatepki.stepca.plugins.module_utils._attributes import Attributes
from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations, wire
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import examine, fileset, request
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import Overtaken, unforeseen
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates


def context_for(module, terms, wanted, question, learnt):
    """What the controller says of one entry."""
    dry = module.check_mode or question.look
    return fileset.Context(
        now=durations.parse_time(terms.now, "now"),
        roots=certificates.load(terms.roots.encode("ascii")) if terms.roots else None,
        fingerprints=terms.fingerprints,
        provisioner=terms.provisioner,
        finish=Attributes(module, wanted.attributes, dry),
        dry=dry,
        revoked=lambda _serial: question.revoked,
        refused=question.refused,
        audiences=terms.audiences,
        attempts=terms.attempts,
        by_host=terms.connection is not None,
        can_issue=terms.can_issue,
        learnt=learnt,
    )


def examine_one(module, terms, entry, question, learnt):
    """The first call, for one entry."""
    wanted = replace(request.parse(entry), template_digest=question.template)
    context = context_for(module, terms, wanted, question, learnt)
    if terms.connection is None:
        return examine.examine(wanted, context)
    # The others need nothing of HTTP.
    from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import connections
    from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import by_host

    return by_host.examine(wanted, context, connections.restore(terms.connection))


def run_errand(module, terms, entry, errand, tokens, learnt):
    """The second call, for one entry."""
    from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import issue, removal

    data = wire.unpacked(tokens.get("template_data"))
    wanted = replace(request.parse(entry), template_data=data, template_digest=errand.template)
    context = context_for(module, terms, wanted, wire.Question(), learnt)
    if errand.step == "install":
        return issue.accept(wanted, context, errand.chain, errand.digest, errand.issued_at, errand.renewal)
    if errand.step == "obtain":
        from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import connections
        from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import ladder

        return ladder.Ladder(wanted, context, connections.restore(terms.connection), errand, tokens).run()
    if errand.step == "remove":
        removal.remove(wanted)
    elif errand.csr:
        issue.discard(wanted, errand.csr)
    return wire.Answer()


def answer_for(module, terms, exchange, index, entry, learnt):
    """One entry's answer; what fails for it fails for it alone."""
    item, tokens = exchange["items"][index], (module.params["_tokens"] or {}).get(str(index), {})
    try:
        if exchange["step"] == "examine":
            return examine_one(module, terms, entry, wire.Question.from_json(item), learnt)
        return run_errand(module, terms, entry, wire.Errand.from_json(item), tokens, learnt)
    except Exception as error:
        return wire.Answer(failed=True, msg=str(unforeseen(error)), overtaken=isinstance(error, Overtaken))


def work(module):
    """The module's answer: one for each entry."""
    exchange, learnt = module.params["_exchange"], {}
    terms = wire.Terms.from_json(exchange["terms"])
    answers = [
        answer_for(module, terms, exchange, index, entry, learnt)
        for index, entry in enumerate(request.entries(module.params))
    ]
    changed = any(answer.outcome in ("files", "removed") for answer in answers)
    return {"changed": changed, "answers": [answer.to_json() for answer in answers]}


def main():
    """Examine, accept or obtain, as the action plugin says."""
    module = AnsibleModule(argument_spec=_options.spec(_options.CERTIFICATE), supports_check_mode=True)
    _answering.run(module, work)


if __name__ == "__main__":
    main()
