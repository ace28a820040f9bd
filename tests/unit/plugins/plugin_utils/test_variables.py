# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._variables import VARIABLES, read


def test_defaults_fill_in():
    assert read({}, "cluster")["master_port"] == 29500
    assert read({}, "host") == dict.fromkeys(["address", "slots", "interface", "ssh_port", "hostname", "fqdn"])


def test_values_are_read_by_their_prefix():
    assert read({"trainmesh_slots": "4", "slots": 8}, "host")["slots"] == 4


def test_a_bad_value_raises():
    with pytest.raises(ValueError, match="whole number"):
        read({"trainmesh_slots": 0}, "host")


@pytest.mark.parametrize(
    "name", [name for name, variable in VARIABLES.items() if variable.default not in (None, "", [])]
)
def test_each_default_is_a_value_it_accepts(name):
    variable = VARIABLES[name]
    assert variable.read(variable.default) == variable.default
