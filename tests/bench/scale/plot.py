# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plot on two logarithmic axes as SVG, by hand: it needs no library, and is the same on every machine."""

from __future__ import annotations

import html
import math
import typing as t

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 460, 64, 210, 40, 48
COLOURS = ("#0b62a4", "#d1495b", "#2e8b57", "#8a5a00", "#6a4c93", "#555555", "#c06000")
LINE_HEIGHT = 15.0

Series = t.Mapping[str, t.Sequence[tuple[float, float]]]


def svg(title: str, x_title: str, y_title: str, series: Series) -> str:
    """The plot; each series has its name beside its last point."""
    points = [point for line in series.values() for point in line]
    x_of = _axis([x for x, _y in points], LEFT, WIDTH - RIGHT, base=2)
    y_of = _axis([y for _x, y in points], HEIGHT - BOTTOM, TOP, base=10)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 20, title, weight="bold"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_title, anchor="middle"),
        _text(LEFT, TOP - 6, y_title),
    ]
    for x in sorted({x for x, _y in points}):
        parts.append(_line(x_of(x), TOP, x_of(x), HEIGHT - BOTTOM, "#e4e4e4"))
        parts.append(_text(x_of(x), HEIGHT - BOTTOM + 16, f"{x:g}", anchor="middle"))
    for y in _decades([y for _x, y in points]):
        parts.append(_line(LEFT, y_of(y), WIDTH - RIGHT, y_of(y), "#e4e4e4"))
        parts.append(_text(LEFT - 6, y_of(y) + 4, f"{y:g}", anchor="end"))
    ends = []
    for (name, line), colour in zip(series.items(), COLOURS * 9, strict=False):
        places = [(x_of(x), y_of(y)) for x, y in sorted(line)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        ends.append((places[-1][1], name, colour))
    height = 0.0
    for y, name, colour in sorted(ends):
        height = max(y, height + LINE_HEIGHT)
        parts.append(_text(WIDTH - RIGHT + 8, height + 4, name, colour=colour))
    return "\n".join([*parts, "</svg>", ""])


def _axis(values: t.Sequence[float], start: float, end: float, base: float) -> t.Callable[[float], float]:
    """Where a value lies, between the powers of the base that hold all."""
    low = math.floor(math.log(min(values), base) + 1e-9)
    high = max(low + 1, math.ceil(math.log(max(values), base) - 1e-9))
    return lambda value: start + (math.log(value, base) - low) / (high - low) * (end - start)


def _decades(values: t.Sequence[float]) -> list[float]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, high + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "#222222", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">'
        f"{html.escape(text)}</text>"
    )
