# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new torch beside the old one, verified, switched to, and back again: with the modules of the roles."""

from __future__ import annotations

import json
import os
import pathlib
import pwd
import subprocess
import sys
import tempfile

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import environments, prefix, switch, uv
from ansible_collections.trainmesh.cluster.plugins.modules import environment_switch, python_env, python_stack
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import changes
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import environments as plan_environments
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules
from ansible_collections.trainmesh.cluster.tests.unit.samples.nodes import ME, VERSION, Node

NAME = ME.pw_name  # before the fixture exchanges the accounts
OLD, NEW, NEWEST = (f"torch-{version}-cpu-py{VERSION}" for version in ("2.13.0", "2.14.0", "2.15.0"))


@pytest.fixture
def node(tmp_path, monkeypatch, capsys):
    """A node with the environment that the roles have made as a directory, and nothing else to change."""
    monkeypatch.setattr(prefix, "COMMANDS", ())
    monkeypatch.setattr(environment_switch, "processes", lambda *_any: [])
    node = Node(tmp_path, monkeypatch, capsys)
    want(node, "2.13.0")
    node.run("python_env")
    node.make_environment()
    return node


def want(node, version, free=None):
    """Ask for a version of torch, and plan it by what the node says; returns the faults."""
    node.lock = {"torch": f"{version}+cpu", "accelerate": "1.15.0"}
    node.plan["stack"].update(requirements=[f"torch=={version}"])
    return plan_environments.enter(node.plan, {"node1": node.present()}, {"node1": free})


def target(node):
    return node.plan["nodes"]["node1"]["environment"]


def where(node, name=""):
    return {"prefix": str(node.prefix), "user": ME.pw_name, **({"environment": name} if name else {})}


def install(node):
    """What the roles python_env and torch_stack do; whether the packages were there already."""
    name, stack = target(node)["name"], node.plan["stack"]
    given = {"kind": "venv", "python": stack["python"], "python_version": VERSION}
    answer = modules.run(python_env, node.capsys, **where(node, name), **given)
    if answer["environment"]["state"] != "ok":
        node.make_environment(name)
    given = {"python_version": VERSION, "packages": node.lock, "torch_build": "cpu"}
    answer = modules.run(python_stack, node.capsys, **where(node, name), **given)
    assert answer["equal"], answer
    return not answer["changed"]


def call(node, state, check=False, **more):
    given = {"prefix": str(node.prefix), "user": ME.pw_name, "name": target(node)["switch"], **more}
    return modules.run(environment_switch, node.capsys, check=check, state=state, **given)


def verified(node, **more):
    return call(node, "verified", packages=["torch"], torch_build="cpu", **more)


def upgrade(node, version):
    assert not want(node, version)
    install(node)
    assert "failed" not in verified(node)
    answer = call(node, "current")
    assert answer["changed"], answer
    return answer


