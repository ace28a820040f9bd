# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib
import re

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.controller import PACKAGES, missing

META = pathlib.Path(__file__).parents[5] / "meta"


def faults(absent, installs=True, logs_in=True):
    return missing(
        installs, logs_in, lambda name: name not in absent, lambda name: None if name in absent else f"/usr/bin/{name}"
    )


def test_a_whole_controller():
    assert faults(()) == []


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        ("paramiko", "pip install paramiko"),
        ("yaml", "pip install PyYAML"),
        ("uv", "pip install uv"),
        ("ssh", "openssh-client"),
    ],
)
def test_what_is_missing_is_named_with_the_command(absent, words):
    (fault,) = faults((absent,))
    assert words in fault


def test_only_what_the_run_uses_is_needed():
    assert faults(("uv",), installs=False) == []
    assert faults(("ssh",), logs_in=False) == []


def test_execution_environments_get_the_same():
    declared = {
        re.split(r"[<>=~ ]", line)[0].lower()
        for line in (META / "ee-requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert {"pyyaml" if name == "yaml" else name for name in PACKAGES} | {"uv", "jmespath"} == declared
    assert "openssh-client" in (META / "ee-bindep.txt").read_text()
