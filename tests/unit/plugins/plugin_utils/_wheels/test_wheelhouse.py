# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock and the wheelhouse on disk, with uv and pip played by the test."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pathlib
import tarfile
import zipfile
from unittest import mock

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import build, fetch, lockfile, wanted
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.build import build_requirements
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.index import Index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools, sha256_of
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.wheelhouse import Store

REMOTE = "https://files.example.com/"
UV = "uv-0.13.8-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"


def archive(project: str = "", top: str = "deepspeed-0.19.8") -> bytes:
    """A source distribution, with a pyproject.toml if there is a text for it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as packed:
        for name, text in {"setup.py": "pass", **({"pyproject.toml": project} if project else {})}.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(text)
            packed.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


def sha(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


class Programs:
    """uv and pip: an index of wheels with their content, and packages with a source distribution only."""

    def __init__(self, wheels: dict[str, str], sources: tuple[str, ...] = (), local: bool = False) -> None:
        Programs.latest = self
        self.wheels, self.sources, self.calls = wheels, sources, []
        self.place = "file:///srv/" if local else REMOTE
        self.fails: list[str] = []
        self.source, self.uv, self.tool, self.environments = archive(), "uv", "setuptools 80", []
        self.builds = 0

    def __call__(self, argv, limit, env=None, clean=False):
        self.calls.append(list(argv))
        if argv[1] in ("build", "pip", "venv"):
            assert clean, "foreign code would see the environment of the caller"
            self.environments.append((argv[1], env))
        text, err, rc = "", "", 0
        if argv[1] == "--version":
            text = "uv 0.13.8 (x86_64-unknown-linux-gnu)"
        elif argv[1:3] == ["pip", "compile"]:
            rc, err = self._compile(argv)
        elif argv[1] == "build":
            self._build(argv)
        elif argv[1] == "pip" and argv[2] == "install":
            rc, err = self._install(argv)
        elif argv[1] != "venv" and argv[3] == "download":
            rc, err = self._download(argv)
        return Outcome(rc, text, err, False, False, 0.1)

    def _compile(self, argv):
        if any(word in argv for word in self.fails):
            return 1, "error: there is no version of torch==2.13.0+cpu"
        target = pathlib.Path(argv[argv.index("--output-file") + 1])
        if target.name == "pylock.build.toml":
            wheel = f'{{ url = "{REMOTE}setuptools-80-py3-none-any.whl", hashes = {{ sha256 = "{sha(self.tool)}" }} }}'
            target.write_text(f'[[packages]]\nname = "setuptools"\nversion = "80"\nwheels = [{wheel}]\n')
            return 0, ""
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
                f'sdist = {{ url = "{REMOTE}{one}.tar.gz", hashes = {{ sha256 = "{sha(self.source)}" }} }}\n'
            )
        target.write_text("\n".join(rows), encoding="utf-8")
        return 0, ""

    def _digest(self, name: str) -> str:
        return sha(self.wheels[name])

    def _install(self, argv):
        """uv with --require-hashes, for the build requirements."""
        assert "--require-hashes" in argv
        wanted = pathlib.Path(argv[argv.index("--requirement") + 1]).read_text(encoding="utf-8")
        return (0, "") if sha(self.tool) in wanted else (1, "error: Hash mismatch for setuptools==80")

    def _build(self, argv):
        """A build whose result depends on what went in alone, as long as nobody counts ``builds`` up."""
        assert "--no-build-isolation" in argv and "--offline" in argv
        target = pathlib.Path(argv[argv.index("--out-dir") + 1])
        target.mkdir()
        source = pathlib.Path(next(word for word in argv if word.endswith(".tar.gz")))
        name = source.name.removesuffix(".tar.gz")
        content = f"built {name} of {sha(source.read_bytes())} with {self.tool} {self.builds}"
        (target / f"{name}-py3-none-any.whl").write_text(content, encoding="utf-8")

    def _download(self, argv):
        target = pathlib.Path(argv[argv.index("--dest") + 1])
        if "--requirement" not in argv:
            if "uv" in self.fails:
                return 1, "ERROR: no uv"
            (target / UV).write_text(self.uv)
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
    wish = lockfile.Wish("3.11", "x86_64-manylinux_2_28", build, ("torch==2.13.0+cpu", *extra), "cpu")
    return Store(str(path), wish, Tools("3.11", wish.platform, "", programs), wheelhouse, say=lambda _text: None)


@pytest.fixture(autouse=True)
def own_uv(monkeypatch):
    monkeypatch.setattr(Tools, "uv", "/usr/bin/uv")
    monkeypatch.setattr(
        fetch, "fetch", lambda url, target, index: pathlib.Path(target).write_bytes(Programs.latest.source)
    )


def test_the_lock_is_made_once_and_used_ever_after(tmp_path):
    programs = Programs(WHEELS, ("deepspeed-0.19.8",))
    one = store(tmp_path, programs)
    assert one.lock_text() == ""
    text = one.make(check_mode=False)
    assert store(tmp_path, programs).lock_text() == text
    lock = lockfile.read(text)
    built = tmp_path / "lock" / "wheels" / "deepspeed-0.19.8-py3-none-any.whl"
    assert lock.pins["deepspeed"].hashes == (sha256_of(str(built)),)
    assert set(lock.versions) == {"torch", "tqdm", "deepspeed"}


def test_check_mode_keeps_nothing(tmp_path):
    text = store(tmp_path, Programs(WHEELS, ("deepspeed-0.19.8",))).make(check_mode=True)
    assert lockfile.read(text).versions["deepspeed"] == "0.19.8"
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


def test_groups_that_take_turns_keep_their_own_lock(tmp_path):
    programs = Programs(WHEELS, ("deepspeed-0.19.8",))
    one = store(tmp_path, programs).make(check_mode=False)
    programs.wheels = {**WHEELS, "numpy-2.4.6-py3-none-any.whl": "numpy"}
    two = store(tmp_path, programs, extra=("numpy",)).make(check_mode=False)
    programs.wheels, programs.fails = {}, ["compile"]  # whatever the index has by now, or without one
    for expected, extra in ((one, ()), (two, ("numpy",)), (one, ())):
        turn = store(tmp_path, programs, extra=extra)
        assert turn.make(check_mode=True) == expected
        assert turn.make(check_mode=False) == turn.lock_text() == expected
        assert "used again" in turn.notes[0]
        assert turn.complete()[1] is False
    assert len(list((tmp_path / "lock").glob("requirements-*.txt"))) == 1
    (tmp_path / "lock" / "requirements.txt").unlink()
    with pytest.raises(ToolError, match="Wanted"):
        store(tmp_path, programs, extra=("numpy",)).make(check_mode=False)


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
    lock = lockfile.read(store(tmp_path / "b", first).make(check_mode=False))
    assert lock.torch_backend == "cpu"


def test_of_several_indexes_the_first_serves_unless_that_is_allowed(tmp_path):
    def strategies(place, insecure):
        programs = Programs(WHEELS)
        one = store(tmp_path / place, programs)
        one.tools._index, one.tools.insecure = Index(extra=("https://own.example.com/simple",)), insecure
        lock = lockfile.read(one.make(check_mode=False))
        (tmp_path / place / "lock" / "pylock.toml").unlink()
        one.offline(lock)
        return ["unsafe-best-match" in call for call in programs.calls if "compile" in call]

    assert strategies("a", insecure=False) == [False, True], "what the lock pins by its hash is looked for everywhere"
    assert strategies("b", insecure=True) == [True, True]


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
    lock = lockfile.read(one.make(check_mode=False))
    assert one.offline(lock, notify=True)
    assert "torch" in one.notes[0]


def test_nodes_use_an_index_that_they_can_reach(tmp_path):
    one = store(tmp_path, Programs(WHEELS, ("deepspeed-0.19.8",)))
    lock = lockfile.read(one.make(check_mode=False))
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


def test_a_wheel_that_was_exchanged_is_named_where_the_index_has_none(tmp_path, monkeypatch):
    one = store(tmp_path, Programs(WHEELS), "auto")
    one.make(check_mode=False)
    files, _fetched = one.fill(10, check_mode=False)
    pathlib.Path(files[0]).write_text("another build", encoding="utf-8")
    monkeypatch.setattr(one, "_fetch", mock.Mock(side_effect=ToolError("pip download: versions conflict")))
    with pytest.raises(ToolError, match=r"not the file that was locked.*trainmesh_lock_update") as told:
        one.fill(10, check_mode=False)
    assert os.path.basename(files[0]) in str(told.value) and "versions conflict" in str(told.value)
    os.remove(files[0])
    with pytest.raises(ToolError, match=r"versions conflict$"):
        one.fill(10, check_mode=False)


def test_a_lock_from_elsewhere_gets_its_wheel_built(tmp_path):
    programs = Programs(WHEELS, ("deepspeed-0.19.8",))
    one = store(tmp_path, programs)
    before = one.make(check_mode=False)
    for path in (tmp_path / "lock" / "wheels").iterdir():
        path.unlink()
    (tmp_path / "lock" / "pylock.toml").unlink()
    programs.calls.clear()
    uv, added = one.complete()
    assert not added
    assert os.path.basename(uv) == UV
    assert one.lock_text() == before
    assert any("build" in call for call in programs.calls)
    assert not any("build.in" in " ".join(call) for call in programs.calls), "the build requirements are the lock's"
    lock = lockfile.read(one.lock_text())
    assert lock.pins["deepspeed"].hashes == (sha256_of(one.built(lock)[0]),)


def gone(lock_dir):
    (lock_dir / "wheels" / "deepspeed-0.19.8-py3-none-any.whl").unlink()


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (lambda _p, lock: next((lock / "wheels").iterdir()).write_text("evil"), "the wheel deepspeed-0.19.8"),
        (lambda _p, lock: (lock / "tools" / UV).write_text("evil"), "uv 0.13.8"),
        (lambda p, lock: (setattr(p, "uv", "evil"), (lock / "tools" / UV).unlink()), "uv 0.13.8 from the index"),
        (lambda p, lock: (setattr(p, "source", b"evil"), gone(lock)), "the source of deepspeed 0.19.8"),
        (lambda p, lock: (setattr(p, "tool", "evil"), gone(lock)), "Hash mismatch for setuptools"),
        (lambda p, lock: (setattr(p, "builds", 1), gone(lock)), "Copy deepspeed-0.19.8-py3-none-any.whl from where"),
    ],
)
def test_what_was_exchanged_stops_the_run_and_leaves_the_lock(tmp_path, attack, words):
    programs = Programs(WHEELS, ("deepspeed-0.19.8",))
    before = store(tmp_path, programs).make(check_mode=False)
    attack(programs, tmp_path / "lock")
    with pytest.raises(ToolError, match=words):
        store(tmp_path, programs).complete()
    assert (tmp_path / "lock" / "requirements.txt").read_text(encoding="utf-8") == before


@pytest.mark.parametrize("name", [*WHEELS, "deepspeed-0.19.8-py3-none-any.whl"])
def test_a_new_lock_keeps_the_hashes_of_versions_that_stay(tmp_path, name):
    programs = Programs(dict(WHEELS), ("deepspeed-0.19.8",))
    before = store(tmp_path, programs).make(check_mode=False)
    pylock = (tmp_path / "lock" / "pylock.toml").read_text(encoding="utf-8")
    if name in WHEELS:
        programs.wheels[name] = "evil"
    else:
        (tmp_path / "lock" / "wheels" / name).write_text("evil")
    with pytest.raises((ToolError, ValueError), match="has another hash than in the lock"):
        store(tmp_path, programs, extra=("tqdm",)).make(check_mode=False)
    assert (tmp_path / "lock" / "requirements.txt").read_text(encoding="utf-8") == before
    assert (tmp_path / "lock" / "pylock.toml").read_text(encoding="utf-8") == pylock


def test_a_new_lock_takes_over_what_the_old_one_says_of_sources_and_tools(tmp_path):
    programs = Programs(WHEELS, ("deepspeed-0.19.8",))
    old = lockfile.read(store(tmp_path, programs).make(check_mode=False))
    assert set(old.extras) == {"tool uv", "source deepspeed", "build deepspeed setuptools"}
    programs.calls.clear()
    new = lockfile.read(store(tmp_path, programs, extra=("tqdm",)).make(check_mode=False))
    assert (new.extras, new.pins) == (old.extras, old.pins)
    assert not any("build" in call for call in programs.calls)


def test_an_update_accepts_what_is_there_and_builds_again(tmp_path):
    programs = Programs(dict(WHEELS), ("deepspeed-0.19.8",))
    one = store(tmp_path, programs)
    old = one.make(check_mode=False)
    assert one.make(check_mode=False, update=True) == old
    assert one.notes == []
    (tmp_path / "lock" / "wheels" / "deepspeed-0.19.8-py3-none-any.whl").write_text("evil")
    programs.uv, programs.tool, programs.wheels["tqdm-4.70.1-py3-none-any.whl"] = "new", "setuptools 81", "new"
    lock = lockfile.read(one.make(check_mode=False, update=True))
    assert lock.pins["tqdm"].hashes == (sha("new"),)
    assert lock.extras["tool uv"].hashes == (sha("new"),)
    assert lock.extras["build deepspeed setuptools"].hashes == (sha("setuptools 81"),)
    assert lock.pins["deepspeed"].hashes != (sha("evil"),)
    assert "trainmesh_lock_update" in one.notes[0]
    assert one.complete() == (str(tmp_path / "lock" / "tools" / UV), False)


def test_a_lock_of_before_is_completed_and_its_hashes_stay(tmp_path):
    programs = Programs(WHEELS, ("deepspeed-0.19.8",))
    one = store(tmp_path, programs)
    path = tmp_path / "lock" / "requirements.txt"
    full = one.make(check_mode=False)
    bare = "".join(f"{row}\n" for row in full.splitlines() if not row.startswith(("# tool", "# source", "# build")))
    path.write_text(bare, encoding="utf-8")
    assert one.lock_text() == bare
    assert one.complete()[1]
    assert one.lock_text().startswith(bare)
    assert set(lockfile.read(one.lock_text()).extras) == {"tool uv", "source deepspeed"}
    assert "source deepspeed, tool uv" in one.notes[0]
    assert not one.complete()[1]
    path.write_text(bare, encoding="utf-8")
    gone(tmp_path / "lock")
    assert one.complete()[1]
    assert one.lock_text() == full


def test_a_wheel_that_no_lock_vouches_for_is_built_again(tmp_path):
    place = tmp_path / "lock" / "wheels"
    place.mkdir(parents=True)
    (place / "deepspeed-0.19.8-py3-none-any.whl").write_text("evil")
    one = store(tmp_path, Programs(WHEELS, ("deepspeed-0.19.8",)))
    assert lockfile.read(one.make(check_mode=False)).pins["deepspeed"].hashes != (sha("evil"),)


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_hashes_of_the_user_count_in_check_mode_too(tmp_path, check_mode):
    one = store(tmp_path, Programs(WHEELS, ("deepspeed-0.19.8",)))
    limits = wanted.Limits(hashes=(("torch", ("0" * 64,)),), places=(("torch", "r.txt:1"),))
    one.wish = dataclasses.replace(one.wish, limits=limits)
    with pytest.raises(ValueError, match=r"r\.txt:1: no file of torch"):
        one.make(check_mode)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("uv build: ModuleNotFoundError: No module named 'torch'", "--no-build-isolation --on NODE deepspeed"),
        ("uv build: error: no space left", "uv build: error: no space left"),
    ],
)
def test_a_build_that_needs_a_node_says_so(tmp_path, monkeypatch, said, told):
    def fail(*_args):
        raise ToolError(said)

    monkeypatch.setattr(build.Builder, "build", fail)
    with pytest.raises(ToolError, match=told):
        store(tmp_path, Programs(WHEELS, ("deepspeed-0.19.8",))).make(check_mode=False)


def test_builds_see_neither_tokens_nor_the_index(tmp_path, monkeypatch):
    for name in (
        "HF_TOKEN",
        "SSH_AUTH_SOCK",
        "AWS_SECRET_ACCESS_KEY",
        "UV_INDEX_URL",
        "UV_INSECURE_HOST",
        "PIP_INDEX_URL",
    ):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("HTTPS_PROXY", "http://joe:canary-proxy@proxy:3128")
    programs = Programs(WHEELS, ("deepspeed-0.19.8",))
    store(tmp_path, programs).make(check_mode=False)
    assert {kind for kind, _env in programs.environments} == {"build", "pip", "venv"}
    for kind, env in programs.environments:
        assert "canary" not in env.values()
        if kind == "build":
            assert not any("canary" in value for value in env.values())
            assert env["HOME"].startswith(str(tmp_path))
            assert env["PYTHONHASHSEED"] == "0", "the same source would give another wheel each time"


@pytest.mark.parametrize(
    ("project", "wanted"),
    [
        ("", ["setuptools>=40.8.0", "wheel"]),
        ('[build-system]\nrequires = ["hatchling"]\n', ["hatchling"]),
        ('[build-system]\nrequires = ["setuptools>=64"]\n', ["setuptools>=64", "wheel"]),
        ("[tool.x]\n", ["setuptools>=40.8.0", "wheel"]),
    ],
)
def test_the_build_requirements_are_read_without_running_anything(tmp_path, project, wanted):
    (tmp_path / "a.tar.gz").write_bytes(archive(project))
    assert build_requirements(str(tmp_path / "a.tar.gz")) == wanted
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("a-1/pyproject.toml", project)
    assert build_requirements(str(tmp_path / "a.zip")) == wanted


@pytest.mark.parametrize("content", [b"", b"no archive", archive("[[")])
def test_a_source_that_cannot_be_read_is_said(tmp_path, content):
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(ToolError, match=r"a\.tar\.gz can't be read"):
        build_requirements(str(tmp_path / "a.tar.gz"))


def test_one_run_at_a_time_works_on_a_lock(tmp_path):
    one, two = store(tmp_path, Programs(WHEELS)), store(tmp_path, Programs(WHEELS))
    with one.alone(), pytest.raises(ToolError, match="another run works on"), two.alone():
        pass
    with two.alone():
        pass


def test_what_a_killed_run_left_beside_the_lock_goes(tmp_path):
    left = store(tmp_path, Programs({"torch": "2.13.0+cpu"}))
    places = [pathlib.Path(left.lock_dir), pathlib.Path(left.lock_dir, "tools")]
    for place in places:
        (place / "tmpabcd_123" / "out").mkdir(parents=True)
        (place / ".trainmesh-abcd_123").touch()
        (place / "kept.whl").touch()
    with left.alone():
        found = {path.name for place in places for path in place.iterdir()}
    assert found == {"kept.whl", "tools"}


def test_uv_of_this_machine_serves_where_its_wheel_cannot_be_had(tmp_path, monkeypatch):
    programs = Programs(WHEELS)
    tools = Tools("3.11", "x86_64-manylinux_2_28", "", programs)
    path, pin = tools.node_uv(str(tmp_path / "a"), None)
    assert os.path.basename(path) == UV
    assert pin == lockfile.Pin("0.13.8", (sha("uv"),))
    programs.fails = ["uv"]
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert tools.node_uv(str(tmp_path / "b"), None) == ("/usr/bin/uv", None)
    assert tools.node_uv(str(tmp_path / "b"), pin) == ("/usr/bin/uv", None)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(ToolError):
        tools.node_uv(str(tmp_path / "c"), None)
    assert tools.node_uv(str(tmp_path / "a"), None) == (path, pin), "without an index an older wheel serves"


def test_a_tool_that_does_not_come_back_is_said(tmp_path):
    def slow(argv, limit, **_options):
        return Outcome(0, "", "", False, False, 0.1) if "config" in argv else Outcome(None, "", "", True, False, limit)

    with pytest.raises(ToolError, match="reachable"):
        store(tmp_path, slow).make(check_mode=False)
