# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's own requirements: what is read, what is refused, and where it says so."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import lockfile, wanted
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.wanted import FileFault, Planned

ONE, TWO = "1" * 64, "2" * 64
PLANNED = Planned({"torch": "2.13.0", "deepspeed": "0.19.8"}, "cu126", "3.11", "x86_64")


def put(place, text, name="requirements.txt"):
    (place / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(place / name)


def texts(lines):
    return [line.text for line in lines]


def test_a_file_with_all_that_pip_writes(tmp_path):
    (tmp_path / "more").mkdir()
    put(tmp_path / "more", "tqdm ; python_version < '3.12'\n-c limits.txt\n")
    put(tmp_path / "more", "numpy<3\n", "limits.txt")
    path = put(
        tmp_path,
        f"# ours\n\n-r more/requirements.txt\nWand_B[media] == 0.21.*  # logs\nrequests==2.32 \\\n"
        f"    --hash=sha256:{ONE} \\\n    --hash=sha256:{TWO}\n    # via somebody\n--require-hashes\n"
        "-rmore/requirements.txt\n",
    )
    found = wanted.read(path)
    assert texts(found.lines) == ['tqdm; python_version < "3.12"', "Wand_B[media]==0.21.*", "requests==2.32"]
    assert [line.name for line in found.lines] == ["tqdm", "wand-b", "requests"]
    assert found.lines[2].hashes == (ONE, TWO)
    assert found.lines[2].place == f"{path}:5"
    assert texts(found.constraints) == ["numpy<3"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_another_system(tmp_path, encoding):
    found = wanted.read(put(tmp_path, "pandas==2.2\r\ntqdm\r\n".encode(encoding)))
    assert texts(found.lines) == ["pandas==2.2", "tqdm"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("-e .", "trainmesh_wheelhouse"),
        ("--editable=./x", "trainmesh_wheelhouse"),
        ("./dist/x-1-py3-none-any.whl", "an address or a path"),
        ("https://example.org/x-1-py3-none-any.whl", "an address or a path"),
        ("git+ssh://git@example.org/x", "an address or a path"),
        ("x @ git+https://example.org/x@v1", "no hash on an index"),
        ("numpy @ file:///croot/numpy_and_numpy_base_17/work", "pip list --format=freeze"),
        ("numpy @ file:///home/conda/feedstock_root/build_artifacts/numpy_1/work", "pip list --format=freeze"),
        ("numpy=1.26", "write =="),
        ("numpy => 1", "expected a requirement"),
        ("--extra-index-url https://download.example.org/whl/cu126", "trainmesh_torch_index_url"),
        ("-i https://pypi.example.org/simple", "trainmesh_index_url"),
        ("--trusted-host pypi.example.org", "trainmesh_index_insecure"),
        ("--find-links wheels", "trainmesh_wheelhouse"),
        ("--pre", "pre-release"),
        ("--global-option=x", "take the line away"),
        ("x==1 --config-settings a=b", "no option but --hash"),
        ("x==1 --hash=md5:d41d8cd98f00b204e9800998ecf8427e", "sha256"),
        ("x==${VERSION}", "variables are not replaced"),
        ("-r https://example.org/requirements.txt", "copy it here"),
        ("-c nowhere.txt", "can't be read"),
        ("-r requirements.txt", "being read already"),
    ],
)
def test_what_a_lock_cannot_hold_is_refused_with_its_line(tmp_path, row, words):
    path = put(tmp_path, f"tqdm\n{row}\n")
    with pytest.raises(FileFault) as caught:
        wanted.read(path)
    (fault,) = caught.value.faults
    assert fault.startswith(f"{path}:2: ")
    assert words in fault


def test_all_faults_are_told_at_once_and_no_login(tmp_path):
    path = put(tmp_path, "-e .\nx @ https://joe:CANARY@example.org/x.whl\n--index-url https://CANARY@example.org/\n")
    with pytest.raises(FileFault) as caught:
        wanted.read(path)
    assert len(caught.value.faults) == 3
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [("environment.yml", "pip list"), ("poetry.lock", "poetry export"), ("Pipfile.lock", "pipenv requirements")],
)
def test_a_file_of_another_tool_comes_with_its_export(tmp_path, name, words):
    with pytest.raises(FileFault, match=words):
        wanted.read(put(tmp_path, "x", name))


