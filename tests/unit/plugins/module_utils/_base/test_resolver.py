# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name resolution within a bound."""

from __future__ import annotations

import socket
import threading
import time
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import resolver as names


def fake_resolver(table: dict[str, t.Any]) -> t.Callable[..., list[t.Any]]:
    def getaddrinfo(name: str, *_args: t.Any, **_more: t.Any) -> list[t.Any]:
        value = table[name]
        if isinstance(value, Exception):
            raise value
        if callable(value):
            value()
        return [(socket.AF_INET, 1, 6, "", (address, 0)) for address in value]

    return getaddrinfo


def test_addresses_keep_their_order_and_loopback_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        "node1": ["127.0.1.1", "10.0.0.1", "127.0.1.1"],
        "node2": ["10.0.0.2"],
        "gone": socket.gaierror(-2, "Name or service not known"),
    }
    monkeypatch.setattr(names.socket, "getaddrinfo", fake_resolver(table))
    monkeypatch.setattr(names.socket, "getfqdn", lambda: "node1.example.org")
    found, fqdn = names.resolve(["node1", "node2", "gone", ""], 2)
    assert found["node1"] == {"addresses": ["127.0.1.1", "10.0.0.1"], "loopback": True, "error": None}
    assert found["node2"]["loopback"] is False
    assert found["gone"] == {"addresses": [], "loopback": False, "error": "Name or service not known"}
    assert fqdn == "node1.example.org"
    assert "" not in found


def test_a_resolver_that_never_answers_costs_only_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def getaddrinfo(name: str, *_args: t.Any, **_more: t.Any) -> list[t.Any]:
        if name.startswith("slow"):
            release.wait(30)
        return [(socket.AF_INET, 1, 6, "", ("10.0.0.2", 0))]

    monkeypatch.setattr(names.socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(names.socket, "getfqdn", lambda: release.wait(30))
    started = time.monotonic()
    found, fqdn = names.resolve([*(f"slow{count}" for count in range(20)), "node2"], 0.3)
    assert time.monotonic() - started < 5
    release.set()
    assert fqdn is None
    assert found["node2"]["addresses"] == ["10.0.0.2"]
    assert found["slow3"]["error"] == "no answer within 0.3 seconds"


def test_a_name_that_cannot_be_a_name_has_an_error() -> None:
    found, _fqdn = names.resolve(["a" * 70 + ".example", "x\0y"], 5)
    assert all(answer["error"] and not answer["addresses"] for answer in found.values())


def test_a_link_local_address_keeps_its_interface() -> None:
    assert names.address_text(("fe80::1", 0, 0, socket.if_nametoindex("lo"))) == "fe80::1%lo"
    assert names.address_text(("fd00::1", 0, 0, 0)) == "fd00::1"
    assert names.address_text(("10.0.0.1", 9)) == "10.0.0.1"
