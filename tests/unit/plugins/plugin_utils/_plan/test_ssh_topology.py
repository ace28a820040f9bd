# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may log in to whom in a mesh and in a star: the roles' own variables over a real plan, written to real homes."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess

import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import ssh_files
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster, probe_arguments
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import host, options

ROLES = pathlib.Path(__file__).parents[5] / "roles"
NAMES = ("node1", "node2", "node3")
MINE = "ssh-ed25519 AAAAmine a key of the user's own"


def plan(topology, memory=None, hosts=(1, 2, 3), **wish):
    return cluster.make([host(number) for number in hosts], options(ssh_topology=topology, **wish), memory or {})


def rendered(text, made, name):
    """An expression of a role as Ansible renders it for a node."""
    variables = {"trainmesh_plan": made, "inventory_hostname": name}
    return NativeEnvironment().from_string(str(text)).render(**variables)


def set_up(homes, made):
    """What the role ssh_mesh does on each node."""
    defaults = yaml.safe_load((ROLES / "ssh_mesh/defaults/main.yml").read_text())
    for name, home in homes.items():
        texts = [
            rendered(defaults[f"ssh_mesh_{part}"], made, name) for part in ("authorized_keys", "known_hosts", "config")
        ]
        changes, closing = ssh_files.changes(str(home), ssh_files.file_wishes(str(home), *texts))
        ssh_files.close(closing)
        for change in changes:
            pathlib.Path(change.path).write_text(change.after)
            pathlib.Path(change.path).chmod(change.mode or 0o600)


@pytest.fixture
def homes(tmp_path):
    found = {name: tmp_path / name for name in NAMES}
    for home in found.values():
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh/authorized_keys").write_text(f"{MINE}\n")
    return found


def admitted(home):
    """The nodes whose key opens the account, and those from whose own loopback addresses alone it does."""
    lines = (home / ".ssh/authorized_keys").read_text().splitlines()
    assert lines[0] == MINE
    ours = [line for line in lines if " trainmesh node" in line]
    loopback = {line.split()[-1] for line in ours if 'from="127.0.0.0/8,::1"' in line}
    return {line.split()[-1] for line in ours if 'from="10.' in line}, loopback


def knows(home):
    """The port that ssh takes for node2 by the job user's configuration, and how many host keys are pinned."""
    text = (home / ".ssh/trainmesh/config").read_text()
    included = (home / ".ssh/config").exists() and "Include trainmesh/config" in (home / ".ssh/config").read_text()
    assert included is bool(text)
    return "Host node2 " in text, len((home / ".ssh/trainmesh/known_hosts").read_text().splitlines())


def is_mesh(homes):
    everybody = set(NAMES)
    return all(admitted(home) == (everybody, {name}) and knows(home) == (True, 3) for name, home in homes.items())


def is_star(homes, head):
    right = {name: ({head}, {name}) for name in homes}
    tells = {name: (True, 3) if name == head else (False, 0) for name in homes}
    return {name: admitted(home) for name, home in homes.items()} == right and {
        name: knows(home) for name, home in homes.items()
    } == tells


def test_a_mesh_and_a_star_are_made_of_each_other_in_one_run(homes):
    set_up(homes, plan("mesh"))
    assert is_mesh(homes) and not is_star(homes, "node1")
    set_up(homes, plan("head"))
    assert is_star(homes, "node1") and not is_mesh(homes)
    set_up(homes, plan("mesh"))
    assert is_mesh(homes)


def test_a_star_from_the_start_makes_no_file_of_the_users(homes):
    set_up(homes, plan("head"))
    assert is_star(homes, "node1")
    assert [(home / ".ssh/config").exists() for home in homes.values()] == [True, False, False]


def test_a_second_run_changes_nothing(homes):
    set_up(homes, plan("head"))
    before = {path: (path.read_text(), path.stat().st_mtime_ns) for path in homes["node2"].rglob("*") if path.is_file()}
    set_up(homes, plan("head"))
    assert {path: (path.read_text(), path.stat().st_mtime_ns) for path in before} == before


def test_a_star_follows_its_head(homes):
    first = plan("head")
    set_up(homes, first)
    remembered = {node.name: node.remembered() for node in first["model"].nodes}
    set_up(homes, plan("head", remembered, head="node3"))
    assert is_star(homes, "node3")


def test_a_head_that_is_away_keeps_its_key_and_no_worker_takes_its_place():
    nodes = plan("head")["model"].nodes
    remembered = {node.name: dataclasses.replace(node, reachable=False).remembered() for node in nodes}
    hosts = [host(1, reached=False), host(2), host(3)]
    made = cluster.make(hosts, options(ssh_topology="head"), remembered)
    assert [line.split()[-1] for line in made["ssh"]["authorized_keys"]] == ["node1"]


def test_a_star_whose_workers_have_the_heads_key_is_refused():
    """As on a home that the nodes share, where the files of a worker would also be those of the head."""
    nodes = [host(1), host(2)._replace(identity=host(1).identity), host(3)]
    with pytest.raises(cluster.PlanError) as caught:
        cluster.make(nodes, options(ssh_topology="head"), {})
    assert len(caught.value.faults) == 1 and "head: node2 would log in too" in caught.value.faults[0]
    assert cluster.make(nodes, options(), {})["refusals"] == []


def test_ssh_takes_what_is_written_on_a_worker(homes):
    set_up(homes, plan("head"))
    config = homes["node2"] / ".ssh/trainmesh/config"
    assert subprocess.run(["ssh", "-G", "-F", config, "node1"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("topology", "trying"), [("mesh", list(NAMES)), ("head", ["node2"])])
def test_logins_are_tried_from_those_that_are_meant_to_log_in(topology, trying):
    made = plan(topology, head="node2")
    known = {**made, "unreached": [], "probe_token": "x", "logins_at_once": 5}
    assert [name for name in NAMES if probe_arguments.mesh_probe(known, name, NAMES)["log_in"]] == trying
