# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node knows of itself, asked for by the head with ``trainmesh here QUESTION``."""

from __future__ import annotations

import contextlib
import csv
import glob
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import typing as t

from trainmesh import fanout
from trainmesh.installation import SYSTEM_PATH, Installation, Refused, find, user
from trainmesh.processes import here as running
from trainmesh.processes import run_of
from trainmesh.words import decode

CODE = (".py", ".sh", ".json", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".txt", ".cu", ".cpp", ".h")
NOT_CODE = frozenset((".git", "__pycache__", ".venv", "venv", "node_modules", ".ipynb_checkpoints", "wandb", "mlruns"))
MOST_FILES, MOST_BYTES = 3000, 4 << 20  # of a directory; of one file
SMI_SECONDS = 15.0
GPU_FIELDS = (
    "index",
    "uuid",
    "name",
    "utilization.gpu",
    "memory.used",
    "memory.total",
    "temperature.gpu",
    "power.draw",
)
LOGINS_AT_ONCE = 4  # sshd refuses some of more than ten that have not said yet who they are
LOGIN_SECONDS, CONNECT_SECONDS = 12.0, 4.0


def answer(prefix: str, words: t.Sequence[str]) -> int:
    """Answer one question of the head, as JSON in the last line."""
    installation = find(prefix)
    question, *rest = [decode(word) for word in words]
    questions: dict[str, t.Callable[..., t.Any]] = {
        "ps": lambda: running(installation),
        "env": lambda: environment(installation),
        "top": lambda: {"gpus": gpus(installation), "processes": running(installation)["processes"], **load()},
        "doctor": lambda directory, address, ports, names: {
            "environment": environment(installation),
            "configuration": configuration(installation),
            "code": code(directory),
            "gpus": gpus(installation),
            "slots": installation.values.get("TRAINMESH_NODE_SLOTS"),
            "free": shutil.disk_usage(f"{prefix}/var").free,
            "unconnected": unconnected(address, [int(port) for port in ports.split(",") if port]),
            "logins": failed_logins(installation, names.split(",") if names else []),
            "runs": sorted(running(installation)["processes"]),
        },
    }
    if question not in questions:
        raise Refused(f"there is no question {question}")
    sys.stdout.write(json.dumps(questions[question](*rest)) + "\n")
    return 0


def environment(installation: Installation) -> dict[str, t.Any]:
    """The environment: its name (none for a directory ``env``), its Python, and the packages that pip left there."""
    packages = {}
    for path in glob.glob(f"{glob.escape(installation.base)}/env/lib/python3*/site-packages/*.dist-info"):
        name, _dash, version = os.path.basename(path)[: -len(".dist-info")].rpartition("-")
        if name.startswith("~"):  # what pip has left of a package that it could not remove
            continue
        packages[re.sub(r"[-_.]+", "-", name).lower()] = version
    versions = glob.glob(f"{glob.escape(installation.base)}/env/lib/python3*")
    python = sorted(map(os.path.basename, versions))
    return {"name": installation.environment, "python": python, "packages": packages}


def configuration(installation: Installation) -> dict[str, str]:
    """Digests of the files that are the same on every node."""
    return {name: digest(f"{installation.prefix}/etc/{name}") for name in ("hostfile", "cluster.env", "cluster.json")}


def code(directory: str) -> dict[str, t.Any]:
    """Digests of the code in a directory; ``complete`` is false where there is more than is read."""
    if not os.path.isdir(directory):
        return {"there": False, "complete": True, "files": {}}
    files: dict[str, str] = {}
    for place, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in NOT_CODE and not name.startswith("."))
        for name in sorted(name for name in names if name.endswith(CODE)):
            path = os.path.join(place, name)
            if len(files) >= MOST_FILES:
                return {"there": True, "complete": False, "files": files}
            with contextlib.suppress(OSError):
                if os.path.isfile(path) and os.path.getsize(path) <= MOST_BYTES:
                    files[os.path.relpath(path, directory)] = digest(path)
    return {"there": True, "complete": True, "files": files}


def digest(path: str) -> str:
    """Enough to tell two files apart; empty where a file can't be read."""
    try:
        with open(path, "rb") as source:
            return hashlib.sha256(source.read()).hexdigest()[:16]
    except OSError:
        return ""


