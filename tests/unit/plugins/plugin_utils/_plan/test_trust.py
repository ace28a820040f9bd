# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan signs, renews and revokes, and for whom; logins with it are in test_trust_sshd.py."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import stat

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import line_check
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import certificates
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import trust as plan_trust
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.authority import Authority
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.trust import Seen, Trust
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import ssh
from ansible_collections.trainmesh.cluster.tests.unit.samples import ssh_sizes
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import public_key

WEEK = 7 * 86400


def node(number, **more):
    address = f"10.0.0.{number}"
    places = (f"n{number}", number - 1, address, 22, 1, "eth0", f"n{number}", f"n{number}.x")
    keys = {"public_key": public_key(f"K{number}"), "host_keys": (public_key(f"H{number}"),)}
    return Node(*places, **{"sources": (address,), **keys, **more})


class Site:
    """Runs of site.yml over nodes that do as planned, unless they are down."""

    def __init__(self, state):
        self.state, self.nodes, self.users, self.members = str(state), [node(1), node(2)], {}, set()
        self.identity, self.user, self.topology = "abcd1234", "trainer", "mesh"

    def plan(self, trust="ca", write=True, **options):
        cluster = Cluster(tuple(self.nodes), self.user, "/p", 29500, "fp32", ssh_topology=self.topology)
        plan = {"warnings": [], "reasons": [], "nodes": {}}
        plan["nodes"] = {one.name: {"loopback_key": ssh.loopback_key(one)} for one in self.nodes}
        keys, hosts = ssh.authorized_keys(cluster), ssh.known_hosts(cluster)
        plan["ssh"] = {"authorized_keys": keys, "known_hosts": hosts, "config": ssh.client_config(cluster)}
        users = {one.name: self.users.get(one.name, facts()) for one in self.nodes if one.reachable}
        wanted = {"ssh_trust": trust, "ssh_validity": "52w", **options}
        Trust(cluster, Authority(self.state, self.identity), Seen(users, set(self.members)), wanted, write).enter(plan)
        return plan

    def run(self, trust="ca", **options):
        plan = self.plan(trust, **options)
        self.members |= {one.name for one in self.nodes}
        for one in self.nodes:
            if one.reachable:
                self.users[one.name] = facts(one, plan)
        return plan

    @property
    def directory(self):
        return pathlib.Path(self.state, "authority", self.identity)


def facts(one=None, plan=None):
    """What a node says that is new, or as it was planned."""
    if one is None or plan is None:
        return {"sshd": {"certificates": {"host": [], "drop_in": False, "problem": ""}}}
    own = plan["nodes"][one.name]
    key = {"path": "/home/trainer/.ssh/trainmesh/id_ed25519", "fingerprint": certificates.fingerprint(one.public_key)}
    trusted = [{"options": "cert-authority", "fingerprint": plan["ssh"]["authorities"]["users"]}]
    shown = {"host": own["host_certificates"], "drop_in": bool(own["host_certificates"]), "problem": ""}
    return {
        "own_keys": [{**key, "certificate": own["certificate"] or None}],
        "authorized_keys": trusted if own["authority_lines"] else [],
        "known_hosts": {"authorities": []},
        "sshd": {"certificates": shown},
    }


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def serial(plan, name="n1"):
    return certificates.read(plan["nodes"][name]["certificate"]).serial


def test_a_new_cluster_has_certificates_alone_at_once(site):
    plan = site.run()
    assert plan["ssh"]["authorized_keys"] == [] and plan["warnings"] == plan["reasons"] == []
    (line,) = plan["nodes"]["n1"]["authority_lines"]
    assert line.startswith('restrict,pty,cert-authority,principals="trainmesh-abcd1234-trainer" ssh-ed25519 ')
    assert line_check.key_line_problem(line) == ""
    (host,) = plan["ssh"]["known_hosts"]
    assert host.startswith("@cert-authority n1,n1.x,10.0.0.1,n2,n2.x,10.0.0.2 ssh-ed25519 ")
    assert line_check.known_host_problem(host) == ""
    found = certificates.read(plan["nodes"]["n2"]["certificate"])
    assert (found.key_id, found.principals) == ("trainmesh-abcd1234/n2", ("trainmesh-abcd1234-trainer",))
    assert found.sources == ("10.0.0.2",) and found.public_key == site.nodes[1].public_key
    (shown,) = map(certificates.read, plan["nodes"]["n2"]["host_certificates"])
    assert (shown.kind, shown.principals) == ("host", ("n2", "n2.x", "10.0.0.2"))
    assert len({found.serial, shown.serial, serial(plan)}) == 3
    assert found.authority != shown.authority
    assert "CertificateFile ~/.ssh/trainmesh/id_ed25519-cert.pub" in plan["ssh"]["config"]


def test_a_second_run_signs_and_changes_nothing(site):
    first = site.run()
    records = (site.directory / "issued.json").read_text()
    again = site.run()
    assert again["ssh"] == first["ssh"]
    assert json.loads((site.directory / "issued.json").read_text())["serial"] == json.loads(records)["serial"]
    assert [again["nodes"][name]["certificate"] for name in ("n1", "n2")] == [
        first["nodes"][name]["certificate"] for name in ("n1", "n2")
    ]


