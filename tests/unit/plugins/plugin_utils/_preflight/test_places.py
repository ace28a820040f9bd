# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where hosts are, by a real ssh client and a resolver that is not asked over the network."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import resolver
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.offline import Place
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import places
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import Target

KNOWN = {"gpu2.example": ["192.0.2.2", "192.0.2.3"], "box": ["192.0.2.4"]}


@pytest.fixture
def place(monkeypatch, tmp_path):
    """The place of one host, whose ssh configuration is ``text``."""

    def addresses(name, family=0):
        if name not in KNOWN:
            raise OSError(-2, "Name or service not known")
        return KNOWN[name]

    monkeypatch.setattr(resolver, "addresses_of", addresses)

    def found(host, text="", **more):
        (tmp_path / "config").write_text(text)
        return places.find([Target("n", host, ("-F", str(tmp_path / "config")), **more)])["n"]

    return found


def test_the_ssh_configuration_counts(place):
    assert place("gpu1", "Host gpu1\n HostName 192.0.2.1\n Port 2222\n User bob\n") == Place("192.0.2.1", 2222, "bob")
    assert place("gpu2", "Host gpu*\n HostName %h.example\n User bob\n") == Place("192.0.2.2", 22, "bob")
    assert place("2001:db8::1", "User bob\n") == Place("2001:db8::1", 22, "bob")


def test_a_name_that_nobody_knows(place):
    found = place("gpu9", "User bob\n")
    assert found == Place("", 22, "bob", "the controller can't resolve gpu9 (Name or service not known)")


def test_a_configuration_that_ssh_refuses(place):
    found = place("gpu1", "Nonsense yes\n")
    assert found.address == "" and "onsense" in found.problem


def test_a_host_without_ssh(place):
    why = "its ansible_connection is local, not ssh"
    assert place("box", untested=why) == Place("192.0.2.4", 22, "", why)
    assert place("192.0.2.7", untested=why).address == "192.0.2.7"
    assert place("head", untested=why) == Place("", 22, "", why)


def test_a_client_that_is_not_there(place):
    found = place("192.0.2.1", executable="/nowhere/ssh")
    assert found.address == "" and "/nowhere/ssh" in found.problem
