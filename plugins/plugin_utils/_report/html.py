# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one HTML file: no network, every text escaped, nothing run but one script that its digest names.

``assets/report.html.j2`` is the page, ``assets/report.css`` its style, ``assets/report.js`` what makes it handier: the
page is whole without it. This file prepares the values.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import pathlib
import typing as t

import jinja2

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import folding, matrices, squares
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import text as words

Data = t.Mapping[str, t.Any]
Cell = dict[str, t.Any]

_ASSETS = pathlib.Path(__file__).parent / "assets"
# The map of more nodes is a square of coloured cells; of so many each cell has room for a word or a number.
MOST_IN_TABLE = 16
# So many hosts are listed; of more, neighbours are named by the first and the last.
_MOST_LISTED = 8
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
    css, script = ((_ASSETS / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    order = [node["name"] for node in report["nodes"]]
    anchors = {name: f"node-{number}" for number, name in enumerate(order)}
    return _template().render(
        report=report,
        css=css,
        script=script,
        policy=f"default-src 'none'; style-src {_digest(css)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'",
        title=words.title(report),
        headline=words.headline(report),
        counts=words.counts(report),
        changes=words.changes(report),
        since=words.since(report),
        fixed=words.places(report, "fixed"),
        not_tested=words.places(report, "not_tested"),
        tiles=_tiles(report),
        findings=[_finding(report, finding, anchors) for finding in report["findings"]],
        untested=_untested(report, order),
        maps=[_map(kind, found) for kind, found in report["matrices"].items() if matrices.tried(found)],
        order=json.dumps(report["cluster"]["order"]),
        failed=_failed(report),
        jobs=[_job(job) for job in report["jobs"]],
        collective=words.collective(report),
        speed=words.speed(report),
        sweep=[_step(step) for step in (report["collective"] or {}).get("sweep") or []],
        nodes=_nodes(report, anchors),
        versions=_versions(report, order),
        gpus=_gpus(report["gpus"], order),
        nics=_nics(report["nics"], order),
        rdma=_rdma(report["rdma"], order),
    )


def _digest(text: str) -> str:
    """The source of a Content-Security-Policy that allows this very text between its tags."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _listed(hosts: t.Sequence[str], order: t.Sequence[str]) -> str:
    """All hosts, many of them as runs in rank order."""
    return ", ".join(hosts) if len(hosts) <= _MOST_LISTED else folding.nodes(hosts, order)


def _folded(rows: t.Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Hosts by what is shown of them, as JSON: equal hosts are one row of a table."""
    found: dict[str, list[str]] = {}
    for host, what in rows:
        found.setdefault(what, []).append(host)
    return found


def _hosts(hosts: t.Sequence[str], order: t.Sequence[str]) -> Cell:
    """The first cell of a row; a filter looks for each of its ``names``."""
    return {**_cell(folding.nodes(hosts, order)), "names": " ".join(hosts)}


def _untested(report: Data, order: t.Sequence[str]) -> list[list[Cell]]:
    found = words.untested(report, lambda hosts: _listed(hosts, order))
    return [_cells(hosts, why, ", ".join(rules)) for hosts, why, rules in found]


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


def _finding(report: Data, finding: Data, anchors: t.Mapping[str, str]) -> dict[str, t.Any]:
    """``evidence`` has (hosts, text): hosts with the same text together, none named when there is one text only."""
    texts: dict[str, list[str]] = {}
    for host, text in sorted(finding["evidence"].items(), key=lambda item: item[0] not in finding["hosts"]):
        texts.setdefault(words.one_line(text), []).append(host)
    alone, order = len(texts) == 1, list(anchors)
    return {
        **finding,
        "word": words.SEVERITY_WORDS[finding["severity"]],
        "news": words.news(report, finding),
        "where": [(name, anchors.get(name)) for name in finding["hosts"]] if len(finding["hosts"]) <= _MOST_LISTED
        else _run_links(finding["hosts"], anchors),
        "names": " ".join(finding["hosts"]),
        "evidence": [("" if alone else _listed(hosts, order), text) for text, hosts in texts.items() if text],
        "remedy": [(number % 2 == 1, text) for number, text in enumerate(finding["remedy"].split("`")) if text],
    }  # fmt: skip


def _run_links(hosts: t.Sequence[str], anchors: t.Mapping[str, str]) -> list[tuple[str, str | None]]:
    """Runs of hosts, each linked to its first node."""
    return [(part, anchors.get(part.partition("..")[0])) for part in folding.nodes(hosts, list(anchors)).split(", ")]


def _map(kind: str, matrix: Data) -> dict[str, t.Any]:
    """A map of all pairs: of few nodes a table, readable without colours, of many a square and sentences."""
    median = matrices.median_of(matrix)
    in_gigabits = kind == "mbps" and (median or 0) >= 1000
    note = "Gbit/s" if in_gigabits else _NOTES[kind]
    about = {"id": kind.replace("_", "-"), "title": _TITLES[kind], "note": note}
    if len(matrix["names"]) > MOST_IN_TABLE:
        return {**about, "square": squares.square(matrix), "sentences": squares.sentences(kind, matrix)}
    names = matrix["names"]
    draw = _word_cell if matrices.of_words(matrix) else functools.partial(_number_cell, median, in_gigabits)
    ranks = range(len(names))
    drawn = [
        {"rank": row, "name": names[row], "cells": [draw(matrix, row, column) for column in ranks]} for row in ranks
    ]
    legend = _word_legend(matrix) if matrices.of_words(matrix) else _number_legend(matrix, median, in_gigabits)
    return {**about, "columns": list(enumerate(names)), "rows": drawn, "legend": legend}


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
    if matrices.far(value, median or 0, matrix["large_is_bad"]):
        sign = "▲" if matrix["large_is_bad"] else "▼"
        return {"text": f"{sign} {number}", "kind": "bad", "label": f"{pair}: {number}, far from the median"}
    shade = sum(value > step * median for step in squares.SHADES) if median else 0
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
    order = report["cluster"]["order"]
    return [
        [_cell(to), _cell(what), {**_cell(_listed(sources, order)), "names": " ".join(sources)}, _cell(evidence)]
        for (to, what, evidence), sources in groups.items()
    ]


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


def _nodes(report: Data, anchors: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Equal nodes are one row; ``members`` has name, rank and address of each of them."""
    found: dict[str, list[int]] = {}
    for number, finding in enumerate(report["findings"], 1):
        for host in finding["hosts"]:
            found.setdefault(host, []).append(number)
    nodes = {node["name"]: node for node in report["nodes"]}
    rows, members = [], []
    for alike in _folded((name, _alike(node, found.get(name, ()))) for name, node in nodes.items()).values():
        node, first = nodes[alike[0]], _hosts(alike, list(anchors))
        if len(alike) == 1:
            first["id"] = anchors[alike[0]]
        else:
            members.append((first["text"], [_member(nodes[name], anchors[name]) for name in alike]))
            first["text"] += f" ({len(alike)})"
        addresses = dict.fromkeys(nodes[name]["address"] for name in (alike[0], alike[-1]))
        links = [(str(number), f"finding-{number}") for number in found.get(alike[0], ())]
        rows.append(
            [
                first,
                {**_cell(""), "links": links},
                _cell(_ranges(nodes[name]["rank"] for name in alike), "nowrap"),
                _cell("..".join(addresses), "nowrap"),
                *_cells(node["ssh_port"], node["interface"], node["slots"]),
                _cell(words.gpu_text(node["gpus"]), "nowrap"),
                *_cells(node["os"], node["kernel"], node["cpus"], words.size(node["memory_bytes"])),
                _cell("yes") if node["reached"] else _cell(f"no: {node['why']}", "marked"),
            ]
        )
    return {"rows": rows, "members": members}


def _alike(node: Data, findings: t.Iterable[int]) -> str:
    """All that the table shows of a node but its name, rank and address."""
    keys = ("ssh_port", "interface", "slots", "gpus", "os", "kernel", "cpus", "reached", "why")
    shown = [[node[key] for key in keys], words.size(node["memory_bytes"]), list(findings), node["rank"] is None]
    return json.dumps(shown)


def _member(node: Data, anchor: str) -> tuple[str, str]:
    """The anchor and the line of one of several equal nodes."""
    about = [f"rank {node['rank']}" if node["rank"] is not None else "", node["address"]]
    about += [node["hostname"]] if node["hostname"] != node["name"] else []
    return anchor, f"{node['name']}: {', '.join(part for part in about if part)}"


def _versions(report: Data, order: t.Sequence[str]) -> dict[str, t.Any]:
    """Nodes are rows, so that a large cluster makes the table longer, not wider; equal ones are one row."""
    table = report["versions"]
    known = [name for name in order if any(name in row["values"] for row in table)]
    values = ((name, [[row["values"].get(name), name in row["outliers"]] for row in table]) for name in known)
    rows = []
    for versions, alike in _folded((name, json.dumps(found)) for name, found in values).items():
        cells = [_hosts(alike, order)]
        for version, differs in json.loads(versions):
            cells.append(_cell(f"≠ {version}" if differs else version, "marked nowrap" if differs else "nowrap"))
        rows.append(cells)
    return {"head": ["node", *(row["what"] for row in table)], "rows": rows}


def _gpus(gpus: t.Sequence[Data], order: t.Sequence[str]) -> list[list[Cell]]:
    """Equal GPUs of a node are one row, and so are nodes whose rows are equal."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for gpu in gpus:
        memory = words.size(gpu["memory_mib"] * 2**20) if gpu["memory_mib"] else ""
        lanes = f"gen {gpu['pcie_gen']} x{gpu['pcie_width']}" if gpu["pcie_gen"] else ""
        lanes += f" of x{gpu['pcie_width_max']}" if gpu["pcie_width"] != gpu["pcie_width_max"] and lanes else ""
        described = (gpu["host"], gpu["name"], memory, gpu["compute_capability"], gpu["driver"], lanes)
        state = (gpu["nvlinks_active"], gpu["uncorrected_errors"], gpu["fault"])
        key = tuple("" if part is None else str(part) for part in (*described, *state))
        groups.setdefault(key, []).append(gpu["index"])
    folded = _folded((host, json.dumps([_ranges(indices), *about])) for (host, *about), indices in groups.items())
    rows = []
    for what, alike in folded.items():
        which, *about, lanes, links, errors, fault = json.loads(what)
        shown = [_cell(part, "nowrap") for part in (which, *about)]
        less = _cell(lanes, "marked" if " of " in lanes else "nowrap")
        worn = _cell(errors, "marked" if errors not in ("", "0") else "number")
        rows.append(
            [_hosts(alike, order), *shown, less, _cell(links, "number"), worn, _cell(fault, "marked" if fault else "")]
        )
    return rows


def _ranges(numbers: t.Iterable[t.Any]) -> str:
    """``0-4, 6``."""
    found = folding.runs(number for number in numbers if isinstance(number, int))
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


def _nics(nics: t.Sequence[Data], order: t.Sequence[str]) -> dict[str, t.Any]:
    """Equal interfaces are one row; ``members`` has the addresses of each node."""
    keys = ("name", "kind", "up", "speed_mbps", "mtu", "training")
    addresses = {(nic["host"], nic["name"]): ", ".join(nic["addresses"]) for nic in nics}
    rows, members = [], []
    for what, alike in _folded((nic["host"], json.dumps([nic[key] for key in keys])) for nic in nics).items():
        name, kind, up, speed, mtu, training = json.loads(what)
        first = _hosts(alike, order)
        known = [("", f"{host}: {addresses[host, name]}") for host in alike if addresses[host, name]]
        if len(alike) > 1 and known:
            members.append((f"Addresses of {name}, {first['text']}", known))
        text = addresses[alike[0], name] if len(alike) == 1 else f"{len(known)}, see below" if known else ""
        link = _cell("up") if up else _cell("down", "marked" if training else "")
        about = [first, _cell(name), _cell(kind), link, _cell(words.bandwidth(speed), "number")]
        rows.append([*about, *_cells(mtu, text, "yes" if training else "")])
    return {"rows": rows, "members": members}


def _rdma(ports: t.Sequence[Data], order: t.Sequence[str]) -> list[list[Cell]]:
    """Equal ports are one row."""
    keys = ("device", "port", "state", "link_layer", "rate_gbps", "firmware")
    rows = []
    for what, alike in _folded((port["host"], json.dumps([port[key] for key in keys])) for port in ports).items():
        device, number, state, layer, rate, firmware = json.loads(what)
        marked = _cell(state, "" if state == "ACTIVE" else "marked")
        speed = _cell(f"{rate:g} Gbit/s" if rate else None, "number")
        rows.append([_hosts(alike, order), *_cells(device, number), marked, *_cells(layer), speed, _cell(firmware)])
    return rows
