# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change on a node: the plan compared with the present state that the node has told.

Both sides come from the functions of the modules, so that no change means that the modules would change nothing.
What can't be told counts as a change: the module looks again, and does nothing where nothing differs.
"""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import digest
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import (
    certificates,
    file_set,
    firewall,
    hosts_file,
    kernel_name,
    ssh_files,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import cloud_init
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import environments, packages
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import prefix as install_prefix
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import environments as plan_environments
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import role_inputs

EVERYTHING = "everything"
DIFFERS = "differs from the plan"
NOT_THERE = "not there"
SSHD_PORT = "sshd port"
CERTIFICATES = "certificates of sshd"
SWITCH = "environment in use"
AT_ONCE = ("hosts", "ssh_mesh", "firewall", "launch_config")
"""The roles whose work M(trainmesh.cluster.node_apply) does in one start; a port of sshd has a task of its own."""

Plan = t.Mapping[str, t.Any]
Part = t.Mapping[str, t.Any]
Found = t.Iterator[tuple[str, str]]


class Change(t.NamedTuple):
    """Something that the role would change, and why; EVERYTHING where nobody can tell what."""

    role: str
    what: str
    why: str


def at_once(found: t.Iterable[Change]) -> set[str]:
    """The roles with changes that node_apply makes."""
    return {change.role for change in found if change.role in AT_ONCE and not _is_of_sshd(change)}


def plays(found: t.Sequence[Change]) -> list[str]:
    """The plays of site.yml that a node with these changes needs."""
    parts = ["sshd_certificates"] if any(change.what == CERTIFICATES for change in found) else []
    parts += ["apply"] if at_once(found) else []
    parts += ["sshd_port"] if any(map(_is_port, found)) else []
    parts += ["environment"] if any(change.what == SWITCH for change in found) else []
    parts += ["environments"] if any(map(_is_own, found)) else []
    return parts + [role for role in ROLES if role not in AT_ONCE and any(change.role == role for change in found)]


def _is_of_sshd(change: Change) -> bool:
    """Whether sshd itself is changed, by a task that logs in anew."""
    return _is_port(change) or change.what == CERTIFICATES


def _is_port(change: Change) -> bool:
    return change.what.startswith(SSHD_PORT)


def _is_own(change: Change) -> bool:
    return change.role == "torch_stack" and change.what.startswith(f"{environments.DIRECTORY}/")


class Given(t.NamedTuple):
    """What the roles take for a node from elsewhere than the plan.

    ``lock`` are the packages of the lock (None where it has to be made, ``lock_why`` says why), ``overridden`` the
    variables that the inventory sets by role, ``own_locks`` are
    those of trainmesh_environments by name, ``block`` what the node's facts say of the block in its hosts file.
    """

    env: t.Mapping[str, t.Any] = {}
    ssh_port: int = 0
    lock: t.Mapping[str, str] | None = None
    lock_why: str = ""
    own_locks: t.Mapping[str, t.Mapping[str, str] | None] = {}
    overridden: t.Mapping[str, t.Sequence[str]] = {}
    block: t.Mapping[str, t.Any] | None = None


class Desired:
    """The desired state of all nodes, with what is the same on each of them made once."""

    def __init__(self, plan: Plan, key: str, scripts: t.Sequence[t.Mapping[str, str]]) -> None:
        """``key`` is that of the digests in the present states, ``scripts`` are role_inputs.launch_scripts()."""
        self.plan, self._scripts, self._key = plan, scripts, key
        # no entries, a file that is not there, or is the user's alone, and two lists of rules without any
        empty: tuple[t.Any, ...] = ([], ("", None), ([], None), ([], 0o600), ([], []), ("", {}, ""), "")
        self._nothing = {self.digest(value) for value in empty}

    def digest(self, value: t.Any) -> str:
        """The digest that a present state has where this stands there."""
        return digest.keyed(self._key, value)

    def reason(self, have: str, want: str) -> str:
        """Why a digest is not the one wanted; empty where it is."""
        if have == want:
            return ""
        return NOT_THERE if have in self._nothing else DIFFERS

    @functools.cached_property
    def entries(self) -> list[tuple[str, list[str]]]:
        """Address and names of every node in the hosts file."""
        return [(entry["address"], entry["names"]) for entry in self.plan["hosts_entries"]]

    @functools.cached_property
    def hosts_block(self) -> str:
        """The digest of the block in the hosts file."""
        return self.digest(hosts_file.block_lines(self.entries, self.plan["identity"], self.plan["head"]))

    @functools.cached_property
    def _shared_files(self) -> list[tuple[str, int, str]]:
        return file_set.rows(file_set.wish_of([*self.plan["files"], *self._scripts]))

    def launch_files(self, name: str) -> str:
        """The digest of the launch files of a node."""
        own = file_set.rows(file_set.wish_of(self.plan["nodes"][name]["files"]))
        return self.digest(sorted([*self._shared_files, *own]))

    @functools.cached_property
    def rules(self) -> dict[str, str]:
        """The digest of the rules by firewall; firewalld has them running and kept."""
        addresses = firewall.blocks(node["address"] for node in self.plan["nodes"].values())
        return {"ufw": self.digest(addresses), "firewalld": self.digest([addresses, addresses])}


def changes(desired: Desired, name: str, present: Part | None, given: Given) -> list[Change]:
    """The changes of one node, role by role in the order in which they run; empty when all is as planned."""
    told = present if isinstance(present, dict) else {}
    return [
        Change(role, what, why)
        for role, compare in ROLES.items()
        for what, why in _of_role(role, compare, desired, name, told, given)
    ]


def _of_role(role: str, compare: Compare, desired: Desired, name: str, present: Part, given: Given) -> Found:
    part = present.get(role)
    reason = _unreadable(role, desired, present, part, given)
    if not reason:
        try:
            yield from [(what, why) for what, why in compare(desired, name, part or {}, given) if why]
            return
        except (LookupError, TypeError, ValueError, AttributeError) as error:  # a node may say anything
            reason = f"the present state can't be understood: {type(error).__name__}: {error}"
    yield EVERYTHING, reason
    if role == "torch_stack":
        yield from ((_own_place(each), reason) for each in _own_environments(desired))
    if role == "torch_stack" and _target(desired, name)["switch"]:
        yield SWITCH, plan_environments.words(_target(desired, name))
    if role == "ssh_mesh" and desired.plan["nodes"][name]["sshd_certificates"]:
        yield CERTIFICATES, reason
    if role == "ssh_mesh" and given.ssh_port:
        yield f"{SSHD_PORT} {given.ssh_port}", reason


def _unreadable(role: str, desired: Desired, present: Part, part: t.Any, given: Given) -> str:
    """Why nothing can be told of a role; empty where something can."""
    if given.overridden.get(role):
        return f"the inventory sets {', '.join(given.overridden[role])}"
    if "unknown" in present:
        return f"the present state can't be read: {present['unknown']}"
    if not part or not isinstance(part, dict):
        return "the present state was not read"
    if present.get("of") != [desired.plan["user"], desired.plan["prefix"]]:
        return "the present state is that of another user or prefix"
    return f"the present state can't be read: {part['unknown']}" if "unknown" in part else ""


def _hosts(desired: Desired, name: str, present: Part, given: Given) -> Found:
    wanted = desired.plan["nodes"][name]["hostname"]
    names = {place: present[place] for place in ("kernel", "file")}
    if kernel_name.differs(names, wanted, present["may_set"]):
        yield "host name", f"is {' and '.join(dict.fromkeys(names.values()))} instead of {wanted}"
    why = desired.reason(present["block"], desired.hosts_block)
    yield "/etc/hosts block", why and (_members(desired.entries, given.block) or why)
    yield from _drop_in(desired, present["cloud_init"])


def _drop_in(desired: Desired, present: Part) -> Found:
    """What cloud-init is told: which of the lines is needed, only the node can say."""
    asked = desired.plan["cloud_init"] == cloud_init.KEEP_OURS
    wanted = cloud_init.drop_in(present["needs"] if asked else [])
    why = desired.reason(present["text"], desired.digest(wanted))
    if why and not wanted:
        why = "not needed any more" if asked else "trainmesh_cloud_init does not ask for it"
    yield cloud_init.OURS, why


def _members(entries: t.Sequence[tuple[str, t.Sequence[str]]], block: t.Mapping[str, t.Any] | None) -> str:
    """Who joins and who leaves the block; empty where that is not what differs."""
    if not block:
        return ""
    have = [str(node["name"]) for node in block.get("nodes") or []]
    want = [names[min(1, len(names) - 1)] for _address, names in entries]
    joining, leaving = [each for each in want if each not in have], [each for each in have if each not in want]
    parts = [f"adds {', '.join(joining)}"] if joining else []
    return "; ".join(parts + ([f"removes {', '.join(leaving)}"] if leaving else []))


def _ssh_mesh(desired: Desired, name: str, present: Part, given: Given) -> Found:
    node, ssh = desired.plan["nodes"][name], desired.plan["ssh"]
    keys = [*node["authority_lines"], *ssh["authorized_keys"], *node["loopback_key"]]
    known_hosts, config = (ssh["known_hosts"], ssh["config"]) if node["logs_in"] else ([], "")
    titles = {
        "known_hosts": "~/.ssh/trainmesh/known_hosts",
        "config": "~/.ssh/trainmesh/config",
        "authorized_keys": "~/.ssh/authorized_keys block",
        "include": "~/.ssh/config block",
        "certificate": "ssh certificate",
    }
    wish = ssh_files.wanted_state(keys, known_hosts, config, node["certificate"])
    writes = not node["ssh_home_of"]
    for field, want in wish._asdict().items() if writes else ():
        yield titles[field], desired.reason(present[field], desired.digest(want))
    if node["sshd_certificates"]:
        wanted = certificates.wanted_of_sshd(node["host_certificates"], ssh["revoked"])
        yield CERTIFICATES, desired.reason(present["sshd_certificates"], desired.digest(wanted))
    for path in present["open"] if writes else ():
        yield path, "not there, or its mode is not that which ssh asks for"
    if writes and ssh_files.is_told(present["next"], keys):
        yield "ssh key", "the next key takes its place"
    if given.ssh_port and given.ssh_port not in present["ports"]:
        yield f"{SSHD_PORT} {given.ssh_port}", "sshd does not have it, or does not answer there"


def _firewall(desired: Desired, name: str, present: Part, _given: Given) -> Found:
    if sorted(present["asked"]) != sorted(firewall.backends(desired.plan["firewall"])):
        yield EVERYTHING, "the present state is that of other firewalls"
        return
    for backend in present["active"]:
        part = present[backend]
        if "unknown" in part:
            yield f"{backend} rules", f"can't be read: {part['unknown']}"
            continue
        rules = part["rules"]
        if backend == "firewalld":
            rules = rules[part["zones"].get(desired.plan["nodes"][name]["interface"], part["default"])]
        yield f"{backend} rules", desired.reason(rules, desired.rules[backend])


def _launch_config(desired: Desired, name: str, present: Part, given: Given) -> Found:
    node = desired.plan["nodes"][name]
    yield "launch files", desired.reason(present["files"], desired.launch_files(name))
    yield "trainmesh on the search path", present["link"]
    secret = desired.digest(file_set.rows(file_set.wish_of(role_inputs.job_env(given.env))))
    yield "environment variables of the jobs", desired.reason(present["secrets"], secret)
    port = node["reserved_port"]
    if port and port not in present["reserved"]:
        yield f"reserved port {port}", NOT_THERE
    yield "/etc/nccl.conf block", desired.reason(present["nccl_conf"], desired.digest(node["nccl_conf"]))


def _python_env(desired: Desired, name: str, present: Part, _given: Given) -> Found:
    stack, target = desired.plan["stack"], _target(desired, name)
    for path in [*present["prefix"], *present["directories"]]:
        yield path, "not there, or of another owner"
    missing = [each for each in present["missing"] if each in commands(desired.plan, name)]
    if missing:
        yield ", ".join(missing), NOT_THERE
    if target["name"]:
        place = f"{environments.DIRECTORY}/{target['name']}"
        yield place, "" if target["kept"] else "beside the one in use" if target["before"] else NOT_THERE
        return
    kind, version = stack["python_env"], stack["python_version"]
    want = desired.digest(install_prefix.claim_text(kind, version))
    yield "record of the environment", desired.reason(present["claim"], want)
    found = install_prefix.judged(present["environment"], kind, version)
    if found.state != "ok":
        if name in stack["python_installs"]:
            yield f"Python {version}", NOT_THERE
        yield "Python environment", found.reason


def _target(desired: Desired, name: str) -> t.Mapping[str, t.Any]:
    """Where the environment of a node is made, and whether the node is switched to it."""
    return desired.plan["nodes"][name].get("environment") or plan_environments.NONE._asdict()


def commands(plan: Plan, name: str) -> list[str]:
    """The commands that a node needs."""
    return install_prefix.commands(plan["launchers"], name == plan["head"])


def _own_environments(desired: Desired) -> t.Sequence[t.Mapping[str, t.Any]]:
    rows: t.Sequence[t.Mapping[str, t.Any]] = desired.plan["stack"].get("environments") or []
    return rows


def _own_place(own: t.Mapping[str, t.Any]) -> str:
    return f"{environments.DIRECTORY}/{own['name']}"


def _own(desired: Desired, own: t.Mapping[str, t.Any], there: Part, lock: t.Mapping[str, str] | None) -> str:
    """What is to do in an environment of trainmesh_environments; empty for nothing."""
    stack = desired.plan["stack"]
    kind, version = stack["python_env"], stack["python_version"]
    if not there:
        return NOT_THERE
    if lock is None or stack["lock_update"]:
        return "the lock has to be made"
    found = install_prefix.judged(there["environment"], kind, version)
    wish = {packages.normal(each): str(version) for each, version in lock.items()}
    if found.state != "ok":
        return found.reason
    if there["unfinished"]:
        return "an installation did not end"
    if packages.is_other_build(wish, own["torch_build"], there["torch_build"]):
        return f"torch is the build {there['torch_build']} instead of {own['torch_build']}"
    claim = desired.digest(install_prefix.claim_text(kind, version))
    return desired.reason(there["claim"], claim) or desired.reason(
        there["packages"], desired.digest(packages.locked(wish))
    )


def _torch_stack(desired: Desired, name: str, present: Part, given: Given) -> Found:
    stack, target = desired.plan["stack"], _target(desired, name)
    if present["handout"]:
        yield "copied packages", "an installation was interrupted"
    if target["switch"]:
        yield SWITCH, plan_environments.words(target)
    for own in _own_environments(desired):
        there = (present.get("own") or {}).get(own["name"]) or {}
        yield _own_place(own), _own(desired, own, there, given.own_locks.get(own["name"]))
    if given.lock is None or stack["lock_update"]:
        yield "packages", f"the lock has to be made{f': {given.lock_why}' if given.lock_why else ''}"
        return
    if target["name"]:
        return  # the role compares it with the lock
    wish = {packages.normal(each): str(version) for each, version in given.lock.items()}
    if present["python"] != stack["python_version"]:
        yield "packages", f"the environment has no Python {stack['python_version']} that runs"
    elif present["unfinished"]:
        yield "packages", "an installation did not end"
    elif packages.is_other_build(wish, stack["torch_build"], present["torch_build"]):
        yield "torch", f"is the build {present['torch_build']} instead of {stack['torch_build']}"
    else:
        yield "packages", desired.reason(present["packages"], desired.digest(packages.locked(wish)))


Compare = t.Callable[[Desired, str, Part, Given], Found]

ROLES: dict[str, Compare] = {
    "hosts": _hosts,
    "ssh_mesh": _ssh_mesh,
    "firewall": _firewall,
    "python_env": _python_env,
    "torch_stack": _torch_stack,
    "launch_config": _launch_config,
}
