# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import BOTH, HOSTS, case, ids, script

TORCHRUN = "torchrun --nproc_per_node 8 /t.py"
LAUNCH = "deepspeed --hostfile /job/hosts --master_addr 10.0.0.1 /t.py"


@pytest.mark.parametrize(
    "line",
    [
        f"nohup {TORCHRUN} > log 2>&1 &",
        "nohup accelerate launch --config_file /a.yaml /t.py &",
        "CUDA_VISIBLE_DEVICES=0 nohup python -m torch.distributed.run --nproc_per_node 8 /t.py &",
        "nohup llamafactory-cli train /a.yaml &",
        f"nohup bash /job/run.sh &\n{TORCHRUN}",
        f"nohup bash -c '{TORCHRUN}' &",
    ],
)
def test_nohup(line):
    assert ids(case(script(line))) == {("launch-ends-with-terminal", "warn"): BOTH}


@pytest.mark.parametrize(
    "line",
    [
        TORCHRUN,
        f"setsid nohup {TORCHRUN} &",
        f"tmux new-session -d 'nohup {TORCHRUN}'",
        "nohup torchrun --signals-to-handle SIGTERM,SIGINT --nproc_per_node 8 /t.py &",
        f"nohup {LAUNCH} &",
        "nohup python /t.py &",
        f"# nohup {TORCHRUN} &",
    ],
)
def test_what_lives_on(line):
    assert ids(case(script(line), HOSTS)) == {}


@pytest.mark.parametrize(
    "loop",
    [
        "for h in `cat /job/hosts`; do ssh $h nvidia-smi; done",
        "for h in $(cat hosts); do\n  scp /t.py $h:/\ndone",
        "HOSTFILE=/job/hosts\nfor h in $(< $HOSTFILE); do ssh $h date; done",
        "HOSTS=$(grep -v '^#' /job/hosts | sort)\nfor h in $HOSTS; do ssh $h date; done",
        "for h in `cat /job/hosts | grep -v '#'`; do ssh $h date; done",
        "pdsh -w ^/job/hosts date </dev/null",
        "parallel-ssh -h /job/hosts date",
    ],
)
def test_a_hostfile_word_by_word(loop):
    assert ids(case(script(loop), HOSTS)) == {("hostfile-read-as-words", "warn"): BOTH}
    assert ids(case(script(loop, LAUNCH))) == {("hostfile-read-as-words", "warn"): BOTH}
    assert ids(case(script(loop))) == {}


@pytest.mark.parametrize(
    "loop",
    [
        "for h in $(awk '{print $1}' /job/hosts); do ssh $h date; done",
        "for h in $(cut -d' ' -f1 /job/hosts); do ssh $h date; done",
        "for h in $(cat /job/hosts | awk '{print $1}'); do ssh $h date; done",
        "for h in $(grep -oE '^\\S+' /job/hosts | cut -f1); do ssh $h date; done",
        "while read -r h _; do ssh -n $h date; done < /job/hosts",
        "for h in $(cat /job/nodes); do ssh $h date; done",
        "for h in node1 node2; do ssh $h date; done",
    ],
)
def test_other_loops(loop):
    assert ids(case(script(loop), HOSTS)) == {}


@pytest.mark.parametrize(
    ("line", "everything"),
    [
        ("pkill -9 python", True),
        ("pkill -f torchrun", True),
        ("killall -9 python3", True),
        ("kill -9 -1", True),
        ("lsof /dev/nvidia* | awk '{print $2}' | xargs -I {} kill {}", True),
        ("fuser -k /dev/nvidia*", True),
        ("ps aux | grep python | awk '{print $2}' | xargs kill -9", True),
        ("nvidia-smi --query-compute-apps=pid --format=csv,noheader | xargs kill -9", True),
        ("ssh node2 'pkill -9 -f deepspeed'", True),
        ("kill $(pgrep -f python)", True),
        ("kill -9 $PID", False),
        ("kill -1 $PID", False),
        ("kill $(cat job.pid)", False),
        ("pkill -F job.pid", False),
        ("# pkill -9 python", False),
        ("fuser -v /dev/nvidia*", False),
        ("ps aux | grep python", False),
        ("pkill tensorboard", False),
    ],
)
def test_ending_everything(line, everything):
    assert ids(case(script(line))) == ({("ds-abort-kills-other-jobs", "info"): BOTH} if everything else {})


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("NNODES = 2", True),
        ("export NCCL_SOCKET_IFNAME = eth0", True),
        ("export NNODES =2", True),
        ("OUTPUT=2", False),
        ('[ "$NNODES" = 2 ] && echo yes', False),
        ("if [[ $A == 2 ]]; then echo =; fi", False),
        ("cat > c.ini <<EOF\nNAME = value\nEOF", False),
        ("awk '{ A = 2 }' f", False),
        ("python -c 'N = 2'", False),
    ],
)
def test_blanks_around_an_equals_sign(line, wrong):
    assert ids(case(script(line, TORCHRUN))) == ({("shell-assignment-blanks", "fail"): BOTH} if wrong else {})
