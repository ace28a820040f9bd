# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
import os
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import ssh_client, ssh_options
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.job_user import user_name
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import processes, ssh

BLOB = base64.b64encode(b"\0\0\0\x0bssh-ed25519" + b"k" * 36).decode()
PRINT = "SHA256:" + base64.b64encode(hashlib.sha256(base64.b64decode(BLOB)).digest()).decode().rstrip("=")
SSHD_T = """port 22
port 2222
usepam yes
permitrootlogin without-password
strictmodes yes
pubkeyauthentication no
authorizedkeysfile .ssh/authorized_keys /etc/keys/%u
maxstartups 10:30:100
allowusers alice
allowusers bob@10.0.0.*
denygroups nobody
denygroups domain guests
"""


def write(root, files):
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(str(root))


def answer(out="", rc=0, err=""):
    return lambda argv, limit, **options: Outcome(rc, out, err, False, False, 0.1)


def test_sshd_says_it_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    tree = write(tmp_path, {"/usr/sbin/sshd": ""})
    found = ssh.server(tree, "alice", "node1", "10.0.0.2", answer(SSHD_T), 1)
    assert found == {
        "source": "sshd -T",
        "problem": None,
        "ports": [22, 2222],
        "usepam": True,
        "permitrootlogin": "without-password",
        "strictmodes": True,
        "pubkeyauthentication": False,
        "authorizedkeysfile": ".ssh/authorized_keys /etc/keys/%u",
        "maxstartups": "10:30:100",
        "allowusers": ["alice", "bob@10.0.0.*"],
        "denyusers": [],
        "allowgroups": [],
        "denygroups": ["nobody", "domain guests"],
        **dict.fromkeys(("maxauthtries", "maxsessions", "requiredrsasize")),
        **dict.fromkeys(("authenticationmethods", "forcecommand", "chrootdirectory", "revokedkeys")),
        **dict.fromkeys(("persourcepenalties", "persourcemaxstartups")),
        "refused_types": [],
        "revokedkeys_missing": False,
        "fips": False,
        "lines": {},
        "certificates": {
            "host": [],
            "drop_in": False,
            "problem": "its sshd_config does not include /etc/ssh/sshd_config.d/*.conf",
        },
    }


@pytest.mark.parametrize("uid", [0, 1000])
def test_else_its_configuration_is_read(tmp_path, monkeypatch, uid):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    tree = write(
        tmp_path,
        {
            "/usr/sbin/sshd": "",
            "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n# AllowUsers x\nAllowUsers a b\n"
            "StrictModes=no\nMatch User a\n  PubkeyAuthentication no\n",
            "/etc/ssh/sshd_config.d/50.conf": 'Port 2222\nAllowUsers "c"\nStrictModes yes\n',
        },
    )
    found = ssh.server(tree, "a", "node1", "127.0.0.1", answer(rc=255, err="no hostkeys\n"), 1)
    assert (found["source"], found["allowusers"], found["ports"]) == ("config", ["c", "a", "b"], [2222])
    assert (found["strictmodes"], found["pubkeyauthentication"]) == (True, None)
    assert found["problem"] == ("sshd -T: no hostkeys" if uid == 0 else None)


def test_no_sshd_and_nothing_to_read(tmp_path):
    found = ssh.server(Tree(str(tmp_path)), "a", "n", "127.0.0.1", answer(), 1)
    assert (found["source"], found["problem"], found["ports"]) == (None, "there is no sshd here", [])
    assert set(found) == set(ssh.server(Tree(str(tmp_path)), "b", "n", "::1", answer(SSHD_T), 1))


def test_files_of_authorized_keys():
    assert ssh.key_files(None, "u", "/home/u", 7) == [
        "/home/u/.ssh/authorized_keys",
        "/home/u/.ssh/authorized_keys2",
    ]
    assert ssh.key_files("/k/%u/%U %h/x%% none", "u", "/h", 7) == ["/k/u/7", "/h/x%"]


