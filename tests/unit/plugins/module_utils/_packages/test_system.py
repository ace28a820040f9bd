# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import system

UBUNTU = 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n'
ROCKY = 'NAME=\'Rocky Linux\'\nVERSION_ID="9.4"\nID="rocky"\nPRETTY_NAME="Rocky Linux 9.4 (Blue Onyx)"\n'


@pytest.mark.parametrize(
    ("text", "family", "major", "name"),
    [
        (UBUNTU, "ubuntu", 24, "Ubuntu 24.04.1 LTS"),
        (ROCKY, "rhel", 9, "Rocky Linux 9.4 (Blue Onyx)"),
        ("ID=debian\nVERSION_ID=12\n", "debian", 12, "debian"),
        ("ID=debian\n", "debian", 0, "debian"),  # testing has no number
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "", 0, "linuxmint"),
        ("", "", 0, "this distribution"),
    ],
)
def test_a_distribution(text, family, major, name):
    found = system.parse(text, "x86_64")
    assert (found.family, found.major, found.name, found.arch) == (family, major, name, "x86_64")
