# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vendor's self-extracting installer of a toolkit, of which the toolkit alone is installed, never the driver.

Source of its options: https://docs.nvidia.com/cuda/cuda-installation-guide-linux/ (runfile, advanced options).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import shutil
import tempfile
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of, which
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import cuda_toolkit
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import installation
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.manager import MOST_REASON
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault

Runner = t.Callable[..., command.Outcome]
Opener = t.Callable[[str], t.Any]

CACHE = "/var/cache/trainmesh/cuda"
LINK = "/usr/local/cuda"
LINKER = "/etc/ld.so.conf.d"
LOG = "/var/log/cuda-installer.log"
LDCONFIG_SECONDS = 120.0
# Of the installer's size: what the toolkit takes, and what is unpacked meanwhile. Compressed to about 60 %, so twice.
TOOLKIT_SIZES, UNPACKED_SIZES = 2, 2
_CHUNK = 1 << 20
_CHECKSUM = re.compile(r"(sha256|sha384|sha512):([0-9a-fA-F]+)\Z")


class Wanted(t.NamedTuple):
    """An installer: ``place`` is a URL or a file on the node; ``checksum`` such as sha256:..., empty for none."""

    version: str
    place: str
    checksum: str

    @property
    def name(self) -> str:
        """What it is called in messages, which show no address."""
        return os.path.basename(self.place.partition("?")[0]) or "the installer"

    @property
    def is_remote(self) -> bool:
        """Whether it has to be downloaded."""
        return "://" in self.place


def judge(wanted: Wanted, is_to_come: bool) -> None:
    """Raises Fault for an installer that nobody vouches for, or that is not there, unless it is to be copied yet."""
    match = _CHECKSUM.match(wanted.checksum)
    if wanted.checksum and (not match or len(match.group(2)) != hashlib.new(match.group(1)).digest_size * 2):
        raise Fault(f"CUDA {wanted.version}: expected a checksum such as sha256:..., found {wanted.checksum}")
    if not wanted.checksum:
        raise Fault(
            f"CUDA {wanted.version}: {wanted.name} would be run as root without a check: give the sha256:... of it as "
            "checksum in trainmesh_cuda_toolkits"
        )
    if not (wanted.is_remote or is_to_come or os.path.isfile(wanted.place)):
        raise Fault(f"CUDA {wanted.version}: there is no file {wanted.name} on this node where it should be")


