# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on simulated nodes: the controller's part, at sizes of which nobody has the machines.

The facts and probes are those of the healthy cluster of the unit tests, the present state is made from the plan of a
first run. Not measured: ssh, the preflight (it tries ssh only), and what the nodes themselves would do.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import typing as t

import yaml

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import alike
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import file_set, firewall, ssh_files
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import facts as fabric_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import facts as user_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import ssh
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import changes, probe_arguments, role_inputs
from ansible_collections.trainmesh.cluster.tests.bench.scale.ansible_run import HERE, ROOT, Bench
from ansible_collections.trainmesh.cluster.tests.bench.scale.meter import MeasurementError, Row
from ansible_collections.trainmesh.cluster.tests.bench.scale.real import SET_UP, WITHOUT_TORCH, Note, findings
from ansible_collections.trainmesh.cluster.tests.unit.samples import clusters, healthy

LOAD = {"load1": 0.1, "cores": 64, "throttled": 0.0, "stolen": 0.0, "seconds": 1.0}
KEY = "known before the run"  # callback_plugins/simulated_nodes.py
VARIABLES = {
    "ansible_connection": "from_files",
    "ansible_python_interpreter": "/usr/bin/python3",
    "ansible_user": "trainer",
    "trainmesh_user": "trainer",
    "trainmesh_domain": "example.org",
}


