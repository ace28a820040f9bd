# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret stays in a text, and nobody's text takes long."""

from __future__ import annotations

import sys
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import secrets
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import files, processes
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import redact

CANARY = "canary0123456789abcdef"
# what a person writes, with CANARY in the place of the secret
LINES = [
    "HF_TOKEN={}", "export WANDB_API_KEY='{}'", "DB_PASS={}", "PGPASS={}", "PGPASSWORD={}", "MYSQL_PWD={}",
    "SSHPASS={}", "COMET_KEY={}", "AWS_SECRET_ACCESS_KEY={}", "API_KEYS={}", "API_KEY_2={}", "passwd:{}",
    "AZURE_CLIENT_SECRET={}", "REGISTRY_AUTH={}", "//registry.example/:_authToken={}", "accessToken={}",
    "sshpass -p {} ssh a", "sshpass -p{} ssh a", "curl -u alice:{} https://x.example", "curl --user alice:{} x",
    "curl -U a:{} x", "wandb login {}", "wandb login --relogin {}", "t.py --wandb-key {} --lr 1",
    "t.py --hf_token {}", "t.py --api-key={}", "machine h login me password {}", "login me\n\tpassword {}\n",
    "https://blob.example/x?sv=2020&sig={}&se=1", "AccountName=x;AccountKey={};EndpointSuffix=y",
    "https://alice:{}@mirror.example/simple", "https://{}@mirror.example/simple", "ftp://a:x@{}@mirror.example/",
    "socks5h://a:{}@10.0.0.1:1080", "http_proxy=alice:{}@proxy.example:3128", "Authorization: Basic {}",
    "curl -H 'Authorization: Bearer {}'", "x-api-key: {}", '{{"auths": {{"ghcr.io": {{"auth": "{}"}}}}}}',
    "password: {}", "hf_token: '{}'", "bash -c 'export HF_TOKEN={}; python t.py'", "a=b=HF_TOKEN={}",
    "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n{}",
    "hf_{}", "ghp_{}", "github_pat_{}", "glpat-{}", "sk-proj-{}", "xoxb-{}", "npm_{}", "pypi-{}", "nvapi-{}", "dapi{}",
    "ya29.{}", "AIzaSy{}", "(gho_{})", "eyJhbGciOi.{}.sig", "JWT=eyJhbGciOi.eyJzdWIi.{}",
]  # fmt: skip
HARMLESS = [
    "PWD=/root", "OLDPWD=/x", "NCCL_IB_PKEY=3", "StrictHostKeyChecking=yes", "HostKeyAlias=node1", "max_tokens=4096",
    "public_key: ssh-ed25519", "authorized_keys: line 3 is broken", "sshd rejects keys: file permissions too open",
    "tokenizer=/models/llama", "author=Jane", "compass=north", "bypass=all", "PASS: 3 checks",
    "docker run -u 1000:1000 image", "python -u train.py", "sk-ssh-ed25519@openssh.com", "git@github.com:org/repo",
    "pytorch/pytorch:2.1@sha256:0123456789abcdef", "authentication=none", "http://a.example/x?mail=a@b.example",
]  # fmt: skip
LENGTH = 64 * 1024
PIECES = [
    "KEY", "TOKEN", "token=", "token=\"", "token='", "token=\\\"", "--token ", "a=", "a.", "a:", ":", "-", "--", ".",
    " ", "\t", "\n", " #", "://", "://a@", "@", "a:b", "a@", "eyJaaaaaa", "eyJaaaaaa-", "hf_", "sk-", "A", "AKIA",
    "Bearer ", "Authorization: ", "Authorization:a", "login ", "login a password ", "wandb login ", "sshpass -p ",
    "-u a", "-u ", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "hostkey_", "host_key.", "hostkey_.token", "key1",
    "pass", "passw", "$", "${", "'", '"', "\\", "tokentoken_", "trainmesh-run=", "check-20260101-000000-", "x.py ",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("mask", [secrets.masked, redact.secrets])
def test_no_secret_stays(line, mask):
    for text in (line.format(CANARY), f"before {line.format(CANARY)} after"):
        once = mask(text)
        assert CANARY not in once
        assert mask(once) == once
        assert once.count("\n") == text.count("\n")


@pytest.mark.parametrize("line", HARMLESS)
def test_what_is_no_secret_stays(line):
    assert secrets.masked(line) == line == redact.secrets(line)


@pytest.mark.parametrize("name", ["A_TOKEN", "DB_PASS", "x-key"])
def test_harmless_values_keep_json_whole(name):
    for value in ("true", "null", "4096", '"$HF_TOKEN"', '""'):
        assert secrets.masked(f'{{"{name}": {value}}}') == f'{{"{name}": {value}}}'


def work(call, text):
    """How long ``call`` takes on ``text``: the least of some tries, on the clock of this process alone."""
    best = sys.float_info.max
    for _try in range(2):
        before = time.process_time()
        call(text)
        best = min(best, time.process_time() - before)
    return best


def flat(text):
    return files.flat_yaml(f"a: x{text}")


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("ends", [("", ""), ('token="', ".token=x")])
@pytest.mark.parametrize("call", [secrets.masked, processes.shown, flat])
def test_the_work_grows_with_the_length_and_no_faster(piece, ends, call):
    """Eight times the text costs about eight times the work; with a quadratic pattern it would be 64 times."""
    first, last = ends
    small, large = (first + piece * (length // len(piece)) + last for length in (LENGTH // 8, LENGTH))
    assert work(call, large) < 30 * work(call, small) + 0.05


def test_a_command_line_shows_program_and_run_only():
    shown = processes.shown
    assert shown("/usr/bin/python3 -u -m torch.distributed.run --nnodes 2 /home/a/train.py --name secret-project") == (
        "/usr/bin/python3 -m torch.distributed.run /home/a/train.py"
    )
    assert shown("torchrun --master x --token abc.py trainmesh-run=r-1") == "torchrun trainmesh-run=r-1"
    assert shown(f"HF_TOKEN={CANARY} x") == "HF_TOKEN=<hidden>"
    assert shown("python -u probe_train.py --record-dir /opt/t/var/runs/check-20260102-030405-x/a").endswith("-x/a")
    assert shown("sh -c password.sh") == "sh password.sh"


def test_a_secret_at_the_cut_does_not_stay():
    for length in range(processes.MAX_READ - 40, processes.MAX_READ + 4):
        assert "hf_" not in processes.shown("a " * (length // 2) + " hf_" + "A" * 40)
    assert len(processes.shown("x" * LENGTH)) <= processes.MAX_COMMAND
