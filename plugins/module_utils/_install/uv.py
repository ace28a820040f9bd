# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the packages of a lock into an environment with uv."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import time
import typing as t
import zipfile

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command as base_command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write, umask
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.packages import Plan, text_of

LOCK = "requirements.txt"
INDEX = "index.json"
CERTIFICATES = "index-ca.pem"


class InstallError(Exception):
    """An installation failed; the text is for the user."""


class Paths(t.NamedTuple):
    """Where things lie below a prefix."""

    environment: str
    uv: str
    cache: str
    marker: str
    record: str


def paths(prefix: str) -> Paths:
    """The paths below a prefix."""
    var = f"{prefix}/var"
    return Paths(
        f"{prefix}/env", f"{var}/tools/uv", f"{var}/cache/uv", f"{var}/stack-installing", f"{var}/stack-packages"
    )


@contextlib.contextmanager
def alone(where: Paths, seconds: float) -> t.Iterator[None]:
    """Let one installation run at a time: that of an interrupted play goes on by itself. Raises InstallError."""
    deadline = time.monotonic() + seconds
    with open(f"{where.marker}.lock", "w", encoding="utf-8") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise InstallError("another installation runs on this node and does not end") from None
            time.sleep(0.5)
        yield


def read_index(directory: str) -> dict[str, t.Any]:
    """What the controller says of its index; {} when nodes install from the handed files alone."""
    text = text_of(os.path.join(directory, INDEX))
    content: dict[str, t.Any] = json.loads(text) if text else {}
    return content


def arguments(where: Paths, directory: str, offline: bool, index: t.Mapping[str, t.Any], found: Plan) -> list[str]:
    """The command that installs the lock in ``directory``; no build ever runs on a node."""
    command = [where.uv, "pip", "install", "--python", f"{where.environment}/bin/python", "--no-config", "--no-build"]
    command += ["--require-hashes", "--requirement", os.path.join(directory, LOCK)]
    command += ["--reinstall"] if found.unfinished or found.problems else []
    # What an interrupted installation left may look installed to uv, and a name may be there twice.
    for name in (*found.missing, *(name for name, _old, _new in found.different)):
        command += ["--reinstall-package", name]
    if offline:
        return [*command, "--offline", "--no-index"]
    for host in index.get("trusted_hosts", []):
        command += ["--allow-insecure-host", host]
    if index.get("extra"):
        command += ["--index-strategy", "unsafe-best-match"]
    return command + (["--torch-backend", index["torch_backend"]] if index.get("torch_backend") else [])


def find_links(places: t.Iterable[str]) -> dict[str, str]:
    """The variable that gives uv these places, directories or URLs; a comma divides them."""
    urls = [place if "://" in place else pathlib.Path(os.path.abspath(place)).as_uri() for place in places]
    return {"UV_FIND_LINKS": ",".join(url.replace(",", "%2C") for url in urls)} if urls else {}


def environment(where: Paths, directory: str, index: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Variables for uv; addresses that may hold a password go here and not into the command line."""
    variables = {
        "UV_CACHE_DIR": where.cache,
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_SYSTEM_CERTS": "1",  # an authority that the node's administrator trusts counts
        "TMPDIR": os.path.dirname(where.cache),
        **find_links([directory, *index.get("find_links", [])]),
    }
    certificates = os.path.join(directory, CERTIFICATES)
    if os.path.exists(certificates):
        variables["SSL_CERT_FILE"] = certificates
    if index.get("default"):
        variables["UV_DEFAULT_INDEX"] = index["default"]
    if index.get("extra"):
        variables["UV_INDEX"] = " ".join(index["extra"])
    if index.get("proxy"):
        variables.update(HTTP_PROXY=index["proxy"], HTTPS_PROXY=index["proxy"])
    return variables


def unpack_uv(directory: str, target: str) -> bool:
    """Put uv from its wheel (or the bare program) in ``directory`` at ``target``; False when there is none."""
    wheels = sorted(name for name in os.listdir(directory) if name.startswith("uv-") and name.endswith(".whl"))
    bare = os.path.join(directory, "uv")
    if not wheels and not os.path.exists(bare):
        return False
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if wheels:
        with zipfile.ZipFile(os.path.join(directory, wheels[-1])) as archive:
            member = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
            program = archive.read(member)
    else:
        with open(bare, "rb") as source:
            program = source.read()
    file_write.replace(target, program, 0o755)
    return True


def install(
    where: Paths,
    directory: str,
    offline: bool,
    index: t.Mapping[str, t.Any],
    found: Plan,
    names: t.Sequence[str],
    seconds: float,
    run: t.Callable[..., base_command.Outcome] = base_command.run,
) -> list[str]:
    """Install and return the command; the marker stands until it has ended well. Raises InstallError.

    ``names`` are the packages of the lock: the next run knows by them what this one brought.
    """
    with umask.readable():
        return _install(where, directory, offline, index, found, names, seconds, run)


def _install(
    where: Paths,
    directory: str,
    offline: bool,
    index: t.Mapping[str, t.Any],
    found: Plan,
    names: t.Sequence[str],
    seconds: float,
    run: t.Callable[..., base_command.Outcome],
) -> list[str]:
    if not unpack_uv(directory, where.uv):
        raise InstallError(f"uv is not among the files in {directory}")
    os.makedirs(where.cache, exist_ok=True)
    file_write.replace(where.marker, b"an installation is running, or was interrupted\n", 0o644)
    command = arguments(where, directory, offline, index, found)
    _run(run, command, seconds, environment(where, directory, index))
    if found.stale:
        remove = [
            where.uv,
            "pip",
            "uninstall",
            "--no-config",
            "--python",
            f"{where.environment}/bin/python",
            *found.stale,
        ]
        _run(run, remove, seconds, environment(where, directory, index))
    note(where, names)
    os.remove(where.marker)
    shutil.rmtree(where.cache, ignore_errors=True)
    return command


def note(where: Paths, names: t.Iterable[str]) -> None:
    """Write down which packages are those of the lock: the next run knows by it what an earlier lock brought."""
    file_write.replace(where.record, "".join(f"{name}\n" for name in sorted(names)).encode(), 0o644)


def _run(
    run: t.Callable[..., base_command.Outcome], command: list[str], seconds: float, variables: dict[str, str]
) -> None:
    outcome = run(command, seconds, env=variables)
    if outcome.timed_out:
        raise InstallError(f"the installation did not end within {seconds:.0f} s; the next run repairs it")
    if not outcome.ok:
        tail = masked(outcome.text.strip())[-2000:]
        raise InstallError(f"uv could not install the lock: {tail}{_advice(tail)}")


def _advice(tail: str) -> str:
    """The remedy for the failures that a user can do something about."""
    if "No space left" in tail:
        return " (the disk of the prefix is full: free some space, or set trainmesh_prefix to a larger disk)"
    if any(word in tail for word in ("dns error", "Connect", "timed out", "Failed to fetch")):
        remedy = "set trainmesh_wheelhouse: auto, and the controller hands it the wheels"
        return f" (this node does not reach the package index: {remedy})"
    return ""
