# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Root's side of the scenario, on a node: brings attackers and root together, and judges what came of it.

It knows attack.py, and of the collection only the renewer's command line, which it calls in its own process, many times a
second. What it finds goes to a table of attacks: how often each was tried, and whether it was held.

begin:    remember what nobody may change
entries:  print the certificates that root wants in folders of others
cases:    print the certificates of the static attacks
plant, clean KIND: have the attackers put their things there, or take them away
static:   judge the results of a play on them, read from standard input
renewals: have the renewer meet with what was planted
races FIRST STEP: the renewer, again and again, against each STEP-th race
start, stop: all races at once, while a play or a unit runs
pairs:    judge every pair with openssl
table:    print it
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

HERE = Path("/etc/redteam")
OWN = Path("/root/.judge")
LOOT = Path("/var/tmp/loot")
CONFIGURATIONS = "/etc/stepca/renew.d"
STATIC_CONFIGURATIONS = "/etc/stepca/static.d"
RENEWER = "/usr/local/lib/stepca/renewer.pyz"
ROOTS = "/etc/stepca/roots.pem"
CANARY = "canary-of-root"
ATTACKERS = ("postgres", "prometheus", "nobody")
FILES = {
    "certificate_path": "site.crt",
    "key_path": "site.key",
    "chain_path": "chain.pem",
    "leaf_path": "leaf.pem",
    "root_path": "root.pem",
    "combined_path": "site.pem",
    "pkcs12_path": "site.p12",
}

# What nobody changes here, and in it what is the attackers' or changes by right.
KEPT = ("/etc", "/root", "/srv/plain", "/usr/local", "/usr/lib/systemd", "/var/spool/cron")
CHANGING = re.compile(
    "/root/(.judge|.ansible|.cache)|/etc/(postgresql/(race|static|lent)|stepca|systemd/system/.*stepca-renewer.*|cron.d/stepca-renewer)"
    "|/usr/local/lib/stepca"
)
OURS = ("/etc/stepca", "/var/lib/stepca", "/usr/local/lib/stepca", "/etc/systemd/system", "/etc/cron.d")
FOLDERS = ("/etc/postgresql", "/var/lib/prometheus", "/srv")

# (mode of attack.py, attacker, folder, whose it is)
RACES = [
    ("the folder is a link to one of root's", "postgres", "/etc/postgresql/race/link/tls", "own"),
    ("the folder is a link to /etc", "postgres", "/etc/postgresql/race/etc/tls", "own"),
    ("the folder is another one", "postgres", "/etc/postgresql/race/other/tls", "own"),
    ("the folder is a link to one of root's", "nobody", "/srv/nobodys/race/tls", "root's in nobody's"),
    ("the folder above is a link to one of root's", "postgres", "/etc/postgresql/race/above/tls", "own"),
    ("a file is a link", "postgres", "/etc/postgresql/race/links/tls", "own"),
    ("a file is a link", "postgres", "/srv/group", "the group's"),
    ("a file is the attacker's", "postgres", "/etc/postgresql/race/own/tls", "own"),
    ("a file is a pipe, folder or socket", "postgres", "/etc/postgresql/race/pipes/tls", "own"),
    ("root's files are exchanged", "postgres", "/etc/postgresql/race/mixed/tls", "own"),
    ("root's files are exchanged", "postgres", "/srv/acl", "an ACL's"),
    ("root's key is where root mends an owner", "postgres", "/etc/postgresql/race/mended/tls", "own"),
    ("the staging folder is a link", "postgres", "/etc/postgresql/race/area/tls", "own"),
    ("the staging folder is a link", "postgres", "/srv/acl2", "an ACL's"),
    ("the staging folder is the attacker's", "postgres", "/etc/postgresql/race/area2/tls", "own"),
    ("every name is taken", "postgres", "/etc/postgresql/race/taken/tls", "own"),
    ("every name is taken", "nobody", "/srv/sticky", "everybody's"),
    ("files vanish", "postgres", "/etc/postgresql/race/vanish/tls", "own"),
]
METRICS_FOLDER = "/var/lib/prometheus/node-exporter"
METRICS = METRICS_FOLDER + "/stepca.prom"
METRICS_RACES = ("a file is a link", "a file is the attacker's", "a file is a pipe, folder or socket")
METRICS_RACES += ("the folder is a link to one of root's", "the staging folder is a link", "files vanish")

RUNS, PATIENCE = 6, 20


class Hung(BaseException):
    """Root waits for an attacker."""


def hang(_number, _frame):
    raise Hung


def say(*words) -> None:
    print(*words, flush=True)


def load(name: str, default):
    path = OWN / name
    return json.loads(path.read_text()) if path.exists() else default


def store(name: str, content) -> None:
    (OWN / name).write_text(json.dumps(content))


