# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import run


def test_a_process_was_started_between_before_and_after():
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=2)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        began = datetime.datetime.fromisoformat(run.began(child.pid))
        child.communicate(b"\n")
    assert before <= began <= datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)


def test_of_a_process_that_is_not_there_nothing_is_known():
    assert run.began(2**22 + 1) == ""


def test_the_inventory_is_named_by_its_file_and_directory(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"schema": "1"}))
    sources = ["/home/me/cluster/hosts.yml", "/home/me/more/", "hosts.yml", "node1,node2,"]
    found = run.about({"ansible_inventory_sources": sources}, str(tmp_path))
    assert found["inventory"] == "cluster/hosts.yml, me/more, hosts.yml, host list"
    assert found["last"] == {"schema": "1"} and found["started"] == run.began(os.getppid())
    assert run.about({}, "/nowhere")["inventory"] == ""
