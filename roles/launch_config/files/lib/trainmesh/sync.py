# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh sync``: code, data and models from the head to every node, with the same content on all in the end."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import glob
import gzip
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import typing as t

from trainmesh import fanout, sync_node
from trainmesh.installation import Installation, Refused, find
from trainmesh.job import here
from trainmesh.run import chosen_nodes
from trainmesh.sync_files import MARKER, MISSING, Source, printable, rsync, source
from trainmesh.sync_report import Progress, told
from trainmesh.sync_tree import Tree
from trainmesh.words import encode

ABOUT = """Copies files and directories of the head to the same paths on every node (default: the current directory).

rsync copies, over the ssh connections between the nodes, and every node that has it serves others. What has arrived
of an interrupted copy is kept, and the same command goes on from there. At the end the content is compared on every
node. A directory that several nodes share is copied once. What is only on a node stays, unless --delete is given.

Left out is what --exclude names, what the directory's own .trainmeshignore (in the syntax of .gitignore) names, and
with --gitignore what git ignores. A node that can't be served is named, and the exit status is 1; the others get it.
"""
LOOK_SECONDS = 600.0
HASH_SECONDS = 86400.0
DELETES_AT_ONCE = 8
FROM_HEAD = 4  # copies at a time where only the head logs in to other nodes


class Wanted(t.NamedTuple):
    """What the command line asks for beside the paths."""

    dry: bool
    delete: bool
    verify: bool
    limit: str


