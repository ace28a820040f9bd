# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NCCL's configuration gets our block and keeps every line of others."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.trainmesh.cluster.plugins.modules import nccl_conf
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented

BEGIN, END = b"# BEGIN trainmesh.cluster (managed block, edit outside of it)\n", b"# END trainmesh.cluster\n"
OURS = BEGIN + b"NCCL_SOCKET_IFNAME==eth0\n" + END


def run(capsys, path, settings, **more):
    with patch_module_args({"settings": settings, "path": str(path), **more}), pytest.raises(SystemExit):
        nccl_conf.main()
    return json.loads(capsys.readouterr().out)


def test_lines_of_others_stay_and_the_second_run_changes_nothing(tmp_path, capsys):
    path, theirs = tmp_path / "nccl.conf", b"NCCL_DEBUG=INFO\r\n# caf\xe9\x0c\nNCCL_IB_TC=106"
    path.write_bytes(theirs)
    assert run(capsys, path, ["NCCL_SOCKET_IFNAME==eth0"])["changed"] is True
    assert path.read_bytes() == theirs + b"\n" + OURS
    assert (tmp_path / "nccl.conf.before-trainmesh").read_bytes() == theirs
    assert run(capsys, path, ["NCCL_SOCKET_IFNAME==eth0"])["changed"] is False
    assert run(capsys, path, [])["changed"] is True
    assert path.read_bytes() == theirs + b"\n"


def test_a_dry_run_shows_what_would_be_written_and_writes_nothing(tmp_path, capsys):
    path = tmp_path / "nccl.conf"
    result = run(capsys, path, ["NCCL_SOCKET_IFNAME==eth0"], _ansible_check_mode=True, _ansible_diff=True)
    assert result["changed"] is True and result["diff"][0]["after"].encode() == OURS
    assert not path.exists()


def test_no_file_is_made_for_nothing(tmp_path, capsys):
    path = tmp_path / "nccl.conf"
    assert run(capsys, path, [])["changed"] is False
    assert not path.exists()


def test_a_new_file_can_be_read_by_the_job_user(tmp_path, capsys):
    path = tmp_path / "nccl.conf"
    run(capsys, path, ["NCCL_SOCKET_IFNAME==eth0"])
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("line", ["NCCL_DEBUG=INFO\nLD_PRELOAD=/tmp/x", "nothing", "NCCL_DEBUG=a b"])
def test_what_is_no_setting_is_refused(tmp_path, capsys, line):
    path = tmp_path / "nccl.conf"
    path.write_bytes(b"theirs\n")
    result = run(capsys, path, [line])
    assert result["failed"] and "is left as it is" in result["msg"]
    assert path.read_bytes() == b"theirs\n"


def test_marks_that_are_no_pair_are_refused(tmp_path, capsys):
    path = tmp_path / "nccl.conf"
    path.write_bytes(OURS + OURS)
    assert "expected one block" in run(capsys, path, [])["msg"]
    assert path.read_bytes() == OURS + OURS


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(nccl_conf, monkeypatch)
