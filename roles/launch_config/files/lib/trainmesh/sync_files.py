# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sync copies: the directory or file, the rules of what is left out, and the list of what is left."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
import typing as t

from trainmesh import gitignore
from trainmesh.installation import SYSTEM_PATH, Installation, Refused

PARTIAL = ".trainmesh-partial"  # beside a file, where rsync keeps what has arrived of it
MARKER = ".trainmesh-marker-"
IGNORED = ".trainmeshignore"
MISSING = "rsync is missing: run the site playbook (trainmesh_packages_install), or install the package rsync"
SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr")
OF_MANY = ("home", "media", "mnt", "opt", "srv", "tmp", "var")
_FOLLOWS = re.compile(r"rsync error:|rsync: (?:\[\w+\] )?connection unexpectedly")
_ESCAPED = re.compile(rb"\\#([0-7]{3})")


class File(t.NamedTuple):
    """One entry of the list; ``name`` is relative, ``kind`` one of ``dfl``, ``disk`` the bytes that it takes there."""

    name: str
    kind: str
    size: int
    disk: int
    time: int
    mode: int
    target: str

    def same(self, other: File | None) -> bool:
        """Whether rsync would leave it alone; times of directories and links are not copied."""
        if other is None or other.kind != self.kind or other.target != self.target:
            return False
        if self.kind == "f" and (other.size, other.time) != (self.size, self.time):
            return False
        return self.kind == "l" or other.mode == self.mode


class Source(t.NamedTuple):
    """``path`` as the user has named it, ``base`` the directory in which the names of the files begin."""

    path: str
    base: str
    whole: bool
    rules: t.Sequence[str]
    files: t.Sequence[File]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def rsync() -> str | None:
    """The program."""
    return shutil.which("rsync", path=SYSTEM_PATH)


def environment() -> dict[str, str]:
    """For rsync: nothing of the user's own settings for it, and messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RSYNC_", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C", "PATH": os.environ.get("PATH", SYSTEM_PATH)}


def source(
    installation: Installation, path: str, directory: str, delete: bool, exclude: t.Sequence[str], ignore: bool
) -> Source:
    """What ``path`` means, or Refused; ``ignore``: .gitignore counts."""
    named = os.path.normpath(os.path.join(directory, path))
    named = "/" + named.lstrip("/")
    if ".." in path.split("/"):
        named = os.path.realpath(named)
    if not os.path.exists(named):
        raise Refused(f"there is no {named} here: name a file or a directory of the head")
    whole = os.path.isdir(named)
    if not whole and os.path.islink(named):
        raise Refused(f"{named} is a symbolic link to {os.readlink(named)}: name that file, or a directory with both")
    if not whole and not os.path.isfile(named):
        raise Refused(f"{named} is neither a file nor a directory")
    if not whole and delete:
        raise Refused(f"{named} is a file: --delete is for directories")
    danger = dangerous(installation.prefix, named, delete)
    if danger:
        raise Refused(danger)
    base = named if whole else os.path.dirname(named)
    if not whole:
        return checked(Source(named, base, False, [], [look(base, os.path.basename(named))]), delete)
    rules = [*ours(installation.prefix, named), *map(exclusion, exclude), *gitignore.of_file(f"{named}/{IGNORED}")]
    rules += gitignore.rules(named) if ignore else []
    return checked(Source(named, base, True, rules, listed(named, rules)), delete)


def checked(found: Source, delete: bool) -> Source:
    """The same, or Refused for what can't be copied as it is."""
    if delete and not found.files:
        raise Refused(f"{found.path} has nothing to copy: --delete would empty it on every node")
    closed = [file.name for file in found.files if file.kind != "l" and not readable(found.base, file)]
    if closed:
        raise Refused(f"{some(closed)} in {found.base} can't be read by this user: chmod, or --exclude")
    return found


def readable(base: str, file: File) -> bool:
    """Whether this user may read it."""
    return os.access(os.path.join(base, file.name), os.R_OK | (os.X_OK if file.kind == "d" else 0))


