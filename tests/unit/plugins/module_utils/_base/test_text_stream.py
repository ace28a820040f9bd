# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A log in any of the forms in which it is kept reads the same, whole or in part."""

from __future__ import annotations

import bz2
import gzip
import lzma
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import text_stream
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_excerpt
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import files

TEXT = "".join(f"step {at} of the run, grün and 训练\n" for at in range(9000)) + "ValueError: x\n"
FORMS = {
    "plain": TEXT.encode(),
    "gzip": gzip.compress(TEXT.encode()),
    "two gzip files in one": gzip.compress(TEXT[:5000].encode()) + gzip.compress(TEXT[5000:].encode()),
    "bzip2": bz2.compress(TEXT.encode()),
    "xz": lzma.compress(TEXT.encode()),
    "utf-16 with its mark": TEXT.encode("utf-16"),
    "utf-16-be with its mark": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "utf-16-le without": TEXT.encode("utf-16-le"),
    "utf-16-be without": TEXT.encode("utf-16-be"),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_read_alike(form, tmp_path):
    path = tmp_path / "log"
    path.write_bytes(FORMS[form])
    with open(path, "rb") as raw:
        stream = text_stream.Stream(raw)
        assert b"".join(iter(lambda: stream.read(1000), b"")).decode() == TEXT
    (tmp_path / "same").write_text(TEXT)
    for read in (files.ends_of, job_excerpt.of_file):
        found = read(str(path))
        assert found.rstrip().endswith("ValueError: x") and found.startswith("step 0 of the run, grün")
        assert found == read(str(tmp_path / "same"))


@pytest.mark.parametrize("content", [b"", b"a\0b", b"\x1f", b"\0" * 5000, bytes(range(256)) * 20, b"BZ", "a" * 7000])
def test_what_is_no_such_form_is_left_as_it_is(content, tmp_path):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "log").write_bytes(content)
    with open(tmp_path / "log", "rb") as raw:
        assert text_stream.Stream(raw).read(1 << 20) == content


@pytest.mark.parametrize("form", ["gzip", "bzip2", "xz"])
def test_a_packed_file_that_was_cut_off_or_damaged(form, tmp_path):
    path = tmp_path / "log"
    path.write_bytes(FORMS[form][:-40])
    assert files.text_of(str(path), files.ends_of)["error"] is None  # what is there is read
    path.write_bytes(FORMS[form][:30] + b"\0" * 60 + FORMS[form][60:])
    found = files.text_of(str(path), files.ends_of)
    assert found["text"] or "damaged" in found["error"] or found["error"]


def test_a_form_that_python_cannot_read_says_what_to_do(tmp_path):
    (tmp_path / "log.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"x" * 99)
    (found,) = files.handed_in([{"kind": "kernel_log", "path": str(tmp_path / "log.zst")}])
    assert found["text"] is None and "zstd -d" in found["error"]


def test_a_bomb_is_read_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(text_stream, "MOST_UNPACKED", 4 << 20)
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"ok\n" * (16 << 20), 1))
    started = time.process_time()
    assert files.ends_of(str(tmp_path / "log.gz")).startswith("ok\n")
    assert time.process_time() - started < 2
