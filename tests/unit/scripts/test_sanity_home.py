# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of scripts/sanity_home.py: the pip settings and the bootstrap script of ansible-test's home."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.scripts.test_check_layout import load

sanity_home = load("sanity_home")


def test_the_installed_ansible_test_tells_the_name_of_its_bootstrap_script() -> None:
    assert sanity_home.bootstrap_name().startswith("get_pip_2")


def test_the_callers_pip_settings_are_carried_over(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "pip" / "pip.conf"
    config.parent.mkdir()
    config.write_text("[global]\nindex-url = https://mirror.example/one\ntimeout = 5\n[install]\nno-index = false\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/two%20")
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
    settings = sanity_home.caller_settings()
    assert settings.get("global", "index-url") == "https://mirror.example/two%20"
    assert settings.get("global", "timeout") == "5"
    assert settings.get("install", "no-index") == "false"
    assert not settings.has_option("global", "require-virtualenv")


def test_settings_are_for_their_owner_only(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a" / "pip.conf"
    sanity_home.write_if_changed(path, "one")
    sanity_home.write_if_changed(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
