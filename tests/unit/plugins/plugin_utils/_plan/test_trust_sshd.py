# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins between real sshds on loopback addresses, with the certificates and files of the plan."""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.authority import HOSTS, USERS, Authority, Request
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.trust import principal_of
from ansible_collections.trainmesh.cluster.tests.unit.samples import ssh_nodes


def may_start() -> bool:
    """Whether an sshd can run here: root's needs a user and a directory of its own."""
    tools = ssh_nodes.SSHD and shutil.which("ssh-keygen")
    return bool(tools) and (os.geteuid() != 0 or os.path.isdir("/run/sshd"))


pytestmark = pytest.mark.skipif(not may_start(), reason="needs an sshd that can be started")


@pytest.fixture
def nodes(tmp_path, request):
    made = [ssh_nodes.SshNode(tmp_path, number) for number in range(1, 1 + getattr(request, "param", 2))]
    try:
        for node in made:
            node.start()
        yield made
    finally:
        for node in made:
            node.stop()


@pytest.fixture
def run(tmp_path, nodes):
    return ssh_nodes.Run(tmp_path, nodes)


def test_no_write_on_the_way_to_certificates_and_back_loses_a_login(run):
    assert list(run.site("keys")) and run.refused() == []
    for trust in ("ca", "ca", "keys", "keys"):
        steps = 0
        for step in run.site(trust):
            steps += 1
            assert run.refused() == [], step
        assert steps, trust
        for node in run.nodes:
            assert node.log_in(node).stdout == "in\n", trust
    assert list(run.site("keys")) == []
    assert not pathlib.Path(run.state, "authority/abcd1234").exists()
    left = [path.name for node in run.nodes for path in node.directory.rglob("*cert.pub")]
    assert left == ["host-cert.pub"] * 2 and not any(node.drop_in.exists() for node in run.nodes)


def test_a_run_that_is_cut_short_anywhere_loses_no_login(run):
    list(run.site("keys"))
    for trust in ("ca", "keys", "ca", "ca"):
        for count in (1, 3, 6, 10):  # the run ends there, and the next one begins
            steps = list(itertools.islice(run.site(trust), count))
            assert run.refused() == [], f"{trust}: {steps}"


def test_a_node_that_was_down_meanwhile_gets_in_and_is_let_in(run):
    first, second = run.nodes
    list(run.site("keys"))
    for trust in ("ca", "ca", "ca"):
        run.nodes = [first]  # the second gives no facts, and is not written to
        cluster = ssh_nodes.cluster_of([first, second])
        list(run.site(trust, cluster=cluster))
        run.nodes = [first, second]
        assert run.refused() == []
    list(run.site("ca"))
    list(run.site("ca"))
    assert run.refused() == [] and len(lines(second)) == 2
    for _again in range(3):
        run.nodes = [first]
        list(run.site("keys", cluster=ssh_nodes.cluster_of([first, second])))
        run.nodes = [first, second]
        assert run.refused() == []
    assert list(run.site("keys")) and run.refused() == []


def lines(node):
    text = (node.directory / ".ssh/authorized_keys").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.fixture
def certified(run):
    """The nodes with certificates alone."""
    for _again in range(3):
        list(run.site("ca"))
    return run


@pytest.mark.parametrize("nodes", [3], indirect=True)
def test_a_new_node_touches_no_key_of_any_other(run):
    third = run.nodes.pop()
    for _again in range(2):
        list(run.site("ca"))
    before = [path.read_text() for node in run.nodes for path in watched(node)]
    run.nodes.append(third)
    list(run.site("ca"))
    assert run.refused() == []
    assert [path.read_text() for node in run.nodes[:2] for path in watched(node)] == before
    assert list(run.site("ca")) == []


def watched(node):
    names = ("authorized_keys", "trainmesh/id_ed25519", "trainmesh/id_ed25519-cert.pub")
    return [node.directory / ".ssh" / name for name in names] + [node.directory / "host-cert.pub"]


def test_a_certificate_is_what_lets_in(certified):
    first, second = certified.nodes
    assert certified.refused() == []
    pathlib.Path(f"{first.key}-cert.pub").unlink()
    assert "Permission denied" in first.log_in(second).stderr


def put(node, line):
    pathlib.Path(f"{node.key}-cert.pub").write_text(f"{line}\n")


