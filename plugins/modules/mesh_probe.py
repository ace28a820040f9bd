#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One row of the matrix: ssh and TCP from this node to every node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_probe
short_description: Test names, ssh and job ports from this node to every node
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Resolves every name of every target as ssh and as other programs do, logs in by it, without a terminal and with
    strict host-key checking, as launchers do, and compares the host name that answers. A name that leads elsewhere is
    not logged in to.
  - Connects to the ports on which M(trainmesh.cluster.port_listener) listens on the targets, asks from which address
    it is seen, and sends and receives a burst of 256 KiB, which a path that loses full-size packets does not pass.
  - Works as the user that will run the jobs; every attempt is bounded. Nothing is written on any node.
options:
  targets:
    description: The nodes to try, the own one among them.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Inventory name.
        type: str
        required: true
      address:
        description: Data address.
        type: str
        required: true
      addresses:
        description: All other IP addresses of the node to which a name of it may lead.
        type: list
        elements: str
        default: []
      hostname:
        description: Host name that must answer.
        type: str
        required: true
      ssh_names:
        description: Names and addresses for ssh, as the launchers use them.
        type: list
        elements: str
        required: true
      ports:
        description: Ports that listen on the target, if these are others than O(ports).
        type: list
        elements: int
        default: []
  ports:
    description: Ports that listen on every target.
    type: list
    elements: int
    default: []
  log_in:
    description: Whether this node is meant to log in to the targets; if not, only their ports are tried.
    type: bool
    default: true
  unreached:
    description: Machines of the cluster that the controller can't reach. Nobody logs in to them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Inventory name.
        type: str
        required: true
      addresses:
        description: Addresses that it may have.
        type: list
        elements: str
        required: true
      port:
        description: Port of its ssh server.
        type: int
        default: 22
  address:
    description:
      - The own data address, from which the others should see this node. Empty for not known; then the own node is
        told by its host name, and no port is called V(wrong_interface).
    type: str
    default: ""
  token:
    description: The secret of the run, which the listeners know too.
    type: str
    default: ""
  python:
    description: Path of an interpreter that a session on each target should be able to run. Empty to not look.
    type: str
    default: ""
  commands:
    description: Commands to look up in the C(PATH) of a session on each target.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds for one attempt to resolve or to connect.
    type: int
    default: 10
  login_timeout:
    description: Seconds for one whole login, once connected.
    type: int
    default: 30
  slow_seconds:
    description:
      - Seconds from which on a login that works is called V(slow). Typical causes are C(UseDNS) and
        C(GSSAPIAuthentication) of sshd without a name server that answers, and PAM modules.
    type: float
    default: 5.0
  workers:
    description:
      - Targets at a time to log in to, and no more than this node has processors. When all nodes do it at once, about
        as many logins at a time come to each, and from C(MaxStartups) of sshd on (10) it closes some at random.
      - What failed in a way that many simultaneous logins can cause, or was slow, is tried again at the end, alone and
        one after the other for at most 120 seconds, and that result counts.
    type: int
    default: 6
  fold:
    description: Say once what is the same for targets but their host name and address, and return it all in RV(folded).
    type: bool
    default: false
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.attributes.read
  - trainmesh.cluster.planned
  - trainmesh.cluster.planned.kept
notes:
  - Only after a burst has stalled the size that passes is looked for, by C(ping) with the DF bit set, where C(ping)
    may be used. This takes up to 10 seconds.
"""

EXAMPLES = r"""
- name: Test connectivity from every node to every node
  trainmesh.cluster.mesh_probe:
    address: 10.0.0.11
    token: 5f3a
    python: /opt/trainmesh/env/bin/python
    commands: [python3, ninja]
    targets:
      - name: node2
        address: 10.0.0.12
        addresses: [192.0.2.12]
        hostname: node2
        ssh_names: [node2, 10.0.0.12]
        ports: [29500, 49321]
"""

RETURN = r"""
row:
  description:
    - For each target, what each attempt showed. C(failure) is empty when it went well, else what failed.
    - For C(ssh) one of V(name), V(loopback), V(wrong_address), V(refused), V(no_route), V(timeout),
      V(hostkey_unknown), V(hostkey_changed), V(permission), V(closed), V(config), V(noise), V(wrong_machine),
      V(slow) (C(ok) is true then), V(no_answer) (connected, and no login within the time), V(not_met) (could not be
      tested in time), V(ssh_missing), V(other); C(addresses) are those to which the name resolves, C(first) what the
      first of two tries showed, C(answered_as) the host name of a V(wrong_machine), C(config_error) what is wrong in
      a V(config), V(permissions), V(trailing) (something behind a value) or V(syntax).
    - For C(tcp) one of V(refused), V(no_route), V(timeout), V(stranger), V(wrong_interface), V(silent) (connected, and
      nothing was said), V(no_listener) (of the own node, whose listener had ended), V(other);
      C(seen_as) is the own address as the listener saw it, null without a connection.
    - C(mtu) is about full-size packets through the first port that answers, null when none does and for the own
      node. C(interface) and C(interface_mtu) are this node's, C(passed) and C(failed) are sizes in bytes of IP
      packets, null where not known, C(stalls) lists V(send) and V(receive).
    - C(neighbour) is the hardware address at which this node finds the target in its own network; only where something
      failed, and where no other address has the same one.
    - C(session) is what a login finds there, null without one; C(python) is null unless O(python) can be run there,
      C(commands) is the path of each of O(commands), or null.
  returned: without O(fold)
  type: dict
  sample:
    node2:
      ssh: {node2: {ok: true, failure: "", evidence: "", seconds: 0.21, addresses: [10.0.0.12]}}
      tcp:
        "29500": {ok: false, failure: no_route, evidence: "10.0.0.12 port 29500: No route to host (errno 113)",
                  seconds: 0.001, seen_as: null}
        "49321": {ok: true, failure: "", evidence: "", seconds: 0.001, seen_as: 10.0.0.11}
      mtu: {ok: true, interface: eth0, interface_mtu: 1500, passed: 1500, failed: null, stalls: [], evidence: ""}
      session: {path: "/usr/bin:/bin", python: /opt/trainmesh/env/bin/python,
                commands: {python3: /usr/bin/python3, ninja: null}}
