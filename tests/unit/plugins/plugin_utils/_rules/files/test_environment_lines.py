# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments that a script puts into use, and Ray that it starts."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import BOTH, case, ids, script

TORCH = "torchrun --nproc_per_node=8 /t.py"


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        (["conda activate train", TORCH], True),
        (["cd /job && conda activate train", TORCH], True),
        (["micromamba activate train", TORCH], True),
        (["source /opt/conda/etc/profile.d/conda.sh", "conda activate train", TORCH], False),
        (['eval "$(conda shell.bash hook)"', "conda activate train", TORCH], False),
        (["source ~/.bashrc", "conda activate train", TORCH], False),
        (["module load anaconda", "conda activate train", TORCH], False),
        ([TORCH, "conda activate report"], False),
        (["# conda activate train", TORCH], False),
        (["conda run -n train " + TORCH], False),
    ],
)
def test_an_environment_that_only_a_login_shell_knows(lines, wrong):
    assert ids(case(script(*lines))) == ({("env-not-activated", "warn"): BOTH} if wrong else {})


def test_a_login_shell():
    kind, text = script("conda activate train", TORCH)
    assert ids(case((kind, text.replace("#!/bin/bash", "#!/bin/bash -l")))) == {}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("srun -N1 -n1 -w node1 ray start --head --port=6379 &", True),
        ("docker run --network host image ray start --address=node1:6379", True),
        ("srun -N1 -n1 -w node1 ray start --head --port=6379 --block &", False),
        ("srun -N1 -n1 -w node1 bash -c 'ray start --address=node1:6379 && sleep infinity' &", False),
        ("srun -N1 -n1 -w node1 ray start $RAY_ARGS &", False),
        ("ssh node2 ray start --address=node1:6379", False),
        ("ray start --head", False),
    ],
)
def test_ray_in_a_task_that_ends(line, wrong):
    assert (("ray-start-ends", "fail") in ids(case(script(line)))) is wrong
