# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import per_host

ONE = "CA 'mlx5_0'\n\tCA type: MT4129\n\tPort 1:\n\t\tState: Active\n\t\tRate: 400"
TWO = ONE.replace("Active", "Down")
ESCAPED = (ONE.replace("\n", "\\n"), TWO.replace("\n", "\\n"))


def tagged(host: str, text: str, form: str = "{}: {}") -> str:
    return "".join(f"{form.format(host, line)}\n" for line in text.split("\n"))


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))


FORMS = {
    "pdsh": tagged("gpu1", ONE) + tagged("gpu2", TWO),
    "pdsh, mixed": "".join(
        f"gpu1: {one}\ngpu2: {two}\n" for one, two in zip(ONE.split("\n"), TWO.split("\n"), strict=True)
    ),
    "fabric": tagged("gpu1", ONE, "[{}] out: {}") + tagged("gpu2", TWO, "[{}] out: {}"),
    "dshbak": f"----------------\ngpu1\n----------------\n{ONE}\n----------------\ngpu2\n----------------\n{TWO}\n",
    "clush": f"---------------\ngpu1 (1)\n---------------\n{ONE}\n---------------\ngpu2 (1)\n---------------\n{TWO}\n",
    "ansible": f"gpu1 | CHANGED | rc=0 >>\n{ONE}\ngpu2 | FAILED | rc=1 >>\n{TWO}\n",
    "ansible -o": f"gpu1 | CHANGED | rc=0 | (stdout) {ESCAPED[0]}\ngpu2 | CHANGED | rc=0 | (stdout) {ESCAPED[1]}\n",
    "ansible task": "".join(
        f"ok: [{host}] => {json.dumps({'changed': False, 'stdout': text}, indent=4)}\n"
        for host, text in (("gpu1", ONE), ("gpu2", TWO))
    ),
    "ansible debug": "".join(
        f"ok: [{host}] => {json.dumps({'out.stdout_lines': text.splitlines()}, indent=4)}\n".replace(
            '"out.stdout_lines"', '"stdout_lines"'
        )
        for host, text in (("gpu1", ONE), ("gpu2", TWO))
    ),
    "salt": f"gpu1:\n{indented(ONE)}\ngpu2:\n{indented(TWO)}\n",
    "pssh": f"[1] 15:04:05 [SUCCESS] gpu1\n{ONE}\n[2] 15:04:05 [SUCCESS] trainer@gpu2:2222\n{TWO}\n",
    "tail": f"==> /tmp/ibstat-gpu1.log <==\n{ONE}\n\n==> /tmp/ibstat-gpu2.log <==\n{TWO}\n",
    "loop": f"=== gpu1 ===\n{ONE}\n=== gpu2 ===\n{TWO}\n",
    "loop, hashes": f"##### gpu1 #####\n{ONE}\n##### gpu2 #####\n{TWO}\n",
    "loop, worded": f"----- node: gpu1 -----\n{ONE}\n----- node: gpu2 -----\n{TWO}\n",
    "loop, one sided": f"# gpu1\n{ONE}\n# gpu2\n{TWO}\n",
}


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


@pytest.mark.parametrize("form", FORMS)
def test_each_host_has_its_own_lines(form: str) -> None:
    found = dict(per_host.split(FORMS[form], ("gpu1", "gpu2")))
    assert {host: lines(text) for host, text in found.items()} == {"gpu1": lines(ONE), "gpu2": lines(TWO)}


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("loop, one sided", "tail")])
def test_hosts_that_nobody_has_named_before(form: str) -> None:
    found = dict(per_host.split(FORMS[form]))
    assert {host: lines(text) for host, text in found.items()} == {"gpu1": lines(ONE), "gpu2": lines(TWO)}


def test_names_that_begin_with_node() -> None:
    text = f"=== node1 ===\n{ONE}\n=== node2 ===\n{TWO}\n"
    assert [host for host, _part in per_host.split(text)] == ["node1", "node2"]


def test_hosts_of_one_answer() -> None:
    text = f"------\ngpu[1-2,07] (3)\n------\n{ONE}\n------\nhead,gpu3\n------\n{TWO}\n"
    found = dict(per_host.split(text))
    assert list(found) == ["gpu1", "gpu2", "gpu07", "head", "gpu3"]
    assert lines(found["gpu07"]) == lines(ONE) and lines(found["head"]) == lines(TWO)
    assert per_host.expanded("gpu[1-x]") == ["gpu[1-x]"]
    assert len(per_host.expanded("gpu[1-99999999]")) == per_host.MOST_HOSTS


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        "",
        "PyTorch version: 2.6.0\nOS: Ubuntu 22.04\nGPU 0: H100\nGPU 1: H100\n[pip3] torch==2.6.0\n",
        "--------------------------------------------------\nDeepSpeed C++/CUDA extension op report\n"
        "--------------------------------------------------\nNOTE: Ops not installed\nJIT: x\n",
        "\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tNV18\t0-55\nGPU1\tNV18\t X \t0-55\n\nLegend:\n\n  X    = Self\n",
        "==============NVSMI LOG==============\n\nTimestamp      : Mon\nAttached GPUs : 1\nGPU 00000000:18:00.0\n",
        "hca_id:\tmlx5_0\n\ttransport:\t\tInfiniBand (0)\n",
        "{",
        "ok: [x",
    ],
)  # fmt: skip
def test_the_output_of_one_host(text: str) -> None:
    assert [host for host, _part in per_host.split(text)] in ([], [""])
    assert "".join(part for _host, part in per_host.split(text)).split() == text.split()
