# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``nvidia-smi -q -x`` says of GPUs at one moment: what they do, and what holds them back.

MHz, W, MiB, degrees Celsius; each value is None where the driver gives none. The element names are those of the
schemas v8 to v13.
"""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import smi_xml

Reading = dict[str, t.Any]

_NUMBER = re.compile(r"\s*(\d{1,9}(?:\.\d{1,6})?)\s*(?:MHz|W|MiB|%)\s*\Z")
# Since driver 535 gpu_power_readings; 570 splits the draw. module_power_readings, of a whole superchip, is not meant.
_POWER = ("gpu_power_readings", "power_readings")
_DRAW = ("instant_power_draw", "power_draw", "average_power_draw")
_LIMIT = ("enforced_power_limit", "current_power_limit", "power_limit")


def read(text: str) -> list[Reading]:
    """A reading of each GPU, in the order of nvidia-smi; [] where the output cannot be trusted."""
    log = smi_xml.parse(text)
    tree, _defect = smi_xml.read_tree(text)
    if log.defect or tree is None:
        return []
    return [_reading(gpu, element) for gpu, element in zip(log.gpus, tree.findall("gpu"))]


def _reading(gpu: t.Mapping[str, t.Any], element: ET.Element) -> Reading:
    keys = ("name", "uuid", "pci_bus_id", "memory_mib", "mig_mode", "compute_mode", "temperature_c", "pcie", "fault")
    power = [f"{group}/" for group in _POWER]
    return {
        **{key: gpu[key] for key in keys},
        "throttle_reasons": gpu["throttle_reasons"],
        "computing": _computing(gpu["processes"]),
        "used_mib": _first(element, ("fb_memory_usage/",), ("used",)),
        "busy_percent": _first(element, ("utilization/",), ("gpu_util",)),
        "sm_mhz": _first(element, ("clocks/",), ("sm_clock", "graphics_clock")),
        "sm_max_mhz": _first(element, ("max_clocks/",), ("sm_clock", "graphics_clock")),
        "memory_mhz": _first(element, ("clocks/",), ("mem_clock",)),
        "memory_max_mhz": _first(element, ("max_clocks/",), ("mem_clock",)),
        "power_w": _first(element, power, _DRAW),
        "power_limit_w": _first(element, power, _LIMIT),
        "power_default_w": _first(element, power, ("default_power_limit",)),
    }


def _computing(processes: t.Sequence[t.Mapping[str, t.Any]] | None) -> int | None:
    """How many processes compute on the GPU; None when they are not listed."""
    return None if processes is None else sum("C" in (each["type"] or "") for each in processes)


def _first(element: ET.Element, groups: t.Sequence[str], names: t.Sequence[str]) -> float | None:
    """The first of several elements that has a number."""
    for path in (group + name for group in groups for name in names):
        match = _NUMBER.match(element.findtext(path) or "")
        if match:
            return float(match.group(1))
    return None
