# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller finds no change exactly where the modules, on the node itself, would change nothing."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import certificates
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import cloud_init
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import prefix
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import changes
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import public_key
from ansible_collections.trainmesh.cluster.tests.unit.samples.nodes import Node

WRITTEN = ("hosts", "ssh_mesh", "firewall", "launch_config")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


@pytest.fixture
def node(tmp_path, monkeypatch, capsys):
    return Node(tmp_path, monkeypatch, capsys)


def agree(node, role):
    """Whether there are changes, on which both sides agree."""
    found = node.changes(role)
    assert bool(found) == node.would_change(role), found
    return bool(found)


def write(path, edit):
    path.write_text(edit(path.read_text()))


def append(name, text):
    return lambda node: write(node.path / name, lambda have: have + text)


def replace(name, old, new):
    def edit(node):
        assert old in (node.path / name).read_text()
        write(node.path / name, lambda have: have.replace(old, new))

    return edit


def mode(name, bits):
    return lambda node: (node.path / name).chmod(bits)


def owner(name):
    return lambda node: os.chown(node.path / name, 4711, -1)


def remove(name):
    return lambda node: (node.path / name).unlink()


def link(node, target=""):
    """Exchange the link to the command, or take it away."""
    if os.path.lexists(node.places.command):
        os.unlink(node.places.command)
    if target:
        os.symlink(target, node.places.command)


def write_new(path):
    with open(path, "w", encoding="ascii") as stream:
        stream.write("theirs")


def planned(**wish):
    return lambda node: setattr(node, "plan", node.planned(**wish))


def marks_doubled(name):
    return append(name, f"{textfile.BEGIN}\n{textfile.END}\n")


def ahead(name, line):
    return lambda node: write(node.path / name, lambda have: f"{line}\n{have}")


HOSTS = {
    "kernel's name": replace("kernel", "node1", "other"),
    "file's name": replace("hostname", "node1", "other"),
    "file missing": remove("hostname"),
    "a kernel that refuses": lambda node: (
        replace("kernel", "node1", "other")(node),
        (node.path / "status").write_text("CapEff:\t00000000a80425fb\n"),
    ),
    "a kernel that refuses, and another file": lambda node: (
        (node.path / "kernel").write_text("other\n"),
        (node.path / "hostname").write_text("third\n"),
        (node.path / "status").write_text("CapEff:\t00000000a80425fb\n"),
    ),
    "a foreign line": append("hosts", "192.0.2.7 printer\n"),
    "a foreign line of a node": append("hosts", "192.0.2.7 node2\n"),
    "a loopback line of a node": append("hosts", "127.0.1.1 node1.example.com node1\n"),
    "a loopback line of others": append("hosts", "127.0.1.1 localhost printer\n"),
    "a line ahead of the block": ahead("hosts", "192.0.2.7 printer"),
    "an edited line": replace("hosts", "10.0.0.12\t", "10.0.0.99\t"),
    "a blank instead of a tab": replace("hosts", "10.0.0.12\t", "10.0.0.12 "),
    "a line in the block": replace("hosts", textfile.END, f"10.0.0.99\tnode9\n{textfile.END}"),
    "an END with a blank": replace("hosts", textfile.END, f"{textfile.END} "),
    "two blocks": marks_doubled("hosts"),
    "no END": replace("hosts", f"{textfile.END}\n", ""),
    "another cluster": replace("hosts", "# cluster abcdef12", "# cluster 12345678"),
    "no identity": replace("hosts", "# cluster abcdef12, head node1\n", ""),
    "line ends of DOS in the block": replace("hosts", "10.0.0.12\t", "10.0.0.12\r\t"),
    "no file": remove("hosts"),
    "another mode": mode("hosts", 0o600),
    "one node more": planned(nodes=4),
    "one node less": planned(nodes=2),
}

CLOUD_CFG = "manage_etc_hosts: true\ncloud_init_modules:\n - update_etc_hosts\n"
KEEP_OURS = planned(cloud_init="keep_ours")


