# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh pip`` over three nodes, each with an environment of its own, a stand-in for ssh, and a small pip."""

from __future__ import annotations

import argparse
import json
import shutil
import sys

import pytest
from trainmesh import node_packages, packages

# ssh -T -o... -o... NODE COMMAND: the other nodes are copies of the directory
SSH = """#!/bin/sh
if [ -e ROOT-$4/away ]; then echo "ssh: connect to host $4 port 22: No route to host" >&2; exit 255; fi
eval "$(printf '%s' "$5" | sed 's|ROOT/|ROOT-'$4'/|')"
"""
# rsync -a -e SSH FROM TO, one of them NODE:PATH
RSYNC = """#!/bin/sh
from=$(printf '%s' "$4" | sed 's|^\\(node.\\):ROOT/|ROOT-\\1/|')
to=$(printf '%s' "$5" | sed 's|^\\(node.\\):ROOT/|ROOT-\\1/|')
mkdir -p "$to" && cp "$from"* "$to"
"""
# A pip that knows what is needed here: an index in a file, wheels that hold their name, and dist-info directories.
PIP = """#!{python}
import hashlib, json, os, pathlib, shutil, sys
words = sys.argv[1:]
if words[:1] == ["-ISB"]:
    os.execv(sys.executable, [sys.executable, *words])
assert words[:3] == ["-I", "-m", "pip"], words
words = words[3:]
root = pathlib.Path(__file__).parents[2]
site = root / "env/lib/python3.11/site-packages"
index = json.loads((root.parent / "index.json").read_text())
there = {{path.name[:-10].partition("-")[0]: path for path in site.glob("*.dist-info")}}
def fail(text):
    sys.stderr.write(text + "\\n")
    sys.exit(1)
if (root / "broken").exists():
    fail("ERROR: No space left on device")
def value(option):
    return words[words.index(option) + 1]
if words[0] == "install" and "--dry-run" in words:
    limits = dict(row.split("==") for row in open(value("--constraint")).read().split())
    wanted, items = [words[-1]], []
    while wanted:
        name = wanted.pop(0)
        if name in there or name in [item["metadata"]["name"] for item in items]:
            continue
        if name not in index:
            fail("ERROR: No matching distribution found for " + name)
        if limits.get(name, index[name]["version"]) != index[name]["version"]:
            print("The conflict is caused by:\\n    The user requested " + name + "\\n")
            fail("ERROR: Cannot install " + name)
        items.append({{"metadata": {{"name": name, "version": index[name]["version"]}}, "requested": name == words[-1],
                      "download_info": {{"url": "https://x/y"}}}})
        wanted += index[name]["needs"]
    pathlib.Path(value("--report")).write_text(json.dumps({{"install": items}}))
elif words[0] == "wheel":
    for row in open(value("-r")).read().split():
        name, _, version = row.partition("==")
        pathlib.Path(value("--wheel-dir"), f"{{name}}-{{version}}-py3-none-any.whl").write_text(name)
elif words[0] == "install":
    assert os.environ["PIP_NO_INDEX"] == "1"
    for row in words[words.index("--find-links") + 2 :]:
        name, _, version = row.partition("==")
        wheel = pathlib.Path(value("--find-links"), f"{{name}}-{{version}}-py3-none-any.whl")
        if not wheel.exists():
            fail("ERROR: No matching distribution found for " + row)
        place = site / f"{{name}}-{{version}}.dist-info"
        place.mkdir()
        needs = index.get(name, {{"needs": []}})["needs"]
        (place / "METADATA").write_text("Name: x\\n" + "".join(f"Requires-Dist: {{each}}\\n" for each in needs) + "\\n")
else:
    assert words[0] == "uninstall"
    for name in words[3:]:
        shutil.rmtree(there[name])
"""
INDEX = {
    "wandb": {"version": "0.21", "needs": ["click", "numpy"]},
    "click": {"version": "8", "needs": []},
    "typer": {"version": "1", "needs": ["click"]},
}


