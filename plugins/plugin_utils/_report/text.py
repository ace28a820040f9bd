# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that every form of the report uses; made from the data of report.json alone."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.redact import harmless

Data = t.Mapping[str, t.Any]

# For each way in which an attempt can fail: its mark in a narrow table, and what it means.
LAYERS = {
    "name": ("nam", "the name does not resolve"),
    "loopback": ("lo", "the name resolves to loopback"),
    "wrong_address": ("adr", "the name resolves to another address"),
    "refused": ("ref", "connection refused: nothing listens there, or a firewall rejects it"),
    "no_route": ("rou", "no route to host, or a firewall rejects it"),
    "timeout": ("tmo", "timeout: a firewall drops packets, or the node hangs"),
    "hostkey_unknown": ("hk?", "unknown host key"),
    "hostkey_changed": ("hk!", "host key changed"),
    "permission": ("key", "permission denied"),
    "closed": ("cls", "connection closed immediately"),
    "config": ("cfg", "ssh rejects its own configuration"),
    "noise": ("noi", "a shell start-up file prints into the session"),
    "wrong_machine": ("who", "another host answers"),
    "stranger": ("str", "an unexpected service uses the port"),
    "wrong_interface": ("nic", "the source address is not the planned one"),
    "ssh_missing": ("mis", "no ssh client"),
    "slow": ("slo", "works, but slowly"),
    "other": ("oth", "see the evidence"),
}
SEVERITY_WORDS = {"fail": "FAIL", "warn": "WARN", "info": "INFO"}
# What became of the findings of the last run.
_CHANGES = {"new": "new", "fixed": "fixed", "still": "still there", "not_tested": "not tested this time"}
_MOST_NAMES = 6
_LONGEST = 220


def one_line(text: t.Any, longest: int = 0) -> str:
    """A text from a node as one printable line, without control characters, which a terminal would obey."""
    line = " ".join(harmless(str(text)).split())
    return line if not longest or len(line) <= longest else f"{line[: longest - 4].rstrip()} ..."


def names(hosts: t.Sequence[str], most: int = _MOST_NAMES) -> str:
    """``node1, node2`` and, beyond ``most``, ``and 59 more``."""
    listed = ", ".join(hosts[:most])
    return listed if len(hosts) <= most else f"{listed} and {len(hosts) - most} more"


def where(hosts: t.Sequence[str]) -> str:
    """The hosts that a finding is attributed to."""
    return names(hosts) if hosts else "the cluster"


def evidence(finding: Data, longest: int = _LONGEST) -> str:
    """The evidence in one line; hosts with the same text share it, two texts are shown, attributed hosts first."""
    texts: dict[str, list[str]] = {}
    for host, text in sorted(finding["evidence"].items(), key=lambda item: item[0] not in finding["hosts"]):
        texts.setdefault(one_line(text, longest), []).append(host)
    parts = [text if len(texts) == 1 else f"{names(hosts, 3)}: {text}" for text, hosts in texts.items() if text]
    more = f"; and {len(parts) - 2} more" if len(parts) > 2 else ""
    return "; ".join(parts[:2]) + more


