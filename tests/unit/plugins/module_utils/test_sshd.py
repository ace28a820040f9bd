# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.module_utils import _sshd


def test_the_drop_in_keeps_the_ports_of_today():
    path, text = _sshd.wish("Include /etc/ssh/sshd_config.d/*.conf\n", [22], 2222)
    assert path == _sshd.DROP_IN
    assert "Port 22\nPort 2222\n" in text


def test_without_drop_ins_a_block_stands_ahead_of_match():
    path, text = _sshd.wish("Match User x\n  PermitTTY no\n", [22], 2222)
    assert path == _sshd.MAIN
    assert text.index("Port 2222") < text.index("Match")


def test_a_commented_include_does_not_count():
    assert _sshd.wish("#Include /etc/ssh/sshd_config.d/*.conf\n", [22], 23)[0] == _sshd.MAIN


def test_reads_ports_from_sshd():
    assert _sshd.ports_of("port 22\nport 2222\naddressfamily any\n") == [22, 2222]


def test_nothing_listens_on_a_closed_port():
    assert _sshd.listens(1, 0) is False
