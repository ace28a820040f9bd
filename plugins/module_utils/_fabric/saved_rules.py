# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a packet filter that are loaded at the next boot."""

from __future__ import annotations

import shutil
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import packet_filter as pf
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.iptables_rules import MORE_TABLES, iptables
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.nft_rules import nftables

LARGEST_SAVED = 256 * 1024


class Saved(t.NamedTuple):
    """Rules that are loaded at the next boot: from which file, by which service, and the command that saves them."""

    file: str
    unit: str
    save: str


SAVED = (
    Saved("/etc/iptables/rules.v4", "netfilter-persistent.service", "netfilter-persistent save"),
    Saved("/etc/iptables/iptables.rules", "iptables.service", "iptables-save -f /etc/iptables/iptables.rules"),
    Saved("/etc/sysconfig/iptables", "iptables.service", "iptables-save > /etc/sysconfig/iptables"),
)

NFT_UNIT, NFT_FILES = "nftables.service", ("/etc/nftables.conf", "/etc/sysconfig/nftables.conf")
SBIN = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"
_SAVED_IPV6 = {
    "/etc/iptables/rules.v4": "/etc/iptables/rules.v6",
    "/etc/iptables/iptables.rules": "/etc/iptables/ip6tables.rules",
    "/etc/sysconfig/iptables": "/etc/sysconfig/ip6tables",
}


def saved(files: Tree) -> tuple[Saved, dict[str, pf.Chain]] | None:
    """The filter rules of iptables that come back at boot; None where no enabled service loads any."""
    wants = [name for name in files.names("/etc/systemd/system") if name.endswith((".wants", ".requires"))]
    for place in SAVED:
        text = files.text(place.file, LARGEST_SAVED)
        if text and any(files.has(f"/etc/systemd/system/{name}/{place.unit}") for name in wants):
            ipv6 = files.text(_SAVED_IPV6[place.file], LARGEST_SAVED) or ""
            chains = {**iptables(_as_listed(text)), **iptables(_as_listed(ipv6), "ip6tables")}
            for table in MORE_TABLES:
                chains.update(iptables(_as_listed(text, table), f"iptables -t {table}"))
            return place, chains
    return None


def saved_nft(files: Tree, limit: float, ask: t.Callable[..., t.Any] = run) -> tuple[Saved, dict[str, pf.Chain]] | None:
    """The rules that nftables.service loads at boot; None where it loads none, or where they can't be had.

    nft itself reads the file, in a network namespace that is there for this alone: nothing of the node changes.
    """
    programs = [shutil.which(name, path=SBIN) for name in ("unshare", "nft")]
    wants = [name for name in files.names("/etc/systemd/system") if name.endswith((".wants", ".requires"))]
    if None in programs or not any(files.has(f"/etc/systemd/system/{name}/{NFT_UNIT}") for name in wants):
        return None
    file = next((place for place in NFT_FILES if files.has(place)), "")
    script = f'{programs[1]} -f "$1" && {programs[1]} -j list ruleset'
    answer = ask([programs[0], "-n", "--", "/bin/sh", "-c", script, "sh", file], limit) if file else None
    chains = nftables(answer.out) if answer is not None and answer.ok else None
    save = f"(echo flush ruleset; nft list ruleset) > {file}"
    return (Saved(file, NFT_UNIT, save), chains) if chains else None


def _as_listed(text: str, table: str = "filter") -> str:
    """A table of a file of iptables-save(8), as ``iptables -S`` lists it."""
    found, inside = [], False
    for line in text.splitlines():
        if line.startswith("*"):
            inside = line.strip() == f"*{table}"
        elif inside and line.startswith(":"):
            name, policy = [*line[1:].split(), "-"][:2]
            found.append(f"-N {name}" if policy == "-" else f"-P {name} {policy}")
        elif inside and line.startswith("-"):
            found.append(line)
    return "\n".join(found)
