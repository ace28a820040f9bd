# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.server
import threading

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.apt import Apt
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.dnf import Dnf
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.system import System
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver_sources
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_sources import Wish
from ansible_collections.trainmesh.cluster.tests.unit.plugins.module_utils._software.test_openpgp import (
    ONE,
    TWO,
    fingerprint,
    key,
)

DEBIAN = System("debian", "12", "bookworm", "Debian 12", "x86_64")
URL = "http://mirror.example/debian12"


class Room(Apt):
    """apt that reads no list."""

    def __init__(self, told: str = "") -> None:
        super().__init__()
        self.told, self.prepared = told, []

    def prepare(self, files):
        self.prepared.append(files)

    def refresh(self):
        return self.told


def wish(**changes) -> Wish:
    values = {"branch": "570", "source": "vendor", "module": "auto", "repository": URL, "key": ONE, "key_url": ""}
    values |= {"fingerprint": fingerprint(key(1)), "kernel": "", "limit": 10.0}
    return Wish(**{**values, **changes})


@pytest.fixture(autouse=True)
def own(monkeypatch):
    """The sources that the node has."""
    found: dict[str, str] = {}
    monkeypatch.setattr(driver_sources.deb_sources, "signed_by", lambda *_words: found)
    return found


def test_the_source_names_the_one_key_it_is_signed_with():
    room = Room()
    wanted = driver_sources.open_sources(room, wish(), DEBIAN)
    source = wanted[driver_sources.SOURCE].decode()
    assert f"URIs: {URL}\nSuites: /\nSigned-By: {driver_sources.KEYRING}\n" in source
    assert wanted[driver_sources.KEYRING] == ONE
    assert room.prepared == [wanted]


class Repositories(Dnf):
    """dnf that reads no list."""

    def __init__(self, etc, told: str = "") -> None:
        super().__init__(etc=str(etc))
        self.told, self.prepared = told, []

    def prepare(self, files):
        self.prepared.append(files)

    def refresh(self):
        return self.told


ROCKY = System("rhel", "9.4", "", "Rocky Linux 9.4", "x86_64")


def test_a_repository_of_dnf_names_the_one_key_in_text_form(tmp_path):
    room = Repositories(tmp_path)
    wanted = driver_sources.open_sources(room, wish(), ROCKY)
    text = wanted[driver_sources.RPM_SOURCE].decode()
    assert f"baseurl={URL}\n" in text and "gpgcheck=1\n" in text
    assert f"gpgkey=file://{driver_sources.RPM_KEY}\n" in text
    assert wanted[driver_sources.RPM_KEY].startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n")
    assert room.prepared == [wanted]


def test_a_repository_of_dnf_that_the_user_has_already(tmp_path):
    (tmp_path / "cuda.repo").write_text(f"[cuda-rhel9]\nbaseurl = {URL}/\nenabled=1\n")
    room = Repositories(tmp_path)
    assert driver_sources.open_sources(room, wish(key=b""), ROCKY) == {}
    assert "--setopt=cuda-rhel9.module_hotfixes=1" in room._options()


def test_a_repository_of_dnf_that_can_not_be_read(tmp_path):
    told = "Error: Failed to download metadata for repo 'other': x\nError: Failed to download metadata for repo "
    with pytest.raises(Fault, match=r"could not be read: Error: .*'trainmesh-nvidia': 404$"):
        driver_sources.open_sources(Repositories(tmp_path, f"{told}'trainmesh-nvidia': 404"), wish(), ROCKY)
    assert driver_sources.open_sources(Repositories(tmp_path, told.splitlines()[0]), wish(), ROCKY)


def test_a_key_that_is_not_known_here_is_asked_for(tmp_path):
    ten = ROCKY._replace(version="10.0")
    with pytest.raises(Fault, match=r"fingerprint .* is not known here: set trainmesh_driver_key_fingerprint"):
        driver_sources.open_sources(Repositories(tmp_path), wish(fingerprint=""), ten)
    fedora = ROCKY._replace(family="fedora", version="43")
    with pytest.raises(Fault, match="set trainmesh_driver_key to its URL or file"):
        driver_sources.open_sources(Repositories(tmp_path), wish(key=b""), fedora)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fingerprint": ""}, r"expected the key EB693B30.* alone, found .*trainmesh_driver_key_fingerprint"),
        ({"key": TWO}, "alone"),
        ({"key": b"<html>"}, "no OpenPGP public key"),
    ],
)
def test_a_key_that_is_not_the_pinned_one(changes, told):
    room = Room()
    with pytest.raises(Fault, match=told):
        driver_sources.open_sources(room, wish(**changes), DEBIAN)
    assert room.prepared == []


def test_a_repository_that_the_user_has_already_is_left_as_it_is(own):
    own[URL] = "/usr/share/keyrings/cuda-archive-keyring.gpg"
    assert driver_sources.open_sources(Room(), wish(repository=f"{URL}/"), DEBIAN) == {}


def test_a_repository_that_can_not_be_read():
    room = Room(f"E: The repository '{URL}  Release' is not signed.\nW: Failed to fetch http://other.example")
    with pytest.raises(Fault, match=r"could not be read: E: The repository .* is not signed\.$"):
        driver_sources.open_sources(room, wish(), DEBIAN)


def test_a_distribution_without_a_repository_of_the_vendor():
    with pytest.raises(Fault, match="trainmesh_driver_source: distribution"):
        driver_sources.open_sources(Room(), wish(repository=""), DEBIAN._replace(version="11"))


def test_a_key_that_was_cut_off():
    class Half(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"x" * 50)

        def log_message(self, *_words):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Half)
    threading.Thread(target=server.handle_request, daemon=True).start()
    with pytest.raises(Fault, match=r"cut off|could not be read"):
        driver_sources.fetch(f"http://127.0.0.1:{server.server_port}/key.pub")
    server.server_close()
