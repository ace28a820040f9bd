# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node says of itself is checked here, before anything is made of it.

A node may be in other hands, and its words end in files of all the others. First the shape of its facts, then each
field of the node that was read from them; the controller's memory of a node passes the same check.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import line_check
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Node


def _text(expression: str) -> t.Callable[[t.Any], bool]:
    compiled = re.compile(rf"(?:{expression})\Z", re.ASCII)
    return lambda value: isinstance(value, str) and bool(compiled.match(value))


def _whole(low: int, high: int) -> t.Callable[[t.Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _each(right: t.Callable[[t.Any], bool]) -> t.Callable[[t.Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and len(value) <= MOST and all(map(right, value))


def _maybe(right: t.Callable[[t.Any], bool]) -> t.Callable[[t.Any], bool]:
    return lambda value: value in (None, "") or right(value)


def _is_path(value: t.Any) -> bool:
    return isinstance(value, str) and value.startswith("/") and value.isprintable() and len(value) <= 4096


def _is_outside(value: t.Any) -> bool:
    return line_check.is_address(value) and not line_check.is_loopback(value)


def _is_label(value: t.Any) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= 128


_VERSION = _maybe(_text(r"[\w.+~-]{1,64}"))
_CAPABILITY = _maybe(_text(r"\d{1,3}\.\d{1,3}"))
# What the plan reads of the facts: a type, a test, a list of one shape, or keys with a shape each ("*" for any key).
Shape = t.Any
_BASE = {"interpreter": {"version": str, "path": str, "problem": str}, "pythons": {}, "conda": bool}
SHAPES: dict[str, Shape] = {
    "fabric": {
        "interfaces": [
            {
                **dict.fromkeys(("name", "kind", "master", "driver"), str),
                "speed_mbps": (int, float),
                "addresses": [{"address": str, "scope": str, "prefix": int}],
            }
        ],
        "source_rules": [str],
        "routes": {"*": {"address": str, "source": str}},
        "ssh_session": {"server_address": str},
        "default_route": {"address": str},
        "sshd": {"ports": [int]},
        "port_range": {"low": int, "high": int, "reserved": str},
        "disks": {"*": {"existing": str}},
        "cluster_block": {"id": _maybe(_text("[0-9a-f]{8,32}")), "head": str, "nodes": [{"address": str, "name": str}]},
        "cloud_init": {"needs": [str], "foreign": bool},
        "python": {"version": str},
        "os": dict.fromkeys(("id", "id_like", "version_id"), str),
        **dict.fromkeys(("glibc", "arch", "hostname", "fqdn"), str),
        **dict.fromkeys(("cpus", "memory_bytes"), int),
        "cgroup_limits": {"memory_bytes": int},
    },
    "gpu": {
        **dict.fromkeys(("status", "driver_version"), str),
        "gpus": [{"name": str, "memory_mib": int, "compute_capability": _CAPABILITY}],
    },
    "identity": {
        "user": _maybe(_text(r"\w[\w.@$\\-]{0,127}")),
        "home": str,
        "public_key": str,
        "host_keys": [str],
        "ssh_directory": {"inode": int, "device": int, "machine": str, "fs_type": str, "source": str, "local": bool},
    },
    "sshd": {"maxstartups": (str, int)},
    "stack": {"base": _BASE, "python": {"path": str, "kind": str, "version": str}},
}
NEEDED = {"interfaces": ("name", "addresses"), "addresses": ("address",), "port_range": ("low", "high")}
# Bytes of the facts that a plan is made of: for the node itself, and for each node that it was asked about.
LARGEST, LARGEST_A_PEER = 256 * 1024, 2048
MOST = 4096  # entries of any list of a node


def misshapen(facts: t.Mapping[str, t.Any], peers: int) -> str:
    """What is wrong with the shape of one host's facts (keys of SHAPES); empty where nothing is."""
    for part, shape in SHAPES.items():
        problem = _differs(facts.get(part), shape, part)
        if problem:
            return problem
    size = len(json.dumps(facts, default=str))
    most = LARGEST + LARGEST_A_PEER * peers
    return f"its facts are {size} bytes large, expected at most {most}" if size > most else ""


def _differs(value: t.Any, shape: Shape, place: str) -> str:
    """Where a value is not of the shape; None is unknown, and always right."""
    if value is None:
        return ""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{place}: expected a list"
        if any(item is None for item in value):
            return f"{place}: expected no empty entries"
        return next(filter(None, (_differs(item, shape[0], place) for item in value)), "")
    if isinstance(shape, dict):
        if not isinstance(value, t.Mapping):
            return f"{place}: expected keys and values"
        lacking = [key for key in NEEDED.get(place.rpartition(".")[2], ()) if value.get(key) is None]
        if lacking:
            return f"{place}: expected {', '.join(lacking)}"
        pairs = ((key, shape.get(key, shape.get("*"))) for key in value)
        if "*" in shape and None in value.values():
            return f"{place}: expected no empty entries"
        found = (
            _differs(value[key], inner, f"{place}.{_shown(key)[1:-1]}") for key, inner in pairs if inner is not None
        )
        return next(filter(None, found), "")
    if isinstance(shape, (type, tuple)):
        return "" if isinstance(value, shape) else f"{place}: expected another type than {type(value).__name__}"
    return "" if shape(value) else f"{place}: not {_shown(value)}"


# A field, what it has to be, and how a sentence says that. Every field of Node but name, rank and reachable, which
# are the inventory's and this run's.
FIELDS: dict[str, tuple[t.Callable[[t.Any], bool], str]] = {
    "address": (_maybe(line_check.is_address), "the address of one machine"),
    "addresses": (_each(_maybe(line_check.is_address)), "addresses of one machine each"),
    "sources": (_each(_is_outside), "addresses of one machine each, none of them loopback"),
    "interface": (_maybe(_text(r"[\w.:@=,^+~%#-]{1,64}")), "the name of an interface"),
    "ssh_port": (_whole(1, 65535), "a TCP port"),
    "slots": (_whole(1, 1024), "a number of ranks"),
    "hostname": (line_check.is_host, "a host name"),
    "fqdn": (line_check.is_host, "a host name"),
    "aliases": (_each(line_check.is_host), "host names"),
    "gpus": (_each(_is_label), "names of GPUs"),
    "gpu_memory_mib": (_maybe(_whole(0, 1 << 30)), "a number of MiB"),
    "compute_capability": (_CAPABILITY, "a compute capability such as 8.0"),
    "driver_version": (_VERSION, "a version"),
    "cpus": (_whole(1, 1 << 20), "a number of cores"),
    "memory_bytes": (_maybe(_whole(0, 1 << 60)), "a number of bytes"),
    "home": (_maybe(_is_path), "an absolute path"),
    "public_key": (_maybe(line_check.is_public_key), "a public key whose inner type is the one that it names"),
    "host_keys": (_each(line_check.is_public_key), "public keys whose inner types are those that they name"),
    "python_version": (_VERSION, "a version"),
    "glibc": (_VERSION, "a version"),
    "arch": (_VERSION, "an architecture"),
}


def faults(node: Node) -> list[str]:
    """What this node can't have said in earnest, one sentence each."""
    values = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    return [
        f"{name}: expected {what}, not {_shown(values[name])}"
        for name, (right, what) in FIELDS.items()
        if not right(values[name])
    ]


def _shown(value: t.Any) -> str:
    """A value as a message may show it: short, and without anything that a terminal would obey."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
