# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How busy a node was: both kinds of control groups, load, stolen time."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import load


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def stat(user=100, idle=800, steal=0):
    return f"cpu  {user} 0 50 {idle} 0 0 0 {steal} 0 0\ncpu0 1 1 1 1\n"


V2 = (
    "0::/system.slice/ssh.service\n",
    "sys/fs/cgroup/system.slice/cpu.stat",
    "nr_throttled {n}\nthrottled_usec {us}\n",
)
V1 = ("4:cpu,cpuacct:/\n", "sys/fs/cgroup/cpu,cpuacct/cpu.stat", "nr_throttled {n}\nthrottled_time {us}000\n")
# the path is the host's, the mount shows the container's part
OUTER = (
    "4:cpu:/docker/abc/system.slice\n1:name=systemd:/x\n",
    "sys/fs/cgroup/cpu/system.slice/cpu.stat",
    V1[2],
)


@pytest.mark.parametrize(("groups", "place", "text"), [V2, V1, OUTER])
def test_throttling_is_read_from_either_kind_of_control_group(tmp_path, groups, place, text):
    write(tmp_path, {"proc/self/cgroup": groups, place: text.format(n=1, us=1000000)})
    before = load.sample(str(tmp_path))
    write(tmp_path, {place: text.format(n=40, us=9000000)})
    after = load.sample(str(tmp_path))._replace(at=before.at + 10)
    assert load.between(before, after, 2)["throttled"] == 0.8


def test_load_and_stolen_time(tmp_path):
    write(tmp_path, {"proc/loadavg": "3.50 1.0 1.0 2/100 5\n", "proc/stat": stat()})
    before = load.sample(str(tmp_path))
    write(tmp_path, {"proc/loadavg": "1.00 1.0 1.0 2/100 5\n", "proc/stat": stat(150, 825, 25)})
    after = load.sample(str(tmp_path))._replace(at=before.at + 4)
    found = load.between(before, after, 8)
    assert found == {"load1": 3.5, "cores": 8, "throttled": None, "stolen": 0.333, "seconds": 4.0}


def test_a_node_that_tells_nothing_is_unknown_and_breaks_nothing(tmp_path):
    write(tmp_path, {"proc/loadavg": "odd\n", "proc/stat": "cpu x\n", "proc/self/cgroup": "nonsense\n"})
    found = load.between(load.sample(str(tmp_path)), load.sample(str(tmp_path)), 1)
    assert (found["load1"], found["throttled"], found["stolen"]) == (None, None, None)


def test_this_very_node_has_a_load():
    report = load.Watch().report()
    assert report["load1"] is not None and report["cores"] >= 1
