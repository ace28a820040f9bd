# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the whole output of ``nvidia-smi -q -x``.

The output may be cut, polluted (infoROM warnings before, between and behind the document) or come
from a driver that nobody here has seen. What can be read is read; whatever speaks against trusting
it is named in ``SmiLog.defect``. Nothing here raises, and nothing here loads the DTD.

The element names are those of the schemas v8 (driver 375) to v13 (driver 595); every one of them may be missing.
Memory is in MiB, temperature in degrees Celsius, PCIe generations and widths are numbers.
"""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import (
    bus_id,
    fault,
    integer,
    is_broken,
    model,
    value,
    version,
    without_broken,
    yes_no,
)

ROOT = "nvidia_smi_log"

# Driver 610 announces that driver_version and cuda_version go, and what takes their place.
_DRIVER_TAGS = ("driver_version", "kmd_version")
_CUDA_TAGS = ("cuda_version", "cuda_umd_version")
_HEADER_TAGS = (*_DRIVER_TAGS, *_CUDA_TAGS, "attached_gpus")

_START = re.compile(rf"<{ROOT}[\s>]")
_SCHEMA = re.compile(r"nvsmi_device_(v\d{1,3})\.dtd")
_HEADER = re.compile(rf"<({'|'.join(_HEADER_TAGS)})>([^<]*)</\1>")
_BLOCK_START = re.compile(r"<gpu[\s>]")
# A command line may hold anything, also bytes that are not text: nobody needs it.
_PROCESS_NAME = re.compile(r"<process_name>(?:(?!</?process_(?:name|info)>)[\s\S]){0,65536}</process_name>")

# The children of a ``gpu`` element that read_gpu() reads: each may appear only once.
_READ_TAGS = (
    "product_name uuid minor_number persistence_mode compute_mode mig_mode pci clocks_event_reasons "
    "clocks_throttle_reasons fb_memory_usage ecc_mode ecc_errors retired_pages remapped_rows fabric temperature "
    "processes mig_devices gpu_recovery_action"
).split()
# The elements whose children are single values: each of these may appear only once too.
_READ_GROUPS = (
    "mig_mode pci/pci_gpu_link_info/pcie_gen pci/pci_gpu_link_info/link_widths clocks_event_reasons "
    "clocks_throttle_reasons fb_memory_usage ecc_mode ecc_errors ecc_errors/volatile ecc_errors/aggregate "
    "remapped_rows fabric temperature"
).split()
_LEGACY_ECC = {"correctable": "single_bit", "uncorrectable": "double_bit"}  # up to driver 430, before Turing


class SmiLog(t.NamedTuple):
    """What ``nvidia-smi -q -x`` said.

    ``schema`` is like "v12" or None; ``attached`` is the number of GPUs that it declares; ``gpus``
    are the records of read_gpu() in its order; ``defect`` is a clause that says why the
    output cannot be trusted, or None.
    """

    schema: str | None
    driver_version: str | None
    cuda_driver_version: str | None
    attached: int | None
    gpus: tuple[dict[str, t.Any], ...]
    defect: str | None


def parse(text: str) -> SmiLog:
    """Read the output, whole or broken; ``gpus`` is empty when nothing could be read."""
    schema = _SCHEMA.search(text)
    tree, defect = read_tree(text)
    if tree is None:
        return SmiLog(None, None, None, None, (), defect or "it holds no GPU list")
    elements = tree.findall("gpu")
    gpus = tuple(read_gpu(element) for element in elements)
    return SmiLog(
        schema.group(1) if schema else None,
        _first_version(tree, _DRIVER_TAGS),
        _first_version(tree, _CUDA_TAGS),
        integer(tree.findtext("attached_gpus")),
        gpus,
        defect or _repetition(tree, elements) or _incomplete(gpus),
    )


def read_tree(text: str) -> tuple[ET.Element | None, str | None]:
    """(the document or what is left of it, what is wrong with it) of the output; None when it holds none."""
    body, defect = _document(text)
    if not body:
        return None, defect
    try:
        return ET.fromstring(body), defect
    except (ET.ParseError, ValueError):
        return _salvage(body), defect or "its XML is damaged"


def _document(text: str) -> tuple[str | None, str | None]:
    """The first log element of the output, up to its end, and what is wrong with the output.

    The XML declaration and the DOCTYPE are left out: so no entity can be defined, and a
    declaration that a warning pushed off the first line does no harm.
    """
    text = _PROCESS_NAME.sub("", text)
    starts = [match.start() for match in _START.finditer(text)]
    if not starts:
        return None, "it holds no GPU list"
    start, stop, defect = starts[0], (*starts[1:], len(text))[0], None
    closing = f"</{ROOT}>"
    end = text.find(closing, start, stop)
    if len(starts) > 1 or text.count(closing) > 1:
        defect = "it holds more than one document"
    elif end < 0:
        defect = "it is cut off"
    body = text[start : end + len(closing) if end >= 0 else stop]
    if is_broken(body):
        defect = defect or "it holds bytes that are not text"
        body = without_broken(body)
    return body, defect


def _salvage(body: str) -> ET.Element:
    """The header and the whole ``gpu`` blocks of a document that is not well-formed."""
    tree = ET.Element(ROOT)
    start = _BLOCK_START.search(body)
    for tag, content in _HEADER.findall(body[: start.start()] if start else body):
        ET.SubElement(tree, tag).text = content
    while start:
        end = body.find("</gpu>", start.start())
        if end < 0:
            break
        try:
            tree.append(ET.fromstring(body[start.start() : end + len("</gpu>")]))
        except (ET.ParseError, ValueError):
            pass  # this GPU is not readable; the count will differ from the declared one
        start = _BLOCK_START.search(body, end)
    return tree


def _first_version(tree: ET.Element, tags: t.Sequence[str]) -> str | None:
    return next((found for found in (version(tree.findtext(tag)) for tag in tags) if found), None)


def _repetition(tree: ET.Element, gpus: t.Sequence[ET.Element]) -> str | None:
    """A name that appears twice where it can only appear once: the output was mixed up."""
    for tag in _HEADER_TAGS:
        if len(tree.findall(tag)) > 1:
            return f"it says {tag} twice"
    for gpu in gpus:
        for tag in _READ_TAGS:
            if len(gpu.findall(tag)) > 1:
                return f"it says {tag} twice for one GPU"
        for group in _READ_GROUPS:
            tags = [child.tag for child in gpu.findall(f"{group}/*")]
            if len(tags) != len(set(tags)):
                return f"it says a part of {group} twice for one GPU"
    return None


def _incomplete(gpus: t.Sequence[dict[str, t.Any]]) -> str | None:
    """A GPU without a bus address or name, or two at one address."""
    addresses = [gpu["pci_bus_id"] for gpu in gpus]
    if None in addresses or any(gpu["name"] is None for gpu in gpus):
        return "it holds a GPU without a bus address or a name"
    if len(addresses) != len(set(addresses)):
        return "it holds two GPUs at one bus address"
    return None


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
        "fabric_health": _fabric_health(element.find("fabric/health")),
        "processes": _processes(element.find("processes")),
        "mig_devices": _mig_devices(element.find("mig_devices")),
        "recovery_action": _recovery_action(element.findtext("gpu_recovery_action")),
        "fault": next((found for found in (fault(each.text) for each in element.iter()) if found), None),
    }


def _recovery_action(word: str | None) -> str | None:
    """What the driver asks for; ``None`` is a word of its own here, that a GPU needs nothing."""
    return "None" if word and word.strip() == "None" else value(word)


def _fabric_health(element: ET.Element | None) -> dict[str, t.Any] | None:
    """What the driver says of a GPU's part of the NVLink fabric: its ``summary``, and what is not as it should be."""
    summary = value(_text(element, "summary"))
    if element is None or summary is None:
        return None
    told = {each.tag.replace("_", " "): value(each.text) for each in element if each.tag != "summary"}
    good = (None, "Full", "False", "None", "No", "Not Supported")
    return {"summary": summary, "faults": [f"{name}: {word}" for name, word in told.items() if word not in good]}


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
