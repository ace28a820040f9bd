# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What decides on names that stand in /etc/hosts."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._config.hosts_file import parse_hosts
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import name_service

HOSTS = "127.0.0.1 localhost\n10.0.0.12 node2.x node2\n"


def read(root: Path, answers: dict[str, list[str]], mode: int = 0o644, **files: str) -> dict[str, t.Any] | None:
    for name, text in {"etc__hosts": HOSTS, "etc__nsswitch.conf": "hosts: files dns\n", **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "etc/hosts").chmod(mode)
    rows = {name: {"addresses": found, "loopback": False, "error": None} for name, found in answers.items()}
    return name_service.read(Tree(str(root)), rows, parse_hosts(HOSTS))


def test_nothing_is_told_where_names_lead_as_the_file_says(tmp_path: Path) -> None:
    assert read(tmp_path, {"node2": ["10.0.0.12"], "node3": [], "NODE2": ["fd00::2", "10.0.0.12"]}) is None


def test_a_name_of_the_file_that_leads_nowhere(tmp_path: Path) -> None:
    found = read(
        tmp_path, {"node2": []}, **{"etc__nsswitch.conf": "# hosts: files\nhosts:\tdns [!UNAVAIL=return]  x # y\n"}
    )
    assert found == {
        "names": {"node2": {"line": 2, "address": "10.0.0.12"}},
        "mode": "0644",
        "switch": {
            "file": "/etc/nsswitch.conf",
            "line": 2,
            "text": "hosts: dns [!UNAVAIL=return] x # y",
            "sources": ["dns", "[!UNAVAIL=return]", "x"],
        },
        "resolved_reads_hosts": True,
        "nscd": False,
    }


def test_the_file_of_the_package_counts_where_the_administrator_has_none(tmp_path: Path) -> None:
    (tmp_path / "usr/etc").mkdir(parents=True)
    (tmp_path / "usr/etc/nsswitch.conf").write_text("hosts: dns\n")
    own = read(tmp_path, {"node2": []})
    assert own and own["switch"]["file"] == "/etc/nsswitch.conf"
    (tmp_path / "etc/nsswitch.conf").unlink()
    found = name_service.read(
        Tree(str(tmp_path)), {"node2": {"addresses": []}}, [{"line": 2, "address": "10.0.0.12", "names": ["node2"]}]
    )
    assert found and found["switch"] == {
        "file": "/usr/etc/nsswitch.conf",
        "line": 1,
        "text": "hosts: dns",
        "sources": ["dns"],
    }


def test_a_file_that_root_alone_may_read(tmp_path: Path) -> None:
    found = read(tmp_path, {"node2": ["10.0.0.12"]}, mode=0o600)
    assert found and found["mode"] == "0600" and found["names"] == {}


@pytest.mark.parametrize(
    ("files", "reads"),
    [
        ({"etc__systemd__resolved.conf": "[Resolve]\n#ReadEtcHosts=no\n"}, True),
        ({"etc__systemd__resolved.conf": "[Resolve]\nReadEtcHosts=no\n"}, False),
        ({"etc__systemd__resolved.conf.d__a.conf": "[Resolve]\nReadEtcHosts=false\n"}, False),
        (
            {
                "usr__lib__systemd__resolved.conf.d__a.conf": "ReadEtcHosts=no\n",
                "etc__systemd__resolved.conf.d__b.conf": "ReadEtcHosts=yes\n",
            },
            True,
        ),
    ],
)
def test_whether_resolved_reads_the_file(tmp_path: Path, files: dict[str, str], reads: bool) -> None:
    found = read(tmp_path, {"node2": []}, **files)
    assert found and found["resolved_reads_hosts"] is reads


def test_a_cache_that_runs(tmp_path: Path) -> None:
    found = read(tmp_path, {"node2": []}, **{"run__nscd__nscd.pid": "77\n", "proc__77__comm": "nscd\n"})
    assert found and found["nscd"] is True
    gone = read(tmp_path, {"node2": []}, proc__77__comm="bash\n")
    assert gone and gone["nscd"] is False
