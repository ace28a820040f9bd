# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Transaction, Want
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver_apply, files
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_apply import Result
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_plan import Choice, Order
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_table import Recipe
from ansible_collections.trainmesh.cluster.tests.unit.plugins.module_utils._software.test_driver_plan import BARE, steps

CHOICE = Choice("570.1.1", Recipe("open", ("nvidia-kernel-open-dkms", "libcuda1")), ())
FRESH = steps({"libcuda1": (None, "570.1.1-1"), "gcc": (None, "12")}, {})
UPGRADE = steps({"libcuda1": ("535.1.1-1", "570.1.1-1"), "gcc": (None, "12")}, {"nvidia-smi": "535.1.1-1"})


class Packages:
    """apt without packages: remembers what it was asked, and fails where it is told to."""

    def __init__(self, fails: str = "", kept: bool = True) -> None:
        self.fails, self.kept, self.calls, self.needs = fails, kept, [], ()

    def keep_old(self, packages, directory):
        return [f"{name}.deb" for name in sorted(packages)] if self.kept else []

    def held(self):
        return {"libcuda1", "unrelated"}

    def keys(self):
        return {"gpg-pubkey-old", *(["gpg-pubkey-new"] if any(call[0] == "install" for call in self.calls) else [])}

    def left_of(self, names):
        return set(names)

    def removal(self, names):
        return Transaction(removed=(*names, *self.needs))

    def releasable(self, names):
        return [name for name in names if name != "nvidia-smi"]

    def __getattr__(self, name):
        def call(*words, **named):
            self.calls.append((name, *words, *named.items()))
            if name == self.fails:
                raise Fault(f"{name} failed")

        return call


_START = driver_apply._start


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(driver_apply, "RECORD", str(tmp_path / "record.json"))
    monkeypatch.setattr(driver_apply, "_start", lambda *_words: None)
    monkeypatch.setattr(driver_apply.driver_present, "installed_module", lambda _machine, _kernel: ("570.1.1", "open"))
    return tmp_path


def install(place, apt, found, ours=()):
    changes = files.compare({str(place / "modprobe.conf"): b"blacklist nouveau\n"})
    result = Result(True, held=["libcuda1"])
    wanted, record = [Want("libcuda1", "570.1.1-1")], {"held": list(ours)}
    driver_apply.install(apt, Order(CHOICE, wanted, [], {}), found, changes, BARE, 10, result, record)
    return result


def test_what_was_installed_is_held_and_remembered(place):
    apt = Packages()
    install(place, apt, FRESH)
    assert ("hold", ["libcuda1"]) in apt.calls and (place / "modprobe.conf").exists()
    record = json.loads((place / "record.json").read_text())
    assert record["packages"] == ["libcuda1"], "compilers stay when the driver goes"
    assert record["files"] == [str(place / "modprobe.conf")]
    assert record["keys"] == ["gpg-pubkey-new"], "what rpm trusts since then goes with the driver"


def test_what_is_gone_need_not_be_released(place):
    apt = Packages()
    apt.held = lambda: {"libcuda1", "nvidia-modprobe", "nvidia-smi"}
    install(place, apt, UPGRADE, ours=["libcuda1", "nvidia-modprobe", "nvidia-smi"])
    assert ("hold", ["nvidia-modprobe"], ("is_held", False)) in apt.calls


def test_a_hold_that_fails_takes_all_back(place):
    apt = Packages(fails="hold")
    with pytest.raises(Fault, match="hold failed"):
        install(place, apt, FRESH)
    assert ("remove", ["gcc", "libcuda1"]) in apt.calls and not (place / "record.json").exists()


def test_a_failed_installation_is_taken_back(place):
    apt = Packages(fails="install")
    with pytest.raises(Fault, match=r"could not be installed: install failed$"):
        install(place, apt, FRESH)
    assert ("remove", ["gcc", "libcuda1"]) in apt.calls
    assert not (place / "modprobe.conf").exists() and not (place / "record.json").exists()


