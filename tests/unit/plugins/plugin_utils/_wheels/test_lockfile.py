# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock: its text, its reading, and what uv and pip say."""

from __future__ import annotations

import dataclasses
import datetime
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import index as wheels_index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import lockfile
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.lockfile import File, Package, Pin, Wish

SHA = "a" * 64
DAY = datetime.date(2026, 11, 21)
WISH = Wish("3.11", "x86_64-manylinux_2_28", "cpu", ("torch==2.13.0+cpu", "numpy==2.*"), "cpu")
PYLOCK = """\
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11"

[[packages]]
name = "deepspeed"
version = "0.19.8"
sdist = { url = "https://files.example.com/deepspeed-0.19.8.tar.gz", hashes = { sha256 = "9e49" } }

[[packages]]
name = "mine"
version = "1.0"
vcs = { type = "git", url = "https://example.com/mine.git", commit-id = "abc" }

[[packages]]
name = "torch"
version = "2.13.0+cpu"
marker = "sys_platform != 'emscripten'"
wheels = [{ url = "file:///srv/torch-2.13.0%2Bcpu-cp311-cp311-linux_x86_64.whl", hashes = { sha256 = "67" } }]
"""


def wheel(name: str, sha: str = SHA, url: str = "https://files.example.com/") -> File:
    return File(name, url + name, sha)


@pytest.mark.parametrize("build", ["cpu", ""])
def test_a_lock_is_read_as_it_was_written(build):
    wish = dataclasses.replace(WISH, torch_build=build)
    packages = [
        Package("torch", "2.13.0+cpu", (wheel("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"),)),
        Package("numpy", "2.4.6", (wheel("a.whl", "b" * 64), wheel("b.whl", "c" * 64))),
    ]
    lock = lockfile.read(lockfile.text(wish, packages, {}, "uv 0.13.8", "cu126", DAY))
    assert lock.head == wish.head
    assert lock.torch_backend == "cu126"
    assert lock.versions == {"torch": "2.13.0+cpu", "numpy": "2.4.6"}
    assert lock.pins["numpy"].hashes == ("b" * 64, "c" * 64)


def test_a_lock_tells_where_each_package_was_found_and_is_no_other_for_that():
    index, start = 'index = "https://joe:SECRET@mirror.lan/simple"', "[[packages]]\n"
    document = "".join(
        f'{start}name = "{name}"\nversion = "1"\n{found}\n'
        f'wheels = [{{url = "{place}/{name}.whl", hashes = {{sha256 = "{"a" * 64}"}}}}]\n'
        for name, found, place in (
            ("one", index, "https://mirror.lan"),
            ("two", index, "https://mirror.lan"),
            ("odd", "", "file:///srv/wheels"),
        )
    )
    packages = lockfile.parse_pylock(document)
    lock = lockfile.text(WISH, packages, {}, "uv 0.13.8", "cu126", DAY)
    assert "with uv 0.13.8 from https://****@mirror.lan/simple, torch backend cu126\n" in lock
    assert "# from file:///srv/wheels\nodd==1" in lock and lock.count("# from") == 1
    elsewhere = [dataclasses.replace(package, origin="https://other.lan/simple") for package in packages]
    assert lockfile.read(lock) == lockfile.read(lockfile.text(WISH, elsewhere, {}, "uv 0.13.8", "cu126", DAY))


@given(
    st.dictionaries(
        st.text(string.ascii_lowercase, min_size=1, max_size=8),
        st.tuples(st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}(\+cpu)?", fullmatch=True), st.integers(1, 3)),
        max_size=6,
    )
)
def test_every_lock_comes_back(pins):
    packages = [
        Package(name, version, tuple(wheel(f"{n}.whl", str(n) * 64) for n in range(count)))
        for name, (version, count) in pins.items()
    ]
    lock = lockfile.read(lockfile.text(WISH, packages, {}, "uv 0.13.8", "", DAY))
    assert lock.versions == {name: version for name, (version, _count) in pins.items()}
    assert lock.head == WISH.head


