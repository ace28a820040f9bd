# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's files: modes, space, digests of files and trees, and texts without the secrets in them."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import re
import stat
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.job_user import user_name
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.text_stream import Stream
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import disk as fabric_disk
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_excerpt

Record = dict[str, t.Any]

MAX_FILES = 10000
MAX_TEXT = 64 * 1024
MAX_HEAD = 24 * 1024
MAX_REPORT = 256 * 1024
MAX_BYTES = 256 * 1024 * 1024
"""What one digest reads at most; beyond it, sizes alone are digested."""

MANAGED_LIMIT = 2.0
"""Seconds for the digests of our own few files."""

WHOLE_BYTES = 4 * 1024 * 1024
SAMPLE_BYTES = 256 * 1024
MOST_LOCKS, MOST_FOLDERS, MOST_SHADOWS = 8, 256, 16
# What PyTorch, DeepSpeed, Accelerate and their launchers import at their start, and people call their own files by.
IMPORTED = frozenset(
    (
        *("torch", "deepspeed", "accelerate", "transformers", "datasets", "tokenizers", "numpy", "triton", "peft"),
        *("abc", "argparse", "ast", "asyncio", "base64", "bdb", "bisect", "calendar", "cmd", "code", "collections"),
        *("concurrent", "contextlib", "copy", "csv", "ctypes", "dataclasses", "datetime", "dis", "email", "enum"),
        *("functools", "glob", "hashlib", "heapq", "html", "http", "importlib", "inspect", "io", "json", "keyword"),
        *("linecache", "locale", "logging", "multiprocessing", "numbers", "operator", "pickle", "platform", "queue"),
        *("random", "re", "secrets", "select", "selectors", "shutil", "signal", "site", "socket", "ssl", "statistics"),
        *("string", "struct", "subprocess", "sysconfig", "tempfile", "textwrap", "threading", "token", "tokenize"),
        *("traceback", "types", "typing", "unittest", "urllib", "uuid", "warnings", "weakref", "zipfile", "gzip"),
    )
)
SKIPPED = frozenset(("__pycache__", "node_modules", "lost+found"))


def described(path: str) -> Record:
    """``path``, ``exists``, ``mode``, ``owner``, ``group``, ``others_write``; all but the path None where unknown."""
    answer: Record = {"path": path, "exists": None, "mode": None, "owner": None, "group": None, "others_write": None}
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {**answer, "exists": False}
    except OSError:
        return answer
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return {
        **answer,
        "exists": True,
        "mode": f"{found.st_mode & 0o7777:04o}",
        "owner": user_name(found.st_uid),
        "group": group,
        "others_write": bool(found.st_mode & 0o022),
    }


def loose_above(path: str, home: str) -> Record | None:
    """The first directory above a file of keys to which others may write, as described(); None without one.

    sshd follows links and looks at each directory from the file up to the home, or to / where the file is elsewhere.
    """
    end, directory = os.path.realpath(home), os.path.dirname(os.path.realpath(path))
    while directory != end:
        found = described(directory)
        if found["others_write"]:
            return found
        if directory == os.path.dirname(directory):
            break
        directory = os.path.dirname(directory)
    return None


def inode_of(path: str) -> int | None:
    """The number of a file in its file system: of a shared one it is the same on every node."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def cache_places(home: str, env: t.Mapping[str, str]) -> dict[str, str]:
    """Where the user's programs put what they keep. Sources: the manuals of Hugging Face Hub, Triton, PyTorch, pip."""
    cache = env.get("XDG_CACHE_HOME") or f"{home}/.cache"
    return {
        "home": home,
        "tmp": env.get("TMPDIR") or "/tmp",
        "hf": env.get("HF_HOME") or f"{cache}/huggingface",
        "triton": env.get("TRITON_CACHE_DIR") or f"{home}/.triton",
        "torch_extensions": env.get("TORCH_EXTENSIONS_DIR") or f"{cache}/torch_extensions",
        "pip": env.get("PIP_CACHE_DIR") or f"{cache}/pip",
    }


