# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import fcntl
import json

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.apt import Apt
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Package, Transaction, Want
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.system import System
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver, driver_apply, driver_sources
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_sources import Wish
from ansible_collections.trainmesh.cluster.tests.unit.plugins.module_utils._software.test_driver_plan import BARE, steps

DEBIAN = System("debian", "12", "bookworm", "Debian 12", "x86_64")
NEW = "535.309.01-0+deb12u1"
NAMES = ("nvidia-kernel-dkms", "libcuda1", "libnvidia-ml1", "nvidia-smi", "linux-headers-6.1.0-57-amd64")


class Node(Apt):
    """A node as apt and the readers show it; ``calls`` are those that would change or download something."""

    def __init__(self, monkeypatch, tmp_path, **changes) -> None:
        super().__init__()
        self.present = BARE._replace(**changes)
        self.calls: list[str] = []
        self.holds: set[str] = set()
        self.have: dict[str, str] = {}
        self.offered = {name: Package(None, NEW, (NEW,)) for name in NAMES}
        self.would = steps(dict.fromkeys(NAMES, (None, NEW)), {})
        room = str(tmp_path / "room")
        monkeypatch.setattr(driver, "ROOM", room)
        monkeypatch.setattr(driver, "LOCK", f"{room}.lock")
        monkeypatch.setattr(driver.installation, "manager", lambda **_options: self)
        monkeypatch.setattr(driver.system, "read", lambda: DEBIAN)
        monkeypatch.setattr(driver.driver_present, "read", lambda _machine, _kernel: self.present)
        monkeypatch.setattr(driver.driver_present, "users", list)
        monkeypatch.setattr(driver_sources, "open_sources", lambda _apt, _wish, _node: {})
        monkeypatch.setattr(driver_apply, "RECORD", str(tmp_path / "record.json"))
        monkeypatch.setattr(driver_apply, "install", lambda *_words: self.calls.append("install"))
        monkeypatch.setattr(driver.dkms, "trial", lambda *_words: self.calls.append("trial"))
        monkeypatch.setattr(driver, "which", lambda name: f"/usr/sbin/{name}")

    def packages(self, names):
        return {name: self.offered[name] for name in names if name in self.offered}

    def installed(self, names=None):
        return self.have

    def held(self):
        return self.holds

    def hold(self, names, is_held=True):
        if names:
            self.calls.append(f"hold {' '.join(names)}")

    def prepare(self, _files):
        pass

    def transaction(self, wants, drops=()):
        self.wanted = wants
        return self.would

    def downloaded(self):
        return []

    def removal(self, names):
        return Transaction(removed=tuple(names))

    def remove(self, names, forced=False):
        self.calls.append(f"remove {' '.join(names)}")

    def download(self, wants, drops=()):
        self.calls.append("download")


@pytest.fixture
def node(monkeypatch, tmp_path):
    return lambda **changes: Node(monkeypatch, tmp_path, **changes)


def wish(branch: str = "535") -> Wish:
    return Wish(branch, "distribution", "auto", "", b"", "", "", "", 10.0)


def test_a_good_driver_costs_nothing(node):
    here = node(library="570.1.1", module="570.1.1", kind="open", loaded="570.1.1")
    result = driver.converge(wish(), check=False)
    assert (result.changed, result.version, result.module, here.calls) == (False, "570.1.1", "open", [])


def test_a_hold_that_somebody_took_away_is_put_back(node, tmp_path):
    here = node(library="535.309.01", module="535.309.01")
    (tmp_path / "record.json").write_text(json.dumps({"held": ["libcuda1", "nvidia-smi"]}))
    here.holds = {"libcuda1"}
    assert driver.converge(wish(), check=True).changed and here.calls == []
    assert driver.converge(wish(), check=False).changed and here.calls == ["hold nvidia-smi"]


def test_check_mode_tells_all_and_installs_nothing(node, tmp_path):
    here = node(headers=False)
    result = driver.converge(wish(), check=True)
    assert result.changed and result.version == "535.309.01" and result.module == "proprietary"
    assert here.calls == ["download"] and not (tmp_path / "room").exists()
    assert Want("libcuda1", NEW) in here.wanted and Want("linux-headers-6.1.0-57-amd64") in here.wanted
    assert result.held == ["libcuda1", "libnvidia-ml1", "nvidia-kernel-dkms", "nvidia-smi"]
    assert any("blacklist nouveau" in each["after"] for each in result.diff)
    assert driver.converge(wish(), check=False).changed and here.calls[-1] == "install"


