# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This node's part of ``trainmesh pip``: what the head asks of every node, in steps that can be taken back.

``var/added`` beside the environment holds the wheels, the record of what was added, and while a step is not settled
what it has changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import typing as t

from trainmesh import facts
from trainmesh.installation import Installation, Refused, find
from trainmesh.words import decode

RECORD, PENDING = "record.json", "pending.json"
LAST_LINES = 12
_NOT_HERE = re.compile(r"extra ==|== *['\"](?:win32|cygwin|darwin|Windows|Darwin)['\"]")
SETTLE_SECONDS = 300.0

_KEPT = ("(What is installed stays as it is, and is a constraint here: the inventory changes it, with "
         "trainmesh_requirements and the variables of the versions.)")  # fmt: skip
_ELSEWHERE = ("(pip on this node knows no index that has it: name it in trainmesh_extra_packages and run site.yml, by "
              "which the controller fetches it, or give --index-url or --find-links.)")  # fmt: skip

_ISOLATED = ("(Its build needs packages that it does not name: --no-build-isolation builds it with those of the "
             "environment, such as torch; what is missing there, install first.)")  # fmt: skip

Record = dict[str, t.Any]


def answer(prefix: str, words: t.Sequence[str]) -> int:
    """Carry out one step, and say as JSON in the last line what came of it."""
    installation = find(prefix)
    step, *rest = [decode(word) for word in words]
    steps: dict[str, t.Callable[..., t.Any]] = {
        "state": state, "fetch": fetch, "install": install, "remove": remove, "undo": undo, "commit": commit,
    }  # fmt: skip
    if step not in steps:
        raise Refused(f"there is no step {step}")
    if step == "state":
        said = state(installation)
    else:
        with alone(installation, SETTLE_SECONDS if step in ("undo", "commit") else 0.0):
            said = steps[step](installation, *rest)
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


def directory(installation: Installation) -> str:
    """Where what was added is kept."""
    return f"{installation.base}/var/added"


@contextlib.contextmanager
def alone(installation: Installation, seconds: float = 0.0) -> t.Iterator[None]:
    """One installation at a time: the playbooks take the same lock. That of a call that was ended goes on by itself."""
    deadline = time.monotonic() + seconds
    os.makedirs(f"{directory(installation)}/wheels", exist_ok=True)
    with open(f"{installation.base}/var/stack-installing.lock", "w", encoding="utf-8") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    words = "another installation runs on this node: wait for its end, and run it again"
                    raise Refused(words) from None
            time.sleep(0.5)
        yield


def state(installation: Installation) -> Record:
    """What this node has."""
    os.makedirs(f"{directory(installation)}/wheels", exist_ok=True)
    return {
        **facts.environment(installation),
        "needs": needs(installation),
        "locked": installation_text(installation, "var/stack-packages").split(),
        "record": read(installation, RECORD),
        "pending": read(installation, PENDING),
        "unfinished": os.path.exists(f"{installation.base}/var/stack-installing"),
        "free": shutil.disk_usage(f"{installation.prefix}/var").free,
        "glibc": platform.libc_ver()[1],
    }


def needs(installation: Installation) -> dict[str, list[str]]:
    """The names that the metadata of each package asks for; those of its extras are left out."""
    found = {}
    for path in glob.glob(f"{glob.escape(installation.base)}/env/lib/python3*/site-packages/*.dist-info/METADATA"):
        name = normal(os.path.basename(os.path.dirname(path))[: -len(".dist-info")].rpartition("-")[0])
        with open(path, encoding="utf-8", errors="replace") as source:
            head = source.read().partition("\n\n")[0]
        rows = re.findall(r"^Requires-Dist: ([\w.-]+)(.*)$", head, re.MULTILINE)
        found[name] = [normal(each) for each, rest in rows if not _NOT_HERE.search(rest)]
    return found


