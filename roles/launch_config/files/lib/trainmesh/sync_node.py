# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's part of a sync, asked for with ``trainmesh sync-part``: look, send, hash, check, receive.

The answer is the last line, as JSON. An empty line every second tells when nobody reads any more: then the part ends,
and rsync with it, so that nothing goes on when the head or the connection to it is gone.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import hashlib
import json
import os
import re
import selectors
import shlex
import signal
import subprocess
import sys
import threading
import typing as t

from trainmesh.fanout import SSH
from trainmesh.installation import Installation, Refused, find, user
from trainmesh.sync_files import MARKER, MISSING, PARTIAL, File, dangerous, environment, first_trouble, rsync, see
from trainmesh.words import decode

NAMES, RULES = "var/sync.names", "var/sync.rules"  # of the sync that goes on; there is one at a time
ALIVE = ("-oServerAliveInterval=5", "-oServerAliveCountMax=4")  # a node that hangs is given up after 20 s
TOLD = 20  # names in an answer
HASHERS = 8
REFUSED = 64
NETWORK = re.compile(r"nfs4?|lustre|ceph|beegfs\w*|gpfs|cifs|smb3|gfs2|ocfs2|glusterfs|fuse\.(?:ceph|gluster|juice)\w*")
DELETED = re.compile(r"\*deleting +(.+)")
DONE = re.compile(r"\s*(\d+)\s+\d+%")


def main(prefix: str, words: t.Sequence[str]) -> int:
    """Carry out one part."""
    installation = find(prefix)
    question, *rest = [decode(word) for word in words]
    parts: dict[str, t.Callable[..., t.Any]] = {"look": looked, "send": send, "hash": content, "check": check}
    if question == "receive":
        receive(installation, rest[0], rest[1] == "1", rest[2] == "1", words[4:])
    if question not in parts:
        raise Refused(f"there is no part {question}")
    with Pulse() as pulse:
        answer = parts[question](installation, pulse, *rest)
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    return 0


