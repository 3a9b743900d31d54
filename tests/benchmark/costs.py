# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What programs cost on a host: told their command lines as JSON, prints for each its seconds and peak memory (KiB) as JSON."""

import json
import os
import subprocess
import sys
import time

ROUNDS = 15

commands = json.loads(sys.argv[1])
costs = {name: {"seconds": [], "memory": 0} for name in commands}
for _round in range(ROUNDS):
    for name, words in commands.items():
        begun = time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        error = process.stderr.read()
        _pid, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit("%s failed: %s" % (words, error.decode()))
        costs[name]["seconds"].append(time.monotonic() - begun)
        costs[name]["memory"] = max(costs[name]["memory"], usage.ru_maxrss)
print(json.dumps(costs))
