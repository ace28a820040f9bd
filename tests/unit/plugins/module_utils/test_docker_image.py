# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node image: its name follows its recipe, and it is made from the machine's own package source."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._docker_image import (
    RECIPE_FILES,
    apt_sources,
    code_name,
    mmdebstrap_argv,
    recipe_tag,
)

DEB822 = """\
Types: deb deb-src
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian
Suites: trixie
Components: main

Enabled: no
Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""
ONE_LINE = """\
# deb http://mirror.example/ubuntu noble main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/ubuntu noble main universe
deb-src http://mirror.example/ubuntu noble main
deb http://mirror.example/ubuntu noble-security main
deb cdrom:[Ubuntu] noble main
deb https://foreign.example/docker noble stable
deb https://foreign.example/tool tool-noble main
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for name in RECIPE_FILES:
        (tmp_path / name).write_text("systemd\nudev\n")
    return tmp_path


def test_the_name_changes_with_every_file_of_the_recipe(recipe: Path) -> None:
    tags = {recipe_tag(str(recipe), "1")}
    for name in RECIPE_FILES:
        (recipe / name).write_text("changed\n")
        tags.add(recipe_tag(str(recipe), "1"))
    assert len(tags) == len(RECIPE_FILES) + 1


def test_the_name_is_the_same_for_the_same_recipe(recipe: Path) -> None:
    assert recipe_tag(str(recipe), "1") == recipe_tag(str(recipe), "1")


def test_deb822_keeps_the_release_and_drops_comments_others_and_disabled() -> None:
    assert apt_sources({"debian.sources": DEB822}, "bookworm") == {
        "list": "",
        "sources": (
            "Types: deb\n"
            "URIs: http://mirror.example/debian\n"
            "Suites: bookworm bookworm-updates\n"
            "Components: main contrib\n"
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        ),
    }


def test_one_line_entries_of_others_are_left_out() -> None:
    assert apt_sources({"sources.list": ONE_LINE}, "noble") == {
        "list": (
            "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/ubuntu noble main universe\n"
            "deb http://mirror.example/ubuntu noble-security main\n"
        ),
        "sources": "",
    }


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nVERSION="12 (bookworm)"\n', "bookworm"),
        ("ID=linuxmint\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n", "noble"),
        ("ID=arch\n", ""),
    ],
)
def test_the_code_name_is_that_of_the_package_source(text: str, name: str) -> None:
    assert code_name(text) == name


def test_the_command_names_packages_and_sources(recipe: Path) -> None:
    argv = mmdebstrap_argv(str(recipe), "bookworm", "/w/node.tar", ["/w/node.sources"])
    assert "--include=systemd,udev" in argv
    assert argv[-3:] == ["bookworm", "/w/node.tar", "/w/node.sources"]
