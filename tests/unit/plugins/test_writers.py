# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a node files are written, owned and split into lines in few places: others go through those, or say why not."""

from __future__ import annotations

import ast
import pathlib
import typing as t

PLUGINS = pathlib.Path(__file__).parents[3] / "plugins"
# Who writes, or changes owner or mode, by path, and why that harms nobody's file.
WRITERS = {
    "module_utils/_apply/reserved_port.py": "a setting of the kernel",
    "module_utils/_base/file_write.py": "the writer of files of others",
    "module_utils/_base/isolated.py": "a pipe to its parent",
    "module_utils/_config/ssh_files.py": "modes of the job user's own directories, as that user",
    "module_utils/_config/ssh_identity.py": "the public half of the job user's own key, as that user",
    "module_utils/_config/sshd_return.py": "a marker in a directory that it makes for itself",
    "module_utils/_install/runfile.py": "the toolkit that it has just installed, and a scratch directory of root's",
    "module_utils/_install/switch.py": "records below the job user's var, as that user",
    "module_utils/_install/uv.py": "files below the job user's var, as that user",
    "module_utils/_jobs/launch.py": "the log of a job, as the job user",
    "module_utils/_local_nodes/image.py": "a scratch directory of the demo cluster's image",
    "module_utils/_packages/apt.py": "a scratch directory of root's, below root's",
    "module_utils/_packages/dnf.py": "a scratch directory of root's, below root's",
    "module_utils/_packages/manager.py": "a scratch directory of root's, below root's",
    "module_utils/_software/driver.py": "a lock in /run",
    "modules/python_env.py": "a marker below the prefix",
    "modules/sshd_certificates.py": "a marker in its own directory, which is root's",
}
# Whose text is in lines of others, which end at a newline and nowhere else.
FOREIGN = ("module_utils/_base/textfile.py", "module_utils/_config/hosts_file.py", "module_utils/_config/ssh_files.py")


def called(tree: ast.AST) -> t.Iterator[tuple[str, ast.Call]]:
    """The calls in a module, by name: ``os.chmod``, ``open``, ``.splitlines``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                owner = node.func.value
                yield (f"{owner.id}.{node.func.attr}" if isinstance(owner, ast.Name) else f".{node.func.attr}"), node
            elif isinstance(node.func, ast.Name):
                yield node.func.id, node


def writes(name: str, call: ast.Call) -> bool:
    """Whether a call writes a file, or changes its owner or mode, by its path."""
    if name in ("os.chmod", "os.chown", "os.lchown", "shutil.chown", "shutil.copy", "shutil.copy2", "shutil.move"):
        return True
    if name.endswith((".write_text", ".write_bytes")):
        return True
    modes = [one.value for one in [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "mode")]
             if isinstance(one, ast.Constant) and isinstance(one.value, str)]  # fmt: skip
    return name in ("open", "os.fdopen") and any(set(mode) & set("wax+") for mode in modes)


def test_files_are_written_in_known_places() -> None:
    found = set()
    for path in [*PLUGINS.glob("modules/*.py"), *PLUGINS.glob("module_utils/*/*.py")]:
        if any(writes(name, call) for name, call in called(ast.parse(path.read_text(encoding="utf-8")))):
            found.add(str(path.relative_to(PLUGINS)))
    # what goes through a descriptor that was opened without following links
    assert found - {"module_utils/_base/file_below.py"} == set(WRITERS)


def test_lines_of_others_end_at_a_newline_alone() -> None:
    for name in FOREIGN:
        calls = [call for call, _node in called(ast.parse((PLUGINS / name).read_text(encoding="utf-8")))]
        assert not [call for call in calls if call.endswith(".splitlines")], name
