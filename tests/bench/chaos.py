# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a cluster comes out the same when the runs that build it are killed.

``python tests/bench/chaos.py [--kills 30] [--seed N] [ARGUMENTS OF site.yml ...]`` lets site.yml build a cluster of
embedded nodes undisturbed. Then, on fresh nodes of the same names, it kills run after run (SIGKILL) at moments drawn
from the length of the first one, and starts the next at once. A run that ends before its moment has to have left
exactly what the undisturbed one did; it goes on with fresh nodes. The last run is let alone.

Compared are all files that differ from the nodes' image with their modes and owners, the rules of the firewalls,
listening ports, processes, temporary files, and on the controller the state directory and Ansible's own directory. The
keys and the cluster's id, which are born in each build, are replaced by the names of their owners, and the times that
uv notes beside a package are left out; nothing else is.

Half of the kills, as when memory is short, take ansible-playbook's process group alone: its workers and ssh's masters
go on. The other half take them all, as when the controller is switched off.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import hashlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import typing as t
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME, NODES = "chaos", ("node1", "node2", "node3")
PLACE = ROOT / ".cache" / NAME
INVENTORY, STATE, STORE = PLACE / "hosts.yml", PLACE / ".trainmesh", ROOT / ".cache/molecule/store/.trainmesh"
# Each setting makes a run manage one more thing: a second port of sshd, a reserved port, a secret file.
SETTINGS = {
    "trainmesh_wheelhouse": "auto",
    "trainmesh_ssh_port": 2200,
    "trainmesh_master_port": 40000,
    "trainmesh_env": {"CHAOS": "1"},
}
MARK = f"TRAINMESH_CHAOS={uuid.uuid4().hex}"  # in the environment of all that a run starts, wherever that goes
# What systemd, dpkg and the interpreter write by themselves, with times or random names in it, and records of jobs.
OTHERS = re.compile(
    r"/var/(log|lib/systemd|lib/dbus|lib/apt|cache/apt|cache/ldconfig)(/|$)|/etc/(machine-id|resolv\.conf|shadow-?)$|"
    r"/systemd-private-|/__pycache__(/|$)|/opt/trainmesh/var/runs/"
)
SHOW = """
hostname; cat /proc/sys/net/ipv4/ip_local_reserved_ports; ss -Hltn | awk '{print $4}' | grep -v 127.0.0.11 | sort
! command -v ufw >/dev/null || ufw status
! command -v firewall-cmd >/dev/null || { firewall-cmd --list-all; firewall-cmd --permanent --list-all; } | sort
find /tmp /var/tmp /dev/shm /run -xdev -mindepth 1 ! -path '*/systemd*' ! -path '/run/user/*' | sort
"""
# uv notes for each package when the wheel on the node was written, and that note's digest in the list of its files.
UV_NOTE, UV_DIGEST = "/uv_cache.json", re.compile(rb"^[^\n]*/uv_cache\.json,[^\n]*\n", re.MULTILINE)
BLOB = re.compile(r"AAAA[A-Za-z0-9+/]{60,}=*")
PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----\n", re.DOTALL)
SMALL, SETTLE_S = 100_000, 90
Snapshot = dict[str, str]


def environment() -> dict[str, str]:
    """As a user has it, but with directories of our own for what Ansible and Python keep on the controller."""
    name, _equals, value = MARK.partition("=")
    own = {"ANSIBLE_HOME": str(PLACE / "home"), "TMPDIR": str(PLACE / "tmp"), name: value}
    return {**os.environ, **own, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}


