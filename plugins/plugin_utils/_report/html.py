# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one HTML file: no network, no script, every text escaped.

``assets/report.html.j2`` is the page, ``assets/report.css`` its style; this file prepares the values.
"""

from __future__ import annotations

import functools
import pathlib
import typing as t

import jinja2

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import matrices
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import text as words

Data = t.Mapping[str, t.Any]
Cell = dict[str, str]

_ASSETS = pathlib.Path(__file__).parent / "assets"
# Of more nodes a heat map shows only the rows and columns with a failure.
MOST_IN_MAP = 48
MOST_FAILED = 60
# Where the shades of a heat map begin, as fractions of the median; not at 1, around which most values are.
_SHADES = (0.75, 0.9, 1.1)
_TITLES = {"ssh": "ssh logins", "tcp": "Ports", "latency_us": "Latency", "mbps": "Bandwidth"}
_NOTES = {
    "ssh": "by every name of the target",
    "tcp": "the rendezvous port and one above the ephemeral range",
    "latency_us": "one way, µs",
    "mbps": "Mbit/s",
}


@functools.cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(_ASSETS)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(
        "report.html.j2"
    )


def html(report: Data) -> str:
    """The whole page."""
    css = (_ASSETS / "report.css").read_text(encoding="utf-8")
    failed = _failed(report)
    head = report["cluster"]["head"]
    return _template().render(
        report=report,
        css=css,
        title=f"Cluster of {words.plural(len(report['nodes']), 'node')}" + (f", head {head}" if head else ""),
        headline=words.headline(report),
        counts=words.counts(report),
        changes=words.changes(report),
        tiles=_tiles(report),
        findings=[_finding(finding) for finding in report["findings"]],
        untested=[_cells(hosts, why, words.names(rules, 12)) for hosts, why, rules in words.untested(report)],
        maps=[_map(kind, found) for kind, found in report["matrices"].items() if matrices.tried(found)],
        failed=failed[:MOST_FAILED],
        failed_more=max(0, len(failed) - MOST_FAILED),
        jobs=[_job(job) for job in report["jobs"]],
        collective=words.collective(report),
        sweep=[_step(step) for step in (report["collective"] or {}).get("sweep") or []],
        nodes=[_node(node) for node in report["nodes"]],
        versions=_versions(report),
        gpus=_gpus(report["gpus"]),
        nics=[_nic(nic) for nic in report["nics"]],
        rdma=[_rdma(port) for port in report["rdma"]],
    )


def _cell(text: t.Any, kind: str = "") -> Cell:
    return {"text": "-" if text is None or text == "" else str(text), "kind": kind}


def _cells(*texts: t.Any) -> list[Cell]:
    return [_cell(text, "number" if isinstance(text, (int, float)) else "") for text in texts]


def _tiles(report: Data) -> list[tuple[str, str]]:
    """The cluster in a few words."""
    cluster, nodes = report["cluster"], report["nodes"]
    reached = sum(bool(node["reached"]) for node in nodes)
    return [
        (f"{reached} of {len(nodes)}", "nodes reachable"),
        (str(cluster["world_size"]), "ranks"),
        (words.gpu_text([gpu for node in nodes for gpu in node["gpus"]]), "GPUs"),
        (cluster["precision"] or "-", "precision"),
        (cluster["master"]["address"] or "-", f"rendezvous, port {cluster['master']['port'] or '-'}"),
        (cluster["user"] or "-", "job user"),
    ]


def _finding(finding: Data) -> dict[str, t.Any]:
    """``evidence`` has (hosts, text): hosts with the same text together, none named when there is one text only."""
    texts: dict[str, list[str]] = {}
    for host, text in sorted(finding["evidence"].items(), key=lambda item: item[0] not in finding["hosts"]):
        texts.setdefault(words.one_line(text), []).append(host)
    alone = len(texts) == 1
    return {
        **finding,
        "word": words.SEVERITY_WORDS[finding["severity"]],
        "where": words.where(finding["hosts"]),
        "evidence": [("" if alone else words.names(hosts), text) for text, hosts in texts.items() if text],
        "remedy": [(number % 2 == 1, text) for number, text in enumerate(finding["remedy"].split("`")) if text],
    }


def _map(kind: str, matrix: Data) -> dict[str, t.Any]:
    """A heat map as a table: every cell has a sign or a number, so that it is readable without colours."""
    names = matrix["names"]
    rows, columns = matrices.shown(matrix, MOST_IN_MAP)
    median = matrices.median_of(matrix)
    in_gigabits = kind == "mbps" and (median or 0) >= 1000
    draw = _word_cell if kind in ("ssh", "tcp") else functools.partial(_number_cell, median, in_gigabits)
    drawn = [
        {"rank": row, "name": names[row], "cells": [draw(matrix, row, column) for column in columns]} for row in rows
    ]
    hidden = len(names) - len(rows)
    legend = _word_legend(matrix) if kind in ("ssh", "tcp") else _number_legend(matrix, median, in_gigabits)
    if hidden:
        legend.append(("", f"{words.plural(hidden, 'row')} of {len(names)} not shown; all are in report.json"))
    note = "Gbit/s" if in_gigabits else _NOTES[kind]
    columns_named = [(column, names[column]) for column in columns]
    return {"title": _TITLES[kind], "note": note, "columns": columns_named, "rows": drawn, "legend": legend}


def _word_cell(matrix: Data, row: int, column: int) -> Cell:
    word = matrix["cells"][row][column]
    sign, kind = _sign(word)
    pair = f"{matrix['names'][row]} to {matrix['names'][column]}"
    return {"text": sign, "kind": kind, "label": f"{pair}: {word.replace('_', ' ') or 'not tested'}"}


def _sign(word: str) -> tuple[str, str]:
    if word == matrices.OK:
        return "✓", "ok"
    if word == matrices.SLOW:
        return "~", "slow"
    if word == matrices.NOT_TRIED:
        return "·", "none"
    if word == matrices.NOT_PLANNED:
        return "-", "none"
    return words.LAYERS.get(word, words.LAYERS["other"])[0], "bad"


def _word_legend(matrix: Data) -> list[tuple[str, str]]:
    used = {cell for row in matrix["cells"] for cell in row}
    plain = [("✓", "ok")] if matrices.OK in used else []
    plain += [("~", words.LAYERS["slow"][1])] if matrices.SLOW in used else []
    plain += [("·", "not tested")] if matrices.NOT_TRIED in used else []
    plain += [("-", "not planned")] if matrices.NOT_PLANNED in used else []
    known = [entry for word, entry in words.LAYERS.items() if word in used and word != matrices.SLOW]
    unknown = used - set(words.LAYERS) - {matrices.OK, matrices.NOT_TRIED, matrices.NOT_PLANNED}
    return plain + known + ([words.LAYERS["other"]] if unknown else [])


def _number_cell(median: float | None, in_gigabits: bool, matrix: Data, row: int, column: int) -> Cell:
    value = matrix["cells"][row][column]
    pair = f"{matrix['names'][row]} to {matrix['names'][column]}"
    if value is None:
        return {"text": "·", "kind": "none", "label": f"{pair}: not measured"}
    number = _number(value, in_gigabits)
    if matrices.bad(matrix, row, column, median):
        sign = "▲" if matrix["large_is_bad"] else "▼"
        return {"text": f"{sign} {number}", "kind": "bad", "label": f"{pair}: {number}, far from the median"}
    shade = sum(value > step * median for step in _SHADES) if median else 0
    return {"text": number, "kind": f"scale-{shade}", "label": f"{pair}: {number}"}


def _number(value: float, in_gigabits: bool) -> str:
    """Three significant digits."""
    value = value / 1000 if in_gigabits else value
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _number_legend(matrix: Data, median: float | None, in_gigabits: bool) -> list[tuple[str, str]]:
    above = matrix["large_is_bad"]
    limit = f"more than {matrices.FAR_ABOVE:g} times" if above else f"less than {matrices.FAR_BELOW:g} times"
    return [("▲" if above else "▼", f"{limit} the median of {_number(median or 0, in_gigabits)}")]


def _failed(report: Data) -> list[list[Cell]]:
    """Failed attempts, one row for all sources with the same evidence."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for kind, what in (("ssh", "ssh"), ("tcp", "port"), ("latency_us", "link")):
        for row in report["matrices"][kind]["failed"]:
            evidence = words.one_line(row["evidence"] or row["failure"], 200)
            groups.setdefault((row["to"], f"{what} {row['what']}".strip(), evidence), []).append(row["from"])
    return [_cells(to, what, words.names(sources, 8), evidence) for (to, what, evidence), sources in groups.items()]


