# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listening ports, sshd, the ssh session and its limits, from small /proc trees."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import ports
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import ssh_session as session

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(number: int, address: str, port: int, state: str, inode: int) -> str:
    far = "0" * len(address)
    return (
        f"{number:4}: {address}:{port:04X} {far}:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 "
        f"{inode} 1 0000000000000000 100 0 0 10 0\n"
    )


TCP = HEAD + row(0, "00000000", 22, "0A", 100) + row(1, "0100007F", 6010, "0A", 101)
TCP += row(2, "0C004D0A", 2222, "0A", 102) + row(3, "0C004D0A", 40000, "01", 103)
TCP6 = HEAD + row(0, "0" * 32, 2222, "0A", 104) + row(1, "0000000000000000FFFF00000100007F", 8080, "0A", 105)
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max stack size            8388608              unlimited            bytes
Max open files            1024                 524288               files
Max locked memory         65536                unlimited            bytes
"""


def tree(root: Path, files: dict[str, str], links: dict[str, str] | None = None) -> Tree:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    for name, target in (links or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    return Tree(str(root))


def process(pid: int, name: str, parent: int, command: str = "") -> dict[str, str]:
    return {
        f"proc/{pid}/comm": f"{name}\n",
        f"proc/{pid}/stat": f"{pid} ({name} (x) y) S {parent} {pid} {pid} 0\n",
        f"proc/{pid}/cmdline": command or name,
    }


LISTENING = {"proc/net/tcp": TCP, "proc/net/tcp6": TCP6}


def test_only_listening_sockets_are_listed(tmp_path: Path) -> None:
    found = ports.listeners(tree(tmp_path, LISTENING))
    assert sorted({each.port for each in found}) == [22, 2222, 6010, 8080]
    assert found[2].address == "10.77.0.12"
    assert found[4].address == "::ffff:127.0.0.1"


def test_a_real_listening_socket_is_found() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert port in {each.port for each in ports.listeners(Tree())}


def test_the_sshd_of_this_login_is_found_by_its_sockets(tmp_path: Path) -> None:
    files = {
        **LISTENING,
        **process(40, "sshd", 1, "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"),
        **process(50, "sshd", 40, "sshd: dev@notty"),
        **process(60, "sh", 50),
    }
    links = {"proc/40/fd/3": "socket:[102]", "proc/40/fd/4": "socket:[104]", "proc/50/fd/9": "socket:[101]"}
    found = ports.listeners(tree(tmp_path, files, links))
    result = ports.sshd(Tree(str(tmp_path)), found, 2222, [60, 50, 40])
    assert (result["ports"], result["source"], result["pid"]) == ([2222], "process", 40)
    assert result["addresses"] == ["10.77.0.12", "::"]


@pytest.mark.parametrize(
    ("program", "deleted"),
    [("/usr/sbin/sshd", False), ("/usr/sbin/sshd (deleted)", True), ("/usr/sbin/sshd (deleted)x", False), (None, None)],
)
def test_an_sshd_whose_program_was_replaced_is_seen(tmp_path: Path, program: str | None, deleted: bool | None) -> None:
    links = {"proc/40/fd/3": "socket:[102]", **({"proc/40/exe": program} if program else {})}
    found = ports.listeners(tree(tmp_path, {**LISTENING, **process(40, "sshd", 1)}, links))
    result = ports.sshd(Tree(str(tmp_path)), found, 2222, [40])
    assert (result["pid"], result["binary_deleted"]) == (40, deleted)


def test_of_an_sshd_that_nobody_may_look_at_the_program_is_unknown(tmp_path: Path) -> None:
    found = ports.listeners(tree(tmp_path, LISTENING))
    assert ports.sshd(Tree(str(tmp_path)), found, 2222)["binary_deleted"] is None


def test_a_process_of_this_machine_whose_program_is_removed(tmp_path: Path) -> None:
    program = tmp_path / "sleep"
    shutil.copy(str(shutil.which("sleep")), program)
    with subprocess.Popen([str(program), "30"]) as running:
        try:
            assert ports.binary_deleted(Tree(), running.pid) is False
            shutil.copy(str(program), f"{program}.new")
            os.replace(f"{program}.new", program)
            assert ports.binary_deleted(Tree(), running.pid) is True
        finally:
            running.kill()


def test_sshd_is_searched_among_all_processes_for_a_local_run(tmp_path: Path) -> None:
    files = {**LISTENING, **process(40, "sshd", 1), **process(41, "cron", 1), "proc/1/fd/0": ""}
    found = ports.listeners(tree(tmp_path, files, {"proc/40/fd/3": "socket:[100]"}))
    assert ports.sshd(Tree(str(tmp_path)), found, None, [])["ports"] == [22]


def test_without_root_the_configured_ports_that_are_open_count(tmp_path: Path) -> None:
    config = 'Include /etc/ssh/sshd_config.d/*.conf\nPort 9999\nMatch User x\n  Port 1\nListenAddress "[::]:7"\n'
    files = tree(tmp_path, {**LISTENING, "etc/ssh/sshd_config": config, "etc/ssh/sshd_config.d/a.conf": "port=2222\n"})
    found = ports.sshd(files, ports.listeners(files), 22)
    assert found["config_ports"] == [2222, 9999]
    assert (found["ports"], found["source"]) == ([22, 2222], "config")


def test_without_a_readable_configuration_the_logins_own_port_is_what_is_known(tmp_path: Path) -> None:
    files = tree(tmp_path, LISTENING)
    found = ports.sshd(files, ports.listeners(files), 2222)
    assert (found["ports"], found["source"], found["config_ports"]) == ([2222], "session", None)


def test_a_socket_unit_names_ports_that_systemd_listens_on(tmp_path: Path) -> None:
    files = tree(
        tmp_path,
        {
            **LISTENING,
            "usr/lib/systemd/system/ssh.socket": "[Socket]\nListenStream=22\n",
            "etc/systemd/system/ssh.socket.d/port.conf": "[Socket]\nListenStream=\nListenStream=0.0.0.0:8080\n",
        },
        {"etc/systemd/system/sockets.target.wants/ssh.socket": "/usr/lib/systemd/system/ssh.socket"},
    )
    found = ports.sshd(files, ports.listeners(files), None)
    assert (found["ports"], found["unit"]) == ([22, 8080], "ssh.socket")


def test_the_unit_of_a_running_sshd_is_named(tmp_path: Path) -> None:
    files = tree(tmp_path, {}, {"run/systemd/units/invocation:ssh.service": "0123"})
    assert ports.sshd(files, [], None)["unit"] == "ssh.service"


def test_the_ephemeral_range_is_read(tmp_path: Path) -> None:
    base = "proc/sys/net/ipv4/ip_local_"
    files = tree(tmp_path, {f"{base}port_range": "32768\t60999\n", f"{base}reserved_ports": "\n"})
    assert ports.port_range(files) == {"low": 32768, "high": 60999, "reserved": None}
    assert ports.port_range(Tree(str(tmp_path / "nowhere"))) is None


def test_the_session_is_found_above_sudo(tmp_path: Path) -> None:
    files = tree(
        tmp_path,
        {
            **process(40, "sshd-session", 1),
            **process(60, "sh", 40),
            **process(61, "sudo", 60),
            **process(62, "python3", 61),
            "proc/60/environ": "HOME=/root\0SSH_CONNECTION=::ffff:10.0.0.9 50000 ::ffff:10.0.0.1 2222\0",
            "proc/60/limits": LIMITS,
        },
    )
    chain = session.ancestors(files, 62)
    assert chain == [61, 60, 40]
    assert session.session_pid(files, chain) == 60
    assert session.ssh_session(files, {}, chain) == {
        "client_address": "10.0.0.9",
        "client_port": 50000,
        "server_address": "10.0.0.1",
        "server_port": 2222,
    }
    found = session.limits(files, chain)
    assert (found["memlock"], found["nofile"], found["stack"], found["of"]) == (65536, 1024, 8388608, "ssh session")
    assert found["hard"] == {"memlock": -1, "nofile": 524288, "stack": -1, "nproc": None}


def test_a_local_run_has_no_session_and_its_own_limits(tmp_path: Path) -> None:
    files = tree(tmp_path, {**process(60, "bash", 1), **process(61, "python3", 60)})
    chain = session.ancestors(files, 61)
    assert session.ssh_session(files, {}, chain) is None
    assert session.session_pid(files, chain) is None
    found = session.limits(files, chain)
    assert found["of"] == "this process"
    assert all(isinstance(found[name], int) for name in session.LIMITS)


@pytest.mark.parametrize("owner", [0, 4711])
def test_another_users_session_says_nothing_of_the_job_users_limits(
    owner: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], *_arguments: object, **_options: object) -> Outcome:
        asked.append(command)
        return Outcome(0, LIMITS.replace("1024 ", "4096 "), "", False, False, 0.1)

    account = pwd.struct_passwd(("trainer", "x", 4711, 4711, "", "/home/trainer", "/bin/sh"))
    texts = {
        **process(30, "sshd", 1),
        **process(40, "sshd-session", 30),
        **process(60, "sh", 40),
        **process(62, "python3", 60),
        "proc/30/limits": LIMITS,
        "proc/40/status": f"Name:\tsshd\nUid:\t{owner}\t0\t0\t0\n",
        "proc/60/limits": LIMITS,
    }
    files = tree(tmp_path, texts)
    monkeypatch.setattr(files, "path", lambda path: os.path.join(tmp_path, path.lstrip("/")))
    files.root = "/"  # as if it were the node itself
    monkeypatch.setattr(session.command, "run", run)
    monkeypatch.setattr(session.os, "geteuid", lambda: 0)
    found = session.limits(files, session.ancestors(files, 62), account)
    if owner == account.pw_uid:
        assert (found["of"], found["nofile"], asked) == ("ssh session", 1024, [])
    else:
        assert (found["of"], found["nofile"]) == ("login of trainer", 4096)
        base = [
            session.path_of("prlimit"),
            "--stack=8388608:unlimited",
            "--nofile=1024:524288",
            "--memlock=65536:unlimited",
        ]
        assert asked == [[*base, session.path_of("runuser"), "-u", "trainer", "--", "cat", "/proc/self/limits"]]


def test_a_ring_of_parents_ends(tmp_path: Path) -> None:
    files = tree(tmp_path, {**process(60, "a", 61), **process(61, "b", 60)})
    assert session.ancestors(files, 60) == [61, 60]


@pytest.mark.parametrize("text", ["", "10.0.0.1", "a b c d", "1 2 3 4 5", "\N{SNOWMAN} x y z"])
def test_odd_connection_variables_never_raise(tmp_path: Path, text: str) -> None:
    session.ssh_session(Tree(str(tmp_path)), {"SSH_CONNECTION": text}, [])


@settings(max_examples=150, deadline=None, database=None)
@given(st.text(max_size=300), st.integers(0, len(TCP)))
def test_damaged_texts_never_raise(text: str, cut: int) -> None:
    for sample in (text, TCP[:cut] + text, TCP6[:cut] + text):
        for listener in ports.parse_proc_net_tcp(sample):
            assert 0 < listener.port < 65536
    for limits in session.parse_limits(LIMITS[:cut] + text).values():
        assert len(limits) == 2


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("sshd: /usr/sbin/sshd -D -p 2222 [listener] 0 of 10-100 startups", [2222]),
        ("/usr/sbin/sshd\0-Dp2222", [2222]),
        ("/usr/sbin/sshd\0-o\0Port=2222\0-p\x0022", [22, 2222]),
        ("/usr/sbin/sshd\0-oport 2222", [2222]),
        ("/usr/sbin/sshd\0-D\0-f\0/etc/other", [2200]),
        ("dropbear\0-p\x0010.0.0.1:2222", [2222]),
        ("/usr/sbin/sshd\0-D\0-o\0PermitRootLogin=yes", [22]),
    ],
)
def test_the_command_line_of_sshd_goes_before_its_configuration(tmp_path: Path, command: str, asked: list[int]) -> None:
    files = {
        **LISTENING,
        **process(40, "sshd", 1, command),
        "etc/ssh/sshd_config": "# Port\n",
        "etc/other": "Port 2200\n",
    }
    found = ports.listeners(tree(tmp_path, files, {"proc/40/fd/3": "socket:[102]"}))
    result = ports.sshd(Tree(str(tmp_path)), found, 2222, [40])
    assert (result["ports"], result["config_ports"], result["systemd"]) == ([2222], asked, False)