def as_user(user: str, *words, given=None, wait=True):
    """attack.py as this user."""
    import pwd

    one = pwd.getpwnam(user)
    command = ["python3", str(HERE / "attack.py"), *words]
    with open(OWN / "attackers.log", "a") as log:
        process = subprocess.Popen(
            command, user=one.pw_uid, group=one.pw_gid, extra_groups=[], cwd="/", text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    if not wait:
        process.stdout.readline()
        return process
    output = process.communicate(json.dumps(given) if given is not None else "", timeout=60)[0]
    if process.returncode:
        raise SystemExit("the attacker %s failed at %s" % (user, words))
    return output


def ended(process) -> int:
    """What it counted."""
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=30)[0]
    return int(output.strip() or 0)


# ----- what nobody may change


def look(path: str):
    """All that the kernel tells of a file, but when it was read."""
    one = os.lstat(path)
    found = [
        stat.filemode(one.st_mode),
        one.st_uid,
        one.st_gid,
        one.st_ino,
        one.st_nlink,
        one.st_mtime_ns,
        one.st_ctime_ns,
    ]
    found += [
        [name, os.getxattr(path, name, follow_symlinks=False).hex()]
        for name in os.listxattr(path, follow_symlinks=False)
    ]
    if stat.S_ISREG(one.st_mode):
        found.append(hashlib.sha256(Path(path).read_bytes()).hexdigest())
    elif stat.S_ISLNK(one.st_mode):
        found.append(os.readlink(path))
    return found


def kept() -> dict:
    found = {}
    for top in KEPT:
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if not CHANGING.match(os.path.join(folder, name))]
            for name in names + folders:
                path = os.path.join(folder, name)
                if not CHANGING.match(path):
                    found[path] = look(path)
    for path, one in found.items():
        # Of these the judge itself makes hard links, and others make files in those by right.
        if path.startswith("/root/hard.d/") or path in ("/etc/postgresql", "/etc/systemd/system", "/etc/cron.d"):
            one[4:7] = []
    return found


def scheduled() -> dict:
    """The text of units and cron lines."""
    paths = [
        "/etc/systemd/system/stepca-renewer.service",
        "/etc/systemd/system/stepca-renewer.timer",
        "/etc/cron.d/stepca-renewer",
    ]
    return {path: Path(path).read_text() for path in paths if os.path.exists(path)}


def begin() -> None:
    OWN.mkdir(mode=0o700, exist_ok=True)
    store("begun.json", time.strftime("%Y-%m-%d %H:%M:%S"))
    store("kept.json", kept())
    store("scheduled.json", scheduled())


def problems() -> list:
    """All that an attacker has gained."""
    found = []
    before, now = load("kept.json", {}), kept()
    for path in sorted(set(before) | set(now)):
        if json.loads(json.dumps(now.get(path))) != before.get(path):
            found.append("%s was %s and is %s" % (path, before.get(path), now.get(path)))
    if scheduled() != load("scheduled.json", {}):
        found.append("what root executes is now %s" % scheduled())
    for top in FOLDERS + OURS:
        for folder, folders, names in os.walk(top):
            for name in folders + names:
                found += list(gained(os.path.join(folder, name), top in OURS))
    return found + stolen()


