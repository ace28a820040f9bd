# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what people paste of ``nvidia-smi -q``: the plain text, whose labels are the elements of its XML in words."""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET  # builds a tree, parses none

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import smi_xml
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import bus_id

MOST_GPUS, DEEPEST = 64, 8
_GPU = re.compile(r"GPU (?P<address>[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])\s*\Z")
_ROW = re.compile(r"(?P<indent> {4,32})(?P<label>[A-Za-z][^:]{0,60}?)\s*(?::(?: (?P<value>.*))?)?\Z")
_RULE = "NVSMI LOG"
# Labels that the XML has another word for, by the section that they stand in.
_TAGS = {
    ("", "gpu_uuid"): "uuid",
    ("ecc_mode", "current"): "current_ecc",
    ("ecc_mode", "pending"): "pending_ecc",
    ("mig_mode", "current"): "current_mig",
    ("mig_mode", "pending"): "pending_mig",
    ("pci", "bus_id"): "pci_bus_id",
    ("pci", "gpu_link_info"): "pci_gpu_link_info",
    ("pci_gpu_link_info", "pcie_generation"): "pcie_gen",
    ("pci_gpu_link_info", "link_width"): "link_widths",
    ("pcie_gen", "current"): "current_link_gen",
    ("pcie_gen", "max"): "max_link_gen",
    ("link_widths", "current"): "current_link_width",
    ("link_widths", "max"): "max_link_width",
    ("remapped_rows", "correctable_error"): "remapped_row_corr",
    ("remapped_rows", "uncorrectable_error"): "remapped_row_unc",
    ("remapped_rows", "pending"): "remapped_row_pending",
    ("remapped_rows", "remapping_failure_occurred"): "remapped_row_failure",
    ("retired_pages", "pending_page_blacklist"): "pending_blacklist",
    ("temperature", "gpu_current_temp"): "gpu_temp",
}
_COUNTED = {"single_bit_ecc": "multiple_single_bit_retirement", "double_bit_ecc": "double_bit_retirement"}


def gpus(text: str) -> list[dict[str, t.Any]]:
    """The GPUs in the output, as those of the XML, with their ``index``; empty for anything else.

    Processes are not read. A GPU that stands there twice is read once.
    """
    found: dict[str, ET.Element] = {}
    for address, rows in _blocks(text):
        found.setdefault(address, _tree(address, rows))
    return [
        {**smi_xml.read_gpu(element), "index": index, "processes": None} for index, element in enumerate(found.values())
    ]


def _blocks(text: str) -> t.Iterator[tuple[str, list[str]]]:
    """(PCI address, lines) of each GPU."""
    address, rows, count = "", list[str](), 0
    for line in text.splitlines():
        head = _GPU.match(line.strip()) if line[:1] == "G" else None
        if head or (line[:1] not in ("", " ") and address):
            if address:
                yield address, rows
            address, rows = (bus_id(head.group("address")) or "") if head else "", []
            count += 1
        elif address:
            rows.append(line)
        if count > MOST_GPUS:
            return
    if address:
        yield address, rows


def _tree(address: str, rows: t.Iterable[str]) -> ET.Element:
    """The element of a GPU: the indentation is that of the sections."""
    top = ET.Element("gpu", id=address)
    above: list[tuple[int, ET.Element]] = [(0, top)]
    for row in rows:
        match = _ROW.match(row.rstrip())
        if not match:
            continue
        depth = len(match.group("indent"))
        while len(above) > 1 and above[-1][0] >= depth:
            above.pop()
        outer = above[-1][1]
        label = re.sub(r"[ /]+", "_", match.group("label").strip().lower()).replace("sec-ded", "secded")
        section = "" if outer is top else outer.tag
        if section == "retired_pages" and label in _COUNTED:
            outer = ET.SubElement(outer, _COUNTED[label])
            label = "retired_count"
        element = ET.SubElement(outer, _TAGS.get((section, label), label))
        element.text = match.group("value")
        if match.group("value") is None and len(above) < DEEPEST:
            above.append((depth, element))
    return top
