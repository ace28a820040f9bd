# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
import yaml

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import config_files as texts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("export HF_TOKEN=hf_abcdefghijklmnopqrstuvwx\n", "export HF_TOKEN=<hidden>\n"),
        ("WANDB_API_KEY='s3 cret' x=1", "WANDB_API_KEY='<hidden>' x=1"),
        ('{"hf_token": "abc", "max_tokens": 4096}', '{"hf_token": "<hidden>", "max_tokens": 4096}'),
        ("t.py --api-key abc --auth_token=def --lr 1", "t.py --api-key <hidden> --auth_token=<hidden> --lr 1"),
        ("git clone https://me:word@git.example.com/x", "git clone https://<hidden>@git.example.com/x"),
        ("wandb login ghp_abcdefghijklmnopqrstuvwx", "wandb login <hidden>"),
        ("a\n-----BEGIN OPENSSH PRIVATE KEY-----\nAAA\n-----END OPENSSH PRIVATE KEY-----\nb", "a\n<hidden>\n\n\nb"),
        ("password: geheim", "password: <hidden>"),
    ],
)
def test_secrets_are_masked(text, shown):
    assert masked(text) == shown
    assert masked(text).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        "NCCL_IB_PKEY=3",
        "StrictHostKeyChecking=yes",
        "PubkeyAuthentication=no",
        "tokenizer_name: llama",
        "HF_TOKEN=$HF_TOKEN",
        "HostKeyAlgorithms sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com",
        "deepspeed --hostfile /h t.py --num_tokens 512",
    ],
)
def test_what_is_no_secret_stays(text):
    assert masked(text) == text


def test_masked_texts_stay_readable_for_programs():
    assert yaml.safe_load(masked("token: abc\nb: 1\n")) == {"token": "<hidden>", "b": 1}
    assert json.loads(masked('{"secret": "a\\"b", "n": null}')) == {"secret": "<hidden>", "n": None}


def test_files_that_are_handed_in(tmp_path):
    (tmp_path / "run.sh").write_text("export A_TOKEN=x\n")
    (tmp_path / "long").write_bytes(b"\xff" * 100_000)
    names = ("run.sh", "long", "gone", ".")
    found = texts.handed_in([{"kind": "launch_script", "path": str(tmp_path / name)} for name in names])
    assert [(one["exists"], one["error"]) for one in found] == [
        (True, None), (True, None), (False, None), (True, "it is not a plain file"),
    ]  # fmt: skip
    assert found[0]["text"] == "export A_TOKEN=<hidden>\n"
    assert len(found[1]["text"]) == texts.MAX_TEXT


def test_configurations_that_are_taken_up_silently(tmp_path):
    home = tmp_path / "home"
    (home / ".cache/huggingface/accelerate").mkdir(parents=True)
    default = home / ".cache/huggingface/accelerate/default_config.yaml"
    default.write_text(
        "# written by accelerate config\ndeepspeed_config:\n  zero_stage: 3\n  offload:\n    device: cpu # why\n"
        "num_machines: 2\nmixed_precision: 'no'\ntpu_env: []\nlist:\n- a: 1\n"
    )
    (home / ".nccl.conf").write_text("#c\nNCCL_SOCKET_IFNAME==eth0\nnothing\n")
    (home / ".deepspeed_env").write_text("HF_TOKEN=abc\nA=1\n")
    tree = Tree(str(tmp_path))
    (one,) = texts.accelerate_default(tree, "/home/.cache/huggingface")
    assert one["values"] == {
        "deepspeed_config.zero_stage": "3",
        "deepspeed_config.offload.device": "cpu",
        "num_machines": "2",
        "mixed_precision": "no",
    }
    assert texts.nccl_conf(tree, "/home") == [{"path": "~/.nccl.conf", "values": {"NCCL_SOCKET_IFNAME": "=eth0"}}]
    assert texts.deepspeed_env(tree, "/home", ["/none"]) == [
        {"path": "~/.deepspeed_env", "text": "HF_TOKEN=<hidden>\nA=1\n"}
    ]
    default.unlink()
    default.with_suffix(".json").write_text('{"a": {"b": 1}, "c": [1], "d": true}')
    assert texts.accelerate_default(tree, "/home/.cache/huggingface")[0]["values"] == {"a.b": "1", "d": "true"}
    assert texts.flat_json("{") == {}
