# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Toolkits of packages and runfiles: all judged before anything is done."""

from __future__ import annotations

import os

import pytest
from ansible.module_utils import basic

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import cuda_toolkit as apply_cuda_toolkit
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import cuda_toolkit as install_cuda_toolkit
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import runfile, session_limits
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.cuda_toolkit import Toolkit
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import installation
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.apt import Apt
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Transaction
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver, driver_sources
from ansible_collections.trainmesh.cluster.plugins.modules import cuda_toolkit
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

SUM = f"sha256:{'0' * 64}"


class Node(Apt):
    """A node with repositories, and the toolkits that it has by release."""

    def __init__(self, place):
        super().__init__()
        self.place, self.toolkits, self.calls = place, {}, []
        self.offered = {"cuda-toolkit-12-6": ["12.6.3-1", "12.6.1-1"], "nvidia-cuda-toolkit": ["11.8.89~11.8.0-5"]}
        self.holds = set()

    def refresh(self):
        self.calls.append("refresh")

    def versions(self, name):
        return self.offered.get(name, [])

    def held(self):
        return self.holds

    def installed(self, names):
        return dict.fromkeys(names, "1")

    def transaction(self, wants, drops=()):
        return Transaction(new={want.name: want.version for want in wants}, disk=2**20)

    def install(self, wants, drops=(), removes=True):
        self.calls += [f"{want.name}={want.version}" for want in wants]
        for want in wants:
            if want.name.startswith("cuda"):
                self.add("12.6", want.version.partition("-")[0])
            else:
                self.toolkits["11.8"] = Toolkit("/usr", "11.8", "/usr/bin")

    def add(self, release, version):
        path = f"{self.place}/cuda-{release}"
        self.toolkits[release] = Toolkit(path, version, f"{path}/bin")
        return self.toolkits[release]

    def present(self, version, *_rest):
        return self.toolkits.get(install_cuda_toolkit.release_of(version))


@pytest.fixture
def node(monkeypatch, tmp_path):
    found = Node(tmp_path)
    monkeypatch.setattr(installation, "manager", lambda **_options: found)
    monkeypatch.setattr(install_cuda_toolkit, "present", found.present)
    for name, value in {"PLACE": "cuda-{}", "ENVIRONMENT": "environment", "PROFILE": "trainmesh-cuda.sh"}.items():
        monkeypatch.setattr(install_cuda_toolkit, name, f"{tmp_path}/{value}")
    monkeypatch.setattr(session_limits, "runs", lambda *_arguments: True)
    monkeypatch.setattr(
        runfile,
        "install",
        lambda one, *_rest: (found.calls.append(one.name), found.add(one.version, f"{one.version}.1"))[1],
    )
    return found


def test_the_vendors_package_goes_before_the_distributions(capsys, node):
    toolkits = [{"version": "12.6"}, {"version": "11.8"}]
    answer = modules.run(cuda_toolkit, capsys, toolkits=toolkits)
    assert node.calls == ["refresh", "cuda-toolkit-12-6=12.6.3-1", "nvidia-cuda-toolkit=11.8.89~11.8.0-5"]
    assert answer["toolkits"] == [
        {"version": "12.6.3", "path": f"{node.place}/cuda-12.6"},
        {"version": "11.8", "path": "/usr"},
    ]
    assert answer["bin"] == f"{node.place}/cuda-12.6/bin" and answer["path_changed"]
    again = modules.run(cuda_toolkit, capsys, toolkits=toolkits)
    assert not again["changed"] and again["missing"] == [] and len(node.calls) == 3


def test_the_other_one_is_put_in_front_without_an_installation(capsys, node):
    modules.run(cuda_toolkit, capsys, toolkits=[{"version": "12.6"}, {"version": "11.8"}])
    answer = modules.run(cuda_toolkit, capsys, toolkits=[{"version": "11.8"}, {"version": "12.6"}])
    assert answer["changed"] and answer["bin"] == "/usr/bin" and len(node.calls) == 3
    assert not os.path.exists(install_cuda_toolkit.PROFILE)
    with open(install_cuda_toolkit.ENVIRONMENT, encoding="utf-8") as stream:
        assert stream.read() == ""


