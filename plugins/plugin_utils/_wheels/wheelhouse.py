# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make, keep and fill: the lock and the wheels beside the inventory."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import glob
import os
import shutil
import tempfile
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import aside as wheels_aside
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import lockfile, torch_index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.build import Built, kept
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.resolve import Resolver
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import (
    ToolError,
    Tools,
    sha256_of,
    text_of,
    wheels_in,
    write,
)

# Packages a call of pip download fetches: what an interrupted run has to fetch again is at most one such batch.
BATCH = 6
_UV = "tool uv"
_NEW = "A new lock was made, because {}"


@dataclasses.dataclass
class Store:
    """The lock directory and the wheelhouse of one inventory.

    ``wheelhouse`` is empty (nodes install from the index), ``auto`` or a directory; ``say`` shows progress.
    """

    state_dir: str
    wish: lockfile.Wish
    tools: Tools
    wheelhouse: str = ""
    say: t.Callable[[str], None] = print
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def lock_dir(self) -> str:
        """Directory of the lock and all that belongs to it."""
        return os.path.join(self.state_dir, "lock")

    @property
    def lock_path(self) -> str:
        """The lock itself."""
        return os.path.join(self.lock_dir, "requirements.txt")

    @property
    def pylock_path(self) -> str:
        """uv's answer: where every file of the lock lies."""
        return os.path.join(self.lock_dir, "pylock.toml")

    @property
    def house_dir(self) -> str:
        """The wheelhouse on the controller."""
        return self.wheelhouse if self.wheelhouse not in ("", "auto") else os.path.join(self.state_dir, "wheelhouse")

    @property
    def _built(self) -> Built:
        return Built(self.lock_dir, self.wish, self.tools, self._resolver().options, self.say)

    def _resolver(self, built: str = "") -> Resolver:
        """uv for this wish; ``built`` is a directory of wheels built here that the lock vouches for."""
        own = self.wheelhouse if self.wheelhouse not in ("", "auto") and wheels_in(self.wheelhouse) else ""
        return Resolver(self.wish, self.tools, own, built)

    @contextlib.contextmanager
    def alone(self) -> t.Iterator[None]:
        """Let one run at a time work on the lock, on file systems that know such locks; raises ToolError."""
        os.makedirs(self.lock_dir, exist_ok=True)
        handle = os.open(self.lock_dir, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ToolError(f"another run works on {self.lock_dir} now: wait for it, and run this again") from None
            except OSError:
                self.say(f"{self.lock_dir} knows no locks: two runs at once would not be noticed")
            else:
                self._remove_left()
            yield
        finally:
            os.close(handle)

    def _remove_left(self) -> None:
        """Remove the scratch directories and half files of a run that was killed."""
        for directory in (self.lock_dir, os.path.join(self.lock_dir, "tools")):
            file_write.remove_left(directory)
            for path in glob.glob(
                os.path.join(glob.escape(directory), tempfile.gettempprefix() + "?" * file_write.RANDOM)
            ):
                shutil.rmtree(path, ignore_errors=True)

    def lock_text(self) -> str:
        """The lock on disk if it was made for this wish, else an empty text; raises ValueError when unreadable."""
        text = text_of(self.lock_path)
        return text if text and lockfile.read(text).head == self.wish.head else ""

    def why_new(self) -> str:
        """What has changed since the lock on disk was made, in few words; empty where there is none."""
        text = text_of(self.lock_path)
        return lockfile.asked_anew(lockfile.read(text).head, self.wish.head) if text else ""

    # -- making the lock ---------------------------------------------------------------------------

    def make(self, check_mode: bool, update: bool = False) -> str:
        """Resolve the wish, build what has no wheel, write the lock and return its text.

        Of a package whose version stays the hashes stay too, unless it is an ``update``: another file is refused.
        In check mode it is resolved elsewhere and nothing is kept. Raises ToolError or ValueError.
        """
        # Who removed the lock itself wants a new one.
        earlier = wheels_aside.find(self.lock_dir, self.wish.head) if text_of(self.lock_path) and not update else ""
        if earlier and check_mode:
            return wheels_aside.text(self.lock_dir, earlier)
        if earlier:
            self._keep_old("An earlier lock is used again, because it was made for what is wanted now")
            wheels_aside.restore(self.lock_dir, earlier)
            return self.lock_text()
        self.say(f"resolving {len(self.wish.requirements)} requirements for Python {self.wish.python_version}")
        if check_mode:
            with tempfile.TemporaryDirectory() as scratch:
                packages, _backend = self._resolver().resolve(scratch)
            return _preview(self.wish, [lockfile.within(package, self.wish.limits) for package in packages])
        os.makedirs(self.lock_dir, exist_ok=True)
        old = None if update else self._old()
        with tempfile.TemporaryDirectory(dir=self.lock_dir) as scratch:
            if os.path.exists(self.pylock_path):
                write(os.path.join(scratch, "pylock.toml"), text_of(self.pylock_path))  # its versions are preferred
            packages, backend = self._resolver(self._built.offer(old, scratch)).resolve(scratch)
            packages = [kept(lockfile.within(package, self.wish.limits), old, self.wish) for package in packages]
            packages, extras = self._built.complete(packages, old)
            extras.update(self._uv_entry(old, update))
            uv = f"uv {self.tools.uv_version}"
            text = lockfile.text(self.wish, packages, extras, uv, backend, datetime.date.today())
            if update and self._says(text):
                return self.lock_text()
            self._keep_old(_NEW.format("trainmesh_lock_update asks for it" if update else "the old one does not fit"))
            for name in ("requirements.in", "pylock.toml"):
                write(os.path.join(self.lock_dir, name), text_of(os.path.join(scratch, name)))
        write(self.lock_path, text)
        return text

    def _old(self) -> lockfile.Lock | None:
        """The lock on disk, for whatever wish it was made; None when there is none that can be read."""
        text = text_of(self.lock_path)
        with contextlib.suppress(ValueError):
            return lockfile.read(text) if text else None
        return None

    def _says(self, text: str) -> bool:
        """Whether the lock on disk already says this, whenever it was made."""
        return self._old() == lockfile.read(text)

    def _uv_entry(self, old: lockfile.Lock | None, update: bool) -> dict[str, lockfile.Pin]:
        """The entry of uv; that of a lock for the same platform stays."""
        same = old is not None and old.head[1:3] == self.wish.head[1:3]
        known = old.extras.get(_UV) if old is not None and same else None
        _path, pin = self.tools.node_uv(os.path.join(self.lock_dir, "tools"), known, update)
        return {_UV: pin} if pin else {}

    def _keep_old(self, what: str) -> None:
        """Move the lock aside and say so; ``what`` happens instead."""
        old = text_of(self.lock_path)
        if not old:
            return
        aside = wheels_aside.move(self.lock_dir)
        with contextlib.suppress(ValueError):
            head = lockfile.read(old).head
            changed = f" ({lockfile.changed_head(head, self.wish.head)})" if head != self.wish.head else ""
            self.notes.append(f"{what}{changed}. The old one: {aside}")

    # -- what the nodes need -----------------------------------------------------------------------

    def offline(self, lock: lockfile.Lock, notify: bool = False) -> bool:
        """Whether the nodes install from files handed to them; ``notify`` says so when that was not asked for."""
        if self.wheelhouse:
            return True
        local = [
            package.name for package in self._sources(lock).values() if not any(f.is_remote for f in package.wheels)
        ]
        built = self._built.of(lock)
        local = [name for name in local if name not in built]
        if local and notify:
            others = f" and {len(local) - 1} others" if len(local) > 1 else ""
            first = "torch" if "torch" in local else sorted(local)[0]
            self.notes.append(
                f"{first}{others} lie in a directory of this machine only, so the nodes get all wheels from here"
            )
        return bool(local)

    def _sources(self, lock: lockfile.Lock) -> dict[str, lockfile.Package]:
        """Where each package of the lock lies; asked of the index when uv's answer is of another lock."""
        known = {package.name: package for package in lockfile.parse_pylock(text_of(self.pylock_path))}
        if {name: package.version for name, package in known.items()} == lock.versions:
            return known
        with tempfile.TemporaryDirectory(dir=self.lock_dir) as scratch:
            document = self._resolver(self._built.offer(lock, scratch)).sources(scratch, lock)
        write(self.pylock_path, document)
        return {package.name: package for package in lockfile.parse_pylock(document)}

    def complete(self) -> tuple[str, bool]:
        """(uv for the nodes, whether the lock was added to).

        Builds wheels again that the lock counts on and that are gone (a lock from elsewhere), and adds entries that a
        lock of before lacks. No entry is ever changed. Raises ToolError.
        """
        text = self.lock_text()
        lock = lockfile.read(text)
        found = self._built.again(lock, self._sources(lock))
        known = lock.extras.get(_UV)
        uv, pin = self.tools.node_uv(os.path.join(self.lock_dir, "tools"), known)
        if pin:
            found[_UV] = pin
        elif known:
            self.notes.append(f"uv {known.version} of the lock can't be had: the nodes get the uv of this machine")
        new = sorted(set(found) - set(lock.extras))
        if new:
            self.notes.append(f"The lock was made without entries for {', '.join(new)}: they were added")
            write(self.lock_path, lockfile.with_extras(text, found))
        return uv, bool(new)

    def fill(self, seconds: float, check_mode: bool) -> tuple[list[str], bool]:
        """(wheels of the lock in the wheelhouse, whether any was fetched); fetches only what is missing."""
        lock = lockfile.read(self.lock_text())
        if not check_mode:
            os.makedirs(self.house_dir, exist_ok=True)
        have, missing = self._present(lock)
        if not missing or check_mode:
            return have, bool(missing)
        backend_host = self._sources(lock) if lock.torch_backend else {}
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            done = len(lock.pins) - len(missing) + start
            self.say(f"wheelhouse: {done} of {len(lock.pins)} wheels; fetching {', '.join(batch)}")
            try:
                self._fetch(lock, batch, backend_host, seconds)
            except ToolError as error:  # pip says then that versions conflict
                raise ToolError(f"{error}{self._exchanged(lock, batch)}") from error
        have, missing = self._present(lock)
        if missing:
            raise ToolError(f"no wheel of the lock's hash could be fetched for {', '.join(missing)}")
        return have, True

    def _exchanged(self, lock: lockfile.Lock, names: t.Sequence[str]) -> str:
        """What is to be said of wheels that have the names of locked ones, and another content."""
        there = wheels_in(self.house_dir)
        found = [file for name in names for file in lockfile.wheel_of(name, lock.pins[name].version, there)]
        if not found:
            return ""
        return (
            f". In {self.house_dir}, {', '.join(found)} is not the file that was locked (its SHA-256 is another): put "
            "that back, or make a new lock with -e trainmesh_lock_update=true"
        )

    def _fetch(
        self,
        lock: lockfile.Lock,
        batch: t.Sequence[str],
        sources: t.Mapping[str, lockfile.Package],
        seconds: float,
    ) -> None:
        with tempfile.TemporaryDirectory(dir=self.lock_dir) as scratch:
            wanted = os.path.join(scratch, "wanted.txt")
            lines = []
            for name in batch:
                place = f"{name}=={lock.pins[name].version}"
                # The backend's index is known to uv alone: pip gets the file's own address.
                remote = [file for file in sources[name].wheels if file.is_remote] if name in sources else []
                url = torch_index.with_login(remote[0].url, self.tools.torch_index_url) if remote else ""
                place = f"{name} @ {url}" if url else place
                lines.append(" ".join([place, *(f"--hash=sha256:{one}" for one in lock.pins[name].hashes)]) + "\n")
            write(wanted, "".join(lines))
            self.tools.download(
                ["--require-hashes", "--requirement", wanted], self.house_dir, [self._built.directory], seconds
            )

    def _present(self, lock: lockfile.Lock) -> tuple[list[str], list[str]]:
        """(paths of wheels whose hash is in the lock, names of the packages without one)."""
        names, paths, missing = wheels_in(self.house_dir), [], []
        for name, pin in lock.pins.items():
            files = [os.path.join(self.house_dir, file) for file in lockfile.wheel_of(name, pin.version, names)]
            good = [path for path in files if sha256_of(path) in pin.hashes]
            paths += good[:1]
            missing += [] if good else [name]
        return paths, missing

    def built(self, lock: lockfile.Lock) -> list[str]:
        """The wheels of the lock that were built here."""
        return list(self._built.of(lock).values())


def _preview(wish: lockfile.Wish, packages: t.Sequence[lockfile.Package]) -> str:
    """A lock without hashes worth keeping, to compare nodes with in check mode."""
    lines = [f"{package.name}=={package.version} --hash=sha256:{'0' * 64}" for package in packages]
    return "\n".join([*wish.head, *lines]) + "\n"
