# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small hand-made facts for the tests of the rules: sound nodes, to be broken one thing at a time."""

from __future__ import annotations

import copy
import itertools
import typing as t

from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    SEVERITIES,
    Answer,
    Case,
    Finding,
    Rule,
)

Facts = dict[str, t.Any]
NODES = ("node1", "node2", "node3")

GPU: Facts = {
    "name": "A100-SXM4-40GB",
    "compute_capability": "8.0",
    "memory_mib": 40960,
    "mig_mode": "Disabled",
    "mig_mode_pending": "Disabled",
    "persistence_mode": "Enabled",
    "compute_mode": "Default",
    "temperature_c": 34,
    "processes": [],
    "throttle_reasons": ["gpu_idle"],
    "pcie": {"gen_current": 1, "gen_max": 4, "width_current": 16, "width_max": 16},
    "fabric": {"state": None, "status": None},
    "ecc": {
        "mode": "Enabled",
        "corrected_volatile": 3,
        "uncorrected_volatile": 0,
        "sram_uncorrected_aggregate": 0,
        "sram_threshold_exceeded": False,
        "retired_pages_single_bit": None,
        "retired_pages_double_bit": None,
        "retired_pages_pending": None,
    },
    "remapped_rows": {"correctable": 0, "uncorrectable": 0, "pending": False, "failure": False},
}
PORT: Facts = {
    "port": 1,
    "state": "ACTIVE",
    "phys_state": "LinkUp",
    "rate_gbps": 200,
    "link_layer": "InfiniBand",
    "gids": [],
}
STACK: Facts = {
    "login_environment": {"source": "session", "variables": {"PATH": "/usr/bin"}},
    "cuda": {"build_home": {"path": "/usr/local/cuda-12.6", "nvcc": {"release": "12.6"}}},
    "python": {"version": "3.11.7", "problem": None, "headers": True},
    "packages": {"torch": "2.13.0+cu126", "deepspeed": "0.19.8"},
    "torch": {"version": "2.13.0+cu126", "cuda": "12.6", "hip": None, "nccl": "2.29.3", "nccl_package": "2.29.3"},
    "nccl": [{"path": "/env/libnccl.so.2", "place": "wheel", "version": "2.29.3", "source": "library"}],
    "deepspeed": {"version": "0.19.8", "installed_ops": []},
    "torch_import": None,
    "library_path_cuda": [],
    "compilers": {"g++": {"path": "/usr/bin/g++", "version": "12.2.0"}},
    "libaio": {"library": "/usr/lib/libaio.so.1", "header": "/usr/include/libaio.h"},
    "tools": {"ninja": {"path": "/usr/bin/ninja", "on_path": True}, "mpirun": None},
}


def gpu_facts(node: int, gpus: int = 2) -> Facts:
    """The GPUs of a sound node."""
    cards = [
        {
            **copy.deepcopy(GPU),
            "index": index,
            "uuid": f"GPU-{node}a{index}",
            "pci_bus_id": f"0000000{node}:0{index}:00.0",
        }
        for index in range(gpus)
    ]
    return {
        "status": "ok",
        "problem": None,
        "driver_version": "560.35.05",
        "cuda_driver_version": "12.6",
        "counts": dict.fromkeys(("pci", "driver", "smi"), gpus),
        "gpus": cards,
        "nvlink": [{"uuid": card["uuid"], "active": 12, "inactive": 0, "gb_per_s": 25.0} for card in cards],
        "fabric_manager": None,
        "nouveau_loaded": False,
        "xids": [],
    }


def interface(name: str, address: str, kind: str = "physical", **more: t.Any) -> Facts:
    """An interface that is up and has an address."""
    rows = [{"address": address, "prefix": 24, "family": "ipv4", "scope": "global"}]
    return {"name": name, "kind": kind, "up": True, "carrier": True, "addresses": rows, **more}


def fabric_facts(node: int) -> Facts:
    """The network of a sound node: eth0 with the data address, one InfiniBand port."""
    address = f"10.0.0.1{node}"
    return {
        "hostname": f"node{node}",
        "resolution": {f"node{node}": {"addresses": [address], "loopback": False, "error": None}},
        "container": None,
        "virtual": None,
        "interfaces": [interface("lo", "127.0.0.1", "loopback"), interface("eth0", address)],
        "rdma": {
            "uverbs": ["uverbs0"],
            "libibverbs": True,
            "devices": [{"name": "mlx5_0", "ports": [copy.deepcopy(PORT)]}],
        },
        "peermem": True,
        "dmabuf": False,
        "iommu": {"enabled": False, "groups": 0, "types": {}},
        "acs": {"enabled": False, "bridges": []},
    }


def user_facts() -> Facts:
    """The job user of a sound node."""
    cache = {"path": "/home/u/.cache", "local": True, "fs_type": "ext4"}
    return {
        "processes": [],
        "nccl_conf": [],
        "deepspeed_env": [],
        "caches": {"torch_extensions": cache, "triton": cache},
    }


def case(count: int = 3) -> Case:
    """A sound cluster that somebody else set up; change its facts before a rule judges it."""
    names = NODES[:count]
    nodes = {
        name: {"name": name, "address": f"10.0.0.1{number}", "interface": "eth0", "slots": 2}
        for number, name in enumerate(names, 1)
    }
    plan = {"order": list(names), "nodes": nodes, "env": {}, "precision": "bf16", "gpus": True, "managed": False}
    return Case(
        plan=plan,
        fabric={name: fabric_facts(number) for number, name in enumerate(names, 1)},
        gpu={name: gpu_facts(number) for number, name in enumerate(names, 1)},
        stack={name: copy.deepcopy(STACK) for name in names},
        user={name: user_facts() for name in names},
    )


def put(facts: t.Any, path: str, value: t.Any) -> None:
    """Change one value; numbers in the path are places in lists."""
    *way, last = path.split("/")
    for part in way:
        facts = facts[int(part)] if isinstance(facts, list) else facts[part]
    facts[int(last) if isinstance(facts, list) else last] = value


def answers(rules: t.Iterable[Rule], found: Case) -> list[Answer]:
    """What these rules say, asked as the report asks them."""
    asked = [rule for rule in rules if all(getattr(found, part) for part in rule.needs)]
    return engine.merged(itertools.chain.from_iterable(rule.judge(found) for rule in asked), found.order)


def said(rules: t.Iterable[Rule], found: Case) -> list[tuple[str, str, tuple[str, ...]]]:
    """(rule, severity, hosts) of every finding, which must be whole."""
    result = []
    for answer in answers(rules, found):
        assert isinstance(answer, Finding), answer
        assert answer.severity in SEVERITIES
        assert answer.cause.endswith((".", ")", "'")) and answer.remedy, answer
        assert set(answer.hosts) <= set(answer.evidence) and all(answer.evidence.values()), answer
        result.append((answer.rule, answer.severity, answer.hosts))
    return result


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 99) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "state", "port", "1"]), inner),
    max_leaves=6,
)
"""Any plain data."""


def paths(facts: t.Any, prefix: str = "") -> t.Iterator[str]:
    """The path of every value in nested facts."""
    items = facts.items() if isinstance(facts, dict) else enumerate(facts) if isinstance(facts, list) else ()
    for key, value in items:
        yield f"{prefix}{key}"
        yield from paths(value, f"{prefix}{key}/")
