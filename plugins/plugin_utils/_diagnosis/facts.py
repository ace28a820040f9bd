# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several rules ask of a Case, safe against facts that are missing or odd."""

from __future__ import annotations

import collections
import ipaddress
import typing as t
from collections import abc

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import short_name
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import thresholds
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig, once

MOST_EVIDENCE = 6
_OFF = ("", "0", "false", "no", "off")


class Setting(t.NamedTuple):
    """The value that a job would see of an environment variable, and where it is written."""

    value: str
    where: str

    @property
    def on(self) -> bool:
        """Whether a switch such as NCCL_IB_DISABLE is on."""
        return self.value.strip().lower() not in _OFF


def rows(data: t.Any, path: str) -> list[Data]:
    """The mappings in the list at a dotted path; [] when there is no list."""
    found = dig(data, path)
    return [each for each in found if isinstance(each, abc.Mapping)] if isinstance(found, (list, tuple)) else []


def texts(data: t.Any, path: str) -> list[str]:
    """The texts in the list at a dotted path; [] when there is no list."""
    found = dig(data, path)
    return [each for each in found if isinstance(each, str)] if isinstance(found, (list, tuple)) else []


def mapping(data: t.Any, path: str) -> Data:
    """The mapping at a dotted path; {} when there is none."""
    found = dig(data, path)
    return found if isinstance(found, abc.Mapping) else {}


def text(data: t.Any, path: str) -> str:
    """The text at a dotted path; an empty one when there is none."""
    found = dig(data, path)
    return found if isinstance(found, str) else ""


def number(data: t.Any, path: str) -> float | None:
    """The number at a dotted path; None when there is none."""
    found = dig(data, path)
    return found if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def variables(case: Case, host: str) -> dict[str, str]:
    """The login environment of a node, as far as stack_facts reports it."""
    found = dig(case.stack.get(host), "login_environment.variables")
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, abc.Mapping) else {}


def setting(case: Case, host: str, name: str) -> Setting | None:
    """What a job on that node sees of ``name``: the environment first, NCCL's files last (NCCL src/misc/param.cc)."""
    wished = dig(case.plan, "env")
    if isinstance(wished, abc.Mapping) and wished.get(name) is not None:
        return Setting(str(wished[name]), "trainmesh_env")
    login = variables(case, host)
    if name in login:
        return Setting(login[name], "the login environment")
    for file in rows(case.user.get(host), "deepspeed_env"):
        for line in text(file, "text").splitlines():
            key, equals, value = line.partition("=")
            if equals and key.strip() == name:
                return Setting(value.strip().strip("\"'"), text(file, "path") or ".deepspeed_env")
    files = rows(case.user.get(host), "nccl_conf")
    for file in sorted(files, key=lambda each: text(each, "path").startswith("/etc/")):  # the user's goes first
        values = dig(file, "values")
        if isinstance(values, abc.Mapping) and values.get(name) is not None:
            return Setting(str(values[name]), text(file, "path") or "nccl.conf")
    return None


def gpus(case: Case, host: str) -> list[Data]:
    """The GPUs of a node."""
    return rows(case.gpu.get(host), "gpus")


def gpu_count(case: Case, host: str) -> int:
    """How many GPUs the host's facts, or else the plan, know."""
    found = dig(case.gpu.get(host), "gpus", [])
    planned = dig(dig(case.plan, "nodes", {}).get(host), "gpus", [])
    return len(found) or len(planned)


def in_mig_mode(gpu: Data) -> bool:
    """Whether a GPU is cut into MIG instances: it then has neither NVLinks nor peers, which is no fault of its own."""
    return text(gpu, "mig_mode").lower() == "enabled"


def gpu_place(gpu: Data) -> str:
    """``GPU 3 (A100-SXM4-40GB, 00000000:53:00.0)``: how evidence names a GPU."""
    index = dig(gpu, "index")
    about = ", ".join(each for each in (text(gpu, "name"), text(gpu, "pci_bus_id")) if each)
    return f"GPU {'?' if index is None else index}" + (f" ({about})" if about else "")


def model(gpu: Data) -> str:
    """The model of a GPU as people say it (``A100``), empty when it is not known."""
    name = text(gpu, "name")
    return short_name(name) if name else ""


def has_gpus(case: Case) -> bool:
    """Whether any node has GPUs; without, no job uses NCCL."""
    return any(gpus(case, host) for host in case.gpu)


def cpu_torch_only(case: Case) -> bool:
    """Whether PyTorch is installed and every installed one is a build without CUDA and ROCm: GPUs are not used."""
    builds = [facts for facts in case.stack.values() if isinstance(dig(facts, "torch"), t.Mapping)]
    return bool(builds) and not any(dig(facts, "torch.cuda") or dig(facts, "torch.hip") for facts in builds)


def uses_nccl(case: Case) -> bool:
    """Whether jobs talk through NCCL: not where no node has a GPU, or PyTorch does without. Unknown counts as yes."""
    without = case.gpu and all(text(facts, "status") == "none" for facts in case.gpu.values())
    return not without and not cpu_torch_only(case)


def rdma_devices(case: Case, host: str) -> list[Data]:
    """The RDMA devices of a node."""
    return rows(case.fabric.get(host), "rdma.devices")


def has_rdma(case: Case) -> bool:
    """Whether any node has RDMA devices."""
    return any(rdma_devices(case, host) for host in case.fabric)


