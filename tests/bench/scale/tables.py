# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results as text: the bars, and tables of all that was measured."""

from __future__ import annotations

import typing as t

Row = t.Mapping[str, t.Any]
Results = t.Mapping[str, t.Any]
MB, GIB = 1e6, 1024**3
MISSING = "not measured"
STEPS = {
    "first": "first run",
    "no_change": "no change",
    "ping": "`ansible all -m ping`",
    "site": "no change, with verify",
    "verify": "verify.yml",
    "dead": "with dead nodes",
    "add": "add a node",
    "remove": "remove it",
    "usual_first": "usual playbook, first run",
    "usual_again": "usual playbook, again",
    "nodes": "making the nodes",
}


class Bar(t.NamedTuple):
    """What is wanted of one number; ``value`` is None where it was not measured."""

    title: str
    limit: str
    value: float | None
    met: t.Callable[[float], bool]
    form: str = "{:.2f}"


class Measured:
    """The rows of the results; what failed or is missing has no numbers."""

    def __init__(self, results: Results) -> None:
        self.rows: Results = results["measurements"]

    def sizes(self, measurement: str) -> list[int]:
        """The sizes of a measurement, in order."""
        return sorted(int(size) for size in self.rows.get(measurement, {}))

    def row(self, measurement: str, size: int, step: str) -> Row:
        """One row; empty where there is none."""
        row: Row = self.rows.get(measurement, {}).get(str(size), {}).get(step, {})
        return {} if "failed_because" in row else row

    def number(self, measurement: str, size: int, step: str, *path: str) -> float | None:
        """One number of a row."""
        value: t.Any = self.row(measurement, size, step)
        for key in path:
            value = value.get(key) if isinstance(value, t.Mapping) else None
        return None if value is None else float(value)

    def cpu(self, measurement: str, size: int, step: str) -> float | None:
        """CPU of controller and nodes."""
        parts = [self.number(measurement, size, step, key) for key in ("controller_cpu_s", "nodes_cpu_s")]
        return None if None in parts else sum(part for part in parts if part is not None)


def ratio(above: float | None, below: float | None) -> float | None:
    """A quotient of two numbers that may be missing."""
    return above / below if above is not None and below else None


def difference(left: float | None, right: float | None) -> float | None:
    """A difference of two numbers that may be missing."""
    return left - right if left is not None and right is not None else None


def at_most(limit: float) -> t.Callable[[float], bool]:
    """Whether a number is not above the limit."""
    return lambda value: value <= limit