def normal(name: str) -> str:
    """The name of a package as indexes have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def sha256(path: str) -> str:
    """The SHA-256 of a file; empty where it can't be read."""
    digest = hashlib.sha256()
    with contextlib.suppress(OSError), open(path, "rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()
    return ""


def installation_text(installation: Installation, name: str) -> str:
    """A file beside the environment; empty where there is none."""
    with contextlib.suppress(OSError), open(f"{installation.base}/{name}", encoding="utf-8") as source:
        return source.read()
    return ""


def read(installation: Installation, name: str) -> Record:
    """A file in our directory; {} where there is none that can be read."""
    with contextlib.suppress(ValueError):
        found = json.loads(installation_text(installation, f"var/added/{name}") or "{}")
        return found if isinstance(found, dict) else {}
    return {}


def write(installation: Installation, name: str, content: Record) -> None:
    """The file appears complete or not at all."""
    path = f"{directory(installation)}/{name}"
    with open(f"{path}.new", "w", encoding="utf-8") as target:
        json.dump(content, target, sort_keys=True)
    os.replace(f"{path}.new", path)


def pip(installation: Installation, words: t.Sequence[str], settings: t.Mapping[str, str], show: bool = False) -> None:
    """Run the environment's pip; Refused with its last words. ``show`` lets its output through."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", **settings}
    environment["PATH"] = f"{installation.bin}:{environment.get('PATH', os.defpath)}"
    command = [f"{installation.bin}/python", "-I", "-m", "pip", *words]
    out = sys.stderr if show else subprocess.PIPE
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, text=True,
                              errors="replace", env=environment, check=False)  # fmt: skip
    except OSError as error:
        raise Refused(f"{command[0]} can't be started: {error.strerror}: run the site playbook") from None
    if done.returncode:
        raise Refused(f"pip {words[0]}: {reason(done.stdout or '', done.stderr)}")


def reason(out: str, err: str) -> str:
    """Why pip has failed, in one line, with what helps."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    errors = [
        line for line in lines if not re.match(r"WARNING|\[notice\]|DEPRECATION|ERROR: ResolutionImpossible", line)
    ]
    _before, conflict, causes = out.partition("The conflict is caused by:")
    if conflict:
        rows = [line.strip() for line in causes.splitlines()[1:]]
        errors += ["Caused by:", "; ".join(rows[: rows.index("") if "" in rows else len(rows)]), _KEPT]
    elif re.search(r"No module named '(?:torch|packaging|ninja|psutil|wheel|setuptools)'", err):
        errors = [*errors[-2:], _ISOLATED]
    elif re.search(r"No matching distribution|Could not find a version|ConnectionError|Retrying", err):
        errors.append(_ELSEWHERE)
    return without_logins(" ".join((errors or ["no reason"])[-LAST_LINES:]))[-1500:]


def without_logins(text: str) -> str:
    """The text without user names and passwords in addresses."""
    return re.sub(r"(?<=://)[^/\s@]+@", "****@", text)


OFFLINE = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}


def fetch(installation: Installation, asked: str, options: str, pinned: str) -> Record:
    """Resolve on this node what is asked for beside what is installed, and fetch or build the wheels.

    ``asked`` and ``options`` are pip's words and ``pinned`` packages to fetch too, as JSON lists. Nothing is installed.
    """
    wanted, more, extra = json.loads(asked), json.loads(options), json.loads(pinned)
    place = f"{directory(installation)}/fetch"
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(f"{place}/wheels")
    try:
        return _fetch(installation, place, wanted, more, extra)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _fetch(
    installation: Installation, place: str, wanted: t.Sequence[str], more: t.Sequence[str], extra: t.Sequence[str]
) -> Record:
    installed = facts.environment(installation)["packages"]
    limits = f"{place}/constraints.txt"
    with open(limits, "w", encoding="utf-8") as target:
        target.writelines(f"{name}=={version}\n" for name, version in sorted(installed.items()))
    words = ["install", "--dry-run", "--report", f"{place}/report.json", "--constraint", limits, *more]
    pip(installation, [*words, *wanted], {})
    with open(f"{place}/report.json", encoding="utf-8") as source:
        items = json.load(source)["install"]
    found, pinned, direct = {}, [], []
    for item in items:
        name, version, origin = normal(item["metadata"]["name"]), item["metadata"]["version"], item["download_info"]
        found[name] = version
        digest = origin.get("archive_info", {}).get("hashes", {}).get("sha256", "")
        if item.get("is_direct"):
            direct.append(f"{name} @ {_address(origin, digest)}")
        else:
            pinned.append(f"{name}=={version}{f' --hash=sha256:{digest}' if digest else ''}")
    there = dict(pin.split("==", maxsplit=1) for pin in extra)
    rest = [f"{name}=={version}" for name, version in there.items() if name not in found]
    kept = [word for word in more if word != "--pre"]
    # each by itself: as soon as one line has a hash pip wants one of all
    for index, group in enumerate((pinned, direct, rest)):
        if group:
            path = f"{place}/wanted{index}.txt"
            with open(path, "w", encoding="utf-8") as target:
                target.writelines(f"{line}\n" for line in group)
            get = ["wheel", "--no-deps", "--wheel-dir", f"{place}/wheels", *kept, "-r", path]
            pip(installation, get, {}, show=True)
    found = {**there, **found}
    files = {}
    for path in sorted(glob.glob(f"{glob.escape(place)}/wheels/*.whl")):
        name = os.path.basename(path)
        files[name] = sha256(path)
        os.replace(path, f"{directory(installation)}/wheels/{name}")
    requested = sorted(normal(item["metadata"]["name"]) for item in items if item.get("requested"))
    return {"packages": found, "requested": requested, "files": files}