def torch_of(node):
    """What a job gets that is started with the Python in use."""
    program = "import torch; print(torch.__version__)"
    done = subprocess.run([node.prefix / "env/bin/python", "-c", program], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def rows(node):
    return [(change.role, change.what, change.why) for change in node.changes("python_env", "torch_stack")]


def test_an_upgrade_is_told_made_beside_verified_and_switched(node):
    assert rows(node) == []
    want(node, "2.14.0")
    assert rows(node) == [
        ("python_env", f"environments/{NEW}", "beside the one in use"),
        ("torch_stack", changes.SWITCH, f"{OLD} -> {NEW} when it is verified"),
    ]
    assert changes.plays(node.changes("python_env", "torch_stack")) == ["environment", "python_env", "torch_stack"]
    install(node)
    assert torch_of(node) == "2.13.0+cpu", "nobody has the new one before it is switched"
    assert verified(node)["torch"] == {"version": "2.14.0+cpu", "cuda": None, "gpus": 0}
    assert not verified(node)["changed"]
    preview = call(node, "current", check=True)
    assert preview["changed"] and torch_of(node) == "2.13.0+cpu"
    answer = call(node, "current")
    assert (answer["before"], answer["removed"], torch_of(node)) == (OLD, [], "2.14.0+cpu")
    assert preview["diff"] == answer["diff"]
    assert answer["diff"]["after"] == f"env -> environments/{NEW}/env\nenvironments/{OLD}/env\n"
    assert os.readlink(node.prefix / "env") == f"environments/{NEW}/env"


def test_after_the_switch_nothing_is_left_to_do(node):
    upgrade(node, "2.14.0")
    want(node, "2.14.0")
    assert target(node) == plan_environments.NONE._asdict() and rows(node) == []
    assert install(node) and not node.would_change("python_env") and not node.would_change("torch_stack")


def test_the_way_back_installs_nothing(node):
    upgrade(node, "2.14.0")
    want(node, "2.13.0")
    assert rows(node) == [("torch_stack", changes.SWITCH, f"{NEW} -> {OLD} when it is verified")]
    assert install(node)
    verified(node)
    answer = call(node, "current")
    assert (answer["before"], answer["removed"], torch_of(node)) == (NEW, [], "2.13.0+cpu")
    want(node, "2.13.0")
    assert rows(node) == [] and sorted(environments.whole(str(node.prefix))) == [OLD, NEW]


def test_one_of_before_is_kept(node):
    upgrade(node, "2.14.0")
    assert upgrade(node, "2.15.0")["removed"] == [OLD]
    assert environments.names(str(node.prefix)) == [NEW, NEWEST] and torch_of(node) == "2.15.0+cpu"


def test_scripts_of_the_old_one_have_its_python_again_after_the_way_back(node):
    script = node.prefix / "env/bin/torchrun"
    script.write_text(f"#!{node.prefix}/env/bin/python\nimport torch\nprint(torch.__version__)\n")
    script.chmod(0o755)
    upgrade(node, "2.14.0")
    upgrade(node, "2.13.0")
    assert subprocess.run([script], check=True, capture_output=True, text=True).stdout == "2.13.0+cpu\n"


def test_what_was_added_stays_with_its_environment(node):
    (node.prefix / "var/added").mkdir()
    record = {"roots": ["wandb"], "packages": {"wandb": "0.20.1"}}
    (node.prefix / "var/added/record.json").write_text(json.dumps(record))
    assert node.present()["torch_stack"]["added"] == ["wandb==0.20.1"]
    upgrade(node, "2.14.0")
    assert node.present()["torch_stack"]["added"] == []
    upgrade(node, "2.13.0")
    assert node.present()["torch_stack"]["added"] == ["wandb==0.20.1"]


def test_one_that_cannot_be_imported_is_told_with_the_reason(node):
    want(node, "2.14.0")
    install(node)
    (node.prefix / f"environments/{NEW}/env/lib/python{VERSION}/site-packages/torch/__init__.py").write_text(
        "raise ImportError('libcudnn.so.9: cannot open shared object file')\n"
    )
    answer = verified(node)
    assert answer["failed"] and "libcudnn.so.9" in answer["msg"] and NEW in answer["msg"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"torch_build": "cu126"}, "is the build cpu, and cu126 was planned"),
        ({"gpus": 2}, "finds 0 of 2 GPUs"),
        ({"packages": ["torch", "deepspeed"]}, "No module named 'deepspeed'"),
    ],
)
def test_one_that_is_not_what_was_planned_is_not_verified(node, more, message):
    want(node, "2.14.0")
    install(node)
    answer = call(node, "verified", **{"packages": ["torch"], "torch_build": "cpu", **more})
    assert answer["failed"] and message in answer["msg"]


def test_half_an_environment_is_not_switched_to(node):
    want(node, "2.14.0")
    install(node)
    (node.prefix / f"environments/{NEW}/var/stack-installing").touch()
    answer = call(node, "current")
    assert answer["failed"] and "no whole environment" in answer["msg"] and torch_of(node) == "2.13.0+cpu"


