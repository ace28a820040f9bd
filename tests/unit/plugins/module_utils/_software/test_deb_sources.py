# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.module_utils._software import deb_sources

LIST = """\
# deb http://commented.example x main
deb http://deb.debian.org/debian/ bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] https://a.example/repo stable main
deb-src http://sources.example bookworm main
"""
SOURCES = """\
Types: deb
# between
URIs: http://deb.debian.org/debian http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example
Suites: /

Types: deb
URIs: https://b.example/
Suites: /
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_keys_of_both_formats(tmp_path):
    (tmp_path / "sources.list").write_text(LIST)
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/a.sources").write_text(SOURCES)
    (tmp_path / "sources.list.d/ours.sources").write_text("URIs: http://ours.example\nSuites: /\n")
    (tmp_path / "sources.list.d/a.sources.save").write_text("URIs: http://saved.example\nSuites: /\n")
    found = deb_sources.signed_by(str(tmp_path), ("ours.sources",))
    assert found["https://a.example/repo"] == "/usr/share/keyrings/a.gpg"
    assert found["http://mirror.example/debian"] == "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert "abc" in found["https://b.example"]
    assert set(found) == {
        "http://deb.debian.org/debian",
        "https://a.example/repo",
        "http://mirror.example/debian",
        "https://b.example",
    }