folded:
  description:
    - RV(row), RV(load) and RV(unreached) as one JSON text, which costs the controller the same for few and many nodes.
    - C(alike) in it has the targets that are not in its C(row). The common C(form) of what is said of them is JSON with
      V(<name>) and V(<address>) for the host name and address of a target, and V(<seconds>) for those of C(seconds),
      in their order.
  returned: with O(fold), and nothing else then
  type: str
  sample: '{"alike": {"form": "...", "seconds": {"node2": [0.21]}}, "load": {"load1": 0.4}, "row": {}, "unreached": {}}'
load:
  description:
    - How busy this node was meanwhile. C(load1) is the load average, C(cores) the processors that may be used,
      C(throttled) the share of the time for which its control group was kept from them, C(stolen) the share of
      the processor time it wanted that a hypervisor gave to others; V(null) where not known.
  returned: without O(fold)
  type: dict
  sample: {load1: 0.4, cores: 64, throttled: 0.0, stolen: 0.0, seconds: 12.3}
unreached:
  description:
    - For each machine of O(unreached), what each address of it showed. C(result) is V(open), V(refused), V(no_route),
      V(timeout), V(name) or V(other). C(neighbour) tells whether the machine answers on this node's own network, be its
      port shut or not; null where that is not known.
  returned: without O(fold)
  type: dict
  sample:
    node3: [{address: 10.0.0.13, port: 22, result: timeout, neighbour: true}]
"""

import concurrent.futures
import json
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import alike, job_user, ssh_options
from ansible_collections.trainmesh.cluster.plugins.module_utils._base import load as base_load
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import mesh, ssh_login
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import unreached as probe_unreached


def main() -> None:
    """Entry point."""
    target = {
        "name": {"type": "str", "required": True},
        "address": {"type": "str", "required": True},
        "addresses": {"type": "list", "elements": "str", "default": []},
        "hostname": {"type": "str", "required": True},
        "ssh_names": {"type": "list", "elements": "str", "required": True},
        "ports": {"type": "list", "elements": "int", "default": []},
    }
    away = {
        "name": {"type": "str", "required": True},
        "addresses": {"type": "list", "elements": "str", "required": True},
        "port": {"type": "int", "default": 22},
    }
    module = AnsibleModule(
        argument_spec={
            "targets": {"type": "list", "elements": "dict", "required": True, "options": target},
            "ports": {"type": "list", "elements": "int", "default": []},
            "log_in": {"type": "bool", "default": True},
            "unreached": {"type": "list", "elements": "dict", "default": [], "options": away},
            "address": {"type": "str", "default": ""},
            "token": {"type": "str", "default": "", "no_log": True},
            "python": {"type": "str", "default": ""},
            "commands": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 10},
            "login_timeout": {"type": "int", "default": 30},
            "slow_seconds": {"type": "float", "default": 5.0},
            "workers": {"type": "int", "default": 6},
            "fold": {"type": "bool", "default": False},
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )
    with job_user.working_for(module, module.params["user"]):
        answer = look(module.params)
    if module.params["fold"]:
        # the parameters name every node: they are not sent back
        module.exit_json(changed=False, folded=json.dumps(answer), invocation={})
    module.exit_json(changed=False, **answer)


def look(given: dict[str, t.Any]) -> dict[str, t.Any]:
    """Try everything."""
    watch = base_load.Watch()
    targets = [mesh.Target(**{**item, "ports": item["ports"] or given["ports"]}) for item in given["targets"]]
    if not given["log_in"]:
        targets = [target._replace(ssh_names=[]) for target in targets]
    limits = (given["timeout"], given["login_timeout"], given["slow_seconds"])
    login = ssh_login.Wish(*limits, given["python"], given["commands"])
    wish = mesh.Wish(given["address"], given["token"], given["timeout"], login, ssh_options.of_user(given["timeout"]))
    places = [probe_unreached.Place(**item) for item in given["unreached"]]
    with concurrent.futures.ThreadPoolExecutor(1) as beside:  # it is all waiting
        unreached = beside.submit(probe_unreached.look_at_all, places)
        row = mesh.probe(targets, wish, given["workers"])
        load = watch.report()
        answer = {"row": row, "load": load, "unreached": unreached.result()}
    if given["fold"]:
        expected = {target.name: (target.hostname, target.address) for target in targets}
        answer["row"], common = alike.fold_timed(row, expected)
        answer.update({"alike": common} if common else {})
    return answer


if __name__ == "__main__":
    main()
