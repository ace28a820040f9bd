# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layout rules that no ready-made linter knows; prints one line for each fault and exits 1 if there is any.

- every Python and shell file starts with the three lines of copyright, licence and SPDX name;
- shared code under plugins/module_utils and plugins/plugin_utils lies in folders, which are private: their names start
  with an underscore;
- imports point one way: a folder imports from those that stand before it in ``ROOMS``, module_utils nothing from
  plugin_utils;
- plugins/module_utils and the command in roles/launch_config/files/lib run on the nodes: they import the standard
  library and their neighbours only;
- tests/unit/plugins has the folders of plugins, and no other; every module, action and inventory plugin has a test file
  of its name;
- a role has README.md, meta/argument_specs.yml, meta/main.yml and tasks/main.yml.
"""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[1]
OURS = "ansible_collections.trainmesh.cluster"
MODULES = (f"{OURS}.plugins.module_utils", "ansible.module_utils")
COMMAND = pathlib.Path("roles/launch_config/files/lib/trainmesh")
# REUSE-IgnoreStart
HEADER = (
    "# Copyright: (c) 2026, trainmesh.cluster contributors",
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    "# SPDX-License-Identifier: GPL-3.0-or-later",
)
# REUSE-IgnoreEnd
# Each may import from those before it.
ROOMS = {
    "module_utils": (
        *("_base", "_logs", "_gpu", "_config", "_fabric", "_packages", "_install", "_software", "_apply", "_stack"),
        *("_user", "_node", "_probe", "_collective", "_speed", "_jobs", "_local_nodes"),
    ),
    "plugin_utils": (
        *("_base", "_compat", "_diagnosis", "_render", "_plan", "_inventory", "_rules", "_report"),
        *("_preflight", "_bootstrap", "_wheels"),
    ),
}
TESTED_BY_NAME = ("modules", "action", "inventory")
ROLE_FILES = ("README.md", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml")


def our_files() -> list[pathlib.Path]:
    """The files that git tracks, and those that are new and not ignored, relative to the root."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return sorted({pathlib.Path(name) for name in names if name and (ROOT / name).is_file()})


def header_fault(lines: list[str]) -> str | None:
    """What is wrong with the first lines of a source file."""
    start = 1 if lines and lines[0].startswith("#!") else 0
    return None if tuple(lines[start : start + 3]) == HEADER else "does not start with the three header lines"


def import_faults(tree: ast.Module, *neighbours: str) -> t.Iterator[str]:
    """Imports that a node may not be able to follow; ``neighbours`` are how those of other files of ours begin."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        for name in names:
            if not name.startswith(neighbours) and name.split(".")[0] not in sys.stdlib_module_names:
                yield f"line {node.lineno}: imports {name}, which a node need not have"


def room_faults(path: pathlib.Path, tree: ast.Module) -> t.Iterator[str]:
    """What stands in the wrong room of the shared code, or leans on one that leans on it."""
    floor, room = path.parts[1:3]
    if room not in ROOMS[floor]:
        yield f"is shared code, and {room} is none of its folders: {', '.join(ROOMS[floor])}"
        return
    before = ROOMS[floor][: ROOMS[floor].index(room) + 1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{OURS}.plugins.{floor}"):
            target = (node.module or "").removeprefix(f"{OURS}.plugins.{floor}").strip(".").split(".")[0]
            if target not in before:
                yield f"line {node.lineno}: imports from {target}, and {room} stands before it"


def python_faults(path: pathlib.Path, text: str) -> t.Iterator[str]:
    """Faults of one Python file."""
    tree = ast.parse(text)
    folder = path.parts[:2]
    if folder[0] == "plugins" and folder[1] in ROOMS:
        yield from room_faults(path, tree)
    if folder == ("plugins", "module_utils"):
        yield from import_faults(tree, *MODULES)
    if path.parent == COMMAND:
        yield from import_faults(tree, COMMAND.name)


def file_faults(path: pathlib.Path) -> t.Iterator[str]:
    """Faults of one source file, without its name."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if not text:
        return
    fault = header_fault(text.splitlines())
    if fault:
        yield fault
    if path.suffix == ".py":
        yield from python_faults(path, text)


def is_source(path: pathlib.Path) -> bool:
    """Whether the file is Python or shell; other files have no common header."""
    return path.suffix in {".py", ".sh"} or path == pathlib.Path(".ci/run")


def mirror_faults(root: pathlib.Path = ROOT) -> t.Iterator[str]:
    """Folders of tests that mirror no folder of plugins, and modules and actions without a test file."""
    for path in sorted((root / "tests/unit/plugins").rglob("*/")):
        inside = path.relative_to(root / "tests/unit")
        if path.name != "__pycache__" and path.is_dir() and not (root / inside).is_dir():
            yield f"tests/unit/{inside}: there is no {inside} that it could test"
    for kind in TESTED_BY_NAME:
        for path in sorted((root / "plugins" / kind).glob("*.py")):
            wanted = f"tests/unit/plugins/{kind}/test_{path.name}"
            if not (root / wanted).is_file():
                yield f"plugins/{kind}/{path.name}: has no {wanted}"


def role_faults() -> t.Iterator[str]:
    """Files that a role lacks."""
    for role in sorted((ROOT / "roles").glob("*/")):
        for name in ROLE_FILES:
            if not (role / name).is_file():
                yield f"roles/{role.name}: has no {name}"


def main() -> int:
    """Check everything and print the faults."""
    faults = [f"{path}: {fault}" for path in our_files() if is_source(path) for fault in file_faults(path)]
    faults += [*mirror_faults(), *role_faults()]
    print("\n".join(faults) or "no faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
