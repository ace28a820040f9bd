# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import time

import pytest
import yaml

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.job_user import user_name
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import files

LATER = time.monotonic() + 3600


def digest(path, deadline=None):
    return files.digest(str(path), LATER if deadline is None else deadline)


def test_a_digest_is_of_names_and_content(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub/x.py").write_text("1")
        (tmp_path / name / "y.py").write_text("2")
    (tmp_path / "b/.git").mkdir()
    (tmp_path / "b/.git/HEAD").write_text("other")
    (tmp_path / "b/__pycache__").mkdir()
    (tmp_path / "b/__pycache__/x.pyc").write_text("other")
    size, value, error = digest(tmp_path / "a")
    assert (size, error) == (2, None)
    assert value == digest(tmp_path / "b")[1]
    assert value.startswith("sha256:")
    os.rename(tmp_path / "b/y.py", tmp_path / "b/z.py")
    assert value != digest(tmp_path / "b")[1]


def test_large_files_are_sampled(tmp_path):
    content = bytearray(files.WHOLE_BYTES + 10)
    (tmp_path / "big").write_bytes(content)
    size, value, _error = digest(tmp_path / "big")
    assert size == files.WHOLE_BYTES + 10
    assert value.startswith("sha256-sampled:")
    content[-1] = 1
    (tmp_path / "big").write_bytes(content)
    assert digest(tmp_path / "big")[1] != value


def test_digests_have_bounds(tmp_path, monkeypatch):
    for number in range(4):
        (tmp_path / str(number)).write_text("x")
    assert digest(tmp_path, 0.0)[1:] == (None, "not enough time to read it: not compared")
    monkeypatch.setattr(files, "MAX_FILES", 3)
    assert digest(tmp_path)[1:] == (None, "more than 3 files: not compared")


def test_what_is_asked_for(tmp_path):
    (tmp_path / "file").write_text("x")
    os.symlink("gone", tmp_path / "link")
    names = [str(tmp_path), str(tmp_path / "file"), str(tmp_path / "link"), str(tmp_path / "file/under")]
    found = files.asked(Tree(), [*names, "~"], 5)
    whole, file, link, under = (found[name] for name in names)
    assert (whole["exists"], whole["kind"], whole["writable"]) == (True, "dir", True)
    assert (file["kind"], file["size"], file["readable"], file["digest"][:7]) == ("file", 1, True, "sha256:")
    assert link["exists"] is False
    assert under["exists"] is False
    assert found["~"]["kind"] == "dir"
    assert {len(one) for one in found.values()} == {11}


def test_modes_and_owners(tmp_path):
    os.chmod(tmp_path, 0o777)
    found = files.described(str(tmp_path))
    assert (found["exists"], found["mode"], found["others_write"]) == (True, "0777", True)
    assert found["owner"] == user_name(os.geteuid())
    assert files.described(str(tmp_path / "gone"))["exists"] is False


def test_a_directory_above_the_keys_that_others_may_write_to(tmp_path):
    home, keys = tmp_path / "home", tmp_path / "etc" / "keys"
    for place in (home / ".ssh", keys):
        place.mkdir(parents=True)
    for place in (tmp_path, keys.parent):
        place.chmod(0o755)
    home.chmod(0o777)
    assert files.loose_above(str(home / ".ssh/authorized_keys"), str(home)) is None
    keys.parent.chmod(0o775)
    found = files.loose_above(str(keys / "train"), str(home))
    assert found and (found["path"], found["mode"]) == (str(keys.parent), "0775")
    (home / ".ssh").rmdir()
    (home / ".ssh").symlink_to(keys)
    found = files.loose_above(str(home / ".ssh/authorized_keys"), str(home))
    assert found and found["path"] == str(keys.parent)
    assert user_name(4_000_000_000) == "4000000000"


def test_caches_follow_the_environment(tmp_path):
    places = files.cache_places("/home/u", {"XDG_CACHE_HOME": "/x", "TRITON_CACHE_DIR": str(tmp_path / "a/b")})
    assert places == {
        "home": "/home/u",
        "tmp": "/tmp",
        "hf": "/x/huggingface",
        "triton": str(tmp_path / "a/b"),
        "torch_extensions": "/x/torch_extensions",
        "pip": "/x/pip",
    }
    found = files.caches(Tree(), {"triton": places["triton"], "again": str(tmp_path)}, 5)
    assert (found["triton"]["existing"], found["triton"]["exists"]) == (str(tmp_path), False)
    assert (found["again"]["exists"], found["again"]["writable"], found["again"]["error"]) == (True, True, None)
    assert found["again"]["free_bytes"] > 0


@pytest.mark.parametrize("there", [True, False])
def test_files_of_the_collection(tmp_path, there):
    if there:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/cluster.json").write_text("{}")
    found = files.managed(str(tmp_path))
    assert found["exists"] is there
    assert list(found["files"]) == (["etc/cluster.json"] if there else [])


def test_what_a_closed_directory_hides_is_denied_and_not_absent(tmp_path, monkeypatch):
    def stat_of(path):
        raise PermissionError(13, "in words of any language", str(path))

    monkeypatch.setattr(files.os, "stat", stat_of)
    monkeypatch.setattr(files.fabric_disk, "follow", lambda _table, path: (path, True))
    found = files.asked(Tree(), [str(tmp_path / "x")], 5)[str(tmp_path / "x")]
    assert (found["exists"], found["denied"], found["error"]) == (None, True, "in words of any language")


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
    found = files.handed_in([{"kind": "launch_script", "path": str(tmp_path / name)} for name in names])
    assert [(one["exists"], one["error"]) for one in found] == [
        (True, None), (True, None), (False, None), (True, "it is not a plain file"),
    ]  # fmt: skip
    assert found[0]["text"] == "export A_TOKEN=<hidden>\n"
    assert len(found[1]["text"]) == files.MAX_TEXT


def test_of_a_log_of_a_job_the_errors_are_kept_and_no_secrets(tmp_path):
    noise = "".join(f"a line that says nothing, number {at}\n" for at in range(20000))
    (tmp_path / "job.log").write_text(f"{noise}KeyError: 'x'\nHF_TOKEN=hf_abcdefghijklmnop\n{noise}")
    (found,) = files.handed_in([{"kind": "job_log", "path": str(tmp_path / "job.log")}])
    assert "KeyError: 'x'\nHF_TOKEN=<hidden>\n" in found["text"] and "hf_abc" not in found["text"]
    assert len(found["text"]) < files.MAX_TEXT and "[trainmesh: lines " in found["text"]
    (gone,) = files.handed_in([{"kind": "job_log", "path": str(tmp_path / "gone")}])
    assert (gone["kind"], gone["exists"], gone["text"], gone["error"]) == ("job_log", False, None, None)


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
    (one,) = files.accelerate_default(tree, "/home/.cache/huggingface")
    assert one["values"] == {
        "deepspeed_config.zero_stage": "3",
        "deepspeed_config.offload.device": "cpu",
        "num_machines": "2",
        "mixed_precision": "no",
    }
    assert files.nccl_conf(tree, "/home") == [{"path": "~/.nccl.conf", "values": {"NCCL_SOCKET_IFNAME": "=eth0"}}]
    assert files.deepspeed_env(tree, "/home", ["/none"]) == [
        {"path": "~/.deepspeed_env", "text": "HF_TOKEN=<hidden>\nA=1\n"}
    ]
    default.unlink()
    default.with_suffix(".json").write_text('{"a": {"b": 1}, "c": [1], "d": true}')
    assert files.accelerate_default(tree, "/home/.cache/huggingface")[0]["values"] == {"a.b": "1", "d": "true"}
    assert files.flat_json("{") == {}


def test_of_a_long_log_the_beginning_and_the_end_are_read(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(20000)))
    texts = {}
    for kind in ("nccl_log", "kernel_log", "hostfile"):
        texts[kind] = files.handed_in([{"kind": kind, "path": str(path)}])[0]["text"]
        assert len(texts[kind]) <= files.MAX_TEXT
    assert texts["nccl_log"] == texts["kernel_log"]
    lines = texts["nccl_log"].splitlines()
    assert (lines[0], lines[-1]) == ("line 0", "line 19999")
    assert all(line == f"line {int(line.split()[1])}" for line in lines)
    assert texts["hostfile"].startswith("line 0") and "line 19999" not in texts["hostfile"]
    path.write_text("short\n")
    assert files.handed_in([{"kind": "nccl_log", "path": str(path)}])[0]["text"] == "short\n"