class Nodes:
    """node1 is this one; what is done to the others is done to copies of its directory."""

    def __init__(self, cluster, place):
        self.cluster, self.place = cluster, place
        cluster.program("env/bin/python", PIP.format(python=sys.executable))
        (cluster.root.parent / "index.json").write_text(json.dumps(INDEX))
        (cluster.root / "var/stack-packages").write_text("numpy\ntorch\n")
        for name, version in (("numpy", "2.4"), ("torch", "2.13")):
            self.put("node1", name, version)
        for node in ("node2", "node3"):
            shutil.copytree(cluster.root, self.root(node))
        (place / "path").mkdir()
        for name, text in (("ssh", SSH), ("rsync", RSYNC)):
            (place / "path" / name).write_text(text.replace("ROOT", str(cluster.root)))
            (place / "path" / name).chmod(0o755)

    def root(self, node):
        root = self.cluster.root
        return root if node == "node1" else root.with_name(f"{root.name}-{node}")

    def site(self, node):
        return self.root(node) / "env/lib/python3.11/site-packages"

    def put(self, node, name, version):
        place = self.site(node) / f"{name}-{version}.dist-info"
        place.mkdir(parents=True)
        (place / "METADATA").write_text("Name: x\n\n")

    def have(self, node):
        names = (path.name[:-10] for path in self.site(node).glob("*.dist-info"))
        return sorted(name for name in names if not name.startswith(("numpy", "torch")))

    def call(self, *words):
        environment = {"PATH": f"{self.place}/path:/usr/bin:/bin"}
        return self.cluster.call(self.cluster.root / "bin/trainmesh", "pip", *words, env=environment)

    def all_have(self, *packages):
        return all(self.have(node) == sorted(packages) for node in ("node1", "node2", "node3"))

    def pending(self):
        return [node for node in ("node1", "node2", "node3") if (self.root(node) / "var/added/pending.json").exists()]


@pytest.fixture
def nodes(cluster, tmp_path):
    return Nodes(cluster, tmp_path)


def test_a_package_and_what_it_needs_go_to_all_nodes_and_away_again(nodes):
    done = nodes.call("install", "wandb")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "installed on 3 nodes: click==8, wandb==0.21\n"
    assert "name wandb==0.21 in trainmesh_extra_packages" in done.stderr
    assert nodes.all_have("click-8", "wandb-0.21")
    assert nodes.call("install", "wandb").stdout == "all nodes have wandb==0.21 already\n"
    assert nodes.call("install", "typer").returncode == 0
    assert nodes.call("list").stdout == "typer==1 with click\nwandb==0.21 with click\n"
    assert nodes.call("uninstall", "wandb").stdout == "removed on 3 nodes: wandb\n"
    assert nodes.all_have("click-8", "typer-1")
    wheels = {path.name for path in (nodes.root("node3") / "var/added/wheels").iterdir()}
    assert wheels == {"click-8-py3-none-any.whl", "typer-1-py3-none-any.whl"}
    assert nodes.call("uninstall", "typer").stdout == "removed on 3 nodes: click typer\n"
    assert nodes.call("list").stdout == "nothing was added with trainmesh pip install\n"


def side_by_side(nodes, name, node):
    """Give a node the link to an environment, and that environment its records."""
    root, base = nodes.root(node), nodes.root(node) / "environments" / name
    (base / "var").mkdir(parents=True)
    (root / "env").rename(base / "env")
    (root / "env").symlink_to(f"environments/{name}/env")
    (root / "var/stack-packages").rename(base / "var/stack-packages")
    (base.parent / "index.json").write_text(json.dumps(INDEX))