def _address(origin: Record, digest: str) -> str:
    """Where pip has found a package that is on no index, with its hash or its commit."""
    url = str(origin["url"])
    if "vcs_info" in origin:
        return f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return f"{url}#sha256={digest}" if digest else url


def install(installation: Installation, step: str, pins: str, files: str) -> Record:
    """Install what is missing of these packages from the wheels that the head has put here."""
    wanted: dict[str, str] = dict(json.loads(pins))
    place, have = f"{directory(installation)}/wheels", facts.environment(installation)["packages"]
    missing = {name: version for name, version in wanted.items() if name not in have}
    for name, digest in json.loads(files).items():
        if sha256(f"{place}/{name}") != digest:
            raise Refused(f"{place}/{name} is not what the head has sent")
    write(installation, PENDING, {"step": step, "install": missing, "remove": {}})
    _install(installation, missing)
    return {"installed": sorted(missing)}


def _install(installation: Installation, pins: t.Mapping[str, str]) -> None:
    if pins:
        words = ["install", "--quiet", "--no-deps", "--find-links", f"{directory(installation)}/wheels"]
        pip(installation, [*words, *(f"{name}=={version}" for name, version in sorted(pins.items()))], OFFLINE)
    have = facts.environment(installation)["packages"]
    lost = [name for name in pins if name not in have]
    if lost:
        raise Refused(f"{', '.join(lost)} is not there after the installation")


def remove(installation: Installation, step: str, names: str) -> Record:
    """Remove packages, which can be put back from their wheels."""
    have = facts.environment(installation)["packages"]
    there = {name: have[name] for name in json.loads(names) if name in have}
    write(installation, PENDING, {"step": step, "install": {}, "remove": there})
    _remove(installation, there)
    return {"removed": sorted(there)}


def _remove(installation: Installation, names: t.Iterable[str]) -> None:
    have = facts.environment(installation)["packages"]
    there = sorted(name for name in names if name in have)
    if there:
        pip(installation, ["uninstall", "--quiet", "--yes", *there], OFFLINE)


def undo(installation: Installation, step: str) -> Record:
    """Take back what a step has done here; another step's work stays."""
    pending = read(installation, PENDING)
    if pending.get("step") == step:
        _remove(installation, pending["install"])
        _install(installation, {name: version for name, version in pending["remove"].items()
                                if name not in facts.environment(installation)["packages"]})  # fmt: skip
        os.unlink(f"{directory(installation)}/{PENDING}")
        tidy(installation)
    return {}


def commit(installation: Installation, step: str, record: str) -> Record:
    """The step has succeeded everywhere: note what is added now."""
    write(installation, RECORD, {**json.loads(record), "last": step})
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{directory(installation)}/{PENDING}")
    tidy(installation)
    return {}


def tidy(installation: Installation) -> None:
    """Remove wheels of what is not added any more."""
    kept = set(read(installation, RECORD).get("files", {}))
    for path in glob.glob(f"{glob.escape(directory(installation))}/wheels/*"):
        if os.path.basename(path) not in kept:
            with contextlib.suppress(OSError):
                os.unlink(path)