def lab(state: str) -> None:
    """Bring the nodes up, or take them down."""
    given = {"local_nodes_name": NAME, "local_nodes_inventory_dir": str(PLACE), "local_nodes_vars": SETTINGS}
    argv = ["ansible-playbook", str(ROOT / "playbooks/local_cluster.yml"), "-e", f"state={state}"]
    done = subprocess.run(
        [*argv, "-e", json.dumps(given)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )
    if done.returncode:
        sys.exit(f"The nodes could not be brought {state}: {done.stdout[-2000:]}{done.stderr[-500:]}")


def fresh() -> None:
    """New nodes, and a controller that has never seen them; wheels that were once downloaded are kept."""
    end_all()
    containers = [f"trainmesh-{NAME}-{node}" for node in NODES]  # their network stays, and so do their addresses
    subprocess.run(["docker", "rm", "--force", "--volumes", *containers], check=False, capture_output=True)
    for path in (PLACE / "home", PLACE / "tmp"):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    STATE.mkdir(exist_ok=True)
    for path in STATE.iterdir():
        if path.name not in ("lock", "wheelhouse"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (STORE / "lock", STORE / "wheelhouse"):
        if path.is_dir() and not (STATE / path.name).exists():
            shutil.copytree(path, STATE / path.name, copy_function=os.link, symlinks=True)
    lab("up")


class Run:
    """One run of site.yml, in a process group of its own."""

    def __init__(self, arguments: t.Sequence[str]) -> None:
        self.started = time.monotonic()
        argv = ["ansible-playbook", str(ROOT / "site.yml"), "-i", str(INVENTORY), *arguments]
        self.log = PLACE / "run.log"
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                start_new_session=True,
            )

    def ends_within(self, seconds: float | None) -> bool:
        """Wait for its end; ends this program where the run failed."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        if status:
            sys.exit(f"A run that nobody disturbed ended with {status}: {self.log.read_text(encoding='utf-8')[-6000:]}")
        return True

    def kill(self, all_of_it: bool) -> str:
        """End it without a warning; the last task that it had begun."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if all_of_it:
            end_all()
        lock = STATE / "run.json"
        if not lock.exists() or json.loads(lock.read_text(encoding="utf-8"))["pid"] != self.process.pid:
            for path in (PLACE / "home/tmp").glob(f"ansible-local-{self.process.pid}?*"):
                shutil.rmtree(path)  # before a run has the lock, no other can know that it was one of ours
        begun = re.findall(r"^TASK \[(.*?)\] \*", self.log.read_text(encoding="utf-8"), re.MULTILINE)
        return str(begun[-1]) if begun else "the start"


def marked() -> dict[int, str]:
    """The processes on this machine that runs have started, with their command lines."""
    found = {}
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if MARK.encode() in (proc / "environ").read_bytes().split(b"\0"):
                found[int(proc.name)] = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def end_all() -> None:
    """End all that runs have started; what one of them starts meanwhile, too."""
    while left := marked():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def on_node(node: str, script: str, given: str = "") -> bytes:
    """The output of a shell script on a node."""
    argv = ["docker", "exec", "-i", f"trainmesh-{NAME}-{node}", "sh", "-c", script]
    return subprocess.run(
        argv, input=given.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    ).stdout


def files_of(node: str) -> dict[str, tuple[str, bytes]]:
    """All that differs from the image on a node: path to what it is, with mode and owner, and the content."""
    container = f"trainmesh-{NAME}-{node}"
    lines = subprocess.run(
        ["docker", "diff", container], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    lines = [line for line in lines if not OTHERS.search(line[2:])]
    found = {line[2:]: ("removed", b"") for line in lines if line[0] == "D"}
    names = "".join(f"{line[2:]}\0" for line in lines if line[0] != "D")
    archive = on_node(node, "tar --create --null --no-recursion --ignore-failed-read -P --files-from=-", names)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for item in tar:
            what = (
                f"{item.type.decode()} {item.mode:o} {item.uname}:{item.gname} {item.linkname if item.issym() else ''}"
            )
            stream = tar.extractfile(item) if item.isfile() or item.islnk() else None
            content = stream.read() if stream and not item.name.endswith(UV_NOTE) else b""
            if item.name.endswith(".dist-info/RECORD"):
                content = UV_DIGEST.sub(b"", content)
            found[item.name.rstrip("/")] = what, content
    return found


def processes(node: str) -> set[str]:
    """The command lines on a node, but those that ask for them."""
    lines = on_node(node, "ps -eo args").decode(errors="replace").splitlines()
    return {re.sub(r"\d+", "N", line.strip()) for line in lines if "ps -eo args" not in line}


def snapshot(wanted: Snapshot | None = None) -> Snapshot:
    """The state that the cluster and the controller are in; with ``wanted``, processes may take a while to end."""
    masters = {pid for pid, command in marked().items() if command.startswith("ssh: ") and "[mux]" in command}
    for pid in masters:
        os.kill(pid, signal.SIGTERM)  # ssh keeps its connections for the next run
    while masters & set(marked()):
        time.sleep(0.1)
    files = {node: files_of(node) for node in NODES}
    keys = {}
    for node, tree in files.items():
        for path, (_what, content) in tree.items():
            if path.endswith(".pub"):
                keys[content.decode().split()[1]] = f"<key {path} of {node}>"
    keys[(PLACE / ".trainmesh-local/id_ed25519.pub").read_text(encoding="utf-8").split()[1]] = "<key of the controller>"
    identity = json.loads((STATE / "cluster.json").read_text(encoding="utf-8"))["id"]

    def said(what: str, content: bytes) -> str:
        if len(content) > SMALL or b"\0" in content:
            return f"{what}\n{hashlib.sha256(content).hexdigest()}"
        text = PRIVATE.sub(lambda match: public(match.group()), content.decode(errors="replace"))
        return f"{what}\n" + BLOB.sub(lambda match: keys.get(match.group(), match.group()), text).replace(
            identity, "<id>"
        )

    shot = {f"{node}:{path}": said(*found) for node, tree in files.items() for path, found in tree.items()}
    for node in NODES:
        shot[f"{node} shows"] = on_node(node, SHOW).decode(errors="replace")
        before = set((wanted or {}).get(f"{node} runs", "").splitlines())
        deadline = time.monotonic() + SETTLE_S
        while (more := processes(node) - before) and wanted is not None and time.monotonic() < deadline:
            time.sleep(1)
        shot[f"{node} runs"] = "\n".join(sorted(before | more))
    shot["controller runs"] = "\n".join(marked().values())
    for place in sorted(PLACE.rglob("*")):
        name = place.relative_to(PLACE)
        if name.parts[0] in (".trainmesh", "home", "tmp"):
            # The report and the lock of the run tell the time.
            fixed = place.is_file() and name.parts[1] not in ("report", "run.json", "lock", "wheelhouse")
            shot[f"controller:{name}"] = said(f"{place.lstat().st_mode:o}", place.read_bytes() if fixed else b"")
    return shot


def public(private: str) -> str:
    """The public half of a private key, as it stands in a line of a key file."""
    path = PLACE / "key"
    path.touch(0o600)
    path.write_text(private, encoding="utf-8")
    try:
        return subprocess.run(["ssh-keygen", "-y", "-f", path], check=True, capture_output=True, text=True).stdout
    finally:
        path.unlink()


def differences(wanted: Snapshot, found: Snapshot) -> list[str]:
    """What is not as in the undisturbed build; of a directory that is there too much, it alone."""
    lines: list[str] = []
    left: list[str] = []
    for name in sorted(wanted.keys() | found.keys()):
        before, after = wanted.get(name), found.get(name)
        if after is None:
            lines.append(f"{name} is missing")
        elif before is None:
            if not left or not name.startswith(f"{left[-1]}/"):
                left.append(name)
                lines.append(f"{name} is left: {after[:300]}")
        elif before != after:
            changes = difflib.unified_diff(
                before.splitlines(), after.splitlines(), "undisturbed", "killed", "", "", 0, ""
            )
            lines += [f"{name}:", *changes]
    return lines


def build(given: argparse.Namespace, arguments: list[str]) -> int:
    """Build once undisturbed, then with kills; the number of builds that differed."""
    draw, faults, builds, number = random.Random(given.seed), 0, 0, 0
    lab("down")
    fresh()
    run = Run(arguments)
    run.ends_within(None)
    length = time.monotonic() - run.started
    wanted = snapshot()
    print(f"seed {given.seed}; undisturbed: {length:.0f} s, {len(wanted)} things to compare", flush=True)
    fresh()
    disturbed = False
    while True:
        run = Run(arguments)
        last = number == given.kills
        moment, all_of_it = draw.uniform(0, length), draw.random() < 0.5
        if run.ends_within(None if last else moment):
            builds += 1
            if not disturbed:  # other work on this machine has begun or ended since
                length = time.monotonic() - run.started
            found = differences(wanted, snapshot(wanted))
            faults += bool(found)
            print(
                "\n".join([f"build {builds} ended after {number} kills, {len(found)} lines of difference", *found]),
                flush=True,
            )
            if last:
                return faults
            fresh()
            disturbed = False
            continue
        number, disturbed = number + 1, True
        task = run.kill(all_of_it)
        print(f"kill {number} after {moment:.1f} s, {'all' if all_of_it else 'the group'}, in: {task}", flush=True)


def main() -> int:
    """Take the nodes down, however it ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given, arguments = parser.parse_known_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    try:
        return int(bool(build(given, arguments)))
    finally:
        end_all()
        lab("down")


if __name__ == "__main__":
    sys.exit(main())