def test_a_lock_that_uv_wrote_for_a_user_is_read_too():
    text = (
        "\n".join(WISH.head)
        + f"\nnumpy[extra]==2.4.6 ; python_version > '3' \\\n    --hash=sha256:{SHA} \\\n    --hash=sha256:{'b' * 64}\n"
        + "    # via\n    #   -r requirements.in\n"
    )
    lock = lockfile.read(text)
    assert lock.versions == {"numpy": "2.4.6"}
    assert len(lock.pins["numpy"].hashes) == 2


@pytest.mark.parametrize("line", ["numpy==2.4.6", "numpy>=2", "-e .", "--index-url https://example.com"])
def test_a_lock_without_hash_or_pin_is_refused(line):
    with pytest.raises(ValueError, match=r"hash|pinned"):
        lockfile.read(f"# head\n{line}\n")


@pytest.mark.parametrize(
    "package",
    [
        Package("mine", "1.0", is_direct=True),
        Package("deepspeed", "0.19.8", source=File("d.tar.gz", "https://x/d", SHA)),
    ],
)
def test_what_has_no_wheel_is_not_locked(package):
    with pytest.raises(ValueError, match="trainmesh_wheelhouse"):
        lockfile.text(WISH, [package], {}, "uv 0.13.8", "", DAY)


def test_another_wish_has_another_head():
    other = Wish("3.12", WISH.platform, "cpu", WISH.requirements)
    assert other.head != WISH.head
    assert lockfile.changed_head(WISH.head, other.head) == "it was made for python 3.11; now python 3.12"


def test_uv_answer_is_read():
    deepspeed, mine, torch = lockfile.parse_pylock(PYLOCK)
    assert not deepspeed.wheels
    assert deepspeed.source is not None
    assert deepspeed.source.is_remote
    assert mine.is_direct
    assert torch.wheels[0].name == "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"
    assert not torch.wheels[0].is_remote


@pytest.mark.parametrize(
    ("version", "build", "wrong"),
    [("2.13.0", "cu130", ""), ("2.13.0+cpu", "cpu", ""), ("2.13.0+cpu", "cu126", "2.13.0+cpu")],
)
def test_another_build_of_torch_is_noticed(version, build, wrong):
    assert lockfile.wrong_build([Package("torch", version)], build) == wrong


def test_entries_of_tools_and_sources_are_added_and_never_changed():
    before = lockfile.text(WISH, [Package("deep", "1.0", (wheel("deep.whl"),))], {}, "uv 0.13.8", "", DAY)
    uv, source = Pin("0.13.8", ("1" * 64,)), Pin("1.0", ("2" * 64, "3" * 64))
    after = lockfile.with_extras(before, {"tool uv": uv})
    full = lockfile.with_extras(after, {"tool uv": Pin("9", ("9" * 64,)), "source deep": source})
    lock = lockfile.read(full)
    assert lock.extras == {"tool uv": uv, "source deep": source}
    assert lock[:3] == lockfile.read(before)[:3], "what an older release reads is the same"
    packages = [Package("deep", "1.0", (wheel("deep.whl"),))]
    assert lockfile.read(lockfile.text(WISH, packages, lock.extras, "uv 0.13.8", "", DAY)) == lock


@pytest.mark.parametrize(
    "row", ["# tool uv==1", "# tool uv==1 --hash=sha256:xyz", "# tool pip==1 --hash=sha256:" + SHA]
)
def test_what_is_no_entry_is_a_comment(row):
    lock = lockfile.text(WISH, [Package("deep", "1.0", (wheel("deep.whl"),))], {}, "uv 0.13.8", "", DAY)
    assert lockfile.read(f"{lock}{row}\n") == lockfile.read(lock)