def ports(case: Case, host: str) -> dict[str, Data]:
    """The ports of a node's RDMA devices by ``mlx5_0:1``."""
    found = {}
    for device in rdma_devices(case, host):
        for port in rows(device, "ports"):
            found[f"{text(device, 'name')}:{dig(port, 'port')}"] = port
    return found


def active_ports(case: Case, host: str) -> dict[str, Data]:
    """Those of them that carry traffic."""
    return {name: port for name, port in ports(case, host).items() if text(port, "state") == "ACTIVE"}


def named(value: str, present: t.Sequence[str]) -> list[str]:
    """Those of ``present`` that a list of NCCL's selects: prefixes, ``=`` for whole names, ``^`` to exclude.

    A port may stand behind a name (``mlx5_0:1``), in the list or in ``present``; without one it means all of them.
    """
    excluded = value.startswith("^")
    exact = value.lstrip("^").startswith("=")
    hit = []
    for wanted in filter(None, value.lstrip("^=").split(",")):
        name, _colon, port = wanted.partition(":")
        for each in present:
            own, _colon, own_port = each.partition(":")
            if (own == name if exact else own.startswith(name)) and (not port or not own_port or port == own_port):
                hit.append(each)
    return [each for each in present if (each in hit) is not excluded]


def most_common(values: t.Iterable[t.Hashable]) -> t.Any:
    """The value that occurs most often; of several the largest, so that the better half is the measure."""
    counted = collections.Counter(values)
    best = max(counted.values(), default=0)
    return max((value for value, count in counted.items() if count == best), default=None)  # type: ignore[type-var]


def shortened(value: str, limit: int = 160) -> str:
    """A text in one line of at most ``limit`` characters."""
    line = " ".join(value.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def shorten(items: t.Iterable[str]) -> str:
    """At most MOST_EVIDENCE of the items in one line, and how many were left off."""
    found = list(dict.fromkeys(item for item in items if item))
    rest = len(found) - MOST_EVIDENCE
    return "; ".join(found[:MOST_EVIDENCE]) + (f"; and {rest} more" if rest > 0 else "")


@once
def names(case: Case) -> list[str]:
    """The nodes in rank order."""
    return [str(name) for name in dig(case.plan, "order", [])]


def node(case: Case, name: str) -> Data:
    """What the plan says of a node, empty when it does not know it."""
    found = dig(case.plan, "nodes", {}).get(name)
    return found if isinstance(found, abc.Mapping) else {}


@once
def login_sources(case: Case) -> list[str]:
    """The nodes that log in to others, by the plan; no launcher needs the ssh client of any other."""
    return [name for name in names(case) if dig(node(case, name), "logs_in", True)]


@once
def absent(case: Case) -> set[str]:
    """Nodes that were lost during the run or are unreachable: nothing else is attributed to them."""
    away = set(case.lost)
    for name, seen in case.reach.items():
        if dig(seen, "ok") is False and dig(seen, "step") != "untested":
            away.add(name)
    return away


@once
def data_interface(case: Case, name: str) -> Data:
    """The facts of the interface that carries a node's jobs, empty when they are not known."""
    wanted = dig(node(case, name), "interface")
    for item in dig(case.fabric.get(name), "interfaces", []):
        if wanted and dig(item, "name") == wanted:
            return item if isinstance(item, abc.Mapping) else {}
    return {}


@once
def live(case: Case, part: str = "fabric") -> list[str]:
    """The nodes whose facts of a part are known and that take part."""
    return [name for name in getattr(case, part) if name not in absent(case)]


def networks(interface: Data) -> dict[str, str]:
    """{network: the address in it} of an interface; what is local to the link, or alone in its network, is in none."""
    found = {}
    for own in rows(interface, "addresses"):
        if dig(own, "scope") == "global" and dig(own, "prefix") is not None:
            try:
                held = ipaddress.ip_interface(f"{dig(own, 'address')}/{own['prefix']}")
            except ValueError:
                continue
            if held.network.num_addresses > 1:
                found[str(held.network)] = str(held.ip)
    return found


@once
def common_networks(case: Case) -> set[str]:
    """The networks in which every node has an address of its own; Docker's bridge has the same one everywhere."""
    held: dict[str, dict[str, str]] = {}
    for host in live(case):
        for interface in rows(case.fabric[host], "interfaces"):
            for network, address in networks(interface).items():
                held.setdefault(network, {})[host] = address
    count = len(live(case))
    return {network for network, by_host in held.items() if count == len(by_host) == len(set(by_host.values()))}


@once
def addresses(case: Case, name: str) -> list[str]:
    """Every address that a node has on an interface, loopback left out."""
    found = []
    for item in dig(case.fabric.get(name), "interfaces", []):
        if dig(item, "kind") != "loopback":
            found += [str(dig(own, "address", "")) for own in dig(item, "addresses", [])]
    return found


def size(count: float) -> str:
    """Bytes in words: 67108864 is 64 MiB."""
    for unit, step in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= step:
            return f"{count / step:.3g} {unit}" if count < 1000 * step else f"{count / step:.0f} {unit}"
    return f"{count:.0f} bytes"


def limit(case: Case, name: str) -> float:
    """A threshold in force, by name; one that depends on the GPU is asked of ``thresholds``."""
    return thresholds.limit(case.thresholds, name) or 0.0