def caches(tree: Tree, places: t.Mapping[str, str], limit: float) -> dict[str, Record]:
    """Space and access of each place, for whoever runs this; ``existing`` is the nearest parent that is there."""
    disks = fabric_disk.disks(fabric_disk.mounts(tree), dict.fromkeys(places.values()), limit)
    found = {}
    for name, place in places.items():
        disk = disks[place]
        existing = None if disk["error"] else disk["existing"]
        found[name] = {
            "path": disk["path"],
            "existing": disk["existing"],
            "exists": bool(existing) and os.path.exists(disk["path"]) if existing else None,
            "writable": os.access(existing, os.W_OK | os.X_OK) if existing else None,
            **{key: disk[key] for key in ("fs_type", "local", "free_bytes", "total_bytes", "noexec", "readonly")},
            "inodes_free": _free_inodes(existing),
            "locks": build_locks(disk["path"]) if name == "torch_extensions" and existing == disk["path"] else [],
            "error": disk["error"],
        }
    return found


def build_locks(place: str) -> list[Record]:
    """The lock files of builds below the cache of torch's extensions: ``path`` and ``age_s``.

    PyTorch makes one while it compiles and waits for any that is there; it does not see that its maker is gone. Source:
    torch/utils/file_baton.py, cpp_extension.py (DIRECTORY/py311_cu126/NAME/lock).
    """
    found: list[Record] = []
    for folder, depth in _folders(place, 2):
        if depth and len(found) < MOST_LOCKS:
            try:
                age = time.time() - os.stat(os.path.join(folder, "lock")).st_mtime
            except OSError:
                continue
            found.append({"path": os.path.join(folder, "lock"), "age_s": max(0, int(age))})
    return found


def _folders(place: str, deepest: int) -> t.Iterator[tuple[str, int]]:
    """The directories below a place, as (path, depth): a few hundred of them, links left out."""
    todo, count = [(place, 0)], 0
    while todo and count < MOST_FOLDERS:
        folder, depth = todo.pop()
        count += 1
        yield folder, depth
        if depth < deepest:
            try:
                with os.scandir(folder) as entries:
                    todo += [(entry.path, depth + 1) for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:
                continue


def shadows(places: t.Iterable[str]) -> list[str]:
    """Files and packages in these directories by whose names Python would miss a module of its own or of a job.

    A directory counts with an __init__.py alone. Only names are read, and not of what is below.
    """
    found: list[str] = []
    for place in dict.fromkeys(places):
        try:
            names = os.listdir(place)[:MAX_FILES]
        except OSError:
            continue
        for name in sorted(names):
            stem, dot, end = name.partition(".")
            module = stem if dot and end == "py" else name
            if module not in IMPORTED or (not dot and not os.path.isfile(f"{place}/{name}/__init__.py")):
                continue
            found.append(os.path.join(place, name))
    return found[:MOST_SHADOWS]


def _free_inodes(place: str | None) -> int | None:
    """Files that an ordinary user may still make; None where the file system has no such limit (Btrfs says 0 of 0)."""
    try:
        found = os.statvfs(place) if place else None
    except OSError:
        return None
    return found.f_favail if found and found.f_files else None


def asked(tree: Tree, paths: t.Iterable[str], limit: float) -> dict[str, Record]:
    """What is at each path; ``limit`` seconds for the digests of all of them.

    ``denied``: a directory above it is closed to the user.
    """
    deadline = time.monotonic() + limit
    table = fabric_disk.mounts(tree)
    return {given: _one(table, os.path.abspath(os.path.expanduser(given)), deadline) for given in dict.fromkeys(paths)}


def _one(table: t.Sequence[fabric_disk.Mount], path: str, deadline: float) -> Record:
    place, local = fabric_disk.follow(table, path)
    mount = fabric_disk.mount_of(table, place)
    keys = ("exists", "kind", "size", "digest", "readable", "writable", "mode", "error", "denied")
    answer: Record = dict.fromkeys(keys)
    answer.update(fs_type=mount.fs_type if mount else None, local=local)
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {**answer, "exists": False}
    except OSError as error:
        return {**answer, "error": error.strerror, "denied": isinstance(error, PermissionError)}
    directory = stat.S_ISDIR(found.st_mode)
    kind = "dir" if directory else "file" if stat.S_ISREG(found.st_mode) else None
    readable = os.access(path, os.R_OK | os.X_OK if directory else os.R_OK)
    answer.update(exists=True, kind=kind, readable=readable, writable=os.access(path, os.W_OK))
    answer.update(mode=f"{found.st_mode & 0o7777:04o}", size=found.st_size if kind == "file" else None)
    if kind and readable:
        size, answer["digest"], answer["error"] = digest(path, deadline)
        answer["size"] = size if directory else answer["size"]
    return answer


def digest(path: str, deadline: float) -> tuple[int | None, str | None, str | None]:
    """(bytes, digest, error) of a file or of all plain files below a directory, names included.

    ``sha256:`` when every byte was read, ``sha256-sampled:`` when large files were digested by
    their size, start and end. Equal content gives equal digests on every node, whatever the order on
    the disk. Hidden files and byte code are passed over. Without a digest the error says why.
    """
    try:
        names = tree_names(path, deadline) if os.path.isdir(path) else [""]
        if len(names) > MAX_FILES:
            return None, None, f"more than {MAX_FILES} files: not compared"
        total, read, sampled, whole = 0, 0, False, hashlib.sha256()
        for name in names:
            full = os.path.join(path, name) if name else path
            size = os.stat(full).st_size
            total += size
            whole.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
            for start, length in _parts(size) if read < MAX_BYTES else ():
                with open(full, "rb") as stream:
                    stream.seek(start)
                    whole.update(stream.read(length))
                read += length
            sampled = sampled or size > WHOLE_BYTES or read >= MAX_BYTES
            if time.monotonic() > deadline:
                break
    except OSError as error:
        return None, None, f"{error.filename}: {error.strerror}"
    if time.monotonic() > deadline:
        return None, None, "not enough time to read it: not compared"
    return total, f"{'sha256-sampled' if sampled else 'sha256'}:{whole.hexdigest()}", None


def _parts(size: int) -> list[tuple[int, int]]:
    """(offset, length) of what is read of a file of ``size`` bytes."""
    if size <= WHOLE_BYTES:
        return [(0, size)]
    return [(0, SAMPLE_BYTES), (size - SAMPLE_BYTES, SAMPLE_BYTES)]


def tree_names(top: str, deadline: float) -> list[str]:
    """The plain files below a directory, relative and sorted; links to directories are not followed.

    Stops at the deadline, and when there are more than MAX_FILES.
    """
    names: list[str] = []
    for place, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED)
        for name in files:
            full = os.path.join(place, name)
            if not name.startswith(".") and not name.endswith((".pyc", ".pyo")) and os.path.isfile(full):
                names.append(os.path.relpath(full, top))
        if len(names) > MAX_FILES or time.monotonic() > deadline:
            break
    return sorted(names)