def install(wanted: Wanted, opener: Opener, limit: float, run: Runner = command.run) -> cuda_toolkit.Toolkit:
    """Download if need be, check, and install. Raises Fault, with the node as it was."""
    path = cuda_toolkit.PLACE.format(cuda_toolkit.release_of(wanted.version))
    marker = cuda_toolkit.marker_of(path)
    if os.path.lexists(path) and not os.path.exists(marker):
        raise Fault(
            f"CUDA {wanted.version}: {path} is there, and holds no compiler of this version that runs: move it away"
        )
    os.makedirs(CACHE, mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        file, size = _fetched(wanted, work, opener) if wanted.is_remote else (wanted.place, _local(wanted, path))
        check_sum(wanted, file)
        _check_space(wanted, path, work, size, 0)
        before = _Surroundings()
        try:
            with open(marker, "w", encoding="ascii"):
                pass
            shutil.rmtree(path, ignore_errors=True)  # what an interrupted run has left
            return _run(wanted, file, path, work, limit, run)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        finally:
            before.restore(run)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(marker)


def _run(wanted: Wanted, file: str, path: str, work: str, limit: float, run: Runner) -> cuda_toolkit.Toolkit:
    """Start the installer for the toolkit alone, and see that its compiler runs. Raises Fault."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(LOG)  # of an earlier run
    words = ["--silent", "--toolkit", f"--toolkitpath={path}", f"--tmpdir={work}", "--no-man-page"]
    outcome = run([path_of("sh"), file, *words], limit, env={"TMPDIR": work}, cwd="/")
    found = cuda_toolkit.at(path, Tree(), run) if outcome.ok else None
    if not outcome.ok:
        raise Fault(
            f"CUDA {wanted.version}: {wanted.name} failed, and the node is as it was: {_reason(outcome, limit)}"
        )
    if not found or cuda_toolkit.release_of(".".join(found.version.split(".")[:3])) not in wanted.version:
        what = f"brought {found.version}" if found else "brought no compiler that runs"
        raise Fault(f"CUDA {wanted.version}: {wanted.name} {what}, and the node is as it was")
    if not cuda_toolkit.is_wanted(found, wanted.version):
        raise Fault(f"CUDA {wanted.version}: {wanted.name} brought {found.version}, and the node is as it was")
    os.chmod(path, 0o755)  # jobs run as another user
    return found


def _reason(outcome: command.Outcome, limit: float) -> str:
    """What the installer says of its failure: on the screen little, in its log more."""
    if outcome.timed_out:
        return f"no end after {limit:g} s"
    logged = [line.strip() for line in (Tree().text(LOG) or "").splitlines() if "[ERROR]" in line]
    lines = logged[-3:] or [line.strip() for line in outcome.text.splitlines() if line.strip()][-3:]
    hint = "; the installer does not know the node's gcc" if re.search(r"gcc|compiler", " ".join(lines)) else ""
    return "; ".join(lines)[:MOST_REASON] + hint if lines else f"exit status {outcome.rc}"


def _local(wanted: Wanted, path: str) -> int:
    size = os.stat(wanted.place).st_size
    _check_space(wanted, path, CACHE, size, 0)
    return size


def _check_space(wanted: Wanted, path: str, work: str, size: int, download: int) -> None:
    """Raises Fault where the disk is too small for the toolkit, what is unpacked, and what is still to download."""
    installation.check_spaces(
        {path: size * TOOLKIT_SIZES, work: size * UNPACKED_SIZES + download}, f"CUDA {wanted.version}: "
    )


def _fetched(wanted: Wanted, work: str, opener: Opener) -> tuple[str, int]:
    """Download into ``work``: the file and its size. Raises Fault for what does not arrive whole."""
    file = f"{work}/installer.run"
    try:
        with opener(wanted.place) as answer, open(file, "wb") as stream:
            size = int(answer.headers.get("Content-Length") or 0)
            _check_space(wanted, cuda_toolkit.PLACE.format(cuda_toolkit.release_of(wanted.version)), work, size, size)
            have = 0
            for chunk in iter(lambda: answer.read(_CHUNK), b""):
                stream.write(chunk)
                have += len(chunk)
    except Fault:
        raise
    except Exception as error:  # of urllib, http.client, ssl and the disk
        why = getattr(error, "reason", None) or error
        raise Fault(f"CUDA {wanted.version}: {wanted.name} could not be downloaded: {why}") from None
    if have < size:
        raise Fault(f"CUDA {wanted.version}: the download of {wanted.name} was cut off after {have} of {size} bytes")
    return file, have


def check_sum(wanted: Wanted, file: str) -> None:
    """Raises Fault where the file is another one than the one that was vouched for."""
    kind, _colon, digest = wanted.checksum.partition(":")
    found = hashlib.new(kind)
    with open(file, "rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            found.update(chunk)
    if not hmac.compare_digest(found.hexdigest(), digest.lower()):
        raise Fault(
            f"CUDA {wanted.version}: {wanted.name} has the checksum {kind}:{found.hexdigest()}, expected "
            f"{wanted.checksum}; nothing of it was run"
        )


class _Surroundings:
    """What the installer changes beside the toolkit: the link to the newest one, and the dynamic linker's directories.

    The link is somebody's, and the toolkit's libraries would get in front of those of other programs.
    """

    def __init__(self) -> None:
        self._link = os.readlink(LINK) if os.path.islink(LINK) else None
        self._had_link = os.path.lexists(LINK)
        self._files = set(_names(LINKER))

    def restore(self, run: Runner) -> None:
        """Put the link back, and take the linker's new files away."""
        if os.path.islink(LINK) and (not self._had_link or os.readlink(LINK) != self._link):
            os.unlink(LINK)
            if self._link is not None:
                os.symlink(self._link, LINK)
        added = [name for name in _names(LINKER) if name not in self._files]
        for name in added:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{LINKER}/{name}")
        if added and which("ldconfig"):
            run([path_of("ldconfig")], LDCONFIG_SECONDS)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