class Pulse:
    """Writes an empty line every second, and ends this process and its child when it can't."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Pulse:
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        self.thread.join()

    def say(self, text: str) -> None:
        """A line to the head."""
        try:
            with self.lock:
                os.write(1, f"{text}\n".encode())
        except OSError:
            self.end()

    def end(self) -> None:
        """Nobody reads any more."""
        if self.child is not None:
            with contextlib.suppress(OSError):
                os.killpg(self.child.pid, signal.SIGTERM)
        os._exit(1)

    def _beat(self) -> None:
        while not self.over.wait(1.0):
            self.say("")


def given() -> dict[str, t.Any]:
    """What the head has sent to standard input."""
    answer = json.loads(gzip.decompress(sys.stdin.buffer.read()))
    answer["files"] = [File(*each) for each in answer["files"]]
    return t.cast("dict[str, t.Any]", answer)


def looked(
    installation: Installation, _pulse: Pulse, named: str, base: str, mark: str, delete: str, dry: str
) -> dict[str, t.Any]:
    """What differs here, whether there is room for it, and what speaks against copying it."""
    told = given()
    answer: dict[str, t.Any] = {"trouble": "", "shared": False, "place": None, "differ": 0, "bytes": 0, "names": []}
    danger = dangerous(installation.prefix, named, bool(delete))
    if danger or rsync() is None:
        return {**answer, "trouble": danger or MISSING}
    if os.path.exists(f"{base}/{MARKER}{mark}") if mark else told["identity"] == identity(base, told["files"]):
        return {**answer, "shared": True}
    if not dry:
        trouble = made(base, told["mode"])
        if trouble:
            return {**answer, "trouble": trouble}
        keep(installation, NAMES, "".join(f"./{file.name}\0" for file in told["files"]))
    pairs = [(file, see(base, file.name)) for file in told["files"]]
    differ = [(file, before) for file, before in pairs if not file.same(before)]
    moved = [file for file, before in differ if before is None or not same_content(file, before)]
    if differ and not dry:
        salvage(base, [file for file, _before in differ])
    need, free = room(base, differ)
    if need > free:
        answer["trouble"] = f"no room for it: {base} needs {need} bytes more and has {free}"
    else:
        answer["trouble"] = closed(base, moved)
    answer.update(there=os.path.isdir(base), place=place(base), differ=len(differ))
    answer.update(bytes=sum(file.size for file in moved), names=[file.name for file, _before in differ[:TOLD]])
    return answer


def closed(base: str, moved: t.Sequence[File]) -> str:
    """The first directory in which this user may not write what has to be written."""
    for folder in sorted({os.path.dirname(file.name) for file in moved}):
        path = existing(os.path.join(base, folder))
        if not os.access(path, os.W_OK | os.X_OK):
            return f"{path} can't be written by {user(os.geteuid())}"
    return ""


def identity(base: str, files: t.Sequence[File]) -> list[list[int]]:
    """By what a directory can be known again on another node, where no marker can be written to it."""
    found = []
    for name in ("", *(file.name for file in files[:3])):
        with contextlib.suppress(OSError):
            facts = os.lstat(os.path.join(base, name))
            found.append([facts.st_ino, facts.st_ctime_ns])
    return found


def same_content(file: File, before: File) -> bool:
    """Whether only rights differ."""
    return (file.kind, file.size, file.time, file.target) == (before.kind, before.size, before.time, before.target)


def made(base: str, mode: int) -> str:
    """Make the directory; why that is not possible."""
    try:
        if not os.path.lexists(base):
            os.makedirs(base)
            os.chmod(base, mode)
    except OSError as error:
        return f"{error.filename} can't be made: {error.strerror}"
    return "" if os.path.isdir(base) else f"{base} is no directory there: move it away"


def keep(installation: Installation, name: str, text: str) -> None:
    """Write a file of the sync; where nodes share the directory, they all write the same."""
    path = f"{installation.prefix}/{name}"
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as target:
            target.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise Refused(f"{path} can't be written: {error.strerror}") from None


def salvage(base: str, files: t.Sequence[File]) -> None:
    """What a killed rsync has left of a file (``.NAME.XXXXXX``) is gone on with, unless a process still writes it."""
    wanted: dict[str, set[str]] = {}
    for file in files:
        if file.kind == "f":
            wanted.setdefault(os.path.dirname(file.name), set()).add(os.path.basename(file.name))
    for folder, names in wanted.items():
        place = os.path.join(base, folder)
        found = os.listdir(place) if os.path.isdir(place) else []
        for left, name in [(left, left[1:-7]) for left in found if re.fullmatch(r"\..+\.\w{6}", left, re.ASCII)]:
            path, partial = os.path.join(place, left), os.path.join(place, PARTIAL, name)
            if name not in names or not os.path.isfile(path) or os.path.islink(path) or in_use(path):
                continue
            with contextlib.suppress(OSError):
                if os.path.exists(partial) and os.path.getsize(partial) >= os.path.getsize(path):
                    os.unlink(path)
                else:
                    os.makedirs(os.path.dirname(partial), 0o700, exist_ok=True)
                    os.replace(path, partial)


def in_use(path: str) -> bool:
    """Whether a process of this user has the file open."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    if os.path.samefile(f"/proc/{process}/fd/{number}", path):
                        return True
    return False


def room(base: str, differ: t.Sequence[tuple[File, File | None]]) -> tuple[int, int]:
    """(bytes needed, bytes free): rsync writes the new file before it removes the old one."""
    need, largest = 0, 0
    for file, before in differ:
        if file.kind != "f" or (before is not None and same_content(file, before)):
            continue
        old = before.disk if before is not None else 0
        partial = see(os.path.join(base, os.path.dirname(file.name), PARTIAL), os.path.basename(file.name))
        need += min(file.disk, file.size) - old - (partial.disk if partial is not None else 0)
        largest = max(largest, old)
    facts = os.statvfs(existing(base))
    return need + largest, facts.f_bavail * facts.f_frsize


def existing(path: str) -> str:
    """The path, or what there is above it."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def place(base: str, mounts: str = "/proc/self/mountinfo") -> list[t.Any] | None:
    """What is the same on nodes that see the same directory of a network's file system; None on a local one."""
    there = os.path.realpath(existing(base))
    best: tuple[int, str, str] = (0, "", "")
    with open(mounts, encoding="utf-8", errors="surrogateescape") as source:
        for line in source:
            before, _dash, after = line.partition(" - ")
            point = before.split()[4].replace("\\040", " ")
            if there == point or there.startswith(f"{point.rstrip('/')}/"):
                kind, device = after.split()[:2]
                best = max(best, (len(point), kind, device), key=lambda each: each[0])
    if not NETWORK.fullmatch(best[1]):
        return None
    return [best[1], best[2], os.stat(there).st_ino, os.path.relpath(base, existing(base))]


