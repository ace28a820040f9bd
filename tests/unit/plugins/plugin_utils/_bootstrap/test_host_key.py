# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unknown, known, changed and expected host keys; none is taken without somebody who vouches for it."""

from __future__ import annotations

import base64

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap import host_key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.host_key import Shown
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.failures import Stop, untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client

ED, RSA = Shown("ssh-ed25519", b"the key of the host"), Shown("ssh-rsa", b"its other key")


def line(name: str, shown: Shown, marker: str = "") -> str:
    return f"{marker} {name} {shown.kind} {base64.b64encode(shown.key).decode()}\n".lstrip()


@pytest.fixture
def client(tmp_path):
    """Makes a Client whose known_hosts has these lines."""

    def make(*lines: str, port: int = 22, **more) -> Client:
        path = tmp_path / "known_hosts"
        path.write_text("".join(lines))
        lookup = "n1" if port == 22 else f"[n1]:{port}"
        return Client("n1", port, "alice", lookup, known_hosts=(str(path),), keeps_in=str(path), **more)

    return make


def test_a_host_is_new_or_known(client):
    assert not host_key.is_known(client(), ED)
    assert host_key.is_known(client(line("n1", ED)), ED)


def test_a_changed_key_is_told_with_both_fingerprints_and_how_the_old_one_is_removed(client):
    with pytest.raises(Stop) as stop:
        host_key.is_known(client(line("n1", Shown("ssh-ed25519", b"old"))), ED)
    assert stop.value.step == "hostkey_changed"
    assert ED.fingerprint in stop.value.evidence
    assert Shown("ssh-ed25519", b"old").fingerprint in stop.value.evidence
    assert "only then ssh-keygen -R n1" in stop.value.remedy


def test_a_host_that_hides_its_known_key_behind_one_of_another_kind_has_changed(client):
    with pytest.raises(Stop) as stop:
        host_key.is_known(client(line("n1", RSA)), ED)
    assert stop.value.step == "hostkey_changed" and RSA.fingerprint in stop.value.evidence


def test_another_host_behind_the_same_address_is_new_and_not_changed(client):
    """A router forwards port 2222 to another host than port 22."""
    others = line("n1", Shown("ssh-ed25519", b"of the router"))
    assert not host_key.is_known(client(others, port=2222), ED)


@pytest.mark.parametrize(("marker", "step"), [("@revoked", "hostkey_changed"), ("@cert-authority", "untested")])
def test_revoked_keys_and_authorities_are_not_for_a_person_to_confirm(client, marker, step):
    with pytest.raises(Stop) as stop:
        host_key.is_known(client(line("n1", ED, marker)), ED)
    assert stop.value.step == step


def test_what_checks_the_key_in_another_way_is_not_overruled(client):
    with pytest.raises(Stop, match="VerifyHostKeyDNS"):
        host_key.is_known(client(beyond={"hostkey": "VerifyHostKeyDNS"}), ED)


def test_the_host_is_asked_for_the_kind_of_key_that_the_inventory_expects(client, monkeypatch):
    asked = []

    def look(_client, _limit, only):
        asked.append(only)
        if only == "ssh-rsa":
            return RSA
        raise untested("it has none of this kind")

    monkeypatch.setattr(host_key, "look", look)
    assert host_key.expected(client(), ED, [ED.fingerprint], 1) == ED and not asked
    assert host_key.expected(client(), ED, [RSA.fingerprint], 1) == RSA
    assert "ssh-ed25519" not in asked
    with pytest.raises(Stop) as stop:
        host_key.expected(client(), ED, ["SHA256:another"], 1)
    assert stop.value.step == "hostkey_unexpected"
    assert all(one in stop.value.evidence for one in (ED.fingerprint, RSA.fingerprint, "SHA256:another"))


def test_a_host_that_no_longer_answers_is_not_taken_for_one_without_such_a_key(client, monkeypatch):
    def look(*_args):
        raise Stop("tcp_timeout", "no answer", "", "")

    monkeypatch.setattr(host_key, "look", look)
    with pytest.raises(Stop, match="no answer"):
        host_key.expected(client(), ED, [RSA.fingerprint], 1)


def test_without_a_person_both_ways_are_named(client):
    stop = host_key.unconfirmed(client(), ED, "nobody is there")
    assert f"trainmesh_host_key_fingerprints: [{ED.fingerprint}]" in stop.remedy
    assert "-e trainmesh_accept_host_keys=new" in stop.remedy
