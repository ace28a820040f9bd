# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What shells say in other languages is read as what they say in English."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import translated
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.translated import english


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run.sh: Zeile 3: torchrun: Kommando nicht gefunden.", "run.sh: line 3: torchrun: command not found"),
        ("run.sh：行 3：torchrun：未找到命令", "run.sh: line 3: torchrun: command not found"),
        ("run.sh: 第 3 行：torchrun: 未找到命令", "run.sh: line 3: torchrun: command not found"),
        ("run.sh: ligne 3: torchrun : commande introuvable", "run.sh: line 3: torchrun: command not found"),
        ("run.sh: 行 3: torchrun: コマンドが見つかりません", "run.sh: line 3: torchrun: command not found"),
        ("bash: /job/run.sh: Keine Berechtigung", "bash: /job/run.sh: Permission denied"),
        ("bash: /job/run.sh: 没有那个文件或目录", "bash: /job/run.sh: No such file or directory"),
        ("run.sh: 行 3:  4711 段错误               （核心已转储） python t.py",
         "run.sh: line 3: 4711 Segmentation fault               (core dumped) python t.py"),
        ("OSError: [Errno 28] 设备上没有空间", "OSError: [Errno 28] No space left on device"),
    ],
)  # fmt: skip
def test_in_english(text, said):
    assert english(text) == said


@pytest.mark.parametrize("text", ["", "loss 1.5", "模型已加载：100%", "run.sh: line 3: x: command not found", "行 3："])
def test_all_else_stays(text):
    assert english(text) == text


def test_each_is_a_word_of_its_own():
    assert min(map(len, translated._ENGLISH)) > 1 and len(translated._ENGLISH) > 80
