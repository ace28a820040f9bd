# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node in a directory: what the modules of the roles write there, and what is read of it."""

from __future__ import annotations

import json
import os
import pathlib
import pwd
import shutil
import sys
import types
import typing as t
import venv

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import cloud_init as apply_cloud_init
from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import node_name as apply_node_name
from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import reserved_port as apply_reserved_port
from ansible_collections.trainmesh.cluster.plugins.module_utils._base import search_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import (
    certificates,
    kernel_name,
    ssh_files,
    sshd,
    sshd_return,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import firewall as config_firewall
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import firewall as fabric_firewall
from ansible_collections.trainmesh.cluster.plugins.module_utils._node import present
from ansible_collections.trainmesh.cluster.plugins.modules import (
    cloud_init,
    cluster_firewall,
    command_link,
    file_set,
    hosts_entries,
    nccl_conf,
    node_name,
    python_env,
    python_stack,
    reserved_port,
    ssh_mesh,
    sshd_port,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import apply_steps, changes, cluster, role_inputs
from ansible_collections.trainmesh.cluster.tests.unit.samples import modules
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import gpu, host, options

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
ME = pwd.getpwuid(os.geteuid())
KEY = "the key of this run"
SITE = f"env/lib/python{VERSION}/site-packages"
# As much of torch as a sum needs.
TORCH = """
from . import version
__version__ = version.__version__
class cuda:
    device_count = staticmethod(lambda: 0)
class ones:
    def __init__(self, *size, device):
        self.size = size
    def __matmul__(self, other):
        return self
    def sum(self):
        return 1.0 * self.size[0] ** 3
"""

STEPS = {
    "node_name": node_name,
    "hosts_entries": hosts_entries,
    "cloud_init": cloud_init,
    "ssh_mesh": ssh_mesh,
    "cluster_firewall": cluster_firewall,
    "file_set": file_set,
    "command_link": command_link,
    "reserved_port": reserved_port,
    "nccl_conf": nccl_conf,
}

# The programs of a node, on files beside them.
PROGRAMS = {
    "hostname": 'echo "$1" >"$here/kernel"',
    "sshd": 'cat "$here/sshd-ports"',
    "ufw": """
case "$1" in
    show) cat "$here/ufw.rules" ;;
    prepend) echo "ufw allow from $6 to any proto tcp comment '$8'" >>"$here/ufw.rules" ;;
    delete) grep -vF " $6 " "$here/ufw.rules" >"$here/ufw.new"; mv "$here/ufw.new" "$here/ufw.rules" ;;
esac
""",
    "firewall-cmd": """
kept=running zone=
for word in "$@"; do
    case "$word" in
        --permanent) kept=permanent ;;
        --zone=*) zone=${word#--zone=} ;;
        --get-default-zone) echo public ;;
        --get-active-zones) cat "$here/zones" ;;
        --get-zone-of-interface=*) exec awk -v name="${word#*=}" '
            /^[a-z]/ { zone = $1 } { for (i = 2; i <= NF; i++) if ($1 == "interfaces:" && $i == name) found = zone }
            END { if (!found) exit 2; print found }' "$here/zones" ;;
        --list-rich-rules) cat "$here/$kept.$zone" 2>/dev/null || true ;;
        --add-rich-rule=*) echo "${word#--add-rich-rule=}" >>"$here/$kept.$zone" ;;
        --remove-rich-rule=*)
            grep -vxF "${word#--remove-rich-rule=}" "$here/$kept.$zone" >"$here/new"
            mv "$here/new" "$here/$kept.$zone" ;;
    esac
done
""",
}
ACTIVE_ZONES = """public (default)
  interfaces: eth1 docker0
trusted
  sources: 10.9.0.0/16
training
  interfaces: eth0
"""


class Node:
    """node1 of three as a plan wants it; ``path`` is its disk."""

    def __init__(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.capsys = path, capsys
        self.home, self.prefix = path / "home", path / "opt"
        self.places = present.Places(
            *(
                str(path / name)
                for name in ("hosts", "hostname", "nccl.conf", "reserved", "wheels", "bin/trainmesh", "root")
            )
        )
        self.backends, self.port, self.ssh_port, self.env = ("firewalld", "ufw"), 29500, 0, {"HF_TOKEN": "a secret"}
        self.active = ["ufw"]
        self.lock: dict[str, str] | None = {"torch": "2.13.0+cpu", "accelerate": "1.15.0"}
        self.plan = self.planned()
        for name, content in PROGRAMS.items():
            program = path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\nhere={path}\n{content}\n")
            program.chmod(0o755)
        texts = {"hosts": "127.0.0.1 localhost\n", "hostname": "old\n", "kernel": "old\n", "reserved": "\n"}
        texts |= {"ufw.rules": "ufw allow 22/tcp\n", "zones": ACTIVE_ZONES, "sshd-ports": "port 22\n"}
        for name, text in {**texts, "status": "CapEff:\t000001ffffffffff\n"}.items():
            (path / name).write_text(text)
        self.home.mkdir(mode=0o755)
        self._become_this_node(monkeypatch)

    def _become_this_node(self, monkeypatch: pytest.MonkeyPatch) -> None:
        account = pwd.struct_passwd((*ME[:5], str(self.home), ME[6]))
        monkeypatch.setattr(pwd, "getpwnam", lambda _name: account)
        monkeypatch.setattr(pwd, "getpwuid", lambda _uid: account)
        monkeypatch.setattr(
            os, "uname", lambda: types.SimpleNamespace(nodename=(self.path / "kernel").read_text().strip())
        )
        monkeypatch.setattr(apply_cloud_init, "ROOT", self.places.root)
        monkeypatch.setattr(apply_node_name, "PATH", self.places.hostname)
        monkeypatch.setattr(apply_node_name, "which", lambda _name: None)
        monkeypatch.setattr(apply_node_name, "required", lambda _module, name: str(self.path / "bin" / name))
        monkeypatch.setattr(kernel_name, "STATUS", str(self.path / "status"))
        monkeypatch.setattr(apply_reserved_port, "KERNEL", self.places.reserved)
        monkeypatch.setattr(apply_reserved_port, "FILE", str(self.path / "sysctl.conf"))
        monkeypatch.setattr(search_path, "which", lambda name: str(self.path / "bin" / name))
        monkeypatch.setattr(
            fabric_firewall, "firewalls", lambda *_any: [{"name": name, "active": True} for name in self.active]
        )
        monkeypatch.setattr(config_firewall, "UFW_RULES", ())
        monkeypatch.setattr(sshd_return, "is_armed", (self.path / "armed").exists)
        monkeypatch.setattr(sshd, "listens", lambda port, _limit: not (self.path / "silent").exists())
        monkeypatch.setattr(certificates, "DIRECTORY", str(self.path / "certificates"))
        monkeypatch.setattr(certificates, "REVOKED", str(self.path / "certificates/revoked_keys"))
        monkeypatch.setattr(certificates, "DROP_IN", str(self.path / "certificates.conf"))
        monkeypatch.setattr(sshd, "MAIN", str(self.path / "sshd_config"))
        monkeypatch.setattr(sshd, "apply", self._apply_sshd)

    def _apply_sshd(self, _module: t.Any, change: t.Any, _proof: str, _port: int, _backup: bool) -> str:
        lines = [f"{line.lower()}\n" for line in change.after.splitlines() if line.startswith("Port ")]
        (self.path / "sshd-ports").write_text("".join(lines))
        return ""

    def planned(self, nodes: int = 3, **wish: t.Any) -> dict[str, t.Any]:
        """A plan for so many nodes."""
        hosts = [host(number, [gpu()]) for number in range(1, nodes + 1)]
        plan = cluster.make(hosts, options(**{"prefix": str(self.prefix), "user": ME.pw_name, **wish}), {})
        plan["stack"].update(python=sys.executable, python_version=VERSION, torch_build="cpu")
        return {**plan, "identity": "abcdef12"}

    def present(self, key: str = KEY) -> dict[str, t.Any]:
        """The present state as it arrives at the controller."""
        wish = present.Wish(key, ME.pw_name, str(self.prefix), self.backends, self.port, self.ssh_port)
        arrived: dict[str, t.Any] = json.loads(json.dumps(present.result(present.start(wish, self.places))))
        return arrived

    def changes(self, *roles: str, **more: t.Any) -> list[changes.Change]:
        """What the plan would change, of these roles or all."""
        given = changes.Given(self.env, self.ssh_port, self.lock)._replace(**more)
        found = changes.changes(self.desired(), "node1", self.present(), given)
        return [change for change in found if not roles or change.role in roles]

    def desired(self, key: str = KEY) -> changes.Desired:
        """The desired state of all nodes."""
        return changes.Desired(self.plan, key, role_inputs.launch_scripts())

    def run(self, role: str, check: bool = False) -> list[dict[str, t.Any]]:
        """What the modules of a role answer, with the arguments that the role gives them."""
        return [modules.run(module, self.capsys, check=check, **given) for module, given in self.tasks(role)]

    def would_change(self, role: str) -> bool:
        """Whether the role would do anything, or fail, by its modules in check mode."""
        return any(
            answer.get("failed") or answer["changed"] or answer.get("ready") is False or answer.get("equal") is False
            for answer in self.run(role, check=True)
        ) or (role == "torch_stack" and os.path.isdir(self.places.handout))

    def apply(self, *roles: str) -> dict[str, t.Any]:
        """What node_apply gets for these roles."""
        node = apply_steps.Node("node1", self.plan, {"trainmesh_env": self.env}, self.active)
        return apply_steps.arguments(node, roles)

    def tasks(self, role: str) -> list[tuple[types.ModuleType, dict[str, t.Any]]]:
        """The modules of a role, each with the arguments that the role gives it."""
        plan, prefix, user = self.plan, str(self.prefix), ME.pw_name
        if role in changes.AT_ONCE:
            given = self.apply(role)
            steps = [
                (
                    STEPS[step["name"]],
                    {**step["options"], **({"path": self.paths[step["name"]]} if step["name"] in self.paths else {})},
                )
                for step in given["steps"]
            ]
            if "job_env" in given:
                files = role_inputs.job_env(self.env)
                steps.insert(1, (file_set, {"path": prefix, "user": user, "name": "secrets", "files": files}))
            if role == "ssh_mesh" and self.ssh_port:
                steps.append((sshd_port, {"port": self.ssh_port}))
            return steps
        where, stack = (
            {"prefix": prefix, "user": user, "python_version": plan["stack"]["python_version"]},
            plan["stack"],
        )
        if role == "python_env":
            tools = [{"command": name} for name in changes.commands(plan, "node1")]
            return [(python_env, {**where, "kind": stack["python_env"], "python": stack["python"], "tools": tools})]
        return [(python_stack, {**where, "packages": self.lock or {}, "torch_build": stack["torch_build"]})]

    @property
    def paths(self) -> dict[str, str]:
        """Where modules write on this node that would else write on the host itself."""
        places = self.places
        return {"hosts_entries": places.hosts, "nccl_conf": places.nccl_conf, "command_link": places.command}

    def make_environment(self, name: str = "") -> None:
        """What the roles' commands make: the environment, the packages of the lock, and their record.

        ``name`` is that of one beside the one in use.
        """
        base = self.prefix / "environments" / name if name else self.prefix
        venv.create(base / "env", symlinks=True)
        torch = base / SITE / "torch"
        torch.mkdir()
        (torch / "version.py").write_text(f"__version__ = '{(self.lock or {}).get('torch')}'\ncuda = None\n")
        (torch / "__init__.py").write_text(TORCH)
        for package, version in (self.lock or {}).items():
            self.install(package, version, base)
        (base / "var/stack-packages").write_text("".join(f"{package}\n" for package in sorted(self.lock or {})))

    def install(self, name: str, version: str, base: pathlib.Path | None = None) -> None:
        """Put a package into an environment, as far as its metadata goes."""
        site = (base or self.prefix) / SITE
        (site / f"{name}-{version}.dist-info").mkdir()
        (site / f"{name}-{version}.dist-info/RECORD").touch()

    def uninstall(self, name: str) -> None:
        """Take a package out."""
        for path in self.site.glob(f"{name}-*.dist-info"):
            shutil.rmtree(path)

    @property
    def site(self) -> pathlib.Path:
        """Where the environment has its packages."""
        return self.prefix / SITE

    @property
    def key(self) -> pathlib.Path:
        """The node's own private key."""
        return self.home / ".ssh" / ssh_files.OURS / ssh_files.KEY_NAME
