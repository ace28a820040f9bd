# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program is killed, or refused, at each of its system calls in turn (strace injects it)."""

from __future__ import annotations

import collections
import functools
import pathlib
import re
import shutil
import subprocess
import sys
import typing as t

# Those that change something: a kill before any other call leaves what a kill before the next of these does.
CALLS = (
    "openat,close,write,pwrite64,sendfile,copy_file_range,fallocate,ftruncate,fsync,rename,link,linkat,symlink,unlink,"
    "unlinkat,mkdir,chmod,fchmod,fchmodat,chown,fchown,utimensat,setxattr,fsetxattr"
)
BEGIN = "/nothing/begin"
_HEAD = f"def begin():\n    try:\n        open({BEGIN!r})\n    except OSError:\n        pass\n"

Call = tuple[str, int]


@functools.cache
def can_trace() -> bool:
    """Whether strace is there and may trace."""
    words = ["strace", "-e", "trace=close", "true"]
    return bool(shutil.which("strace")) and not subprocess.run(words, check=False, capture_output=True).returncode


class Scene:
    """A program that works on the files of a directory, which are laid anew for each run.

    ``program`` is Python, calls ``begin()`` before what is looked at, and has as arguments the path of the first file
    and the words given to each run.
    """

    def __init__(self, place: pathlib.Path, program: str) -> None:
        self._files, self._log, self._program = place / "files", place / "strace", place / "program.py"
        self._program.write_text(_HEAD + program, encoding="utf-8")
        self.failed = False

    def _run(self, injected: str, files: t.Mapping[str, bytes], words: t.Sequence[str]) -> dict[str, bytes]:
        shutil.rmtree(self._files, ignore_errors=True)
        self._files.mkdir()
        for name, content in files.items():
            (self._files / name).write_bytes(content)
        argv = ["strace", "-qq", "-o", str(self._log), "-e", f"trace={CALLS}", *(["-e", injected] if injected else [])]
        argv += [sys.executable, "-B", str(self._program), str(self._files / next(iter(files))), *words]
        self.failed = bool(subprocess.run(argv, check=False, capture_output=True).returncode)
        return {path.name: path.read_bytes() for path in self._files.iterdir()}

    def calls(self, files: t.Mapping[str, bytes], *words: str) -> list[Call]:
        """The calls behind ``begin()``: name, and its number among the calls of that name."""
        self._run("", files, words)
        counted: collections.Counter[str] = collections.Counter()
        found, begun = [], False
        for name, rest in re.findall(r"^(\w+)\((.*)$", self._log.read_text(encoding="utf-8"), re.MULTILINE):
            counted[name] += 1
            if begun:
                found.append((name, counted[name]))
            begun = begun or BEGIN in rest
        # what the interpreter does on its way out changes nothing
        assert not self.failed and len(found) > 5, self._log.read_text(encoding="utf-8")[-2000:]
        return found

    def killed(self, call: Call, files: t.Mapping[str, bytes], *words: str) -> dict[str, bytes]:
        """The files, without those of an unfinished write, after a kill before this call."""
        found = self._run(f"inject={call[0]}:signal=KILL:when={call[1]}", files, words)
        assert self.failed, call
        return {name: content for name, content in found.items() if not name.startswith(".trainmesh-")}

    def refused(self, call: Call, error: str, files: t.Mapping[str, bytes], *words: str) -> dict[str, bytes]:
        """The files after this call answered with an error."""
        return self._run(f"inject={call[0]}:error={error}:when={call[1]}", files, words)
