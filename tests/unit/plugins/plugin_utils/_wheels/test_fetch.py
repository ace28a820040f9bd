# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching one file of an index, from a real server."""

from __future__ import annotations

import base64
import http.server
import threading

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import fetch
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.index import Index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError


class Handler(http.server.BaseHTTPRequestHandler):
    """Notes who asked with which login; /away leads to the server's other name."""

    def do_GET(self):
        self.server.seen.append((self.headers["Host"], self.path, self.headers["Authorization"]))
        away = self.path == "/away"
        self.send_response(302 if away else 404 if self.path == "/none" else 200)
        if away:
            self.send_header("Location", f"http://localhost:{self.server.server_port}/file")
        self.end_headers()
        self.wfile.write(b"" if away else b"content")

    def log_message(self, *_args):
        """Say nothing."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.seen, made.place = [], f"127.0.0.1:{made.server_port}"
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def test_the_login_of_the_index_goes_to_its_host_and_to_no_other(server, tmp_path):
    index = Index(default=f"http://joe:p%40ss@{server.place}/simple")
    fetch.fetch(f"http://{server.place}/away", str(tmp_path / "a"), index)
    assert (tmp_path / "a").read_text() == "content"
    login = "Basic " + base64.b64encode(b"joe:p@ss").decode()
    assert [seen[1:] for seen in server.seen] == [("/away", login), ("/file", None)]
    fetch.fetch(f"http://localhost:{server.server_port}/file", str(tmp_path / "a"), index)
    assert server.seen[-1][2] is None


def test_files_of_this_machine_are_copied(tmp_path):
    (tmp_path / "a b").write_text("content")
    for place in (str(tmp_path / "a b"), f"file://{tmp_path}/a%20b"):
        fetch.fetch(place, str(tmp_path / "copy"), Index())
        assert (tmp_path / "copy").read_text() == "content"
        (tmp_path / "copy").unlink()


@pytest.mark.parametrize("path", ["none", "file"])
def test_a_failure_names_the_file_and_no_password(server, tmp_path, path):
    target = tmp_path / "deep" / "a.tar.gz" if path == "file" else tmp_path / "a.tar.gz"
    with pytest.raises(ToolError, match=r"a\.tar\.gz could not be fetched") as caught:
        fetch.fetch(f"http://joe:word@{server.place}/{path}", str(target), Index())
    assert "word" not in str(caught.value)