def _job(job: Data) -> list[Cell]:
    failures = "; ".join(
        f"{fault['host'] or 'the job'}: {words.one_line(fault['cause'])}" for fault in job["faults"] or ()
    )
    result = _cell(words.job(job), "" if job["ok"] else "marked")
    seconds = round(job["seconds"]) if isinstance(job["seconds"], (int, float)) else None
    launcher, *rest = _cells(job["launcher"], job["world_size"], seconds, failures, job["log"])
    return [launcher, result, *rest]


def _step(step: Data) -> list[Cell]:
    seconds = step.get("seconds")
    took = f"{seconds * 1000:.3g} ms" if isinstance(seconds, (int, float)) else None
    speeds = [f"{step[key]:.3g} GB/s" if step.get(key) else None for key in ("algbw_gbps", "busbw_gbps")]
    return [_cell(words.size(step.get("bytes"))), _cell(took, "number"), *(_cell(speed, "number") for speed in speeds)]


def _node(node: Data) -> list[Cell]:
    gpus = _cell(words.gpu_text(node["gpus"]), "nowrap")
    reached = _cell("yes") if node["reached"] else _cell(f"no: {node['why']}", "marked")
    first = _cells(node["name"], node["rank"], node["address"], node["ssh_port"], node["interface"], node["slots"])
    return [*first, gpus, _cell(node["os"]), reached]