def gained(path: str, ours: bool):
    """Sentences on one file. It is opened once: its name may be another file's a moment later."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # a link, a socket, or gone
        return
    try:
        one, listed = os.fstat(opened), os.listxattr(opened)
        content = os.read(opened, 1 << 20) if stat.S_ISREG(one.st_mode) else b""
    finally:
        os.close(opened)
    others = one.st_uid != 0 or one.st_mode & 0o044 or "system.posix_acl_access" in listed
    if stat.S_ISREG(one.st_mode) and one.st_mode & 0o7000:
        yield "%s has mode %04o" % (path, stat.S_IMODE(one.st_mode))
    if "security.capability" in listed:
        yield "%s has capabilities" % path
    if stat.S_ISREG(one.st_mode) and one.st_uid == 0 and one.st_mode & 0o022:
        yield "others may write to root's %s" % path
    if ours and one.st_uid != 0:
        yield "%s does not belong to root" % path
    if CANARY.encode() in content and (others or ours) and not path.startswith("/etc/redteam/"):
        yield "%s holds what was only root's" % path
    if is_secret(content) and (others or ours) and path not in load("given.json", []):
        yield "%s, of %d and mode %04o, holds a private key" % (path, one.st_uid, stat.S_IMODE(one.st_mode))
    if os.path.basename(path) == ".stepca.0" and one.st_uid == 0 and stat.S_IMODE(one.st_mode) & 0o777 != 0o700:
        yield "%s has mode %04o" % (path, stat.S_IMODE(one.st_mode))


def is_secret(content: bytes) -> bool:
    keys = re.findall(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+", content)
    return any(one not in (HERE / "attacker.key").read_bytes() for one in keys)


def stolen() -> list:
    """What the thieves could read."""
    found = []
    for path in sorted(LOOT.iterdir()):
        name, _line, content = path.read_bytes().partition(b"\n")
        if is_secret(content) or CANARY.encode() in content or (name.endswith(b".p12") and name.startswith(b"0 ")):
            found.append("the attacker could read %s, as %s" % (name.decode(), path))
    return found


def judge(name: str, tried: int, more=()) -> None:
    """Write an attack into the table; problems are not counted twice."""
    known = load("problems.json", [])
    found = problems()
    new = [one for one in found if one not in known] + list(more)
    store("problems.json", known + [one for one in found if one not in known])
    table = load("table.json", [])
    for row in table:
        if row["attack"] == name:
            row.update(tried=row["tried"] + tried, why=row["why"] + new)
            break
    else:
        table.append({"attack": name, "tried": tried, "why": new})
    store("table.json", table)


def table() -> None:
    rows = load("table.json", [])
    for row in rows:
        say("%-6s %6d  %s" % ("BROKEN" if row["why"] else "held", row["tried"], row["attack"]))
        for why in row["why"][:5]:
            say("               %s" % why[:600])
    say("%d attacks of %d kinds, %d of them held" % (
        sum(row["tried"] for row in rows), len(rows), sum(not row["why"] for row in rows),
    ))  # fmt: skip
    sys.exit(any(row["why"] for row in rows))


# ----- what root wants


def entry(folder: str, **more) -> dict:
    paths = {option: "%s/%s" % (folder, name) for option, name in FILES.items()}
    wanted = {"sans": ["redteam.test"], "pkcs12_password_file": "/root/p12.password", "key_policy": "always"}
    wanted["pkcs12_encryption"] = "compatible"  # all that cryptography of Debian 11 can make
    return {**paths, **wanted, **more}


def entries() -> None:
    """Due two seconds after they were issued, which a unit finds at every start."""
    say(json.dumps([entry(folder, not_after="240h", renew_before="863998s") for _mode, _user, folder, _whose in RACES]))


PLANTS = {
    "a link to root's file": "link:/root/canary.d/NAME",
    "a link to a file that is not there": "link:/etc/cron.d/redteam",
    "a pipe": "pipe",
    "a folder": "folder",
    "a file of the attacker's": "file",
    "a hard link to root's file": "hard:/root/hard.d/NAME",
}
MORE_PLANTS = {
    "a link to a folder of root's": "link:/etc",
    "a socket": "socket",
    "the attacker's key": "key",
    "a file with two names": "twice",
    "a file of a terabyte": "large",
}
HIDDEN = {
    "the record": ".site.crt.stepca.json",
    "the backup": ".site.crt.stepca.backup",
    "the staging folder": ".stepca.0",
    "the mark of a folder": ".stepca.folder",
    "what is staged": ".site.crt.stepca-new",
    "what is put back": ".site.crt.stepca-old",
    "what becomes a backup": ".site.crt.stepca-backup",
    "a staged key": ".site.key.stepca-0123456789abcdef0123456789abcdef",
    "a lock": ".stepca.0.lock",
}
ODD = "x\nExecStartPre=+/usr/bin/touch /etc/redteam.pwned\n[Service]"
FOLDER_PLANTS = {
    "a link to a folder of root's": "link:/root/canary.d",
    "a link to /etc": "link:/etc",
    "a link to a folder of the attacker's": "link:OWN",
    "a link to a folder with a newline": "link:ODD",
    "a pipe": "pipe",
    "a file": "file",
}


def static_cases() -> list:
    """{"kind", "folder", "plants": [[path, what]], "entry"}"""
    found = []

    def add(kind: str, plants: list, **more) -> None:
        folder = "/etc/postgresql/static/%d/tls" % len(found)
        plants = [[path.replace("HERE", folder), what.replace("HERE", folder)] for path, what in plants]
        option = {"key_policy": "on_issue", "make_folder": True, **more}
        one = entry(folder, **option)
        found.append({"kind": kind, "folder": os.path.dirname(folder), "plants": plants, "entry": one})

    for option, name in FILES.items():
        more = MORE_PLANTS if option in ("certificate_path", "key_path") else {}
        few = (
            {}
            if option in ("certificate_path", "key_path", "chain_path")
            else ("a folder", "a link to a file that is not there")
        )
        for kind, what in {**PLANTS, **more}.items():
            if kind not in few:
                add("%s: %s" % (option, kind), [["HERE/" + name, what.replace("NAME", name)]])
    for kind, name in HIDDEN.items():
        for words in ("a link to root's file", "a pipe", "a folder", "a file of the attacker's")[
            : 4 if "stepca-" not in name else 2
        ]:
            what = PLANTS[words].replace("NAME", "site.key")
            add(
                "%s: %s" % (kind, words), [["HERE/" + name, what], ["HERE/chain.pem", "text:somebody's\n"]], backup=True
            )
    add("the staging folder: a closed one of the attacker's", [["HERE/.stepca.0", "closed"]])
    add("the staging folder: a link to a folder of root's", [["HERE/.stepca.0", "link:/root/canary.d"]])
    for kind, what in FOLDER_PLANTS.items():
        odd = "HERE.%s" % ODD.replace("/", "_")
        more = [[odd + "/there", "file"]] if what == "link:ODD" else []
        more += [["HERE.own/there", "file"]] if what == "link:OWN" else []
        add("the folder: %s" % kind, [*more, ["HERE", what.replace("ODD", odd).replace("OWN", "HERE.own")]])
    add("a folder to be made: a link above", [["HERE", "link:/root/canary.d"]])
    found[-1]["entry"] = entry(found[-1]["plants"][0][0] + "/new", key_policy="on_issue", make_folder=True)
    return found


def cases() -> None:
    say(json.dumps([one["entry"] for one in static_cases()]))


def plant(kind: str) -> None:
    """plant or clean; root makes hard links as the kernel of a host without protected_hardlinks lets everybody."""
    listed = [one for case in static_cases() for one in case["plants"]]
    hard = [one for one in listed if one[1].startswith("hard:")]
    for case in static_cases() if kind == "plant" else []:
        os.makedirs(case["folder"], exist_ok=True)
        shutil.chown(case["folder"], "postgres", "postgres")
    as_user("postgres", kind, given=[one for one in listed if one not in hard])
    if kind == "plant":
        as_user("postgres", kind, given=[[path, "file"] for path, _what in hard])
        for path, what in hard:
            os.unlink(path)
            os.link(what.partition(":")[2], path)
    else:
        for path, _what in hard:
            os.unlink(path) if os.lstat(path).st_nlink > 1 else None
            as_user("postgres", kind, given=[[path, "file"]])


def is_fine(*folders: str) -> list:
    """What openssl and the kernel say against sets of root's."""
    found = []
    whole = []
    for folder in folders:
        missing = [name for name in FILES.values() if not os.path.lexists("%s/%s" % (folder, name))]
        found += ["%s/%s is not there" % (folder, name) for name in missing]
        whole += [folder] if not missing else []
    if not whole:
        return found
    chain = Path(whole[0], "chain.pem").read_text()
    files = [[folder + "/site.crt", folder + "/leaf.pem"] for folder in whole]
    found += openssl("verify", "-CAfile", ROOTS, "-untrusted", whole[0] + "/chain.pem", *sum(files, []))
    found += openssl("verify", "-CAfile", ROOTS, "-no-CApath", *[folder + "/root.pem" for folder in whole])
    for folder in whole:
        said = {name: Path(folder, name).read_bytes() for name in FILES.values()}
        leaf = said["leaf.pem"].decode()
        if said["site.crt"].decode() != leaf + chain or said["chain.pem"].decode() != chain:
            found.append("%s/site.crt is not leaf.pem and chain.pem" % folder)
        public = {public_of(said[name]) for name in ("site.crt", "site.key", "site.pem")} | {
            public_of(said["site.pem"], True)
        }
        if len(public) != 1:
            found.append("%s: its certificate and key do not belong together" % folder)
        for name in FILES.values():
            path, secret = "%s/%s" % (folder, name), name in ("site.key", "site.pem", "site.p12")
            one = os.lstat(path)
            if (
                not stat.S_ISREG(one.st_mode)
                or one.st_nlink != 1
                or one.st_uid
                or stat.S_IMODE(one.st_mode) != (0o600 if secret else 0o644)
            ):
                names = [str(name) for name in Path(folder).rglob("*") if os.path.samestat(name.lstat(), one)]
                found.append(
                    "%s is %s of %d, and has %d names, here %s"
                    % (path, stat.filemode(one.st_mode), one.st_uid, one.st_nlink, names)
                )
    return found