def test_the_private_keys_are_in_two_files_of_the_controller_alone(site, monkeypatch):
    commands = []
    run = plan_trust.Authority._keygen
    monkeypatch.setattr(Authority, "_keygen", lambda self, *words: commands.append(words) or run(self, *words))
    plan = site.run()
    secrets = []
    for kind in ("users", "hosts"):
        path = site.directory / kind
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        secrets += path.read_text().splitlines()[1:-1]
    told = repr([plan, commands, (site.directory / "issued.json").read_text()])
    assert not [line for line in secrets if line in told]
    assert sorted(os.listdir(site.directory)) == [
        *("hosts", "hosts.pub", "issued.json", "revoked_keys", "revoked_keys.spec", "users", "users.pub")
    ]


@pytest.mark.parametrize("trust", ["ca", "keys"])
def test_a_look_makes_nothing(site, tmp_path, trust):
    plan = site.plan(trust, write=False)
    assert list(tmp_path.iterdir()) == []
    assert [own["by_certificate"] for own in plan["nodes"].values()] == [{"users": False, "hosts": False}] * 2
    if trust == "ca":
        assert plan["nodes"]["n1"]["certificate"] == plan_trust.NOT_YET
        assert ssh.NOT_YET in plan["nodes"]["n1"]["authority_lines"][0]
    site.run()
    before = {path: path.read_bytes() for path in site.directory.iterdir()}
    site.nodes.append(node(3))
    plan = site.plan(trust, write=False)
    assert {path: path.read_bytes() for path in site.directory.iterdir()} == before
    if trust == "ca":
        assert plan["nodes"]["n3"]["certificate"] == plan_trust.NOT_YET != plan["nodes"]["n1"]["certificate"]


def test_what_a_node_lets_in_does_not_grow_with_the_cluster(site, tmp_path):
    sizes = {}
    for trust in ("keys", "ca"):
        for count in (2, 8):
            site.state, site.nodes = str(tmp_path / f"{trust}{count}"), [node(number + 1) for number in range(count)]
            sizes[trust, count] = ssh_sizes.size(site.plan(trust), "n1")
    assert [sizes["keys", count].authorized_lines for count in (2, 8)] == [3, 9]
    assert [sizes["ca", count].authorized_lines for count in (2, 8)] == [2, 2]
    assert sizes["ca", 2].authorized_bytes == sizes["ca", 8].authorized_bytes < sizes["keys", 8].authorized_bytes
    assert sizes["ca", 8].known_lines == 1 and sizes["ca", 8].known_bytes < sizes["keys", 8].known_bytes
    assert sizes["ca", 2].certificate_bytes > sizes["keys", 2].certificate_bytes == 0


def test_keys_alone_are_as_they_always_were(site, tmp_path):
    plan = site.run("keys")
    assert list(tmp_path.iterdir()) == []
    cluster = Cluster(tuple(site.nodes), "trainer", "/p", 29500, "fp32")
    assert plan["ssh"]["authorized_keys"] == ssh.authorized_keys(cluster)
    assert plan["ssh"]["config"] == ssh.client_config(cluster) and "CertificateFile" not in plan["ssh"]["config"]
    for own in plan["nodes"].values():
        assert (own["authority_lines"], own["certificate"], own["host_certificates"]) == ([], "", [])
        assert own["sshd_certificates"] is False


@pytest.mark.parametrize(("left", "renewed"), [(18, False), (17, True), (-1, True), (53, True)])
def test_a_certificate_is_renewed_when_less_than_a_third_is_left(site, monkeypatch, left, renewed):
    before = serial(site.run())
    now = plan_trust.time.time()
    monkeypatch.setattr(plan_trust.time, "time", lambda: now + (52 - left) * WEEK)
    plan = site.run()
    assert (serial(plan) != before) is renewed
    assert plan["ssh"]["revoked_serials"] == [], "an older certificate of the same node does no harm"


def test_a_shorter_validity_is_for_certificates_of_today_too(site):
    before = serial(site.run())
    assert serial(site.run(ssh_validity="60w")) == before
    assert serial(site.run(ssh_validity="90d")) > before


@pytest.mark.parametrize("what", ["user", "address", "key"])
def test_what_is_replaced_is_revoked_when_the_new_one_was_seen(site, what):
    before = serial(site.run())
    if what == "user":
        site.user = "somebody"
    elif what == "address":
        site.nodes[0] = dataclasses.replace(site.nodes[0], sources=("10.0.0.1", "10.9.9.9"))
    else:
        site.nodes[0] = dataclasses.replace(site.nodes[0], public_key=public_key("NEW"))
    plan = site.run()
    assert serial(plan) > before and plan["ssh"]["revoked_serials"] == [], "the node has no other yet"
    assert before in site.run()["ssh"]["revoked_serials"]


