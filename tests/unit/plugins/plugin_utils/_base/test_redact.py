# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import redact

TOKEN = "hf_" + "abcDEF0123456789xyz"
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m0xH9nVfY2m3cX3n8Q8zZk5uFq0bXkqkXWJ5m1q2r root@node1"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"env HF_TOKEN={TOKEN} python", TOKEN),
        (f"the token is {TOKEN}.", TOKEN),
        ("WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567", "0123456789abcdef"),
        ('{"access_token": "s3cr3t value"}', "s3cr3t value"),
        ("password = 'two words' next", "two words"),
        ("accessToken=qwertz", "qwertz"),
        ("mysql --password hunter2 db", "hunter2"),
        ("pip --index-url https://alice:hunter2@mirror.example/simple", "hunter2"),
        ("pip --index-url https://alice:hunter2@mirror.example/simple", "alice"),
        ("Authorization: Basic YWxpY2U6aHVudGVyMg==", "YWxpY2U6aHVudGVyMg"),
        ("Bearer abcdefgh12345678", "abcdefgh12345678"),
        ("AKIA" + "ABCDEFGHIJKLMNOP", "ABCDEFGHIJKLMNOP"),
        ("ghp_" + "a" * 36, "a" * 36),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKK", "eyJzdWIiOiIx"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----", "b3Blbn"),
        ("-----BEGIN RSA PRIVATE KEY-----\ncut off here", "cut off"),
    ],
)
def test_a_secret_is_taken_out_and_something_says_so(text, secret):
    masked = redact.secrets(text)
    assert secret not in masked and redact.MASK in masked


@pytest.mark.parametrize(
    "text",
    [
        "Permission denied (publickey,password).",
        "PasswordAuthentication no",
        "sshd -T: passwordauthentication=no",
        "sk-ssh-ed25519@openssh.com",
        "NCCL_IB_PKEY=0",
        "the tokenizer: 32000 tokens",
        "https://github.com/NVIDIA/nccl/issues/286",
        "root@10.0.0.11: refused",
        "basic information",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact.secrets(text) == text


def test_masking_twice_is_masking_once():
    once = redact.secrets(f"A_TOKEN={TOKEN} https://a:b@c/ {TOKEN}")
    assert redact.secrets(once) == once


@pytest.mark.parametrize("piece", ["a.b-", "1.2.", "--a", "token", "AAAA", "-----BEGIN PRIVATE KEY-----"])
def test_a_long_text_takes_no_long_time(piece):
    text, started = piece * 10_000, time.monotonic()
    redact.secrets(text), redact.keys(text), redact.Pseudonyms([["gpu1.lab.example.org"]])(text)
    assert time.monotonic() - started < 5


def test_keys_and_fingerprints_are_shortened_not_lost():
    masked = redact.keys(f"{PUBLIC}; SHA256:AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdefg")
    assert "ssh-ed25519 AAAAC3Nz***" in masked and "root@node1" in masked
    assert "SHA256:AbCdEf***" in masked and "GhIjKl" not in masked
    assert redact.keys("GPU-12345678-aaaa-bbbb-cccc-0123456789ab") == "GPU-1234***"


def pseudonyms():
    names = [["gpu1", "gpu1.lab.example.org"], ["gpu10", "10.0.0.20"], ["localhost"]]
    return redact.Pseudonyms(names, keep={"9.24.0.43"})


def test_names_and_addresses_become_others_consistently():
    mask = pseudonyms()
    first = mask("gpu10 (10.0.0.20) reached GPU1.lab.example.org, not gpu1 at 10.0.0.11:22, again 10.0.0.20")
    assert first == "node-b (192.0.2.1) reached node-a, not node-a at 192.0.2.2:22, again 192.0.2.1"
    assert mask("10.0.0.11") == "192.0.2.2"


def test_other_machines_of_the_same_domain_are_names_too():
    mask = pseudonyms()
    assert (
        mask("proxy.lab.example.org answered, then nfs.lab.example.org")
        == "host-1.example answered, then host-2.example"
    )
    assert mask("proxy.lab.example.org") == "host-1.example"


def test_a_domain_of_one_word_does_not_eat_that_word():
    mask = redact.Pseudonyms([["gpu1.local"]])
    assert mask("/usr/local on gpu1.local and nas.local") == "/usr/local on node-a and host-1.example"


def test_what_says_more_unmasked_stays():
    mask = pseudonyms()
    for text in ("localhost", "127.0.1.1", "0.0.0.0:29500", "::1", "[::]:22", "9.24.0.43", "12:30:59", "2.13.0+cu130"):
        assert mask(text) == text


def test_ipv6_and_hardware_addresses_become_others():
    assert pseudonyms()("fe80::42:acff:fe11:2 on 02:42:0a:4d:00:0c") == "2001:db8::1 on 00:00:5e:00:53:01"


def test_real_addresses_of_the_documentation_networks_are_not_mixed_up():
    mask = redact.Pseudonyms([["a"], ["b"]])
    assert mask("192.0.2.2 192.0.2.1 192.0.2.2") == "192.0.2.1 192.0.2.2 192.0.2.1"


def test_many_nodes_have_different_names():
    mask = redact.Pseudonyms([[f"n{number}"] for number in range(60)])
    assert mask("n0 n25 n26 n59") == "node-a node-z node-aa node-bh"


def test_walk_reaches_keys_values_and_lists_and_leaves_numbers():
    data = {"evidence": {"gpu1": "x"}, "hosts": ("gpu1", "gpu10"), "rank": 1, "none": None}
    assert redact.walk(data, pseudonyms()) == {
        "evidence": {"node-a": "x"},
        "hosts": ["node-a", "node-b"],
        "rank": 1,
        "none": None,
    }