def test_a_patch_is_the_one_asked_for(capsys, node):
    modules.run(cuda_toolkit, capsys, toolkits=[{"version": "12.6.1"}])
    assert node.calls[-1] == "cuda-toolkit-12-6=12.6.1-1"
    modules.run(cuda_toolkit, capsys, toolkits=[{"version": "12.6.3"}])
    assert node.calls[-1] == "cuda-toolkit-12-6=12.6.3-1"


@pytest.mark.parametrize(
    ("toolkit", "words"),
    [
        ({"version": "12.4"}, "has nvidia-cuda-toolkit 12.4; there is 11.8.89~11.8.0-5"),
        ({"version": "12.6.2"}, "CUDA 12.6.2: "),
    ],
)
def test_what_nobody_has_is_told_with_what_there_is(capsys, node, toolkit, words):
    answer = modules.run(cuda_toolkit, capsys, toolkits=[toolkit])
    assert words in answer["msg"] and "runfile" in answer["msg"] and node.calls == ["refresh"]
    assert not os.path.exists(install_cuda_toolkit.ENVIRONMENT)


def test_packages_and_runfiles_side_by_side(capsys, node, tmp_path):
    (tmp_path / "cuda_12.8.run").touch()
    toolkits = [{"version": "12.8", "runfile": f"{tmp_path}/cuda_12.8.run", "checksum": SUM}, {"version": "11.8"}]
    told = modules.run(cuda_toolkit, capsys, check=True, toolkits=toolkits)
    assert told["missing"] == ["12.8", "11.8"] and node.calls == [] and told["bin"].endswith("cuda-12.8/bin")
    answer = modules.run(cuda_toolkit, capsys, toolkits=toolkits)
    assert answer["diff"] == told["diff"] and node.calls[-1] == "cuda_12.8.run"
    assert str(tmp_path) not in answer["diff"][1]["after"]


def test_check_mode_bears_lists_that_are_empty(capsys, node, monkeypatch):
    warnings = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    node.offered = {}
    told = modules.run(cuda_toolkit, capsys, check=True, toolkits=[{"version": "12.6"}])
    assert told["changed"] and "cuda-toolkit-12-6" in told["diff"][0]["after"]
    assert "not known before the lists of packages are read" in warnings[0]


