# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes with one home are known, and no others; one of them writes its files."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import shared_home

NFS = {"inode": 77, "device": 40, "fs_type": "nfs4", "source": "192.0.2.11:/home", "local": False}
DISK = {"inode": 77, "device": 66304, "fs_type": "xfs", "source": "/dev/md0", "local": True}


def places(*directories, keys=None):
    return [
        shared_home.Place(
            f"gpu{at}",
            {"machine": f"boot-{at}", **directory},
            (keys or {}).get(at, "ssh-ed25519 A"),
            {f"192.0.2.{10 + at}"},
            {f"gpu{at}"},
        )
        for at, directory in enumerate(directories, 1)
    ]


@pytest.mark.parametrize(
    ("given", "groups"),
    [
        (places(NFS, NFS, NFS), [["gpu1", "gpu2", "gpu3"]]),
        (places(DISK, NFS, NFS), [["gpu1", "gpu2", "gpu3"]]),  # the first one exports it
        (places(NFS, {**NFS, "source": "filer.example.org:/home"}), [["gpu1", "gpu2"]]),  # one server, two names
        (
            places(
                {**NFS, "fs_type": "lustre", "source": "10.0.0.5@tcp:/fs"},
                {**NFS, "fs_type": "lustre", "source": "10.0.0.6@tcp:/fs"},
            ),
            [["gpu1", "gpu2"]],
        ),
        (places({**DISK, "machine": "one"}, {**DISK, "machine": "one"}), [["gpu1", "gpu2"]]),  # containers
        (places(NFS, NFS, {**NFS, "inode": 78}, {**NFS, "inode": 78}), [["gpu1", "gpu2"], ["gpu3", "gpu4"]]),
        (places(DISK, {**NFS, "source": "gpu1:/home"}), [["gpu1", "gpu2"]]),
    ],
)
def test_one_home(given, groups):
    assert shared_home.groups(given) == groups


@pytest.mark.parametrize(
    "given",
    [
        places(DISK, DISK),  # machines from one image have the same inodes
        places(NFS, NFS, keys={1: "ssh-ed25519 B"}),
        places(NFS, {**NFS, "inode": 78}),
        places(NFS, {**NFS, "source": "192.0.2.11:/export"}),
        places(DISK, {**NFS, "source": "192.0.2.99:/home"}),  # a filer exports it, and a disk has the same inode
        places({**DISK, "machine": "one"}, {**DISK, "machine": "one", "device": 9}),
        places(NFS, {}),
        places(NFS),
        [],
    ],
)
def test_homes_of_their_own(given):
    assert shared_home.groups(given) == []