def openssl(*words: str) -> list:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    return ["openssl: %s" % line for line in (done.stdout + done.stderr).splitlines() if not line.endswith(": OK")]


def public_of(pem: bytes, of_certificate=False) -> bytes:
    """The public key of a private one, or of the first certificate."""
    from cryptography import x509
    from cryptography.hazmat.backends import default_backend
    from cryptography.hazmat.primitives import serialization

    key = re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----\n", pem, re.DOTALL)
    if key and not of_certificate:
        public = serialization.load_pem_private_key(key.group(), None, default_backend()).public_key()
    else:
        public = x509.load_pem_x509_certificate(
            pem[pem.index(b"-----BEGIN CERTIFICATE") :], default_backend()
        ).public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def sentence(message: str, folder: str) -> list:
    """What is wrong with how a failure is told."""
    odd = re.search("Traceback|should not happen|MODULE FAILURE|canary-of-root|PRIVATE KEY|[Ee]rrno", message)
    if odd or not re.search("([.)]|--token-file -)$", message.strip()):
        return ["no sentence: %r" % message]
    return [] if folder in message or "/var/lib/stepca" in message else ["it does not name %s: %r" % (folder, message)]


def static(stage: str) -> None:
    """stage: planted, mended or steady; results of a play are on standard input."""
    text = sys.stdin.read()
    results = json.loads(text)
    counted = {"planted, a play: its whole result": secrets(text)}
    pairs = list(zip(static_cases(), results))
    fine = is_fine(
        *[os.path.dirname(case["entry"]["certificate_path"]) for case, one in pairs if not one.get("failed")]
    )
    for case, result in pairs:
        one = case["entry"]
        folder = os.path.dirname(one["certificate_path"])
        if result.get("failed"):
            found = sentence(result["msg"], case["folder"])
            found += ["%s: it fails still: %s" % (case["kind"], result["msg"])] if stage != "planted" else []
        else:
            found = [one for one in fine if folder + "/" in one]
            found += ["%s changed: %s" % (folder, result)] if stage == "steady" and result["changed"] else []
        name = "planted, a play: " + case["kind"]
        counted.setdefault(name, []).extend(["%s: %s" % (stage, one) for one in found])
    for number, (name, found) in enumerate(counted.items()):
        if number == 0:
            judge("planted, a play: anything", 0)
        remember(name, stage == "planted", found)


