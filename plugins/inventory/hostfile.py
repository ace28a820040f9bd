# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostfile as an inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hostfile
short_description: Uses a hostfile of DeepSpeed, Open MPI or MPICH as the inventory
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Makes a host of each line, in the group C(ungrouped), and C(trainmesh_slots) of its slots.
  - >-
    Reads C(host slots=8) (DeepSpeed, Open MPI), C(host:8) (MPICH, Intel MPI) and plain lists of hosts, whose slots are
    then the GPUs that are found. C(max_slots=8) in any spelling of Open MPI counts where no slots are given.
  - >-
    C(user@host) and C(user=NAME) become C(ansible_user), C(port=2222) becomes C(ansible_port). What C(~/.ssh/config)
    says of a host (address, port, user, jump host) needs no line here, since ssh reads it.
  - An IPv6 address with slots behind a colon needs brackets, C([2001:db8::11]:8).
  - Comments begin with C(#) or C(//). A byte-order mark, tabs, CRLF and blanks around C(=) do not matter.
  - >-
    A bad line is an error with its file and line, and so are a host that stands twice, a range of hosts, and a number
    of slots below 1 or above 1024. The file then gives no hosts at all, and M(trainmesh.cluster.inventory_check) stops
    the run with the same words before any host is touched.
  - >-
    Takes files with C(hostfile), C(machinefile) or C(machine_file) in their names, and other files whose lines are all
    of the form C(host slots=8). It never takes a file with a section, with variables of Ansible's or of this
    collection's, or with an extension of other inventories such as C(.ini) or C(.yml).
notes:
  - >-
    Ansible asks a plugin of a collection only where it is enabled; C(ansible.cfg) of a checkout does. Elsewhere set
    C(enable_plugins = trainmesh.cluster.hostfile, host_list, script, auto, yaml, ini, toml) under C([inventory]) in
    C(ansible.cfg), or the same list, without blanks, in E(ANSIBLE_INVENTORY_ENABLED). It has to stand before C(ini),
    which takes C(slots=8) for a variable that nothing reads.
  - Other variables of a host go into C(host_vars) and C(group_vars) beside the hostfile, which win over its lines.
options: {}
"""

EXAMPLES = r"""
# ansible-playbook site.yml -i cluster.hostfile

# cluster.hostfile, of DeepSpeed or Open MPI
# gpu1 slots=8
# gpu2 slots=8 max_slots=8
# trainer@10.0.0.13 slots=4   # ansible_user: trainer

# machinefile, of MPICH
# gpu1:8
# [2001:db8::12]:8

# hostfile without slots: each node has as many as GPUs
# gpu1
# gpu2

# ansible-inventory -i cluster.hostfile --list shows what was read
"""

import typing as t

from ansible.plugins.inventory import BaseFileInventoryPlugin
from ansible.utils.display import Display

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action, redact
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import hostfile


class InventoryModule(BaseFileInventoryPlugin):
    """Reads hostfiles."""

    NAME = hostfile.PLUGIN

    def verify_file(self, path: str) -> bool:
        """Whether the file is a hostfile."""
        return bool(super().verify_file(path)) and hostfile.read(path) is not None

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Add its hosts, or none where a line is wrong."""
        super().parse(inventory, loader, path, cache)
        found = hostfile.read(path) or hostfile.Hostfile((), ())
        if found.faults:
            # Raised, it would be lost: Ansible would ask the next plugin, and C(ini) takes half of the lines.
            text = action.numbered("The hostfile has bad lines, and gives no hosts:", found.faults)
            Display().error(redact.harmless(text), wrap_text=False)
            return
        for name, variables in found.hosts:
            inventory.add_host(name)
            for variable, value in variables.items():
                inventory.set_variable(name, variable, value)
