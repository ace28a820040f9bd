# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compatibility tables under ``data/`` and the look-ups in them.

The tables are data with their source and date; docs/compatibility.md shows them. Here is only what
it takes to read them: which driver a CUDA version needs, which GPU runs on which architecture.
"""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import re
import typing as t

with contextlib.suppress(ImportError):  # ansible-core brings it; only its own test of imports is without
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

_DATA = pathlib.Path(__file__).parent / "data"
_NUMBERS = re.compile(r"\s*v?(\d{1,9}(?:\.\d{1,9}){0,5})")
_SHORT_NAME = re.compile(r"[- ](?:PCIe|SXM\d?|SMX\d?|NVL|HBM\w*|FHHL|DGXS|\d+ ?GB)\b.*$", re.IGNORECASE)


@functools.cache
def table(name: str, place: pathlib.Path = _DATA) -> dict[str, t.Any]:
    """The table ``<name>.json`` of a directory; read once. Treat it as read-only."""
    content: dict[str, t.Any] = json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _numbers(version: str | None) -> str:
    match = _NUMBERS.match(version or "")
    return match[1] if match else ""


def key(version: str | None) -> tuple[int, ...]:
    """The leading numbers of a version, to compare: ``2.13.0+cu126`` is (2, 13, 0); () for none.

    Integers, because 535.104.05 is newer than 535.86.10. A local or pre-release part is ignored, and anything behind
    it, as builds of vendors and kernels have names that no standard knows.
    """
    numbers = _numbers(version)
    return Version(numbers).release if numbers else ()


def minor(version: str | None) -> str:
    """``2.13.0+cu126`` as ``2.13``; an empty text when there is no such version."""
    numbers = key(version)
    return f"{numbers[0]}.{numbers[1]}" if len(numbers) >= 2 else ""


def at_least(version: str | None, floor: str) -> bool:
    """Whether ``version`` is ``floor`` or newer; missing parts count as 0 (2.0 is 2.0.0). False for no version."""
    return bool(key(version)) and Version(_numbers(version)) >= Version(floor)


def satisfies(version: str, requirement: str) -> bool:
    """Whether a version meets a requirement of one of our tables: ``>=3.10`` or ``>=2.0,<3``."""
    return SpecifierSet(requirement).contains(_numbers(version) or "0")


def driver_floor(cuda: str) -> str | None:
    """The oldest Linux driver that runs a program built for that CUDA version; None if unknown.

    Since CUDA 11 one driver runs every toolkit of its major version (minor-version compatibility).
    """
    floor: str | None = table("cuda_drivers")["minor_compat_min"].get(cuda.split(".", maxsplit=1)[0])
    return floor or own_driver(cuda)


def own_driver(cuda: str) -> str | None:
    """The oldest driver that came with that CUDA version (``12.6``: 560.28.03); None if unknown."""
    drivers: dict[str, str] = table("cuda_drivers")["toolkit_driver"]
    return min((drivers[name] for name in drivers if minor(name) == minor(cuda)), key=key, default=None)


def runs_on(capability: str | None, architectures: t.Iterable[str]) -> bool:
    """Whether a GPU of that compute capability can run code built for these architectures.

    Machine code runs on the same major version with the same or a newer minor one; an entry with
    ``+PTX`` also runs, compiled by the driver, on every newer GPU (CUDA programming guide).
    """
    have = key(capability)
    for entry in architectures:
        want = key(entry)
        if (have[:1] == want[:1] and have >= want) or (entry.endswith("+PTX") and have >= want):
            return True
    return False


def capability_facts(capability: str | None) -> dict[str, t.Any]:
    """What is known of a compute capability; of one that is newer than the table, its nearest older."""
    capabilities: dict[str, dict[str, t.Any]] = table("compute_capabilities")["capabilities"]
    older = [name for name in capabilities if key(name) <= key(capability)]
    return capabilities[max(older, key=key)] if older else {}


def short_name(name: str) -> str:
    """The model as people say it: ``Tesla V100S-PCIE-32GB`` is ``V100S``, ``H100 80GB HBM3`` ``H100``."""
    for prefix in ("NVIDIA ", "Tesla "):
        name = name.removeprefix(prefix)
    return _SHORT_NAME.sub("", name).strip() or name