@pytest.mark.parametrize(("job", "is_refused"), [("/env/bin/python", True), ("/environments/x/env/bin/python", False)])
def test_nothing_is_switched_under_a_running_job(node, monkeypatch, job, is_refused):
    upgrade(node, "2.14.0")
    want(node, "2.15.0")
    install(node)
    running = {"pid": 7, "user": "train", "ours": True, "command": f"{node.prefix}{job} train.py"}
    monkeypatch.setattr(environment_switch, "processes", lambda *_any: [running])
    answer = call(node, "current")
    assert answer.get("failed", False) is is_refused
    assert torch_of(node) == ("2.14.0+cpu" if is_refused else "2.15.0+cpu")


def test_the_first_switch_moves_what_any_job_may_have_open(node, monkeypatch):
    want(node, "2.14.0")
    install(node)
    running = {"pid": 7, "user": "train", "ours": False, "command": "python train.py"}
    monkeypatch.setattr(environment_switch, "processes", lambda *_any: [running])
    maps = f"7f00-7f01 r-xp 0 08:01 7 {node.prefix}/env/lib/python{VERSION}/site-packages/torch/lib/libtorch_cpu.so\n"
    monkeypatch.setattr(Tree, "text", lambda _tree, path, _most: {"/proc/7/maps": maps}.get(path))
    for answer in (verified(node), call(node, "current")):
        assert answer["failed"] and "7 of train" in answer["msg"] and not (node.prefix / "env").is_symlink()


class Killed(Exception):
    """The run ends here."""


@pytest.mark.parametrize(
    ("module", "step"), [(os, "rename"), (os, "replace"), (switch, "remove_records"), (switch, "copy_records")]
)
def test_an_interrupted_switch_goes_on(node, monkeypatch, module, step):
    want(node, "2.14.0")
    install(node)

    def killed(*_any):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, step, killed)
        if step in ("rename", "replace"):  # nothing is tidied up by a process that was killed
            patch.setattr(os, "unlink", lambda _path: None)
        with pytest.raises(Killed):
            environment_switch.converge({"prefix": str(node.prefix), "user": ME.pw_name, "name": NEW})
    want(node, "2.14.0")
    if target(node)["switch"]:
        install(node)
        assert call(node, "current")["changed"]
    assert torch_of(node) == "2.14.0+cpu" and sorted(environments.whole(str(node.prefix))) == [OLD, NEW]
    want(node, "2.14.0")
    assert rows(node) == []
    upgrade(node, "2.13.0")
    assert torch_of(node) == "2.13.0+cpu"


def test_of_nodes_that_share_the_prefix_one_switches(node):
    want(node, "2.14.0")
    install(node)
    # two that have looked at the same time
    program = f"""
import sys
from ansible_collections.trainmesh.cluster.plugins.modules import environment_switch
environment_switch.processes = lambda *_any: []
sys.stdin.readline()
change = environment_switch.converge({{"prefix": {str(node.prefix)!r}, "user": {NAME!r}, "name": {NEW!r}}})
print("nothing" if change.is_empty else "switched")
"""
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                         env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        for _number in range(2)
    ]  # fmt: skip
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sorted(process.communicate(timeout=60)[0] for process in started) == ["nothing\n", "switched\n"]
    assert torch_of(node) == "2.14.0+cpu" and sorted(environments.whole(str(node.prefix))) == [OLD, NEW]


def test_an_installation_that_runs_holds_the_switch_back(node, monkeypatch):
    want(node, "2.14.0")
    install(node)
    monkeypatch.setattr(environment_switch, "LOCK_SECONDS", 0.0)
    with uv.alone(uv.paths(str(node.prefix)), 0.0):
        answer = call(node, "current")
    assert answer["failed"] and "another installation runs" in answer["msg"] and torch_of(node) == "2.13.0+cpu"


def test_a_node_with_a_directory_gets_the_link_of_the_others(node):
    others = {"linked": OLD, "content": OLD, "fixed": False, "whole": [OLD]}
    theirs = {"of": [node.plan["user"], node.plan["prefix"]], "torch_stack": {"environments": others}}
    plan_environments.enter(node.plan, {"node1": node.present(), "node2": theirs}, {})
    assert rows(node) == [("torch_stack", changes.SWITCH, f"{OLD} when it is verified")]
    assert install(node) and "failed" not in verified(node)
    assert call(node, "current")["changed"] and torch_of(node) == "2.13.0+cpu"
    assert os.readlink(node.prefix / "env") == f"environments/{OLD}/env"
    plan_environments.enter(node.plan, {"node1": node.present(), "node2": theirs}, {})
    assert rows(node) == []


