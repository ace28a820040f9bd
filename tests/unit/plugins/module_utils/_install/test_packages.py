# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An environment against a lock, and its installation."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import packages as install_packages
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import uv
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.packages import Have, Plan, plan

WISH = {"torch": "2.13.0+cpu", "typing-extensions": "4.16.0"}
DONE = {"torch": ("2.13.0+cpu",), "typing-extensions": ("4.16.0",)}
VERSION_PY = "from typing import Optional\n__version__ = '2.13.0+cpu'\ndebug = False\ncuda: Optional[str] = None\n"


def environment(path: pathlib.Path, packages: dict[str, str], python: str = "3.11") -> pathlib.Path:
    """An environment with an interpreter of this version that only answers the question asked."""
    site = path / "env" / "lib" / f"python{python}" / "site-packages"
    site.mkdir(parents=True)
    (path / "env" / "bin").mkdir()
    (path / "var").mkdir(exist_ok=True)
    interpreter = path / "env" / "bin" / "python"
    interpreter.write_text(f"#!/bin/sh\necho {python}\n", encoding="utf-8")
    interpreter.chmod(0o755)
    for name, version in packages.items():
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "RECORD").touch()
    return site


def have_of(path: pathlib.Path) -> Have:
    where = uv.paths(str(path))
    return install_packages.read(where.environment, where.marker, where.record)


def test_an_environment_is_read_without_an_import(tmp_path):
    site = environment(tmp_path, {"torch": "2.13.0+cpu", "typing_extensions": "4.16.0"})
    (site / "torch").mkdir()
    (site / "torch" / "version.py").write_text(VERSION_PY, encoding="utf-8")
    have = have_of(tmp_path)
    assert have == Have("3.11", DONE, "cpu")
    assert plan(WISH, "3.11", "cpu", have).is_empty
    assert install_packages.faults(WISH, "3.11", "cpu", have) == []


def test_nothing_there_is_no_error(tmp_path):
    found = plan(WISH, "3.11", "cpu", have_of(tmp_path))
    assert found.missing == ("torch", "typing-extensions")
    assert "no interpreter" in found.problems[0]


def test_a_package_without_its_record_was_cut_off(tmp_path):
    site = environment(tmp_path, {"torch": "2.13.0+cpu", "typing_extensions": "4.16.0"})
    (site / "torch-2.13.0+cpu.dist-info" / "RECORD").unlink()
    assert plan(WISH, "3.11", "", have_of(tmp_path)).missing == ("torch",)


def test_two_versions_of_one_package_differ_from_the_lock():
    found = plan(WISH, "3.11", "cpu", Have("3.11", {**DONE, "torch": ("2.12.0", "2.13.0+cpu")}, "cpu"))
    assert found.different == (("torch", "2.12.0, 2.13.0+cpu", "2.13.0+cpu"),)


def test_another_build_of_the_same_version_is_a_problem():
    have = Have("3.11", {"torch": ("2.13.0",)}, "cu130")
    assert plan({"torch": "2.13.0"}, "3.11", "cu126", have).problems == ("torch is the build cu130, not cu126",)
    assert plan({"torch": "2.13.0"}, "3.11", "cu130", have).is_empty


def test_users_packages_stay_and_those_of_an_earlier_lock_go():
    have = Have("3.11", {**DONE, "wandb": ("1.0",), "old": ("1.0",)}, "cpu", earlier=("torch", "old", "gone"))
    assert plan(WISH, "3.11", "cpu", have) == Plan(stale=("old",))


def test_an_installation_that_did_not_end_is_done_again():
    found = plan(WISH, "3.11", "cpu", Have("3.11", DONE, "cpu", unfinished=True))
    assert not found.is_empty
    assert "--reinstall" in uv.arguments(uv.paths("/p"), "/d", True, {}, found)


@pytest.mark.parametrize(
    ("text", "build"),
    [
        (VERSION_PY, "cpu"),
        ("__version__ = '2.14.1+cu130'\n", "cu130"),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = '12.6'\n", "cu126"),
        ("__version__ = '2.13.0'\ncuda = None\n", ""),
        ("", ""),
    ],
)
def test_the_build_of_torch(text, build):
    assert install_packages.torch_build(text) == build


@given(st.text(max_size=300))
def test_no_version_file_makes_trouble(text):
    install_packages.torch_build(text)


def test_the_diff_shows_what_changes_alone():
    have = Have(
        "3.11", {"torch": ("2.12.0",), "typing-extensions": ("4.16.0",), "old": ("1",)}, "cpu", earlier=("old",)
    )
    wish = {**WISH, "ninja": "1.13.2"}
    diff = install_packages.diff_of(wish, plan(wish, "3.11", "cpu", have), have)
    assert diff == {"before": "old==1\ntorch==2.12.0\n", "after": "ninja==1.13.2\ntorch==2.13.0+cpu\n"}


