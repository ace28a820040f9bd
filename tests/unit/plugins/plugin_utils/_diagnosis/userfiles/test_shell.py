# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import shell

SCRIPT = """\
A=(--x 1 # not it's end
   --y "2 3")
for host in `cat hosts`; do
    ssh $host "python -c 'import torch'" &
done
if [ -z "$R" ]; then R=0; else R=1; fi
cat > env <<-EOF
\tA=1
\tEOF
while IFS= read -r h; do run $h; done < hosts
cat x | run > log 2>&1
D="--a \\
--b"
run $D \\
  # comment \\
  --c
"""


def test_simple_commands():
    found = {" ".join(one.words): one for one in shell.simple_commands(SCRIPT)}
    assert [one.line for one in found.values() if one.words][:3] == [1, 3, 4]
    assert found["ssh $host \"python -c 'import torch'\""].background
    assert found["R=0"].guard == '[ -z "$R" ]'
    assert found["R=1"].inside == ("else",)
    assert found["cat"].document == "\tA=1\n"
    assert found["run $h"].inside == ("read",)
    assert found["run"].piped
    assert found["run"].redirections == ((">", "log"), (">&", "1"))
    assert found["run $D"].line == 14
    assert found["--c"].line == 16


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("echo 'a", [(1, "' is not closed")]),
        ('a\n\necho "b', [(3, '" is not closed')]),
        ("a=$(b", [(1, "$( is not closed")]),
        ("echo don\\'t # it's", []),
        ("A=(\n x # it's\n)", []),
        ("echo $'it\\'s'", []),
        ("cat <<'E'\nit's\nE\n", []),
    ],
)
def test_quotes_that_nobody_closes(text, found):
    assert list(shell.unclosed(text)) == found


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(st.text(alphabet="ab \n\t\\#'\"`$(){}[]=;&|<>!-", max_size=60))
def test_any_text_ends(text):
    assert all(one.line >= 1 for one in shell.simple_commands(text) if one.words)
    list(shell.unclosed(text))


def test_what_goes_to_the_background_goes_there_as_a_whole():
    text = "cd /x && run a 2>&1 | tee log &\nrun b; run c &\nrun d | tee log\n"
    found = {" ".join(one.words): one.background for one in shell.simple_commands(text)}
    assert found == {"cd /x": True, "run a": True, "tee log": False, "run b": False, "run c": True, "run d": False}
