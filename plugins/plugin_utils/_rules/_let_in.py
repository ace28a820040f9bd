# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that lets other nodes in, by the rule that keeps them out, or by the firewall that is active.

Programs that write rules by themselves (fail2ban, CrowdSec, Tailscale, Calico) bring them back, mostly above those of
ufw and firewalld: they have to be told, and an accept of another front does not help.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import node, rows, text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig

TOOLS = ("firewalld", "ufw")
# What chain or table of whose it is -> what that program is told. {list}: the addresses, {first}: one of them.
_WRITERS = (
    (
        r"\bf2b-|\bfail2ban-",
        "fail2ban-client unban {list}; and ignoreip = {list} in the section DEFAULT of /etc/fail2ban/jail.local, then "
        "fail2ban-client reload: fail2ban has banned them",
    ),
    (
        r"(?i)crowdsec",
        "cscli decisions delete --ip {first} (for each of {list}); and put them into a whitelist in "
        "/etc/crowdsec/parsers/s02-enrich: CrowdSec has banned them",
    ),
    (
        r"\bts-input\b",
        "tailscale set --netfilter-mode=off, which takes the rule away for good, or, until its next start, iptables -I "
        "ts-input -s {first} ! -i tailscale0 -j ACCEPT (for each of {list}): Tailscale takes 100.64.0.0/10 for its own",
    ),
    (
        r"\bcali-",
        "calicoctl get hostendpoint -o wide; then allow {list} in a GlobalNetworkPolicy that selects this host's "
        "endpoint: rules by hand go at Calico's next turn",
    ),
    (
        r"\bnixos-fw\b",
        'networking.firewall.extraInputRules = "ip saddr {{ {commas} }} accept"; (with iptables: extraCommands) in '
        "configuration.nix, then nixos-rebuild switch",
    ),
    (
        r"(?i)sshguard",
        "put {list} into /etc/sshguard/whitelist (Debian) or /etc/sshguard.whitelist, then systemctl restart sshguard, "
        "which has banned them",
    ),
    (r"\b(LOCALINPUT|DENYIN|LOGDROPIN|INVDROP)\b", "csf -a {first} (for each of {list}), which csf keeps"),
)


def active(case: Case, host: str) -> list[str]:
    """The firewalls that are known to keep packets out on a node."""
    return [
        str(dig(item, "name")) for item in dig(case.fabric.get(host), "firewalls", []) if dig(item, "active") is True
    ]


def lets_all_in(case: Case, host: str) -> bool:
    """Whether it is known that no rule of a node keeps out, or may keep out, what the others send it."""
    found = dig(case.fabric.get(host), "filtered")
    kept = [row for row in rows(case.fabric.get(host), "filtered") if dig(row, "direction") == "in"]
    return isinstance(found, list) and not [row for row in kept if not dig(row, "answers")]


def by_writer(row: Data, peers: t.Sequence[str]) -> str:
    """What the program is told that writes this rule by itself; empty where people write it."""
    place = f"{text(row, 'chain')} {text(row, 'rule')}"
    words = next((words for pattern, words in _WRITERS if re.search(pattern, place)), "")
    return words.format(list=" ".join(peers), commas=", ".join(peers), first=peers[0]) if words and peers else ""


def open_up(
    case: Case, host: str, sources: t.Sequence[str], kept: t.Sequence[Data] = (), perhaps: t.Sequence[Data] = ()
) -> str:
    """The command that lets the other nodes in; ``kept`` are the rules that are known to keep them out.

    ``perhaps`` are those of which it is not certain: then they are asked about first.
    """
    peers = [str(dig(node(case, source), "address", source)) for source in sources]
    told = list(dict.fromkeys(filter(None, (by_writer(row, peers) for row in kept))))
    if told and all(by_writer(row, peers) for row in kept):
        return f"On {host}: {'; '.join(told)}."
    rest = [row for row in kept if not by_writer(row, peers)]
    tools = list(dict.fromkeys(text(row, "tool") for row in rest))
    found = [_command(case, host, text(row, "tool"), peers, row) for row in rest]
    if not kept and not lets_all_in(case, host):
        tools = active(case, host)
        found = [_command(case, host, tool, peers, {}) for tool in tools]
    commands = [*told, *dict.fromkeys(filter(None, found))]
    if commands:
        ours = next((tool for tool in TOOLS if tool in tools), None)
        site = f", or run site.yml with trainmesh_firewall: {ours}" if ours else _afterwards(case, host)
        return f"On {host}: {'; '.join(commands)}{site}"
    if perhaps:
        return _try_out(case, host, peers, perhaps)
    known = all(isinstance(dig(case.fabric.get(each), "filtered"), list) for each in (host, *sources))
    nobody = f"No rule or route of {host} or of {', '.join(sources)} keeps these packets back" if known else ""
    nobody = nobody or f"No firewall of {host} is known to be active"
    if unseen := _unseen(case, host):
        return f"{unseen} on {host}: it may drop packets before every firewall. {nobody}."
    return (
        f"{nobody}: look at security groups, switches and the firewall of the "
        f"hypervisor between {', '.join(peers)} and {dig(node(case, host), 'address', host)}; all TCP must pass."
    )