def _versions(report: Data) -> dict[str, t.Any]:
    """Nodes are rows, so that a large cluster makes the table longer, not wider."""
    table = report["versions"]
    known = [node["name"] for node in report["nodes"] if any(node["name"] in row["values"] for row in table)]
    rows = []
    for name in known:
        cells = [_cell(name)]
        for row in table:
            version, differs = row["values"].get(name), name in row["outliers"]
            cells.append(_cell(f"≠ {version}" if differs else version, "marked nowrap" if differs else "nowrap"))
        rows.append(cells)
    return {"head": ["node", *(row["what"] for row in table)], "rows": rows}


def _gpus(gpus: t.Sequence[Data]) -> list[list[Cell]]:
    """Equal GPUs of a node are one row."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for gpu in gpus:
        memory = words.size(gpu["memory_mib"] * 2**20) if gpu["memory_mib"] else ""
        lanes = f"gen {gpu['pcie_gen']} x{gpu['pcie_width']}" if gpu["pcie_gen"] else ""
        lanes += f" of x{gpu['pcie_width_max']}" if gpu["pcie_width"] != gpu["pcie_width_max"] and lanes else ""
        described = (gpu["host"], gpu["name"], memory, gpu["compute_capability"], gpu["driver"], lanes)
        state = (gpu["nvlinks_active"], gpu["uncorrected_errors"], gpu["fault"])
        key = tuple("" if part is None else str(part) for part in (*described, *state))
        groups.setdefault(key, []).append(gpu["index"])
    rows = []
    for (host, *about, lanes, links, errors, fault), indices in groups.items():
        shown = [_cell(part, "nowrap") for part in about]
        worn = _cell(errors, "marked" if errors not in ("", "0") else "number")
        broken = _cell(fault, "marked" if fault else "")
        less = _cell(lanes, "marked" if " of " in lanes else "nowrap")
        rows.append(
            [_cell(host), _cell(_ranges(indices), "nowrap"), *shown, less, _cell(links, "number"), worn, broken]
        )
    return rows


def _ranges(indices: t.Iterable[t.Any]) -> str:
    """``0-4, 6``."""
    found: list[list[int]] = []
    for index in sorted(index for index in indices if isinstance(index, int)):
        if found and index == found[-1][1] + 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


def _nic(nic: Data) -> list[Cell]:
    link = _cell("up") if nic["up"] else _cell("down", "marked" if nic["training"] else "")
    speed = _cell(words.bandwidth(nic["speed_mbps"]), "number")
    first = [_cell(nic["host"]), _cell(nic["name"]), _cell(nic["kind"]), link, speed]
    return [*first, *_cells(nic["mtu"], ", ".join(nic["addresses"]), "yes" if nic["training"] else "")]


def _rdma(port: Data) -> list[Cell]:
    state = _cell(port["state"], "" if port["state"] == "ACTIVE" else "marked")
    rate = _cell(f"{port['rate_gbps']:g} Gbit/s" if port["rate_gbps"] else None, "number")
    first, last = _cells(port["host"], port["device"], port["port"]), _cells(port["link_layer"])
    return [*first, state, *last, rate, _cell(port["firmware"])]
