# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller compares with is what the roles hand to their modules."""

from __future__ import annotations

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import firewall
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import changes, role_inputs
from ansible_collections.trainmesh.cluster.tests.unit.samples.nodes import Node

ENV = {
    "HF_TOKEN": 'it\'s "secret" $HOME',
    "COUNT": 3,
    "RATIO": 0.5,
    "ON": True,
    "EMPTY": "",
    "NONE": None,
    "UMLAUT": "ä\u2028",
    "LINES": "a\nb",
    "_first": "x",
    "lower": "y",
}


def templated(role, folder, name, **values):
    """A variable of a role as Ansible makes it of these values; its files are those of the role."""
    texts = yaml.safe_load((role_inputs.ROLES / role / folder / "main.yml").read_text())
    loader = DataLoader()
    loader.set_basedir(str(role_inputs.ROLES / role))
    trusted = {key: trusted_text(value) for key, value in texts.items()}
    return Templar(loader, variables={**trusted, **values}).template(trusted[name])


def trusted_text(value):
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted_text(each) for key, each in value.items()}
    return [trusted_text(each) for each in value] if isinstance(value, list) else value


def test_the_jobs_environment():
    for env in (ENV, {}):
        made = templated("launch_config", "vars", "__launch_config_job_env", launch_config_env=env)
        assert [made] == [entry["content"] for entry in role_inputs.job_env(env)]


def test_the_launch_scripts():
    texts = yaml.safe_load((role_inputs.ROLES / "launch_config/vars/main.yml").read_text())
    for script, made in zip(texts["__launch_config_scripts"], role_inputs.launch_scripts(), strict=True):
        lookup = f"{{{{ lookup('ansible.builtin.file', '{script['path']}', rstrip=false) }}}}"
        assert (script["content"], script["mode"]) == (lookup, made["mode"])
        assert made["content"] == (role_inputs.ROLES / "launch_config/files" / script["path"]).read_text()


def test_the_commands():
    for launchers in ([], ["mpirun"], ["torchrun"], ["mpirun", "deepspeed"]):
        for head in ("node1", "node2"):
            plan = {"launchers": launchers, "head": head}
            values = {"trainmesh_plan": plan, "inventory_hostname": "node1"}
            made = templated("python_env", "defaults", "python_env_commands", **values)
            assert list(made) == changes.commands(plan, "node1")


def test_the_firewalls():
    for kind in ("auto", "none", "firewalld", "ufw"):
        assert list(templated("firewall", "vars", "__firewall_wanted", firewall_kind=kind)) == firewall.backends(kind)


GIVEN = {
    "hosts": {"hosts_hostname": "name", "hosts_entries": "entries", "hosts_cluster": "cluster", "hosts_head": "head"},
    "ssh_mesh": {f"ssh_mesh_{name}": name for name in ("authorized_keys", "known_hosts", "config")},
    "firewall": {"firewall_addresses": "addresses", "firewall_interface": "interface"},
    "launch_config": {"launch_config_user": "user", "launch_config_nccl_conf": "settings"},
    "python_env": {f"python_env_{name}": name for name in ("prefix", "user", "kind", "python", "python_version")},
    "torch_stack": {f"torch_stack_{name}": name for name in ("prefix", "user", "python_version", "torch_build")},
}


@pytest.mark.parametrize("role", changes.ROLES)
def test_the_defaults_of_the_roles_are_what_the_tests_of_the_comparison_give_the_modules(
    tmp_path, monkeypatch, capsys, role
):
    node = Node(tmp_path, monkeypatch, capsys)
    given = {name: value for _module, arguments in node.tasks(role) for name, value in arguments.items()}
    values = {"trainmesh_plan": node.plan, "inventory_hostname": "node1"}
    for variable, name in GIVEN[role].items():
        assert templated(role, "defaults", variable, **values) == given[name], variable
    if role == "launch_config":
        files = next(arguments["files"] for _module, arguments in node.tasks(role))
        made = templated(role, "defaults", "launch_config_files", **values)
        assert [*made, *role_inputs.launch_scripts()] == files


def test_only_a_roles_own_variables_are_its_own():
    inventory = {"firewall_kind": "ufw", "firewall_note": "ours", "trainmesh_firewall": "ufw"}
    assert role_inputs.overridden("firewall", inventory, {"firewall_interface": "eth1"}) == [
        "firewall_kind",
        "firewall_interface",
    ]
    assert all(role_inputs.overridden(role, inventory) == [] for role in changes.ROLES if role != "firewall")


def test_the_variables_that_the_plan_stands_for_are_known():
    """A default that reads something else than the plan is something that the comparison must be given."""
    given = {"trainmesh_backup", "trainmesh_env", "trainmesh_ssh_port", "trainmesh_index_url"}
    given |= {"trainmesh_torch_index_url"}
    # read only where an environment is made
    given |= {
        "trainmesh_conda_installer",
        "trainmesh_conda_channels",
        "trainmesh_conda_lock",
        "trainmesh_python_mirror",
    }
    for role in changes.ROLES:
        for name, value in yaml.safe_load((role_inputs.ROLES / role / "defaults/main.yml").read_text()).items():
            known = (
                "trainmesh_plan." in str(value) or any(each in str(value) for each in given) or "{{" not in str(value)
            )
            assert known or name == "python_env_commands", (role, name, value)
