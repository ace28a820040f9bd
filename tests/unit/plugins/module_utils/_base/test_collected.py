# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of collectors are the lines that a program wrote; everything else stays as it is."""

from __future__ import annotations

import json

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.collected import unwrap


@pytest.mark.parametrize(
    ("entry", "lines"),
    [
        ({"log": "a line\n", "stream": "stderr", "time": "2026-11-29T07:45:12Z"}, ["a line"]),
        ({"level": "ERROR", "message": "failed", "exc_info": "Traceback (most\n  File x\nKeyError: 'x'"},
         ["failed", "Traceback (most", "  File x", "KeyError: 'x'"]),
        ({"msg": "step 7", "ts": 1.5}, ["step 7"]),
        ({"event": "train", "loss": 1.5, "step": 7, "pid": 12}, ["train, step 7, loss 1.5"]),
        ({"MESSAGE": "NVRM: x", "_HOSTNAME": "gpu4", "SYSLOG_IDENTIFIER": "kernel",
          "__REALTIME_TIMESTAMP": "1733139298123456"}, ["2024-12-02T11:34:58+00:00 gpu4 kernel: NVRM: x"]),
        ({"MESSAGE": [103, 114, 195, 188, 110], "_HOSTNAME": "gpu4", "_COMM": "python3"},
         ["1970-01-01T00:00:00+00:00 gpu4 python3: grün"]),
        ({"MESSAGE": "bare"}, ["bare"]),
    ],
)  # fmt: skip
def test_objects(entry, lines):
    assert unwrap(json.dumps(entry)) == lines


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "{'loss': 1.5, 'epoch': 0.1}",
        '{"loss": 1.5}',
        '{"log": 7}',
        "[1]",
        '{"a":' * 90000,
        '{"message": null}',
    ],
)
def test_everything_else(line):
    assert unwrap(line) == [line]
