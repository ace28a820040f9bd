# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cuDNN and NCCL in one transaction."""

from __future__ import annotations

import pytest
from ansible.module_utils import basic

from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import installation
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.apt import Apt
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Transaction
from ansible_collections.trainmesh.cluster.plugins.modules import cuda_libraries
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

NCCL, CUDNN = "2.27.5-1+cuda12.9", "9.10.2.21-1"


class Node(Apt):
    """A node with the vendor's repository."""

    def __init__(self):
        super().__init__()
        self.there, self.calls, self.holds, self.fails = {}, [], set(), False
        self.offered = {
            "libnccl2": NCCL,
            "libnccl-dev": NCCL,
            "libcudnn9-cuda-12": CUDNN,
            "libcudnn9-dev-cuda-12": CUDNN,
        }

    def refresh(self):
        self.calls.append("refresh")

    def versions(self, name):
        return [self.offered[name]] if name in self.offered else []

    def held(self):
        return self.holds

    def installed(self, names):
        return {name: self.there[name] for name in names if name in self.there}

    def left_of(self, names):
        return set(self.installed(names))

    def transaction(self, wants, drops=()):
        return Transaction(new={want.name: want.version for want in wants})

    def install(self, wants, drops=(), removes=True):
        self.calls.append(sorted(want.name for want in wants))
        self.there.update({want.name: want.version for want in wants[: 1 if self.fails else None]})
        if self.fails:
            raise Fault("Failed to fetch b.deb")

    def remove(self, names, forced=False):
        for name in names:
            self.there.pop(name)


@pytest.fixture
def node(monkeypatch):
    found = Node()
    monkeypatch.setattr(installation, "manager", lambda **_options: found)
    return found


def test_both_are_installed_at_once_and_stay(capsys, node):
    first = modules.run(cuda_libraries, capsys, cudnn="9.10", nccl="2.27", cuda="12")
    assert (
        first["changed"] and first["versions"] == node.offered == node.there and first["missing"] == ["cudnn", "nccl"]
    )
    assert node.calls == ["refresh", sorted(node.offered)]
    again = modules.run(cuda_libraries, capsys, cudnn="any", nccl="any", cuda="12")
    assert not again["changed"] and again["versions"] == node.offered and len(node.calls) == 2


def test_check_mode_says_which_versions_it_would_be(capsys, node):
    told = modules.run(cuda_libraries, capsys, check=True, nccl="any", cuda="12")
    assert told["changed"] and told["versions"] == {"libnccl2": NCCL, "libnccl-dev": NCCL} and not node.there
    assert modules.run(cuda_libraries, capsys, nccl="any", cuda="12")["diff"] == told["diff"]


def test_lists_that_may_be_old_are_told_in_check_mode(capsys, node, monkeypatch):
    warnings = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    told = modules.run(cuda_libraries, capsys, check=True, refresh=False, nccl="2.99")
    assert told["changed"] and "not known before" in warnings[0] and node.calls == []
    assert "has nccl 2.99" in modules.run(cuda_libraries, capsys, check=True, nccl="2.99")["msg"]


def test_a_held_package_is_not_changed(capsys, node):
    node.holds = {"libnccl2"}
    answer = modules.run(cuda_libraries, capsys, cudnn="any", nccl="any", cuda="12")
    assert "libnccl2 would change, and is held" in answer["msg"] and not node.there


def test_a_failure_is_taken_back(capsys, node):
    node.fails = True
    answer = modules.run(cuda_libraries, capsys, nccl="any", cuda="12")
    assert "nccl: Failed to fetch b.deb; what it had installed was removed again" in answer["msg"] and not node.there


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(cuda_libraries, monkeypatch)
