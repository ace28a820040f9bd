# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all checks of one judgement cost in CPU seconds by the number of nodes, and how that grows.

python tests/bench/rules.py [NODES ...]
"""

from __future__ import annotations

import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "unit" / "plugins")]

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, options  # noqa: E402
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import break_it, healthy_case  # noqa: E402


def seconds(count: int, dead: int) -> float:
    case = break_it(healthy_case(count), dead)
    started = time.process_time()
    engine.judge(case, options.Options())
    return time.process_time() - started


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [16, 32, 64, 128, 256]
    seconds(8, 0)  # the catalogue is read once
    print(f"{'nodes':>6} {'one dead':>9} {'ratio':>6} {'half dead':>10} {'ratio':>6}")
    before = (0.0, 0.0)
    for count in counts:
        spent = seconds(count, 1), seconds(count, count // 2)
        ratios = [f"{now / then:.1f}" if then else "-" for now, then in zip(spent, before, strict=True)]
        print(f"{count:6} {spent[0]:9.2f} {ratios[0]:>6} {spent[1]:10.2f} {ratios[1]:>6}")
        before = spent


if __name__ == "__main__":
    main()
