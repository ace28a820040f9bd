# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the disks and directories that jobs write to: room, caches, locks that are left in them."""

from __future__ import annotations

import os.path
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    gpu_count,
    limit,
    live,
    number,
    rows,
    setting,
    size,
    text,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Finding,
    dig,
    finding,
    rule,
)

# Their statfs tells no number of inodes, or one that means nothing.
_NO_INODES = frozenset({"btrfs", "zfs", "nfs", "nfs4", "cifs", "fuse", "bcachefs"})
# What moves each cache to another place, and whether a job fails when it can't be written.
_CACHES = {
    "home": ("", True),
    "tmp": ("TMPDIR", True),
    "torch_extensions": ("TORCH_EXTENSIONS_DIR", True),
    "triton": ("TRITON_CACHE_DIR", True),
    "hf": ("HF_HOME", False),
    "pip": ("PIP_CACHE_DIR", False),
}


def _places(case: Case, host: str) -> dict[str, tuple[str, Data]]:
    """The file systems that were measured: {path: (what it is, its facts)}; a cache goes before the same path."""
    found: dict[str, tuple[str, Data]] = {}
    for path, facts in dig(case.fabric.get(host), "disks", {}).items():
        if isinstance(facts, t.Mapping):
            found[str(dig(facts, "path", path))] = ("disk", facts)
    for name, facts in dig(case.user.get(host), "caches", {}).items():
        if isinstance(facts, t.Mapping):
            found[str(dig(facts, "path", name))] = (str(name), facts)
    return found


def _disk_problem(case: Case, what: str, facts: Data) -> tuple[str, str] | None:
    """(severity, what was seen) of a file system that is full or nearly so."""
    free, inodes = number(facts, "free_bytes"), number(facts, "inodes_free")
    least = limit(case, "tmp_warn_bytes" if what == "tmp" else "disk_warn_bytes")
    path, kind = dig(facts, "path", what), str(dig(facts, "fs_type", ""))
    if free is not None and free < least:
        severity = FAIL if free < limit(case, "disk_fail_bytes") else WARN
        return severity, f"{path} ({dig(facts, 'mount') or kind or 'its file system'}): {size(free)} free"
    if inodes is not None and inodes < limit(case, "inodes_warn") and kind not in _NO_INODES:
        return FAIL if inodes < limit(case, "inodes_fail") else WARN, f"{path} ({kind}): {inodes:.0f} inodes free"
    return None


@rule(
    About(
        "disk-full",
        layer="job",
        severity=FAIL,
        also=(WARN,),
        title="A disk is full or nearly full",
        symptom="`No space left on device`",
        source="write(2)",
    ),
    needs=("fabric",),
)
def disk_full(case: Case) -> t.Iterable[Answer]:
    """Where jobs write and nothing more fits."""
    for host in dict.fromkeys((*live(case, "user"), *live(case))):
        for what, facts in _places(case, host).values():
            problem = _disk_problem(case, what, facts)
            if problem:
                severity, seen = problem
                cause = (
                    "A file system that jobs write to is full."
                    if severity == FAIL
                    else "A file system that jobs write to is nearly full."
                )
                remedy = (
                    "df -h and df -i, then du -xhd1 PATH | sort -h; old wheels, conda packages, checkpoints and "
                    "~/.cache/huggingface are the usual ones, or move the cache by HF_HOME, TRITON_CACHE_DIR or "
                    "TMPDIR in trainmesh_env."
                )
                yield finding("disk-full", severity, host, seen, cause, remedy)


# What the kernel, or our own limit, says of a file system whose other end is gone -> how it comes back.
_GONE = (
    (
        "Stale file handle",
        "umount -l {mount} && mount {mount} there: its server was set up anew",
    ),
    (
        "Transport endpoint is not connected",
        "umount -l {mount} && mount {mount} there: the program behind it ended",
    ),
    (
        "did not answer within",
        "showmount -e SERVER; rpcinfo SERVER; umount -fl {mount} there, when the server is up",
    ),
    ("Host is down", "mount {mount} there, when its server is up"),
    ("Required key not available", "kinit, or a keytab for {user}; systemctl status rpc-gssd there"),
    ("Key has expired", "kinit, or a keytab for {user}; systemctl status rpc-gssd there"),
    ("Input/output error", "dmesg -T | tail -50 there; smartctl -a or the server's log, then fsck"),
)


