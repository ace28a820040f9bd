# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second index for builds of torch: real uv, and two indexes that a server of this machine has."""

from __future__ import annotations

import base64
import functools
import http.server
import pathlib
import threading
import zipfile

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import lockfile, torch_index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.index import Index, for_nodes
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.resolve import Resolver
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools

WISH = lockfile.Wish("3.11", "x86_64-manylinux_2_28", "cu126", ("torch==2.13.0+cu126", "deepspeed==0.19.8"), "cu126")
LOGIN = "Basic " + base64.b64encode(b"me:p@ss").decode()


def publish(place: pathlib.Path, name: str, version: str, *requires: str) -> None:
    """A wheel without content, and the page of the index that lists it."""
    place = place / name
    place.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    with zipfile.ZipFile(place / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    links = "".join(f'<a href="{one.name}">{one.name}</a>\n' for one in sorted(place.glob("*.whl")))
    (place / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


class Server(http.server.SimpleHTTPRequestHandler):
    """Asks for a login below /locked."""

    def do_GET(self) -> None:
        if self.path.startswith("/locked") and self.headers.get("Authorization") != LOGIN:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
            return
        super().do_GET()

    do_HEAD = do_GET

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address of a server with a first index, whose torch is the default build, and two with the build cu126."""
    place = tmp_path / "srv"
    publish(place / "main", "torch", "2.13.0", "numpy")
    publish(place / "main", "numpy", "2.1.0")
    publish(place / "main", "deepspeed", "0.19.8", "torch", "numpy")
    for index in ("torch", "locked"):
        publish(place / index / "cu126", "torch", "2.13.0+cu126", "numpy")
        publish(place / index / "cu126", "numpy", "9.9.0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    handler = functools.partial(Server, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def resolver(server, torch_url="", wish=WISH) -> Resolver:
    index = Index(default=f"http://{server}/main")
    tools = Tools(wish.python_version, wish.platform, _index=index, insecure=True, torch_index_url=torch_url)
    return Resolver(wish, tools, "", "")


@pytest.mark.parametrize("place", ["torch", "torch/", "torch/cu126"])
def test_torch_comes_from_there_and_nothing_else_does(server, tmp_path, place):
    packages, backend = resolver(server, f"http://{server}/{place}").resolve(str(tmp_path))
    assert {one.name: one.version for one in packages} == {
        "torch": "2.13.0+cu126",
        "deepspeed": "0.19.8",
        "numpy": "2.1.0",  # its own numpy is newer, and is not asked for
    }
    assert backend == "cu126"
    assert "/torch/cu126/" in next(one.wheels[0].url for one in packages if one.name == "torch")


def test_a_login_is_used_and_stands_in_no_file(server, tmp_path):
    packages, _backend = resolver(server, f"http://me:p%40ss@{server}/locked").resolve(str(tmp_path))
    assert len(packages) == 3
    assert not [path for path in tmp_path.glob("*.toml") if "p%40ss" in path.read_text() or "p@ss" in path.read_text()]


def test_the_packages_of_a_lock_are_found_again(server, tmp_path):
    one = resolver(server, f"http://{server}/torch")
    lock = lockfile.Lock((), "cu126", {name: lockfile.Pin(version, ()) for name, version in PINS.items()}, {})
    found = lockfile.parse_pylock(one.sources(str(tmp_path), lock))
    assert {each.name: each.version for each in found} == PINS


PINS = {"torch": "2.13.0+cu126", "deepspeed": "0.19.8", "numpy": "2.1.0"}


def test_an_index_without_the_build_is_named(server, tmp_path):
    wish = lockfile.Wish("3.11", WISH.platform, "cu130", ("torch==2.13.0+cu130", "deepspeed==0.19.8"), "cu130")
    with pytest.raises(ToolError) as caught:
        resolver(server, f"http://me:canary@{server}/torch", wish).resolve(str(tmp_path))
    message = str(caught.value)
    assert (
        f"The build cu130 of torch was looked for on trainmesh_torch_index_url too, http://****@{server}/torch/cu130"
        in (message)
    )
    assert "canary" not in message


def test_a_build_that_is_only_on_the_index_of_pytorch_is_said():
    said = torch_index.note(WISH, "", "", "error: dns error", lambda answer: answer)
    assert said.startswith(
        "The build cu126 of torch is only on PyTorch's own index, https://download.pytorch.org/whl/cu126, which says: "
    )
    assert "trainmesh_torch_index_url to a mirror of https://download.pytorch.org/whl" in said
    assert "pip has no-index here" in torch_index.note(WISH, "", "", None, str)
    default = lockfile.Wish("3.11", WISH.platform, "cu130", ("torch==2.13.0",), "cu130")
    assert torch_index.note(default, "", "", None, str) == ""


def test_the_address_of_a_build():
    assert torch_index.of_build("https://mirror.example/whl/", "cu126") == "https://mirror.example/whl/cu126"
    assert torch_index.of_build("https://mirror.example/whl/cpu/", "cu126") == "https://mirror.example/whl/cpu"


def test_pip_is_given_the_login_for_files_of_this_index_alone():
    url = "https://me:p%40ss@mirror.example/whl"
    assert torch_index.with_login("https://mirror.example/x.whl", url) == "https://me:p%40ss@mirror.example/x.whl"
    assert torch_index.with_login("https://other.example/x.whl", url) == "https://other.example/x.whl"


def test_nodes_are_told_the_mirror_in_the_place_of_the_backend():
    index = Index(default="https://first.example", extra=("https://second.example",))
    told = for_nodes(index, "cu126", "https://mirror.example/whl/cu126")
    assert told["extra"] == ["https://mirror.example/whl/cu126", "https://second.example"]
    assert told["torch_backend"] == ""
    assert for_nodes(index, "", "")["extra"] == ["https://second.example"], "and only where the lock needs it"
    assert for_nodes(index, "cu126")["torch_backend"] == "cu126"
