#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the cluster's addresses in."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_firewall
short_description: Allow all TCP from the addresses of the cluster through firewalld and ufw
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - In firewalld, keeps one rich rule per address in the zone of the data interface, marked by its priority. In ufw,
    keeps one rule per address, marked by its comment.
  - Addresses that are no longer listed are removed. Nothing else is opened or closed, and no firewall is switched on or
    off.
  - NCCL, gloo and torch listen on ephemeral ports, so that opening the rendezvous port alone is not enough.
options:
  backends:
    description: The firewalls to look after; none of them leaves all alone.
    type: list
    elements: str
    choices: [firewalld, ufw]
    required: true
  addresses:
    description:
      - IP addresses of all nodes.
      - An empty list takes every rule of ours out, in all zones; a firewall that is not installed has none.
    type: list
    elements: str
    required: true
  interface:
    description: The data interface, whose firewalld zone gets the rule; default is firewalld's default zone.
    type: str
    default: ""
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Allow traffic from the cluster nodes
  trainmesh.cluster.cluster_firewall:
    backends: [firewalld]
    addresses: [10.0.0.11, 10.0.0.12]
    interface: eth0

- name: Remove all addresses
  trainmesh.cluster.cluster_firewall:
    backends: [ufw]
    addresses: []
"""

RETURN = r"""
commands:
  description: Commands that were, or would be, run.
  returned: always
  type: list
  elements: list
  sample:
    - [ufw, prepend, allow, proto, tcp, from, 10.0.0.12, comment, trainmesh.cluster]
"""

import glob

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import search_path, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import firewall

ZONES = "/etc/firewalld/zones/*.xml"
COMMANDS = {"firewalld": "firewall-cmd", "ufw": "ufw"}


def are_there(module: AnsibleModule) -> list[str]:
    """The firewalls to look after. None is asked for rules to remove that is not installed, or does not answer."""
    wanted: list[str] = module.params["backends"]
    if module.params["addresses"]:
        return wanted
    found = [name for name in wanted if search_path.which(COMMANDS[name])]
    if "firewalld" in found and module.run_command([search_path.path_of("firewall-cmd"), "--state"])[0]:
        if _has_rules():
            module.warn(
                "firewalld does not run: rules of the cluster in its configuration stay. Start it, then run again"
            )
        found.remove("firewalld")
    return found


def _has_rules() -> bool:
    """Whether the configuration of a firewalld that does not run holds rules of ours."""
    return any(f'priority="{firewall.PRIORITY}"' in textfile.read_text(path) for path in glob.glob(ZONES))


def read_ufw(module: AnsibleModule) -> list[str]:
    """Addresses of our ufw rules."""
    ufw = search_path.required(module, "ufw")
    _rc, out, _err = module.run_command([ufw, "show", "added"], check_rc=True)
    return firewall.ufw_addresses(out)


def plan_firewalld(module: AnsibleModule) -> firewall.Plan:
    """Read our rules in the zone of the data interface, or in all where none is wanted, and plan."""
    command = search_path.required(module, "firewall-cmd")
    if not module.params["addresses"]:
        _rc, out, _err = module.run_command([command, "--get-zones"], check_rc=True)
        plans = [_plan_zone(module, command, zone) for zone in out.split()]
        before = firewall.ordered(address for plan in plans for address in plan.before)
        return firewall.Plan(before, [], [each for plan in plans for each in plan.commands])
    zone = ""
    if module.params["interface"]:
        rc, out, _err = module.run_command([command, f"--get-zone-of-interface={module.params['interface']}"])
        zone = out.strip() if rc == 0 else ""
    if not zone:
        _rc, out, _err = module.run_command([command, "--get-default-zone"], check_rc=True)
        zone = out.strip()
    return _plan_zone(module, command, zone)


def _plan_zone(module: AnsibleModule, command: str, zone: str) -> firewall.Plan:
    query = [f"--zone={zone}", "--list-rich-rules"]
    _rc, runtime, _err = module.run_command([command, *query], check_rc=True)
    _rc, permanent, _err = module.run_command([command, "--permanent", *query], check_rc=True)
    have = [firewall.firewalld_addresses(text) for text in (runtime, permanent)]
    return firewall.plan_firewalld(have[0], have[1], module.params["addresses"], zone)


def main() -> None:
    """Entry point."""
    backends = {"type": "list", "elements": "str", "choices": ["firewalld", "ufw"], "required": True}
    module = AnsibleModule(
        argument_spec={
            "backends": backends,
            "addresses": {"type": "list", "elements": "str", "required": True},
            "interface": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    plans = {}
    for backend in are_there(module):
        if backend == "ufw":
            plans[backend] = firewall.plan_ufw(read_ufw(module), module.params["addresses"])
        else:
            plans[backend] = plan_firewalld(module)
    commands = [command for plan in plans.values() for command in plan.commands]
    if not module.check_mode:
        for command in commands:
            path = search_path.required(module, command[0])
            module.run_command([path, *command[1:]], check_rc=True)
    diff = [
        {"header": name, "before": "\n".join([*plan.before, ""]), "after": "\n".join([*plan.after, ""])}
        for name, plan in plans.items()
        if plan.commands
    ]
    module.exit_json(changed=bool(commands), commands=commands, diff=diff)


if __name__ == "__main__":
    main()