@rule(
    About(
        "fs-not-answering",
        layer="job",
        severity=FAIL,
        also=(WARN,),
        title="A file system of the jobs does not answer",
        symptom="`Stale file handle`, processes in state D, logins that hang",
        source="nfs(5), errno(3)",
    ),
    needs=("fabric",),
)
def not_answering(case: Case) -> t.Iterable[Answer]:
    """Homes, caches and the prefix on a file system whose server or program is gone."""
    for host in dict.fromkeys((*live(case, "user"), *live(case))):
        user = str(dig(case.plan, "user") or dig(case.user.get(host), "name", "the job user"))
        told: set[str] = set()
        for what, facts in _places(case, host).values():
            error = str(dig(facts, "error") or "")
            remedy = next((words for said, words in _GONE if said in error), "")
            mount = str(dig(facts, "mount") or dig(facts, "path", what))
            if not remedy or mount in told:
                continue
            told.add(mount)
            yield finding(
                "fs-not-answering",
                FAIL if what in ("disk", "home", "tmp") else WARN,
                host,
                f"{dig(facts, 'path', what)} ({dig(facts, 'fs_type') or 'file system unknown'}): {error}",
                "The server or program behind a file system of the jobs is gone: what touches it fails or hangs.",
                f"{remedy.format(mount=shlex.quote(mount), user=user)}.",
            )


@rule(
    About(
        "cache-unwritable",
        layer="versions",
        severity=FAIL,
        also=(WARN,),
        title="A cache directory is not writable",
        symptom="`PermissionError` at the first compilation or download",
        source="XDG base directories, Hugging Face Hub",
    ),
    About(
        "build-ext-cache-nfs",
        layer="versions",
        severity=WARN,
        also=(FAIL,),
        title="The cache of compiled operators is on a shared disk",
        symptom="a hang, locks or `ESTALE` while compiling",
        source="DS#5205, DS#5677, DS#6540, TR#22363, dolly#119",
    ),
    needs=("user",),
)
def caches(case: Case) -> t.Iterable[Answer]:
    """Caches that the job user can't write to, or in which nodes get in each other's way."""
    for host in live(case, "user"):
        yield from _unwritable(case, host)
        for name in ("torch_extensions", "triton"):
            facts = dig(case.user[host], f"caches.{name}", {})
            path = str(dig(facts, "path", name))
            if dig(facts, "local") is False and dig(facts, "writable") is not False:
                yield finding(
                    "build-ext-cache-nfs",
                    WARN,
                    host,
                    f"{path} is on {dig(facts, 'fs_type', 'a network file system')}",
                    "Compiled operations are kept on a network file system: nodes wait for each other's lock files, or "
                    "load what another one is still writing.",
                    "Set TORCH_EXTENSIONS_DIR and TRITON_CACHE_DIR to a local directory such as /var/tmp/torch in "
                    "trainmesh_env.",
                )


_LOADED = {
    "torch_extensions": ("TORCH_EXTENSIONS_DIR", "DeepSpeed and PyTorch load what they have compiled"),
    "triton": ("TRITON_CACHE_DIR", "Triton loads its kernels' launchers"),
    "tmp": ("TORCHINDUCTOR_CACHE_DIR, or TMPDIR,", "torch.compile and compilers load or run what they have made"),
}


@rule(
    About(
        "cache-noexec",
        layer="versions",
        severity=FAIL,
        also=(WARN,),
        title="A cache of compiled code is mounted noexec",
        symptom="`failed to map segment from shared object: Operation not permitted`",
        source="mount(8), dlopen(3)",
    ),
    needs=("user",),
)
def noexec(case: Case) -> t.Iterable[Answer]:
    """File systems from which nothing may be loaded, where PyTorch, Triton and DeepSpeed keep what they compile."""
    for host in live(case, "user"):
        for name, (variable, who) in _LOADED.items():
            facts = dig(case.user[host], f"caches.{name}", {})
            if dig(facts, "noexec") is not True:
                continue
            moved = _set_elsewhere(case, host, variable)
            if moved and name == "tmp":
                continue
            yield finding(
                "cache-noexec",
                FAIL if name != "tmp" and gpu_count(case, host) else WARN,
                host,
                f"{dig(facts, 'path', name)} is on a file system that is mounted noexec",
                f"{who} there, and the kernel refuses to map it.",
                f"Set {variable} in trainmesh_env to a directory from which programs may run, such as "
                f"{dig(case.plan, 'prefix', '/opt/trainmesh')}/cache; or mount -o remount,exec of that file system, "
                "and in /etc/fstab.",
            )


def _set_elsewhere(case: Case, host: str, variables: str) -> bool:
    """Whether one of these variables leads a job to another directory than /tmp."""
    found = [setting(case, host, name.strip(", ")) for name in variables.replace("or ", "").split()]
    return any(value and not value.value.startswith("/tmp") for value in found)