def test_locks_of_builds_and_their_age(tmp_path):
    place = tmp_path / "py311_cu126" / "cpu_adam"
    place.mkdir(parents=True)
    (place / "lock").write_text("")
    os.utime(place / "lock", (1, 1))
    (tmp_path / "py311_cu126" / "other").mkdir()
    (tmp_path / "lock").write_text("not of a build")
    (tmp_path / "loop").symlink_to(tmp_path)
    (found,) = files.build_locks(str(tmp_path))
    assert found["path"] == str(place / "lock") and found["age_s"] > 1e9
    assert files.build_locks(str(tmp_path / "nowhere")) == []


def test_files_that_hide_a_module(tmp_path):
    for name in ("random.py", "train.py", "torch.pt", "queue.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "deepspeed").mkdir()
    (tmp_path / "deepspeed" / "__init__.py").write_text("")
    expected = [str(tmp_path / "deepspeed"), str(tmp_path / "random.py")]
    assert files.shadows([str(tmp_path), str(tmp_path), str(tmp_path / "nowhere")]) == expected


def test_a_report_on_several_nodes_is_read_further_than_other_files(tmp_path):
    path = tmp_path / "smi.txt"
    path.write_text("gpu1: x\n" * 20000 + "gpu2: the last line\n")
    (found,) = files.handed_in([{"kind": "node_report", "path": str(path)}])
    assert found["text"].endswith("gpu2: the last line\n") and len(found["text"]) > files.MAX_TEXT
    path.write_text("gpu1: x\n" * 100000)
    (found,) = files.handed_in([{"kind": "node_report", "path": str(path)}])
    assert len(found["text"]) == files.MAX_REPORT
