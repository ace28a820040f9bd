# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock and the wheelhouse on disk, with uv and pip played by the test."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._bounded import Outcome
from ansible_collections.trainmesh.cluster.plugins.plugin_utils import _wheel_lock
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheel_store import Store
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheel_tools import ToolError, Tools, sha256_of

REMOTE = "https://files.example.com/"


class Programs:
    """uv and pip: an index of wheels with their content, and packages with a source distribution only."""

    def __init__(self, wheels: dict[str, str], sources: tuple[str, ...] = (), local: bool = False) -> None:
        self.wheels, self.sources, self.calls = wheels, sources, []
        self.place = "file:///srv/" if local else REMOTE
        self.fails: list[str] = []

    def __call__(self, argv, limit, **_options):
        self.calls.append(list(argv))
        text, err, rc = "", "", 0
        if argv[1] == "--version":
            text = "uv 0.13.8 (x86_64-unknown-linux-gnu)"
        elif argv[1:3] == ["pip", "compile"]:
            rc, err = self._compile(argv)
        elif argv[3] == "wheel":
            self._build(argv)
        elif argv[3] == "download":
            rc, err = self._download(argv)
        return Outcome(rc, text, err, False, False, 0.1)

    def _compile(self, argv):
        if any(word in argv for word in self.fails):
            return 1, "error: there is no version of torch==2.13.0+cpu"
        rows = []
        for name in self.wheels:
            base = name.split("-")
            digest = self._digest(name)
            rows.append(
                f'[[packages]]\nname = "{base[0]}"\nversion = "{base[1]}"\n'
                f'wheels = [{{ url = "{self.place}{name}", hashes = {{ sha256 = "{digest}" }} }}]\n'
            )
        for one in self.sources:
            name, version = one.split("-")
            rows.append(
                f'[[packages]]\nname = "{name}"\nversion = "{version}"\n'
                f'sdist = {{ url = "{REMOTE}{one}.tar.gz", hashes = {{ sha256 = "{"e" * 64}" }} }}\n'
            )
        pathlib.Path(argv[argv.index("--output-file") + 1]).write_text("\n".join(rows), encoding="utf-8")
        return 0, ""

    def _digest(self, name: str) -> str:
        import hashlib

        return hashlib.sha256(self.wheels[name].encode()).hexdigest()

    def _build(self, argv):
        target = pathlib.Path(argv[argv.index("--wheel-dir") + 1])
        wanted = pathlib.Path(argv[argv.index("--requirement") + 1]).read_text(encoding="utf-8")
        name = wanted.split()[0].replace("==", "-")
        (target / f"{name}-py3-none-any.whl").write_text(f"built {name} {len(self.calls)}", encoding="utf-8")

    def _download(self, argv):
        target = pathlib.Path(argv[argv.index("--dest") + 1])
        if "--requirement" not in argv:
            if "uv" in self.fails:
                return 1, "ERROR: no uv"
            (target / "uv-0.13.8-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl").write_text("uv")
            return 0, ""
        links = [pathlib.Path(argv[n + 1]) for n, word in enumerate(argv) if word == "--find-links"]
        for line in pathlib.Path(argv[argv.index("--requirement") + 1]).read_text(encoding="utf-8").splitlines():
            name = line.split()[0].replace("==", "-")
            for wheel, content in self.wheels.items():
                if wheel.startswith(f"{name}-"):
                    (target / wheel).write_text(content, encoding="utf-8")
            for link in links:
                for wheel in link.glob(f"{name}-*.whl"):
                    (target / wheel.name).write_bytes(wheel.read_bytes())
        return 0, ""


WHEELS = {"torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl": "torch", "tqdm-4.70.1-py3-none-any.whl": "tqdm"}


def store(path, programs, wheelhouse="", build="cpu", extra=()) -> Store:
    wish = _wheel_lock.Wish("3.11", "x86_64-manylinux_2_28", build, ("torch==2.13.0+cpu", *extra), "cpu")
    return Store(str(path), wish, Tools("3.11", wish.platform, "", programs), wheelhouse, say=lambda _text: None)


@pytest.fixture(autouse=True)
def own_uv(monkeypatch):
    monkeypatch.setattr(Tools, "uv", "/usr/bin/uv")


def test_the_lock_is_made_once_and_used_ever_after(tmp_path):
    programs = Programs(WHEELS, ("deepspeed-0.19.8",))
    one = store(tmp_path, programs)
    assert one.lock_text() == ""
    text = one.make(check_mode=False)
    assert store(tmp_path, programs).lock_text() == text
    lock = _wheel_lock.read(text)
    built = tmp_path / "lock" / "wheels" / "deepspeed-0.19.8-py3-none-any.whl"
    assert lock.pins["deepspeed"].hashes == (sha256_of(str(built)),)
    assert set(lock.versions) == {"torch", "tqdm", "deepspeed"}


def test_check_mode_keeps_nothing(tmp_path):
    text = store(tmp_path, Programs(WHEELS, ("deepspeed-0.19.8",))).make(check_mode=True)
    assert _wheel_lock.read(text).versions["deepspeed"] == "0.19.8"
    assert not list(tmp_path.iterdir())