def _unseen(case: Case, host: str) -> str:
    """What shows programs in the kernel (eBPF) that may drop packets, as no list of rules does; empty without any."""
    items = rows(case.fabric.get(host), "interfaces")
    if any(text(item, "name") in ("cilium_host", "cilium_net") for item in items):
        return "cilium-dbg monitor --type drop; cilium-dbg endpoint list (policies of the host firewall)"
    name = next((text(item, "name") for item in items if dig(item, "xdp") is True), "")
    return f"bpftool net show; ip link set dev {shlex.quote(name)} xdp off for a moment" if name else ""


def _try_out(case: Case, host: str, peers: t.Sequence[str], perhaps: t.Sequence[Data]) -> str:
    """How to see whether rules about which nothing is certain are the reason."""
    written = [by_writer(row, peers) or _command(case, host, text(row, "tool"), peers, row) for row in perhaps[:3]]
    commands = "; ".join(dict.fromkeys(filter(None, written))) or "take that rule out for a moment"
    shown = "; ".join(dict.fromkeys(text(row, "rule") for row in perhaps[:3]))
    return (
        f"On {host}: {commands}, and try again: whether {shown} is about these packets, its other conditions (marks, "
        "rates, counts) do not tell. If that changes nothing, look at security groups and switches."
    )


def _command(case: Case, host: str, tool: str, peers: t.Sequence[str], row: Data) -> str:
    """How one front lets the peers in, above the rule that keeps them out, where that is known."""
    if tool == "firewalld":
        added = " ".join(f"--add-source={peer}" for peer in peers)
        return f"firewall-cmd --permanent --zone=trusted {added} && firewall-cmd --reload"
    if tool == "ufw":
        return " && ".join(f"ufw allow from {peer}" for peer in peers)
    place = re.fullmatch(r"table (\S+) (\S+) chain (\S+)", text(row, "chain"))
    if tool == "nftables" or (tool == "iptables" and place):
        chain = shlex.join(place.groups()) if place else _chain(case, host)
        family = "ip6" if any(_is_ipv6(peer) for peer in peers) else "ip"
        accept = f"nft insert rule {chain} {family} saddr '{{ {', '.join(peers)} }}' accept"
        return accept + _lasting(case, host, by_nft=True)
    if tool == "iptables":
        found = re.fullmatch(r"(ip6?tables(?:-legacy|-nft)?(?: -t \w+)?) (\S+)", text(row, "chain"))
        commands = []
        for peer in peers:
            program = found[1] if found else "ip6tables" if _is_ipv6(peer) else "iptables"
            commands.append(f"{program} -I {shlex.quote(found[2] if found else 'INPUT')} -s {peer} -j ACCEPT")
        return " && ".join(commands) + _lasting(case, host, by_nft=False)
    return ""


def _is_ipv6(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).version == 6
    except ValueError:
        return False


def _lasting(case: Case, host: str, by_nft: bool) -> str:
    """What makes rules last where a service loads saved ones of the kind at boot."""
    saved = dig(case.fabric.get(host), "filtered_at_boot", {})
    of_the_kind = (text(saved, "unit") == "nftables.service") is by_nft
    return f" && {text(saved, 'save')}" if text(saved, "save") and of_the_kind else ""


def _afterwards(case: Case, host: str) -> str:
    """What becomes of rules of nftables and iptables at the next boot, which no role looks after."""
    saved = dig(case.fabric.get(host), "filtered_at_boot")
    if saved:
        return (
            f". {dig(saved, 'unit')} loads {dig(saved, 'file')} at every boot, and site.yml does not change it: "
            "without the save the rules of now are gone then"
        )
    return " (and keep it in its configuration, which site.yml does not change)"


def _chain(case: Case, host: str) -> str:
    """The chain of nftables that blocks, as ``nft`` wants it named."""
    for item in dig(case.fabric.get(host), "firewalls", []):
        if dig(item, "name") == "nftables" and dig(item, "blocking"):
            return shlex.join(map(str, item["blocking"]))
    return "inet filter input"
