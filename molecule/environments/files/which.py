# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell on each rank which torch it has; with seconds as argument stay for so long."""

import os
import sys
import time

import torch

print(f"rank {os.environ['RANK']} has torch {torch.__version__}", flush=True)
time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0)