def facts(number: int, names: t.Sequence[str], keys: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """All facts of a node by part, as the fact modules return them: what is said of all nodes alike is said once.

    ``keys`` are the lines of authorized_keys that all nodes have.
    """
    name, host = names[number - 1], clusters.host(number)
    addresses = [healthy.address(other) for other in names]
    asked = fabric_facts.Wish(peers=addresses, names=names, addresses=addresses)
    fabric = {
        **host.fabric,
        **healthy.fabric(name, names),
        "resolution": {peer: healthy.answer(address) for peer, address in zip([*names, *addresses], addresses * 2)},
        "cluster_block": {"nodes": [{"name": other, "address": healthy.address(other)} for other in names]},
    }
    user = healthy.user(name, names)
    user["ssh_client"]["targets"] = {other: user["ssh_client"]["targets"][other] for other in names}
    key = ssh.public_key(host.identity["public_key"]) or {}
    own = [{**each, "fingerprint": key["fingerprint"]} for each in user["own_keys"]]
    rows = [{**row, "file": f"{healthy.HOME}/.ssh/authorized_keys"} for line in keys if (row := ssh.public_key(line))]
    wish = user_facts.Wish(None, names, (), (), (), "", "", 0, addresses, ssh.expected(keys) if keys else None)
    return {
        "fabric": fabric_facts.folded(fabric, asked),
        "gpu": healthy.gpu_facts(number, 0),
        "stack": healthy.stack(),
        "user": user_facts.folded({**user, "own_keys": own, "authorized_keys": rows}, wish),
        "identity": {**host.identity, "user": "trainer", "home": healthy.HOME},
    }


def answers(number: int, names: t.Sequence[str], desired: changes.Desired | None) -> dict[str, t.Any]:
    """What each module answers on a node; all others change nothing. Without ``desired`` the node is a new one."""
    name = names[number - 1]
    every = facts(number, names, desired.plan["ssh"]["authorized_keys"] if desired else ())
    if desired:
        every["present"] = present(desired, name)
    named = {f"trainmesh_facts_{part}": found for part, found in every.items()}
    told = {"node_facts": {"ansible_facts": {**named, "trainmesh_facts_errors": {}}}}
    if not desired:  # it is set up, and not tested
        return told
    links = {other: healthy.link() for other in names if other != name}
    row = healthy.row(name, names)
    if len(names) > probe_arguments.FEW_NODES:  # then each node is tried by one name
        row = {other: {**said, "ssh": {other: said["ssh"][other]}} for other, said in row.items()}
    odd, common = alike.fold_timed(row, {other: (other, healthy.address(other)) for other in names})
    mesh = {"row": odd, "alike": common, "load": LOAD, "unreached": {}}
    return {
        **told,
        "port_listener": {"problems": {}},
        "mesh_probe": {"folded": json.dumps(mesh)},
        "link_probe": {"folded": json.dumps({"row": links, "load": LOAD})},
    }


def present(desired: changes.Desired, name: str) -> dict[str, t.Any]:
    """The present state of a node on which all is as planned, as the part ``present`` of node_facts has it."""
    plan, node = desired.plan, desired.plan["nodes"][name]
    known_hosts, config = (plan["ssh"]["known_hosts"], plan["ssh"]["config"]) if node["logs_in"] else ([], "")
    keys = [*plan["ssh"]["authorized_keys"], *node["loopback_key"]]
    wanted = ssh_files.wanted_state(keys, known_hosts, config, node["certificate"])
    secrets = file_set.rows(file_set.wish_of(role_inputs.job_env({})))
    return {
        "of": [plan["user"], plan["prefix"]],
        "hosts": {
            **dict.fromkeys(("kernel", "file"), node["hostname"]),
            "may_set": True,
            "block": desired.hosts_block,
            "cloud_init": {"text": desired.digest(""), "needs": []},
        },
        "ssh_mesh": {
            **{field: desired.digest(value) for field, value in wanted._asdict().items()},
            "open": [],
            "next": None,
            "ports": [],
        },
        "firewall": {
            "asked": firewall.backends(plan["firewall"]),
            "active": ["ufw"],
            "ufw": {"rules": desired.rules["ufw"]},
        },
        "launch_config": {
            "files": desired.launch_files(name),
            "secrets": desired.digest(secrets),
            "link": "",
            "reserved": [node["reserved_port"]],
            "nccl_conf": desired.digest(node["nccl_conf"]),
        },
    }


def write_inventory(place: pathlib.Path, names: t.Sequence[str]) -> None:
    """The inventory of all nodes."""
    hosts = {name: {"ansible_host": healthy.address(name), "ansible_port": healthy.ssh_port(name)} for name in names}
    place.mkdir(parents=True)
    inventory = yaml.safe_dump({"all": {"hosts": hosts, "vars": VARIABLES}})
    (place / "hosts.yml").write_text(inventory, encoding="utf-8")


def write_answers(place: pathlib.Path, names: t.Sequence[str], desired: changes.Desired | None) -> None:
    """The answers of all nodes, one at a time: together they would fill the memory."""
    for number, name in enumerate(names, 1):
        directory = place / "answers" / healthy.address(name)
        directory.mkdir(parents=True, exist_ok=True)
        for module, answer in answers(number, names, desired).items():
            (directory / f"{module}.json").write_text(json.dumps({"changed": False, **answer}), encoding="utf-8")


def measure(bench: Bench, size: int, note: Note) -> None:
    """A first run, set-up alone; the same with no change; and site.yml with verify, with no change."""
    place, names = bench.place / f"simulated-{size}", healthy.named(size)
    plan = place / "plan.json"

    def run(step: str, *arguments: str) -> Row:
        bench.ended(place / "hosts.yml")
        return bench.ansible(
            f"simulated-{step}-{size}",
            ["ansible-playbook", ROOT / "site.yml", "-i", place / "hosts.yml", *arguments],
            {name: healthy.address(name) for name in names},
            memory=True,
            ANSIBLE_CONNECTION_PLUGINS=str(HERE / "connection_plugins"),
            TRAINMESH_BENCH_ANSWERS=str(place / "answers"),
            ANSIBLE_CALLBACKS_ENABLED="task_count,node_starts,simulated_nodes",
            TRAINMESH_BENCH_PLAN=str(plan),
            TRAINMESH_BENCH_KEY=KEY,
        )

    def first() -> Row:
        row = run("first", *SET_UP)
        made = json.loads(plan.read_text(encoding="utf-8"))
        write_answers(place, names, changes.Desired(made, KEY, role_inputs.launch_scripts()))
        return row

    def unchanged(step: str, *arguments: str) -> Row:
        row = run(step, *arguments)
        found = json.loads(plan.read_text(encoding="utf-8"))["changes"]
        if found:
            raise MeasurementError(f"changes were planned where all is as planned: {str(found)[:300]}")
        return row

    def site() -> Row:
        row = unchanged("site", *WITHOUT_TORCH)
        report = place / ".trainmesh" / "report" / "report.json"
        return {**row, "findings": findings(report)}

    try:
        write_inventory(place, names)
        write_answers(place, names, None)
        note("first", first)
        note("no_change", lambda: unchanged("no_change", *SET_UP))
        note("site", site)
    finally:
        shutil.rmtree(place, ignore_errors=True)