def test_keys(tmp_path):
    text = f'# ssh-ed25519 {BLOB}\nfrom="10.0.0.1",no-pty ssh-ed25519 {BLOB} u@n 1\nssh-rsa !!!\nssh-ed25519 {BLOB}\n'
    files = {
        "/h/.ssh/authorized_keys": text,
        "/h/.ssh/id_ed25519": "PRIVATE",
        "/h/.ssh/id_ed25519.pub": f"ssh-ed25519 {BLOB} me",
    }
    tree = write(tmp_path, {**files, "/h/.ssh/trainmesh/id_ed25519": "P", "/h/.ssh/lonely.pub": f"ssh-ed25519 {BLOB}"})
    first, second = ssh.authorized(tree, ["/h/.ssh/authorized_keys", "/gone"])
    assert (first["fingerprint"], first["options"], first["comment"]) == (PRINT, 'from="10.0.0.1",no-pty', "u@n 1")
    assert (second["type"], second["options"], second["file"]) == ("ssh-ed25519", "", "/h/.ssh/authorized_keys")
    own = {one["path"]: (one["type"], one["fingerprint"], one["comment"]) for one in ssh.own_keys(tree, "/h")}
    assert own == {
        "/h/.ssh/trainmesh/id_ed25519": (None, None, None),
        "/h/.ssh/id_ed25519": ("ssh-ed25519", PRINT, "me"),
    }


def key_lines(count):
    keys = [base64.b64encode(b"\0\0\0\x0bssh-ed25519" + bytes([number]) * 36).decode() for number in range(count)]
    return [f'restrict,from="10.0.0.{number}" ssh-ed25519 {key} trainmesh n{number}' for number, key in enumerate(keys)]


@pytest.mark.parametrize("before", [[], [f"ssh-ed25519 {BLOB} me", "# a comment"]])
def test_keys_that_all_nodes_have_are_told_by_where_they_stand(tmp_path, before):
    ours, loopback = key_lines(3), f'restrict,from="127.0.0.0/8" ssh-ed25519 {BLOB} trainmesh n1'
    text = "\n".join([*before, "# begin", *ours, loopback])
    keys = ssh.authorized(write(tmp_path, {"/h/keys": text}), ["/h/keys"])
    rest, place = ssh.without(keys, ssh.expected(ours))
    assert [key["comment"] for key in rest] == [*(["me"] if before else []), "trainmesh n1"]
    assert place == {"file": "/h/keys", "at": len(rest) - 1} and len(keys) == len(rest) + 3


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: lines[:-1],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0].replace("10.0.0.0", "10.9.9.9"), *lines[1:]],
        lambda lines: [lines[0], f"ssh-ed25519 {BLOB} me", *lines[1:]],
        lambda lines: [],
    ],
)
def test_keys_that_are_not_as_expected_are_all_told(tmp_path, change):
    keys = ssh.authorized(write(tmp_path, {"/h/keys": "\n".join(change(key_lines(3)))}), ["/h/keys"])
    assert ssh.without(keys, ssh.expected(key_lines(3))) == (keys, None)


def test_keys_in_two_files_are_all_told(tmp_path):
    first, *others = key_lines(3)
    tree = write(tmp_path, {"/h/keys": first, "/h/more": "\n".join(others)})
    keys = ssh.authorized(tree, ["/h/keys", "/h/more"])
    assert len(keys) == 3 and ssh.without(keys, ssh.expected(key_lines(3))) == (keys, None)


def options(tree, run, limit=1):
    return ssh_options.Options(ssh_client.ClientConfig(tree, "/h"), limit, run)


def test_where_ssh_would_go(tmp_path):
    def run(argv, limit, **more):
        if argv[-1] == "bad":
            return Outcome(255, "", "/h/.ssh/config line 3: garbage at end of line\n", False, False, 0.1)
        return Outcome(0, f"host {argv[-1]}\nuser u\nhostname 10.0.0.2\nport 33\n", "", False, False, 0.1)

    tree = write(tmp_path, {"/h/.ssh/config": "Host a\n  HostName 10.0.0.2\n  Port 33\n"})
    found = ssh.client(["a", "bad", "a"], options(tree, run), 1)
    assert found == {
        "problem": "/h/.ssh/config line 3: garbage at end of line",
        "problem_kind": "trailing",
        "untested": None,
        "targets": {"a": {"hostname": "10.0.0.2", "port": 33, "user": "u"}},
        "certificates": True,
        "without_keys": {},
    }


