# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts that belong to the user, without the secrets in them."""

from __future__ import annotations

import json
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked

MAX_TEXT = 64 * 1024


def handed_in(files: t.Iterable[t.Mapping[str, str]]) -> list[dict[str, t.Any]]:
    """``kind``, ``path``, ``exists``, ``text`` (masked, at most 64 KiB), ``error`` of each file asked for."""
    found = []
    for wish in files:
        path = os.path.expanduser(wish["path"])
        found.append({"kind": wish["kind"], "path": wish["path"], **text_of(path)})
    return found


def text_of(path: str) -> dict[str, t.Any]:
    """``exists``, ``text`` and ``error`` of a file; a pipe or a device in its place is not read."""
    try:
        if not os.path.isfile(path):
            there = os.path.lexists(path)
            return {"exists": there, "text": None, "error": "it is not a plain file" if there else None}
        with open(path, "rb") as stream:
            text = stream.read(MAX_TEXT).decode("utf-8", "replace")
    except OSError as error:
        return {"exists": True, "text": None, "error": error.strerror}
    return {"exists": True, "text": masked(text), "error": None}


def nccl_conf(tree: Tree, home: str) -> list[dict[str, t.Any]]:
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


def accelerate_default(tree: Tree, cache: str) -> list[dict[str, t.Any]]:
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
