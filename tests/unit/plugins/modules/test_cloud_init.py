# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import cloud_init as apply_cloud_init
from ansible_collections.trainmesh.cluster.plugins.modules import cloud_init
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

CFG = "preserve_hostname: false\nmanage_etc_hosts: true\ncloud_init_modules:\n - update_etc_hosts\n"


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr(apply_cloud_init, "ROOT", str(tmp_path))
    for name, text in {"usr/bin/cloud-init": "", "etc/cloud/cloud.cfg": CFG}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def drop_in(node):
    return node / "etc/cloud/cloud.cfg.d/99-trainmesh.cfg"


def test_it_is_written_once_and_removed(node, capsys):
    looked = modules.run(cloud_init, capsys, check=True)
    assert looked["changed"] and not drop_in(node).exists()
    first = modules.run(cloud_init, capsys)
    assert first["diff"] == looked["diff"] and first["lines"] == ["manage_etc_hosts: false", "preserve_hostname: true"]
    assert drop_in(node).read_text().splitlines()[1:] == first["lines"]
    assert drop_in(node).stat().st_mode & 0o777 == 0o644
    assert modules.run(cloud_init, capsys)["changed"] is False
    assert modules.run(cloud_init, capsys, check=True, state="absent")["changed"] and drop_in(node).exists()
    assert modules.run(cloud_init, capsys, state="absent")["changed"] and not drop_in(node).exists()
    assert modules.run(cloud_init, capsys, state="absent")["changed"] is False


def test_what_was_edited_or_is_not_needed_any_more_is_put_right(node, capsys):
    modules.run(cloud_init, capsys)
    drop_in(node).write_text(drop_in(node).read_text().replace("false", "true"))
    assert modules.run(cloud_init, capsys)["changed"] and "manage_etc_hosts: false\n" in drop_in(node).read_text()
    (node / "usr/bin/cloud-init").unlink()
    assert modules.run(cloud_init, capsys)["changed"] and not drop_in(node).exists()
    assert modules.run(cloud_init, capsys)["changed"] is False


@pytest.mark.parametrize("text", ["", "manage_etc_hosts: localhost\n"])
def test_one_of_others_is_refused_and_stays(node, capsys, text):
    drop_in(node).parent.mkdir()
    drop_in(node).write_text(text)
    answer = modules.run(cloud_init, capsys)
    assert answer["failed"] and "99-trainmesh.cfg: expected no file, or ours" in answer["msg"]
    assert modules.run(cloud_init, capsys, state="absent")["changed"] is False
    assert drop_in(node).read_text() == text


def test_one_of_others_that_says_it_all_is_enough(node, capsys):
    drop_in(node).parent.mkdir()
    drop_in(node).write_text("manage_etc_hosts: false\npreserve_hostname: true\n")
    assert modules.run(cloud_init, capsys)["changed"] is False


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(cloud_init, monkeypatch)
