# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_config import config_error


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("Bad owner or permissions on /home/me/.ssh/config", "permissions"),
        ('/etc/ssh/ssh_config line 3: garbage at end of line; "#".', "trailing"),
        ("~/.ssh/config: line 9: keyword port extra arguments at end of line", "trailing"),
        ("~/.ssh/config line 2: Bad number '22 # ours'.", "trailing"),
        ("~/.ssh/config: line 4: Bad configuration option: hostnam", "syntax"),
        ("", "syntax"),
    ],
)
def test_what_ssh_has_against_its_configuration(stderr, kind):
    assert config_error(stderr) == kind
