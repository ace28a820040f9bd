# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of one command on several machines."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.apart import by_host


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("gpu1: a\ngpu1:     b\ngpu2: c\n", {"gpu1": ["a", "    b"], "gpu2": ["c"]}),
        ("----\ngpu1\n----\na a\n----\ngpu2\n----\nb\n", {"gpu1": ["a a"], "gpu2": ["b"]}),
        ("gpu1 | CHANGED | rc=0 >>\na: b\nc\n", {"gpu1": ["a: b", "c"]}),
        ("Error: unable to connect\nError: Host engine\n", {"": ["Error: unable to connect", "Error: Host engine"]}),
        ("gpu1: a\nno prefix\n", {"": ["gpu1: a", "no prefix"]}),
        ("", {}),
    ],
)
def test_machines(text: str, hosts: dict[str, list[str]]) -> None:
    found = {host: [row for row in rows if row != "----"] for host, rows in by_host(text).items()}
    assert {host: rows for host, rows in found.items() if rows} == hosts
