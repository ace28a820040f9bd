# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which firewalls are really in force, and which are merely installed.

firewalld, ufw, nftables and iptables are four fronts of one kernel filter. "Active" means that
rules of this front are loaded that can keep a packet out; each verdict names its evidence.
"""

from __future__ import annotations

import json
import os
import shutil
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import (
    filter_sets,
    iptables_rules,
    nft_rules,
    packet_filter,
    saved_rules,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.units import unit_active

SBIN = saved_rules.SBIN
IPTABLES_TABLES = frozenset({"filter", "nat", "mangle", "raw", "security"})
# What input chains jump to, by which ufw and firewalld are known; firewalld of 2.3 and later has no *_ZONES any more.
UFW_MARK, FIREWALLD_MARKS = "ufw-before-input", ("INPUT_ZONES", "INPUT_POLICIES")
EVERYBODY, NOBODY = "everybody", "nobody"
STRANGERS = ("198.51.100.1", "2001:db8::1")  # RFC 5737 and 3849: no rule names these
NEEDS_ROOT = "the rules can only be read by root"


class Block(t.NamedTuple):
    """A chain of nftables, by family, table and name, and what it does with packets."""

    family: str
    table: str
    chain: str
    verdict: str


class Rules(t.NamedTuple):
    """What the kernel filters on the way in, one value a rule; None where it could not be read.

    ``nft``: rules that block, outside the tables of the other fronts. ``marks``: chains that input
    chains jump to. ``iptables``: the lines of ``iptables -S INPUT``.
    """

    nft: list[Block] | None
    marks: list[str] | None
    iptables: list[str] | None
    chains: packet_filter.Chains | None = None


def firewalls(files: Tree, limit: float, loaded: Rules | None = None) -> list[dict[str, t.Any]]:
    """``name``, ``active`` (None: unknown) and ``evidence`` of every front that is installed or has rules.

    ``blocking`` of nftables is the family, table and chain that keeps packets out. ``flushed`` is there, and true,
    where firewalld or ufw is on and what it had loaded is gone.
    """
    rules = read_rules(files, limit) if loaded is None else loaded
    found = [firewalld(files, rules), ufw(files, rules), nftables(files, rules), iptables(files, rules)]
    return [entry for entry in found if entry]


def _entry(name: str, active: bool | None, evidence: str) -> dict[str, t.Any]:
    return {"name": name, "active": active, "evidence": evidence}


def _flushed(name: str, evidence: str) -> dict[str, t.Any]:
    return {**_entry(name, False, f"{evidence}, its rules are not loaded"), "flushed": True}


def firewalld(files: Tree, rules: Rules) -> dict[str, t.Any] | None:
    """firewalld: in force while its service runs and its rules are there."""
    if not any(files.has(path) for path in ("/usr/sbin/firewalld", "/usr/bin/firewalld")):
        return None
    running = unit_active(files, "firewalld.service")
    gone = _firewalld_is_gone(files, rules)
    if running and gone:
        return _flushed("firewalld", "firewalld.service is active")
    if running is not None:
        return _entry("firewalld", running, f"firewalld.service is {'active' if running else 'not active'}")
    pid = files.number("/run/firewalld.pid")
    running = bool(pid) and files.line(f"/proc/{pid}/comm") == "firewalld"
    if running and gone:
        return _flushed("firewalld", "its process runs")
    return _entry("firewalld", running, "its process runs" if running else "neither its service nor its process runs")


def _firewalld_is_gone(files: Tree, rules: Rules) -> bool:
    """Whether none of its chains is loaded; false where that could not be read, as with iptables behind it."""
    by_iptables = "\nFirewallBackend=iptables" in (files.text("/etc/firewalld/firewalld.conf") or "")
    if rules.marks is None or (by_iptables and rules.iptables is None):
        return False
    jumps = (*rules.marks, *(rules.iptables or ()))
    return not any(mark in jump for mark in FIREWALLD_MARKS for jump in jumps)


def ufw(files: Tree, rules: Rules) -> dict[str, t.Any] | None:
    """ufw: in force when its chains are loaded; the configuration alone only says what is wanted."""
    config = files.text("/etc/ufw/ufw.conf")
    installed = files.has("/usr/sbin/ufw")
    loaded = _loaded(rules, UFW_MARK)
    if config is None and not installed and not loaded:
        return None
    enabled = config is not None and any(
        line.strip().lower().replace('"', "") == "enabled=yes" for line in config.splitlines()
    )
    wish = f"ENABLED={'yes' if enabled else 'no'} in /etc/ufw/ufw.conf"
    if loaded is False and enabled and installed and unit_active(files, "ufw.service"):
        return _flushed("ufw", f"{wish} and ufw.service is active")
    if loaded is not None:
        return _entry("ufw", loaded, f"{wish}, its chains are {'' if loaded else 'not '}loaded")
    if not enabled or not installed:
        return _entry("ufw", False, f"{wish}, ufw is {'' if installed else 'not '}installed")
    running = unit_active(files, "ufw.service")
    return _entry("ufw", running, f"{wish}; {NEEDS_ROOT}")


def nftables(files: Tree, rules: Rules) -> dict[str, t.Any] | None:
    """nftables of its own: chains on the way in, in tables of no other front, that drop or reject."""
    if rules.nft is not None:
        if not rules.nft:
            return _entry("nftables", False, "no rule of its own drops or rejects")
        if _strangers(rules, "nftables") == NOBODY:
            return _entry("nftables", False, "its rules keep out only the addresses that they name")
        found = rules.nft[0]
        evidence = f"table {found.family} {found.table} chain {found.chain}: {found.verdict}"
        return {**_entry("nftables", True, evidence), "blocking": [found.family, found.table, found.chain]}
    if unit_active(files, "nftables.service"):
        return _entry("nftables", None, f"nftables.service is active; {NEEDS_ROOT}")
    return _entry("nftables", None, NEEDS_ROOT) if files.has("/usr/sbin/nft") else None


def iptables(files: Tree, rules: Rules) -> dict[str, t.Any] | None:
    """Hand-made iptables rules: a policy or rule of INPUT that drops or rejects, outside ufw and firewalld."""
    if rules.iptables is None:
        installed = any(files.has(path) for path in ("/usr/sbin/iptables", "/sbin/iptables"))
        return _entry("iptables", None, NEEDS_ROOT) if installed and rules.nft is None else None
    if any(mark in rule for mark in (UFW_MARK, *FIREWALLD_MARKS) for rule in rules.iptables):
        return _entry("iptables", False, "INPUT is kept by ufw or firewalld")
    if _strangers(rules, "iptables") == NOBODY:
        return _entry("iptables", False, "INPUT keeps out only the addresses that it names")
    for rule in rules.iptables:
        policy = rule.startswith("-P ") and not rule.endswith(" ACCEPT")
        if policy or " -j DROP" in rule or " -j REJECT" in rule:
            return _entry("iptables", True, rule)
    for rule in rules.iptables:
        if " -j " in rule and " -j ACCEPT" not in rule and " -j RETURN" not in rule:
            known = _strangers(rules, "iptables") == EVERYBODY
            why = "INPUT keeps strangers out" if known else "INPUT jumps to a chain that was not judged"
            return _entry("iptables", True if known else None, f"{why}: {rule}")
    return _entry("iptables", False, "INPUT accepts everything")


def _strangers(rules: Rules, tool: str) -> str:
    """Whether the rules of a front keep a stranger out: EVERYBODY or NOBODY; empty where that is not certain."""
    if rules.chains is None:
        return ""
    found = [
        hit
        for stranger in STRANGERS
        for hit in packet_filter.blocked(rules.chains, packet_filter.Packet(packet_filter.IN, False, "", stranger))
        if hit.chain.tool == tool
    ]
    return NOBODY if not found else EVERYBODY if all(hit.sure for hit in found) else ""


def _loaded(rules: Rules, mark: str) -> bool | None:
    if rules.marks is None and rules.iptables is None:
        return None
    return mark in (rules.marks or ()) or any(mark in rule for rule in rules.iptables or ())


def read_rules(files: Tree, limit: float) -> Rules:
    """Ask nft and iptables what they have loaded; only as root and on the real node.

    The old iptables is only asked when its filter table is loaded, because asking would load it. ``chains`` has the
    rules for IPv6 too, ``iptables`` those of IPv4.
    """
    if os.geteuid() != 0 or files.root != "/":
        return Rules(None, None, None)
    nft = shutil.which("nft", path=SBIN)
    ruleset = run([nft, "-j", "-t", "list", "ruleset"], limit) if nft else None
    text = ruleset.out if ruleset is not None and ruleset.ok else ""
    blocking, marks = (parse_nft(text) if text else None) or (None, None)
    chains = nft_rules.nftables(filter_sets.of_nft(nft, text, limit, run)) if nft and text else None
    listed = _listed_by_iptables(files, limit, "ip")
    for program, lines in {**(listed or {}), **(_listed_by_iptables(files, limit, "ip6") or {})}.items():
        sets = filter_sets.of_ipset(shutil.which("ipset", path=SBIN), lines, limit, run)
        chains = {**(chains or {}), **iptables_rules.iptables(lines, program, sets)}
    return Rules(blocking, marks, _of_input(listed), chains)


def _listed_by_iptables(files: Tree, limit: float, family: str) -> dict[str, str] | None:
    """``iptables -S`` by program, both where both have tables: nothing where none is loaded, None if it can't be asked.

    ``family`` is ip or ip6. What iptables itself says of nft's tables holds the conditions that nft can't show.
    """
    loaded = (files.text(f"/proc/net/{family}_tables_names") or "").split()
    legacy = "filter" in loaded
    more = [table for table in iptables_rules.MORE_TABLES if table in loaded]
    names = (f"{family}tables-legacy", f"{family}tables", f"{family}tables-nft")
    programs = [path for path in (shutil.which(name, path=SBIN) for name in names) if path]
    if not programs:
        return None
    by_nft = [path for path in programs if _is_nft(path)][:1]
    asked = {os.path.basename(path): [path, "-w", "1"] for path in [*(programs[:1] if legacy else []), *by_nft]}
    old = programs[0]
    if not _is_nft(old):  # what the new one keeps in these tables nft shows
        asked.update({f"{os.path.basename(old)} -t {table}": [old, "-w", "1", "-t", table] for table in more})
    outcomes = {name: run([*argv, "-S"], limit) for name, argv in asked.items()}
    found = {name: outcome.out for name, outcome in outcomes.items() if outcome.ok}
    return found if found or not asked else None


def _of_input(listed: t.Mapping[str, str] | None) -> list[str] | None:
    if listed is None:
        return None
    filters = [text for program, text in listed.items() if " -t " not in program]
    lines = [line.strip() for text in filters for line in text.splitlines()]
    return [line for line in lines if line.split()[1:2] == ["INPUT"]]


def _is_nft(path: str) -> bool:
    return "nft" in os.path.basename(os.path.realpath(path))


def parse_nft(text: str) -> tuple[list[Block], list[str]] | None:
    """(rules that block on the way in, chains that input chains jump to) in ``nft -j list ruleset``.

    Tables of firewalld and of iptables-nft are left out of the first. None when the text is no such
    list. Format: libnftables-json(5).
    """
    try:
        objects = [item for item in json.loads(text)["nftables"] if isinstance(item, dict)]
        chains = [item["chain"] for item in objects if "chain" in item]
        bases = [chain for chain in chains if chain.get("hook") == "input" and chain["family"] in ("ip", "ip6", "inet")]
        inputs = {_table(chain) for chain in bases}
        foreign = {_table(chain) for chain in bases if _is_foreign(chain)}
        rules = [item["rule"] for item in objects if "rule" in item and _table(item["rule"]) in inputs]
        own = [chain for chain in bases if _table(chain) not in foreign]
        blocking = [_block(chain, chain["name"], "policy drop") for chain in own if chain.get("policy") == "drop"]
        for rule in rules:
            verdicts = {key for part in rule.get("expr", []) if isinstance(part, dict) for key in part}
            if verdicts & {"drop", "reject"} and _table(rule) not in foreign:
                blocking.append(_block(rule, rule["chain"], "reject" if "reject" in verdicts else "drop"))
        jumps = [part["jump"]["target"] for rule in rules for part in rule.get("expr", []) if "jump" in part]
        return blocking, [str(target) for target in jumps]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _table(item: t.Mapping[str, t.Any]) -> tuple[str, str]:
    return str(item["family"]), str(item["table"])


def _is_foreign(chain: t.Mapping[str, t.Any]) -> bool:
    """True for an input chain of firewalld, or of iptables-nft, which alone writes chain names in capitals."""
    table = str(chain["table"])
    return table == "firewalld" or (table in IPTABLES_TABLES and chain["name"] == "INPUT")


def _block(item: t.Mapping[str, t.Any], chain: t.Any, verdict: str) -> Block:
    return Block(*_table(item), str(chain), verdict)
