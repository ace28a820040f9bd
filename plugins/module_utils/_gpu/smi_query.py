# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CSV queries of nvidia-smi (``--query-gpu=... --format=csv``).

The one thing that only a query tells is the compute capability: no XML schema carries it. One
field that the driver does not know fails the whole query, so the fields are asked in tiers.
"""

from __future__ import annotations

import csv
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import (
    bus_id,
    integer,
    is_broken,
    model,
    value,
    version,
)

_KNOWN_TO_ALL = ("index", "uuid", "pci.bus_id", "name", "driver_version")
TIERS: tuple[tuple[str, ...], ...] = ((*_KNOWN_TO_ALL, "compute_cap"), _KNOWN_TO_ALL)
"""Fields to ask for, best first. compute_cap is listed by driver 510; the rest by 375 already."""

_CAPABILITY = re.compile(r"\d{1,2}\.\d\Z")


class Table(t.NamedTuple):
    """A CSV output: ``rows`` by column name, values as printed; ``ragged`` counts rows of another width."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    ragged: int


class GpuRow(t.NamedTuple):
    """One GPU as the query sees it; each value is None when nvidia-smi has none."""

    number: int | None
    uuid: str | None
    pci_bus_id: str | None
    name: str | None
    driver_version: str | None
    compute_capability: str | None


def arguments(fields: t.Sequence[str]) -> list[str]:
    """The arguments of nvidia-smi that ask for these fields."""
    return [f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]


def read_table(text: str, fields: t.Sequence[str] | None = None) -> Table:
    """Read a CSV output; without ``fields`` its first line is the header. Never raises."""
    lines = [line for line in text.replace("\0", "").splitlines() if line.strip()]
    try:
        records = list(csv.reader(lines, skipinitialspace=True))
    except csv.Error:
        return Table(tuple(fields or ()), (), len(lines))
    if fields is None:
        fields, records = (records[0], records[1:]) if records else ([], [])
    columns = tuple(field.strip() for field in fields)
    rows = tuple(
        dict(zip(columns, (cell.strip() for cell in record))) for record in records if len(record) == len(columns)
    )
    return Table(columns, rows, len(records) - len(rows))


def read_gpus(text: str, fields: t.Sequence[str]) -> tuple[tuple[GpuRow, ...], str | None]:
    """The GPUs of a query without header, and a clause that says why not to trust them, or None."""
    table = read_table(text, fields)
    gpus = tuple(
        GpuRow(
            integer(row.get("index")),
            value(row.get("uuid")),
            bus_id(row.get("pci.bus_id")),
            model(row.get("name")),
            version(row.get("driver_version")),
            _capability(row.get("compute_cap")),
        )
        for row in table.rows
    )
    return gpus, _defect(text, table, gpus)


def _capability(text: str | None) -> str | None:
    found = value(text)
    return found if found and _CAPABILITY.match(found) else None


def _defect(text: str, table: Table, gpus: t.Sequence[GpuRow]) -> str | None:
    """Why this cannot be the whole and only answer of nvidia-smi."""
    if not gpus:
        return "it holds no GPU"
    if table.ragged:
        return f"{table.ragged} of its lines do not have {len(table.columns)} columns"
    if is_broken(text):
        return "it holds bytes that are not text"
    addresses = [gpu.pci_bus_id for gpu in gpus]
    if None in addresses:
        return "it holds a GPU without a bus address"
    if len(addresses) != len(set(addresses)):
        return "it holds two GPUs at one bus address"
    return None


def disagreement(listed: t.Sequence[dict[str, t.Any]], queried: t.Sequence[GpuRow]) -> str | None:
    """What ``nvidia-smi -q -x`` and the query say differently about the same machine, or None."""
    if len(listed) != len(queried):
        return f"nvidia-smi -q -x lists {len(listed)} GPUs, the query {len(queried)}"
    rows = {row.pci_bus_id: row for row in queried}
    for gpu in listed:
        row = rows.get(gpu["pci_bus_id"])
        if row is None:
            return f"the query does not know the GPU at {gpu['pci_bus_id']}"
        for key in ("uuid", "name"):
            mine, other = gpu[key], getattr(row, key)
            if mine and other and mine != other:
                return f"the GPU at {gpu['pci_bus_id']} has the {key} {mine} in one output and {other} in the other"
    return None