@pytest.mark.parametrize(
    ("said", "without"),
    [
        ("pubkeyauthentication true", {}),
        ("pubkeyauthentication unbound", {}),
        ("pubkeyauthentication no", {"a": "pubkeyauthentication no"}),
        ("preferredauthentications password,keyboard-interactive", None),
        ("preferredauthentications gssapi-with-mic,publickey", {}),
    ],
)
def test_options_that_keep_ssh_from_offering_a_key(tmp_path, said, without):
    out = f"hostname 10.0.0.2\nport 22\n{said}\n"
    found = ssh.client(["a"], options(write(tmp_path, {}), answer(out)), 1)
    assert found["without_keys"] == ({"a": said} if without is None else without)


def test_a_file_of_revoked_keys_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    tree = write(tmp_path, {"/usr/sbin/sshd": "", "/etc/ssh/there": ""})
    for name, missing in (("/etc/ssh/gone", True), ("/etc/ssh/there", False), ("none", False)):
        found = ssh.server(tree, "alice", "node1", "10.0.0.2", answer(f"revokedkeys {name}\n"), 1)
        assert found["revokedkeys_missing"] is missing


@pytest.mark.parametrize("bits", [2048, 3072])
def test_the_length_of_an_rsa_key(bits):
    parts = (b"ssh-rsa", b"\1\0\1", b"\0" + (1 << (bits - 1) | 1).to_bytes(bits // 8, "big"))
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    assert ssh.rsa_bits(f"ssh-rsa {base64.b64encode(blob).decode()} me@here") == bits
    assert ssh.rsa_bits(f"ssh-rsa {base64.b64encode(blob[:-9]).decode()[:-4]} me@here") != bits
    assert ssh.rsa_bits("ssh-ed25519 AAAA") is None and ssh.rsa_bits("") is None


def test_an_ssh_that_is_late_has_no_bad_configuration(tmp_path):
    late = Outcome(None, "", "Pseudo-terminal will not be allocated", True, False, 5.0)
    found = ssh.client(["a"], options(write(tmp_path, {}), lambda argv, limit, **more: late, 5), 5)
    assert (found["problem"], found["targets"]) == (None, {}) and "within 5 s" in found["untested"]


def test_after_the_limit_ssh_is_not_asked_for_more_names(tmp_path):
    asked = []

    def run(argv, limit, **more):
        asked.append(argv[-1])
        time.sleep(0.3)
        return Outcome(None, "", "", True, False, 0.3)

    found = ssh.client(map(str, range(1000)), options(write(tmp_path, {}), run), 0.2)
    assert len(asked) <= ssh.WORKERS and found["untested"] and not found["problem"]


def process(root, pid, words, environ="", started="100"):
    fields = " ".join(["S", "1", *["0"] * 17, started])
    files = {"cmdline": "\0".join(words) + "\0", "environ": environ, "stat": f"{pid} (x y) {fields}\n"}
    write(root, {f"/proc/{pid}/{name}": text for name, text in files.items()})


def test_processes_that_jobs_left(tmp_path):
    write(tmp_path, {"/proc/uptime": "1000.5 3.0\n"})
    python = "/opt/trainmesh/env/bin/python"
    rank = "RANK=0\0WORLD_SIZE=2\0MASTER_ADDR=10.0.0.1\0"
    process(tmp_path, 10, [python, "-u", "-m", "deepspeed.launcher.launch", "--world_info=x"])
    process(tmp_path, 11, ["/usr/bin/python3", "train.py", "--hf_token", "abc"], rank)
    process(tmp_path, 12, [python, "/opt/trainmesh/libexec/trainmesh-rank", "trainmesh-run=r1"])
    process(tmp_path, 13, ["/usr/bin/python3", "train.py"], "RANK=0\0")
    process(tmp_path, 14, ["/usr/bin/vim", "torchrun.py", "deepspeed"])
    process(tmp_path, 15, ["/bin/torchrun", "t.py"])
    process(tmp_path, 16, ["mpirun", "-n", "2", "t"])
    process(tmp_path, 17, [python, "/env/bin/accelerate", "launch", "t.py"])
    process(tmp_path, 18, ["/bin/torchrun", "own.py"])
    process(tmp_path, 19, ["sleep", "trainmesh-run=$(reboot)"])  # anybody may call a process so
    found = {one["pid"]: one for one in processes.processes(Tree(str(tmp_path)), "/opt/trainmesh", {18})}
    assert {pid: one["kind"] for pid, one in found.items()} == {
        10: "deepspeed", 11: "rank", 12: "rank", 15: "torchrun", 16: "mpirun", 17: "accelerate",
    }  # fmt: skip
    assert (found[12]["ours"], found[12]["run_id"], found[10]["ours"]) == (True, "r1", False)
    assert "abc" not in found[11]["command"]
    assert found[15]["age_seconds"] == round(1000.5 - 100 / os.sysconf("SC_CLK_TCK"))
    assert found[15]["user"] == user_name(os.geteuid())


def test_who_holds_a_port(tmp_path):
    row = "   0: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {inode} 1\n"
    write(tmp_path, {"/proc/net/tcp": row.format(port=29500, inode=77) + row.format(port=22, inode=78)})
    process(tmp_path, 20, ["python", "train.py"])
    os.mkdir(tmp_path / "proc/20/fd")
    os.symlink("socket:[77]", tmp_path / "proc/20/fd/3")
    found = processes.port_owners(Tree(str(tmp_path)), [22, 29500, 29501])
    assert (found["29500"]["pid"], found["29500"]["command"]) == (20, "python train.py")
    assert found["29500"]["check"] is None
    assert found["22"] == {"pid": None, "user": None, "command": None, "check": None}
    assert set(found) == {"22", "29500"}


@pytest.mark.parametrize(
    ("command", "run"),
    [
        ("/opt/trainmesh/env/bin/torchrun --no-python trainmesh-run={} @x", "check-20260102-030405-torchrun"),
        ("python -u probe_train.py --record-dir /opt/trainmesh/var/runs/{}/x", "check-20260102-030405-accelerate"),
        ("python -u train.py --out precheck-20260102-030405-x", None),
    ],
)
def test_a_port_that_a_check_run_of_ours_holds(tmp_path, command, run):
    row = "   0: 00000000:733C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1\n"
    write(tmp_path, {"/proc/net/tcp": row})
    process(tmp_path, 20, command.format(run).split())
    os.mkdir(tmp_path / "proc/20/fd")
    os.symlink("socket:[77]", tmp_path / "proc/20/fd/3")
    assert processes.port_owners(Tree(str(tmp_path)), [29500])["29500"]["check"] == run


def test_the_kernel_log(tmp_path):
    tree = write(tmp_path, {"/proc/stat": "cpu 1\nbtime 1700000000\n"})
    log = "[   10.5] Linux version\n[  100.25] Out of memory: Killed process 4711 (python) total-vm:9kB\n"
    assert processes.oom_kills(tree, processes.kernel_log(answer(log), 1)) == [
        {"time": "2023-11-14T22:15:00Z", "line": "[  100.25] Out of memory: Killed process 4711 (python) total-vm:9kB"}
    ]
    assert processes.oom_kills(tree, processes.kernel_log(answer("[ 1.0] fine\n"), 1)) == []
    assert processes.oom_kills(tree, processes.kernel_log(answer(rc=1), 1)) is None


def test_what_else_the_kernel_says(tmp_path):
    tree = write(tmp_path, {"/proc/stat": "cpu 1\nbtime 1700000000\n"})
    log = "[  100.25] python3[7]: segfault at 0 ip 00007f sp 00007f error 4 in libnccl.so.2[7f+1]\n"
    log += "[  101.25] NVRM: GPU 0000:0a:00.0: RmInitAdapter failed! (0x24:0x72:1568)\n"  # the facts of the GPUs tell
    found = processes.kernel_events(tree, processes.kernel_log(answer(log), 1))
    assert [(each["kind"], each["time"]) for each in found] == [("crashed", "2023-11-14T22:15:00Z")]
    assert processes.kernel_events(tree, processes.kernel_log(answer(rc=1), 1)) is None
    context = "[  100.0] oom-kill:constraint=CONSTRAINT_NONE,task=python,pid=7,uid=0\n"
    kills = processes.oom_kills(tree, f"{context}[  100.0] Out of memory: Killed process 7 (python) total-vm:9kB\n")
    assert len(kills) == 1  # two lines, one kill
