# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute capability by product name.

Used only where nvidia-smi does not answer ``--query-gpu=compute_cap`` (drivers before 510, so GPUs
up to Ampere; the newer ones stand here for a query that failed). A name that is not here has no
capability: it is never guessed.
"""

from __future__ import annotations

import re

SOURCE = (
    "https://developer.nvidia.com/cuda-gpus and https://developer.nvidia.com/cuda-legacy-gpus; "
    "A10G, A30X, A100X, A800, H20, H800, L2, L20, P6 and T4G by the board that they are a variant of"
)
DATE = "2026-11-21"

_BOARD = r"(?:[ -].*)?"  # data-centre boards: "A100-SXM4-40GB", "H100 80GB HBM3"
_CARD = r"(?: (?:Ti|SUPER|D|\d{1,2}GB|Laptop GPU|Max-Q|with Max-Q Design))*"  # "RTX 3080 Ti Laptop GPU"

TABLE: tuple[tuple[str, str], ...] = (
    # (regular expression for the whole name without NVIDIA, Tesla, GeForce and Quadro, capability); the first wins
    (r"GB10", "12.1"),
    (r"RTX PRO \d{4} Blackwell(?: .*)?", "12.0"),
    (rf"RTX 50[5-9]0{_CARD}", "12.0"),
    (rf"G?B300{_BOARD}", "10.3"),
    (rf"G?B200{_BOARD}", "10.0"),
    (rf"(?:GH200|H100|H200|H800|H20){_BOARD}", "9.0"),
    (rf"(?:L4|L40|L40S|L20|L2){_BOARD}", "8.9"),
    (r"RTX \d{4}(?: SFF)? Ada(?: .*)?", "8.9"),
    (rf"RTX 40[5-9]0{_CARD}", "8.9"),
    (rf"(?:A10|A10G|A16|A2|A40){_BOARD}", "8.6"),
    (rf"RTX A\d{{3,4}}{_CARD}", "8.6"),
    (rf"RTX 30[5-9]0{_CARD}", "8.6"),
    (rf"(?:A100|A100X|A30|A30X|A800){_BOARD}", "8.0"),
    (rf"(?:T4|T4G){_BOARD}", "7.5"),
    (rf"(?:T400|T600|T1000){_CARD}", "7.5"),
    (rf"(?:TITAN RTX|RTX [34568]000){_CARD}", "7.5"),
    (rf"RTX 20[678]0{_CARD}", "7.5"),
    (rf"GTX 16[56]0{_CARD}", "7.5"),
    (rf"(?:V100|V100S){_BOARD}", "7.0"),
    (r"TITAN V|GV100", "7.0"),
    (rf"(?:P100|GP100){_BOARD}", "6.0"),
    (rf"(?:P4|P6|P40){_BOARD}", "6.1"),
    (rf"P\d{{3,4}}{_CARD}", "6.1"),
    (r"TITAN Xp|TITAN X(?: \(Pascal\))?", "6.1"),
    (rf"(?:GTX 10[5-8]0|GT 1030){_CARD}", "6.1"),
    (rf"(?:M40|M60){_BOARD}", "5.2"),
    (r"GTX TITAN X|GTX 9[5678]0(?: Ti)?|M[2456]000(?: 24GB)?", "5.2"),
    (r"GTX 750(?: Ti)?", "5.0"),
    (r"K80", "3.7"),
    (r"K[24]0(?:X?[mcst])?", "3.5"),
)

_PREFIX = re.compile(r"(?:(?:NVIDIA|Tesla|GeForce|Quadro) )*", re.IGNORECASE)
_COMPILED: list[tuple[re.Pattern[str], str]] = []


def compute_capability(name: str | None) -> str | None:
    """The capability of a GPU, like "8.0", from the name that nvidia-smi prints; None when unknown."""
    if not name:
        return None
    if not _COMPILED:
        _COMPILED.extend((re.compile(rf"(?:{pattern})\Z", re.IGNORECASE), cc) for pattern, cc in TABLE)
    bare = name[_PREFIX.match(name).end() :]  # type: ignore[union-attr]  # the pattern matches the empty text too
    return next((cc for pattern, cc in _COMPILED if pattern.match(bare)), None)
