# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark of scale counts and shows; its measurements are not run here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import changes, cluster, role_inputs
from ansible_collections.trainmesh.cluster.tests.bench.scale import code, meter, plot, simulated, tables
from ansible_collections.trainmesh.cluster.tests.bench.scale.connection_plugins import from_files
from ansible_collections.trainmesh.cluster.tests.unit.samples import clusters

RUN = {
    "wall_s": 40.0,
    "controller_cpu_s": 10.0,
    "nodes_cpu_s": 20.0,
    "starts": {"median": 5.0, "mean": 5.1, "most": 7},
    "executions": {"median": 9.0, "mean": 9.0, "most": 12},
    "network_bytes": {"mean": 400_000.0},
    "tasks_cpu_s": {"Gather facts": 3.0},
}
MACHINE = {"cores": 2, "memory_gib": 16, "cpu_counted_by": "cgroup v2, cpu.stat"}


def results(**measurements):
    return {"machine": MACHINE, "date": "2026-01-01", "ansible": "2.19.0", "measurements": measurements}


def met(found):
    """{title: whether it is met} of what was measured."""
    return {row.title: row.met(row.value) for row in tables.bars(found) if row.value is not None}


def test_bars_are_of_the_largest_real_cluster_and_of_one_run():
    ping, dead = {**RUN, "controller_cpu_s": 4.0}, {**RUN, "wall_s": 56.0, "living_wall_s": 40.0, "dead": 3}
    small = {"site": {**RUN, "starts": {"median": 99}}}
    large = {"site": RUN, "no_change": RUN, "ping": ping, "dead": dead}
    found = met(tables.Measured(results(real={"4": small, "32": large})))
    assert found == {
        "module starts a node, no-change site.yml without jobs, verify included": True,
        "task executions a node, no-change site.yml without jobs, verify included": False,
        "no-change set-up at 32 nodes, controller CPU, to `ansible all -m ping`": True,
        "dead nodes, 3 of 32, wall time beyond a run where all live": False,
    }


def test_the_usual_playbook_is_compared_with_controller_and_nodes():
    usual = {**RUN, "controller_cpu_s": 100.0, "nodes_cpu_s": 600.0}
    ours, theirs = {"first": RUN, "no_change": RUN}, {"usual_first": usual, "usual_again": RUN}
    found = tables.bars(tables.Measured(results(real={"8": ours}, usual={"8": theirs})))
    values = [row.value for row in found if row.title.startswith("usual playbook at 8 nodes")]
    assert values == [pytest.approx(700 / 30), 1]


def test_what_failed_is_told_and_the_rest_shown():
    broken = {"failed_because": "MeasurementError: exit status 2"}
    text = tables.report(results(real={"4": {"first": RUN, "site": {**RUN, "findings": ["clock"]}, "dead": broken}}))
    assert "| 4 | with dead nodes: failed | - |" in text
    assert "real, 4 nodes, dead: failed: MeasurementError: exit status 2" in text
    assert "real, 4 nodes, site: findings on healthy nodes: clock" in text
    assert "| 4 | first run | 40.0 | 10.0 | 20.0 | 5 | 9 | 400 |" in text


def test_nothing_measured_is_no_error():
    assert tables.MISSING in tables.report(results())


def test_the_plot_is_a_picture_with_the_name_of_each_series():
    root = ET.fromstring(plot.svg("a & b", "nodes", "s", {"one <": [(4, 1.0), (8, 3.0)], "two": [(4, 0.5)]}))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a & b", "one <", "two", "4", "8"} <= set(texts)


def test_a_simulated_node_on_which_all_is_as_planned_has_nothing_to_change():
    plan = cluster.make([clusters.host(number) for number in (1, 2, 3)], clusters.options(), {})
    desired = changes.Desired({**plan, "identity": "abcdef12"}, "key", role_inputs.launch_scripts())
    for name in plan["order"]:
        found = changes.changes(desired, name, simulated.present(desired, name), changes.Given())
        assert not [change for change in found if change.role in changes.AT_ONCE]
    other = simulated.present(desired, "node2")
    assert changes.changes(desired, "node1", other, changes.Given())


def test_a_simulated_node_answers_for_the_module_that_it_is_sent(tmp_path):
    (tmp_path / "node1").mkdir()
    (tmp_path / "node1/ping.json").write_text('{"ping": "from a file"}')
    plugins = {"ANSIBLE_CONNECTION_PLUGINS": from_files.__file__.rpartition("/")[0], "ANSIBLE_PIPELINING": "1"}
    command = [sys.executable, "-m", "ansible", "adhoc", "all", "-i", "node1,", "-c", "from_files", "-m", "ping"]
    # However the configuration of whoever runs this shows results.
    plugins["ANSIBLE_CALLBACK_RESULT_FORMAT"] = "json"
    places = {"ANSIBLE_HOME": str(tmp_path), "TRAINMESH_BENCH_ANSWERS": str(tmp_path)}
    environment = {**os.environ, **plugins, **places, "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert '"ping": "from a file"' in done.stdout, done.stdout + done.stderr


def test_texts_of_the_plan_grow_with_the_nodes_and_facts_do_not():
    few, more = code.texts(4), code.texts(8)
    assert few["texts_bytes"] < more["texts_bytes"] and few["facts_bytes"] == more["facts_bytes"]


@pytest.mark.parametrize(("file", "text"), [("cpuacct.usage", "1500000000\n"), ("cpu.stat", "usage_usec 1500000\n")])
def test_cpu_is_read_from_either_version_of_control_groups(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    assert meter.Group(tmp_path).seconds() == 1.5


def test_a_command_is_ended_with_all_that_it_started():
    process = subprocess.Popen(["sh", "-c", "sleep 600 & wait"], start_new_session=True, stdout=subprocess.PIPE)
    meter.end(process)
    assert process.returncode == -signal.SIGINT
    assert process.stdout.read() == b""  # comes when the last of them has ended
    process.stdout.close()