def test_a_lock_that_does_not_fit_is_kept_aside_and_said(tmp_path):
    programs = Programs(WHEELS)
    old = store(tmp_path, programs).make(check_mode=False)
    one = store(tmp_path, programs, extra=("tqdm",))
    assert one.lock_text() == ""
    one.make(check_mode=False)
    (aside,) = (tmp_path / "lock").glob("requirements-2*.txt")
    assert aside.read_text(encoding="utf-8") == old
    assert "asked for tqdm" in one.notes[0]


def test_a_failed_resolution_leaves_the_old_lock(tmp_path):
    programs = Programs(WHEELS)
    old = store(tmp_path, programs).make(check_mode=False)
    programs.fails = ["compile"]
    with pytest.raises(ToolError, match="trainmesh_index_url"):
        store(tmp_path, programs, extra=("tqdm",)).make(check_mode=False)
    assert store(tmp_path, programs).lock_text() == old


def test_the_build_index_is_asked_only_when_the_build_is_nowhere_else(tmp_path):
    programs = Programs(WHEELS)
    store(tmp_path / "a", programs).make(check_mode=False)
    assert not any("--torch-backend" in call for call in programs.calls)
    first = Programs(WHEELS)
    compile_once = first._compile
    first._compile = lambda argv: compile_once(argv) if "--torch-backend" in argv else (1, "no version of torch")
    lock = _wheel_lock.read(store(tmp_path / "b", first).make(check_mode=False))
    assert lock.torch_backend == "cpu"


def test_another_build_than_planned_is_refused(tmp_path):
    with pytest.raises(ToolError, match="cu126"):
        store(tmp_path, Programs(WHEELS), build="cu126").make(check_mode=False)


def test_a_full_wheelhouse_needs_no_index(tmp_path):
    house = tmp_path / "house"
    house.mkdir()
    for name, content in WHEELS.items():
        (house / name).write_text(content, encoding="utf-8")
    programs = Programs(WHEELS)
    one = store(tmp_path / "state", programs, str(house))
    one.make(check_mode=False)
    compiles = [call for call in programs.calls if "compile" in call]
    assert len(compiles) == 1
    assert "--no-index" in compiles[0]
    assert one.fill(10, check_mode=False) == (sorted(str(path) for path in house.iterdir())[::1], False)


def test_nodes_get_wheels_when_the_index_is_a_directory_of_the_controller(tmp_path):
    one = store(tmp_path, Programs(WHEELS, local=True))
    lock = _wheel_lock.read(one.make(check_mode=False))
    assert one.offline(lock, notify=True)
    assert "torch" in one.notes[0]


def test_nodes_use_an_index_that_they_can_reach(tmp_path):
    one = store(tmp_path, Programs(WHEELS, ("deepspeed-0.19.8",)))
    lock = _wheel_lock.read(one.make(check_mode=False))
    assert not one.offline(lock)
    assert [os.path.basename(path) for path in one.built(lock)] == ["deepspeed-0.19.8-py3-none-any.whl"]


def test_only_missing_wheels_are_fetched(tmp_path):
    programs = Programs(WHEELS, ("deepspeed-0.19.8",))
    one = store(tmp_path, programs, "auto")
    one.make(check_mode=False)
    files, fetched = one.fill(10, check_mode=False)
    assert fetched
    assert len(files) == 3
    os.remove(next(path for path in files if "tqdm" in path))
    before = len(programs.calls)
    assert len(one.fill(10, check_mode=False)[0]) == 3
    assert len(programs.calls) == before + 1
    assert one.fill(10, check_mode=False)[1] is False


def test_a_damaged_wheel_is_fetched_again(tmp_path):
    one = store(tmp_path, Programs(WHEELS), "auto")
    one.make(check_mode=False)
    files, _fetched = one.fill(10, check_mode=False)
    pathlib.Path(files[0]).write_text("half", encoding="utf-8")
    assert one.fill(10, check_mode=False)[1] is True


def test_a_lock_from_elsewhere_gets_its_wheel_built(tmp_path):
    programs = Programs(WHEELS, ("deepspeed-0.19.8",))
    one = store(tmp_path, programs)
    one.make(check_mode=False)
    for path in (tmp_path / "lock" / "wheels").iterdir():
        path.unlink()
    (tmp_path / "lock" / "pylock.toml").unlink()
    assert one.complete_built()
    lock = _wheel_lock.read(one.lock_text())
    assert lock.pins["deepspeed"].hashes == (sha256_of(one.built(lock)[0]),)
    assert one.complete_built() is False


def test_uv_of_this_machine_serves_where_its_wheel_cannot_be_had(tmp_path, monkeypatch):
    programs = Programs(WHEELS)
    tools = Tools("3.11", "x86_64-manylinux_2_28", "", programs)
    assert tools.node_uv(str(tmp_path / "a")).endswith("manylinux2014_x86_64.whl")
    programs.fails = ["uv"]
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert tools.node_uv(str(tmp_path / "b")) == "/usr/bin/uv"
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(ToolError):
        tools.node_uv(str(tmp_path / "c"))


def test_a_tool_that_does_not_come_back_is_said(tmp_path):
    def slow(argv, limit, **_options):
        return Outcome(0, "", "", False, False, 0.1) if "config" in argv else Outcome(None, "", "", True, False, limit)

    with pytest.raises(ToolError, match="reachable"):
        store(tmp_path, slow).make(check_mode=False)
