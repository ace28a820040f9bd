# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that what the project's guides tell a reader to type, or point at, exists.

Looks at README.md, CONTRIBUTING.md, SECURITY.md, docs/ and the READMEs of examples and roles: in code blocks, at every
``make TARGET``, playbook, script and module; everywhere, at our variables; in the text, at relative links and their
headings. Prints one line for each fault and exits 1 if there is any.
"""

from __future__ import annotations

import pathlib
import re
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
TARGET = re.compile(r"^([A-Za-z][\w-]*)\s*:(?!=)", re.MULTILINE)
PHONY = re.compile(r"^\.PHONY:((?:.*\\\n)*.*)", re.MULTILINE)
FQCN = re.compile(r"\btrainmesh\.cluster\.(\w+)")
LOCAL_PROGRAM = re.compile(r"(?:^|[\s;&|(])(?:\./)?((?:scripts|\.ci|tests)/[\w./-]+)")
ACTIVATE = re.compile(r"(?:source|\.)\s+(\S+/activate)")
SHELL = {"", "bash", "console", "sh", "shell"}


def documents() -> list[pathlib.Path]:
    """The guides that users and contributors read."""
    names = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**/*.md", "examples/*.md", "roles/*/README.md"]
    return sorted(path for name in names for path in ROOT.glob(name))


def make_targets() -> set[str]:
    """Targets of the Makefile."""
    path = ROOT / "Makefile"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    phony = " ".join(PHONY.findall(text)).replace("\\\n", " ").split()
    return set(TARGET.findall(text)) | set(phony)


def logical_lines(block: str) -> t.Iterator[str]:
    """Command lines of a shell block: prompt and comment taken off, continued lines joined."""
    for line in block.replace("\\\n", " ").splitlines():
        bare = re.sub(r"(^|\s)#.*$", "", line.strip().removeprefix("$ ")).strip()
        if bare:
            yield bare


def make_faults(line: str, targets: set[str]) -> t.Iterator[str]:
    """Targets asked for on the line that the Makefile does not have."""
    for call in re.findall(r"(?:^|[;&|]\s*)make\s+([^;&|]*)", line):
        for word in call.split():
            if "=" not in word and not word.startswith("-") and word not in targets:
                yield f"'make {word}': the Makefile has no such target"


def playbook_faults(line: str) -> t.Iterator[str]:
    """Playbooks named on the line that do not exist."""
    if "ansible-playbook" not in line:
        return
    for name in FQCN.findall(line):
        if not (ROOT / "playbooks" / f"{name}.yml").is_file():
            yield f"'{line}': there is no playbooks/{name}.yml"
    for word in re.findall(r"(?<![\w/.-])[\w./-]+\.yml\b", line.partition(" -i ")[0]):
        if not (ROOT / word).is_file():
            yield f"'{line}': there is no {word}"


def module_faults(line: str) -> t.Iterator[str]:
    """Modules of ours that the line runs ad hoc and that do not exist."""
    if not line.startswith("ansible "):
        return
    for name in FQCN.findall(line):
        if not (ROOT / "plugins/modules" / f"{name}.py").is_file():
            yield f"'{line}': there is no module {name}"


def command_faults(line: str, targets: set[str]) -> t.Iterator[str]:
    """Faults of one command line."""
    yield from make_faults(line, targets)
    yield from playbook_faults(line)
    yield from module_faults(line)
    for name in LOCAL_PROGRAM.findall(line):
        if not (ROOT / name).exists():
            yield f"'{line}': there is no {name}"
    for name in ACTIVATE.findall(line):
        if not name.startswith((".venv/", "/")):
            yield f"'{line}': the environment is called .venv"


def known_variables() -> set[str]:
    """Our public variables: those that roles, playbooks and plugins know."""
    found: set[str] = set()
    for folder in ("roles", "playbooks", "plugins"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".yml", ".j2"} and path.is_file():
                found.update(re.findall(r"\btrainmesh_\w+", path.read_text(encoding="utf-8")))
    listed = (ROOT / "plugins/plugin_utils/_inventory/variables.py").read_text(encoding="utf-8")
    return found | {f"trainmesh_{name}" for name in re.findall(r'(?m)^    "(\w+)": Variable\(', listed)}


def anchors(path: pathlib.Path) -> set[str]:
    """The anchors of a guide's headings, as GitHub makes them."""
    headings = HEADING.findall(BLOCK.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def link_faults(path: pathlib.Path, text: str) -> t.Iterator[str]:
    """Relative links to files or headings that do not exist."""
    for link, anchor in LINK.findall(text):
        target = path.parent / link if link else path
        if "://" in link or link.startswith("mailto:"):
            continue
        if not target.exists():
            yield f"link to {link}: there is no such file"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"link to {link}#{anchor}: there is no such heading"


def document_faults(path: pathlib.Path, targets: set[str], variables: set[str]) -> t.Iterator[str]:
    """Faults of one guide."""
    text = path.read_text(encoding="utf-8")
    for language, block in BLOCK.findall(text):
        for line in logical_lines(block) if language in SHELL else ():
            yield from command_faults(line, targets)
    for name in sorted(set(re.findall(r"(?<![\w/.-])trainmesh_[a-z]\w*", text)) - variables):
        yield f"variable {name} is known nowhere in roles, playbooks or plugins"
    yield from link_faults(path, BLOCK.sub("", text))


def main() -> int:
    """Check every guide and print the faults."""
    targets, variables, found = make_targets(), known_variables(), documents()
    faults = [] if ROOT / "README.md" in found else ["README.md: missing"]
    for path in found:
        faults += [f"{path.relative_to(ROOT)}: {fault}" for fault in document_faults(path, targets, variables)]
    print("\n".join(faults) or f"{len(found)} guides, no faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
