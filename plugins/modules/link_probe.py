#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One row of the links: latency and bandwidth from this node to every other."""

from __future__ import annotations

DOCUMENTATION = r"""
module: link_probe
short_description: Measure latency and bandwidth from this node to every other node of the cluster
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Measures over TCP, from the data address's route to the listeners that M(trainmesh.cluster.port_listener) has
    started on all nodes with O(port) as its O(trainmesh.cluster.port_listener#module:link_port).
  - The module runs on all nodes at about the same time. The pairs meet in rounds in which no node occurs twice, and the
    listeners hand out turns, so that a node is never part of two measurements at once. Where fewer nodes run it at a
    time (C(forks)), the others' listeners take their part.
  - Every node measures its outgoing direction; the other direction is in the other node's row.
options:
  name:
    description: Inventory name of this node.
    type: str
    required: true
  targets:
    description:
      - All nodes, this one among them, in the same order on every node, each with C(name) (inventory name) and
        C(address) (data address). Other keys are left alone, so that the list that
        M(trainmesh.cluster.mesh_probe) is given will do.
    type: list
    elements: dict
    required: true
  port:
    description: Port on which the listeners are.
    type: int
    required: true
  token:
    description: The secret of the run, which the listeners know too.
    type: str
    required: true
  seconds:
    description:
      - Seconds for one bulk transfer of each pair and direction. The first link is measured twice, and one with less
        than half of the fastest so far up to three times more; the best counts.
    type: float
    default: 0.3
  max_bytes:
    description: Bytes after which a bulk transfer ends, even before its time.
    type: int
    default: 1073741824
  streams:
    description:
      - Parallel TCP connections of the bulk transfer. V(0) takes 4 where the interface has 25 Gbit/s or more, else 1.
    type: int
    default: 0
  messages:
    description: Round trips of 64 bytes from which the latency's median is taken.
    type: int
    default: 50
  wait:
    description: Seconds to wait for a turn with one partner.
    type: int
    default: 30
  timeout:
    description: Seconds for one attempt to connect, and for an answer.
    type: int
    default: 10
  limit:
    description: Seconds for all measurements of this node; those that are left then are V(not_met).
    type: int
    default: 300
  fold:
    description: Return it all in RV(folded).
    type: bool
    default: false
extends_documentation_fragment:
  - trainmesh.cluster.attributes.read
  - trainmesh.cluster.planned
  - trainmesh.cluster.planned.kept
notes:
  - The bulk transfers load the network fully for their time; do not run it beside training.
"""

EXAMPLES = r"""
- name: Measure the links between all nodes
  trainmesh.cluster.link_probe:
    name: node1
    port: 49321
    token: 5f3a
    targets:
      - {name: node1, address: 10.0.0.11}
      - {name: node2, address: 10.0.0.12}
"""

RETURN = r"""
row:
  description:
    - For each other node, C(latency_us) (microseconds one way, half the median of the round trips) and C(mbps)
      (Mbit/s from here to there, as the receiver counts them), null where not measured; C(seconds) includes waiting.
    - C(failure) is empty when it went well. V(not_met) means that it could not be tested, since a turn was not
      to be had in time; V(stalled) that small messages pass and bulk data does not; else as in
      M(trainmesh.cluster.mesh_probe) for C(tcp).
  returned: without O(fold)
  type: dict
  sample:
    node2: {ok: true, latency_us: 31.5, mbps: 23514.2, seconds: 0.41, failure: "", evidence: ""}
streams:
  description: Parallel connections that were used.
  returned: without O(fold)
  type: int
  sample: 1
folded:
  description:
    - RV(row) and RV(load) as one JSON text, which costs the controller the same for few and many nodes.
  returned: with O(fold), and nothing else then
  type: str
  sample: '{"load": {"load1": 0.4}, "row": {"node2": {"ok": true, "latency_us": 31.5, "mbps": 23514.2}}}'
load:
  description:
    - How busy this node was meanwhile. C(load1) is the load average, C(cores) the processors that may be used,
      C(throttled) the share of the time for which its control group was kept from them, C(stolen) the share of
      the processor time it wanted that a hypervisor gave to others; V(null) where not known.
  returned: without O(fold)
  type: dict
  sample: {load1: 0.4, cores: 64, throttled: 0.0, stolen: 0.0, seconds: 12.3}
"""

import json

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import load as base_load
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import link


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "targets": {"type": "list", "elements": "dict", "required": True},
            "port": {"type": "int", "required": True},
            "token": {"type": "str", "required": True, "no_log": True},
            "seconds": {"type": "float", "default": 0.3},
            "max_bytes": {"type": "int", "default": 1024**3},
            "streams": {"type": "int", "default": 0},
            "messages": {"type": "int", "default": 50},
            "wait": {"type": "int", "default": 30},
            "timeout": {"type": "int", "default": 10},
            "limit": {"type": "int", "default": 300},
            "fold": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = dict(module.params)
    targets = [link.Target(item.get("name", ""), item.get("address", "")) for item in given.pop("targets")]
    if not all(target.name and target.address for target in targets):
        module.fail_json(msg="every one of targets needs a name and an address")
    own = [target.address for target in targets if target.name == given["name"]]
    if not own:
        module.fail_json(msg=f"targets must contain this node, {given['name']}")
    fold = given.pop("fold")
    given["streams"] = given["streams"] or link.streams_for(own[0])
    watch = base_load.Watch()
    row = link.probe(targets, link.Wish(**given))
    if fold:
        # the parameters name every node: they are not sent back
        folded = json.dumps({"row": row, "load": watch.report()})
        module.exit_json(changed=False, folded=folded, invocation={})
    module.exit_json(changed=False, row=row, streams=given["streams"], load=watch.report())


if __name__ == "__main__":
    main()
