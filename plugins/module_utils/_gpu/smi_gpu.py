# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One GPU of ``nvidia-smi -q -x``, from its XML element to plain values.

The element names are those of the schemas v8 (driver 375) to v13 (driver 595); every one of them
may be missing. Memory is in MiB, temperature in degrees Celsius, PCIe generations and widths are numbers.
"""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import (
    bus_id,
    fault,
    integer,
    model,
    value,
    yes_no,
)

READ_TAGS = frozenset(
    (
        "product_name",
        "uuid",
        "minor_number",
        "persistence_mode",
        "compute_mode",
        "mig_mode",
        "pci",
        "clocks_event_reasons",
        "clocks_throttle_reasons",
        "fb_memory_usage",
        "ecc_mode",
        "ecc_errors",
        "retired_pages",
        "remapped_rows",
        "fabric",
        "temperature",
        "processes",
        "mig_devices",
        "gpu_recovery_action",
    )
)
"""The children of a ``gpu`` element that :func:`read_gpu` reads: each may appear only once."""

READ_GROUPS = (
    "mig_mode",
    "pci/pci_gpu_link_info/pcie_gen",
    "pci/pci_gpu_link_info/link_widths",
    "clocks_event_reasons",
    "clocks_throttle_reasons",
    "fb_memory_usage",
    "ecc_mode",
    "ecc_errors",
    "ecc_errors/volatile",
    "ecc_errors/aggregate",
    "remapped_rows",
    "fabric",
    "temperature",
)
"""The elements whose children are single values: each of these may appear only once too."""

_LEGACY_ECC = {"correctable": "single_bit", "uncorrectable": "double_bit"}  # up to driver 430, before Turing


def read_gpu(element: ET.Element) -> dict[str, t.Any]:
    """All that the facts need from one ``gpu`` element; a value that is not there is None."""
    return {
        "name": model(element.findtext("product_name")),
        "uuid": value(element.findtext("uuid")),
        "pci_bus_id": bus_id(element.get("id")) or bus_id(element.findtext("pci/pci_bus_id")),
        "minor_number": integer(element.findtext("minor_number")),
        "architecture": value(element.findtext("product_architecture")),
        "memory_mib": integer(element.findtext("fb_memory_usage/total")),
        "mig_mode": value(element.findtext("mig_mode/current_mig")),
        "mig_mode_pending": value(element.findtext("mig_mode/pending_mig")),
        "ecc": _ecc(element),
        "remapped_rows": _remapped_rows(element.find("remapped_rows")),
        "persistence_mode": value(element.findtext("persistence_mode")),
        "compute_mode": value(element.findtext("compute_mode")),
        "temperature_c": integer(element.findtext("temperature/gpu_temp")),
        "pcie": _pcie(element.find("pci/pci_gpu_link_info")),
        "throttle_reasons": _throttle_reasons(element),
        "fabric": {
            "state": value(element.findtext("fabric/state")),
            "status": value(element.findtext("fabric/status")),
        },
        "processes": _processes(element.find("processes")),
        "mig_devices": _mig_devices(element.find("mig_devices")),
        "recovery_action": value(element.findtext("gpu_recovery_action")),
        "fault": next((found for found in (fault(each.text) for each in element.iter()) if found), None),
    }


def _ecc(element: ET.Element) -> dict[str, t.Any]:
    """Error counters since the driver was loaded (volatile) and for the life of the board (aggregate)."""
    volatile = element.find("ecc_errors/volatile")
    aggregate = element.find("ecc_errors/aggregate")
    pages = element.find("retired_pages")
    return {
        "mode": value(element.findtext("ecc_mode/current_ecc")),
        "mode_pending": value(element.findtext("ecc_mode/pending_ecc")),
        "uncorrected_volatile": _ecc_count(volatile, "uncorrectable"),
        "corrected_volatile": _ecc_count(volatile, "correctable"),
        "uncorrected_aggregate": _ecc_count(aggregate, "uncorrectable"),
        "corrected_aggregate": _ecc_count(aggregate, "correctable"),
        "sram_uncorrected_aggregate": _ecc_memory(aggregate, "sram", "uncorrectable"),
        "sram_threshold_exceeded": yes_no(_text(aggregate, "sram_threshold_exceeded")),
        "retired_pages_single_bit": integer(_text(pages, "multiple_single_bit_retirement/retired_count")),
        "retired_pages_double_bit": integer(_text(pages, "double_bit_retirement/retired_count")),
        "retired_pages_pending": yes_no(value(_text(pages, "pending_retirement")) or _text(pages, "pending_blacklist")),
    }


def _ecc_count(section: ET.Element | None, kind: str) -> int | None:
    """Errors of one kind in all memories of one section; None when no counter has a number."""
    if section is None:
        return None
    legacy = section.find(_LEGACY_ECC[kind])
    if legacy is None:
        return _total([_ecc_memory(section, memory, kind) for memory in ("sram", "dram")])
    total = integer(legacy.findtext("total"))
    return total if total is not None else _total([integer(each.text) for each in legacy])


def _ecc_memory(section: ET.Element | None, memory: str, kind: str) -> int | None:
    """Errors in one memory: drivers since 550 split SRAM into ..._parity and ..._secded."""
    if section is None:
        return None
    whole = integer(section.findtext(f"{memory}_{kind}"))
    if whole is not None:
        return whole
    return _total([integer(each.text) for each in section if each.tag.startswith(f"{memory}_{kind}_")])


def _total(numbers: list[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _text(element: ET.Element | None, path: str) -> str | None:
    return None if element is None else element.findtext(path)


def _remapped_rows(element: ET.Element | None) -> dict[str, t.Any] | None:
    """None on GPUs that cannot remap rows (before Ampere, GeForce, and under MIG)."""
    rows = {
        "correctable": integer(_text(element, "remapped_row_corr")),
        "uncorrectable": integer(_text(element, "remapped_row_unc")),
        "pending": yes_no(_text(element, "remapped_row_pending")),
        "failure": yes_no(_text(element, "remapped_row_failure")),
    }
    return None if all(each is None for each in rows.values()) else rows


def _pcie(element: ET.Element | None) -> dict[str, int | None]:
    return {
        "width_current": integer(_text(element, "link_widths/current_link_width")),
        "width_max": integer(_text(element, "link_widths/max_link_width")),
        "gen_current": integer(_text(element, "pcie_gen/current_link_gen")),
        "gen_max": integer(_text(element, "pcie_gen/max_link_gen")),
    }


def _throttle_reasons(element: ET.Element) -> list[str] | None:
    """Names of the active reasons; the element was renamed with driver 535."""
    for container, prefix in (
        ("clocks_event_reasons", "clocks_event_reason_"),
        ("clocks_throttle_reasons", "clocks_throttle_reason_"),
    ):
        reasons = element.find(container)
        if reasons is None:
            continue
        states = {each.tag[len(prefix) :]: value(each.text) for each in reasons if each.tag.startswith(prefix)}
        if any(state is not None for state in states.values()):
            return [name for name, state in states.items() if state == "Active"]
    return None


def _processes(element: ET.Element | None) -> list[dict[str, t.Any]] | None:
    """Processes that hold memory of the GPU; type C computes, G draws. Command lines are left out."""
    if element is None or fault(element.text):
        return None
    return [
        {
            "pid": integer(each.findtext("pid")),
            "type": value(each.findtext("type")),
            "memory_mib": integer(each.findtext("used_memory")),
        }
        for each in element.findall("process_info")
    ]


def _mig_devices(element: ET.Element | None) -> list[dict[str, t.Any]]:
    """The parts of a GPU in MIG mode; the element holds the word None when there are none."""
    return [
        {
            "index": integer(each.findtext("index")),
            "gpu_instance_id": integer(each.findtext("gpu_instance_id")),
            "compute_instance_id": integer(each.findtext("compute_instance_id")),
            "memory_mib": integer(each.findtext("fb_memory_usage/total")),
            "multiprocessors": integer(each.findtext("device_attributes/shared/multiprocessor_count")),
        }
        for each in ([] if element is None else element.findall("mig_device"))
    ]
