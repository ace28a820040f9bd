# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the CUDA toolkits of a node, and put the first of them in front."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import textfile, umask
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import (
    cuda_toolkit,
    runfile,
    session_limits,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import installation, system
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.manager import Manager
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import (
    Fault,
    Transaction,
    Unknown,
    Want,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver, driver_sources, files

CONNECT_SECONDS = 60
OPTIONS: dict[str, dict[str, t.Any]] = {
    "toolkits": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "version": {"type": "str", "required": True},
            "source": {"type": "str", "choices": ["any", "vendor", "distribution"], "default": "any"},
            "runfile": {"type": "str", "no_log": True},  # a URL may have a password in it
            "checksum": {"type": "str", "default": ""},
        },
    },
    "repository": {"type": "str", "default": ""},
    "key": {"type": "str", "default": "", "no_log": False},
    "key_url": {"type": "str", "default": "", "no_log": False},
    "key_fingerprint": {"type": "str", "default": "", "no_log": False},
    "timeout": {"type": "int", "default": 3600},
}


@dataclasses.dataclass
class Todo:
    """What is there of the toolkits, by version, and what has to be done for the others."""

    there: dict[str, cuda_toolkit.Toolkit] = dataclasses.field(default_factory=dict)
    missing: list[str] = dataclasses.field(default_factory=list)
    groups: list[list[Want]] = dataclasses.field(default_factory=list)
    wants: list[Want] = dataclasses.field(default_factory=list)
    repository: dict[str, files.Content] = dataclasses.field(default_factory=dict)
    packages: Transaction = dataclasses.field(default_factory=Transaction)
    runfiles: list[runfile.Wanted] = dataclasses.field(default_factory=list)
    files: list[textfile.Change] = dataclasses.field(default_factory=list)

    @property
    def diffs(self) -> list[dict[str, str]]:
        """Before and after of all of it."""
        diffs = files.diff(self.repository)
        diffs += [installation.diff_of(self.packages)] if self.groups else []
        for one in self.runfiles:
            path = cuda_toolkit.PLACE.format(cuda_toolkit.release_of(one.version))
            diffs.append({"before_header": path, "after_header": path, "before": "", "after": f"{one.name}\n"})
        return [*diffs, *(change.diff for change in self.files)]


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, judge, and do what is missing."""
    tree, todo = Tree(), Todo()
    try:
        with umask.readable():
            manager = _judge(module, given, tree, todo)
            if not module.check_mode:
                _apply(module, given, tree, todo, manager)
    except Fault as error:
        if not module.check_mode:
            files.restore(todo.repository)
        module.fail_json(msg=str(error))
    diffs = todo.diffs
    found = [todo.there[one["version"]] for one in given["toolkits"] if one["version"] in todo.there]
    return {
        "changed": bool(diffs),
        "diff": diffs,
        "toolkits": [{"version": one.version, "path": one.path} for one in found],
        "missing": todo.missing,
        "bin": _bin_of_first(given, todo),
        "path_changed": bool(todo.files),
    }


def _bin_of_first(given: t.Mapping[str, t.Any], todo: Todo) -> str:
    """Where the compiler of the first toolkit is, or will be."""
    first = given["toolkits"][0] if given["toolkits"] else None
    if first is None:
        return ""
    found = todo.there.get(first["version"])
    if found:
        return found.bin
    from_packages = [
        one["version"] for one in given["toolkits"] if one["version"] in todo.missing and not one["runfile"]
    ]
    packages = {version: want.name for version, want in zip(from_packages, todo.wants)}
    if packages.get(first["version"]) == cuda_toolkit.OF_DISTRIBUTION:
        return os.path.dirname(cuda_toolkit.DISTRIBUTIONS)
    return cuda_toolkit.PLACE.format(cuda_toolkit.release_of(first["version"])) + "/bin"


def _judge(module: AnsibleModule, given: t.Mapping[str, t.Any], tree: Tree, todo: Todo) -> Manager | None:
    releases = [cuda_toolkit.release_of(one["version"]) for one in given["toolkits"]]
    double = sorted({release for release in releases if releases.count(release) > 1})
    if double:
        raise Fault(
            f"CUDA {', '.join(double)} is asked for twice: one toolkit of a release is all that fits side by side"
        )
    missing = [one for one in given["toolkits"] if not _is_there(one, tree, todo)]
    todo.missing = [one["version"] for one in missing]
    for one in missing:
        if one["runfile"]:
            todo.runfiles.append(runfile.Wanted(one["version"], one["runfile"], one["checksum"]))
            runfile.judge(todo.runfiles[-1], module.check_mode)
        else:
            todo.groups.append([Want(*pair) for pair in cuda_toolkit.packages_of(one["version"], one["source"])])
    manager = _judge_packages(module, given, todo, missing) if todo.groups else None
    todo.files = cuda_toolkit.path_changes(_bin_of_first(given, todo))
    reads = session_limits.runs(tree, "sshd", "pam_env.so", ("session", "auth"))
    if todo.files and not reads and tree.has("/etc/pam.d/sshd"):
        raise Fault(
            f"sshd on this node reads no {cuda_toolkit.ENVIRONMENT}, by which the toolkit comes first on PATH: add the "
            "line 'session required pam_env.so' to /etc/pam.d/sshd"
        )
    return manager


def _is_there(one: t.Mapping[str, t.Any], tree: Tree, todo: Todo) -> bool:
    """Whether the node has a toolkit; raises Fault where another patch of it has its place."""
    version = one["version"]
    path = cuda_toolkit.PLACE.format(cuda_toolkit.release_of(version))
    found = cuda_toolkit.present(version, tree)
    if not found or (found.path == path and tree.has(cuda_toolkit.marker_of(path))):
        return False
    if cuda_toolkit.is_wanted(found, version):
        todo.there[version] = found
        return True
    if one["runfile"]:
        raise Fault(
            f"CUDA {version}: {found.path} holds {found.version}, and side by side there is one toolkit of a release: "
            f"remove it (cuda-uninstaller in {found.bin}), or ask for {found.version}"
        )
    return False


def _judge_packages(
    module: AnsibleModule, given: t.Mapping[str, t.Any], todo: Todo, missing: t.Sequence[t.Mapping[str, t.Any]]
) -> Manager:
    what = f"CUDA {', '.join(one['version'] for one in missing if not one['runfile'])}: "
    manager = installation.manager(limit=given["timeout"])
    if any(one["source"] == "vendor" and not one["runfile"] for one in missing):
        todo.repository = _repository(given)
    if not module.check_mode:
        files.write(todo.repository)
        manager.refresh()
    try:
        todo.wants, todo.packages = installation.planned(manager, todo.groups, (), what)
    except Unknown as error:
        if not module.check_mode:
            raise Fault(f"{error}; a toolkit may also come from the vendor's repository or as a runfile") from None
        module.warn(f"not known before the lists of packages are read: {error}")
        todo.packages = Transaction(new={group[0].name: "" for group in todo.groups})
    return manager


def _repository(given: t.Mapping[str, t.Any]) -> dict[str, files.Content]:
    """The vendor's repository and the key that signs it, read and checked beside those of the node. Raises Fault."""
    wish = driver_sources.Wish(
        branch="",
        source="vendor",
        module="auto",
        repository=given["repository"],
        key=driver_sources.key_of(given["key"]),
        key_url=given["key_url"],
        fingerprint=given["key_fingerprint"],
        kernel="",
        limit=given["timeout"],
    )
    room = driver_sources.ROOM
    try:
        with driver.alone(wish.limit):  # the driver's installation uses the same room
            shutil.rmtree(room, ignore_errors=True)
            os.makedirs(room, mode=0o755, exist_ok=True)
            try:
                return files.compare(
                    driver_sources.open_sources(installation.manager(limit=wish.limit, room=room), wish, system.read())
                )
            finally:
                shutil.rmtree(room, ignore_errors=True)
    except (Fault, OSError) as error:
        raise Fault(f"CUDA: {error}") from None


def _apply(
    module: AnsibleModule, given: t.Mapping[str, t.Any], tree: Tree, todo: Todo, manager: Manager | None
) -> None:
    if manager:
        installation.apply(manager, todo.wants, todo.packages, "CUDA: ")
    for one in todo.runfiles:
        todo.there[one.version] = runfile.install(one, _open, given["timeout"])
    for version in (one["version"] for one in given["toolkits"]):
        found = todo.there.get(version) or cuda_toolkit.present(version, tree)
        if not found:
            names = ", ".join(f"{want.name} {want.version}" for want in todo.wants)
            raise Fault(f"CUDA {version}: {names} is installed, and no compiler of it runs: see nvcc --version")
        todo.there[version] = found
    for change in todo.files:
        if change.after or change.path == cuda_toolkit.ENVIRONMENT:
            textfile.write(module, change)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(change.path)


def _open(url: str) -> t.Any:
    """Proxies of the environment count, and a certificate that nobody vouches for is refused."""
    return open_url(url, timeout=CONNECT_SECONDS, http_agent="trainmesh.cluster")