def test_a_failed_upgrade_gets_the_old_packages_and_holds_back(place):
    apt = Packages(fails="install")
    with pytest.raises(Fault, match=r"could not be installed: install failed$"):
        install(place, apt, UPGRADE, ours=["libcuda1"])
    assert apt.calls[1:] == [
        ("put_back", ["libcuda1.deb", "nvidia-smi.deb"]),
        ("remove", ["gcc"]),
        ("hold", ["libcuda1"]),
        ("forget_keys", {"gpg-pubkey-new"}),
    ]


def test_what_can_not_be_taken_back_is_told(place):
    with pytest.raises(Fault, match="is no longer offered, and could not be put back"):
        install(place, Packages(fails="install", kept=False), UPGRADE)

    class Both(Packages):
        def remove(self, _names):
            raise Fault("dpkg is broken")

    with pytest.raises(Fault, match=r"Not all of it could be taken back: dpkg is broken"):
        install(place, Both(fails="install"), FRESH)


def test_what_came_along_stays_where_the_driver_would_go_with_it(place):
    apt = Packages(fails="install", kept=False)
    apt.needs = ("nvidia-driver-cuda",)
    with pytest.raises(
        Fault, match=r"Not all of it could be taken back: gcc stays, which nvidia-driver-cuda need by now"
    ):
        install(place, apt, UPGRADE)
    assert not any(call[0] == "remove" for call in apt.calls)


def test_a_module_that_is_not_there_afterwards_is_built_or_the_installation_fails(place, monkeypatch):
    built = []
    monkeypatch.setattr(driver_apply.driver_present, "installed_module", lambda _machine, _kernel: (None, None))
    monkeypatch.setattr(driver_apply.dkms, "install", lambda *words: built.append(words))
    apt = Packages()
    with pytest.raises(Fault, match=r"the module for kernel 6\.1\.0-57-amd64 is missing"):
        install(place, apt, FRESH)
    assert built == [("570.1.1", "6.1.0-57-amd64", 10)] and ("remove", ["gcc", "libcuda1"]) in apt.calls


@pytest.mark.parametrize(
    ("before", "after", "lines", "reason"),
    [
        # the module is loaded at once, and so the services may start
        ({}, {"loaded": "570.1.1"}, ["modprobe nvidia", "enable --now nvidia-persistenced"], ""),
        (
            {"nouveau": True},
            {"nouveau": True},
            ["update-initramfs -u -k 6.1.0-57-amd64", "enable nvidia-persistenced"],
            "nouveau has the GPUs",
        ),
        ({"loaded": "535.1.1"}, {"loaded": "535.1.1"}, ["enable nvidia-persistenced"], "the module of driver 535.1.1"),
        (
            {"nvswitches": 4},
            {"loaded": "570.1.1", "nvswitches": 4},
            ["modprobe nvidia", "enable --now nvidia-persistenced", "enable --now nvidia-fabricmanager"],
            "",
        ),
        ({"devices": ()}, {"devices": ()}, ["enable nvidia-persistenced"], ""),
    ],
)
def test_what_is_started_at_once_and_what_waits_for_a_reboot(monkeypatch, before, after, lines, reason):
    ran = []

    def run(argv, _limit):
        ran.append(" ".join(argv).rpartition("/")[2].removeprefix("systemctl "))
        return Outcome(0, "", "", False, False, 0.0)

    monkeypatch.setattr(driver_apply.command, "run", run)
    monkeypatch.setattr(driver_apply, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(driver_apply.driver_present, "read", lambda _machine, _kernel: BARE._replace(**after))
    result = Result(True)
    _START(BARE._replace(**before), CHOICE, result, 10)
    assert ran == lines and result.reboot_reason.startswith(reason) and bool(result.reboot_reason) == bool(reason)


def test_what_could_not_be_started_is_told(monkeypatch):
    monkeypatch.setattr(driver_apply.command, "run", lambda _argv, _limit: Outcome(1, "", "no room", False, False, 0.0))
    monkeypatch.setattr(driver_apply, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(driver_apply.driver_present, "read", lambda _machine, _kernel: BARE._replace(nouveau=True))
    result = Result(True)
    _START(BARE._replace(nouveau=True), CHOICE, result, 10)
    initramfs, service = result.notes
    assert "update-initramfs failed: no room" in initramfs and "nvidia-persistenced could not be enabled" in service
