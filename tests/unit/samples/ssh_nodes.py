# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes of a cluster on loopback addresses, each with an sshd and ssh files of its own."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import ssh_config
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import ssh_files
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import ssh
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.authority import Authority
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.trust import Seen, Trust
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import ssh as render_ssh

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
USER = getpass.getuser()
LIMIT_S = 60.0


def keygen(*words: str) -> None:
    subprocess.run(["ssh-keygen", "-q", *words], check=True, stdin=subprocess.DEVNULL)


class SshNode:
    """A node: its files lie below ``directory``, its sshd listens on ``address``."""

    def __init__(self, directory: pathlib.Path, number: int) -> None:
        self.name, self.address = f"node{number}", f"127.0.0.{10 + number}"
        self.directory, self.problem = directory / self.name, ""
        (self.directory / ".ssh/trainmesh").mkdir(parents=True, mode=0o700)
        self.key, self.host_key = self.directory / ".ssh/trainmesh/id_ed25519", self.directory / "host"
        for key in (self.key, self.host_key):
            keygen("-t", "ed25519", "-N", "", "-f", str(key))
        with socket.create_server((self.address, 0)) as listener:
            self.port = listener.getsockname()[1]
        self.drop_in = self.directory / "drop-in.conf"
        config = [
            f"ListenAddress {self.address}:{self.port}",
            f"Include {self.directory}/drop-in*.conf",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self.directory}/.ssh/authorized_keys",
            f"PidFile {self.directory}/pid",
            *("StrictModes no", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "LogLevel VERBOSE"),
        ]
        self.config = self.directory / "sshd_config"
        self.config.write_text("".join(f"{line}\n" for line in config))
        self.log = self.directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(SSHD), "-D", "-f", str(self.config), "-E", str(self.log)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 5) as found:
                if found.recv(4) == b"SSH-":
                    return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(LIMIT_S)
            self.process = None

    def node(self, rank: int) -> Node:
        public, host = (" ".join(path.read_text().split()[:2]) for path in self._publics())
        return Node(
            name=self.name,
            rank=rank,
            address=self.address,
            ssh_port=self.port,
            slots=1,
            interface="lo",
            hostname=self.name,
            fqdn=f"{self.name}.internal",
            public_key=public,
            addresses=(self.address,),
            sources=(self.address,),
            host_keys=(host,),
        )

    def _publics(self) -> list[pathlib.Path]:
        return [pathlib.Path(f"{path}.pub") for path in (self.key, self.host_key)]

    def facts(self) -> dict[str, t.Any]:
        """What user_facts says of the node."""
        tree, home = Tree(), str(self.directory)
        told = subprocess.run([str(SSHD), "-T", "-f", str(self.config)], check=True, capture_output=True, text=True)
        paths = ssh_config.settings(told.stdout).get("hostcertificate", [])
        lines = [line for path in paths if (line := ssh.certificate(tree, path))]
        return {
            "own_keys": ssh.own_keys(tree, home),
            "authorized_keys": ssh.authorized(tree, [f"{home}/.ssh/authorized_keys"]),
            "known_hosts": {"files": ssh.known_hosts(tree, home), "authorities": ssh.authorities(tree, home)},
            "sshd": {"certificates": {"host": lines, "drop_in": self.drop_in.exists(), "problem": self.problem}},
        }

    def writes(self, plan: t.Mapping[str, t.Any]) -> t.Iterator[str]:
        """Make the node as planned, as the role does: each step is one file, after which a run may be cut short."""
        own = plan["nodes"][self.name]
        if own["sshd_certificates"]:
            yield from self._sshd(own["host_certificates"], plan["ssh"]["revoked"])
        lines = [*own["authority_lines"], *plan["ssh"]["authorized_keys"], *own["loopback_key"]]
        # ssh takes ~ from the password database
        config = plan["ssh"]["config"].replace("~/", f"{self.directory}/")
        wishes = ssh_files.file_wishes(
            str(self.directory), lines, plan["ssh"]["known_hosts"], config, own["certificate"]
        )
        for path, text, _mode in wishes:
            file = pathlib.Path(path)
            if not file.exists() or file.read_text() != text:
                file.write_text(text)
                yield f"{self.name}: {file.relative_to(self.directory)}"
        certificate = pathlib.Path(ssh_files.certificate_file(str(self.directory)))
        if not own["certificate"] and certificate.exists():
            certificate.unlink()
            yield f"{self.name}: without its certificate"

    def _sshd(self, lines: t.Sequence[str], revoked: str) -> t.Iterator[str]:
        certificate, listed = self.directory / "host-cert.pub", self.directory / "revoked"
        if not lines:
            self.drop_in.unlink()
            self.restart()
            yield f"{self.name}: sshd without its drop-in"
            return
        files = {certificate: f"{lines[0]}\n".encode(), listed: base64.b64decode(revoked)}
        files[self.drop_in] = f"HostCertificate {certificate}\nRevokedKeys {listed}\n".encode()
        changed = [path for path, content in files.items() if not path.exists() or path.read_bytes() != content]
        for path in changed:
            path.write_bytes(files[path])
            yield f"{self.name}: {path.name}"
        if {certificate, self.drop_in} & set(changed):
            self.restart()
            yield f"{self.name}: sshd reloaded"

    def log_in(self, target: SshNode, *options: str) -> subprocess.CompletedProcess[str]:
        """Log in to another node, from the address of this one, with the files of this one alone."""
        config = self.directory / ".ssh/trainmesh/config"
        words = [
            "-T",
            "-o",
            "KexAlgorithms=curve25519-sha256",
            "-F",
            str(config),
            "-b",
            self.address,
            "-o",
            "BatchMode=yes",
            "-o",
            "GlobalKnownHostsFile=/dev/null",
        ]
        words += [*options, "-o", f"User={USER}", target.name, "echo", "in"]
        return subprocess.run(
            ["ssh", *words], check=False, capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL
        )