def secrets(text: str) -> list:
    """What no result and no journal may hold."""
    found = [word for word in (CANARY, "PRIVATE KEY-----") if word in text]
    return ["it holds %s" % ", ".join(found)] if found else []


def told() -> None:
    """Results of a loop: items with what, and refused (what a refusal has to name) or may_fail (the same, where there is one)."""
    text = sys.stdin.read()
    for result in json.loads(text):
        item, found = result["item"], secrets(json.dumps(result))
        needle = item.get("refused") or item["may_fail"]
        if "msg" in result:
            found += sentence(result["msg"], needle)
        elif item.get("refused"):
            found.append("it was not refused: %s" % result)
        remember(item["what"], 1, found)
    judge("planted, modules: anything", 0)


def remember(name: str, tried: int, why: list) -> None:
    """The same as judge, without a look at everything."""
    rows = load("table.json", [])
    row = next((row for row in rows if row["attack"] == name), None)
    if row is None:
        row = {"attack": name, "tried": 0, "why": []}
        rows.append(row)
    row["tried"] += int(tried)
    row["why"] += why
    store("table.json", rows)


def more() -> None:
    """Attacks on what is no certificate; they are planted, and printed as items of loops."""
    folder = "/etc/postgresql/static/more"
    bootstrap, metrics, plants = [], [], []

    def add(found: list, option: str, kind: str, path: str, what: str, value: str) -> None:
        path, value = ["%s/%d/%s" % (folder, len(plants), one) for one in (path, value)]
        plants.append([path, what])
        found.append({"what": "planted, %s: %s" % (option, kind), "may_fail": os.path.dirname(path), option: value})

    link, hard = "link:/root/canary.d/site.key", "hard:/root/hard.d/site.key"
    add(bootstrap, "root_path", "a link to root's file", "root.pem", link, "root.pem")
    add(
        bootstrap, "root_path", "a link to a file that is not there", "root.pem", "link:/etc/cron.d/redteam", "root.pem"
    )
    add(bootstrap, "root_path", "a hard link to root's file", "root.pem", hard, "root.pem")
    add(bootstrap, "root_path", "a pipe", "root.pem", "pipe", "root.pem")
    add(bootstrap, "root_path", "its folder is a link", "tls", "link:/root/canary.d", "tls/root.pem")
    add(bootstrap, "step_path", "a link to root's folder", "step", "link:/root/canary.d", "step")
    add(bootstrap, "step_path", "certs is a link", "step/certs", "link:/root/canary.d", "step")
    add(bootstrap, "step_path", "config/defaults.json is a link", "step/config/defaults.json", link, "step")
    add(bootstrap, "step_path", "config/defaults.json is a pipe", "step/config/defaults.json", "pipe", "step")
    add(metrics, "metrics_path", "a link to root's key", "a.prom", link, "a.prom")
    add(metrics, "metrics_path", "a hard link to root's key", "a.prom", hard, "a.prom")
    add(metrics, "metrics_path", "somebody's file", "a.prom", "text:# somebody's\n", "a.prom")
    add(metrics, "metrics_path", "a pipe", "a.prom", "pipe", "a.prom")
    add(metrics, "metrics_path", "its folder is a link", "tls", "link:/root/canary.d", "tls/a.prom")
    for item in metrics:
        item["refused"] = item.pop("may_fail")
    os.makedirs(folder)
    shutil.chown(folder, "postgres")
    as_user("postgres", "plant", given=[[path, "file" if what == hard else what] for path, what in plants])
    for path, what in plants:
        if what == hard:
            os.unlink(path)
            os.link(what.partition(":")[2], path)
    # A key of root's that lies in a folder of prometheus', as metrics.
    key = METRICS_FOLDER + "/key.prom"
    shutil.copy("/root/canary.d/site.key", key)
    os.chmod(key, 0o600)
    metrics.append({"what": "planted, metrics_path: root's key", "refused": key, "metrics_path": key})
    say(json.dumps({"bootstrap": bootstrap, "metrics": metrics}))


