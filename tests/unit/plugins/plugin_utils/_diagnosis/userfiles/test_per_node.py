# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import own_rank, per_node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.per_node import DRAWN, OWN, TIMED


@pytest.mark.parametrize(
    ("written", "how"),
    [
        ("$RANDOM", DRAWN),
        ("$(python -c 'import uuid; print(uuid.uuid4())')", DRAWN),
        ("$(date +%s)", TIMED),
        ("$(date)", TIMED),
        ("$EPOCHSECONDS", TIMED),
        ("$(date +%F)", ""),
        ("date", ""),
        ("$(hostname -I | cut -d' ' -f1)", OWN),
        ("${HOSTNAME}", OWN),
        ("$(ip route get 1.1.1.1 | awk '{print $7}')", OWN),
        ("$(curl -s ifconfig.me)", OWN),
        ("$(scontrol show hostname $LIST | head -1)", ""),
        ("$(srun -N1 -w $HEAD hostname -i)", ""),
        ("$(ssh node1 hostname -i)", ""),
        ("$(head -1 hostfile)", ""),
        ("$MASTER_ADDR", ""),
        ("10.0.0.1", ""),
    ],
)
def test_what_comes_out_differently(written, how):
    assert per_node.computed(written) == how


def test_defaults():
    assert per_node.default_of("${A:-$(hostname)}") == ("A", "$(hostname)")
    assert per_node.default_of("${A:-1}${B:-2}") is None
    assert per_node.without_default("x${A:-${B:-1}}y${C:-2}") == "x$Ay$C"
    assert not per_node.outside("10.0.0.1")
    assert per_node.outside("$1")


@pytest.mark.parametrize(
    ("written", "ranks"),
    [
        ("${HOSTNAME##*-}", (None, 3)),
        ("${HOSTNAME#gpu}", (2, None)),
        ("${HOSTNAME: -1}", (2, 3)),
        ("${HOSTNAME//[!0-9]/}", (2, 3)),
        ("$(hostname | grep -oE '[0-9]+$')", (2, 3)),
        ("$(hostname | sed 's/[^0-9]*//g')", (2, 3)),
        ("$(( $(hostname | tail -c 2) - 1 ))", (1, 2)),
        ("$(hostname -s | cut -d- -f2)", (None, 3)),
        ("$(hostname | tr -dc '0-9')", (2, 3)),
        ("$(echo $HOSTNAME | awk -F'gpu' '{print $2}')", (2, None)),
        ("$(hostname | python rank.py)", (None, None)),
        ("$SLURM_NODEID", (None, None)),
    ],
)
def test_ranks_of_names(written, ranks):
    assert (own_rank.of(written, "gpu2"), own_rank.of(written, "gpu-3.example.org")) == ranks
