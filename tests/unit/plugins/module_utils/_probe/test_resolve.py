# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_config import first
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_options import Answer
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import resolve as names

KNOWN = {"10.0.0.2", "192.0.2.2"}


@pytest.mark.parametrize(
    ("addresses", "failure"),
    [
        (["10.0.0.2"], ""),
        (["2001:db8::2", "192.0.2.2"], ""),
        ([], "name"),
        (["127.0.1.1"], "loopback"),
        (["127.0.1.1", "10.0.0.2"], "loopback"),
        (["::1"], "loopback"),
        (["10.0.0.9"], "wrong_address"),
        (["2001:db8::2"], "wrong_address"),
    ],
)
def test_where_a_name_leads(addresses, failure):
    assert names.judge("n", addresses, KNOWN, "10.0.0.2")[0] == failure


def test_the_wrong_family_is_said():
    assert "only to IPv6" in names.judge("n", ["2001:db8::2"], KNOWN, "10.0.0.2")[1]


def test_a_cluster_on_loopback_is_not_accused():
    assert names.judge("n", ["127.0.0.2"], {"127.0.0.2"}, "127.0.0.2") == ("", "")


class Ssh:
    """What ssh says of any name."""

    def __init__(self, config, rc=0, err="", missing=False, late=False):
        outcome = Outcome(None if missing or late else rc, config, err, late, missing, 0.0)
        self.of = lambda name: Answer(outcome, first(config) if outcome.ok else {})


def look_up(monkeypatch, config, addresses):
    monkeypatch.setattr(names, "addresses_of", lambda name, limit, family=0: addresses[name])
    return names.resolve("n", KNOWN, "10.0.0.2", 1, Ssh(config))


def test_ssh_alias_that_only_ssh_knows_is_no_fault(monkeypatch):
    found = look_up(monkeypatch, "port 33\nhostname 10.0.0.2\nuser me\n", {"10.0.0.2": ["10.0.0.2"], "n": []})
    assert (found.failure, found.addresses) == ("", ["10.0.0.2"])


def test_a_loopback_line_is_found_behind_a_hostname_of_ssh(monkeypatch):
    found = look_up(monkeypatch, "hostname 10.0.0.2\n", {"10.0.0.2": ["10.0.0.2"], "n": ["127.0.1.1"]})
    assert (found.failure, found.addresses) == ("loopback", ["127.0.1.1"])
    assert "ssh itself goes to 10.0.0.2" in found.evidence


def test_names_with_one_way_are_told_from_others(monkeypatch):
    one = look_up(monkeypatch, "hostname n\nport 22\n", {"n": ["10.0.0.2"]})
    other = look_up(monkeypatch, "hostname n\nport 33\n", {"n": ["10.0.0.2"]})
    assert one.way != other.way


def test_behind_a_jump_host_nothing_is_resolved_here(monkeypatch):
    assert look_up(monkeypatch, "hostname inner\nproxyjump gate\n", {}).failure == ""


def test_what_ssh_says_of_its_configuration():
    found = names.resolve("n", KNOWN, "10.0.0.2", 1, Ssh("", 255, "line 3: Bad configuration option: prot"))
    assert found.failure == "config" and "line 3" in found.evidence and found.config_error == "syntax"
    assert names.resolve("n", KNOWN, "10.0.0.2", 1, Ssh("", missing=True)).failure == "ssh_missing"


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(names.resolver.socket, "getaddrinfo", lambda *args: time.sleep(5) or [])
    started = time.monotonic()
    found = names.resolve("n", KNOWN, "10.0.0.2", 0.1, Ssh("hostname n\n"))
    assert found.failure == "name" and "within" in found.evidence and time.monotonic() - started < 2


def test_addresses_of_names_that_need_no_network():
    assert names.addresses_of("127.0.0.3", 5) == ["127.0.0.3"]
    assert names.addresses_of("bad..name", 5) == []


def test_an_ssh_that_took_too_long_says_nothing_of_its_configuration():
    found = names.resolve("n", KNOWN, "10.0.0.2", 1, Ssh("", err="Pseudo-terminal will not be allocated", late=True))
    assert found.failure == "not_met" and "within 1 s" in found.evidence