def signed(run, authority=None, identity="abcd1234", user=ssh_nodes.USER, validity="52w", sources=("127.0.0.11",)):
    """A certificate for the key of the first node, made by hand."""
    key = run.nodes[0].node(0).public_key
    request = Request(key, ("node1",), (principal_of(identity, user),), sources)
    return (authority or Authority(run.state, run.identity)).sign(USERS, request, 4711, validity)


def test_only_this_clusters_certificate_for_this_user_from_this_node_lets_in(certified, tmp_path):
    first, second = certified.nodes
    foreign = Authority(str(tmp_path / "other"), "abcd1234")
    foreign.make()
    put(first, signed(certified))
    assert first.log_in(second).stdout == "in\n"
    for line in (
        signed(certified, authority=foreign),
        signed(certified, identity="00000000"),
        signed(certified, user="somebody"),
        signed(certified, sources=("127.0.0.99",)),
    ):
        put(first, line)
        assert "Permission denied" in first.log_in(second).stderr


@pytest.mark.parametrize("times", ["20200101:20210101", "20600101:20610101"])
def test_a_certificate_out_of_its_time_is_refused_and_replaced_by_a_run(certified, times):
    first, second = certified.nodes
    principal = ["-n", principal_of("abcd1234", ssh_nodes.USER), "-V", times]
    ssh_nodes.keygen("-s", f"{certified.state}/authority/abcd1234/users", "-I", "x", *principal, f"{first.key}.pub")
    assert "Permission denied" in first.log_in(second).stderr
    list(certified.site("ca"))
    assert certified.refused() == []


def test_what_a_node_that_left_has_is_revoked_on_the_others(certified):
    first, second = certified.nodes
    old_user = pathlib.Path(f"{first.key}-cert.pub").read_text()
    certified.nodes = [second]
    certified.members = {"node2"}
    list(certified.site("ca"))
    assert pathlib.Path(f"{first.key}-cert.pub").read_text() == old_user
    assert "Permission denied" in first.log_in(second).stderr
    assert f"@revoked * {first.node(0).host_keys[0]}" in (second.directory / ".ssh/trainmesh/known_hosts").read_text()
    # it comes back, with the same keys
    certified.nodes = [first, second]
    list(certified.site("ca"))
    assert certified.refused() == []


def test_a_host_whose_certificate_is_of_another_authority_or_name_is_not_trusted(certified, tmp_path):
    first, second = certified.nodes
    foreign = Authority(str(tmp_path / "other"), "abcd1234")
    foreign.make()
    key = second.node(1).host_keys[0]
    ours = Authority(certified.state, "abcd1234")
    for authority, names in ((foreign, ("node2", "127.0.0.12")), (ours, ("elsewhere",))):
        line = authority.sign(HOSTS, Request(key, ("node2",), names), 1, "52w")
        (second.directory / "host-cert.pub").write_text(f"{line}\n")
        second.restart()
        assert "verification failed" in first.log_in(second).stderr or "is not a valid" in first.log_in(second).stderr


def test_a_node_whose_sshd_takes_no_certificates_stays_with_keys(run):
    run.nodes[1].problem = "its sshd_config does not include anything"
    for trust in ("keys", "ca", "ca", "ca"):
        list(run.site(trust))
        assert run.refused() == [], trust
    assert len(lines(run.nodes[0])) == 2 and len(lines(run.nodes[1])) == 3
    assert not any("cert-authority" in line for line in lines(run.nodes[1]))
    (warning,) = run.plan("ca")["warnings"]
    assert warning.startswith("node2: its sshd_config does not include anything: it stays with the keys")


@pytest.mark.parametrize("nodes", [3], indirect=True)
def test_a_star_that_was_a_mesh_takes_the_certificates_from_the_workers(certified):
    star = ssh_nodes.cluster_of(certified.nodes, "head")
    old = pathlib.Path(f"{certified.nodes[1].key}-cert.pub").read_text()
    list(certified.site("ca", cluster=star))
    put(certified.nodes[1], old.strip())
    assert "Permission denied" in certified.nodes[1].log_in(certified.nodes[2]).stderr
    assert certified.nodes[0].log_in(certified.nodes[2]).stdout == "in\n"
