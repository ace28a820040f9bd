# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve a wish with uv, from the wheelhouse, the index or a build's own index."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import index, lockfile, torch_index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools, text_of, write

# Out of several indexes the best version, as pip takes it: whoever puts a name of yours on a public one is asked too.
# Without it the first index that has the name serves. A lock's own versions are looked for everywhere.
_BEST = ("--index-strategy", "unsafe-best-match")
_SILENT = "uv did not come back with the set of packages: is the package index reachable from the controller?"


@dataclasses.dataclass
class Resolver:
    """uv, with the places it may look in.

    ``house`` is a directory of wheels that the user gave, empty for none; ``built`` that of wheels built here.
    """

    wish: lockfile.Wish
    tools: Tools
    house: str
    built: str

    def resolve(self, directory: str) -> tuple[list[lockfile.Package], str]:
        """(packages, torch backend that was needed, empty for none); uv's answer stays in ``directory``.

        Raises ToolError when the set cannot be found or is another build of torch.
        """
        source, target = os.path.join(directory, "requirements.in"), os.path.join(directory, "pylock.toml")
        write(source, lockfile.inputs(self.wish))
        failures, second = [], None
        for options, backend in self.attempts():
            mirror = self.torch_index if backend else ""
            answer = self._from_torch_index(directory, target, options) if mirror else None
            answer = answer or self._compile(source, target, options)
            if answer.ok:
                return self._checked(lockfile.parse_pylock(text_of(target))), backend
            second = answer.err if backend else second
            if "--no-index" not in options or self.tools.index.no_index:
                failures.append(answer.err)
            if failures and ("torch" not in failures[0] or index.is_final(failures[0])):
                break
        if unbuilt := index.build_failure(failures[0]):
            raise ToolError(unbuilt)
        if index.is_conflict(failures[0]):
            raise ToolError(index.conflict(failures[0], dict(self.wish.limits.places)))
        note = ""
        if "torch" in failures[0]:
            note = torch_index.note(
                self.wish, self.torch_index, index.redacted(self.torch_index), second, index.reasons
            )
        raise ToolError(index.explain(failures[0], self._places, self.wish.requirements, note))

    @property
    def torch_index(self) -> str:
        """The index of the build that takes the place of PyTorch's own; empty for none."""
        url = self.tools.torch_index_url
        return torch_index.of_build(url, self.wish.torch_build) if url else ""

    def _from_torch_index(self, directory: str, target: str, options: list[str]) -> command.Outcome:
        """uv's answer where torch and its companions come from that index, and nothing else does."""
        source = os.path.join(directory, "pyproject.toml")
        write(source, torch_index.project(self.wish, self.torch_index))
        return self._compile(source, target, options, torch_index.variables(self.torch_index))

    def sources(self, directory: str, lock: lockfile.Lock) -> str:
        """uv's answer for exactly the packages of a lock; raises ToolError."""
        source, target = os.path.join(directory, "requirements.in"), os.path.join(directory, "pylock.toml")
        pins = [f"{name}=={pin.version}" for name, pin in lock.pins.items()]
        write(source, "".join(f"{pin}\n" for pin in pins))
        words = [
            *self.options,
            *_BEST,
            *(self._torch_options(lock.torch_backend) if lock.torch_backend else []),
            "--no-deps",
        ]
        answer = self._compile(source, target, words)
        if not answer.ok:
            raise ToolError(index.explain(answer.err, self._places, pins))
        return text_of(target)

    def attempts(self) -> list[tuple[list[str], str]]:
        """uv's options for each try, with the torch backend used: a full wheelhouse needs no index at all."""
        tries = [(["--no-index", "--find-links", self.house], "")] if self.house else []
        plain = [*self.options, *(_BEST if self.tools.insecure else ())]
        tries.append((plain, ""))
        backend = self.wish.torch_backend
        if backend and not self.tools.index.no_index:
            tries.append(([*plain, *([] if self.torch_index else self._torch_options(backend))], backend))
        return tries

    def _torch_options(self, backend: str) -> list[str]:
        """uv's options for the index of torch builds."""
        return ["--index", self.torch_index] if self.torch_index else ["--torch-backend", backend]

    @property
    def options(self) -> list[str]:
        """uv's options for where it may look."""
        links = [place for place in (self.built, self.house) if place and os.path.isdir(place)]
        return [*index.uv_arguments(self.tools.index), *(w for place in links for w in ("--find-links", place))]

    @property
    def _places(self) -> list[str]:
        return [*self.tools.index.places, *([self.house] if self.house else [])]

    def _compile(
        self, source: str, target: str, options: list[str], variables: t.Mapping[str, str] | None = None
    ) -> command.Outcome:
        limits = self._constraints(os.path.dirname(target))
        answer = self.tools.compile(source, target, [*options, *limits], variables or {})
        if answer.timed_out:
            raise ToolError(_SILENT)
        return answer

    def _constraints(self, directory: str) -> list[str]:
        """uv's option for the constraints of the user's file, which are written into ``directory``."""
        lines = self.wish.limits.constraints
        if not lines:
            return []
        path = os.path.join(directory, "constraints.txt")
        write(path, "".join(f"{line}\n" for line in lines))
        return ["--constraint", path]

    def _checked(self, packages: list[lockfile.Package]) -> list[lockfile.Package]:
        wrong = lockfile.wrong_build(packages, self.wish.torch_build)
        if wrong:
            raise ToolError(
                f"the package index offers torch {wrong}, and the plan is the build {self.wish.torch_build}: set "
                f"trainmesh_torch_index_url to {torch_index.OWN} or a mirror of it, or trainmesh_torch_build to the "
                "build that is there"
            )
        return packages