def bars(found: Measured) -> list[Bar]:
    """All that is wanted, each of the largest real cluster that it was measured on, and of the sizes that bars name."""
    every = found.sizes("real")

    def largest(*steps: str, beside: str = "real") -> int:
        known = [size for size in every if all(found.cpu(beside, size, step) is not None for step in steps)]
        return max(known, default=max(every, default=32))

    def real(step: str, *path: str, size: int | None = None) -> float | None:
        return found.number("real", largest(step) if size is None else size, step, *path)

    def checks(nodes: int) -> float | None:
        return found.number("checks", nodes, "checks", "cpu_s")

    def a_node(nodes: int) -> float | None:
        return ratio(found.number("simulated", nodes, "site", "controller_cpu_s"), nodes)

    added, pinged = largest("first", "no_change", "add"), largest("no_change", "ping")
    old = difference(real("add", "starts", "median", size=added), real("no_change", "starts", "median", size=added))
    add = ratio(real("add", "controller_cpu_s", size=added), real("first", "controller_cpu_s", size=added))
    usual = {step: largest(step, beside="usual") for step in ("usual_first", "usual_again")}
    ours = {"usual_first": "first", "usual_again": "no_change"}
    against = {
        step: ratio(found.cpu("usual", size, step), found.cpu("real", size, ours[step])) for step, size in usual.items()
    }
    memory = ratio(found.number("simulated", 1024, "site", "pss_bytes"), GIB)
    sent = ratio(found.number("simulated", 1024, "no_change", "piped_bytes", "mean"), MB)
    waiting = difference(real("dead", "wall_s"), real("dead", "living_wall_s"))
    no_change = "no-change site.yml without jobs, verify included"
    return [
        Bar(f"module starts a node, {no_change}", "<= 5", real("site", "starts", "median"), at_most(5), "{:.0f}"),
        Bar(f"task executions a node, {no_change}", "<= 8", real("site", "executions", "median"), at_most(8), "{:.0f}"),
        Bar("task executions a node, verify.yml", "<= 4", real("verify", "executions", "median"), at_most(4), "{:.0f}"),
        Bar(
            f"no-change set-up at {pinged} nodes, controller CPU, to `ansible all -m ping`",
            "<= 3",
            ratio(real("no_change", "controller_cpu_s", size=pinged), real("ping", "controller_cpu_s", size=pinged)),
            at_most(3),
        ),
        Bar(
            f"add one node at {added} nodes, controller CPU, to a first run of set-up alone",
            "<= 0.15",
            add,
            at_most(0.15),
        ),
        Bar("the same, starts on an old node beyond those of a no-change run", "<= 1", old, at_most(1), "{:.0f}"),
        Bar(
            f"usual playbook at {usual['usual_first']} nodes, controller and node CPU of a first run, to ours",
            ">= 20",
            against["usual_first"],
            lambda value: value >= 20,
            "{:.1f}",
        ),
        Bar(
            f"usual playbook at {usual['usual_again']} nodes, the same of a no-change run",
            ">= 20",
            against["usual_again"],
            lambda value: value >= 20,
            "{:.1f}",
        ),
        Bar("all checks once at 64 nodes, CPU", "<= 1.5 s", checks(64), at_most(1.5), "{:.2f} s"),
        Bar("all checks once at 256 nodes, CPU", "<= 20 s", checks(256), at_most(20), "{:.1f} s"),
        Bar("the same, 128 nodes to 64", "< 4.5", ratio(checks(128), checks(64)), lambda value: value < 4.5),
        Bar(
            "simulated run, controller CPU a node, 256 nodes to 16",
            "<= 1.2",
            ratio(a_node(256), a_node(16)),
            at_most(1.2),
        ),
        Bar("simulated run of 1,024 nodes, memory of the controller", "<= 4 GiB", memory, at_most(4), "{:.2f} GiB"),
        Bar("bytes to a node, no-change set-up of 1,024 nodes", "<= 0.4 MB", sent, at_most(0.4), "{:.2f} MB"),
        Bar(
            f"dead nodes, {real('dead', 'dead') or 3:.0f} of {largest('dead')}, wall time beyond a run where all live",
            "<= 15 s",
            waiting,
            at_most(15),
            "{:.0f} s",
        ),
    ]