def test_no_text_is_said_with_the_line(tmp_path):
    with pytest.raises(FileFault, match=r"requirements.txt:2: expected text in UTF-8, found the byte 0xff"):
        wanted.read(put(tmp_path, b"a==1\n\xff"))


def test_a_relative_path_begins_beside_the_inventory(tmp_path):
    assert wanted.path_of("../code/requirements.txt", "/inv/site/.trainmesh") == "/inv/code/requirements.txt"
    assert wanted.path_of("/x/requirements.txt", "/inv/.trainmesh") == "/x/requirements.txt"


PROJECT = """
[project]
name = "mine"
version = "1"
requires-python = ">=3.10"
dependencies = [
    "tqdm>=4",
    "torch>=2",
]
"""


def test_a_project(tmp_path):
    text = PROJECT + '[tool.uv]\nconstraint-dependencies = ["numpy<3"]\n[tool.uv.sources]\ntorch = {index = "pt"}\n'
    found = wanted.read(put(tmp_path, text, "pyproject.toml"))
    assert texts(found.lines) == ["tqdm>=4", "torch>=2"]
    assert found.lines[0].place.endswith("pyproject.toml:7")
    assert (texts(found.constraints), found.python) == (["numpy<3"], ">=3.10")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            PROJECT + '[tool.uv.sources]\ntqdm = {path = "../tqdm"}\n',
            r"pyproject.toml:11: .* takes tqdm from elsewhere",
        ),
        (PROJECT.replace("tqdm>=4", "tqdm @ file:///x"), "pyproject.toml:7: .*no hash on an index"),
        (PROJECT + '[tool.uv]\noverride-dependencies = ["numpy==1"]\n', "overrides"),
        ('[project]\nname = "x"\ndynamic = ["dependencies"]\n', "uv pip compile"),
        ("[tool.poetry.dependencies]\ntorch = '^2'\n", "poetry export"),
        ("[build-system]\n", r"no table \[project\]"),
        ("a = = 1", "is no TOML"),
        ("[project]\ndependencies = 3\n", "another form"),
    ],
)
def test_a_project_that_cannot_be_locked(tmp_path, text, words):
    with pytest.raises(FileFault, match=words):
        wanted.read(put(tmp_path, text, "pyproject.toml"))


UV_LOCK = f"""
version = 1
requires-python = ">=3.11"

[[package]]
name = "mine"
version = "1"
source = {{ virtual = "." }}
dependencies = [
    {{ name = "numpy" }},
    {{ name = "uvloop", extra = ["dev"], marker = "sys_platform == 'linux'" }},
]

[package.dev-dependencies]
dev = [{{ name = "pytest" }}]

[[package]]
name = "numpy"
version = "2.3"
source = {{ registry = "https://example.org/simple" }}
resolution-markers = ["python_full_version < '3.12'"]
sdist = {{ url = "https://example.org/n.tar.gz", hash = "sha256:{ONE}" }}
wheels = [{{ url = "https://example.org/n.whl", hash = "sha256:{TWO}" }}]

[[package]]
name = "torch"
version = "2.9.1+cu128"
source = {{ registry = "https://example.org/cu128" }}
wheels = [{{ url = "https://example.org/t.whl", hash = "sha256:{TWO}" }}]
"""


def test_a_lock_of_uv_limits_versions_and_files(tmp_path):
    found = wanted.read(put(tmp_path, UV_LOCK, "uv.lock"))
    assert texts(found.lines) == ["numpy", 'uvloop[dev]; sys_platform == "linux"']
    assert texts(found.constraints) == ['numpy==2.3; python_full_version < "3.12"', "torch==2.9.1+cu128"]
    limits = wanted.limits(found)
    assert limits.constraints == ('numpy==2.3; python_full_version < "3.12"',)
    assert limits.hashes == (("numpy", (ONE, TWO)),)


def test_a_lock_of_uv_with_a_package_of_its_own(tmp_path):
    text = UV_LOCK + '[[package]]\nname = "side"\nversion = "1"\nsource = { git = "https://example.org/x" }\n'
    with pytest.raises(FileFault, match=r"uv.lock:\d+: side is from elsewhere than an index \(git\)"):
        wanted.read(put(tmp_path, text, "uv.lock"))


