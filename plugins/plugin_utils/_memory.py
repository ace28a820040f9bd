# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: what the controller remembers of a cluster between runs.

It keeps ranks where they were, and lets a run go on when a node is down or left out by --limit:
the others keep its key, its line and its rank. The inventory stays the only truth about who belongs.
"""

from __future__ import annotations

import json
import os
import tempfile
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._model import Cluster, Node

FORMAT = 1


def load(path: str) -> dict[str, dict[str, t.Any]]:
    """Remembered nodes by name, in rank order; empty when there is no memory.

    Raises ValueError when the file is there but can't be read as ours.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            data = json.load(stream)
        if data["format"] != FORMAT:
            raise KeyError("format")
        return {node["name"]: node for node in data["nodes"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} can't be read ({error}); restore it, or remove it to number the nodes anew") from None


def note(path: str, key: str) -> str:
    """What else is remembered of the cluster (``id``, ``prefix``); empty when nothing is, or it can't be read."""
    try:
        with open(path, encoding="utf-8") as stream:
            return str(json.load(stream).get(key) or "")
    except (OSError, ValueError, AttributeError):
        return ""


def recall(data: t.Mapping[str, t.Any], rank: int) -> Node:
    """The node of remembered data, marked as not reached by this run. Raises ValueError when it is damaged."""
    try:
        fields: dict[str, t.Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return Node(**fields, rank=rank, reachable=False)
    except TypeError as error:
        raise ValueError(f"the memory of {data.get('name')} is damaged ({error})") from None


def text(cluster: Cluster, identity: str = "") -> str:
    """The file's text."""
    nodes = [node.remembered() for node in cluster.nodes]
    data = {"format": FORMAT, "id": identity, "prefix": cluster.prefix, "nodes": nodes}
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def save(path: str, wanted: str) -> None:
    """Write the file at once, unless it says so already."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            if stream.read() == wanted:
                return
    directory = os.path.dirname(path)
    os.makedirs(directory, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".cluster-")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(wanted)
    os.replace(temporary, path)


__all__ = ("load", "note", "recall", "save", "text")
