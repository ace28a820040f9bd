# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.user import is_root, shared_home
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import healthy_case


def found(case):
    return list(is_root(case))


def test_a_job_user_who_is_root_is_told():
    case = healthy_case()
    for name in ("node1", "node3"):
        case.user[name]["root_without_password"] = True
    case.user["node3"].update(uid=0, name="root")
    items = found(case)
    assert {item.severity for item in items} == {"info"}
    evidence = {host: text for item in items for host, text in item.evidence.items()}
    assert evidence == {"node1": "sudo asks trainer for no password", "node3": "jobs run as root"}
    assert all("trainmesh_user: trainer" in item.remedy for item in items)


@pytest.mark.parametrize("value", [False, None])
def test_a_user_without_rights_and_one_not_known_are_not(value):
    case = healthy_case()
    for facts in case.user.values():
        facts["root_without_password"] = value
    assert found(case) == []
    for facts in case.user.values():
        del facts["root_without_password"]
    assert found(case) == []


def one_home(case, *names, local=False):
    for name in names:
        case.user[name].update(ssh_dir_inode=1310725, own_keys=[{"fingerprint": "SHA256:one"}])
        case.user[name]["caches"]["home"].update(local=local, fs_type="nfs4")


def test_nodes_with_one_home_are_told_the_exporting_one_too():
    case = healthy_case(4)
    one_home(case, "node2", "node3", "node4")
    one_home(case, "node1", local=True)
    items = list(shared_home(case))
    assert [item.hosts for item in items] == [("node1",), ("node2",), ("node3",), ("node4",)]
    assert {item.severity for item in items} == {"info"} and len({item.cause for item in items}) == 1


def test_homes_that_are_only_alike_are_not():
    clones, apart = healthy_case(), healthy_case()
    one_home(clones, *clones.order, local=True)
    one_home(apart, *apart.order)
    for number, name in enumerate(apart.order):
        apart.user[name]["ssh_dir_inode"] = number
    assert list(shared_home(clones)) == list(shared_home(apart)) == list(shared_home(healthy_case())) == []


def test_a_home_that_the_plan_knows_of():
    case = healthy_case()
    one_home(case, "node1", "node2", local=True)  # containers of one machine
    for name in ("node1", "node2"):
        case.plan["nodes"][name]["ssh_home"] = ["node1", "node2"]
    items = list(shared_home(case))
    assert [item.hosts for item in items] == [("node1",), ("node2",)]
    assert "written once, by node1" in items[0].remedy
