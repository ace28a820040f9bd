# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-init will do at the next boot."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import cloud_init

MODULES = "cloud_init_modules:\n  - update_hostname\n  - update_etc_hosts\n"
CFG = "users:\n  - default\npreserve_hostname: false\nmanage_etc_hosts: true\n" + MODULES


def read(root: Path, files: dict[str, str]) -> dict[str, t.Any] | None:
    for name, text in {"usr/bin/cloud-init": "", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return cloud_init.read(Tree(str(root)))


def test_it_writes_the_file_of_names_anew(tmp_path: Path) -> None:
    assert read(tmp_path, {"etc/cloud/cloud.cfg": CFG}) == {
        "writes_hosts": True,
        "hosts_line": "/etc/cloud/cloud.cfg line 4: manage_etc_hosts: true",
        "keeps_name": False,
        "name_line": "/etc/cloud/cloud.cfg line 3: preserve_hostname: false",
        "given": False,
        "needs": ["manage_etc_hosts: false", "preserve_hostname: true"],
        "foreign": False,
    }


@pytest.mark.parametrize(
    ("files", "writes"),
    [
        ({"etc/cloud/cloud.cfg.d/99-x.cfg": "manage_etc_hosts: false\n"}, False),
        ({"etc/cloud/cloud.cfg.d/99-x.txt": "manage_etc_hosts: false\n"}, True),
        (
            {
                "etc/cloud/cloud.cfg.d/10-a.cfg": "manage_etc_hosts: false\n",
                cloud_init.GIVEN[1:]: "manage_etc_hosts: true\n",
            },
            True,
        ),
        ({"etc/cloud/cloud.cfg": CFG.replace("true", "localhost")}, False),
        ({"etc/cloud/cloud.cfg": CFG.replace("true", "template")}, True),
        ({"etc/cloud/cloud.cfg": CFG.replace("  - update_etc", "  # - update_etc")}, False),
        ({"etc/cloud/cloud.cfg": MODULES}, False),
        ({"etc/cloud/cloud.cfg": CFG.replace("update_etc_hosts", "update-etc-hosts")}, True),
        ({"etc/cloud/cloud.cfg": CFG.replace("update_etc_hosts", "[update_etc_hosts, always]")}, True),
        ({"etc/cloud/cloud.cfg": CFG.replace("update_etc_hosts", "[ update_etc_hosts, once-per-instance ]")}, False),
        ({"etc/cloud/cloud.cfg.d/50-modules.cfg": "cloud_init_modules:\n  - seed_random\n"}, False),
        ({"etc/cloud/cloud.cfg": "x: 1\n", "etc/cloud/cloud.cfg.d/50-modules.cfg": CFG}, True),
        ({cloud_init.VENDORS[1:]: "manage_etc_hosts: false\n"}, False),
        (
            {
                cloud_init.VENDORS[1:]: "manage_etc_hosts: true\n",
                "etc/cloud/cloud.cfg.d/99-x.cfg": "manage_etc_hosts: false\n",
            },
            True,
        ),
    ],
)
def test_the_last_word_counts(tmp_path: Path, files: dict[str, str], writes: bool) -> None:
    found = read(tmp_path, {"etc/cloud/cloud.cfg": CFG, **files})
    assert found and found["writes_hosts"] is writes


@pytest.mark.parametrize("file", ["etc/cloud/cloud-init.disabled", "run/cloud-init/disabled"])
def test_one_that_is_switched_off_does_nothing(tmp_path: Path, file: str) -> None:
    assert read(tmp_path, {"etc/cloud/cloud.cfg": CFG, file: ""}) is None
    assert cloud_init.read(Tree(str(tmp_path / "nowhere"))) is None


def test_what_the_vendor_gave_goes_above_the_files(tmp_path: Path) -> None:
    found = read(tmp_path, {"etc/cloud/cloud.cfg": CFG, cloud_init.VENDORS[1:]: "manage_etc_hosts: true\n"})
    assert found and found["given"] is True


OURS = cloud_init.OURS[1:]
HOSTS, NAME = "manage_etc_hosts: false", "preserve_hostname: true"


@pytest.mark.parametrize(
    ("files", "needs"),
    [
        ({}, [HOSTS, NAME]),
        ({"etc/cloud/cloud.cfg": CFG.replace("preserve_hostname: false", NAME)}, [HOSTS]),
        ({"etc/cloud/cloud.cfg": MODULES}, [NAME]),
        ({"etc/cloud/cloud.cfg.d/50-x.cfg": f"{HOSTS}\n{NAME}\n"}, []),
        # our own drop-in does not make itself superfluous, one of another does
        ({OURS: cloud_init.drop_in([HOSTS, NAME])}, [HOSTS, NAME]),
        ({OURS: f"{HOSTS}\n{NAME}\n"}, []),
        # what stands above ours decides
        ({cloud_init.GIVEN[1:]: "manage_etc_hosts: true\n"}, [NAME]),
        ({cloud_init.VENDORS[1:]: "preserve_hostname: false\n"}, [HOSTS]),
        ({"etc/cloud/cloud.cfg.d/99_custom.cfg": "manage_etc_hosts: true\n"}, [NAME]),
        ({"etc/cloud/cloud-init.disabled": ""}, []),
    ],
)
def test_a_drop_in_says_what_is_needed(tmp_path: Path, files: dict[str, str], needs: list[str]) -> None:
    read(tmp_path, {"etc/cloud/cloud.cfg": CFG, **files})
    assert cloud_init.drop_in_lines(Tree(str(tmp_path))) == needs


def test_with_our_drop_in_the_names_stay(tmp_path: Path) -> None:
    found = read(tmp_path, {"etc/cloud/cloud.cfg": CFG, OURS: cloud_init.drop_in([HOSTS, NAME])})
    assert found and (found["writes_hosts"], found["keeps_name"], found["foreign"]) == (False, True, False)
    found = read(tmp_path, {OURS: "# by hand\n"})
    assert found and (found["writes_hosts"], found["foreign"]) == (True, True)
