# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes of the measurements: containers of a cluster of their own, made by playbooks/local_cluster.yml."""

from __future__ import annotations

import json
import pathlib
import shutil
import socket
import subprocess
import time
import typing as t

import yaml

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes import limits, nodes
from ansible_collections.trainmesh.cluster.tests.bench.scale.ansible_run import ROOT, Bench
from ansible_collections.trainmesh.cluster.tests.bench.scale.meter import Group, MeasurementError, run

# docker_nodes wants room for the training environment of each new node, which these never get: few at a time pass.
AT_ONCE = 4
WAIT_S = 60.0
# The kinds of death, in turn: no answer from the network, no answer from sshd, and nobody on its port.
DEATHS = (("stop", "--time", "2"), ("pause",), ("exec", "systemctl", "stop", "ssh.service", "ssh.socket"))


def docker(*arguments: str) -> str:
    """What docker answers."""
    try:
        done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True)
    except OSError as error:
        raise MeasurementError(f"docker: {error.strerror}") from error
    if done.returncode:
        raise MeasurementError(f"docker {' '.join(arguments[:3])}: {done.stderr.strip()[-300:]}")
    return done.stdout


def too_small(count: int) -> list[str]:
    """Limits of this machine's kernel that so many nodes would run into, each with the command that raises it."""
    labelled = f"label={nodes.LABEL}"
    others = len(docker("ps", "-q", "--filter", labelled).split())
    return limits.warnings(others + count, count, Tree())


class Nodes:
    """Containers; ``hosts`` are name and address of those that are there."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.cluster = bench, bench.name
        self.directory = bench.place / "nodes"
        self.hosts: dict[str, str] = {}
        self._groups: list[Group] = []
        self._bridge = ""

    def _playbook(self, state: str, count: int) -> None:
        given = {
            "state": state,
            "nodes": count,
            "local_nodes_name": self.cluster,
            "local_nodes_list": [],
            "local_nodes_defaults": {"firewall": "ufw"},
            "local_nodes_inventory_dir": str(self.directory),
            "local_nodes_vars": {},
        }
        log = self.bench.logs / f"nodes-{state}.log"
        command = ["ansible-playbook", str(ROOT / "playbooks" / "local_cluster.yml"), "-e", json.dumps(given)]
        row = run(command, self.bench.group, cwd=ROOT, environment=self.bench.environment, log=log)
        if row["rc"]:
            raise MeasurementError(f"the nodes can't be made {state}, see {log}: ...{log.read_text()[-600:]}")

    def up(self, count: int) -> None:
        """So many nodes, all of them new."""
        self.down()
        self.directory.mkdir(parents=True)
        for more in [*range(AT_ONCE, count, AT_ONCE), count]:
            self._playbook("up", more)
        inventory = yaml.safe_load((self.directory / "hosts.yml").read_text(encoding="utf-8"))["all"]
        self.variables = inventory["vars"]
        hosts = {name: found["ansible_host"] for name, found in inventory["hosts"].items()}
        # As they were made, so that the node that is added is the last and not node9, in the middle of all addresses.
        self.hosts = {name: hosts[name] for name in sorted(hosts, key=lambda name: (len(name), name))}
        self._groups = []
        for name in self.hosts:
            ask = ["inspect", "--format", "{{.Id}} {{.State.Pid}}", nodes.container_name(self.cluster, name)]
            identity, pid = docker(*ask).split()
            self._groups.append(Group.of(int(pid), identity))
        network = docker("network", "inspect", "--format", "{{.Id}}", nodes.network_name(self.cluster)).strip()
        self._bridge = f"br-{network[:12]}"

    def down(self) -> None:
        """No nodes, also none of an earlier run that was killed."""
        found = docker("ps", "-aq", "--filter", f"label={nodes.LABEL}={self.cluster}").split()
        if found:
            docker("rm", "-f", "-v", *found)
        network = nodes.network_name(self.cluster)
        deadline = time.monotonic() + WAIT_S
        while network in docker("network", "ls", "--format", "{{.Name}}").split():
            try:
                docker("network", "rm", network)
            except MeasurementError:  # on a busy machine it has containers for a while after they are gone
                if time.monotonic() > deadline:
                    raise
                time.sleep(2)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.hosts = {}

    def inventory(self, names: t.Sequence[str], leaving: t.Sequence[str] = ()) -> pathlib.Path:
        """An inventory of some of them; always the same file, beside which the collection keeps its state."""
        path = self.directory / "hosts.yml"
        hosts = {
            name: {
                "ansible_host": self.hosts[name],
                "ansible_user": "root",
                **({"trainmesh_state": "absent"} if name in leaving else {}),
            }
            for name in names
        }
        path.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": self.variables}}), encoding="utf-8")
        return path

    def cpu_seconds(self) -> float:
        """CPU of all of them; a node that is stopped has no group, and a new one when it is back."""
        return sum(group.seconds() for group in self._groups if group.path.is_dir())

    def bytes_from_controller(self) -> int:
        """What the controller has sent to them all: what the bridge itself has sent, and no traffic between nodes."""
        return int(pathlib.Path(f"/sys/class/net/{self._bridge}/statistics/tx_bytes").read_text(encoding="ascii"))

    def kill(self, names: t.Sequence[str]) -> None:
        """Let nodes die, each in another way."""
        for number, name in enumerate(names):
            verb, *arguments = DEATHS[number % len(DEATHS)]
            container = nodes.container_name(self.cluster, name)
            docker(verb, container, *arguments) if verb == "exec" else docker(verb, *arguments, container)

    def revive(self, names: t.Sequence[str]) -> None:
        """Undo kill()."""
        for number, name in enumerate(names):
            container = nodes.container_name(self.cluster, name)
            if number % len(DEATHS) == 0:
                docker("start", container)
            elif number % len(DEATHS) == 1:
                docker("unpause", container)
            else:
                docker("exec", container, "systemctl", "start", "ssh.service")
        for name in names:
            self._wait(name)

    def _wait(self, name: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                with socket.create_connection((self.hosts[name], 22), timeout=5) as connection:
                    if connection.recv(4) == b"SSH-":
                        return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise MeasurementError(f"sshd of {name} does not come back")
            time.sleep(0.5)