def test_what_is_added_belongs_to_the_environment_in_use(nodes):
    name = "torch-2.13.0-cpu-py3.11"
    for node in ("node1", "node2", "node3"):
        side_by_side(nodes, name, node)
    done = nodes.call("install", "wandb")
    assert done.returncode == 0, done.stderr
    for node in ("node1", "node2", "node3"):
        record = json.loads((nodes.root(node) / f"environments/{name}/var/added/record.json").read_text())
        assert record["roots"] == ["wandb"] and not (nodes.root(node) / "var/added").exists()
    assert nodes.all_have("click-8", "wandb-0.21")
    assert nodes.call("list").stdout == "wandb==0.21 with click\n"
    assert nodes.call("uninstall", "wandb").returncode == 0 and nodes.all_have()


def test_nodes_with_other_environments_in_use_are_told(nodes):
    side_by_side(nodes, "torch-2.13.0-cpu-py3.11", "node1")
    done = nodes.call("install", "wandb")
    assert done.returncode == 64 and "have other environments in use: run the site playbook" in done.stderr


def test_what_fails_on_one_node_is_undone_on_all(nodes):
    (nodes.root("node3") / "broken").touch()
    done = nodes.call("install", "wandb")
    assert done.returncode == 64
    assert "undone on 3 nodes (node3: trainmesh: pip install: ERROR: No space left on device)" in done.stderr
    assert nodes.all_have() and not nodes.pending()
    assert not list((nodes.root("node2") / "var/added/wheels").iterdir())
    (nodes.root("node3") / "broken").unlink()
    assert nodes.call("install", "wandb").returncode == 0
    (nodes.root("node2") / "broken").touch()
    assert "undone on 3 nodes" in nodes.call("uninstall", "wandb").stderr
    assert nodes.all_have("click-8", "wandb-0.21")


def test_a_silent_node_stops_it_before_anything_is_changed(nodes):
    (nodes.root("node2") / "away").touch()
    done = nodes.call("install", "wandb")
    assert (done.returncode, nodes.all_have()) == (64, True)
    assert "nothing was changed: node2: ssh: connect to host node2" in done.stderr


def test_what_one_node_has_already_reaches_the_others(nodes):
    nodes.put("node1", "click", "8")
    nodes.put("node1", "wandb", "0.21")
    (nodes.site("node1") / "wandb-0.21.dist-info/METADATA").write_text("Name: x\nRequires-Dist: click>=7\n\n")
    assert nodes.call("install", "wandb").returncode == 0
    assert nodes.all_have("click-8", "wandb-0.21")
    shutil.rmtree(nodes.site("node3") / "wandb-0.21.dist-info")
    listing = nodes.call("list")
    assert (listing.returncode, "node3: not there" in listing.stdout) == (1, True)
    assert nodes.call("install", "wandb").returncode == 0
    assert nodes.all_have("click-8", "wandb-0.21")


def test_another_version_on_a_node_is_refused(nodes):
    nodes.put("node2", "click", "7")
    done = nodes.call("install", "wandb")
    assert "node2 has click 7, and 8 would be installed" in done.stderr
    assert (nodes.have("node1"), nodes.have("node3")) == ([], [])


def test_an_interrupted_call_is_settled_by_the_next(nodes):
    assert nodes.call("install", "typer").returncode == 0
    for node in ("node2", "node3"):
        pending = nodes.root(node) / "var/added/pending.json"
        pending.write_text(json.dumps({"step": "9", "install": {"click": "8"}, "remove": {}}))
    done = nodes.call("list")
    assert "an interrupted call was settled on node2, node3" in done.stderr
    assert not nodes.pending()
    assert nodes.have("node2") == ["typer-1"], "what the step was about to bring is gone"


