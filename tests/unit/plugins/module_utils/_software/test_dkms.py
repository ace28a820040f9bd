# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import dkms

LOG = """\
DKMS make.log for nvidia-current-535.309.01 for kernel 6.18.0
  CC [M]  /var/lib/dkms/nvidia-current/535.309.01/build/nvidia/nv.o
nvidia/nv.c:12:10: fatal error: drm/drm_ioctl.h: No such file or directory
make[1]: *** [Makefile:1857: nvidia/nv.o] Error 1
"""


def test_the_source_is_the_drivers_and_of_the_version(tmp_path):
    for name, package in (("nvidia-current-535.1", "nvidia-current"), ("zfs-535.1", "zfs"), ("nvidia-470.1", "nvidia")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dkms.conf").write_text(f'PACKAGE_NAME="{package}"\n')
    assert dkms.sources("535.1", str(tmp_path)) == [("nvidia-current", "535.1")]


def test_why_a_build_failed_stands_in_its_log(tmp_path):
    log = tmp_path / "nvidia-current/535.309.01/build/make.log"
    log.parent.mkdir(parents=True)
    log.write_text(LOG)
    assert dkms.reason(str(tmp_path), "Bad return status").startswith("nvidia/nv.c:12:10: fatal error: drm/drm_ioctl.h")
    assert dkms.reason(str(tmp_path / "none"), "Error! no headers\n") == "Error! no headers"
    assert dkms.reason(str(tmp_path / "none"), "Sign command: x\nKey: y\nBuilding\nError!\nConsult") == (
        "Building; Error!; Consult"
    )
    log.write_text("make: *** /lib/modules/6.1/build: No such file or directory.  Stop.\n")
    assert "No such file or directory.  Stop." in dkms.reason(str(tmp_path), "Sign command: x\n")
    log.write_text(LOG)
    assert "drm/drm_ioctl.h" in dkms.failure("535.309.01", str(tmp_path)) and dkms.failure("570.1", str(tmp_path)) == ""


def test_the_new_module_is_built_beside_the_old_one(tmp_path):
    lines = []

    def unpack(_path, directory):
        place = tmp_path / "usr/src/nvidia-570.1"
        assert directory == str(tmp_path)
        place.mkdir(parents=True)
        (place / "dkms.conf").write_text("PACKAGE_NAME=nvidia\n")

    def run(argv, limit):
        lines.append(argv)
        return Outcome(10 if "build" in argv else 0, "", "Bad return status", False, False, 0)

    with pytest.raises(Fault, match=r"could not be built for kernel 6\.1: Bad return status"):
        dkms.trial(unpack, ["/room/nvidia-kernel-dkms_570.1.deb"], "570.1", "6.1", str(tmp_path), 10, run)
    assert ["--dkmstree", f"{tmp_path}/dkms"] == lines[-1][-4:-2] and lines[-1][-2:] == ["-k", "6.1"]