def test_what_was_not_whole_is_not_kept(node):
    (node.prefix / "var/stack-packages").unlink()
    (node.prefix / "var/stack-installing").touch()
    others = {"linked": NEW, "content": NEW, "fixed": False, "whole": [NEW]}
    theirs = {"of": [node.plan["user"], node.plan["prefix"]], "torch_stack": {"environments": others}}
    node.lock = {"torch": "2.14.0+cpu", "accelerate": "1.15.0"}
    node.plan["stack"].update(requirements=["torch==2.14.0"])
    plan_environments.enter(node.plan, {"node1": node.present(), "node2": theirs}, {})
    install(node)
    assert call(node, "current")["removed"] == [switch.UNKNOWN]
    assert environments.names(str(node.prefix)) == [NEW] and torch_of(node) == "2.14.0+cpu"


def test_a_mount_or_a_link_of_others_is_not_touched(node):
    (node.prefix / "env").rename(node.path / "disk")
    (node.prefix / "env").symlink_to(node.path / "disk")
    want(node, "2.14.0")
    assert target(node)["switch"] == "" and rows(node) != []
    answer = call(node, "current", name=NEW)
    assert answer["failed"] and "nothing can be switched there" in answer["msg"]


def test_too_little_room_for_two_is_told_before(node):
    faults = want(node, "2.14.0", free=1 << 30)
    assert [fault.hosts for fault in faults] == [("node1",)] and "1024 MiB are free" in faults[0]
    assert not want(node, "2.14.0", free=3 << 30) and not want(node, "2.13.0", free=0)
    want(node, "2.14.0")
    install(node)
    call(node, "current")
    assert not want(node, "2.13.0", free=0), "for the way back nothing is installed"


# Answers as the interpreter of an environment does, and writes down who has started it.
INTERPRETER = """#!/bin/sh
id -u >>"$(dirname "$0")/users"
case "$*" in
*import\\ importlib*) echo '{"version": "2.14.0+cpu", "cuda": null, "gpus": 0}' ;;
*) echo 3.11 ;;
esac
"""