def test_a_module_that_works_is_replaced_only_by_one_that_was_built(node):
    here = node(module="525.1.1", library="525.1.1")
    here.have = {"libcuda1": "525.1.1-1"}
    driver.converge(wish(), check=False)
    assert here.calls == ["download", "trial", "install"]


def test_two_runs_do_not_meet(node, tmp_path):
    here = node()
    with open(tmp_path / "room.lock", "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(Fault, match="another installation runs on this node"):
            driver.converge(dataclasses.replace(wish(), limit=0.0), check=False)
    assert here.calls == []


def test_headers_that_nobody_has(node):
    here = node(headers=False)
    del here.offered["linux-headers-6.1.0-57-amd64"]
    with pytest.raises(Fault, match=r"can't be built for kernel 6\.1\.0-57-amd64: linux-headers-6\.1\.0-57-amd64"):
        driver.converge(wish(), check=False)
    assert here.calls == []


def test_adapters_secure_boot_and_no_gpu(node, monkeypatch):
    node(rdma=True, secure_boot=True, devices=())
    monkeypatch.setattr(driver, "_signs", lambda: False)
    result = driver.converge(wish(), check=True)
    assert any("nvidia-peermem" in each["after"] for each in result.diff)
    assert "no NVIDIA GPU" in result.notes[0] and "mokutil --import" in result.notes[1]


def test_a_branch_that_is_not_there(node):
    node()
    with pytest.raises(Fault, match=r"driver 570 is not in the sources of Debian 12; it offers 535"):
        driver.converge(wish("570"), check=True)


def test_another_distribution(node, monkeypatch):
    node()
    rocky = DEBIAN._replace(family="rhel", name="Rocky Linux 9.4")
    monkeypatch.setattr(driver.system, "read", lambda: rocky)
    with pytest.raises(Fault, match="RPM Fusion"):
        driver.converge(wish(), check=True)


def test_removal_takes_what_is_ours_and_nothing_else(node, tmp_path):
    here = node(library="535.309.01", module="535.309.01")
    here.have = {"libcuda1": NEW, "gcc": "12"}
    result = driver.converge(wish("absent"), check=False)
    assert not result.changed and "was not installed by this role" in result.notes[0]
    ours = tmp_path / "trainmesh-nouveau.conf"
    ours.write_text("x")
    record = {"packages": ["libcuda1", "nvidia-smi"], "added": ["libcuda1", "gcc"], "files": [str(ours)]}
    (tmp_path / "record.json").write_text(json.dumps(record))
    assert driver.converge(wish("absent"), check=True).packages == ["libcuda1"] and ours.exists()
    assert driver.converge(wish("absent"), check=False).changed
    assert here.calls == ["remove libcuda1"] and not ours.exists() and not (tmp_path / "record.json").exists()


def test_holds_are_suspended_and_stay_off_only_where_the_new_driver_is_there(node, tmp_path, monkeypatch):
    here = node(module="525.1.1", library="525.1.1")
    here.have = {"libcuda1": "525.1.1-1"}
    here.holds = {"libcuda1"}
    here.suspend = lambda names: here.calls.append(f"suspend {' '.join(names)}")
    here.resume = lambda names: here.calls.append(f"resume {' '.join(names)}")
    (tmp_path / "record.json").write_text(json.dumps({"held": ["libcuda1", "gone"]}))
    driver.converge(wish(), check=False)
    assert here.calls == ["suspend libcuda1", "download", "trial", "install"]
    here.calls.clear()
    driver.converge(wish(), check=True)
    assert here.calls[-1] == "resume libcuda1"

    def fails(*_words):
        raise Fault("no")

    monkeypatch.setattr(driver_apply, "install", fails)
    with pytest.raises(Fault):
        driver.converge(wish(), check=False)
    assert here.calls[-1] == "resume libcuda1"