@pytest.mark.parametrize(
    ("toolkits", "words"),
    [
        ([{"version": "12"}], "such as 12.6 or 12.6.3"),
        ([{"version": "12.6"}, {"version": "12.6.1"}], "CUDA 12.6 is asked for twice"),
        ([{"version": "12.8", "runfile": "https://mirror.example/x.run"}], "without a check"),
        ([{"version": "12.8", "runfile": "/no/x.run", "checksum": SUM}], "there is no file x.run on this node"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_done(capsys, node, toolkits, words):
    answer = modules.run(cuda_toolkit, capsys, toolkits=[*toolkits, {"version": "11.8"}])
    assert words in answer["msg"] and not node.toolkits


def test_a_held_package_stops_all_of_it(capsys, node):
    node.holds = {"cuda-toolkit-12-6"}
    answer = modules.run(cuda_toolkit, capsys, toolkits=[{"version": "12.6"}, {"version": "11.8"}])
    assert "cuda-toolkit-12-6 would change, and is held" in answer["msg"] and not node.toolkits


def test_a_runfile_does_not_replace_another_patch(capsys, node):
    node.add("12.8", "12.8.0")
    toolkit = {"version": "12.8.1", "runfile": "https://mirror.example/x.run", "checksum": SUM}
    assert "holds 12.8.0" in modules.run(cuda_toolkit, capsys, toolkits=[toolkit])["msg"]


@pytest.fixture
def vendor(monkeypatch, tmp_path):
    """The files by which the node gets the vendor's repository."""
    wanted = {f"{tmp_path}/nvidia.gpg": b"key", f"{tmp_path}/nvidia.sources": b"Types: deb\n"}
    monkeypatch.setattr(driver_sources, "open_sources", lambda *_arguments: wanted)
    monkeypatch.setattr(driver_sources, "ROOM", f"{tmp_path}/room")
    monkeypatch.setattr(driver, "ROOM", f"{tmp_path}/room")
    return wanted


def test_the_vendors_repository_comes_with_its_toolkit(capsys, node, vendor):
    toolkits = [{"version": "12.6", "source": "vendor"}]
    told = modules.run(cuda_toolkit, capsys, check=True, toolkits=toolkits)
    assert told["changed"] and not any(map(os.path.exists, vendor))
    assert modules.run(cuda_toolkit, capsys, toolkits=toolkits)["diff"] == told["diff"]
    assert all(map(os.path.exists, vendor)) and node.toolkits
    assert not modules.run(cuda_toolkit, capsys, toolkits=toolkits)["changed"]


def test_it_goes_again_where_the_toolkit_can_not_be_had(capsys, node, vendor):
    node.holds = {"cuda-toolkit-12-6"}
    assert "is held" in modules.run(cuda_toolkit, capsys, toolkits=[{"version": "12.6", "source": "vendor"}])["msg"]
    assert not any(map(os.path.exists, vendor))


@pytest.mark.usefixtures("vendor")
def test_a_repository_that_is_not_trusted_changes_nothing(capsys, node, monkeypatch):
    def refuse(*_arguments):
        raise Fault("the key is not the one that is trusted")

    monkeypatch.setattr(driver_sources, "open_sources", refuse)
    answer = modules.run(cuda_toolkit, capsys, toolkits=[{"version": "12.6", "source": "vendor"}])
    assert "CUDA: the key is not the one" in answer["msg"] and node.calls == []


def test_what_an_interrupted_run_has_left_is_no_toolkit(capsys, node):
    node.add("12.8", "12.8.1")
    with open(install_cuda_toolkit.marker_of(f"{node.place}/cuda-12.8"), "w", encoding="ascii"):
        pass
    toolkit = {"version": "12.8", "runfile": "https://mirror.example/x.run", "checksum": SUM}
    modules.run(cuda_toolkit, capsys, toolkits=[toolkit])
    assert node.calls == ["x.run"]


def test_path_stays_as_it_is_when_a_toolkit_fails(capsys, node, monkeypatch):
    def fail(*_arguments):
        raise Fault("CUDA 12.8: the download was cut off")

    monkeypatch.setattr(runfile, "install", fail)
    toolkit = {"version": "12.8", "runfile": "https://mirror.example/x.run", "checksum": SUM}
    assert "cut off" in modules.run(cuda_toolkit, capsys, toolkits=[toolkit])["msg"]
    assert not os.path.exists(install_cuda_toolkit.ENVIRONMENT)


def test_a_package_without_a_compiler_that_runs_is_a_failure(capsys, node, monkeypatch):
    monkeypatch.setattr(install_cuda_toolkit, "present", lambda *_arguments: None)
    answer = modules.run(cuda_toolkit, capsys, toolkits=[{"version": "12.6"}])
    assert "cuda-toolkit-12-6 12.6.3-1 is installed, and no compiler of it runs" in answer["msg"]


def test_an_sshd_that_reads_no_environment_is_told(capsys, node, monkeypatch):
    monkeypatch.setattr(session_limits, "runs", lambda *_arguments: False)
    monkeypatch.setattr(apply_cuda_toolkit.Tree, "has", lambda _tree, path: path == "/etc/pam.d/sshd")
    answer = modules.run(cuda_toolkit, capsys, toolkits=[{"version": "12.6"}])
    assert "session required pam_env.so" in answer["msg"] and not node.toolkits


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(cuda_toolkit, monkeypatch)