def cluster_of(nodes: t.Sequence[SshNode], topology: str = "mesh") -> Cluster:
    rows = tuple(node.node(rank) for rank, node in enumerate(nodes))
    return Cluster(rows, USER, "/opt/trainmesh", 29500, "fp32", ssh_topology=topology)


class Run:
    """The plans of a cluster on these nodes; each is made from what the nodes say just then."""

    def __init__(self, directory: pathlib.Path, nodes: t.Sequence[SshNode], identity: str = "abcd1234") -> None:
        self.state, self.nodes, self.identity = str(directory / "state"), list(nodes), identity
        self.members: set[str] = set()

    def plan(
        self, trust: str, write: bool = True, cluster: Cluster | None = None, **options: t.Any
    ) -> dict[str, t.Any]:
        """What cluster_plan puts into its plan for ssh."""
        cluster = cluster or cluster_of(self.nodes)
        keys, hosts = render_ssh.authorized_keys(cluster), render_ssh.known_hosts(cluster)
        plan: dict[str, t.Any] = {"warnings": [], "reasons": []}
        plan["ssh"] = {"authorized_keys": keys, "known_hosts": hosts, "config": render_ssh.client_config(cluster)}
        plan["nodes"] = {node.name: {"loopback_key": render_ssh.loopback_key(node)} for node in cluster.nodes}
        seen = Seen({node.name: node.facts() for node in self.nodes}, set(self.members))
        wanted = {"ssh_trust": trust, "ssh_validity": "52w", **options}
        Trust(cluster, Authority(self.state, self.identity), seen, wanted, write).enter(plan)
        return plan

    def site(self, trust: str, nodes: t.Sequence[SshNode] | None = None, **options: t.Any) -> t.Iterator[str]:
        """A run of site.yml over these nodes, file by file; it may be left at any of them."""
        plan = self.plan(trust, **options)
        self.members |= {node.name for node in self.nodes}
        for node in nodes or self.nodes:
            yield from node.writes(plan)

    def refused(self) -> list[str]:
        """The logins between the nodes that fail, all of them at once."""
        pairs = [(source, target) for source in self.nodes for target in self.nodes if source is not target]
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
            results = list(pool.map(lambda pair: pair[0].log_in(pair[1]), pairs))
        bad = [(pair, result) for pair, result in zip(pairs, results) if result.stdout != "in\n"]
        return [f"{source.name} to {target.name}: {result.stderr[-300:]}" for (source, target), result in bad]
