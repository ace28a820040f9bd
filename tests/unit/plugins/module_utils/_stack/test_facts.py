# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a whole node put together, on a bare one, a full one and one where everything hangs."""

from __future__ import annotations

import json
import pathlib
import sys
import time
import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import facts as stack

KEYS = {
    "login_environment",
    "cuda",
    "cudnn",
    "nccl",
    "library_path_cuda",
    "python",
    "packages",
    "other_copies",
    "package_names",
    "code_versions",
    "launchers",
    "torch",
    "deepspeed",
    "torch_import",
    "compilers",
    "libaio",
    "tools",
    "base",
}
SESSION = {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22", "PATH": "/usr/bin:/bin"}


def put(place: pathlib.Path, text: str | bytes = "", mode: int = 0o644) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text if isinstance(text, bytes) else text.encode())
    place.chmod(mode)


def test_this_machine_is_read_and_the_result_is_plain_data() -> None:
    facts = stack.gather(stack.Wish(sys.executable, False, 60), Tree(), {"PATH": "/usr/bin:/bin"})
    assert set(facts) == KEYS
    assert json.loads(json.dumps(facts)) == facts
    assert facts["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["torch_import"] is None


def test_a_bare_node_has_all_keys_and_no_values(tmp_path: pathlib.Path) -> None:
    facts = stack.gather(stack.Wish("/opt/trainmesh/env/bin/python", True, 5), Tree(str(tmp_path)), SESSION)
    assert set(facts) == KEYS
    assert facts["cuda"] == {"toolkits": [], "nvcc": None, "build_home": None}
    assert (facts["nccl"], facts["cudnn"], facts["torch"], facts["deepspeed"]) == ([], [], None, None)
    assert not any(facts["packages"].values())
    assert "does not exist" in facts["python"]["problem"]


def environment(root: pathlib.Path, sites: list[str]) -> t.Callable[..., command.Outcome]:
    """A node with a whole environment under ``root``, and the answers of its commands."""
    site = root / "env/lib/python3.11/site-packages"
    put(root / "env/bin/python", "#!/bin/sh\n", 0o755)
    put(root / "env/pyvenv.cfg", "version = 3.11.7\n")
    put(site / "torch/version.py", "__version__ = '2.14.1+cu130'\ncuda = '13.0'\n")
    put(site / "torchvision/version.py", "__version__ = '0.29.1+cu130'\n")
    names = ("torch-2.14.1", "torchvision-0.29.1", "accelerate-1.15.0", "nvidia_nccl_cu13-2.30.7", "deepspeed-0.19.8")
    for name in names:
        put(site / f"{name}.dist-info/METADATA")
    put(site / "nvidia/nccl/lib/libnccl.so.2", b"\0NCCL version 2.30.4+cuda13.2\0")
    said = json.dumps({"version": "3.11.7", "prefix": "/env", "path": sites, "include": "/usr/include/python3.11"})

    def run(argv: t.Sequence[str], _limit: float, **_options: t.Any) -> command.Outcome:
        return command.Outcome(0, said if "sysconfig" in argv[-1] else "", "", False, False, 0.0)

    return run


def test_a_whole_environment_is_read_from_its_files(tmp_path: pathlib.Path) -> None:
    run = environment(tmp_path, ["/usr/lib/python3.11", "/env/lib/python3.11/site-packages"])
    facts = stack.gather(stack.Wish("/env/bin/python", False, 5), Tree(str(tmp_path)), SESSION, run)
    assert facts["packages"]["torch"] == "2.14.1+cu130"
    assert facts["packages"]["torchvision"] == "0.29.1+cu130"
    assert facts["packages"]["torchaudio"] is None
    assert facts["torch"]["dist_version"] == "2.14.1"
    # the package says 2.30.7, the file that is really there says 2.30.4
    assert (facts["torch"]["nccl"], facts["torch"]["nccl_package"]) == ("2.30.4", "2.30.7")
    assert facts["deepspeed"]["version"] == "0.19.8"
    assert facts["python"]["kind"] == "venv"


def test_everything_together_keeps_the_time(tmp_path: pathlib.Path) -> None:
    for name in ("nvcc", "pdsh", "mpirun", "gcc", "g++"):
        put(tmp_path / f"bin/{name}", "#!/bin/sh\nexec /bin/sleep 60\n", 0o755)
    put(tmp_path / "env/bin/python", "#!/bin/sh\nexec /bin/sleep 60\n", 0o755)
    session = {**SESSION, "PATH": f"{tmp_path}/bin"}
    started = time.monotonic()
    facts = stack.gather(stack.Wish(str(tmp_path / "env/bin/python"), True, 1.0), Tree(), session)
    assert time.monotonic() - started < 6
    assert facts["tools"]["pdsh"]["version"] is None
    assert facts["compilers"]["gcc"] == {"path": f"{tmp_path}/bin/gcc", "version": None}
    assert "did not answer" in facts["python"]["problem"]


def test_a_result_is_valid_text_whatever_the_names_are(tmp_path: pathlib.Path) -> None:
    run = environment(tmp_path, ["/env/lib/python3.11/site-packages"])
    session = {**SESSION, "NCCL_DEBUG": "caf\udce9"}
    facts = stack.gather(stack.Wish("/env/bin/python", False, 5), Tree(str(tmp_path)), session, run)
    json.dumps(facts, ensure_ascii=False).encode("utf-8")


BROKEN = st.binary(max_size=200) | st.sampled_from(
    [b"", b"\0" * 50, b"{", b"[" * 5000, b'{"cuda": []}', b'{"cuda": {"version": 1}}', b"torch_info=[1]\n", b"\xff\xfe"]
)


@pytest.mark.parametrize("mixed", [False, True])
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.lists(BROKEN, min_size=12, max_size=12), said=st.text(max_size=200))
def test_garbage_everywhere_never_raises(tmp_path: pathlib.Path, mixed: bool, content: list[bytes], said: str) -> None:
    run = environment(tmp_path, ["/env/lib/python3.11/site-packages", "/env/bin/python", "relative", "/nowhere\0"])
    places = [
        "usr/local/cuda/version.json",
        "usr/local/cuda-11/version.txt",
        "usr/include/cudnn_version.h",
        "etc/ld.so.conf",
        "etc/environment",
        "proc/self/stat",
        "env/pyvenv.cfg",
        "usr/lib/libnccl.so.2",
        "env/lib/python3.11/site-packages/torch/version.py",
        "env/lib/python3.11/site-packages/torch/lib/libtorch_python.so",
        "env/lib/python3.11/site-packages/deepspeed/git_version_info_installed.py",
        "env/lib/python3.11/site-packages/x.egg-info/PKG-INFO",
    ]
    for place, text in zip(places, content):
        put(tmp_path / place, text)
    for name in ("nvcc", "pdsh", "mpirun", "gcc"):
        put(tmp_path / f"usr/bin/{name}", "", 0o755)

    def garbage(argv: t.Sequence[str], limit: float, **options: t.Any) -> command.Outcome:
        if mixed:
            return run(argv, limit, **options)
        return command.Outcome(0, said, said, False, False, 0.0)

    session = SESSION if mixed else {"PATH": said}
    facts = stack.gather(stack.Wish("/env/bin/python", True, 5), Tree(str(tmp_path)), session, garbage)
    assert set(facts) == KEYS
    json.dumps(facts, ensure_ascii=False).encode("utf-8")
    assert not (facts["torch_import"] or {}).get("ok")
