# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.ssh_values import refused


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Port twenty", "a number from 1 to 65535"),
        ("Port 70000", "a number from 1 to 65535"),
        ("Port 0", "a number from 1 to 65535"),
        ("Port 22.0", "a number from 1 to 65535"),
        ("Port: 2222", "a keyword and its value"),
        ("IdentityFile", "a keyword and its value"),
        ("BatchMode maybe", "yes or no"),
        ("StrictHostKeyChecking never", "yes or no"),
        ("ServerAliveCountMax many", "a number"),
        ("ServerAliveInterval soon", "a number of seconds"),
        ("ConnectTimeout 10.5", "a number of seconds"),
    ],
)
def test_values_that_ssh_refuses(line: str, wanted: str) -> None:
    assert [(number, what) for number, _seen, what in refused(f"Host node2\n    {line}\n")] == [(2, wanted)]


@pytest.mark.parametrize(
    "line",
    [
        "Port 22", 'Port "2222"', "Port=33", "Port ssh", "Port 22 # of the container", "BatchMode TRUE", "User 1000",
        "StrictHostKeyChecking accept-new", "ConnectTimeout 1m30s", "ServerAliveInterval 15", "ControlMaster auto",
        "ProxyCommand ssh -W %h:%p head", "# Port twenty", "SendEnv A B", "UnknownKeyword maybe", "ControlPersist 10m",
    ],
)  # fmt: skip
def test_values_that_ssh_takes(line: str) -> None:
    assert refused(f"Host node2\n    {line}\n") == []


def test_any_text_is_read() -> None:
    for text in ("", "x", "\0", "Host", "Match", "Port", "Port \u0663", '{"Host": 1}', "- Host: a", "a\tb\n" * 1000):
        assert isinstance(refused(text), list)
