# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the GPUs of one node are wired (``nvidia-smi topo -m``, ``nvlink -s``).

Both readers answer None rather than half a picture: a matrix in which a row is missing, or a cell
holds a word that is no kind of connection, is no matrix.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import integer, is_broken, plain

# X itself; NV# bonded NVLinks; PIX one PCIe bridge, PXB several, PHB the host bridge, NODE one NUMA
# node, SYS (SOC before driver 384) between sockets. The legend that topo -m prints names them.
_CELL = re.compile(r"(?:X|NV\d{1,2}|PIX|PXB|PSB|PHB|NODE|SYS|SOC|C2C|N/A)\Z")
_GPU = re.compile(r"GPU\d{1,3}\Z")
_COLUMN = re.compile(r"(?:GPU\d{1,3}|NIC\d{1,3}|[a-z][a-z0-9_.-]*\d[a-z0-9_]*)\Z")
_LEGEND = re.compile(r"^\s*(NIC\d{1,3}): *(\S+)\s*$", re.MULTILINE)

_NVLINK_GPU = re.compile(r"GPU (\d{1,3}): .*?\(UUID: ([^)\s]+)\)")
_NVLINK_LINK = re.compile(r"\s*Link (\d{1,3}): *(?:(\d+(?:\.\d+)?) GB/s|(<inactive>))\s*\Z")


def parse(text: str) -> dict[str, t.Any] | None:
    """Read ``topo -m``: lists ``gpus`` and ``nics``, matrices ``gpu_gpu`` and ``gpu_nic`` in their order.

    NICs carry their device name where the output has a legend; ``cpu_affinity`` and ``numa_affinity``
    have one entry a GPU (text, or a NUMA node number; None when not printed).
    """
    if is_broken(plain(text)):
        return None
    lines = [line for line in plain(text).splitlines() if line.strip()]
    header = next((number for number, line in enumerate(lines) if _is_header(line.split())), None)
    if header is None:
        return None
    columns = _columns(lines[header])
    rows = _rows(lines[header + 1 :], columns)
    gpus = [column for column in columns if _GPU.match(column)]
    if rows is None or len(columns) != len(set(columns)) or not _is_whole(gpus, columns, rows):
        return None
    nics = [column for column in columns if column not in gpus]
    names = dict(_LEGEND.findall(plain(text)))
    tails = {name: cells[len(columns) :] for name, cells in rows.items()}
    return {
        "gpus": gpus,
        "nics": [names.get(nic, nic) for nic in nics],
        "gpu_gpu": [[rows[gpu][columns.index(other)] for other in gpus] for gpu in gpus],
        "gpu_nic": [[rows[gpu][columns.index(nic)] for nic in nics] for gpu in gpus],
        "cpu_affinity": [(tails[gpu] + [None])[0] for gpu in gpus],
        "numa_affinity": [integer((tails[gpu] + ["", ""])[1]) for gpu in gpus],
    }


def _is_header(words: t.Sequence[str]) -> bool:
    """The first line that starts with a GPU and goes on with anything but a cell."""
    return bool(_GPU.match(words[0])) and not (len(words) > 1 and _CELL.match(words[1]))


def _columns(header: str) -> list[str]:
    """The devices of the header; behind them stand CPU Affinity, NUMA Affinity and GPU NUMA ID."""
    columns = []
    for word in header.split():
        if not _COLUMN.match(word):
            break
        columns.append(word)
    return columns


def _rows(lines: t.Sequence[str], columns: t.Sequence[str]) -> dict[str, list[t.Any]] | None:
    """The cells of each row by its name, up to the legend; None when a name stands there twice."""
    rows: dict[str, list[t.Any]] = {}
    for line in lines:
        words = line.split()
        if words[0] not in columns:
            break
        if words[0] in rows:
            return None
        rows[words[0]] = words[1:]
    return rows


def _is_whole(gpus: t.Sequence[str], columns: t.Sequence[str], rows: dict[str, list[t.Any]]) -> bool:
    """True when every GPU has a full row of known words, X at itself, and the same word both ways."""
    if not gpus or any(gpu not in rows for gpu in gpus):
        return False
    for name, cells in rows.items():
        own = cells[: len(columns)]
        if len(own) < len(columns) or not all(_CELL.match(cell) for cell in own):
            return False
        if any((cell == "X") != (column == name) for column, cell in zip(columns, own)):
            return False
    return all(rows[one][columns.index(other)] == rows[other][columns.index(one)] for one in rows for other in rows)


def has_nvlink(topology: dict[str, t.Any] | None) -> bool:
    """True when the matrix shows an NVLink between two GPUs."""
    return any(cell.startswith("NV") for row in (topology or {}).get("gpu_gpu", ()) for cell in row)


def parse_nvlink(text: str) -> list[dict[str, t.Any]] | None:
    """Read ``nvlink -s``: one entry a GPU with ``index``, ``uuid``, links ``active`` and ``inactive``, ``gb_per_s``.

    ``gb_per_s`` is the speed of the slowest active link in one direction, in GB/s. The counts are
    None when nvidia-smi names none (GPU in MIG mode, all links off). None when this is no such output.
    """
    if is_broken(text):
        return None
    gpus: list[dict[str, t.Any]] = []
    links: list[dict[int, float | None]] = []
    for line in text.splitlines():
        gpu, link = _NVLINK_GPU.match(line), _NVLINK_LINK.match(line)
        if gpu:
            gpus.append({"index": int(gpu.group(1)), "uuid": gpu.group(2)})
            links.append({})
        elif link and links and int(link.group(1)) not in links[-1]:
            links[-1][int(link.group(1))] = float(link.group(2)) if link.group(2) else None
        elif line.strip().startswith("Link "):
            return None
    if not gpus or len({gpu["index"] for gpu in gpus}) != len(gpus):
        return None
    return [{**gpu, **_link_counts(found)} for gpu, found in zip(gpus, links)]


def _link_counts(links: dict[int, float | None]) -> dict[str, t.Any]:
    speeds = [speed for speed in links.values() if speed is not None]
    return {
        "active": len(speeds) if links else None,
        "inactive": len(links) - len(speeds) if links else None,
        "gb_per_s": min(speeds) if speeds else None,
    }
