# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installer of conda is fetched once, checked, and kept."""

from __future__ import annotations

import hashlib
import pathlib

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import fetch
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.conda import MINIFORGE, Installer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.index import Index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools

TEXT = b"#!/bin/sh\necho installer\n"
SHA = hashlib.sha256(TEXT).hexdigest()
URL = "https://me:canary@mirror.example/conda/Miniforge3-Linux-x86_64.sh"


@pytest.fixture
def served(monkeypatch):
    """What each address has; what was fetched is in ``fetched``."""
    places: dict[str, bytes] = {}
    fetched: list[str] = []

    def get(url, target, _index):
        fetched.append(url)
        if url not in places:
            raise ToolError(f"{url} could not be fetched")
        pathlib.Path(target).write_bytes(places[url])

    monkeypatch.setattr(fetch, "fetch", get)
    return places, fetched


def installer(tmp_path, *words):
    return Installer(str(tmp_path), Tools("", "", _index=Index(), insecure=True), *words)


def test_without_a_setting_it_is_miniforge_with_the_checksum_of_its_publisher(tmp_path, served):
    places, fetched = served
    url = MINIFORGE.format("aarch64")
    places.update({url: TEXT, f"{url}.sha256": f"{SHA}  ./Miniforge3-Linux-aarch64.sh\n".encode()})
    path = installer(tmp_path).get("aarch64")
    assert pathlib.Path(path).read_bytes() == TEXT and path.endswith(
        f"/lock/conda/{SHA[:9]}-Miniforge3-Linux-aarch64.sh"
    )
    assert installer(tmp_path).get("aarch64") == path and fetched == [url, f"{url}.sha256"], "and once only"
    assert installer(tmp_path).problem("aarch64") == ""


@pytest.mark.parametrize("published", ["0" * 64, "<html>not found</html>"])
def test_another_file_than_published_is_not_kept(tmp_path, served, published):
    url = MINIFORGE.format("x86_64")
    served[0].update({url: TEXT, f"{url}.sha256": published.encode()})
    with pytest.raises(ToolError, match=r"publisher|names no checksum"):
        installer(tmp_path).get("x86_64")
    assert list((tmp_path / "lock/conda").iterdir()) == []


def test_a_url_needs_the_checksum_that_was_set(tmp_path, served):
    served[0][URL] = TEXT
    with pytest.raises(ToolError, match="would be run without a check") as caught:
        installer(tmp_path, URL).get("x86_64")
    assert "canary" not in str(caught.value)
    with pytest.raises(ToolError, match=f"has the checksum sha256:{SHA}, and trainmesh_conda_installer_checksum asks"):
        installer(tmp_path, URL, "sha256:" + "0" * 64).get("x86_64")
    assert list((tmp_path / "lock/conda").iterdir()) == []
    good = installer(tmp_path, URL, f"sha512:{hashlib.sha512(TEXT).hexdigest().upper()}").get("x86_64")
    assert pathlib.Path(good).read_bytes() == TEXT


def test_a_kept_one_that_was_exchanged_or_is_no_longer_asked_for_is_fetched_anew(tmp_path, served):
    places, fetched = served
    places[URL] = TEXT
    path = pathlib.Path(installer(tmp_path, URL, f"sha256:{SHA}").get("x86_64"))
    path.write_bytes(TEXT + b"rm -rf /\n")
    assert installer(tmp_path, URL, f"sha256:{SHA}").kept("x86_64") == ""
    assert installer(tmp_path, URL, f"sha256:{SHA}").get("x86_64") == str(path) and path.read_bytes() == TEXT
    places[URL] = b"newer\n"
    newer = installer(tmp_path, URL, f"sha256:{hashlib.sha256(b'newer' + bytes([10])).hexdigest()}")
    assert pathlib.Path(newer.get("x86_64")).read_bytes() == b"newer\n" and fetched == [URL] * 3


def test_a_file_of_the_controller_is_used_where_it_is_and_checked(tmp_path, served):
    path = tmp_path / "m.sh"
    path.write_bytes(TEXT)
    assert installer(tmp_path, str(path)).get("x86_64") == str(path)
    assert installer(tmp_path, str(path), f"sha256:{SHA}").get("x86_64") == str(path)
    with pytest.raises(ToolError, match="asks for sha256:0000"):
        installer(tmp_path, str(path), "sha256:" + "0" * 64).get("x86_64")
    assert served[1] == []