def make_theirs(base, version, user):
    """An environment of the user's with this torch, its records, and what was added to it."""
    site = base / "env/lib/python3.11/site-packages"
    for path in (base / "env/bin", site / "torch", site / f"torch-{version}+cpu.dist-info", base / "var/added"):
        path.mkdir(parents=True, exist_ok=True)
    (site / f"torch-{version}+cpu.dist-info/RECORD").touch()
    (site / "torch/version.py").write_text(f"__version__ = '{version}+cpu'\n")
    (base / "env/pyvenv.cfg").touch()
    (base / "env/bin/python").write_text(INTERPRETER)
    (base / "env/bin/python").chmod(0o755)
    (base / "var/stack-packages").write_text("torch\n")
    (base / "var/environment.json").write_text(prefix.claim_text("venv", "3.11"))
    for path in [base / "env", base / "var", *(base / "env").rglob("*"), *(base / "var").rglob("*")]:
        os.chown(path, user.pw_uid, user.pw_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as another user")
def test_root_switches_and_runs_nothing_of_the_users(capsys, monkeypatch):
    monkeypatch.setattr(environment_switch, "processes", lambda *_any: [])
    user, old, new = pwd.getpwnam("nobody"), "torch-2.13.0-cpu-py3.11", "torch-2.14.0-cpu-py3.11"
    with tempfile.TemporaryDirectory(dir="/var/lib") as path:
        os.chmod(path, 0o755)
        make_theirs(pathlib.Path(path), "2.13.0", user)
        make_theirs(pathlib.Path(path, "environments", new), "2.14.0", user)
        given = {"prefix": path, "user": "nobody", "name": new, "packages": ["torch"], "torch_build": "cpu"}
        answers = [modules.run(environment_switch, capsys, state=state, **given) for state in ("verified", "current")]
        assert [answer["changed"] for answer in answers] == [False, True], answers
        assert os.readlink(f"{path}/env") == f"environments/{new}/env"
        assert sorted(environments.whole(path)) == [old, new] and os.listdir(f"{path}/var") == ["stack-installing.lock"]
        owners = {name: os.lstat(f"{path}/{name}").st_uid for name in ("env", "environments", f"environments/{old}")}
        assert set(owners.values()) == {0}
        theirs = [
            f"environments/{old}/{name}" for name in ("env", "var", "var/stack-packages", "var/added", "var/cache")
        ]
        assert {os.lstat(f"{path}/{name}").st_uid for name in theirs} == {user.pw_uid}
        users = [pathlib.Path(path, f"environments/{name}/env/bin/users").read_text().split() for name in (old, new)]
        assert set(users[0] + users[1]) == {str(user.pw_uid)} and all(users)
        assert not modules.run(environment_switch, capsys, state="current", **given)["changed"]


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(environment_switch, monkeypatch)


OWN = {"name": "vision", "torch_build": "cpu", "requirements": ["torch==2.12.0"]}
OWN_LOCK = {"torch": "2.12.0+cpu"}


def own_rows(node, lock):
    found = node.changes("torch_stack", own_locks={"vision": lock})
    return [change.why for change in found if change.what == "environments/vision"]


def test_an_environment_of_the_users_is_made_once_and_told_when_it_differs(node):
    node.plan["stack"]["environments"] = [OWN]
    assert own_rows(node, OWN_LOCK) == ["not there"]
    assert changes.plays(node.changes("torch_stack", own_locks={"vision": OWN_LOCK})) == ["environments", "torch_stack"]
    node.plan["nodes"]["node1"]["environment"] = {**plan_environments.NONE._asdict(), "name": "vision"}
    main, node.lock = node.lock, OWN_LOCK
    install(node)
    node.lock = main
    want(node, "2.13.0")
    assert own_rows(node, OWN_LOCK) == [] and node.changes("torch_stack", own_locks={"vision": OWN_LOCK}) == []
    assert own_rows(node, None) == ["the lock has to be made"]
    assert own_rows(node, {"torch": "2.12.1+cpu"}) == ["differs from the plan"]
    (node.prefix / "environments/vision/var/stack-installing").touch()
    assert own_rows(node, OWN_LOCK) == ["an installation did not end"]
    (node.prefix / "environments/vision/var/stack-installing").unlink()
    upgrade(node, "2.14.0")
    assert upgrade(node, "2.15.0")["removed"] == [OLD], "it is none of those that are switched"
    assert own_rows(node, OWN_LOCK) == []
    (node.prefix / "environments/vision/env/pyvenv.cfg").unlink()
    assert own_rows(node, OWN_LOCK) == ["the environment is incomplete or its interpreter does not run"]


def test_an_environment_of_the_users_is_verified_while_jobs_run_and_never_switched_to(node, monkeypatch):
    node.plan["nodes"]["node1"]["environment"] = {**plan_environments.NONE._asdict(), "name": "vision"}
    node.lock = OWN_LOCK
    install(node)
    running = {"pid": 7, "user": "train", "ours": True, "command": f"{node.prefix}/env/bin/python train.py"}
    monkeypatch.setattr(environment_switch, "processes", lambda *_any: [running])
    given = {"name": "vision", "packages": ["torch"]}
    assert call(node, "verified", **given)["torch"]["version"] == "2.12.0+cpu"
    answer = call(node, "current", **given)
    assert answer["failed"] and "of which none is the one in use" in answer["msg"]
    assert not (node.prefix / "env").is_symlink()


def test_what_the_inventory_sets_by_role_hides_neither_switch_nor_environments(node):
    want(node, "2.14.0")
    node.plan["stack"]["environments"] = [OWN]
    found = node.changes("torch_stack", overridden={"torch_stack": ["torch_stack_timeout"]})
    assert {change.what for change in found} == {changes.EVERYTHING, "environments/vision", changes.SWITCH}
    assert changes.plays(found) == ["environment", "environments", "torch_stack"]
