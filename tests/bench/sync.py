# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a file takes to every node: ``trainmesh sync`` beside rsync one after the other, ``pdcp`` and ``clush``.

``python tests/bench/sync.py [--nodes 16] [--mbit 20] [--mib 20] [--image IMAGE]`` makes containers of an image of the
demo cluster, which has sshd, rsync and pdsh, lets each send so many Mbit/s, and removes them in the end. ``clush``
comes from this machine's package clustershell and is left out without it.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node  # noqa: E402
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render.node_files import (  # noqa: E402
    node_files,
    shared_files,
)

FILES = ROOT / "roles/launch_config/files"
NETWORK = NAME = "trainmesh-syncbench"
PREFIX, DATA = "/opt/trainmesh", "/srv/data"
CLUSH = "/usr/lib/python3/dist-packages/ClusterShell"
# the keys are made while the container starts
HOST_KEY = "until cat /etc/ssh/ssh_host_ed25519_key.pub 2>/dev/null; do sleep 0.2; done"
START = "ssh-keygen -A && mkdir -p /run/sshd && exec /usr/sbin/sshd -D -o MaxStartups=100 -o MaxSessions=100"


def docker(*words: str, text: str = "") -> str:
    """What docker answers."""
    done = subprocess.run(["docker", *words], input=text, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"docker {' '.join(words[:4])}: {done.stderr.strip()[-400:]}")
    return done.stdout


def on(node: str, command: str) -> str:
    """What a shell on a node answers."""
    return docker("exec", f"{NAME}-{node}", "bash", "-c", command)


def remove() -> None:
    """No nodes, also none of a run that was killed."""
    found = docker("ps", "-aq", "--filter", f"label={NAME}").split()
    if found:
        docker("rm", "-f", "-v", *found)
    if NETWORK in docker("network", "ls", "--format", "{{.Name}}").split():
        docker("network", "rm", NETWORK)


def make(names: t.Sequence[str], image: str) -> None:
    """The nodes, which log in to each other as root."""
    docker("network", "create", NETWORK)
    for name in names:
        named = ["--label", NAME, "--name", f"{NAME}-{name}", "--hostname", name, "--network-alias", name]
        run = ["--network", NETWORK, "--cap-add", "NET_ADMIN", "--entrypoint", "bash", image, "-c", START]
        docker("run", "-d", *named, *run)
    with tempfile.TemporaryDirectory() as place:
        key = f"{place}/id_ed25519"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        shutil.copy(f"{key}.pub", f"{place}/authorized_keys")
        hosts = [f"{name} {on(name, HOST_KEY)}" for name in names]
        pathlib.Path(place, "known_hosts").write_text("".join(hosts), encoding="ascii")
        prefix = pathlib.Path(place, "prefix")
        for folder in ("bin", "lib", "libexec"):
            shutil.copytree(FILES / folder, prefix / folder, ignore=shutil.ignore_patterns("__pycache__"))
        nodes = [Node(name, rank, name, 22, 1, "eth0", name, name) for rank, name in enumerate(names)]
        cluster = Cluster(tuple(nodes), "root", PREFIX, 29500, "fp32")
        for node in nodes:
            for file in [*shared_files(cluster), *node_files(cluster, node)]:
                path = prefix / file["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(file["content"], encoding="utf-8")
            on(node.name, f"mkdir -p -m 700 /root/.ssh; mkdir -p {PREFIX}/var {DATA}")
            for name in ("id_ed25519", "authorized_keys", "known_hosts"):
                docker("cp", f"{place}/{name}", f"{NAME}-{node.name}:/root/.ssh/{name}")
            docker("cp", f"{prefix}/.", f"{NAME}-{node.name}:{PREFIX}")
            on(node.name, f"chown -R root:root /root/.ssh {PREFIX}; chmod 600 /root/.ssh/*")
    if pathlib.Path(CLUSH).exists():
        docker("cp", CLUSH, f"{NAME}-{names[0]}:{CLUSH}")


def ways(names: t.Sequence[str]) -> dict[str, str]:
    """What is measured: how it is called, and the command on the head."""
    head, *others = names
    file = f"{DATA}/model.bin"
    every = ",".join(others)
    found = {
        "rsync, one node after the other": f"for n in {' '.join(others)}; do rsync -a {file} $n:{DATA}/; done",
        "pdcp": f"PDSH_RCMD_TYPE=ssh pdcp -f 1024 -w {every} {file} {DATA}/",
    }
    if on(head, f"ls -d {CLUSH} || true"):
        found["clush --copy"] = f"python3 -m ClusterShell.CLI.Clush -f 1024 -w {every} --copy {file} --dest {DATA}/"
    found["trainmesh sync --no-verify"] = f"{PREFIX}/bin/trainmesh sync --no-verify {file}"
    found["trainmesh sync"] = f"{PREFIX}/bin/trainmesh sync {file}"
    return found


def measure(names: t.Sequence[str], command: str) -> float:
    """Seconds until every node has it; the content is compared afterwards."""
    for name in names[1:]:
        on(name, f"rm -rf {DATA}/*")
    begun = time.monotonic()
    said = on(names[0], f"{command} 2>&1 || echo FAILED")
    seconds = time.monotonic() - begun
    if "FAILED" in said:
        sys.exit(f"{command}: {said[-600:]}")
    sums = {on(name, f"sha256sum <{DATA}/model.bin || true") for name in names}
    if len(sums) != 1:
        sys.exit(f"{command}: the content differs: {said[-600:]}")
    return seconds


def main() -> None:
    """Measure each and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--mbit", type=int, default=20, help="what each node can send")
    parser.add_argument("--mib", type=int, default=20, help="size of the file")
    parser.add_argument("--image", required=True, help="of the demo cluster: docker images trainmesh-node")
    parser.add_argument("--only", metavar="WORD", default="", help="what has this word in its name")
    given = parser.parse_args()
    names = [f"n{number}" for number in range(1, given.nodes + 1)]
    remove()
    try:
        make(names, given.image)
        for name in names:
            on(name, f"tc qdisc add dev eth0 root tbf rate {given.mbit}mbit burst 64kb latency 200ms")
        on(names[0], f"head -c {given.mib}M /dev/urandom >{DATA}/model.bin")
        one = measure(names[:2], f"rsync -a {DATA}/model.bin {names[1]}:{DATA}/")
        goal = 1.5 * math.log2(given.nodes) * one
        print(f"{given.nodes} nodes, {given.mib} MiB, {given.mbit} Mbit/s: one copy {one:.1f} s, goal {goal:.1f} s\n")
        print("| | s | copies' time | beside rsync |\n|---|---|---|---|")
        first = 0.0
        for name, command in ways(names).items():
            if given.only not in name:
                continue
            seconds = measure(names, command)
            first = first or seconds
            print(f"| {name} | {seconds:.1f} | {seconds / one:.1f} | {seconds / first:.2f} |", flush=True)
    finally:
        remove()


if __name__ == "__main__":
    main()
