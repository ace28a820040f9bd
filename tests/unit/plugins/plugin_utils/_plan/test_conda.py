# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose terms count for the packages of conda."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import conda

MINICONDA = "https://mirror.example/miniconda/Miniconda3-py311_24.1.2-0-Linux-x86_64.sh"


@pytest.mark.parametrize(
    ("installer", "channels", "words"),
    [
        ("", [], "Miniforge"),
        (MINICONDA, [], "the default channels of Miniconda3-py311"),
        ("/srv/Anaconda3-2025.06-Linux-x86_64.sh", [], "the default channels of Anaconda3"),
        ("", ["conda-forge", "defaults"], "conda: defaults: Anaconda's terms"),
        ("/srv/Miniforge3.sh", ["https://repo.anaconda.com/pkgs/main"], "https://repo.anaconda.com/pkgs/main"),
        (MINICONDA, ["pkgs/main"], "pkgs/main"),
    ],
)
def test_what_needs_a_licence_is_said(installer, channels, words):
    (said,) = conda.terms(installer, channels)
    assert words in said and ("200 people" in said) == (words != "Miniforge")


LOCK = """# platform: linux-64
@EXPLICIT
https://conda.anaconda.org/conda-forge/linux-64/python-3.11.9-hb806964_0_cpython.conda#293e33318b1ad3d2
https://conda.anaconda.org/conda-forge/noarch/python-dateutil-2.9.0-pyhd8ed1ab_0.conda#2cf4264fffb9e6ea
"""


def test_the_python_of_a_lock():
    assert conda.locked_python(LOCK) == "3.11"
    assert conda.locked_python("@EXPLICIT\nfile:///srv/linux-64/python-3.12.1-0.tar.bz2\n") == "3.12"


@pytest.mark.parametrize("text", ["", "name: env\ndependencies: [python=3.11]\n", LOCK.replace("python-3", "ruby-3")])
def test_another_file_is_no_lock(text):
    with pytest.raises(ValueError, match="conda list --explicit"):
        conda.locked_python(text)


@pytest.mark.parametrize(
    ("installer", "channels"),
    [
        ("/srv/Miniforge3.sh", []),
        (MINICONDA, ["conda-forge"]),
        (MINICONDA, ["https://mirror.example/conda-forge", "/srv/channel/main"]),
        ("/srv/installer.sh", ["https://conda.anaconda.org/conda-forge"]),
        ("/srv/installer.sh", ["https://my-repo.anaconda.com.example/x"]),
    ],
)
def test_others_are_accused_of_nothing(installer, channels):
    assert conda.terms(installer, channels) == []
