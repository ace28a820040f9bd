# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the code alone costs, without any node: the checks, and the size of what is planned and told."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.nodes import Host
from ansible_collections.trainmesh.cluster.tests.bench import rules
from ansible_collections.trainmesh.cluster.tests.bench.scale.meter import Row
from ansible_collections.trainmesh.cluster.tests.bench.scale.simulated import facts
from ansible_collections.trainmesh.cluster.tests.unit.samples import clusters, healthy

TURNS = 3
FEW = 128


def checks(size: int) -> Row:
    """CPU seconds of all checks once, one node of the cluster being dead; of few nodes the least of some turns."""
    rules.seconds(8, 1)  # the catalogue is read once
    return {"cpu_s": min(rules.seconds(size, 1) for _turn in range(TURNS if size <= FEW else 1))}


def texts(size: int) -> Row:
    """Bytes of the plan as each node takes its texts from it, and of the facts that a node tells."""
    names = healthy.named(size)
    plan = cluster.make([_host(number, name) for number, name in enumerate(names, 1)], _options(), {})
    own = plan["nodes"][names[-1]]
    shared = {key: _bytes(value) for key, value in plan.items() if key not in ("nodes", "model")}
    parts = {part: _bytes(found) for part, found in facts(size, names).items()}
    return {
        "texts_bytes": sum(shared.values()) + _bytes(own),
        "largest_texts": dict(sorted({**shared, "own": _bytes(own)}.items(), key=lambda item: -item[1])[:5]),
        "facts_bytes": sum(parts.values()),
        "facts": parts,
    }


def _host(number: int, name: str) -> Host:
    """A node with as much of its facts as the plan reads: those of all would fill the memory."""
    known, address = clusters.host(number), healthy.address(name)
    fabric = {**known.fabric, "interfaces": [healthy.interface("eth0", address)], "routes": {}}
    fabric["ssh_session"] = {"server_address": address}
    return Host(name, known.wish, address, 22, fabric, known.gpu, known.identity)


def _options() -> dict[str, t.Any]:
    options: dict[str, t.Any] = clusters.options(installs=False)
    return options


def _bytes(value: t.Any) -> int:
    return len(json.dumps(value).encode())
