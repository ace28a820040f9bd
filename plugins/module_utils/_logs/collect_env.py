# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what ``python -m torch.utils.collect_env`` has printed.

Rows are ``label: value``, GPUs and cuDNN files on lines of their own, packages as ``[pip3] name==version``.
People paste it with quotes, links and the shell around it. Nothing here raises and nothing is judged.
"""

from __future__ import annotations

import re
import typing as t

ANSI = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
LABELS: tuple[str, ...] = (
    "PyTorch version", "Is debug build", "CUDA used to build PyTorch", "ROCM used to build PyTorch", "OS",
    "GCC version", "Clang version", "CMake version", "Libc version", "Python version", "Python platform",
    "Is CUDA available", "CUDA runtime version", "CUDA_MODULE_LOADING set to", "GPU models and configuration",
    "Nvidia driver version", "cuDNN version", "HIP runtime version", "MIOpen runtime version",
    "Is XNNPACK available", "Is XPU available",
)  # fmt: skip
ROW = re.compile(r"(?P<label>[A-Z][\w ]{1,40}): ?(?P<value>[^\n]{0,500})")
GPU = re.compile(r"GPU (\d{1,3}): ([^\n]{1,200})")
PACKAGE = re.compile(r"\[(pip|conda)3?\]\s{1,8}([\w.-]{1,100})(?:==|\s{1,60})(\S{1,200})")
LINK = re.compile(r"\[([^\]\s]{1,100})\]\(\S{0,200}\)")
CUDNN = re.compile(r"/\S{1,300}cudnn\S{0,100}")
TUPLE = re.compile(r"\((\d{1,2}), (\d{1,3}), (\d{1,3})\)\s*$")
LIBRARY = re.compile(r"/\S{1,300}/libnccl\.so\.[\d.]{1,20}")
WHEEL = re.compile(r"Name: (nvidia-nccl-cu\d+)\s*$")


def parse(text: str) -> dict[str, t.Any]:
    """What was collected.

    ``values``: each label as printed; ``gpus``: their names in order; ``pip`` and ``conda``: package to
    version; ``cudnn_files``; ``nccl``: ``{torch, wheel, files}``, versions by torch itself, by the wheel's
    metadata, and the libraries found.
    """
    found: dict[str, t.Any] = {"values": {}, "gpus": {}, "pip": {}, "conda": {}, "cudnn_files": []}
    nccl: dict[str, t.Any] = {"torch": None, "wheel": None, "files": []}
    in_wheel = False
    for raw in re.split(r"\r?\n|\r", ANSI.sub("", text)):
        line = LINK.sub(r"\1", raw).lstrip("> \t").rstrip()
        in_wheel = bool(WHEEL.match(line)) or (in_wheel and not line.startswith("Name: "))
        _read_row(found, line)
        _read_nccl(nccl, line, in_wheel)
    found["gpus"] = [found["gpus"][number] for number in sorted(found["gpus"])]
    nccl["wheel"] = nccl["wheel"] or next(
        (version for name, version in found["pip"].items() if name.startswith("nvidia-nccl-cu")), None
    )
    return {**found, "nccl": nccl}


def _read_row(found: dict[str, t.Any], line: str) -> None:
    """A package, a GPU, a library of cuDNN, or a label with its value; the first of each counts."""
    package = PACKAGE.match(line)
    if package:
        if package.group(2) != "Could":  # "[conda] Could not collect"
            found[package.group(1)].setdefault(package.group(2), package.group(3))
        return
    row = ROW.match(line)
    if row and row.group("label") in LABELS:
        found["values"].setdefault(row.group("label"), row.group("value").strip())
    for number, name in GPU.findall(line):
        found["gpus"].setdefault(int(number), name.strip())
    cudnn = CUDNN.search(line)
    if cudnn and cudnn.group(0) not in found["cudnn_files"]:
        found["cudnn_files"].append(cudnn.group(0))


def _read_nccl(nccl: dict[str, t.Any], line: str, in_wheel: bool) -> None:
    """What people add about NCCL: torch's own answer, ``pip show``, and the libraries on the machine."""
    version = TUPLE.search(line)
    if version and nccl["torch"] is None:
        nccl["torch"] = ".".join(version.groups())
    if in_wheel and line.startswith("Version: ") and nccl["wheel"] is None:
        nccl["wheel"] = line[len("Version: ") :].strip()
    for path in LIBRARY.findall(line):
        if path not in nccl["files"]:
            nccl["files"].append(path)