def add_to(commands: t.Any, _prefix: str) -> None:
    """The command line of it."""
    parser = commands.add_parser(
        "sync", help="bring files to every node", usage="%(prog)s [options] [PATH ...]", description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("paths", metavar="PATH", nargs="*", help="a file or directory of the head (default: the current directory)")
    add("--exclude", metavar="PATTERN", action="append", default=[], help="leave out what fits this pattern of rsync, "
        "such as '*.ckpt' or /wandb (may be repeated)")  # fmt: skip
    add("--gitignore", action="store_true", help="leave out what git ignores, and .git")
    add("--delete", action="store_true", help="remove from the nodes what the head does not have")
    add("--bwlimit", metavar="RATE", type=rate, help="bytes per second of each copy, such as 50M")
    add("--nodes", metavar="A,B", help="to these nodes alone")
    add("--no-verify", action="store_true", help="do not read all files again to compare their content")
    add("-n", "--dry-run", action="store_true", help="show what would be copied and removed")
    add("--json", action="store_true", help="the result as JSON")
    parser.set_defaults(action=sync, sub=parser)


def rate(text: str) -> str:
    """A bandwidth as rsync reads it."""
    if not re.fullmatch(r"[1-9]\d{0,11}(?:\.\d+)?[KMGkmg]?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"bytes per second, such as 800K or 50M, not {text}")
    return f"{text}B" if text[-1].isdigit() else text  # a bare number is one of KiB to rsync


def sync(prefix: str, options: argparse.Namespace) -> int:
    """Copy everything that is asked for."""
    installation = find(prefix)
    only_head(installation)
    names = [node.name for node in chosen_nodes(installation, options.nodes)[0]]
    wanted = Wanted(options.dry_run, options.delete, not options.no_verify, options.bwlimit or "")
    directory = here()
    sources = [
        source(installation, path, directory, options.delete, options.exclude, options.gitignore)
        for path in dict.fromkeys(options.paths or ["."])
    ]
    say = (lambda _text: None) if options.json else write
    with alone(installation), interruptible():
        reports = [Sync(installation, each, names, wanted, say).run() for each in sources]
    if options.json:
        write(json.dumps({"changed": any(map(changed, reports)), "paths": reports}))
    return 1 if any(failed(report) for report in reports) else 0


def before_run(installation: Installation, directory: str, names: t.Sequence[str]) -> None:
    """Bring the directory of a job to its nodes, or Refused: the job would run with another code there."""
    what = source(installation, directory, directory, False, [], False)
    with alone(installation), interruptible():
        report = Sync(installation, what, names, Wanted(False, False, True, ""), errors).run()
    if failed(report):
        raise Refused(f"{directory} is not the same on every node (see above): the job was not started")


def only_head(installation: Installation) -> None:
    """Refused on any other node, and without rsync."""
    if not installation.is_head():
        head, name = installation.values.get("TRAINMESH_HEAD"), installation.values.get("TRAINMESH_NODE_NAME")
        raise Refused(f"it copies from the head, {head} (this is {name}): run it there")
    if rsync() is None:
        raise Refused(MISSING)


def write(text: str) -> None:
    """A line for the user."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def errors(text: str) -> None:
    """A line beside the output of a job."""
    sys.stderr.write(f"{text}\n")


def changed(report: t.Mapping[str, t.Any]) -> bool:
    """Whether anything was copied or removed."""
    return any(node["files"] or node["deleted"] for node in report["nodes"].values())


def failed(report: t.Mapping[str, t.Any]) -> bool:
    """Whether a node has not got it."""
    return bool(report["changing"]) or any(node["trouble"] for node in report["nodes"].values())


@contextlib.contextmanager
def alone(installation: Installation) -> t.Iterator[None]:
    """There is one sync at a time: two would write the same files."""
    with open(f"{installation.prefix}/var/sync.lock", "a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("another sync goes on: wait for it, or end it with Ctrl-C where it was started") from None
        yield


@contextlib.contextmanager
def interruptible() -> t.Iterator[None]:
    """SIGTERM and the end of the terminal are as good as Ctrl-C."""

    def stop(_number: int, _frame: t.Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            errors("\ntrainmesh sync: stopped. What has arrived is kept: the same command goes on from there")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Sync:
    """One path; ``nodes`` is the result of each node."""

    def __init__(
        self, installation: Installation, what: Source, names: t.Sequence[str], wanted: Wanted,
        say: t.Callable[[str], None],
    ) -> None:  # fmt: skip
        self.installation, self.what, self.wanted, self.say = installation, what, wanted, say
        self.head = fanout.own_name(installation)
        self.names = [name for name in names if name != self.head]
        blank = {"state": "", "files": 0, "bytes": 0, "names": [], "deleted": 0, "trouble": ""}
        self.nodes: dict[str, dict[str, t.Any]] = {name: {**blank} for name in self.names}
        self.spares: dict[str, list[str]] = {}
        self.changing: list[str] = []

    def run(self) -> dict[str, t.Any]:
        """Look, copy, compare, remove, and tell."""
        with self._files() as (plain, hashed):
            with marker(self.what) as mark:
                there = self._look(plain, mark)
            hashes = Hashes(self.installation, self.what.base, plain) if self.wanted.verify else None
            try:
                self._copy([name for name in there if self.nodes[name]["files"]], "copy")
                if hashes is not None:
                    self._verify(hashes.wait(), hashed, there)
            finally:
                if hashes is not None:
                    hashes.end()
            if self.wanted.delete:
                self._delete([name for name in there if not self.wanted.dry or there[name]])
        report = {
            "path": self.what.path, "files": len(self.what.files), "bytes": self.what.size,
            "changing": self.changing, "nodes": self.nodes,
        }  # fmt: skip
        for line in told(report, self.head, self.wanted.dry, self.wanted.verify):
            self.say(line)
        return report

    @contextlib.contextmanager
    def _files(self) -> t.Iterator[tuple[str, str]]:
        """The list for the other nodes, without and with digests, and on the head the files of sync_node."""
        prefix, files = self.installation.prefix, self.what.files
        sync_node.keep(self.installation, sync_node.NAMES, "".join(f"./{file.name}\0" for file in files))
        sync_node.keep(self.installation, sync_node.RULES, "".join(f"{rule}\n" for rule in self.what.rules))
        plain, hashed = f"{prefix}/var/sync.plain", f"{prefix}/var/sync.hashed"
        pack(plain, self._told())
        try:
            yield plain, hashed
        finally:
            for path in (plain, hashed):
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def _told(self, **more: t.Any) -> dict[str, t.Any]:
        base, files = self.what.base, self.what.files
        mode = os.stat(base).st_mode & 0o7777
        return {"files": files, "mode": mode, "identity": sync_node.identity(base, files), **more}

    def _ask(
        self, names: t.Sequence[str], given: str, limit: float, *words: str
    ) -> tuple[dict[str, t.Any], dict[str, str]]:
        program = f"{shlex.quote(self.installation.prefix)}/bin/trainmesh"
        command = " ".join([program, "sync-part", *map(encode, words)])
        answers = fanout.on(self.installation, names, command, limit, given, sync_node.ALIVE)
        return fanout.understood(answers)

    def _look(self, given: str, mark: str) -> dict[str, bool]:
        """The nodes to copy to, one of each that share it, and whether they have the directory already."""
        flags = ["1" if flag else "" for flag in (self.wanted.delete, self.wanted.dry)]
        said, silent = self._ask(self.names, given, LOOK_SECONDS, "look", self.what.path, self.what.base, mark, *flags)
        for name, trouble in silent.items():
            self.nodes[name]["trouble"] = trouble
        there: dict[str, bool] = {}
        first: dict[str, str] = {}
        for name, answer in said.items():
            node = self.nodes[name]
            node.update(trouble=answer["trouble"], state="shared" if answer["shared"] else "same")
            if answer["shared"] or answer["trouble"]:
                continue
            group = json.dumps(answer["place"]) if answer["place"] else name
            if group in first:
                node["state"] = "shared"
                self.spares.setdefault(first[group], []).append(name)
                continue
            first[group] = name
            there[name] = answer["there"]
            if answer["differ"]:
                node.update(state="copied", files=answer["differ"], bytes=answer["bytes"], names=answer["names"])
        return there

    def _command(self, how: str) -> t.Callable[[str, str], list[str]]:
        program = f"{self.installation.prefix}/bin/trainmesh"

        def command(source_node: str, target: str) -> list[str]:
            words = [encode(each) for each in ("send", target, self.what.base, how, self.wanted.limit)]
            if source_node == self.head:
                return [program, "sync-part", *words]
            remote = " ".join([shlex.quote(program), "sync-part", *words])
            return [*fanout.SSH, *sync_node.ALIVE, source_node, remote]

        return command

    def _copy(self, want: t.Sequence[str], how: str) -> None:
        """Copy to these nodes."""
        if self.wanted.dry or not want:
            return
        mesh = self.installation.values.get("TRAINMESH_SSH_TOPOLOGY", "mesh") == "mesh"
        good = [name for name in self.nodes if self.nodes[name]["state"] == "same" and not self.nodes[name]["trouble"]]
        force = "-force" if self.wanted.delete else ""
        tree = Tree([self.head, *(good if mesh else [])], want, self._command(how + force), self.spares,
                    1 if mesh else FROM_HEAD, mesh)  # fmt: skip
        progress = Progress(tree, self.what, self.say)
        try:
            tree.run(progress.tell)
        finally:
            progress.end()
        for name, trouble in tree.failed.items():
            self.nodes[name]["trouble"] = trouble
        for name in tree.done:
            self.nodes[name]["state"] = "copied"

    def _verify(self, found: t.Mapping[str, t.Any], hashed: str, names: t.Iterable[str]) -> None:
        """Compare the content; where only that differs it is copied again, and compared again."""
        self.changing = found["changed"]
        pack(hashed, self._told(hashes=found["hashes"]))
        wrong = self._compare(hashed, [name for name in names if not self.nodes[name]["trouble"]])
        if self.wanted.dry or not wrong:
            for name, answer in wrong.items():
                self._more(name, answer)
            return
        for name, answer in wrong.items():
            self._more(name, answer)
        self._copy(list(wrong), "again")
        again = [name for name in wrong if not self.nodes[name]["trouble"]]
        for name, answer in self._compare(hashed, again).items():
            shown = ", ".join(map(printable, answer["names"]))
            self.nodes[name]["trouble"] = f"{answer['differ']} files differ from the head's after the copy: {shown}"

    def _compare(self, hashed: str, names: t.Sequence[str]) -> dict[str, t.Any]:
        said, silent = self._ask(names, hashed, HASH_SECONDS, "check", self.what.base)
        for name, trouble in silent.items():
            self.nodes[name]["trouble"] = f"its content was not compared: {trouble}"
        return {name: answer for name, answer in said.items() if answer["differ"]}

    def _more(self, name: str, answer: t.Mapping[str, t.Any]) -> None:
        """These have other content under the same size and time, or did not arrive."""
        node = self.nodes[name]
        if not node["files"]:
            node.update(state="copied", files=answer["differ"], names=answer["names"])

    def _delete(self, names: t.Iterable[str]) -> None:
        """Remove what the head does not have; the list of files comes from the head to each."""
        want = [name for name in names if not self.nodes[name]["trouble"]]
        if not self.what.whole or not want:
            return
        how = "would-delete" if self.wanted.dry else "delete"
        tree = Tree([self.head], want, self._command(how), {}, DELETES_AT_ONCE, False)
        tree.run(lambda: None)
        for name, answer in tree.done.items():
            self.nodes[name].update(deleted=answer["deleted"])
            self.nodes[name]["names"] = [*self.nodes[name]["names"], *(f"deleted {each}" for each in answer["names"])]
        for name, trouble in tree.failed.items():
            self.nodes[name]["trouble"] = f"what the head does not have was not removed: {trouble}"


class Hashes:
    """The digests of the head's files, made while they are copied, in a process that ends with this one."""

    def __init__(self, installation: Installation, base: str, given: str) -> None:
        words = [f"{installation.prefix}/bin/trainmesh", "sync-part", "hash", encode(base)]
        with open(given, "rb") as listed:
            self.process = subprocess.Popen(words, stdin=listed, stdout=subprocess.PIPE, start_new_session=True)
        self.out = b""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        self.out = self.process.communicate()[0]

    def wait(self) -> dict[str, t.Any]:
        """What it has found."""
        while self.thread.is_alive():
            self.thread.join(0.5)
        if self.process.returncode:
            raise Refused("the content of the head's files could not be read (see above)")
        return t.cast("dict[str, t.Any]", json.loads(self.out.splitlines()[-1]))

    def end(self) -> None:
        """Nothing is left of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.thread.join()


@contextlib.contextmanager
def marker(what: Source) -> t.Iterator[str]:
    """A file by which other nodes see that they share the directory; an empty name where none can be written."""
    mark = secrets.token_hex(8)
    path = f"{what.base}/{MARKER}{mark}"
    facts = os.stat(what.base)
    for left in glob.glob(f"{glob.escape(what.base)}/{MARKER}*"):  # of a killed sync: there is one at a time
        with contextlib.suppress(OSError):
            os.unlink(left)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError:
        yield ""
        return
    try:
        yield mark
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
            os.utime(what.base, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def pack(path: str, content: t.Mapping[str, t.Any]) -> None:
    """Write what the nodes are told."""
    with open(path, "wb") as target:
        target.write(gzip.compress(json.dumps(content).encode(), 3))