def with_cloud_init(node, cfg=CLOUD_CFG):
    """Install cloud-init on the node."""
    for name, text in {"usr/bin/cloud-init": "", "etc/cloud/cloud.cfg": cfg}.items():
        (node.path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (node.path / "root" / name).write_text(text)


def drop_in(node):
    return node.path / "root" / cloud_init.OURS[1:]


def foreign_drop_in(node):
    drop_in(node).parent.mkdir(exist_ok=True)
    drop_in(node).write_text("manage_etc_hosts: true\n")


CLOUD_INIT = {
    "not asked for": (),
    "asked for": (KEEP_OURS,),
    "edited": (KEEP_OURS, lambda node: node.run("hosts"), append(f"root{cloud_init.OURS}", "x: 1\n")),
    "one line not needed": (
        KEEP_OURS,
        lambda node: node.run("hosts"),
        lambda node: with_cloud_init(node, f"preserve_hostname: true\n{CLOUD_CFG}"),
    ),
    "taken back": (KEEP_OURS, lambda node: node.run("hosts"), planned()),
    "switched off": (
        KEEP_OURS,
        lambda node: node.run("hosts"),
        lambda node: (node.path / "root/etc/cloud/cloud-init.disabled").touch(),
    ),
    "one of others": (KEEP_OURS, foreign_drop_in),
    "one of others, not asked for": (foreign_drop_in,),
}

SSH = "home/.ssh"
SSH_MESH = {
    "a key of the user's": ahead(f"{SSH}/authorized_keys", public_key("MINE")),
    "a key of the user's behind ours": append(f"{SSH}/authorized_keys", public_key("MINE")),
    "a key in our block": replace(f"{SSH}/authorized_keys", textfile.END, f"{public_key('X')}\n{textfile.END}"),
    "an edited key": replace(f"{SSH}/authorized_keys", "restrict,pty,", ""),
    "no authorized_keys": remove(f"{SSH}/authorized_keys"),
    "mode of authorized_keys": mode(f"{SSH}/authorized_keys", 0o644),
    "a stricter mode of authorized_keys": mode(f"{SSH}/authorized_keys", 0o400),
    "two blocks": marks_doubled(f"{SSH}/authorized_keys"),
    "a line in known_hosts": append(f"{SSH}/trainmesh/known_hosts", "x\n"),
    "no known_hosts": remove(f"{SSH}/trainmesh/known_hosts"),
    "mode of known_hosts": mode(f"{SSH}/trainmesh/known_hosts", 0o644),
    "an edited configuration": replace(f"{SSH}/trainmesh/config", "ConnectTimeout 10", "ConnectTimeout 5"),
    "no configuration": remove(f"{SSH}/trainmesh/config"),
    "a Host of the user's": append(f"{SSH}/config", "Host *\n"),
    "a Host of the user's ahead of ours": ahead(f"{SSH}/config", "Host *"),
    "mode of the user's configuration": mode(f"{SSH}/config", 0o640),
    "no Include": replace(f"{SSH}/config", "Include trainmesh/config\n", ""),
    "mode of .ssh": mode(SSH, 0o755),
    "mode of our directory": mode(f"{SSH}/trainmesh", 0o755),
    "a home that others may write": mode("home", 0o775),
    "a home that is closed": mode("home", 0o700),
    "a node that logs in nowhere": planned(ssh_topology="head", head="node2"),
    "one node more": planned(nodes=4),
}

FILES = {
    "a file of others": lambda node: (node.prefix / "etc/theirs").write_text("x"),
    "an edited file": append("opt/etc/hostfile", "node9 slots=8\n"),
    "an edited script": append("opt/bin/trainmesh-torchrun", "exit\n"),
    "a file missing": remove("opt/etc/hostfile"),
    "a script that does not run": mode("opt/bin/trainmesh-torchrun", 0o644),
    "a file that others may write": mode("opt/etc/hostfile", 0o666),
    "a link in place of a file": lambda node: (
        remove("opt/etc/hostfile")(node),
        (node.prefix / "etc/hostfile").symlink_to("/etc/hosts"),
    ),
    "a directory in place of a file": lambda node: (
        remove("opt/etc/hostfile")(node),
        (node.prefix / "etc/hostfile").mkdir(),
    ),
    "no list of files": remove("opt/.trainmesh-files.json"),
    "a broken list of files": lambda node: (node.prefix / ".trainmesh-files.json").write_text("{"),
    "a list with a file more": lambda node: write(
        node.prefix / ".trainmesh-files.json",
        lambda have: json.dumps({"files": sorted([*json.loads(have)["files"], "etc/old"])}),
    ),
    "an unordered list": lambda node: write(
        node.prefix / ".trainmesh-files.json", lambda have: json.dumps({"files": json.loads(have)["files"][::-1]})
    ),
    "another secret": lambda node: setattr(node, "env", {"HF_TOKEN": "another"}),
    "no secret": lambda node: setattr(node, "env", {}),
    "a secret that others may read": mode("opt/etc/job.env", 0o644),
    "an edited secret": append("opt/etc/job.env", "A=b\n"),
    "a prefix that others may write": mode("opt", 0o777),
    "no prefix": lambda node: shutil.rmtree(node.prefix),
    "another interface in NCCL's configuration": replace("nccl.conf", "==eth0", "==eth9"),
    "NCCL's configuration of others": append("nccl.conf", "NCCL_DEBUG=INFO\n"),
    "NCCL's configuration of others ahead": ahead("nccl.conf", "NCCL_DEBUG=INFO"),
    "no NCCL configuration": remove("nccl.conf"),
    "a mode of NCCL's configuration": mode("nccl.conf", 0o600),
    "a port to reserve": lambda node: node.plan["nodes"]["node1"].update(reserved_port=29500),
    "a port that is reserved": lambda node: (
        node.plan["nodes"]["node1"].update(reserved_port=29500),
        (node.path / "reserved").write_text("8080,29000-30000\n"),
    ),
    "no link to the command": link,
    "a link that leads nowhere": lambda node: link(node, "/nowhere/bin/trainmesh"),
    "a link of others": lambda node: link(node, "/bin/sh"),
    "a program of others in its place": lambda node: (link(node), write_new(node.places.command)),
    "one node more": planned(nodes=4),
    "another ZeRO stage": planned(zero_stage=3),
}
OWNERS = {
    "a file of another owner": owner("opt/etc/hostfile"),
    "a secret of another owner": owner("opt/etc/job.env"),
    "a directory of another owner": owner("opt/etc"),
}

RULE = "ufw allow from {} to any proto tcp comment 'trainmesh.cluster'\n"
FIREWALL = {
    "a rule of others": append("ufw.rules", "ufw allow 443/tcp\n"),
    "a rule too many": append("ufw.rules", RULE.format("10.0.0.99")),
    "a rule twice": append("ufw.rules", RULE.format("10.0.0.11")),
    "a rule too few": replace("ufw.rules", RULE.format("10.0.0.12/31"), ""),
    "a rule without our mark": replace("ufw.rules", RULE.format("10.0.0.12/31"), "ufw allow from 10.0.0.12/31\n"),
    "a rule for each node, as of an earlier release": replace(
        "ufw.rules", RULE.format("10.0.0.12/31"), RULE.format("10.0.0.12") + RULE.format("10.0.0.13")
    ),
    "the other firewall": lambda node: setattr(node, "active", ["firewalld"]),
    "both firewalls": lambda node: setattr(node, "active", ["firewalld", "ufw"]),
    "no firewall": lambda node: setattr(node, "active", []),
    "a firewall of no concern": lambda node: setattr(node, "active", ["nftables", "ufw"]),
    "no firewall wanted": lambda node: (planned(firewall="none")(node), setattr(node, "backends", ())),
    "the other firewall wanted": lambda node: (
        planned(firewall="firewalld")(node),
        setattr(node, "backends", ("firewalld",)),
    ),
    "one node more": planned(nodes=4),
}
FIREWALLD = {
    "a running rule too few": replace("running.training", "10.0.0.12/31", "10.0.0.99"),
    "a kept rule too few": remove("permanent.training"),
    "the rules of another zone": lambda node: (
        (node.path / "running.training").rename(node.path / "running.public"),
        (node.path / "permanent.training").rename(node.path / "permanent.public"),
    ),
    "the interface in another zone": replace("zones", "interfaces: eth0", "interfaces: eth7"),
    "a rule of others": append("running.training", 'rule family="ipv4" source address="10.0.0.99" accept\n'),
    "one node less": planned(nodes=2),
}


@pytest.mark.parametrize("role", WRITTEN)
def test_a_fresh_node_needs_each_role_once(node, role):
    assert agree(node, role)
    node.run(role)
    assert not agree(node, role)


@pytest.mark.parametrize("deviation", HOSTS.values(), ids=HOSTS)
def test_hosts(node, deviation):
    node.run("hosts")
    deviation(node)
    settles(node, "hosts")


@pytest.mark.parametrize("deviations", CLOUD_INIT.values(), ids=CLOUD_INIT)
def test_cloud_init(node, deviations):
    node.run("hosts")
    with_cloud_init(node)
    for deviation in deviations:
        deviation(node)
    settles(node, "hosts")


def test_the_drop_in_of_cloud_init_is_told_and_removed(node):
    KEEP_OURS(node)
    node.run("hosts")
    assert not drop_in(node).exists(), "there is no cloud-init"
    with_cloud_init(node)
    assert [(change.what, change.why) for change in node.changes("hosts")] == [(cloud_init.OURS, "not there")]
    node.run("hosts")
    assert "manage_etc_hosts: false\n" in drop_in(node).read_text() and not node.changes("hosts")
    planned()(node)
    (found,) = node.changes("hosts")
    assert found.why == "trainmesh_cloud_init does not ask for it"
    node.run("hosts")
    assert not drop_in(node).exists() and not node.changes("hosts")


def settles(node, role):
    """Both sides agree, and after the role's run, where it does not fail, there is nothing left."""
    if agree(node, role) and not any(answer.get("failed") for answer in node.run(role)):
        assert not node.changes(role)


@pytest.mark.parametrize("deviation", SSH_MESH.values(), ids=SSH_MESH)
def test_ssh_mesh(node, deviation):
    node.run("ssh_mesh")
    deviation(node)
    settles(node, "ssh_mesh")


def test_of_a_home_that_several_nodes_have_one_is_written(node):
    assert node.changes("ssh_mesh")
    node.plan["nodes"]["node1"]["ssh_home_of"] = "node2"
    assert node.changes("ssh_mesh") == []


def test_the_next_key_is_told_of(node):
    node.run("ssh_mesh")
    told = next(line for line in node.plan["ssh"]["authorized_keys"] if line.endswith("node1"))
    for public, changed in ((public_key("KEY1"), public_key("KEY1") in told), (public_key("NEXT"), False)):
        node.key.with_name("id_ed25519.new").write_text("private")
        node.key.with_name("id_ed25519.new.pub").write_text(f"{public} trainmesh\n")
        assert agree(node, "ssh_mesh") is changed
    node.key.with_name("id_ed25519.new.pub").write_text(f"{public_key('KEY1')} trainmesh\n")
    settles(node, "ssh_mesh")
    assert not agree(node, "ssh_mesh")


LINE = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQ="


def test_certificates_of_sshd_come_first_and_are_seen_when_they_are_there(node):
    node.run("ssh_mesh")
    node.plan["nodes"]["node1"].update(host_certificates=[LINE], sshd_certificates=True)
    node.plan["ssh"]["revoked"] = "TElTVA=="
    (found,) = node.changes("ssh_mesh")
    assert (found.what, found.why) == ("certificates of sshd", "not there")
    assert changes.plays([found, changes.Change("hosts", "host name", "x")]) == ["sshd_certificates", "apply"]
    assert changes.at_once([found]) == set()
    directory = node.path / "certificates"
    directory.mkdir()
    path = directory / "ssh-ed25519-cert.pub"
    path.write_text(f"{LINE}\n")
    (directory / "revoked_keys").write_bytes(b"LIST")
    (node.path / "certificates.conf").write_text(certificates.drop_in([str(path)]))
    assert node.changes("ssh_mesh") == []
    (directory / "revoked_keys").write_bytes(b"OTHER")
    assert [change.why for change in node.changes("ssh_mesh")] == ["differs from the plan"]
    (directory / "revoked_keys").write_bytes(b"LIST")
    (node.path / "armed").touch()
    assert [change.what for change in node.changes("ssh_mesh")] == ["certificates of sshd"], "it may come undone"


def test_a_certificate_of_the_job_user_is_written_and_taken_away(node):
    node.run("ssh_mesh")
    shown = node.home / ".ssh/trainmesh/id_ed25519-cert.pub"
    shown.write_text(f"{LINE}\n")
    shown.chmod(0o600)
    assert [change.what for change in node.changes("ssh_mesh")] == ["ssh certificate"]
    node.plan["nodes"]["node1"]["certificate"] = LINE
    assert node.changes("ssh_mesh") == []
    node.plan["nodes"]["node1"]["certificate"] = ""
    node.run("ssh_mesh")
    assert not shown.exists() and node.changes("ssh_mesh") == []


def test_sshd(node):
    node.run("ssh_mesh")
    node.ssh_port = 2222
    assert agree(node, "ssh_mesh")
    settles(node, "ssh_mesh")
    (node.path / "silent").touch()  # only the real run tells that nothing answers
    assert [change.what for change in node.changes("ssh_mesh")] == ["sshd port 2222"]
    (node.path / "silent").unlink()
    (node.path / "armed").touch()
    assert [change.what for change in node.changes("ssh_mesh")] == ["sshd port 2222"]


@pytest.mark.parametrize("shared", [False, True], ids=["root's", "the user's"])
@pytest.mark.parametrize("deviation", FILES.values(), ids=FILES)
def test_launch_config(node, deviation, shared):
    node.prefix.mkdir(mode=0o755)
    if shared:
        node.prefix.chmod(0o777)
    node.run("launch_config")
    deviation(node)
    settles(node, "launch_config")


@as_root
@pytest.mark.parametrize("shared", [False, True], ids=["root's", "the user's"])
@pytest.mark.parametrize("deviation", OWNERS.values(), ids=OWNERS)
def test_owners(node, deviation, shared):
    node.prefix.mkdir(mode=0o755)
    if shared:
        node.prefix.chmod(0o777)
    node.run("launch_config")
    deviation(node)
    settles(node, "launch_config")


@pytest.mark.parametrize("deviation", FIREWALL.values(), ids=FIREWALL)
def test_firewall(node, deviation):
    node.run("firewall")
    deviation(node)
    settles(node, "firewall")


@pytest.mark.parametrize("deviation", FIREWALLD.values(), ids=FIREWALLD)
def test_firewalld(node, deviation):
    node.active = ["firewalld"]
    node.run("firewall")
    deviation(node)
    settles(node, "firewall")


ENVIRONMENT = {
    "no prefix": lambda node: shutil.rmtree(node.prefix),
    "no workspace": lambda node: (node.prefix / "workspace").rmdir(),
    "a workspace that is in use": lambda node: (node.prefix / "workspace/data").touch(),
    "no cache": lambda node: (node.prefix / "var/cache").rmdir(),
    "no environment": lambda node: shutil.rmtree(node.prefix / "env"),
    "an empty environment": lambda node: (
        shutil.rmtree(node.prefix / "env"),
        (node.prefix / "env").mkdir(),
    ),
    "a broken interpreter": lambda node: (
        (node.prefix / "env/bin/python").unlink(),
        (node.prefix / "env/bin/python").symlink_to("/nowhere"),
    ),
    "no configuration of the environment": remove("opt/env/pyvenv.cfg"),
    "a conda in its place": lambda node: (node.prefix / "env/conda-meta").mkdir(),
    "another version": lambda node: node.plan["stack"].update(python_version="3.1"),
    "another kind": lambda node: node.plan["stack"].update(python_env="conda"),
    "no record": remove("opt/var/environment.json"),
    "an edited record": append("opt/var/environment.json", " "),
    "a prefix that others may write": mode("opt", 0o777),
    "a tool missing": lambda node: (node.path / "tools/rsync").unlink(),
    "a tool missing that the head needs": lambda node: (node.path / "tools/pdsh").unlink(),
    "a tool missing that only mpirun needs": lambda node: (node.path / "tools/mpirun").unlink(),
    "a launcher more, without its tool": lambda node: (
        (node.path / "tools/mpirun").unlink(),
        planned(launchers=["mpirun", "torchrun"])(node),
    ),
    "the head is another": lambda node: ((node.path / "tools/pdsh").unlink(), planned(head="node2")(node)),
}


@pytest.fixture
def with_environment(node, monkeypatch):
    """The node with the environment that the roles make, the packages of the lock, and the tools."""
    (node.path / "tools").mkdir()
    for name in prefix.COMMANDS:
        shutil.copy("/bin/true", node.path / "tools" / name)
    monkeypatch.setattr(prefix, "_search_path", lambda: str(node.path / "tools"))
    node.run("python_env")
    node.make_environment()
    return node


@pytest.mark.parametrize("shared", [False, True], ids=["root's", "the user's"])
@pytest.mark.parametrize("deviation", ENVIRONMENT.values(), ids=ENVIRONMENT)
def test_python_env(with_environment, deviation, shared):
    if shared:
        with_environment.path.chmod(0o777)
    assert not agree(with_environment, "python_env")
    deviation(with_environment)
    agree(with_environment, "python_env")


def test_a_python_that_is_installed_is_told(node):
    node.plan["stack"].update(python_installs=["node1"], python_version="3.12")
    assert ("Python 3.12", "not there") in [(change.what, change.why) for change in node.changes("python_env")]
    node.plan["stack"].update(python_installs=["another"])
    assert "Python 3.12" not in [change.what for change in node.changes("python_env")]


def test_directories_are_made_once(node):
    assert agree(node, "python_env")
    node.run("python_env")
    assert str(node.prefix) not in str(node.changes("python_env"))


def package(name, version):
    return lambda node: node.install(name, version)


PACKAGES = {
    "a package of the user's": package("numpy", "2.4.6"),
    "another version": lambda node: (node.uninstall("accelerate"), package("accelerate", "1.14.0")(node)),
    "two versions": package("accelerate", "1.14.0"),
    "the same version in another spelling": lambda node: (
        node.uninstall("torch"),
        package("torch", "2.13.0+CPU")(node),
    ),
    "a package missing": lambda node: node.uninstall("accelerate"),
    "a package without its RECORD": lambda node: (node.site / "accelerate-1.15.0.dist-info/RECORD").unlink(),
    "a package of an earlier lock": lambda node: (
        package("six", "1.17.0")(node),
        append("opt/var/stack-packages", "six\n")(node),
    ),
    "a package of an earlier lock that is gone": append("opt/var/stack-packages", "six\n"),
    "an installation that did not end": lambda node: (node.prefix / "var/stack-installing").touch(),
    "another build": lambda node: write(node.site / "torch/version.py", lambda have: have.replace("+cpu", "+cu126")),
    "a build that does not tell": lambda node: (node.site / "torch/version.py").unlink(),
    "another build wanted": lambda node: node.plan["stack"].update(torch_build="cu126"),
    "another Python wanted": lambda node: node.plan["stack"].update(python_version="3.1"),
    "copied packages": lambda node: os.mkdir(node.places.handout),
    "a package more in the lock": lambda node: node.lock.update(six="1.17.0"),
    "a package less in the lock": lambda node: node.lock.pop("accelerate"),
    "another version in the lock": lambda node: node.lock.update(accelerate="1.16.0"),
    "no environment": lambda node: shutil.rmtree(node.prefix / "env"),
}


@pytest.mark.parametrize("deviation", PACKAGES.values(), ids=PACKAGES)
def test_torch_stack(with_environment, deviation):
    assert not agree(with_environment, "torch_stack")
    deviation(with_environment)
    agree(with_environment, "torch_stack")


def test_without_the_list_of_the_last_installation_it_is_written_anew(with_environment):
    (with_environment.prefix / "var/stack-packages").unlink()
    assert with_environment.changes("torch_stack") and with_environment.would_change("torch_stack")
    with_environment.run("torch_stack")
    agree(with_environment, "torch_stack")


@pytest.mark.parametrize("edit", [lambda node: node.plan["stack"].update(lock_update=True), planned()])
def test_a_lock_that_is_still_to_be_made_is_a_change(with_environment, edit):
    edit(with_environment)
    lock = {} if with_environment.plan["stack"]["lock_update"] else {"lock": None}
    found = with_environment.changes("torch_stack", **lock)
    assert [change.why for change in found] == ["the lock has to be made"]


def test_a_node_on_which_all_is_as_planned_needs_nothing(with_environment):
    for role in WRITTEN:
        with_environment.run(role)
    assert with_environment.changes() == []


def everything(found):
    return {change.role for change in found if change.what == changes.EVERYTHING}


def test_what_was_not_read_counts_as_everything(node):
    for present in (None, {}, {"unknown": "no such user"}):
        assert everything(changes.changes(node.desired(), "node1", present, changes.Given())) == set(changes.ROLES)


@pytest.mark.parametrize("role", changes.ROLES)
def test_a_part_that_could_not_be_read_hides_no_other(node, role):
    present = node.present()
    present[role] = {**present[role], "unknown": "OSError: Input/output error"}
    found = changes.changes(node.desired(), "node1", present, changes.Given())
    assert everything(found) == {role}
    assert "Input/output error" in next(change.why for change in found if change.role == role)


@pytest.mark.parametrize("said", [{"x": 1}, "text", 7, ["x"], None, {"active": ["ufw"], "asked": ["ufw", "firewalld"]}])
@pytest.mark.parametrize("role", changes.ROLES)
def test_what_a_node_should_not_say_hides_no_other_part(node, role, said):
    present = {**node.present(), role: said}
    assert everything(changes.changes(node.desired(), "node1", present, changes.Given())) == {role}


@pytest.mark.parametrize("edit", [planned(user="trainer"), planned(prefix="/srv/other")])
def test_the_state_of_another_user_or_prefix_counts_for_nothing(node, edit):
    edit(node)
    assert everything(node.changes()) == set(changes.ROLES)


def test_the_state_of_another_run_counts_for_nothing(node):
    for role in WRITTEN:
        node.run(role)
    found = changes.changes(node.desired("the key of the next run"), "node1", node.present(), changes.Given(node.env))
    assert {"/etc/hosts block", "ufw rules", "launch files", "/etc/nccl.conf block"} <= {each.what for each in found}


def test_the_state_of_other_firewalls_counts_for_nothing(node):
    node.run("firewall")
    node.backends = ("firewalld",)
    assert everything(node.changes("firewall")) == {"firewall"}


def test_the_reasons_name_who_joins_and_who_leaves(node):
    node.run("hosts")
    block = {"nodes": [{"name": "node1"}, {"name": "node9"}, {"name": "node3"}]}
    node.plan = node.planned(nodes=4)
    assert [change.why for change in node.changes("hosts", block=block)] == ["adds node2, node4; removes node9"]
    assert [change.why for change in node.changes("hosts")] == [changes.DIFFERS]


def test_a_variable_of_a_role_makes_the_role_run(node):
    node.run("firewall")
    found = node.changes("firewall", overridden={"firewall": ["firewall_kind"]})
    assert [change.why for change in found] == ["the inventory sets firewall_kind"]
    assert node.changes("firewall", overridden={"firewall": []}) == []


def test_the_plays_that_a_node_needs():
    row = changes.Change
    port = row("ssh_mesh", "sshd port 2222", "sshd does not have it")
    assert changes.plays([]) == []
    assert changes.plays([row("hosts", "host name", "x"), row("torch_stack", "packages", "y")]) == [
        "apply",
        "torch_stack",
    ]
    assert changes.plays([port]) == ["sshd_port"]
    assert changes.plays([port, row("ssh_mesh", "ssh key", "z")]) == ["apply", "sshd_port"]
    assert changes.at_once([port, row("firewall", "ufw rules", "z")]) == {"firewall"}


def test_what_cannot_be_told_of_ssh_is_its_port_too(tmp_path, monkeypatch, capsys):
    node = Node(tmp_path, monkeypatch, capsys)
    given = changes.Given(ssh_port=2222)
    found = changes.changes(node.desired(), "node1", None, given)
    assert [change.what for change in found if change.role == "ssh_mesh"] == ["everything", "sshd port 2222"]
    assert changes.plays(found) == ["apply", "sshd_port", "python_env", "torch_stack"]
