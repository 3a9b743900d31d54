# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Let AWX's own code inject a credential; runs in the environment awx. JSON in, {"env": ..., "args": ...} out."""

from __future__ import annotations

import json
import sys

from awx_plugins.interfaces._temporary_private_api import ManagedCredentialType
from awx_plugins.interfaces._temporary_private_container_api import CONTAINER_ROOT
from awx_plugins.interfaces._temporary_private_credential_api import Credential
from awx_plugins.interfaces._temporary_private_inject_api import inject_credential


def main() -> None:
    """{"inputs", "injectors": of the type, "given": of the credential, "folder": private_data_dir} on standard input."""
    told = json.load(sys.stdin)
    kind = ManagedCredentialType("step-ca", "step-ca", "cloud", told["inputs"], told["injectors"])
    env, safe, args = {}, {}, []
    inject_credential(kind, Credential(told["given"]), env, safe, args, told["folder"])
    # A container would have the folder there; this job has it where it is.
    mount, folder = CONTAINER_ROOT + "/", told["folder"] + "/"
    here = {name: text.replace(mount, folder) for name, text in env.items()}
    json.dump({"env": here, "args": [text.replace(mount, folder) for text in args]}, sys.stdout)


if __name__ == "__main__":
    main()
