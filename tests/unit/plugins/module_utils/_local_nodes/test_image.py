# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node image: its name follows its recipe, and it is made from the machine's own package source."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import LocalNodesError
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.image import (
    RECIPE_FILES,
    RECIPE_FILES_OF_RPM,
    RPM_BASE,
    SUITES,
    apt_sources,
    ensure_image,
    mmdebstrap_argv,
    packages_file,
    recipe_tag,
    suites_of,
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
    tags = {recipe_tag(str(recipe))}
    for name in RECIPE_FILES:
        (recipe / name).write_text("changed\n")
        tags.add(recipe_tag(str(recipe)))
    assert len(tags) == len(RECIPE_FILES) + 1


def test_the_name_is_the_same_for_the_same_recipe(recipe: Path) -> None:
    assert recipe_tag(str(recipe)) == recipe_tag(str(recipe))


def test_the_name_depends_on_the_base_and_stays_where_none_is_asked_for(recipe: Path) -> None:
    tags = {recipe_tag(str(recipe), base) for base in ("", "debian:11", "debian:12", "debian:13")}
    assert len(tags) == 4
    assert recipe_tag(str(recipe), "") == recipe_tag(str(recipe))


def test_deb822_keeps_the_release_and_drops_comments_others_and_disabled() -> None:
    assert apt_sources({"debian.sources": DEB822}, "bookworm", "bookworm") == {
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
    assert apt_sources({"sources.list": ONE_LINE}, "noble", "noble") == {
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
    assert suites_of("", text) == (name, name)


def test_the_command_names_packages_and_sources(recipe: Path) -> None:
    argv = mmdebstrap_argv(str(recipe), "bookworm", "/w/node.tar", ["/w/node.sources"], "packages.txt")
    assert "--include=systemd,udev" in argv
    assert argv[-3:] == ["bookworm", "/w/node.tar", "/w/node.sources"]


BOOKWORM = "ID=debian\nVERSION_CODENAME=bookworm\n"


@pytest.mark.parametrize(
    ("base", "suite"),
    [("", "bookworm"), ("debian:11", "bullseye"), ("debian:12", "bookworm"), ("debian:13", "trixie")],
)
def test_a_base_of_debian_is_a_suite_of_the_same_archive(base: str, suite: str) -> None:
    assert suites_of(base, BOOKWORM) == ("bookworm", suite)


@pytest.mark.parametrize(
    ("base", "os_release", "words"),
    [
        ("fedora:41", BOOKWORM, "registry.*debian:11, debian:12, debian:13"),
        ("debian", BOOKWORM, "registry"),
        ("ubuntu:24.04", BOOKWORM, "source of 'bookworm'"),
        ("debian:12", "ID=ubuntu\nVERSION_CODENAME=noble\n", "source of 'noble'"),
        ("debian:13", "ID=linuxmint\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n", "source of 'noble'"),
        ("ubuntu:22.04", "ID=ubuntu\nVERSION_CODENAME=noble\n", "source of 'noble'"),
    ],
)
def test_a_base_that_the_source_does_not_hold_is_refused(base: str, os_release: str, words: str) -> None:
    with pytest.raises(LocalNodesError, match=words):
        suites_of(base, os_release)


def test_the_own_release_of_ubuntu_is_had_by_its_name() -> None:
    assert suites_of("ubuntu:24.04", "ID=ubuntu\nVERSION_CODENAME=noble\n") == ("noble", "noble")
    assert "noble" in SUITES.values()


@pytest.mark.parametrize("suite", ["bullseye", "trixie"])
def test_deb822_is_turned_to_another_suite(suite: str) -> None:
    enabled = DEB822.replace("Enabled: no\n", "")
    found = apt_sources({"debian.sources": enabled}, "bookworm", suite)["sources"]
    assert f"Suites: {suite} {suite}-updates\n" in found
    assert f"Suites: {suite}-security\n" in found
    assert "bookworm" not in found
    assert found.count("Suites:") == 2  # the machine's own entry of trixie is not ours to add


def test_one_line_entries_are_turned_to_another_suite_and_keep_their_options() -> None:
    text = "deb [arch=amd64] http://m.example/debian bookworm main contrib\ndeb http://f.example/x bookworm stable\n"
    assert apt_sources({"sources.list": text}, "bookworm", "trixie")["list"] == (
        "deb [arch=amd64] http://m.example/debian trixie main contrib\n"
    )


def test_the_security_suite_of_old_releases_has_another_name() -> None:
    text = "deb http://m.example/debian-security buster/updates main\n"
    assert apt_sources({"sources.list": text}, "buster", "bullseye")["list"] == (
        "deb http://m.example/debian-security bullseye-security main\n"
    )
    assert apt_sources({"sources.list": text}, "buster", "buster")["list"] == text


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        ("/usr/share/keyrings/debian-archive-bookworm-stable.gpg", "/usr/share/keyrings/debian-archive-keyring.gpg"),
        ("/etc/apt/keyrings/mirror.gpg", "/etc/apt/keyrings/mirror.gpg"),
    ],
)
def test_a_key_of_one_release_gives_way_to_those_of_all(key: str, kept: str) -> None:
    text = f"deb [signed-by={key}] http://m.example/debian bookworm main\n"
    turned = apt_sources({"sources.list": text}, "bookworm", "trixie")["list"]
    assert turned == f"deb [signed-by={kept}] http://m.example/debian trixie main\n"
    assert apt_sources({"sources.list": text}, "bookworm", "bookworm")["list"] == text


def test_an_ordinary_container_has_packages_of_its_own(recipe: Path) -> None:
    (recipe / "packages_sshd.txt").write_text("openssh-server\n")
    argv = mmdebstrap_argv(str(recipe), "bookworm", "/w/node.tar", [], packages_file("sshd"))
    assert "--include=openssh-server" in argv


def test_the_recipe_of_an_ordinary_container_has_neither_systemd_nor_sudo() -> None:
    files = Path(__file__).parents[5] / "roles" / "local_nodes" / "files"
    names = {name: set((files / packages_file(name)).read_text().split()) for name in ("", "sshd")}
    assert names["sshd"] < names[""]
    assert names[""] - names["sshd"] >= {"systemd", "systemd-sysv", "sudo", "ufw", "firewalld"}


@pytest.mark.parametrize(
    ("base", "is_rpm"),
    [
        ("rockylinux/rockylinux:9", True),
        ("rockylinux:9", True),
        ("registry.example/almalinux:10", True),
        ("fedora:43", True),
        ("ubuntu:24.04", False),
        ("debian:12", False),
        ("registry.example/fedora-mirror/debian:12", False),
    ],
)
def test_which_bases_have_dnf(base: str, is_rpm: bool) -> None:
    assert bool(RPM_BASE.search(base)) is is_rpm


@pytest.mark.parametrize("init", ["", "+sshd"])
def test_a_base_of_the_rhel_family_is_built_with_its_own_recipe(recipe: Path, init: str) -> None:
    for name in RECIPE_FILES_OF_RPM:
        (recipe / name).write_text("systemd\n")
    calls: list[list[str]] = []

    class Host:
        def docker(self, *words: str, limit: float = 0) -> types.SimpleNamespace:
            calls.append(list(words))
            return types.SimpleNamespace(ok=words[0] != "image")

    base = "rockylinux/rockylinux:9"
    changed, tag, how = ensure_image(Host(), str(recipe), base + init, apply=True)  # type: ignore[arg-type]
    assert changed and how == f"built on {base}" and tag == recipe_tag(str(recipe), base + init)
    assert calls[-1][:6] == ["build", "-q", "--build-arg", f"BASE={base}", "-f", str(recipe / "Dockerfile.rpm")]
    before = recipe_tag(str(recipe), "debian:12")
    (recipe / "packages_rpm.txt").write_text("systemd\nrsync\n")
    assert recipe_tag(str(recipe), base + init) != tag
    assert recipe_tag(str(recipe), "debian:12") == before