def some(names: t.Sequence[str]) -> str:
    """A few of the names, and how many more there are."""
    shown = ", ".join(printable(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def printable(name: str) -> str:
    """A name for the eyes."""
    return name.encode("utf-8", "backslashreplace").decode()


def exclusion(pattern: str) -> str:
    """A rule of rsync for --exclude."""
    if not pattern.strip() or "\n" in pattern:
        raise Refused("--exclude wants a pattern of rsync, such as '*.ckpt' or /wandb")
    return f"- {pattern}"


def ours(prefix: str, base: str) -> list[str]:
    """What differs from node to node and is never copied, wherever the directory is above it."""
    never = [prefix, *(f"{home}/.ssh" for home in homes())]
    found = [f"- /{os.path.relpath(path, base)}/" for path in never if path.startswith(f"{base}/")]
    return [f"- {PARTIAL}/", f"- /{MARKER}*", *found]


def homes() -> list[str]:
    """The homes of users that are there."""
    mine = pwd.getpwuid(os.geteuid()).pw_dir
    return sorted({mine.rstrip("/"), *(each.pw_dir.rstrip("/") for each in pwd.getpwall())} - {""})


def dangerous(prefix: str, named: str, delete: bool) -> str:
    """Why nothing should be copied to this path, in a sentence; an empty text when it may be."""
    for path in dict.fromkeys((named, os.path.realpath(named))):
        also = path if path == named else f"{named} is {path}, which"
        parts = path.strip("/").split("/")
        if parts == [""]:
            return f"{named} is the root of the file system: name a directory below it"
        if parts[0] in SYSTEM and not (parts[:2] == ["dev", "shm"] and len(parts) > 2):
            return f"{also} belongs to the operating system of each node: name a directory of your own"
        if len(parts) == 1 and parts[0] in OF_MANY:
            return f"{also} has files of others: name a directory below it"
        if inside(path, prefix) and not inside(path, f"{prefix}/workspace"):
            return f"{also} has files that differ from node to node: sync what is in {prefix}/workspace"
        keys = next((home for home in homes() if inside(path, f"{home}/.ssh")), None)
        if keys:
            return f"{also} has this node's keys, which stay where they are"
        home = next((home for home in homes() if inside(home, path)), None)
        if delete and home:
            what = "is a home" if home == path else f"has the home {home} in it"
            return f"{also} {what}: --delete would remove what only that node has. Name a directory below it"
    return ""


def inside(path: str, directory: str) -> bool:
    """Whether a path is the directory or below it."""
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


def listed(base: str, rules: t.Sequence[str]) -> list[File]:
    """What rsync would copy: its own rules decide, and what it names is looked at here."""
    program = rsync()
    if program is None:
        raise Refused(MISSING)
    with tempfile.TemporaryDirectory() as empty:
        with open(f"{empty}/rules", "w", encoding="utf-8", errors="surrogateescape") as target:
            target.write("".join(f"{rule}\n" for rule in rules))
        os.mkdir(f"{empty}/to")
        words = [program, "-an", "--no-D", "--no-inc-recursive", "--out-format==%n", f"--filter=. {empty}/rules"]
        done = subprocess.run([*words, f"{base}/", f"{empty}/to/"], env=environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, check=False)  # fmt: skip
    if done.returncode not in (0, 24):  # 24: a file has vanished meanwhile
        raise Refused(f"{base} can't be listed: {first_trouble(done.stderr.decode('utf-8', 'replace'))}")
    found = []
    for line in done.stdout.splitlines():
        name = os.fsdecode(_ESCAPED.sub(lambda octal: bytes([int(octal[1], 8)]), line[1:])).rstrip("/")
        if not line.startswith(b"=") or name in ("", "."):
            continue
        file = see(base, name)
        if file is not None:
            found.append(file)
    return found


def look(base: str, name: str) -> File:
    """A file that must be there."""
    file = see(base, name)
    if file is None:
        raise Refused(f"{base}/{name} is gone")
    return file


def see(base: str, name: str) -> File | None:
    """What is there under this name, without following it; None for nothing and for what is not copied."""
    path = os.path.join(base, name)
    try:
        facts = os.lstat(path)
        target = os.readlink(path) if stat.S_ISLNK(facts.st_mode) else ""
    except OSError:
        return None
    kind = "d" if stat.S_ISDIR(facts.st_mode) else "l" if target else "f" if stat.S_ISREG(facts.st_mode) else "?"
    return File(
        name, kind, facts.st_size if kind == "f" else 0, facts.st_blocks * 512, int(facts.st_mtime),
        stat.S_IMODE(facts.st_mode), target,
    )  # fmt: skip


def first_trouble(text: str) -> str:
    """The line of rsync's or ssh's messages that says why, in place of those that only say that."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not _FOLLOWS.match(line)]
    return (telling or lines or ["no reason given"])[0]