def test_older_platforms_are_accepted_too():
    tags = lockfile.platform_tags("x86_64-manylinux_2_28")
    assert tags[0] == "manylinux_2_28_x86_64"
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64"} <= set(tags)
    assert "manylinux_2_31_x86_64" not in tags
    with pytest.raises(ValueError, match="platform"):
        lockfile.platform_tags("windows")


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("deepspeed-0.19.8-py3-none-any.whl", True),
        ("x-1-cp311-cp311-linux_x86_64.whl", True),
        ("x-1-cp38-abi3-manylinux2014_x86_64.whl", True),
        ("x-1-cp312-abi3-manylinux2014_x86_64.whl", False),
        ("x-1-py2.py3-none-any.whl", True),
        ("x-1-1build-py2-none-any.whl", False),
        ("x-1-cp312-cp312-linux_x86_64.whl", False),
        ("x-1-cp311-cp311-linux_aarch64.whl", False),
    ],
)
def test_a_wheel_built_here_must_fit_the_nodes(name, fits):
    assert lockfile.wheel_fits(name, WISH.platform, "3.11") is fits


def test_wheels_are_found_by_name_and_version():
    names = ["typing_extensions-4.16.0-py3-none-any.whl", "torch-2.13.0+cpu-cp311-cp311-x.whl", "torch-2.13.0.tar.gz"]
    assert lockfile.wheel_of("typing-extensions", "4.16.0", names) == names[:1]
    assert lockfile.wheel_of("torch", "2.13.0", names) == []


PIP = """\
:env:.cert='/etc/ssl/own.pem'
:env:.find-links='/srv/wheels https://mirror.example.com/links'
global.find-links='/old'
global.index-url='https://me:secret@mirror.example.com/simple'
global.extra-index-url='file:///srv/simple\\nhttps://extra.example.com/simple'
install.trusted-host='mirror.example.com'
"""


def test_the_strongest_section_of_pip_counts():
    index = wheels_index.from_pip(PIP)
    assert index.find_links == ("/srv/wheels", "https://mirror.example.com/links")
    assert index.extra == ("file:///srv/simple", "https://extra.example.com/simple")
    assert index.certificate == "/etc/ssl/own.pem"
    words = wheels_index.uv_arguments(index)
    assert words[:2] == ["--default-index", "https://me:secret@mirror.example.com/simple"]
    assert words.count("--index") == words.count("--find-links") == 2
    assert wheels_index.uv_environment(index)["SSL_CERT_FILE"] == "/etc/ssl/own.pem"


def test_no_address_stands_in_the_command_line():
    index = wheels_index.from_pip(PIP)
    words, variables = wheels_index.in_environment(
        ["pip", *wheels_index.uv_arguments(index), "--find-links", "/my house", "x"]
    )
    assert words[0] == "pip" and words[-1] == "x" and not any("://" in word or "/" in word for word in words)
    assert variables == {
        "UV_DEFAULT_INDEX": "https://me:secret@mirror.example.com/simple",
        "UV_INDEX": "file:///srv/simple https://extra.example.com/simple",
        "UV_FIND_LINKS": "file:///srv/wheels,https://mirror.example.com/links,file:///my%20house",
    }
    assert wheels_index.in_environment(["--no-index"]) == (["--no-index"], {})


def test_an_index_of_the_inventory_takes_the_place_of_pips_own():
    index = wheels_index.from_pip("global.no-index='true'\n" + PIP, "https://own.example.com/simple")
    assert index.default == "https://own.example.com/simple"
    assert not index.no_index
    assert wheels_index.uv_arguments(wheels_index.from_pip("global.no-index='1'"))[0] == "--no-index"


def test_nodes_are_told_no_path_of_the_controller():
    nodes = wheels_index.for_nodes(wheels_index.from_pip(PIP))
    assert nodes["extra"] == ["https://extra.example.com/simple"]
    assert nodes["find_links"] == ["https://mirror.example.com/links"]


def test_messages_name_the_places_and_no_password():
    index = wheels_index.from_pip(PIP)
    answer = "error: No solution found\n  cause: https://me:secret@mirror.example.com/simple has no torch==2.13.0+cu126"
    message = wheels_index.explain(answer, index.places, ["torch==2.13.0+cu126"])
    assert "secret" not in message
    for part in ("torch==2.13.0+cu126", "/srv/wheels", "trainmesh_index_url", "trainmesh_wheelhouse", "No solution"):
        assert part in message


@given(st.text(max_size=200))
def test_no_output_of_pip_makes_trouble(text):
    wheels_index.uv_arguments(wheels_index.from_pip(text))
