# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A healthy cluster of any size, to be broken in several places, for what the checks cost."""

from __future__ import annotations

from unittest import mock

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case
from ansible_collections.trainmesh.cluster.tests.unit.samples import cases as case_samples


def name_of(number: int) -> str:
    return f"node{number:04}"


def address_of(name: str) -> str:
    number = int(name.removeprefix("node"))
    return f"10.{number // 60000}.{number // 200 % 250}.{number % 200 + 11}"


def large(count: int) -> Case:
    """A fresh healthy case of ``count`` nodes; everything in it may be changed in place."""
    names = tuple(name_of(number) for number in range(1, count + 1))
    with mock.patch.multiple(case_samples, NAMES=names, address=address_of):
        case = case_samples.healthy()
    case.plan["head"] = names[0]
    for number, name in enumerate(names):
        case.fabric[name]["machine_id"] = f"{number:032x}"
    return case


def break_it(case: Case, dead: int) -> Case:
    """Some of each kind of fault, ``dead`` nodes that answer nobody among them."""
    names = list(case.mesh)
    for name in names[len(names) - dead :]:
        with mock.patch.multiple(case_samples, NAMES=tuple(names), address=address_of):
            case_samples.fail_logins(case, [(other, name) for other in names], "tcp_timeout")
            case_samples.fail_calls(case, [(other, name) for other in names], "timeout")
        for other in names:
            if other != name:
                case.links[other][name] = case_samples.link(ok=False, failure="stalled", evidence="no data")
    for other in names[1:]:
        case.links[names[0]][other]["mbps"] = 90.0
    case.fabric[names[1]]["hostname"] = case.fabric[names[2]]["hostname"]
    case.fabric[names[3]]["resolution"][names[0]] = case_samples.answer("127.0.1.1")
    case.fabric[names[3]]["resolution"][names[1]] = case_samples.answer("192.0.2.77")
    case.mesh[names[2]][names[4]]["ssh"][names[4]] = case_samples.login(False, "refused", "Permission denied")
    return case
