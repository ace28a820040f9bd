# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the cluster's addresses in through firewalld or ufw.

All TCP, because torch, NCCL and gloo use ephemeral ports both ways (launchers choose only the
rendezvous port); nothing else is opened, and neither firewall is switched off. Addresses that fill a block of a power
of two are one rule: thirty nodes in a row are six, and a command for each would be most of what a first run costs them.
"""

from __future__ import annotations

import ipaddress
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import textfile

MARK = "trainmesh.cluster"
PRIORITY = -2950
UFW_RULES = ("/etc/ufw/user.rules", "/etc/ufw/user6.rules")
_UFW_ADDED = re.compile(r"^ufw (?:prepend )?allow from (\S+)(?: to any)? proto tcp comment '" + re.escape(MARK) + "'$")


class Plan(t.NamedTuple):
    """Addresses and blocks of them that had access and shall have it, and the commands that make it so."""

    before: list[str]
    after: list[str]
    commands: list[list[str]]


def backends(kind: str) -> list[str]:
    """The firewalls that get rules where they are in force; ``kind`` as trainmesh_firewall has it."""
    return {"auto": ["firewalld", "ufw"], "none": []}.get(kind, [kind])


def ordered(sources: t.Iterable[str]) -> list[str]:
    """Every address or block once, IPv4 first; a block of one is written as an address."""
    found = {ipaddress.ip_network(source, strict=False) for source in sources}
    return [_text(each) for each in sorted(found, key=lambda each: (each.version, int(each[0]), each.prefixlen))]


def blocks(addresses: t.Iterable[str]) -> list[str]:
    """The fewest blocks that hold these addresses and no others."""
    found = {ipaddress.ip_network(str(ipaddress.ip_address(each))) for each in addresses}
    four = ipaddress.collapse_addresses(each for each in found if isinstance(each, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(each for each in found if isinstance(each, ipaddress.IPv6Network))
    return [*map(_text, four), *map(_text, six)]


def _text(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def ufw_may_have_rules() -> bool:
    """Whether ufw has to be asked for rules of ours: to start it takes longer than all else that is read of a firewall.

    Its files hold the comment of a rule in hexadecimal digits. An ufw that keeps them elsewhere is always asked.
    """
    texts = [textfile.read_text(path) for path in UFW_RULES if os.path.exists(path)]
    return not texts or any(MARK.encode().hex() in text.lower() for text in texts)


def ufw_addresses(show_added: str) -> list[str]:
    """Addresses and blocks of our rules in the output of C(ufw show added)."""
    found = (_UFW_ADDED.match(line.strip()) for line in show_added.splitlines())
    return ordered(match.group(1) for match in found if match)


def plan_ufw(have: t.Sequence[str], want: t.Sequence[str]) -> Plan:
    """One rule a block, put ahead of the user's rules so that a deny below can't win."""
    after = blocks(want)
    commands = []
    for address in after:
        if address not in have:
            commands.append(["ufw", "prepend", "allow", "proto", "tcp", "from", address, "comment", MARK])
    for address in have:
        if address not in after:
            commands.append(["ufw", "delete", "allow", "proto", "tcp", "from", address])
    return Plan(list(have), after, commands)


def rich_rule(address: str) -> str:
    """The rule of one address or block. Its priority marks it as ours, and puts it ahead of the zone's reject rules."""
    version = ipaddress.ip_network(address).version
    source = f'source address="{address}"'
    return f'rule priority="{PRIORITY}" family="ipv{version}" {source} protocol value="tcp" accept'


def firewalld_addresses(rich_rules: str) -> list[str]:
    """Addresses and blocks of our rules in the output of C(firewall-cmd --list-rich-rules)."""
    ours = (line for line in rich_rules.splitlines() if f'priority="{PRIORITY}"' in line)
    found = (re.search(r'source address="([^"]+)"', line) for line in ours)
    return ordered(match.group(1) for match in found if match)


def zones_of(active_zones: str) -> dict[str, str]:
    """Zone by interface in the output of C(firewall-cmd --get-active-zones)."""
    found, zone = {}, ""
    for line in active_zones.splitlines():
        words = line.split()
        if words and not line[0].isspace():
            zone = words[0]
        elif words[:1] == ["interfaces:"]:
            found.update(dict.fromkeys(words[1:], zone))
    return found


def plan_firewalld(runtime: t.Sequence[str], permanent: t.Sequence[str], want: t.Sequence[str], zone: str) -> Plan:
    """One rich rule a block in the zone that the peers' packets enter.

    Rules are changed in the running firewall and in its configuration, without a reload, which
    would drop what users have added to the running one only.
    """
    after = blocks(want)
    commands = []
    for have, where in ((runtime, []), (permanent, ["--permanent"])):
        options = [f"--add-rich-rule={rich_rule(address)}" for address in after if address not in have]
        if options:
            commands.append(["firewall-cmd", "--quiet", *where, f"--zone={zone}", *options])
        options = [f"--remove-rich-rule={rich_rule(address)}" for address in have if address not in after]
        if options:
            commands.append(["firewall-cmd", "--quiet", *where, f"--zone={zone}", *options])
    return Plan(ordered([*runtime, *permanent]), after, commands)
