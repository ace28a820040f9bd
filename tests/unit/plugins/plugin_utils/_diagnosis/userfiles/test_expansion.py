# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import expansion
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.expansion import Variable

KNOWN = {
    "A": Variable("a b", False, 1, "a b"),
    "N": Variable("2", False, 1, "${N:-2}"),
    "H": Variable("$(hostname | cut -d- -f1)", False, 1, "$(hostname | cut -d- -f1)"),
    "E": Variable("", False, 1, ""),
    "R": Variable("x", False, 1, "x", ("--a", "b c")),
}


@pytest.mark.parametrize(
    ("raw", "value", "written"),
    [
        ("$A", ["a", "b"], ["a", "b"]),
        ('"$A"', ["a b"], ["a b"]),
        ("x$A", ["xa", "b"], ["xa", "b"]),
        ("--n=$N", ["--n=2"], ["--n=${N:-2}"]),
        ("$H", ["$(hostname | cut -d- -f1)"], ["$(hostname | cut -d- -f1)"]),
        ("$E", [], []),
        ('"$E"', [""], [""]),
        ('"${R[@]}"', ["--a", "b c"], ["--a", "b c"]),
        ("${Q:-1}", ["1"], ["${Q:-1}"]),
        ("${Q:-$N}", ["2"], ["${Q:-${N:-2}}"]),
        ("${Q}", ["${Q}"], ["$Q"]),
        ("$((N * 8))", ["16"], ["16"]),
        ("$((RANDOM % 5))", ["$((RANDOM % 5))"], ["$((RANDOM % 5))"]),
        ("'$A'", ["$A"], ["$A"]),
        ("a\\ b", ["a b"], ["a b"]),
        ("${E:-x}", ["x"], ["${E:-x}"]),
        ("`date`", ["`date`"], ["`date`"]),
    ],
)
def test_words(raw, value, written):
    assert expansion.words([raw], KNOWN) == value
    assert expansion.words([raw], KNOWN, written=True) == written


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(st.text(alphabet="AN \n\\'\"`$(){}[]=:-+*/%1", max_size=40))
def test_any_word_ends(raw):
    expansion.words([raw], KNOWN)
    expansion.text(raw, KNOWN, written=True)
