# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.server
import threading

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver_sources
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.apt import SoftwareError
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_sources import Wish
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.system import System
from ansible_collections.trainmesh.cluster.tests.unit.plugins.module_utils._software.test_openpgp import (
    ONE,
    TWO,
    fingerprint,
    key,
)

DEBIAN = System("debian", "12", "bookworm", "Debian 12", "x86_64")
URL = "http://mirror.example/debian12"


class Room:
    """apt that reads no list."""

    def __init__(self, told: str = "") -> None:
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
    source = wanted[f"/etc/apt/{driver_sources.SOURCE}"].decode()
    assert f"URIs: {URL}\nSuites: /\nSigned-By: {driver_sources.KEYRING}\n" in source
    assert wanted[driver_sources.KEYRING] == ONE
    inside = room.prepared[0]
    assert f"Signed-By: {driver_sources.ROOM}/key.gpg".encode() in inside[driver_sources.SOURCE]
    assert inside["key.gpg"] == ONE


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
    with pytest.raises(SoftwareError, match=told):
        driver_sources.open_sources(room, wish(**changes), DEBIAN)
    assert room.prepared == []


def test_a_repository_that_the_user_has_already_is_left_as_it_is(own):
    own[URL] = "/usr/share/keyrings/cuda-archive-keyring.gpg"
    assert driver_sources.open_sources(Room(), wish(repository=f"{URL}/"), DEBIAN) == {}


def test_a_repository_that_can_not_be_read():
    room = Room(f"E: The repository '{URL}  Release' is not signed.\nW: Failed to fetch http://other.example")
    with pytest.raises(SoftwareError, match=r"could not be read: E: The repository .* is not signed\.$"):
        driver_sources.open_sources(room, wish(), DEBIAN)


def test_a_distribution_without_a_repository_of_the_vendor():
    with pytest.raises(SoftwareError, match="trainmesh_driver_source: distribution"):
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
    with pytest.raises(SoftwareError, match=r"cut off|could not be read"):
        driver_sources.fetch(f"http://127.0.0.1:{server.server_port}/key.pub")
    server.server_close()