def test_offline_asks_no_index_and_hashes_are_always_checked():
    where = uv.paths("/opt/trainmesh")
    found = Plan(missing=("torch",))
    offline = uv.arguments(where, "/d", True, {"default": "https://x/simple"}, found)
    assert {"--require-hashes", "--no-build", "--offline", "--no-index"} <= set(offline)
    index = {"default": "https://me:secret@x/simple", "extra": ["https://y"], "torch_backend": "cu126"}
    online = uv.arguments(where, "/d", False, index, found)
    assert "--require-hashes" in online
    assert "--no-index" not in online
    assert not any("secret" in word for word in online)
    index["find_links"] = ["https://me:secret@z/wheels,more"]
    assert not any("secret" in word for word in uv.arguments(where, "/d", False, index, found))
    places = uv.environment(where, "/d e", index)["UV_FIND_LINKS"]
    assert places == "file:///d%20e,https://me:secret@z/wheels%2Cmore"
    assert uv.environment(where, "/d", index)["UV_DEFAULT_INDEX"] == index["default"]


def handed(path: pathlib.Path) -> pathlib.Path:
    """A directory with a uv wheel and a lock, as the controller hands it over."""
    path.mkdir()
    with zipfile.ZipFile(path / "uv-0.13.8-py3-none-manylinux2014_x86_64.whl", "w") as archive:
        archive.writestr("uv-0.13.8.data/scripts/uv", "#!/bin/sh\n")
    (path / "requirements.txt").write_text("torch==2.13.0+cpu --hash=sha256:0\n", encoding="utf-8")
    return path


def test_an_installation_leaves_no_marker_and_remembers_its_packages(tmp_path):
    where, seen = uv.paths(str(tmp_path)), []
    handout = str(handed(tmp_path / "handed"))

    def run(argv, limit, **options):
        seen.append((argv, os.path.exists(where.marker), options["env"]["UV_CACHE_DIR"]))
        return Outcome(0, "", "", False, False, 1.0)

    uv.install(where, handout, True, {}, Plan(stale=("old",)), ["torch"], 5, run)
    assert [(call[0][2], call[1]) for call in seen] == [("install", True), ("uninstall", True)]
    assert pathlib.Path(where.record).read_text(encoding="utf-8") == "torch\n"
    assert os.stat(where.uv).st_mode & stat.S_IXUSR
    assert not os.path.exists(where.marker)
    assert not os.path.exists(where.cache)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome(None, "", "", True, False, 5), "next run repairs"),
        (Outcome(2, "", "error: No space left on device (os error 28)", False, False, 1), "trainmesh_prefix"),
        (Outcome(2, "", "error: Failed to fetch: `https://me:pw@x/simple`", False, False, 1), "trainmesh_wheelhouse"),
    ],
)
def test_a_failed_installation_leaves_its_marker_and_says_what_to_do(tmp_path, outcome, words):
    where = uv.paths(str(tmp_path))
    with pytest.raises(uv.InstallError, match=words) as caught:
        uv.install(where, str(handed(tmp_path / "h")), True, {}, Plan(), [], 5, lambda *_a, **_k: outcome)
    assert "pw@" not in str(caught.value)
    assert os.path.exists(where.marker)


def test_without_uv_nothing_begins(tmp_path):
    (tmp_path / "empty").mkdir()
    where = uv.paths(str(tmp_path))
    with pytest.raises(uv.InstallError, match="uv"):
        uv.install(where, str(tmp_path / "empty"), True, {}, Plan(), [], 5)


def test_one_installation_at_a_time(tmp_path):
    where = uv.paths(str(tmp_path))
    os.makedirs(os.path.dirname(where.marker))
    with (
        uv.alone(where, 1),
        pytest.raises(uv.InstallError, match="another"),
        uv.alone(where, 0),
    ):
        pass
    with uv.alone(where, 0):
        pass


def test_the_index_is_read_from_the_handed_files(tmp_path):
    assert uv.read_index(str(tmp_path)) == {}
    (tmp_path / "index.json").write_text(json.dumps({"default": "https://x"}), encoding="utf-8")
    assert uv.read_index(str(tmp_path)) == {"default": "https://x"}


def test_an_unknown_user_is_named():
    with pytest.raises(ValueError, match="trainmesh_user"), job_user.acting_as("no-such-user"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_acts_as_the_user_and_comes_back_while_commands_cannot(tmp_path):
    from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command

    with job_user.acting_as("nobody"):
        uid = os.geteuid()
        assert uid == job_user.account("nobody").pw_uid
        with pytest.raises(PermissionError):
            (tmp_path / "file").write_text("no", encoding="utf-8")
        ids = command.run(["grep", "-E", "^[UG]id:", "/proc/self/status"], 10).out.split()
    assert os.geteuid() == 0
    assert "0" not in ids


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (None, []),
        ("not json", []),
        ("[]", []),
        ('{"roots": ["wandb", "gone"], "packages": {"wandb": "0.21"}}', []),
        ('{"roots": ["wandb"], "packages": {"wandb": "0.21", "click": "8"}}', ["wandb==0.21"]),
        ('{"roots": ["-e", "wandb"], "packages": {"-e": "1", "wandb": "0.21+cpu"}}', ["wandb==0.21+cpu"]),
        ('{"roots": ["a"], "packages": {"a": "1; import os"}}', []),
    ],
)
def test_what_was_added_is_read_and_nothing_but_packages(tmp_path, record, found):
    if record is not None:
        (tmp_path / "var/added").mkdir(parents=True)
        (tmp_path / "var/added/record.json").write_text(record)
    assert install_packages.added(str(tmp_path)) == found