def records() -> None:
    """Records that name files of root's, for state: absent; prints the entries."""
    folders = ["/etc/postgresql/static/%d/tls" % number for number in range(3)]
    for number, folder in enumerate(folders):
        content = json.loads(record_of(folder).read_text())
        others = ["/root/canary", "/root/canary.d/site.key", "/etc/passwd", "/srv/plain/site.crt"]
        if number < 2:
            content["files"].update({"file%d" % count: path for count, path in enumerate(others)})
        else:
            content["files"] = {"certificate_path": "/srv/plain/site.crt", "key_path": "/srv/plain/site.key"}
        path = folder + "/.site.crt.stepca.json"
        if number == 0:
            as_user("postgres", "plant", given=[[path, "text:" + json.dumps(content)]])
        else:  # as a former version of root's left it there
            record_of(folder).unlink()
            Path(path).write_text(json.dumps(content))
            os.chmod(path, 0o644)
    say(json.dumps([{"certificate_path": folder + "/site.crt", "state": "absent"} for folder in folders]))


def absent() -> None:
    text = sys.stdin.read()
    found = secrets(text) + ["%s" % one for one in json.loads(text)["results"] if one.get("failed")]
    found += [
        "%s is there" % one["certificate_path"]
        for one in json.loads(text)["results"]
        if os.path.exists(one["certificate_path"])
    ]
    judge("planted, state absent: records that name files of root's", 3, found)


LENT = {"a": {"key_owner": "postgres"}, "b": {}, "c": {"key_owner": "postgres", "key_policy": "keep"}, "d": {}}


def lent(step: str) -> None:
    """Entries a and c are postgres', b and d are root's; postgres gives its own the names of root's, and root plays again."""
    top = "/etc/postgresql/lent/"
    if step == "entries":
        for name in LENT:
            Path(top, name).mkdir(parents=True)
            shutil.chown(top + name, "postgres", "postgres")
        shutil.chown(top, "postgres", "postgres")
        found = [entry(top + name, **{"key_policy": "on_issue", **more}) for name, more in LENT.items()]
        for one in found:
            one["sans"] = (
                ["%s.redteam.test" % one["certificate_path"].split("/")[-2]] if "/c/" in str(one) else one["sans"]
            )
        say(json.dumps(found))
    elif step == "swap":
        store(
            "given.json",
            ["%s%s/%s" % (top, folder, name) for folder in "abcd" for name in ("site.key", "site.pem", "site.p12")],
        )
        store("lent.json", [Path(top, name, "site.key").read_text() for name in "bd"])
        as_user("postgres", "swap", top + "a", top + "b")
        as_user("postgres", "swap", top + "c", top + "d")
    else:
        found = []
        for path in sorted(Path(top).rglob("*")):
            if not path.is_file() or (path.stat().st_uid == 0 and path.stat().st_mode & 0o077 == 0):
                continue
            if any(key in path.read_text(errors="replace") for key in load("lent.json", [])):
                found.append("%s, of %d, is root's key of another certificate" % (path, path.stat().st_uid))
        judge("exchanged: root's key under the name of the account's own", 2, found)


# ----- the renewer, in this process


def command():
    if RENEWER not in sys.path:
        sys.path.insert(0, RENEWER)
    from stepca.renewer import command

    return command


def renewer(*words, patience=PATIENCE) -> tuple:
    """(exit code, what it said, seconds)."""
    said = io.StringIO()
    begun = time.monotonic()
    signal.signal(signal.SIGALRM, hang)
    signal.alarm(patience)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = command().main(list(words))
    except Hung:
        return -1, "failed: it was held for %d s." % patience, time.monotonic() - begun
    finally:
        signal.alarm(0)
    return code, said.getvalue(), time.monotonic() - begun


def renew(certificate: str, config=CONFIGURATIONS) -> tuple:
    return renewer("renew", "--force", "--config", config, certificate)


def wrong(code: int, said: str, seconds: float, folder: str) -> list:
    """What is wrong with a run while it is attacked: it may fail, with a sentence."""
    found = []
    for line in said.splitlines():
        if line.startswith("failed"):
            found += sentence(line, folder)
    if code not in (0, 1) or seconds > PATIENCE - 1:
        found.append("code %d after %.1f s: %s" % (code, seconds, said))
    return found


def renewals() -> None:
    """Every plant again, where root's files were before."""
    plant("plant")
    for case in static_cases():
        folder = case["folder"]
        if os.path.dirname(case["entry"]["certificate_path"]).endswith("/new"):
            continue
        found = wrong(*renew(case["entry"]["certificate_path"], STATIC_CONFIGURATIONS), folder)
        remember("planted, the renewer: " + case["kind"], 1, found)
    code, _said, seconds = renewer("status", "--config", STATIC_CONFIGURATIONS)
    found = [] if code in (0, 1, 2) and seconds < PATIENCE - 1 else ["code %d after %.1f s" % (code, seconds)]
    judge("planted, the renewer: status of all of it", 1, found)
    plant("clean")
    code, said, _seconds = renewer("renew", "--force", "--config", STATIC_CONFIGURATIONS, patience=300)
    found = is_fine(*[os.path.dirname(case["entry"]["certificate_path"]) for case in static_cases()])
    judge("planted, the renewer: all of it afterwards", 1, found + (["code %d: %s" % (code, said)] if code else []))


