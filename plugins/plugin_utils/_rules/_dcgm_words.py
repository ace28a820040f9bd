# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a message of DCGM means: whose fault it is, how bad, and what to do; by its words, which all versions share."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import FAIL, INFO, WARN
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._xids import reason, recovery

OWN = "gpu-dcgm"
_RESET = "Reset the GPU (systemctl stop nvidia-persistenced nvidia-dcgm, then nvidia-smi --gpu-reset -i INDEX, with no "
_RESET += "process on it) or reboot the node"
_REPLACE = "dcgmi diag -r 3 -i INDEX once more after a reset; if it fails again have the GPU replaced (RMA), and take "
_REPLACE += "the node out of the inventory until then"
_AGAIN = "dcgmi diag -r 3 -i INDEX once more with nothing else on the GPU"


class Meaning(t.NamedTuple):
    """The id of the finding, its severity, cause and remedy."""

    rule: str
    severity: str
    cause: str
    remedy: str


# The first that fits counts: what is broken before what follows from it. Words of dcgmlib/dcgm_errors.h, 2.0 to 4.6.
_MEANINGS: t.Sequence[tuple[str, Meaning]] = (
    (
        r"fallen off the bus",
        Meaning(
            "gpu-lost-from-bus",
            FAIL,
            "DCGM finds that a GPU has fallen off the bus",
            "ipmitool chassis power cycle; if it comes back, have the card, its power cables and its slot checked",
        ),
    ),
    (
        r"row remapping failed|exceeded uncorrectable row remap limit",
        Meaning("gpu-row-remap", FAIL, "The spare rows of a GPU's memory are used up or could not be put in", _REPLACE),
    ),
    (
        r"row remappings are pending",
        Meaning("gpu-row-remap", FAIL, "A bad row of a GPU's memory is still in use until the GPU is reset", _RESET),
    ),
    (
        r"[Pp]ending page retirements|pending retired page",
        Meaning("gpu-retired-pages", WARN, "A GPU has a page of memory that waits to be taken out of use", _RESET),
    ),
    (
        r"retired pages",
        Meaning("gpu-retired-pages", FAIL, "A GPU has retired more pages of its memory than it should", _REPLACE),
    ),
    (
        r"double-bit|\bDBE|_dbe_|faulty memory|memory mismatch|miscompare|SRAM Threshold|NaN-value",
        Meaning("gpu-ecc", FAIL, "DCGM finds errors in the memory of a GPU that cannot be corrected", _REPLACE),
    ),
    (
        r"rows were remapped|single-bit|\bSBE|_sbe_|contained error",
        Meaning(
            "gpu-ecc",
            WARN,
            "The memory of a GPU had errors, which were corrected or taken out of use: it works on",
            "nvidia-smi -q -d ECC,ROW_REMAPPER there, now and in a few days; have the GPU replaced if the numbers grow",
        ),
    ),
    (
        r"[Ff]abric ?[Mm]anager|system not yet initialized|Fabric State is",
        Meaning(
            "drv-fabricmanager",
            FAIL,
            "The NVLink fabric of the GPUs is not set up: the fabric manager does not run, or could not train links",
            "systemctl restart nvidia-fabricmanager, of exactly the driver's version; read journalctl -u "
            "nvidia-fabricmanager if that is not enough",
        ),
    ),
    (
        r"IMEX ",
        Meaning(
            "gpu-imex",
            WARN,
            "IMEX is not ready on this node: the NVLinks to other nodes cannot be used",
            "systemctl restart nvidia-imex, then nvidia-imex-ctl -N: each node has to be READY",
        ),
    ),
    (
        r"datalink layer \w{3,10} error counter|link recovery successful",
        Meaning(
            "gpu-nvlink",
            INFO,
            "DCGM counts errors of an NVLink since the GPU's last reset, however long ago, which the link has repaired",
            "nvidia-smi nvlink -e there, now and in an hour: only numbers that grow tell of a bad link",
        ),
    ),
    (
        r"[Nn]v[Ll]inks?\b.{0,60}\bdown\b|N[Vv][Ll]inks are up out of|N[Vv][Ll]ink errors|\bBER \d|over NVLink|"
        r"NCCL error",
        Meaning(
            "gpu-nvlink",
            FAIL,
            "DCGM finds NVLinks of a GPU that are down or have errors: NCCL fails, hangs or is slow over them",
            "nvidia-smi nvlink -s and nvidia-smi nvlink -e there; reset all GPUs or reboot the node, and have the "
            "bridge or the board checked if it comes back",
        ),
    ),
    (
        r"over PCIe in a peer-to-peer|unsuccessfully (?:wrote|written)",
        Meaning(
            "p2p-acs-iommu",
            FAIL,
            "DCGM finds that a GPU cannot write to another one over PCIe",
            "Boot with iommu=pt and switch ACS off (setpci); NCCL_P2P_DISABLE=1 does without until then",
        ),
    ),
    (
        r"PCIe replay|pcie_replay|host-side PCIe|PCIE_REPLAY",
        Meaning(
            "pcie-errors",
            WARN,
            "The PCIe link of a GPU repeats transfers: a riser, a cable, a slot or the card may be failing",
            "lspci -vvv -s ADDRESS shows the link (LnkSta, DevSta); seat the card and its riser again",
        ),
    ),
    (
        r"PCI link (?:width|generation)",
        Meaning(
            "gpu-pcie-narrow",
            INFO,
            "A GPU has a narrower or slower PCIe link than DCGM expects, as small instances of clouds have by design",
            "nvidia-smi --query-gpu=pcie.link.width.current,pcie.link.width.max --format=csv, here and on another node",
        ),
    ),
    (
        r"busy or unavailable",
        Meaning(
            OWN,
            WARN,
            "A GPU takes no program: another one has it for itself, or it waits for a reset after an error",
            "nvidia-smi -q -i INDEX there: Compute Mode, Processes and GPU Recovery Action tell which; nvidia-smi "
            "--gpu-reset -i INDEX with no process on it",
        ),
    ),
    (
        r"Couldn't allocate at least|MCUTIL|graphics contexts|out of memory|another process",
        Meaning("", INFO, "other programs were on the GPU while DCGM tested it", _AGAIN),
    ),
    (
        r"thermal violation|[Tt]emperature \d+ of|Thermal violations",
        Meaning(
            "gpu-throttle",
            WARN,
            "DCGM finds that a GPU gets too hot under load: it is slowed down, and every rank waits for it",
            "nvidia-smi -q -d TEMPERATURE,PERFORMANCE there; look at the fans, the air filters and the room's cooling",
        ),
    ),
    (
        r"due to power violation|[Ee]nforced power limit",
        Meaning(
            "gpu-power-cap",
            INFO,
            "A GPU runs at its power limit, as GPUs do under load",
            "nvidia-smi -q -d POWER there, beside that of another node",
        ),
    ),
    (
        r"InfoROM",
        Meaning(
            OWN,
            WARN,
            "The InfoROM of a GPU is corrupt: counters of errors and retired pages in it cannot be trusted",
            "nvidia-smi -q -i INDEX shows it; the vendor's tool writes it anew, or have the GPU replaced",
        ),
    ),
    (
        r"[Pp]ersistence mode",
        Meaning("gpu-persistence", INFO, "Persistence mode is off", "systemctl enable --now nvidia-persistenced"),
    ),
    (
        r"denylist: ?(?:nouveau)?|blacklist: nouveau",
        Meaning(
            "gpu-nouveau",
            FAIL,
            "Another kernel driver than NVIDIA's holds the GPUs",
            "Write 'blacklist nouveau' into /etc/modprobe.d/nouveau.conf, run update-initramfs -u, and reboot",
        ),
    ),
    (
        r"did not reach desired|only achieved a memory bandwidth|below the threshold|minimum required bandwidth|"
        r"maximum allowed latency|met or exceeded the threshold|above the threshold",
        Meaning(
            OWN,
            WARN,
            "A GPU does not reach the speed or power that DCGM expects of its model: it may be slowed down, in use by "
            "others, or failing",
            f"{_AGAIN}; then compare nvidia-smi -q -d CLOCK,POWER,PERFORMANCE with a fast GPU",
        ),
    ),
    (
        r"environment variable|LD_LIBRARY_PATH|Cannot open library|CUDA_VISIBLE_DEVICES|corresponding CUDA device|"
        r"create a CUDA context|could not be accessed|permissions|number of devices NVML",
        Meaning(
            OWN,
            WARN,
            "DCGM could not use a GPU as it is set up: libraries, variables or permissions, not the card",
            "dcgmi diag -r 1 there as root, with no CUDA_* and no LD_LIBRARY_PATH in the environment",
        ),
    ),
    (
        r"not enabled|unsupported|not supported|is skipped|[Ss]kipping",
        Meaning("", INFO, "a test does not fit this GPU", ""),
    ),
)
_COMPILED = [(re.compile(words), meaning) for words, meaning in _MEANINGS]
# the blanks at which a table cuts its lines may be lost
_TIGHT = [(re.compile(words.replace(" ", "")), meaning) for words, meaning in _MEANINGS]
_XID = re.compile(r"\b(?:XID|Xid) (\d{1,4})\b")
_SXID = re.compile(
    r"fatal NvSwitch SXID (\d+)|(?P<fatal>\bfatal) errors on NvSwitch|(?P<other>nonfatal) errors on NvSwitch"
)
_ACTION = re.compile(r"Recovery action: \d+ \((\w+)\)|Recovery action: (\w+)")


def meaning(message: str, status: str) -> Meaning:
    """What a message means; one of no known kind is as bad as the test that it is of."""
    action = _ACTION.search(message)
    if action:
        cause, remedy = recovery((action.group(1) or action.group(2)).replace("_", " "))
        if cause:
            return Meaning("gpu-recovery", FAIL, cause, remedy)
    xid = _XID.search(message)
    why = reason({"kind": "xid", "xid": int(xid.group(1)), "line": message}) if xid else None
    if why:
        return Meaning("gpu-xid", *why)
    switch = _SXID.search(message)
    if switch:
        word = "" if switch.group("other") else ", Fatal"
        number = switch.group(1) or ""
        why = reason({"kind": "sxid", "xid": number, "line": f"SXid{word}"})
        if why:
            return Meaning("gpu-xid", why[0], why[1].replace("error SXid .", "error."), why[2])
    tight = message.replace(" ", "")
    known = next((each for words, each in _COMPILED if words.search(message)), None)
    known = known or next((each for words, each in _TIGHT if words.search(tight)), None)
    failed = status == "fail"
    return known or Meaning(
        OWN, FAIL if failed else WARN, f"A test of DCGM {'failed' if failed else 'warns'} on a GPU", _REPLACE
    )