def test_a_step_that_some_have_noted_is_finished_on_the_rest(nodes):
    assert nodes.call("install", "typer").returncode == 0
    record = json.loads((nodes.root("node1") / "var/added/record.json").read_text())
    late = nodes.root("node3") / "var/added"
    (late / "record.json").unlink()
    (late / "pending.json").write_text(json.dumps({"step": record["last"], "install": {"typer": "1"}, "remove": {}}))
    assert nodes.call("list").returncode == 0
    assert json.loads((late / "record.json").read_text()) == record
    assert nodes.all_have("click-8", "typer-1") and not nodes.pending()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["install"], "which package?"),
        ([], "install, uninstall or list?"),
        (["install", "nosuch"], "trainmesh_extra_packages"),
        (["install", "wandb", "--on", "gpu9"], "gpu9 is no node; there are node1, node2, node3"),
        (["uninstall", "torch"], "torch is of the lock"),
        (["uninstall", "click"], "was not added with trainmesh pip install"),
    ],
)
def test_what_is_refused(nodes, words, said):
    done = nodes.call(*words)
    assert (done.returncode, said in done.stderr) == (64, True), done.stderr


def test_nodes_that_differ_from_the_lock_are_refused(nodes):
    shutil.rmtree(nodes.site("node2") / "torch-2.13.dist-info")
    assert (
        "node2 and node1 differ in the packages of the lock (torch): run the site playbook"
        in nodes.call("install", "wandb").stderr
    )


def test_a_build_of_another_node_reaches_all(nodes):
    assert nodes.call("install", "typer", "--on", "node3").returncode == 0
    assert nodes.all_have("click-8", "typer-1")


def test_a_wheel_built_with_a_newer_glibc_is_refused():
    def said(glibc):
        return {"packages": {}, "glibc": glibc, "free": 1 << 40}

    cluster = packages.Cluster(
        packages.Installation("/nowhere", {}), {"node1": said("2.39"), "node2": said("2.31")}, ""
    )
    wheel = {"flash_attn-2-cp311-cp311-linux_x86_64.whl": "0"}
    with pytest.raises(packages.Refused, match=r"node2 has the older 2\.31: build it there with --on node2"):
        packages._may_install(cluster, "node1", {"flash-attn": "2"}, wheel)
    packages._may_install(cluster, "node2", {"flash-attn": "2"}, wheel)


def test_the_reason_of_pip_is_told_without_a_login():
    err = "WARNING: x\nERROR: Could not find a version that satisfies y from https://joe:CANARY@example.org/simple\n"
    text = node_packages.reason("", err)
    assert "****@example.org" in text and "CANARY" not in text and "trainmesh_extra_packages" in text
    conflict = node_packages.reason(
        "The conflict is caused by:\n    you want a\n    b wants c\n\nTo fix", "ERROR: no\n"
    )
    built = node_packages.reason(
        "", "Traceback\nModuleNotFoundError: No module named 'torch'\nERROR: Failed to build 'x'\n"
    )
    assert "--no-build-isolation builds it with those of the environment" in built
    assert "Caused by: you want a; b wants c (What is installed stays" in conflict


@pytest.mark.parametrize(
    "words",
    [
        ["wandb", "--index-url", "https://me:secret@index.example.org/simple"],
        ["wandb", "--extra-index-url=https://token@index.example.org/simple"],
        ["git+https://token@git.example.org/theirs.git"],
        ["theirs @ https://me:secret@files.example.org/theirs-1.0-py3-none-any.whl"],
        ["wandb", "-f", "https://me:secret@files.example.org/"],
    ],
)
def test_a_login_is_not_shown_to_the_nodes(words):
    parser = argparse.ArgumentParser()
    packages.add_to(parser.add_subparsers(), "/nowhere")
    options = parser.parse_args(["pip", "install", *words])
    with pytest.raises(packages.Refused, match=r"pip\.conf") as refused:
        options.action("/nowhere", options)
    assert "secret" not in str(refused.value) and "token" not in str(refused.value)


@pytest.mark.parametrize(
    "word",
    [
        "https://files.example.org/theirs-1.0-py3-none-any.whl",
        "theirs @ https://files.example.org/theirs-1.0-py3-none-any.whl",
        "git+ssh://git@git.example.org/theirs.git",
    ],
)
def test_an_address_without_a_secret_is_taken_as_it_is(word):
    packages.only_public([word])
    assert packages._whole(word) == word