def table(head: t.Sequence[str], rows: t.Iterable[t.Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def bars_table(found: Measured) -> str:
    """Wanted, measured, met or not."""
    rows = []
    for one in bars(found):
        value = MISSING if one.value is None else one.form.format(one.value)
        met = "-" if one.value is None else "met" if one.met(one.value) else "**not met**"
        rows.append([one.title, one.limit, value, met])
    return table(["", "wanted", "measured", ""], rows)


def runs_table(found: Measured, measurement: str) -> str:
    """All runs of a measurement, by size."""
    simulated = measurement == "simulated"
    head = ["nodes", "run", "wall s", "controller CPU s", "of all nodes CPU s", "starts", "executions", "kB sent"]
    head = [*head[:4], *(["memory MiB", "largest process MiB"] if simulated else head[4:5]), *head[5:]]
    rows = []
    for size in found.sizes(measurement):
        for step, row in found.rows[measurement][str(size)].items():
            title = f"{STEPS[step]} (busy machine)" if row.get("busy_before") else STEPS[step]
            if "failed_because" in row:
                rows.append([str(size), f"{title}: failed", *["-"] * (len(head) - 2)])
                continue
            memory = [f"{row[key] / 1024**2:.0f}" for key in ("pss_bytes", "largest_rss_bytes")] if simulated else []
            cells = [f"{row['wall_s']:.1f}", f"{row['controller_cpu_s']:.1f}"]
            cells += memory or [f"{row['nodes_cpu_s']:.1f}"]
            sent = row["piped_bytes"] if simulated else row["network_bytes"]
            cells += [f"{row[key]['median']:.0f}" if row[key]["most"] else "-" for key in ("starts", "executions")]
            cells += [f"{sent['mean'] / 1000:.0f}"]
            rows.append([str(size), title, *cells])
    return table(head, rows)


def code_tables(found: Measured) -> str:
    """What the code alone costs."""
    checks = [[str(size), f"{found.number('checks', size, 'checks', 'cpu_s'):.2f}"] for size in found.sizes("checks")]
    sizes = []
    for size in found.sizes("texts"):
        row = found.row("texts", size, "texts")
        largest = ", ".join(f"{name} {count / 1000:.0f}" for name, count in list(row["largest_texts"].items())[:3])
        sizes.append([str(size), f"{row['texts_bytes'] / 1000:.0f}", largest, f"{row['facts_bytes'] / 1000:.0f}"])
    parts = [table(["nodes", "all checks once, CPU s"], checks)] if checks else []
    if sizes:
        parts.append(table(["nodes", "kB of texts a node", "of these the largest", "kB of facts a node"], sizes))
    return "\n\n".join(parts)


def slowest_tasks(found: Measured) -> str:
    """Where the controller's CPU of the largest no-change run goes."""
    for measurement, step in (("simulated", "site"), ("real", "no_change")):
        sizes = [size for size in found.sizes(measurement) if found.row(measurement, size, step)]
        if sizes:
            row = found.row(measurement, sizes[-1], step)
            rows = [[name, f"{cpu:.1f}", f"{cpu / sizes[-1] * 1000:.0f}"] for name, cpu in row["tasks_cpu_s"].items()]
            head = [f"task ({measurement}, {sizes[-1]} nodes)", "controller CPU s", "ms a node"]
            return table(head, rows)
    return ""


def failures(found: Measured) -> str:
    """What could not be measured, what was found on nodes without a fault, and what the usual playbook lost."""
    lines = []
    for measurement, sizes in found.rows.items():
        for size, steps in sizes.items():
            for step, row in steps.items():
                where = f"- {measurement}, {size} nodes, {step}: "
                if "failed_because" in row:
                    lines.append(where + "failed: " + " ".join(str(row["failed_because"]).split())[:200])
                if row.get("findings"):
                    lines.append(where + "findings on healthy nodes: " + ", ".join(row["findings"]))
                if measurement == "usual" and row.get("failed"):
                    lines.append(where + "lost nodes on the way: " + ", ".join(row["failed"]))
    return "\n".join(lines)


def report(results: Results) -> str:
    """All of it in Markdown."""
    found, machine = Measured(results), results["machine"]
    kinds = {name: runs_table(found, name) for name in ("real", "usual", "simulated") if found.sizes(name)}
    titles = {"real": "Real nodes", "usual": "The usual playbook", "simulated": "Simulated nodes"}
    notes = failures(found)
    parts = [
        f"Measured on {results['date']} with ansible-core {results['ansible']} on {machine['cores']} cores and "
        f"{machine['memory_gib']} GiB, which serve controller and nodes; CPU counted by "
        f"{machine['cpu_counted_by']}. Sizes: "
        + "; ".join(f"{name} {', '.join(map(str, found.sizes(name)))}" for name in found.rows)
        + ".",
        bars_table(found),
        "![Controller CPU by number of nodes](images/scale.svg)",
        *(f"### {titles[name]}\n\n{text}" for name, text in kinds.items()),
        f"### The code alone\n\n{code_tables(found)}",
        f"### Where the controller's CPU goes\n\n{slowest_tasks(found)}",
        *([f"### What went wrong\n\n{notes}"] if notes else []),
    ]
    return "\n\n".join(parts)
