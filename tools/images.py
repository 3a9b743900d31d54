# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Images of whole Debian systems for podman, made from Debian's own packages: no image registry is asked.

An image is named after the hash of what it is made of, so it is built once, and again when that changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tools.cache import PROJECT, cache_folder, temporary_folder
from tools.commands import ToolError, command_line, locked, run, say

REPOSITORY = "localhost/%s-node" % PROJECT

# A node and what it runs. Each has another Python and `cryptography`: 3.9 and 3.3, 3.11 and 38, 3.13 and 43.
SUITES: Mapping[str, str] = {"debian11": "bullseye", "debian12": "bookworm", "debian13": "trixie"}

# All that scenarios need: a node downloads nothing while it runs.
PACKAGES = (
    "acl",
    "ca-certificates",
    "cron",
    "curl",
    "dbus",
    "faketime",
    "haproxy",
    "iproute2",
    "nginx-light",
    "openssh-server",
    "openssl",
    "postgresql",
    "procps",
    "python3-cryptography",
    "systemd-sysv",
    "util-linux",
)

# What one of them has and the others have not, because it is large: etcd, and Java, whose trust store follows the system's.
MORE: Mapping[str, tuple[str, ...]] = {
    "debian12": ("ca-certificates-java", "etcd-client", "etcd-server", "openjdk-17-jre-headless", "tomcat10")
}

# What a scenario does not ask for is silent, and nothing of Debian's own stirs while it runs.
_SETTLE = (
    "systemctl --quiet disable haproxy.service nginx.service postgresql.service "
    "$(cd /lib/systemd/system && ls etcd.service tomcat10.service 2>/dev/null) "
    "&& systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer "
    "&& install -d -m 0700 /root/.ssh"
)


def image_name(node: str) -> str:
    """The image that the node is made of, whether it exists or not."""
    recipe = "\n".join([SUITES[node], *_packages(node), _SETTLE])
    return "%s:%s-%s" % (REPOSITORY, SUITES[node], hashlib.sha256(recipe.encode()).hexdigest()[:12])


def ensure_images(nodes: Sequence[str] = tuple(SUITES)) -> None:
    """Build what is missing, about a minute each; two at once, because one waits for the network or the disk."""
    with locked(cache_folder("locks") / "images"):
        missing = [node for node in nodes if not _exists(image_name(node))]
        with ThreadPoolExecutor(max_workers=2) as workers:
            list(workers.map(_build, missing))


def _packages(node: str) -> tuple[str, ...]:
    return PACKAGES + MORE.get(node, ())


def _exists(image: str) -> bool:
    return subprocess.run(["podman", "image", "exists", image], check=False).returncode == 0


def _build(node: str) -> None:
    say("building the image of %s" % node)
    command: list[str] = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=%s" % ",".join(_packages(node))]
    command += ["--customize-hook=chroot \"$1\" sh -c '%s'" % _SETTLE, SUITES[node], "-", *_mirror()]
    importing = ["podman", "import", "--quiet", "-", image_name(node)]
    folder = temporary_folder("image")
    folder.chmod(0o755)  # apt reads the half made system as a user of its own
    try:
        with (
            open(folder / "log", "wb") as log,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env={**os.environ, "TMPDIR": str(folder)}
            ) as making,
        ):
            imported = subprocess.run(importing, stdin=making.stdout, stdout=log, stderr=log, check=False)
        if making.returncode != 0 or imported.returncode != 0:
            # Never half an image under the name of a whole one.
            subprocess.run(["podman", "rmi", "--force", image_name(node)], capture_output=True, check=False)
            text = (folder / "log").read_text(encoding="utf-8", errors="replace")
            raise ToolError("the image of %s cannot be built:\n%s" % (node, text))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _mirror() -> list[str]:
    """The archive that this machine itself uses where it is Debian, else nothing: mmdebstrap knows Debian's own."""
    listing = run(["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"])
    uris = [line.partition(" ")[2] for line in listing.splitlines() if line.startswith("Debian ")]
    return uris[:1]


def remove_images() -> int:
    """Remove the images of this project, but those that another run uses; return how many there were."""
    listing = run(["podman", "images", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY]).split()
    removals = [subprocess.run(["podman", "rmi", image], capture_output=True, check=False) for image in listing]
    return sum(removal.returncode == 0 for removal in removals)


def main(arguments: Sequence[str]) -> int:
    """Build the images of the named nodes (all without a name) and print what they are called."""
    nodes = list(arguments) or list(SUITES)
    if not set(nodes) <= set(SUITES):
        raise ToolError("there are only the nodes %s" % ", ".join(SUITES))
    ensure_images(nodes)
    print("\n".join(image_name(node) for node in nodes))
    return 0


if __name__ == "__main__":
    command_line(main)