def test_who_leaves_is_revoked_until_its_certificate_ends(site, monkeypatch):
    plan = site.run()
    old, host_key = serial(plan, "n2"), site.nodes[1].host_keys[0]
    gone = site.nodes.pop()
    plan = site.run()
    assert plan["ssh"]["revoked_serials"] == [old]
    assert f"@revoked * {host_key}" in plan["ssh"]["known_hosts"]
    assert all(line_check.known_host_problem(line) == "" for line in plan["ssh"]["known_hosts"])
    site.nodes.append(gone)
    plan = site.run()
    assert serial(plan, "n2") > old and not [line for line in plan["ssh"]["known_hosts"] if "@revoked" in line]
    now = plan_trust.time.time()
    monkeypatch.setattr(plan_trust.time, "time", lambda: now + 53 * WEEK)
    assert site.run()["ssh"]["revoked_serials"] == []


def test_a_node_that_is_down_keeps_what_it_has(site):
    before = serial(site.run(), "n2")
    site.nodes[1] = dataclasses.replace(site.nodes[1], reachable=False, sources=("10.0.0.2", "10.1.1.1"))
    plan = site.run()
    assert serial(plan, "n2") == before and plan["ssh"]["revoked_serials"] == []
    assert plan["nodes"]["n2"]["host_certificates"] == []


def test_a_lost_authority_is_made_anew_without_losing_a_login(site):
    first = site.run()
    for path in site.directory.iterdir():
        path.unlink()
    plan = site.run()
    assert plan["ssh"]["authorities"] != first["ssh"]["authorities"]
    assert len(plan["ssh"]["authorized_keys"]) == 2 and len(plan["ssh"]["known_hosts"]) == 3
    assert "keep the keys of n1, n2" in plan["reasons"][0]
    assert site.run()["ssh"]["authorized_keys"] == []


def test_nodes_with_one_home_share_a_certificate(site):
    site.nodes[1] = dataclasses.replace(site.nodes[1], public_key=site.nodes[0].public_key)
    plan = site.run()
    assert plan["nodes"]["n1"]["certificate"] == plan["nodes"]["n2"]["certificate"]
    found = certificates.read(plan["nodes"]["n1"]["certificate"])
    assert found.sources == ("10.0.0.1", "10.0.0.2") and found.key_id == "trainmesh-abcd1234/n1,n2"


def test_in_a_star_the_head_alone_has_a_users_certificate(site):
    site.topology = "head"
    plan = site.run()
    assert plan["nodes"]["n1"]["certificate"] and not plan["nodes"]["n2"]["certificate"]
    assert all(own["host_certificates"] for own in plan["nodes"].values())


def test_an_ssh_that_accepts_no_certificates_keeps_the_keys_it_needs(site):
    for _again in range(2):
        site.run()
        site.users["n2"] = {**site.users["n2"], "ssh_client": {"certificates": False}}
    plan = site.plan()
    assert [line.split()[-1] for line in plan["ssh"]["authorized_keys"]] == ["n2"]
    assert len(plan["ssh"]["known_hosts"]) == 3
    assert plan["warnings"][0].startswith("n2: its ssh accepts no ed25519 certificates")


def test_an_address_with_a_zone_alone_is_refused_by_name(site):
    site.nodes[1] = dataclasses.replace(site.nodes[1], address="fe80::1%eth0", sources=("fe80::1%eth0",))
    with pytest.raises(ValueError, match="n2: trainmesh_ssh_trust: ca needs a data address without a zone"):
        site.run()


@pytest.mark.parametrize(("one", "other"), [("a\\b", "a_b"), ("a@b", "a-40b"), ("a", "A")])
def test_no_two_users_have_one_principal(one, other):
    first, second = (plan_trust.principal_of("abcd1234", user) for user in (one, other))
    assert first != second and "," not in first and '"' not in first and " " not in first


@pytest.mark.parametrize("text", ["", "{}", '{"format": 9}', "[1]"])
def test_records_that_can_not_be_read_stop_the_run(site, text):
    site.run()
    (site.directory / "issued.json").write_text(text)
    with pytest.raises(ValueError, match=r"issued\.json can't be read"):
        site.run()


@pytest.mark.parametrize("said", [None, 7, "x", [None], {"a": 1}])
def test_a_node_may_say_anything(site, said):
    site.run()
    for key in ("own_keys", "authorized_keys", "known_hosts", "sshd"):
        site.users["n2"] = {**facts(), key: said}
        site.plan()
    site.users["n2"] = {"sshd": {"certificates": {"host": said, "problem": said}}, "known_hosts": {"authorities": said}}
    site.plan()


def test_an_old_ssh_keygen_is_told(site, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match="ssh-keygen on the controller failed"):
        site.run()


def test_nothing_stays_of_an_authority_that_nobody_trusts(tmp_path):
    mine, other = (Authority(str(tmp_path), identity) for identity in ("0badcafe", "1badcafe"))
    for each in (mine, other):
        each.make()
    mine.remove()
    assert other.exists() and not mine.exists()
    other.remove()
    assert list(tmp_path.iterdir()) == []
