# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: make, keep and fill: the lock and the wheels beside the inventory."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import tempfile
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils import _wheel_lock
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheel_resolve import Resolver
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheel_tools import (
    ToolError,
    Tools,
    sha256_of,
    text_of,
    wheels_in,
    write,
)

# Packages a call of pip download fetches: what an interrupted run has to fetch again is at most one such batch.
BATCH = 6


@dataclasses.dataclass
class Store:
    """The lock directory and the wheelhouse of one inventory.

    ``wheelhouse`` is empty (nodes install from the index), ``auto`` or a directory; ``say`` shows progress.
    """

    state_dir: str
    wish: _wheel_lock.Wish
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
    def built_dir(self) -> str:
        """Wheels that were built here."""
        return os.path.join(self.lock_dir, "wheels")

    @property
    def house_dir(self) -> str:
        """The wheelhouse on the controller."""
        return self.wheelhouse if self.wheelhouse not in ("", "auto") else os.path.join(self.state_dir, "wheelhouse")

    @property
    def _resolver(self) -> Resolver:
        own = self.wheelhouse if self.wheelhouse not in ("", "auto") and wheels_in(self.wheelhouse) else ""
        return Resolver(self.wish, self.tools, own, self.built_dir)

    def lock_text(self) -> str:
        """The lock on disk if it was made for this wish, else an empty text; raises ValueError when unreadable."""
        text = text_of(self.lock_path)
        return text if text and _wheel_lock.read(text).head == self.wish.head else ""

    # -- making the lock ---------------------------------------------------------------------------

    def make(self, check_mode: bool) -> str:
        """Resolve the wish, build what has no wheel, write the lock and return its text.

        In check mode it is resolved elsewhere and nothing is kept. Raises ToolError.
        """
        self.say(f"resolving {len(self.wish.requirements)} requirements for Python {self.wish.python_version}")
        if check_mode:
            with tempfile.TemporaryDirectory() as scratch:
                packages, _backend = self._resolver.resolve(scratch)
            return _preview(self.wish, packages)
        os.makedirs(self.built_dir, exist_ok=True)
        write(os.path.join(self.lock_dir, "requirements.in"), _wheel_lock.inputs(self.wish))
        packages, backend = self._resolver.resolve(self.lock_dir)
        packages = [self._with_wheel(package) for package in packages]
        uv = f"uv {self.tools.uv_version}"
        text = _wheel_lock.text(self.wish, packages, uv, backend, datetime.date.today())
        self._keep_old()
        write(self.lock_path, text)
        return text

    def _with_wheel(self, package: _wheel_lock.Package) -> _wheel_lock.Package:
        """The package with a wheel: one of the index, or one that was or is built here."""
        if package.wheels or package.is_direct:
            return package
        path = self._built(package) or self._build(package)
        return dataclasses.replace(package, wheels=(_wheel_lock.File(os.path.basename(path), path, sha256_of(path)),))

    def _built(self, package: _wheel_lock.Package) -> str:
        names = _wheel_lock.wheel_of(package.name, package.version, wheels_in(self.built_dir))
        return os.path.join(self.built_dir, names[0]) if names else ""

    def _build(self, package: _wheel_lock.Package) -> str:
        """Build the wheel of a package that the index has as a source distribution only."""
        self.say(f"building the wheel of {package.name} {package.version}, once for all nodes")
        digest = f" --hash=sha256:{package.source.sha256}" if package.source and package.source.sha256 else ""
        os.makedirs(self.built_dir, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.lock_dir) as scratch:
            wanted = os.path.join(scratch, "source.txt")
            write(wanted, f"{package.name}=={package.version}{digest}\n")
            self.tools.build(wanted, scratch)
            name = next(iter(wheels_in(scratch)), "")
            if not name or not _wheel_lock.wheel_fits(name, self.wish.platform, self.wish.python_version):
                raise ToolError(
                    f"{package.name} {package.version} has no wheel for {self.wish.platform}, and one built here "
                    f"({name or 'none'}) does not fit the nodes: put a fitting wheel into the directory of "
                    "trainmesh_wheelhouse"
                )
            path = os.path.join(self.built_dir, name)
            os.replace(os.path.join(scratch, name), path)
        return path

    def _keep_old(self) -> None:
        """Move a lock that does not fit aside, and say so."""
        old = text_of(self.lock_path)
        if not old:
            return
        stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
        aside = os.path.join(self.lock_dir, f"requirements-{stamp}.txt")
        os.replace(self.lock_path, aside)
        with contextlib.suppress(ValueError):
            reason = _wheel_lock.changed_head(_wheel_lock.read(old).head, self.wish.head)
            self.notes.append(f"A new lock was made, because the old one does not fit ({reason}). The old one: {aside}")

    # -- what the nodes need -----------------------------------------------------------------------

    def offline(self, lock: _wheel_lock.Lock, notify: bool = False) -> bool:
        """Whether the nodes install from files handed to them; ``notify`` says so when that was not asked for."""
        if self.wheelhouse:
            return True
        local = [
            package.name for package in self._sources(lock).values() if not any(f.is_remote for f in package.wheels)
        ]
        local = [name for name in local if not self._built(_wheel_lock.Package(name, lock.pins[name].version))]
        if local and notify:
            others = f" and {len(local) - 1} others" if len(local) > 1 else ""
            first = "torch" if "torch" in local else sorted(local)[0]
            self.notes.append(
                f"{first}{others} lie in a directory of this machine only, so the nodes get all wheels from here"
            )
        return bool(local)

    def _sources(self, lock: _wheel_lock.Lock) -> dict[str, _wheel_lock.Package]:
        """Where each package of the lock lies; asked of the index when uv's answer is of another lock."""
        known = {package.name: package for package in _wheel_lock.parse_pylock(text_of(self.pylock_path))}
        if {name: package.version for name, package in known.items()} == lock.versions:
            return known
        with tempfile.TemporaryDirectory(dir=self.lock_dir) as scratch:
            document = self._resolver.sources(scratch, lock)
        write(self.pylock_path, document)
        return {package.name: package for package in _wheel_lock.parse_pylock(document)}

    def complete_built(self) -> bool:
        """Build wheels again that the lock counts on and that are gone (a lock from elsewhere); True if any."""
        text = self.lock_text()
        lock = _wheel_lock.read(text)
        before = text
        for package in self._sources(lock).values():
            if package.wheels:
                continue
            path = self._built(package) or self._build(package)
            if sha256_of(path) not in lock.pins[package.name].hashes:
                text = _wheel_lock.with_hash(text, package.name, sha256_of(path))
                self.notes.append(f"The lock has a new hash for {package.name}, whose wheel was built here")
        if text != before:
            write(self.lock_path, text)
        return text != before

    def fill(self, seconds: float, check_mode: bool) -> tuple[list[str], bool]:
        """(wheels of the lock in the wheelhouse, whether any was fetched); fetches only what is missing."""
        lock = _wheel_lock.read(self.lock_text())
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
            self._fetch(lock, batch, backend_host, seconds)
        have, missing = self._present(lock)
        if missing:
            raise ToolError(f"no wheel of the lock's hash could be fetched for {', '.join(missing)}")
        return have, True

    def _fetch(
        self,
        lock: _wheel_lock.Lock,
        batch: t.Sequence[str],
        sources: t.Mapping[str, _wheel_lock.Package],
        seconds: float,
    ) -> None:
        with tempfile.TemporaryDirectory(dir=self.lock_dir) as scratch:
            wanted = os.path.join(scratch, "wanted.txt")
            lines = []
            for name in batch:
                place = f"{name}=={lock.pins[name].version}"
                if name in sources:  # the backend's index is known to uv alone: pip gets the file's own address
                    place = f"{name} @ {sources[name].wheels[0].url}" if sources[name].wheels else place
                lines.append(" ".join([place, *(f"--hash=sha256:{one}" for one in lock.pins[name].hashes)]) + "\n")
            write(wanted, "".join(lines))
            self.tools.download(
                ["--require-hashes", "--requirement", wanted], self.house_dir, [self.built_dir], seconds
            )

    def _present(self, lock: _wheel_lock.Lock) -> tuple[list[str], list[str]]:
        """(paths of wheels whose hash is in the lock, names of the packages without one)."""
        names, paths, missing = wheels_in(self.house_dir), [], []
        for name, pin in lock.pins.items():
            files = [os.path.join(self.house_dir, file) for file in _wheel_lock.wheel_of(name, pin.version, names)]
            good = [path for path in files if sha256_of(path) in pin.hashes]
            paths += good[:1]
            missing += [] if good else [name]
        return paths, missing

    def built(self, lock: _wheel_lock.Lock) -> list[str]:
        """The wheels of the lock that were built here."""
        found = []
        for name, pin in lock.pins.items():
            found += [
                os.path.join(self.built_dir, file)
                for file in _wheel_lock.wheel_of(name, pin.version, wheels_in(self.built_dir))
            ]
        return found


def _preview(wish: _wheel_lock.Wish, packages: t.Sequence[_wheel_lock.Package]) -> str:
    """A lock without hashes worth keeping, to compare nodes with in check mode."""
    lines = [f"{package.name}=={package.version} --hash=sha256:{'0' * 64}" for package in packages]
    return "\n".join([*wish.head, *lines]) + "\n"


__all__ = ("Store",)
