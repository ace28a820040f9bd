# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._software import files


def test_all_are_written_and_put_back(tmp_path):
    old, new, gone = (str(tmp_path / name) for name in ("old", "deep/new", "gone"))
    (tmp_path / "old").write_bytes(b"before")
    (tmp_path / "gone").write_bytes(b"here")
    changes = files.compare({old: b"after", new: b"new\n", gone: None, str(tmp_path / "never"): None})
    assert set(changes) == {old, new, gone}
    files.write(changes)
    assert files.compare({old: b"after", new: b"new\n", gone: None}) == {}
    files.restore(changes)
    assert (tmp_path / "old").read_bytes() == b"before" and (tmp_path / "gone").exists() and not os.path.exists(new)


def test_what_fails_leaves_all_as_they_were(tmp_path):
    (tmp_path / "file").write_bytes(b"no directory")
    first = str(tmp_path / "a")
    changes = files.compare({first: b"x"})
    changes[str(tmp_path / "file/below")] = files.Content(None, b"y")
    with pytest.raises(OSError):
        files.write(changes)
    assert not os.path.exists(first)


def test_the_diff_shows_text_and_the_size_of_keys():
    shown = files.diff({"/a": files.Content(None, b"text\n"), "/k": files.Content(b"\x99\xff", None)})
    assert shown[0]["after"] == "text\n" and shown[1] == {
        "before_header": "/k",
        "after_header": "/k",
        "before": "(2 bytes)\n",
        "after": "",
    }