@rule(
    About(
        "build-lock-stale",
        layer="versions",
        severity=FAIL,
        also=(WARN,),
        title="A build lock is left over from a killed job",
        symptom="a hang at `Using /root/.cache/torch_extensions ...`",
        source="torch/utils/file_baton.py, PT#17171",
    ),
    needs=("user",),
)
def stale_lock(case: Case) -> t.Iterable[Answer]:
    """Locks of torch's extensions whose build can't go on any more: whoever needs that extension waits for ever."""
    for host in live(case, "user"):
        for lock in rows(case.user[host], "caches.torch_extensions.locks"):
            age, path = number(lock, "age_s"), text(lock, "path")
            if age is None or age < limit(case, "build_lock_warn_s"):
                continue
            old = age >= limit(case, "build_lock_fail_s")
            hours = f"{age / 3600:.1f} hours" if age >= 3600 else f"{age / 60:.0f} minutes"
            yield finding(
                "build-lock-stale",
                FAIL if old else WARN,
                host,
                f"{path} is {hours} old",
                "A build of an extension was killed and left its lock: PyTorch waits for it, without a limit.",
                f"rm {shlex.quote(path)} on {host}, when no compiler runs there (pgrep -a ninja).",
            )


def _unwritable(case: Case, host: str) -> t.Iterator[Finding]:
    """One fault for each directory that keeps caches from being written; a full disk is another fault."""
    user = str(dig(case.plan, "user") or dig(case.user[host], "name", "the job user"))
    found: dict[str, list[str]] = {}
    yield from _read_only(case, host)
    for name in _CACHES:
        facts = dig(case.user[host], f"caches.{name}", {})
        if dig(facts, "readonly") is True:
            continue
        if dig(facts, "writable") is False and (_disk_problem(case, name, facts) or (WARN, ""))[0] != FAIL:
            found.setdefault(str(dig(facts, "existing") or dig(facts, "path", name)), []).append(name)
    for place, kept in found.items():
        paths = ", ".join(str(dig(case.user[host], f"caches.{name}.path", name)) for name in kept)
        yield finding(
            "cache-unwritable",
            FAIL if any(_CACHES[name][1] for name in kept) else WARN,
            host,
            f"{user} may not write to {place}, which {paths} need",
            "The job user can't write where torch, Triton or a data loader keep their files.",
            _way_to_write(case, host, user, place, kept),
        )


def _read_only(case: Case, host: str) -> t.Iterator[Finding]:
    """Caches on a file system that is mounted read-only: no owner or mode helps."""
    kept = [name for name in _CACHES if dig(case.user[host], f"caches.{name}.readonly") is True]
    variables = ", ".join(_CACHES[name][0] for name in kept if _CACHES[name][0])
    if kept:
        paths = ", ".join(str(dig(case.user[host], f"caches.{name}.path", name)) for name in kept)
        yield finding(
            "cache-unwritable",
            FAIL if any(_CACHES[name][1] for name in kept) else WARN,
            host,
            f"the file system of {paths} is mounted read-only",
            "The job user can't write where torch, Triton or a data loader keep their files: a disk with errors is "
            "mounted read-only by the kernel, others by /etc/fstab, an image or a container.",
            "dmesg -T | grep -iE 'I/O error|remount|EXT4-fs|XFS' on it names a disk with errors, which fsck repairs; "
            f"else mount -o remount,rw, and in /etc/fstab; or set {variables or 'another home for the user'}.",
        )


def _way_to_write(case: Case, host: str, user: str, place: str, kept: t.Sequence[str]) -> str:
    """The command that lets the user write, and the variables that lead elsewhere; one of both where there is no other.

    The user chooses these paths: no command hands over, or opens, what is not in the user's home or the prefix.
    """
    command = _give(case, host, user, place, kept)
    variables = ", ".join(_CACHES[name][0] for name in kept if _CACHES[name][0])
    if command:
        return f"{command} (or, in trainmesh_env, other directories for {variables})" if variables else command
    if variables:
        return f"Unset {variables}, or set in trainmesh_env a directory that {user} may write to."
    return f"Give {user} a home directory that {user} may write to."


def _give(case: Case, host: str, user: str, place: str, kept: t.Sequence[str]) -> str:
    """The command by which root lets the user write; empty where that would give away what others need."""
    if place in ("/tmp", "/var/tmp"):
        return shlex.join(["chmod", "1777", place])
    home = str(dig(case.user[host], "home", ""))
    owner = f"{user}:"
    if place == home and _is_one_users(home):
        return f"{shlex.join(['chown', '-h', owner, home])} && {shlex.join(['chmod', 'u+rwx', home])}"
    own = [directory for directory in (home, str(dig(case.plan, "prefix", ""))) if _is_one_users(directory)]
    if any(_is_below(place, directory) for directory in own):
        return shlex.join(["chown", "-hR", owner, place])
    paths = [str(dig(case.user[host], f"caches.{name}.path")) for name in kept]
    if all(path in own or any(_is_below(path, directory) for directory in own) for path in paths):
        return shlex.join(["install", "-d", "-o", user, *paths])
    return ""


def _is_one_users(directory: str) -> bool:
    """Whether a directory can be all one user's: /root, /home/trainer, /opt/trainmesh, but not /etc."""
    return directory == "/root" or directory.rstrip("/").count("/") > 1


def _is_below(path: str, directory: str) -> bool:
    return os.path.normpath(path).startswith(f"{directory.rstrip('/')}/")