def managed(prefix: str) -> Record:
    """Whether the files of this collection are below the prefix, and their digests by relative path."""
    files: dict[str, str] = {}
    deadline = time.monotonic() + MANAGED_LIMIT
    for folder in ("bin", "etc", "libexec", "share"):
        for name in tree_names(f"{prefix}/{folder}", deadline):
            path = f"{prefix}/{folder}/{name}"
            if os.access(path, os.R_OK):
                _size, found, _error = digest(path, deadline)
                files.update({f"{folder}/{name}": found} if found else {})
    return {"exists": os.path.exists(f"{prefix}/etc/cluster.json"), "files": files}


def handed_in(files: t.Iterable[t.Mapping[str, t.Any]]) -> list[Record]:
    """``kind``, ``path``, ``cluster``, ``exists``, ``text``, ``error`` of each file.

    The text is masked, and at most 64 KiB, of a report on nodes 256 KiB.
    """
    readers = dict.fromkeys(("nccl_log", "kernel_log", "ds_report", "collect_env"), ends_of)
    readers["job_log"] = job_excerpt.of_file
    readers["node_report"] = report_of
    return [
        {
            "kind": wish["kind"],
            "path": wish["path"],
            "cluster": bool(wish.get("cluster")),
            **text_of(os.path.expanduser(wish["path"]), readers.get(wish["kind"], beginning_of)),
        }
        for wish in files
    ]


def beginning_of(path: str) -> str:
    """The first 64 KiB of a file; OSError when it cannot be read."""
    with open(path, "rb") as stream:
        return stream.read(MAX_TEXT).decode("utf-8", "replace")


def report_of(path: str) -> str:
    """The beginning of a report on several nodes, which is longer than other files and has nothing that could lack."""
    with open(path, "rb") as raw:
        return Stream(raw).read(MAX_REPORT).decode("utf-8", "replace")