def gpus(installation: Installation) -> dict[str, t.Any]:
    """The GPUs as nvidia-smi tells of them: ``error`` where it should and does not."""
    if installation.values.get("TRAINMESH_DEVICE") != "cuda":
        return {"expected": False, "error": "", "gpus": [], "processes": []}
    listing, error = smi(f"--query-gpu={','.join(GPU_FIELDS)}")
    rows = [dict(zip(GPU_FIELDS, row)) for row in listing if len(row) == len(GPU_FIELDS)]
    holders = [] if error else smi("--query-compute-apps=gpu_uuid,pid,used_memory,process_name")[0]
    # the server of CUDA's multi-process service holds a GPU for others
    rest = [row for row in holders if len(row) == 4 and "nvidia-cuda-mps" not in row[3]]
    found = [{"uuid": row[0], "memory": row[2], **holder(row[1])} for row in rest]
    return {"expected": True, "error": error, "gpus": rows, "processes": found}


def smi(query: str) -> tuple[list[list[str]], str]:
    """(the rows of nvidia-smi's table, what it said when it failed)."""
    program = shutil.which("nvidia-smi", path=f"{SYSTEM_PATH}:/usr/lib/wsl/lib") or "nvidia-smi"
    try:
        done = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=SMI_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [], f"nvidia-smi does not answer within {SMI_SECONDS:.0f} s"
    except OSError as error:
        return [], f"nvidia-smi: {error.strerror}"
    if done.returncode:
        text = (done.stdout + done.stderr).strip().splitlines()
        return [], text[-1] if text else f"nvidia-smi: exit status {done.returncode}"
    return [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(done.stdout))], ""


def holder(pid: str) -> dict[str, t.Any]:
    """Who a process on a GPU belongs to: its user, and the run when it is of one."""
    if not pid.isdigit() or not os.path.isdir(f"/proc/{pid}"):
        return {"pid": pid, "user": "?", "run": "", "mine": False}  # of another container
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return {"pid": pid, "user": "?", "run": "", "mine": False}
    return {"pid": pid, "user": user(owner), "run": run_of("/proc", pid), "mine": owner == os.geteuid()}


def load() -> dict[str, t.Any]:
    """Load, cores and memory of the machine."""
    with open("/proc/meminfo", encoding="ascii") as source:
        memory = {line.split(":")[0]: int(line.split()[1]) for line in source}
    cores = len(os.sched_getaffinity(0))
    return {
        "load": os.getloadavg()[0],
        "cores": cores,
        "memory_kib": memory.get("MemTotal", 0),
        "available_kib": memory.get("MemAvailable", 0),
    }


def unconnected(address: str, ports: t.Sequence[int]) -> dict[str, str]:
    """The ports of the head to which no TCP connection is possible from here, with the reason."""
    failed = {}
    for port in ports:
        try:
            socket.create_connection((address, port), CONNECT_SECONDS).close()
        except OSError as error:
            failed[str(port)] = error.strerror or str(error)
    return failed


def failed_logins(installation: Installation, names: t.Sequence[str]) -> dict[str, str]:
    """The nodes to which this one can't log in, with ssh's last words; tried twice.

    Each node begins with the one behind it, so that not all of them knock at the same door.
    """
    failed: dict[str, str] = {}
    own = int(installation.values.get("TRAINMESH_NODE_RANK", "0"))
    waiting = [*names[own + 1 :], *names[: own + 1]]

    def work() -> None:
        while True:
            try:
                name = waiting.pop(0)
            except IndexError:
                return
            trouble = login(name) and login(name)
            if trouble:
                failed[name] = trouble

    threads = [threading.Thread(target=work) for _each in range(LOGINS_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def login(name: str) -> str:
    """What ssh says when it can't log in; an empty text when it can."""
    try:
        done = subprocess.run([*fanout.SSH, name, "true"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=LOGIN_SECONDS, check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        return "no answer in time"
    except OSError as error:
        return f"ssh: {error.strerror}"
    words = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else words[-1] if words else f"exit status {done.returncode}"
