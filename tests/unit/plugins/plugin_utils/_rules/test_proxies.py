# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import findings, told
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import healthy_case


def proxied(case, host, **variables):
    case.stack[host]["login_environment"]["variables"].update(variables)


def test_a_proxy_between_the_nodes_is_worth_knowing():
    case = healthy_case()
    for name in case.order:
        proxied(case, name, https_proxy="http://***@proxy:3128", no_proxy="localhost,10.0.0.11")
    found = [item for item in findings(case) if item.rule == "env-proxy"]
    assert [(item.severity, item.hosts) for item in found] == [("info", tuple(case.order))]
    for exempt in ("*", "10.0.0.0/24", ".example.org", "node1,node2,node3", "10.0.0.11, 10.0.0.12 ,10.0.0.13"):
        for name in case.order:
            proxied(case, name, no_proxy=exempt)
        assert not [item for item in findings(case) if item.rule == "env-proxy"], exempt


def test_a_proxy_that_one_node_is_not_told_of():
    case = healthy_case()
    for name in ("node1", "node2"):
        proxied(case, name, HTTPS_PROXY="http://proxy:3128", NO_PROXY="*")
    assert told(case) == {("env-proxy", "warn"): ("node3",)}
    proxied(case, "node2", HTTPS_PROXY="")
    assert told(case) == {}
