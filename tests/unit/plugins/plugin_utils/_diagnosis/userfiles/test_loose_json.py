# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time

import hypothesis
import pytest
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import loose_json


@pytest.mark.parametrize(
    ("text", "value", "lines"),
    [
        ('{"a": 1}', {"a": 1}, []),
        ('{"a": 1,}', {"a": 1}, [1]),
        ('{\n# x\n"a": True,\n}', {"a": True}, [2, 3, 3]),
        ('{"a": "x # y, }"}', {"a": "x # y, }"}, []),
        ('{"a": 1 // one\n}', {"a": 1}, [1]),
        ("{'a': None}", {"a": None}, [1, 1]),
        ('{"a": {"b": 1}', {"a": {"b": 1}}, [1]),
        ('{"a": 1\n"b": 2}', {"a": 1, "b": 2}, [2]),
        ('{"a": 1, "a": 2}', {"a": 2}, [1]),
    ],
)
def test_json(text, value, lines):
    found, faults = loose_json.read_json(text)
    assert found == value
    assert [line for line, _what in faults] == lines


@pytest.mark.parametrize(
    ("text", "value", "lines"),
    [
        ("a: 1\n\tb: 2\n", {"a": 1, "b": 2}, [2]),
        ("a: 1\nb: c: d\ne: 2\n", {"a": 1, "e": 2}, [2]),
        ("a: 1\n  b: 2\nc: 3\n", {"a": 1, "c": 3}, [2]),
        ("a: 'x\nb: 2\n", {"b": 2}, [1]),
        ("a: 1 # x\n", {"a": 1}, []),
    ],
)
def test_yaml(text, value, lines):
    found, faults = loose_json.read_yaml(text)
    assert found == value
    assert [line for line, _what in faults] == lines


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(st.text(alphabet="ab1 \n\t\\#'\"{}[]:,/*-", max_size=40))
def test_any_text_ends(text):
    loose_json.read_json(text)
    loose_json.read_yaml(text)


@pytest.mark.parametrize("piece", ["{", "[", '{"a":', "a: [", "'", "/*", "\t", "a:\n ", "&a [*a,"])
def test_long_and_hostile_texts_take_no_long_time(piece):
    began = time.monotonic()
    loose_json.read_json(piece * (20000 // len(piece)))
    loose_json.read_yaml(piece * (20000 // len(piece)))
    assert time.monotonic() - began < 10
