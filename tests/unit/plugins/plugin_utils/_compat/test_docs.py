# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/compatibility.md shows the data files as they are. Run as a program, this file rewrites its tables."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[5]
DATA = ROOT / "plugins/plugin_utils/_compat/data"
PAGE = ROOT / "docs/compatibility.md"
PLACE = re.compile(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)

Rows = t.Iterable[t.Iterable[t.Any]]


def data(name: str) -> dict[str, t.Any]:
    content: dict[str, t.Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return content


def newest_first(versions: t.Iterable[str]) -> list[str]:
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")], reverse=True)


def markdown(head: str, rows: Rows) -> str:
    titles = head.split("|")
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def releases() -> str:
    rows = []
    known = data("torch_builds")["releases"]
    for line in newest_first(known):
        one = known[line]
        builds = [f"`{tag}`" for tag in one["stable"]] + [f"(`{tag}`)" for tag in one["experimental"]]
        python = " to ".join(one["python"])
        rows += [
            [
                *(patch, one["released"], f"`{one['default']}`", " ".join(builds)),
                *(one["nccl"][one["default"]], one["cudnn"]),
                *(one["patches"][patch]["torchvision"], one["patches"][patch]["torchaudio"], python),
            ]
            for patch in newest_first(one["patches"])
        ]
    return markdown("torch|line released|default|builds|NCCL|cuDNN|torchvision|torchaudio|Python", rows)


def builds() -> str:
    rows = []
    for tag, one in data("torch_builds")["builds"].items():
        text = ", ".join(one["architectures"]) or "none needed"
        for line, special in one.get("architectures_of", {}).items():
            text += f"; in torch {line}: {', '.join(special)}"
        rows.append((f"`{tag}`", one["cuda"] or "none", text))
    return markdown("build|CUDA|compute capabilities with kernels", rows)


def capabilities() -> str:
    rows = [
        [
            *(capability, one["architecture"], ", ".join(one["gpus"])),
            *("yes" if one[name] else "no" for name in ("fp16", "bf16", "fp8")),
            *(one["first_cuda"], one["last_cuda"] or ""),
        ]
        for capability, one in data("compute_capabilities")["capabilities"].items()
    ]
    return markdown("compute capability|architecture|GPUs|fp16|bf16|fp8|first CUDA|last CUDA", rows)


def driver_floors() -> str:
    floors = data("cuda_drivers")["minor_compat_min"]
    return markdown("CUDA|driver", ((f"{major}.x", driver) for major, driver in floors.items()))


def toolkit_drivers() -> str:
    return markdown("CUDA|driver", data("cuda_drivers")["toolkit_driver"].items())


def equal() -> str:
    rows = (
        [
            *(one["what"], f"first {one['parts']}" if one["parts"] else "all"),
            *(one["severity"], f"`{one['rule']}`", one["why"]),
        ]
        for one in data("version_rules")["equal"]
    )
    return markdown("what|compared|severity|rule|why", rows)


def may_differ() -> str:
    return markdown("what|why", ((one["what"], one["why"]) for one in data("version_rules")["may_differ"]))


def requires() -> str:
    rows = []
    for one in data("version_rules")["requires"]:
        until = f" and before {one['until']}" if "until" in one else ""
        needs = ", ".join(f"{name} {version}" for name, version in one["needs"].items())
        rows.append((f"{one['package']} from {one['from']}{until}", needs))
    return markdown("package|needs", rows)


def nvcc() -> str:
    lists = data("version_rules")["nvcc_same_major"]
    rows = ((f"{major}.x", ", ".join(them)) for major, them in lists.items())
    return markdown("CUDA|any of these with any other", rows)


TABLES: dict[str, t.Callable[[], str]] = {
    one.__name__: one
    for one in (releases, builds, capabilities, driver_floors, toolkit_drivers, equal, may_differ, requires, nvcc)
}


def test_the_page_shows_every_table_as_the_data_is() -> None:
    shown = dict(PLACE.findall(PAGE.read_text(encoding="utf-8")))
    assert set(shown) == set(TABLES)
    for name, render in TABLES.items():
        assert shown[name] == render(), f"docs/compatibility.md: run python {pathlib.Path(__file__).name}"


def test_the_page_names_the_limits_that_its_text_repeats() -> None:
    text = PAGE.read_text(encoding="utf-8")
    pins = data("version_rules")["pins_torch_until"]
    assert f"torchvision up to {pins['torchvision']} and torchaudio up to {pins['torchaudio']}" in text
    assert "13" not in data("version_rules")["nvcc_same_major"]


def test_every_table_has_a_source_and_a_date() -> None:
    for name in ("torch_builds", "cuda_drivers", "compute_capabilities", "version_rules"):
        assert data(name)["source"]
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", data(name)["date"])


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    new = PLACE.sub(lambda match: f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}<!-- end -->", old)
    PAGE.write_text(new, encoding="utf-8")
