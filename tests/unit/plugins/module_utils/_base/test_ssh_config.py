# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_config import (
    config_error,
    first,
    server_ports,
    server_settings,
    settings,
)


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


def test_the_answer_of_ssh_has_the_first_value_of_a_keyword_or_all():
    answer = "Host node2\nhostname 10.0.0.2\nidentityfile ~/.ssh/one\nidentityfile ~/.ssh/my key\nproxycommand\n"
    assert settings(answer)["identityfile"] == ["~/.ssh/one", "~/.ssh/my key"]
    assert first(answer) == {
        "host": "node2",
        "hostname": "10.0.0.2",
        "identityfile": "~/.ssh/one",
        "proxycommand": "",
    }


def server(root, text, **more):
    place = root / "etc/ssh"
    place.mkdir(parents=True, exist_ok=True)
    for name, content in {"sshd_config": text, **more}.items():
        (place / name).write_text(content)
    return server_settings(Tree(str(root)))


def test_the_files_of_sshd_are_read_up_to_the_first_match(tmp_path):
    text = 'Include more\n# UsePAM no\nAllowUsers  "a"  b # both\nallowusers=c\nMatch User a\n  AllowUsers d\n'
    found = server(tmp_path, text, more="UsePAM yes\nMatch all\nUsePAM no\n")
    assert found == {"usepam": ["yes"], "allowusers": ["a   b", "c"]}
    assert server_settings(Tree(str(tmp_path / "nothing"))) is None


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("# Port 2222\nUsePAM yes\n", [22]),
        ("Port 2222\nPort 22\nPort 22\nPort 70000\n", [22, 2222]),
        ("ListenAddress 10.0.0.1:2200\nListenAddress [fe80::1]:2201 rdomain red\n", [2200, 2201]),
        ("Port 2222\nListenAddress 10.0.0.1:2200\nListenAddress fe80::2\n", [2200, 2222]),
        ("ListenAddress 10.0.0.1\nListenAddress 10.0.0.2:2200\n", [22, 2200]),
        ("Port 22\nListenAddress 10.0.0.1:2200\n", [2200]),
        ("Include /etc/ssh/sshd_config\nPort 2222\n", [2222]),
    ],
)
def test_the_ports_that_the_files_of_sshd_ask_for(tmp_path, text, ports):
    assert server_ports(server(tmp_path, text)) == ports


def test_the_ports_that_sshd_says_it_has():
    answer = "port 2222\nport 22\naddressfamily any\nlistenaddress [::]:2222\nlistenaddress 0.0.0.0:22\n"
    assert server_ports(settings(answer)) == [22, 2222]
    assert server_ports(settings("port 22\nport 2222\naddressfamily any\n")) == [22, 2222]


def test_an_sshd_configuration_of_random_bytes_never_raises(tmp_path):
    server(tmp_path, "")
    for words in (b"Port", b"ListenAddress ", b"Include [", b"Include \0*\n", b"Include ../../../../*\n", b"Match"):
        (tmp_path / "etc/ssh/sshd_config").write_bytes(words + os.urandom(400) + b"\n" + words)
        assert server_ports(server_settings(Tree(str(tmp_path))))