def plural(number: int, word: str) -> str:
    """``1 failure``, ``2 failures``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def headline(report: Data) -> str:
    """The outcome as a headline; READY only when jobs have run."""
    summary = report["summary"]
    if report["outcome"] == "faults":
        return f"NOT READY: {plural(summary['fail'], 'failure')} to fix"
    if report["outcome"] == "incomplete":
        return "INCOMPLETE: no check failed, but not everything could be tested"
    if not summary["held"]:
        return "NOT TESTED: no checks were run"
    return "No failures found; no jobs were run" if report["skipped"] else "READY: no failures found"


def title(report: Data) -> str:
    """Outcome, inventory, size and duration: what tells one report from another."""
    parts = [headline(report).partition(":")[0].partition(";")[0], report["inventory"]]
    return " · ".join(part for part in (*parts, plural(len(report["nodes"]), "node"), duration(report)) if part)


def duration(report: Data) -> str:
    """``1 min 30 s`` from the start of the run to its report; empty when the start is unknown."""
    if not report["started"]:
        return ""
    began, ended = (datetime.datetime.fromisoformat(report[key]) for key in ("started", "generated"))
    minutes, seconds = divmod(round((ended - began).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def since(report: Data) -> str:
    """How many findings are new, fixed and still there; empty without an earlier report of the cluster."""
    change = report["since"]
    if change is None:
        return ""
    count = {what: sum(len(row["hosts"]) or 1 for row in change[what]) for what in _CHANGES}
    parts = [f"{count[what]} {said}" for what, said in _CHANGES.items() if count[what] or what != "not_tested"]
    return f"Since the last run ({change['generated']}), by check and node: {', '.join(parts)}"


def places(report: Data, what: str) -> list[tuple[str, str]]:
    """(check, hosts) of what has changed so since the last run."""
    return [(row["rule"], where(row["hosts"])) for row in (report["since"] or {}).get(what, ())]


def news(report: Data, finding: Data) -> str:
    """``new``, or ``new on gpu5`` when the last run had the finding elsewhere; empty when it is not new."""
    change = (report["since"] or {}).get("new", ())
    rows = [
        row["hosts"]
        for row in change
        if row["rule"] == finding["rule"] and bool(row["hosts"]) == bool(finding["hosts"])
    ]
    new = [host for host in finding["hosts"] if rows and host in rows[0]]
    if not rows or len(new) == len(finding["hosts"]):
        return "new" if rows else ""
    return f"new on {names(new)}" if new else ""


def counts(report: Data) -> str:
    """How many results of each kind."""
    summary = report["summary"]
    parts = [plural(summary["fail"], "failure"), plural(summary["warn"], "warning")]
    parts += [plural(summary["info"], "note")] if summary["info"] else []
    parts += [f"{summary['untested']} not tested"] if summary["untested"] else []
    return f"{', '.join(parts)}; {plural(summary['held'], 'check')} passed"


def changes(report: Data) -> str:
    """What the run changed on the nodes."""
    verb = "would change" if report["check_mode"] else "changed"
    hosts = list(report["changed"])
    return f"This run {verb}: {', '.join(hosts)}." if hosts else f"This run {verb} nothing on any node."


def untested(report: Data, say: t.Callable[[t.Sequence[str]], str] = names) -> list[tuple[str, str, list[str]]]:
    """(hosts, reason, ids) of what was not tested, one entry for each reason; an entry without hosts shows its id."""
    reasons: dict[tuple[str, str], list[str]] = {}
    items = [(say(item["hosts"]) or item["rule"], item["why"], item["rule"]) for item in report["untested"]]
    if report["skipped"] and not any(rule == "jobs" for _hosts, _why, rule in items):
        items.append(("jobs", report["skipped"], "jobs"))
    for hosts, why, rule in items:
        reasons.setdefault((hosts, one_line(why)), []).append(rule)
    return [(hosts, why, rules) for (hosts, why), rules in reasons.items()]


def scores(report: Data, kind: str) -> list[str]:
    """For each node, how many attempts from all nodes to it succeeded: ``ok``, ``5/8`` or ``-``."""
    matrix = report["matrices"][kind]
    shown = []
    for column in range(len(matrix["names"])):
        cells = [row[column] for row in matrix["cells"] if row[column] not in ("", "not_planned")]
        good = sum(cell in {"ok", "slow"} for cell in cells)
        shown.append("-" if not cells else "ok" if good == len(cells) else f"{good}/{len(cells)}")
    return shown


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
    """``8 x A100``; each model of mixed GPUs."""
    kinds: dict[str, int] = {}
    for gpu in gpus:
        kinds[gpu] = kinds.get(gpu, 0) + 1
    return ", ".join(f"{number} x {kind}" for kind, number in kinds.items()) or "none"


def collective(report: Data) -> str:
    """The result of the all-reduce in one line; empty when it was not run."""
    result = report["collective"]
    if result is None:
        return ""
    title = f"All-reduce over {plural(int(result['world_size'] or 0), 'rank')} ({result['backend']}, {result['via']})"
    if result.get("late"):
        return f"{title} not tested: {one_line(result['late'], _LONGEST)}"
    if not result["ok"]:
        return f"{title} FAILED: {one_line(result['error'] or 'see the findings', _LONGEST)}"
    if not result["sweep"]:
        return f"{title}: ok"
    best = max(result["sweep"], key=lambda step: step.get("busbw_gbps") or 0)
    speed = f"{best.get('busbw_gbps') or 0:.3g} GB/s bus bandwidth"
    return f"{title}: ok, {speed} at {size(best.get('bytes'))}"


def speed(report: Data) -> list[str]:
    """The speed of GPUs and of processors, from the slowest to the fastest, a line each; none where not measured."""
    answers = report.get("speed") or []
    gpus = [gpu for answer in answers for gpu in answer["gpus"]]
    tested = [gpu for gpu in gpus if not gpu["reason"]]
    cpus = [answer["cpu"] for answer in answers if answer["cpu"]]
    lines = []
    if tested:
        precision = "/".join(sorted({str(answer["precision"]) for answer in answers if answer["gpus"]}))
        kinds = (("TFLOP/s", "tflops"), ("GB/s memory", "memory_gbps"), ("GB/s from the host", "host_gbps"))
        found = _ranges(tested, (*kinds, ("GB/s to a peer", "peer_gbps")))
        left = f"; {len(gpus) - len(tested)} not tested" if len(tested) < len(gpus) else ""
        lines.append(f"Speed of {plural(len(tested), 'GPU')} ({precision}): {found}{left}")
    if cpus:
        found = _ranges(cpus, (("GFLOP/s", "gflops"), ("GB/s memory", "memory_gbps")))
        lines.append(f"Speed of the processors of {plural(len(cpus), 'node')}: {found}")
    return lines


def _ranges(found: t.Sequence[Data], kinds: t.Sequence[tuple[str, str]]) -> str:
    """The lowest and the highest of each kind."""
    parts = []
    for unit, key in kinds:
        values = sorted(each[key] for each in found if each.get(key) is not None)
        if values:
            low, high = (f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in (values[0], values[-1]))
            parts.append(f"{low if low == high else f'{low} to {high}'} {unit}")
    return ", ".join(parts)


def job(result: Data) -> str:
    """The result of a job in a word or two; our own time limit is no failure."""
    return "ok" if result["ok"] else "timed out" if result.get("timed_out") else "FAILED"