def send(installation: Installation, pulse: Pulse, target: str, base: str, how: str, limit: str) -> dict[str, t.Any]:
    """Copy it from here to another node: ``how`` is copy, again (whatever its time says), delete, or would-delete."""
    program = rsync()
    if program is None:
        return {"trouble": MISSING, "status": 1}
    words = [program, "-aSOJ", "--no-D", "--outbuf=N", f"--rsh={shlex.join([*SSH, *ALIVE])}"]
    words += [f"--rsync-path=cd {shlex.quote(base)} && exec rsync"]
    if how.endswith("delete"):
        words += ["-i", "--delete", "--existing", "--ignore-existing", f"--filter=. {installation.prefix}/{RULES}"]
        words += ["-n"] if how.startswith("would") else []
    else:
        words += ["--from0", f"--files-from={installation.prefix}/{NAMES}", f"--partial-dir={PARTIAL}"]
        words += ["--info=progress2", "--no-human-readable"]
        words += [f"--bwlimit={limit}"] if limit else []
        words += ["--checksum"] if "again" in how else []
        words += ["--force"] if "force" in how else []
    words += [f"{base.rstrip('/')}/", f"{target}:./"]
    deleted: list[str] = []

    def read(line: str) -> None:
        done, gone = DONE.match(line), DELETED.match(line)
        if done:
            pulse.say(json.dumps({"bytes": int(done[1])}))
        if gone:
            deleted.append(gone[1])

    status, stderr = followed(pulse, words, read)
    trouble = first_trouble(stderr) if status not in (0, 24) else ""
    return {"status": status, "trouble": trouble, "deleted": len(deleted), "names": deleted[:TOLD]}


def followed(pulse: Pulse, words: t.Sequence[str], read: t.Callable[[str], None]) -> tuple[int, str]:
    """Run it to its end: (its status, its messages)."""
    pulse.child = process = subprocess.Popen(
        list(words), env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, cwd="/",
    )  # fmt: skip
    rest, errors = b"", b""
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            selector.register(pipe, selectors.EVENT_READ)  # type: ignore[arg-type]
        while selector.get_map():
            for key, _events in selector.select():
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                if key.fileobj is process.stderr:
                    errors = (errors + data)[-(1 << 16) :]
                    continue
                *lines, rest = re.split(rb"[\r\n]", rest + data)
                for line in lines:
                    read(line.decode("utf-8", "replace"))
    return process.wait(), errors.decode("utf-8", "replace")


def receive(installation: Installation, base: str, delete: bool, dry: bool, words: t.Sequence[str]) -> t.NoReturn:
    """Become the rsync that the controller's talks to, which has not asked before whether this is a destination."""
    danger = dangerous(installation.prefix, base, delete)
    if danger:
        raise Refused(danger)
    if dry and not os.path.lexists(base):  # as if it were there
        base = f"{installation.prefix}/var/sync.empty"
    program, trouble = rsync(), made(base, 0o755)
    if trouble or program is None:
        raise Refused(trouble or MISSING)
    os.chdir(base)
    os.execve(program, ["rsync", *words], environment())


def content(_installation: Installation, _pulse: Pulse, base: str) -> dict[str, t.Any]:
    """The digests on the head, and the files that are not any more what the list says."""
    told = given()
    found = hashes(base, [file for file in told["files"] if file.kind == "f"])
    changed = [file.name for file in told["files"] if not file.same(see(base, file.name))]
    return {"hashes": found, "changed": changed}


def check(_installation: Installation, _pulse: Pulse, base: str) -> dict[str, t.Any]:
    """Which of the files have another content than the head's."""
    told = given()
    files = [file for file in told["files"] if file.kind == "f"]
    mine = hashes(base, files)
    wrong = [file.name for file in files if mine[file.name] != told["hashes"][file.name]]
    links = [file.name for file in told["files"] if file.kind != "f" and not file.same(see(base, file.name))]
    differ = wrong + [name for name in links if name not in wrong]
    return {"differ": len(differ), "names": differ[:TOLD]}


def hashes(base: str, files: t.Sequence[File]) -> dict[str, str]:
    """The digest of each file; empty where it can't be read."""
    if not files:
        return {}
    with concurrent.futures.ThreadPoolExecutor(min(HASHERS, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda file: digest(os.path.join(base, file.name)), files)
        return {file.name: each for file, each in zip(files, found)}


def digest(path: str) -> str:
    """SHA-256 of the content; another thread can work meanwhile."""
    made_of = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as source:
            for block in iter(lambda: source.read(1 << 20), b""):
                made_of.update(block)
    except OSError:
        return ""
    return made_of.hexdigest()