# ----- races


def saved_as(folder: str) -> Path:
    return OWN / "saved" / folder.strip("/").replace("/", "_")


def record_of(folder: str) -> Path:
    """Where root keeps the record of this certificate: in a folder of its own."""
    name = "site.crt-%s.json" % hashlib.sha256((folder + "/site.crt").encode()).hexdigest()[:8]
    return Path("/var/lib/stepca/records", name)


def save(folder: str) -> None:
    shutil.rmtree(saved_as(folder), ignore_errors=True)
    saved_as(folder).mkdir(parents=True)
    for path in [*(Path(folder, name) for name in FILES.values()), record_of(folder)]:
        shutil.copy2(path, saved_as(folder) / path.name)


def put_back(folder: str) -> None:
    """The set as it was. The attackers are at rest, and no link is on the way."""
    for name in FILES.values():
        path = os.path.join(folder, name)
        if os.path.lexists(path):
            shutil.rmtree(path) if stat.S_ISDIR(os.lstat(path).st_mode) else os.unlink(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write((saved_as(folder) / name).read_bytes())
            os.fchown(descriptor, 0, 0)
            os.removexattr(descriptor, "system.posix_acl_access") if os.listxattr(descriptor) else None
            os.fchmod(descriptor, 0o600 if name in ("site.key", "site.pem", "site.p12") else 0o644)
    shutil.copy2(saved_as(folder) / record_of(folder).name, record_of(folder))


def races(first: str, step: str) -> None:
    """Each step-th of them: the nodes have one kernel, and share the work."""
    done = {}
    for mode, user, folder, whose in RACES[int(first) :: int(step)]:
        save(folder)
        thief = as_user(user, "thieve", str(LOOT), folder, wait=False)
        attacker = as_user(user, "race", mode, folder, wait=False)
        found, codes = [], []
        for run in range(RUNS):
            if run:
                rest(attacker)
                put_back(folder)
                go_on(attacker)
            code, said, seconds = renew(folder + "/site.crt")
            found += wrong(code, said, seconds, os.path.dirname(folder))
            codes.append(code)
            done.setdefault(
                re.sub("[0-9a-f]{16,}|[0-9-]+T[0-9:]+Z", "#", said).replace(os.path.dirname(folder), "").strip(), []
            ).append(mode)
        steps = ended(attacker)
        ended(thief)
        code, said, _seconds = renew(folder + "/site.crt")
        found += ["afterwards, once: %s" % said] if code not in (0, 1) else []
        put_back(folder)
        time.sleep(1)  # a renewal within the same second would end no later
        code, said, _seconds = renew(folder + "/site.crt")
        found += ["afterwards: %s" % said] if code else []
        found += is_fine(folder)
        name = "raced, the renewer: %s (in a folder that is %s)" % (mode, whose)
        say("%s: %d runs of %d failed, %d steps" % (name, sum(map(bool, codes)), len(codes), steps))
        judge(name, len(codes), found)
    metrics_races(METRICS_RACES[int(first) :: int(step)])
    for said, modes in sorted(done.items()):
        say("%4d  %s" % (len(modes), said[:400]))


def rest(attacker) -> None:
    attacker.send_signal(signal.SIGUSR1)
    while attacker.stdout.readline().strip() != "paused":
        pass


def go_on(attacker) -> None:
    attacker.send_signal(signal.SIGUSR2)
    attacker.stdout.readline()


def metrics_races(modes) -> None:
    for mode in modes:
        found, steps, codes = [], 0, []
        thief = as_user("prometheus", "thieve", str(LOOT), METRICS_FOLDER, wait=False)
        attacker = as_user("prometheus", "race", mode, METRICS_FOLDER, wait=False)
        for _run in range(RUNS):
            code, said, seconds = renewer("status", "--config", "/etc/stepca/none.d", "--metrics", METRICS)
            found += wrong(code, said, seconds, os.path.dirname(METRICS_FOLDER))
            codes.append(code)
        steps = ended(attacker)
        ended(thief)
        code, said, _seconds = renewer("status", "--config", "/etc/stepca/none.d", "--metrics", METRICS)
        if code:
            as_user("prometheus", "clean", given=[[METRICS, "file"]])
            code, said, _seconds = renewer("status", "--config", "/etc/stepca/none.d", "--metrics", METRICS)
        found += ["afterwards: %s" % said] if code else []
        name = "raced, metrics: " + mode
        say("%s: %d runs of %d failed, %d steps" % (name, sum(map(bool, codes)), len(codes), steps))
        judge(name, len(codes), found)


def held_up() -> None:
    """Locks and leases: root's run goes on all the same."""
    for kind, runs in (("flock", 4), ("lease", 1)):
        folder = "/etc/postgresql/race/own/tls"
        if kind == "lease":
            as_user(
                "postgres",
                "plant",
                given=[["%s/%s" % (folder, name), "file"] for name in ("chain.pem", "leaf.pem", "root.pem")],
            )
        holder = as_user("postgres", "hold", kind, folder, os.path.dirname(folder), "/var/lib/stepca", wait=False)
        time.sleep(0.5)
        found = []
        for _run in range(runs):
            code, said, seconds = renew(folder + "/site.crt")
            found += wrong(code, said, seconds, folder)
            found += ["code %d: %s" % (code, said)] if kind == "flock" and code else []
        held = ended(holder)
        if kind == "lease":
            as_user(
                "postgres",
                "clean",
                given=[["%s/%s" % (folder, name), "file"] for name in ("chain.pem", "leaf.pem", "root.pem")],
            )
        say("held by %s: %d, %s" % (kind, held, found))
        judge("held: %s on all that the account can open" % kind, runs, found)


def start(which: str) -> None:
    """All races at once, in the background, and thieves; or root's key, wherever root may mend an owner."""
    for user in ("postgres", "nobody"):
        words = [word for mode, one, folder, _whose in RACES if one == user for word in (mode, folder)]
        if which == "mended":
            words = [
                word if number % 2 else "root's key is where root mends an owner" for number, word in enumerate(words)
            ]
        if which == "all" or user == "postgres":
            unit(user, "race", *words)
        unit(user, "thieve", str(LOOT), *FOLDERS, "/var/lib/stepca", "/etc/stepca")
    if which == "all":
        unit("prometheus", "race", *[word for mode in METRICS_RACES[:3] for word in (mode, METRICS_FOLDER)])


def unit(user: str, *words) -> None:
    """attack.py in a unit of its own."""
    name = "redteam-%s-%s" % (user, words[0])
    command = [
        "systemd-run",
        "--quiet",
        "--collect",
        "--unit",
        name,
        "--uid",
        user,
        "--property=StandardOutput=append:/var/tmp/attackers",
    ]
    subprocess.run([*command, "python3", str(HERE / "attack.py"), *words], check=True)


def stop() -> None:
    subprocess.run(["systemctl", "stop", "redteam-*"], check=True)
    if os.path.lexists(METRICS):
        as_user("prometheus", "clean", given=[[METRICS, "file"]])
    for _mode, _user, folder, _whose in RACES:
        for name in os.listdir(folder):
            if name.startswith((".spare", ".evil", ".away")):
                path = os.path.join(folder, name)
                shutil.rmtree(path) if stat.S_ISDIR(os.lstat(path).st_mode) else os.unlink(path)


def pairs() -> None:
    found = is_fine(*[folder for _mode, _user, folder, _whose in RACES])
    judge("afterwards: every pair is whole", len(RACES), found)


def journal() -> None:
    """Nothing secret was written there, and nothing that should not happen."""
    text = subprocess.run(
        ["journalctl", "--output=cat", "--no-pager", "--since", load("begun.json", "")],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
    ).stdout
    found = secrets(text)
    found += [line for line in text.splitlines() if "should not happen" in line or "Traceback" in line]
    judge("the journal holds nothing of root's", 1, found)


def attacked(name: str) -> None:
    """The result of a play that ran during races, on standard input."""
    text = sys.stdin.read()
    found = secrets(text)
    results = json.loads(text)["results"]
    for result in results:
        if result.get("failed"):
            found += sentence(result["msg"], os.path.dirname(result["certificate_path"]).partition("/tls")[0])
    say("%s: %d of %d failed" % (name, sum(bool(one.get("failed")) for one in results), len(results)))
    judge("raced, %s" % name, len(results), found)


def scheduled_run(runs: str) -> None:
    """What the timer starts, or cron, again and again, while all races run."""
    by_cron = os.path.exists("/etc/cron.d/stepca-renewer")
    line = (
        Path("/etc/cron.d/stepca-renewer").read_text().splitlines()[-1].split(" root ")[1].replace("\\%", "%")
        if by_cron
        else ""
    )
    command = ["sh", "-c", line] if by_cron else ["systemctl", "start", "stepca-renewer.service"]
    found, codes = [], []
    for _run in range(int(runs)):
        try:
            codes.append(subprocess.run(command, capture_output=True, timeout=60, check=False).returncode)
        except subprocess.TimeoutExpired:
            found.append("it was held for a minute")
    say("%d of %d runs failed" % (sum(map(bool, codes)), len(codes)))
    judge(
        "raced, the renewer by %s: everything at once" % ("cron" if by_cron else "its unit"),
        len(codes) * len(RACES),
        found,
    )


def main(words: list) -> None:
    os.umask(0o077)
    name, rest = words[0], words[1:]
    if name in ("plant", "clean"):
        plant(name)
    else:
        globals()[name](*rest)


if __name__ == "__main__":
    main(sys.argv[1:])
