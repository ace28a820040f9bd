# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the rules for the cluster's nodes the wanted ones in each firewall."""

from __future__ import annotations

import glob
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import search_path, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import firewall

ZONES = "/etc/firewalld/zones/*.xml"
COMMANDS = {"firewalld": "firewall-cmd", "ufw": "ufw"}
OPTIONS: dict[str, dict[str, t.Any]] = {
    "backends": {"type": "list", "elements": "str", "choices": ["firewalld", "ufw"], "required": True},
    "addresses": {"type": "list", "elements": "str", "required": True},
    "interface": {"type": "str", "default": ""},
}


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, and add and remove what differs."""
    addresses = given["addresses"]
    plans = {}
    for backend in _those_there(module, given["backends"], addresses):
        if backend == "ufw":
            plans[backend] = firewall.plan_ufw(_read_ufw(module), addresses)
        else:
            plans[backend] = _plan_firewalld(module, addresses, given["interface"])
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
    return {"changed": bool(commands), "commands": commands, "diff": diff}


def _those_there(module: AnsibleModule, wanted: list[str], addresses: list[str]) -> list[str]:
    """The firewalls to look after. None is asked for rules to remove that is not installed, or does not answer."""
    if addresses:
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


def _read_ufw(module: AnsibleModule) -> list[str]:
    """Addresses of our ufw rules."""
    ufw = search_path.required(module, "ufw")
    if not firewall.ufw_may_have_rules():
        return []
    _rc, out, _err = module.run_command([ufw, "show", "added"], check_rc=True)
    return firewall.ufw_addresses(out)


def _plan_firewalld(module: AnsibleModule, addresses: list[str], interface: str) -> firewall.Plan:
    """Read our rules in the zone of the data interface, or in all where none is wanted, and plan."""
    command = search_path.required(module, "firewall-cmd")
    if not addresses:
        _rc, out, _err = module.run_command([command, "--get-zones"], check_rc=True)
        plans = [_plan_zone(module, command, zone, []) for zone in out.split()]
        before = firewall.ordered(address for plan in plans for address in plan.before)
        return firewall.Plan(before, [], [each for plan in plans for each in plan.commands])
    zone = ""
    if interface:
        rc, out, _err = module.run_command([command, f"--get-zone-of-interface={interface}"])
        zone = out.strip() if rc == 0 else ""
    if not zone:
        _rc, out, _err = module.run_command([command, "--get-default-zone"], check_rc=True)
        zone = out.strip()
    return _plan_zone(module, command, zone, addresses)


def _plan_zone(module: AnsibleModule, command: str, zone: str, addresses: list[str]) -> firewall.Plan:
    query = [f"--zone={zone}", "--list-rich-rules"]
    _rc, runtime, _err = module.run_command([command, *query], check_rc=True)
    _rc, permanent, _err = module.run_command([command, "--permanent", *query], check_rc=True)
    have = [firewall.firewalld_addresses(text) for text in (runtime, permanent)]
    return firewall.plan_firewalld(have[0], have[1], addresses, zone)
