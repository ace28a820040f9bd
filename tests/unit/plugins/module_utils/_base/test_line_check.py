# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, addresses and names that may stand in files of every node, and those that may not."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import line_check

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m0xH9nVfY2m3cX3n8Q8zZk5uFq0bXkqkXWJ5m1q2r"
SK = "sk-ssh-ed25519@openssh.com " + (
    "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIKq5i1T6gbnyHOVNkpxmTYUGRWBs/5vHxVqj4yQPPZ1qAAAABHNzaDo="
)
# More than one line to somebody: every character at which str.splitlines splits, and NUL.
BREAKS = ["\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\0"]


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen")
@pytest.mark.parametrize("words", ["ed25519", "rsa -b 2048", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521"])
def test_keys_of_openssh_are_keys(tmp_path: pathlib.Path, words: str) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", str(path), "-t", *words.split()], check=True, timeout=120)
    assert line_check.is_public_key(" ".join((tmp_path / "key.pub").read_text().split()[:2]))


def test_a_key_in_a_token_is_one_too() -> None:
    assert line_check.is_public_key(SK)


@pytest.mark.parametrize(
    "text",
    [
        f"{KEY}\nssh-ed25519 AAAA",
        f"{KEY} comment",
        f"{KEY}\n",
        f'command="sh" {KEY}',
        KEY.replace("ssh-ed25519", "ssh-rsa"),
        f"* {KEY}",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
        "ssh-ed25519 %%%%",
        "ssh-ed25519 " + "A" * 10_000_000,
        "",
        7,
        [KEY],
    ],
)
def test_what_is_no_key(text: object) -> None:
    assert not line_check.is_public_key(text)


@pytest.mark.parametrize("text", ["10.0.0.1", "2001:db8::1", "fe80::1%eth0", "fe80::1", "169.254.3.4", "127.0.0.1"])
def test_addresses_of_one_machine(text: str) -> None:
    assert line_check.is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0/0", "10.0.0.0/8", "*", "10.0.0.1,*", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"),
        *("10.0.0.1%eth0", 'fe80::1%"', "fe80::1%a b", "10.0.0.1\n", "", "10.0.0.1 evil", 1, True, None, ["10.0.0.1"]),
    ],
)
def test_what_is_not_the_address_of_one_machine(text: object) -> None:
    assert not line_check.is_address(text)


def test_loopback_is_also_seen_inside_ipv6() -> None:
    loopback = ["127.0.0.1", "127.0.1.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
    others = ["10.0.0.1", "10.127.0.1", "fe80::1%lo", "", "localhost"]
    assert [text for text in [*loopback, *others] if line_check.is_loopback(text)] == loopback


@pytest.mark.parametrize(
    "line",
    [
        f"{KEY} trainmesh node1",
        KEY,
        f'restrict,pty,from="10.0.0.11,fe80::1%eth0" {KEY} trainmesh node1',
        f'restrict,pty,from="127.0.0.0/8,::1" {KEY} trainmesh node1',
        f'command="echo \\"a b\\"",no-pty {SK} me',
    ],
)
def test_lines_for_authorized_keys(line: str) -> None:
    assert line_check.key_line_problem(line) == ""


@pytest.mark.parametrize("broken", BREAKS)
def test_no_line_is_two(broken: str) -> None:
    assert line_check.key_line_problem(f"{KEY} a{broken}{KEY}")
    assert line_check.known_host_problem(f"node1{broken}* {KEY}")
    assert line_check.hosts_entry_problem("10.0.0.1", [f"node1{broken}10.0.0.9 node2"])
    assert line_check.hosts_entry_problem(f"10.0.0.1 node1{broken}10.0.0.9", ["node2"])


@pytest.mark.parametrize(
    "line",
    [
        *("", "ssh-ed25519 AAAA node1", f'from="*" {KEY}', f'from="0.0.0.0/0" {KEY}'),
        *(f'restrict,from="10.0.0.1,::/0" {KEY}', f'FROM="node*" {KEY}', f'from="10.0.0.1 {KEY}'),
    ],
)
def test_lines_that_open_more_than_they_seem_to(line: str) -> None:
    assert line_check.key_line_problem(line)


def test_known_hosts_pin_machines_and_no_patterns() -> None:
    for names in ("node1,node1.example.com,10.0.0.1", "[node1]:2222,[fe80::1%eth0]:2222", "2001:db8::1"):
        assert line_check.known_host_problem(f"{names} {KEY}") == "", names
    for names in ("*", "node1,*", "!node2,node?", "@cert-authority *", "|1|a|b", "", "[*]:22"):
        assert line_check.known_host_problem(f"{names} {KEY}"), names


def test_hosts_entries_are_machines() -> None:
    assert line_check.hosts_entry_problem("10.0.0.1", ["node1.trainmesh.internal", "node1", "old_name"]) == ""
    for names in (["a b"], ["#x"], ["-o"], ["*"], ["n\t10.0.0.9"], []):
        assert line_check.hosts_entry_problem("10.0.0.1", names), names


def test_settings_are_one_name_and_one_value() -> None:
    for line in ("NCCL_SOCKET_IFNAME==eth0", "NCCL_IB_HCA=^mlx5_1:1,mlx5_2"):
        assert line_check.setting_problem(line) == "", line
    for line in ("", "NCCL_DEBUG", "NCCL_DEBUG=", "x=1", "A=1\nB=2", "A=1\x0bB=2", "A=1 B=2", "# A=1"):
        assert line_check.setting_problem(line), line
