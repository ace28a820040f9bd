# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that every form of the report uses; made from the data of report.json alone."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.redact import harmless

Data = t.Mapping[str, t.Any]

# Of each layer that an attempt may fail at: its mark in a narrow table, and what it means.
LAYERS = {
    "name": ("nam", "the name does not resolve"),
    "loopback": ("lo", "the name leads to loopback"),
    "wrong_address": ("adr", "the name leads to another address"),
    "refused": ("ref", "nothing listens there, or a firewall rejects"),
    "no_route": ("rou", "no route, or a firewall rejects"),
    "timeout": ("tmo", "no answer: a firewall drops packets, or the machine hangs"),
    "hostkey_unknown": ("hk?", "its host key is not known"),
    "hostkey_changed": ("hk!", "its host key is another than the known one"),
    "permission": ("key", "the login is refused"),
    "closed": ("cls", "the connection is closed at once"),
    "config": ("cfg", "ssh refuses its own configuration"),
    "noise": ("noi", "a start-up file prints into the session"),
    "wrong_machine": ("who", "another machine answers"),
    "stranger": ("str", "another program has the port"),
    "wrong_interface": ("nic", "the connection comes from another address than planned"),
    "ssh_missing": ("mis", "there is no ssh client"),
    "slow": ("slo", "it works, late"),
    "other": ("oth", "see the evidence"),
}
SEVERITY_WORDS = {"fail": "FAIL", "warn": "WARN", "info": "INFO"}
_MOST_NAMES = 6
_LONGEST = 220


def one_line(text: t.Any, longest: int = 0) -> str:
    """A text from a machine as one printable line: no control characters, which a terminal would obey."""
    line = " ".join(harmless(str(text)).split())
    return line if not longest or len(line) <= longest else f"{line[: longest - 4].rstrip()} ..."


def names(hosts: t.Sequence[str], most: int = _MOST_NAMES) -> str:
    """``node1, node2`` and, beyond ``most``, ``and 59 more``."""
    listed = ", ".join(hosts[:most])
    return listed if len(hosts) <= most else f"{listed} and {len(hosts) - most} more"


def where(hosts: t.Sequence[str]) -> str:
    """The hosts that an answer is about."""
    return names(hosts) if hosts else "the cluster"


def evidence(finding: Data, longest: int = _LONGEST) -> str:
    """What was seen, in one line; hosts with the same share it, two kinds are shown, the hosts to blame first."""
    seen: dict[str, list[str]] = {}
    for host, text in sorted(finding["evidence"].items(), key=lambda item: item[0] not in finding["hosts"]):
        seen.setdefault(one_line(text, longest), []).append(host)
    parts = [text if len(seen) == 1 else f"{names(hosts, 3)}: {text}" for text, hosts in seen.items() if text]
    more = f"; and {len(parts) - 2} more" if len(parts) > 2 else ""
    return "; ".join(parts[:2]) + more


def plural(number: int, word: str) -> str:
    """``1 fault``, ``2 faults``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def headline(report: Data) -> str:
    """The outcome in one sentence."""
    summary = report["summary"]
    if report["outcome"] == "faults":
        return f"NOT ready: {plural(summary['fail'], 'fault')} to mend."
    if report["outcome"] == "incomplete":
        return "INCOMPLETE: nothing that was tested failed, but not all could be tested."
    return "No fault found."


def counts(report: Data) -> str:
    """How many answers of each kind."""
    summary = report["summary"]
    parts = [plural(summary["fail"], "fault"), plural(summary["warn"], "warning")]
    parts += [plural(summary["info"], "note")] if summary["info"] else []
    parts += [f"{summary['untested']} not tested"] if summary["untested"] else []
    return f"{', '.join(parts)}; {plural(summary['held'], 'rule')} held."


def changes(report: Data) -> str:
    """What the run changed on the nodes."""
    said = "would change" if report["check_mode"] else "changed"
    touched = list(report["changed"])
    return f"This run {said}: {', '.join(touched)}." if touched else f"This run {said} nothing on any node."


def untested(report: Data) -> list[tuple[str, str, list[str]]]:
    """(hosts, why, ids) of what was not tested, one entry for each reason; what has no host goes by its id."""
    found: dict[tuple[str, str], list[str]] = {}
    items = [(names(item["hosts"]) or item["rule"], item["why"], item["rule"]) for item in report["untested"]]
    if report["skipped"] and not any(rule == "jobs" for _hosts, _why, rule in items):
        items.append(("jobs", report["skipped"], "jobs"))
    for hosts, why, rule in items:
        found.setdefault((hosts, one_line(why)), []).append(rule)
    return [(hosts, why, rules) for (hosts, why), rules in found.items()]


def scores(report: Data, kind: str) -> list[str]:
    """For each node, how many of the others' attempts (and its own) towards it went well: ``ok``, ``5/8`` or ``-``."""
    matrix = report["matrices"][kind]
    found = []
    for column in range(len(matrix["names"])):
        cells = [row[column] for row in matrix["cells"] if row[column] not in ("", "not_planned")]
        good = sum(cell in {"ok", "slow"} for cell in cells)
        found.append("-" if not cells else "ok" if good == len(cells) else f"{good}/{len(cells)}")
    return found


def bandwidth(mbps: float | None) -> str:
    """``9.41 Gbit/s``, ``940 Mbit/s``; a dash for None."""
    if mbps is None:
        return "-"
    return f"{mbps / 1000:.3g} Gbit/s" if mbps >= 1000 else f"{mbps:.3g} Mbit/s"


def size(number: float | None) -> str:
    """A number of bytes with a binary unit; a dash for None."""
    if number is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            return f"{number:.3g} {unit}"
        number /= 1024
    return ""


def gpu_text(gpus: t.Sequence[str]) -> str:
    """``8 x A100``; of unlike models each."""
    kinds: dict[str, int] = {}
    for gpu in gpus:
        kinds[gpu] = kinds.get(gpu, 0) + 1
    return ", ".join(f"{number} x {kind}" for kind, number in kinds.items()) or "none"


def collective(report: Data) -> str:
    """The result of the collective in one sentence; empty when it was not run."""
    found = report["collective"]
    if found is None:
        return ""
    title = f"All-reduce over {plural(int(found['world_size'] or 0), 'rank')} ({found['backend']}, {found['via']})"
    if found.get("late"):
        return f"{title} not tested: {one_line(found['late'], _LONGEST)}"
    if not found["ok"]:
        return f"{title} FAILED: {one_line(found['error'] or 'see the findings', _LONGEST)}"
    if not found["sweep"]:
        return f"{title}: ok"
    best = max(found["sweep"], key=lambda step: step.get("busbw_gbps") or 0)
    speed = f"{best.get('busbw_gbps') or 0:.3g} GB/s bus bandwidth"
    return f"{title}: ok, {speed} at {size(best.get('bytes'))}"


def job(found: Data) -> str:
    """What a job came to in a word or two; our own time limit is no failure."""
    return "ok" if found["ok"] else "not finished" if found.get("timed_out") else "FAILED"


__all__ = (
    "LAYERS", "SEVERITY_WORDS", "bandwidth", "changes", "collective", "counts", "evidence", "gpu_text", "headline",
    "job", "names", "one_line", "plural", "scores", "size", "untested", "where",
)  # fmt: skip
