# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of packages that could be forged are refused before any machine is touched."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.action.inventory_check import ActionModule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import sources
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.index import Index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools

CONDA = {"python_env": "conda", "conda_installer": "https://repo.example.com/Miniforge3.sh"}
GOOD_SUM = "sha256:" + "0" * 64


def faults(index=None, **wishes):
    values = {f"trainmesh_{name}": value for name, value in wishes.items()}
    return sources.faults(variables.read(values, "cluster"), index)


@pytest.mark.parametrize(
    ("wishes", "index", "named"),
    [
        ({"index_url": "http://mirror.lan/simple"}, None, "http://mirror.lan/simple"),
        ({"index_url": "HTTP://mirror.lan/simple"}, None, "HTTP://mirror.lan/simple"),
        ({"torch_index_url": "http://mirror.lan/whl"}, None, "http://mirror.lan/whl"),
        ({"python_install": True, "conda_channels": ["http://c.lan/forge"]}, None, "http://c.lan/forge"),
        ({}, Index(default="http://mirror.lan/simple"), "http://mirror.lan/simple"),
        ({}, Index(extra=("https://good.lan/", "http://bad.lan/")), "http://bad.lan/"),
        ({}, Index(find_links=("http://bad.lan/wheels",), no_index=True), "http://bad.lan/wheels"),
        ({}, Index(trusted_hosts=("mirror.lan:8080",)), "trusted-host mirror.lan:8080"),
        ({"extra_packages": ["x @ http://bad.lan/x-1-py3-none-any.whl"]}, None, "http://bad.lan/x-1-py3-none-any.whl"),
        ({"extra_packages": ["x @ git+http://bad.lan/x"]}, None, "git+http://bad.lan/x"),
        (
            {**CONDA, "conda_installer_checksum": GOOD_SUM, "conda_channels": ["http://c.lan/forge"]},
            None,
            "http://c.lan",
        ),
    ],
)
def test_what_anybody_could_forge_needs_one_line(wishes, index, named):
    (fault,) = faults(index, **wishes)
    assert named in fault
    assert "write trainmesh_index_insecure: true" in fault
    assert faults(index, **wishes, index_insecure=True) == []


@pytest.mark.parametrize(
    ("wishes", "index"),
    [
        ({"index_url": "https://mirror.lan/simple"}, Index(extra=("file:///srv/simple",), find_links=("/srv/wheels",))),
        ({}, Index(default="http://bad.lan/", no_index=True)),
        ({}, Index(default="http://127.0.0.1:3141/root/pypi", trusted_hosts=("localhost:3141", "127.0.0.1", "[::1]"))),
        ({"extra_packages": ["transformers>=4.57", "x @ https://good.lan/x-1.whl"]}, None),
        ({"conda_channels": ["http://not.used.lan"], "conda_installer": "https://not.used.lan/x.sh"}, None),
        ({**CONDA, "conda_installer_checksum": GOOD_SUM, "conda_channels": ["conda-forge", "/srv/channel"]}, None),
        ({**CONDA, "conda_installer": "http://repo.lan/x.sh", "conda_installer_checksum": GOOD_SUM}, None),
        ({**CONDA, "conda_installer": "/srv/Miniforge3.sh"}, None),
    ],
)
def test_the_healthy_are_let_through(wishes, index):
    assert faults(index, **wishes) == []


def test_an_installer_from_a_url_needs_its_checksum_also_on_a_trusted_network():
    (fault,) = faults(**CONDA, index_insecure=True)
    assert "trainmesh_conda_installer_checksum: sha256:" in fault
    assert "joe" not in faults(**{**CONDA, "conda_installer": "https://joe:word@repo.example.com/x.sh"})[0]


@pytest.mark.parametrize("value", ["md5:" + "0" * 32, "0" * 64, "sha256:xyz", "sha256:" + "0" * 63])
def test_a_weak_checksum_is_refused(value):
    with pytest.raises(ValueError, match="sha256:"):
        variables.read({"trainmesh_conda_installer_checksum": value}, "cluster")


@pytest.mark.parametrize(
    "line", ["--index-url http://bad.lan", "-i x", "--trusted-host=bad.lan", "x==1\n-i http://bad"]
)
def test_options_of_pip_are_no_requirements(line):
    with pytest.raises(ValueError, match="without options of pip"):
        variables.read({"trainmesh_extra_packages": [line]}, "cluster")


@pytest.fixture
def pip_configuration(tmp_path, monkeypatch):
    path = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(path))

    def write(text):
        path.write_text(f"[global]\n{text}\n")

    return write


def test_the_inventory_check_asks_pip_on_the_controller(pip_configuration):
    pip_configuration("extra-index-url = http://joe:word@mirror.lan/simple\ntrusted-host = mirror.lan")
    (fault,) = ActionModule._sources({}, lambda _value: "")
    assert "http://****@mirror.lan/simple, trusted-host mirror.lan" in fault
    assert "word" not in fault
    assert ActionModule._sources({"trainmesh_index_insecure": True}, lambda _value: "") == []
    url = {"trainmesh_index_url": "http://mirror.lan/simple"}
    assert ActionModule._sources(url, lambda _value: "hosts.yml:7")[0].startswith("hosts.yml:7: packages would come")


def test_the_tools_themselves_refuse_it_too(pip_configuration):
    pip_configuration("trusted-host = mirror.lan")
    with pytest.raises(ToolError, match="trainmesh_index_insecure: true"):
        assert Tools("3.11", "x86_64-manylinux_2_28").index
    assert Tools("3.11", "x86_64-manylinux_2_28", insecure=True).index.trusted_hosts == ("mirror.lan",)


@pytest.mark.parametrize(
    ("wishes", "shown"),
    [
        ({"extra_packages": ["x @ https://joe:SECRET@good.lan/x-1.whl"]}, "https://****@good.lan/x-1.whl"),
        ({"extra_packages": ["x @ git+https://SECRET@good.lan/x.git@v1"]}, "git+https://****@good.lan/x.git@v1"),
        ({"extra_packages": ["x @ git+ssh://git:SECRET@good.lan/x"]}, "git+ssh://****@good.lan/x"),
        ({**CONDA, "conda_channels": ["https://joe:SECRET@c.lan/forge"]}, "https://****@c.lan/forge"),
        ({**CONDA, "conda_channels": ["https://c.lan/t/SECRET/forge"]}, "https://c.lan/t/****/forge"),
    ],
)
def test_a_login_that_would_stand_in_plan_and_command_lines_is_refused_and_not_shown(wishes, shown):
    if "conda_channels" in wishes:
        wishes["conda_installer_checksum"] = GOOD_SUM
    (fault,) = faults(**wishes, index_insecure=True)
    assert shown in fault and "~/.netrc" in fault and "SECRET" not in fault


def test_a_user_of_ssh_is_no_login():
    assert faults(extra_packages=["x @ git+ssh://git@good.lan/x.git"]) == []
    assert faults(extra_packages=["x @ git+https://good.lan/x.git@v1"]) == []