def test_a_pylock(tmp_path):
    text = (
        f'lock-version = "1.0"\n[[packages]]\nname = "tqdm"\nversion = "4.67"\nmarker = "os_name == \'posix\'"\n'
        f'wheels = [{{name = "t.whl", hashes = {{sha256 = "{ONE}"}}}}]\n'
    )
    found = wanted.read(put(tmp_path, text, "pylock.toml"))
    assert texts(found.lines) == ['tqdm==4.67; os_name == "posix"']
    assert found.lines[0].hashes == (ONE,)
    with pytest.raises(FileFault, match="tqdm is from elsewhere"):
        wanted.read(put(tmp_path, text.replace('version = "4.67"', 'vcs = {type = "git"}'), "pylock.toml"))


def merged(place, text, planned=PLANNED):
    return wanted.merged(wanted.read(put(place, text)), planned)


def test_what_the_plan_brings_is_left_out(tmp_path):
    text = 'torch>=2\ntorch==2.13.0+cu126\ndeepspeed[sparse]\ntqdm\ntqdm\ntorch==2.2; sys_platform == "darwin"\n'
    assert merged(tmp_path, text) == (["deepspeed[sparse]", "tqdm"], [])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            "torch==2.5.1",
            "contradicts torch 2.13.0 of the plan: set trainmesh_torch: 2.5.1, or take the version away here",
        ),
        ("torch<2.13", "set trainmesh_torch to what"),
        ("torch==2.13.0+cu128", "set trainmesh_torch_build: cu128"),
        ("deepspeed==0.16.*", "set trainmesh_deepspeed"),
    ],
)
def test_what_contradicts_the_plan_says_what_to_set(tmp_path, row, words):
    _lines, (fault,) = merged(tmp_path, f"{row}\n")
    assert fault.startswith(f"{tmp_path}/requirements.txt:1: {row}")
    assert words in fault


def test_the_python_of_a_project_is_that_of_the_plan(tmp_path):
    found = wanted.read(put(tmp_path, PROJECT.replace(">=3.10", ">=3.12"), "pyproject.toml"))
    (fault,) = wanted.merged(found, PLANNED)[1]
    assert "asks for Python >=3.12, and the plan is Python 3.11: set trainmesh_python" in fault
    assert not wanted.merged(found._replace(python=">=3.11.4,<3.12"), PLANNED)[1]


def package(*wheels, source=""):
    files = tuple(lockfile.File(f"{each[0]}.whl", "https://x/y", each) for each in wheels)
    return lockfile.Package("x", "1", files, lockfile.File("x.tgz", "https://x/z", source) if source else None)


def test_only_files_with_a_hash_of_the_user_join_the_lock():
    limits = wanted.Limits(hashes=(("x", (ONE,)),), places=(("x", "r.txt:4"),))
    assert [file.sha256 for file in lockfile.within(package(ONE, TWO), limits).wheels] == [ONE]
    only_source = lockfile.within(package(TWO, source=ONE), limits)
    assert not only_source.wheels and only_source.source
    with pytest.raises(ValueError, match=r"r\.txt:4: no file of x 1 on the index has one of the hashes"):
        lockfile.within(package(TWO), limits)
    assert lockfile.within(package(TWO), wanted.Limits()) == package(TWO)


def test_the_plan_tells_what_is_asked_anew():
    def head(*rows, limits=wanted.NO_LIMITS):
        return lockfile.Wish("3.11", "x86_64-manylinux_2_28", "cpu", rows, limits=limits).head

    assert lockfile.asked_anew(head("a", "b"), head("b", "c==1")) == "adds c==1; drops a"
    assert lockfile.asked_anew(head("a"), head("a", limits=wanted.Limits(("x<2",)))) == "other constraints"
    assert lockfile.asked_anew(head("a"), head("a")) == ""
    one, other = wanted.Limits(("x<2",)), wanted.Limits(("x<3",))
    assert lockfile.asked_anew(head("a", limits=one), head("a", limits=other)) == "other constraints"
    assert lockfile.asked_anew(head("a", limits=one), head("a", limits=one)) == ""
