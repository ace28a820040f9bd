# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the whole output of ``nvidia-smi -q -x``.

The output may be cut, polluted (infoROM warnings before, between and behind the document) or come
from a driver that nobody here has seen. What can be read is read; whatever speaks against trusting
it is named in ``SmiLog.defect``. Nothing here raises, and nothing here loads the DTD.
"""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_gpu import READ_GROUPS, READ_TAGS, read_gpu
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import (
    integer,
    is_broken,
    version,
    without_broken,
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


class SmiLog(t.NamedTuple):
    """What ``nvidia-smi -q -x`` said.

    ``schema`` is like "v12" or None; ``attached`` is the number of GPUs that it declares; ``gpus``
    are the records of :func:`read_gpu` in its order; ``defect`` is a clause that says why the
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
    body, defect = _document(text)
    tree = None
    if body:
        try:
            tree = ET.fromstring(body)
        except (ET.ParseError, ValueError):
            tree = _salvage(body)
            defect = defect or "its XML is damaged"
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
        for tag in READ_TAGS:
            if len(gpu.findall(tag)) > 1:
                return f"it says {tag} twice for one GPU"
        for group in READ_GROUPS:
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
