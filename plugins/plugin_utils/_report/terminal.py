# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as the terminal shows it, failures first; plain ASCII but for the evidence."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import folding, matrices
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import text as words

Data = t.Mapping[str, t.Any]

WIDTH = 100
# The largest matrix that is shown whole; of a larger one only what failed, in MOST_ROWS lines at most.
MOST_COLUMNS, MOST_ROWS = 16, 20
_CELL, _LABEL = 4, 20
_WIDEST_NAMES = 40


def text(report: Data, written: t.Sequence[str] = ()) -> str:
    """The whole report; ``written`` are the paths of its other forms."""
    lines = ["", words.headline(report), words.counts(report), *_since(report), ""]
    for number, finding in enumerate(report["findings"], 1):
        lines += [*_finding(number, finding), ""]
    for part in (connectivity(report), links(report), nodes(report), jobs(report), _untested(report)):
        lines += [*part, ""] if part else []
    return "\n".join(lines + closing(report, written))


def table(rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    """Rows as aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return [f"  {lines[0]}", f"  {'  '.join('-' * width for width in widths)}", *(f"  {line}" for line in lines[1:])]


def closing(report: Data, written: t.Sequence[str] = ()) -> list[str]:
    """What this run changed, which files it wrote, and the command to run next."""
    lines = [words.changes(report)]
    lines += [f"Written: {', '.join(written)}"] if written else []
    following = report["next"]
    lines += [following["text"]] if following["text"] else []
    return [*lines, f"  {following['command']}"] if following["command"] else lines


def _finding(number: int, finding: Data) -> list[str]:
    """Three lines: the host with title and evidence, the cause, the fix."""
    evidence = ": ".join(part for part in (words.one_line(finding["title"]), words.evidence(finding)) if part)
    return [
        f"{number:3}. {words.SEVERITY_WORDS[finding['severity']]}  {words.where(finding['hosts'])}: {evidence}",
        f"     cause: {words.one_line(finding['cause'])}",
        f"     fix:   {words.one_line(finding['remedy'])} [{finding['rule']}]",
    ]


def mark(report: Data, source: int, target: int) -> str:
    """One mark for ssh and ports of a pair: a dot, or what failed first, in capitals for a port."""
    ssh, tcp = (report["matrices"][kind]["cells"][source][target] for kind in ("ssh", "tcp"))
    for word, of_port in ((ssh, False), (tcp, True)):
        if word not in (matrices.OK, matrices.SLOW, matrices.NOT_TRIED, matrices.NOT_PLANNED):
            code = words.LAYERS.get(word, words.LAYERS["other"])[0]
            return code.upper() if of_port else code
    if matrices.SLOW in (ssh, tcp):
        return words.LAYERS["slow"][0]
    if ssh == matrices.NOT_PLANNED:
        return ":" if tcp else "-"
    return "." if ssh or tcp else "-"


def connectivity(report: Data) -> list[str]:
    """ssh and ports from every node to every node."""
    if not any(matrices.tried(report["matrices"][kind]) for kind in ("ssh", "tcp")):
        return []
    names = report["matrices"]["ssh"]["names"]
    marks = [[mark(report, row, column) for column in range(len(names))] for row in range(len(names))]
    shown = _square(names, marks) if len(names) <= MOST_COLUMNS else _bad_pairs(names, marks)
    return ["Connectivity from (row) to (column), ssh and ports:", *shown, *_legend(marks)]


def _square(names: t.Sequence[str], marks: list[list[str]]) -> list[str]:
    """All pairs; columns are ranks, because names do not fit."""
    width = min(max(map(len, names)), _LABEL)
    head = " " * (width + 5) + "".join(f"{column:>{_CELL}}" for column in range(len(names)))
    lines = [head.rstrip()]
    for number, (name, row) in enumerate(zip(names, marks)):
        lines.append(f"  {number:>2} {name[:width]:<{width}}" + "".join(f"{cell:>{_CELL}}" for cell in row))
    return lines


def _bad_pairs(names: t.Sequence[str], marks: list[list[str]]) -> list[str]:
    """What failed, equal rows or columns together, and the number of rows without a failure."""
    bad = {
        (row, column): mark for row, line in enumerate(marks) for column, mark in enumerate(line) if mark not in ".:-"
    }
    lines = []
    for block in sorted(folding.blocks(bad), key=lambda block: -len(block.sources) * len(block.targets)):
        source, target = folding.ends(block, names)
        lines.append(f"  {words.one_line(f'{block.word}  {source} -> {target}', WIDTH - 2)}")
    hidden = [f"  and {len(lines) - MOST_ROWS} more lines in report.html"] if len(lines) > MOST_ROWS else []
    good = len(names) - len({row for row, _column in bad})
    return [*lines[:MOST_ROWS], *hidden, f"  {good} of {len(names)} rows have no failures"]


def _legend(marks: list[list[str]]) -> list[str]:
    """The marks that occur, explained; capitals are ports."""
    used = {cell for row in marks for cell in row}
    lines = [f"  .   ok{'      -   not tested' if '-' in used else ''}"]
    lines += ["  :   ports ok, ssh not planned"] if ":" in used else []
    for code, meaning in words.LAYERS.values():
        for shown, what in ((code, "ssh"), (code.upper(), "port")):
            if shown in used and not (code == "slo" and what == "port"):
                lines.append(f"  {shown:<3} {what}: {meaning}")
    return lines


def links(report: Data) -> list[str]:
    """Latency, bandwidth and the collective, a line each."""
    lines = []
    latency, speed = (report["matrices"][key] for key in ("latency_us", "mbps"))
    for title, matrix, show in (("Latency", latency, "{:.0f} us".format), ("Bandwidth", speed, words.bandwidth)):
        found = matrices.numbers(matrix)
        if found:
            worst = found[-1] if matrix["large_is_bad"] else found[0]
            source, target = _place(matrix, worst)
            median = matrices.median_of(matrix) or 0
            lines.append(f"{title}: median {show(median)}, worst {show(worst)} ({source} -> {target})")
    collective = words.collective(report)
    return [*lines, *words.speed(report), *([collective] if collective else [])]


def _place(matrix: Data, value: float) -> tuple[str, str]:
    """Names of the first pair that has the value."""
    names = matrix["names"]
    pairs = ((row, column) for row in range(len(names)) for column in range(len(names)))
    row, column = next(pair for pair in pairs if matrix["cells"][pair[0]][pair[1]] == value)
    return names[row], names[column]


def nodes(report: Data) -> list[str]:
    """A row for each node; of many nodes equal ones, with the same findings, are one row."""
    head = ["node", "address", "port", "slots", "GPU", "torch", "deepspeed", "accelerate", "ssh", "ports"]
    scores = {kind: dict(zip(report["cluster"]["order"], words.scores(report, kind))) for kind in ("ssh", "tcp")}
    found: dict[str, list[str]] = {}
    for finding in report["findings"]:
        for host in finding["hosts"] if finding["severity"] != "info" else ():
            found.setdefault(host, []).append(finding["rule"])
    many, order = len(report["nodes"]) > MOST_COLUMNS, [node["name"] for node in report["nodes"]]
    groups: dict[tuple[t.Any, ...], list[Data]] = {}
    for node in report["nodes"]:
        name = node["name"]
        passed = [scores[kind].get(name, "-") for kind in ("ssh", "tcp")]
        versions = [node["versions"].get(package) or "-" for package in ("torch", "deepspeed", "accelerate")]
        port = "-" if node["ssh_port"] is None else str(node["ssh_port"])
        cells = (port, str(node["slots"]), words.gpu_text(node["gpus"]), *versions, *passed)
        groups.setdefault((cells, node["reached"], *(found.get(name, ()) if many else [name])), []).append(node)
    rows = [head]
    for (cells, *_others), alike in groups.items():
        said = folding.nodes([node["name"] for node in alike], order)
        if len(alike) > 1:
            said = words.one_line(f"{len(alike)}: {said}", _WIDEST_NAMES)
        rows.append([said, (alike[0]["address"] or "-") if len(alike) == 1 else "*", *cells])
    return table(rows)


def _since(report: Data) -> list[str]:
    said = words.since(report)
    fixed = ", ".join(f"{rule} on {where}" for rule, where in words.places(report, "fixed"))
    return [words.one_line(said + (f"; fixed: {fixed}" if fixed else ""), 300)] if said else []


def jobs(report: Data) -> list[str]:
    rows = [["launcher", "world size", "seconds", "result"]]
    for job in report["jobs"]:
        seconds = f"{job['seconds']:.0f}" if isinstance(job["seconds"], (int, float)) else "-"
        rows.append([str(job["launcher"]), str(job["world_size"]), seconds, words.job(job)])
    return table(rows) if len(rows) > 1 else []


def _untested(report: Data) -> list[str]:
    lines = [f"  {hosts}: {why} [{words.names(rules)}]" for hosts, why, rules in words.untested(report)]
    return ["Not tested:", *lines] if lines else []
