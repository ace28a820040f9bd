# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts inside of containers, and through sudo."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import BOTH, case, ids, script

TORCH = "torchrun --nnodes=2 --nproc_per_node=8 --node_rank=$1 --master_addr=10.0.0.1 --master_port=29500 /t.py"
BRIDGE = ("ctr-bridge-network", "fail")
SMALL = ("shm-too-small", "warn")
NO_GPUS = ("ctr-without-gpus", "warn")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"docker run --rm --gpus all -v /job:/job image:1 {TORCH}", {BRIDGE, SMALL}),
        (f"docker run --rm --gpus all --ipc=host -p 29500:29500 image {TORCH}", {BRIDGE}),
        (f'docker run --gpus all --ipc host image bash -c "cd /job && {TORCH}"', {BRIDGE}),
        (f"podman run --network host --ipc=host image {TORCH}", {NO_GPUS}),
        ("docker run --gpus all image torchrun --nproc_per_node=8 /t.py", {SMALL}),
        (f"apptainer exec /s/image.sif {TORCH}", {NO_GPUS}),
        (f"singularity exec --bind /data /s/image.sif {TORCH}", {NO_GPUS}),
        (f"sudo {TORCH}", {("launch-through-sudo", "warn")}),
        (f"sudo -E {TORCH}", {("launch-through-sudo", "warn")}),
        (f"sudo -u trainer /env/bin/{TORCH}", {("launch-through-sudo", "warn")}),
    ],
)
def test_what_a_container_or_sudo_keeps_from_the_ranks(line, found):
    assert ids(case(script(line))) == dict.fromkeys(found, BOTH)


@pytest.mark.parametrize(
    "line",
    [
        f"docker run --rm --gpus all --net=host --shm-size=16g -v /job:/job image {TORCH}",
        f"docker run --runtime nvidia --network mesh -v /dev/shm:/dev/shm image {TORCH}",
        f"docker run $DOCKER_ARGS image {TORCH}",
        f"docker run $(cat /opts) image {TORCH}",
        f"sudo docker run --gpus all --network host --ipc host image {TORCH}",
        f"docker exec train {TORCH}",
        f"apptainer exec --nv /s/image.sif {TORCH}",
        f"APPTAINER_NV=1 apptainer exec /s/image.sif {TORCH}",
        f"sudo -E /env/bin/{TORCH}",
        f"sudo mkdir -p /out; {TORCH}",
    ],
)
def test_what_gives_them_all(line):
    assert ids(case(script(line))) == {}


def test_a_cluster_without_gpus():
    assert ids(case(script(f"apptainer exec /s/image.sif {TORCH}"), gpus=(0, 0))) == {}