def ends_of(path: str) -> str:
    """The beginning of a log, which says how a job was started, and its end, where it failed: 64 KiB in whole lines."""
    with open(path, "rb") as raw:
        stream = Stream(raw)
        text = stream.read(MAX_TEXT)
        rest = stream.last(MAX_TEXT - MAX_HEAD, MAX_TEXT) if stream.size is None or stream.size > MAX_TEXT else b""
        if rest:
            tail = (text[MAX_HEAD:] + rest)[-(MAX_TEXT - MAX_HEAD) :].partition(b"\n")[2]
            text = text[:MAX_HEAD].rpartition(b"\n")[0] + b"\n" + tail
    return text.decode("utf-8", "replace")


def text_of(path: str, read: t.Callable[[str], str] = beginning_of) -> Record:
    """``exists``, ``text`` and ``error`` of a file; a pipe or a device in its place is not read."""
    try:
        if not os.path.isfile(path):
            there = os.path.lexists(path)
            return {"exists": there, "text": None, "error": "it is not a plain file" if there else None}
        text = read(path)
    except OSError as error:
        return {"exists": True, "text": None, "error": error.strerror}
    return {"exists": True, "text": masked(text), "error": None}


def nccl_conf(tree: Tree, home: str) -> list[Record]:
    """The files that NCCL reads: ``path`` and ``values``; only those that exist.

    One KEY=VALUE a line, # in the first column, nothing trimmed. Source: NCCL 2.30 src/misc/param.cc.
    """
    found = []
    for shown, path in (("~/.nccl.conf", f"{home}/.nccl.conf"), ("/etc/nccl.conf", "/etc/nccl.conf")):
        text = tree.text(path)
        if text is not None:
            rows = [row.partition("=") for row in text.splitlines() if "=" in row and not row.startswith("#")]
            found.append({"path": shown, "values": {name: value for name, _equals, value in rows}})
    return found


def accelerate_default(tree: Tree, cache: str) -> list[Record]:
    """The configuration that ``accelerate launch`` takes without being told: ``path`` and flat ``values``.

    ``cache`` is HF_HOME. The YAML file goes before the JSON one. Source: accelerate 1.15
    commands/config/config_args.py.
    """
    for name, read in (("default_config.yaml", flat_yaml), ("default_config.json", flat_json)):
        path = f"{cache}/accelerate/{name}"
        text = tree.text(path)
        if text is not None:
            return [{"path": path, "values": read(masked(text))}]
    return []


def flat_yaml(text: str) -> dict[str, str]:
    """The scalars of a block of mappings, as ``accelerate config`` writes it, under dotted names.

    A node need not have a YAML library; lists and anything unusual are passed over.
    """
    values: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for row in text.splitlines():
        name, colon, value = row.strip().partition(":")
        if not colon or name.startswith(("#", "-")) or (value and not value.startswith(" ")):
            continue
        depth = len(row) - len(row.lstrip())
        above = [item for item in above if item[0] < depth]
        value = re.sub(r"(?<!\s)\s+#.*$", "", value).strip()
        if value and value not in ("{}", "[]"):
            values[".".join([*(item[1] for item in above), name])] = value.strip("\"'")
        else:
            above.append((depth, name))
    return values


def flat_json(text: str) -> dict[str, str]:
    """The scalars of a JSON object under dotted names; nothing when it is none."""
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    values: dict[str, str] = {}
    todo: list[tuple[str, t.Any]] = [("", data)]
    while todo:
        name, value = todo.pop()
        if isinstance(value, dict):
            todo += [(f"{name}.{key}".lstrip("."), item) for key, item in value.items()]
        elif name and not isinstance(value, list):
            values[name] = value if isinstance(value, str) else json.dumps(value)
    return values


def deepspeed_env(tree: Tree, home: str, directories: t.Iterable[str]) -> list[dict[str, str]]:
    """The environment files that DeepSpeed sends to every node, ``path`` and ``text`` (masked): those that exist."""
    found = []
    for shown, place in [("~/.deepspeed_env", home), *((f"{one}/.deepspeed_env", one) for one in directories)]:
        text = tree.text(f"{place}/.deepspeed_env")
        if text is not None:
            found.append({"path": shown, "text": masked(text)})
    return found
