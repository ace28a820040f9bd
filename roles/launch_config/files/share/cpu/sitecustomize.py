# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two repairs for jobs on nodes without GPUs; libexec/trainmesh-rank puts this on their path.

They take effect when, and only if, the job imports the module concerned:

* DeepSpeed 0.19 compiles its shared-memory operator as soon as a CPU process group starts
  (``comm/torch.py``, ``build_shm_op``) and fails without a C++ compiler, although the operator only
  serves inference within one machine. It is reported as not compatible, which DeepSpeed respects.
* Accelerate 1.15 with its DeepSpeed plugin finds no backend on a machine without devices
  (``state.py``, ``_prepare_backend``) and then takes every rank for the only one, without a word,
  while DeepSpeed trains across all of them. The backend is named: gloo.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys


def _no_shared_memory_operator(module):
    module.ShareMemCommBuilder.is_compatible = lambda *_args, **_options: False


def _name_the_backend(module):
    original = module.PartialState._prepare_backend

    def prepare(self, cpu=False, sagemaker_dp=False, backend=None):
        found, kind = original(self, cpu, sagemaker_dp, backend)
        if found is None and os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
            found = "gloo"
        return found, kind

    module.PartialState._prepare_backend = prepare


REPAIRS = {
    "deepspeed.ops.op_builder.cpu.comm": _no_shared_memory_operator,
    "accelerate.state": _name_the_backend,
}


class _Repair:
    """Finds the modules of REPAIRS as Python would, and repairs them once they are loaded."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in REPAIRS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            try:
                REPAIRS[name](module)
            except AttributeError:
                pass  # another version, without the place to repair

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Repair)
