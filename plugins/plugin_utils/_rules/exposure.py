# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on who else can reach the ports of a job: they ask nobody for a password."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import absent, names, node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    INFO,
    WARN,
    About,
    Answer,
    Case,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.addresses import data_addresses

TOOLS = ("firewalld", "ufw")
_OPEN = (
    "torch, NCCL, gloo and MPI listen on all interfaces and ask for no password; who reaches such a port during a "
    "job can run code in it. PyTorch: trusted networks only."
)


@rule(
    About(
        "fw-disabled-entirely",
        layer="network",
        severity=INFO,
        title="The firewall was switched off",
        symptom="open to everybody, and back after a restart",
        source="field notes",
    ),
    About(
        "job-ports-exposed",
        layer="network",
        severity=INFO,
        also=(WARN,),
        title="Job ports are open to hosts outside the cluster",
        symptom="nothing, until somebody connects to them",
        source="PyTorch SECURITY.md: distributed features are for trusted networks only",
    ),
    needs=("fabric",),
)
def exposed(case: Case) -> t.Iterable[Answer]:
    """No firewall is known to be in force: a warning on a public address, a note elsewhere."""
    known = data_addresses(case)
    nodes = [str(dig(node(case, name), "address")) for name in names(case)]  # the same words for all hosts
    for host, facts in case.fabric.items():
        found = dig(facts, "firewalls")
        if (
            not isinstance(found, list)
            or any(dig(item, "active") is not False for item in found)
            or host in absent(case)
        ):
            continue
        installed = [str(dig(item, "name")) for item in found if dig(item, "name") in TOOLS]
        public = host in known and known[host].is_global
        seen = f"{', '.join(installed)} installed, not active" if installed else "no firewall is active"
        first = "ufw enable" if installed in ([], ["ufw"]) else f"systemctl enable --now {installed[0]}"
        remedy = f"let {', '.join(nodes)} and your own address in first, then {first}."
        if public:
            remedy = f"Unless a firewall outside of the node keeps others out, {remedy}"
            yield finding("job-ports-exposed", WARN, host, f"public address {known[host]}, {seen}", _OPEN, remedy)
        elif installed:
            cause = "No firewall is in force: every port of the jobs is open to whoever reaches the node."
            yield finding("fw-disabled-entirely", INFO, host, seen, cause, f"Where the network is not closed, {remedy}")
        else:
            yield finding("job-ports-exposed", INFO, host, seen, _OPEN, f"Where the network is not closed, {remedy}")
