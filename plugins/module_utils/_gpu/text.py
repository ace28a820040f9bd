# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that NVIDIA's tools print, read the same way everywhere.

Every function takes text (or None) and returns a value or None; none raises. None always means
"the tool does not say": never a default, never a guess.
"""

from __future__ import annotations

import re

NO_VALUE = frozenset(
    (
        "",
        "n/a",
        "none",
        "not found",
        "not supported",
        "unknown error",
        "err!",
        "insufficient permissions",
        "requested functionality has been deprecated",
        "not available",
        "unknown",
    )
)
"""What nvidia-smi prints, with or without square brackets, instead of a value.

Seen on healthy GPUs (recordings of drivers 375 to 610); none of them is a fault.
"""

FAULTS = frozenset(("gpu is lost", "gpu requires reset"))
"""The only values of nvidia-smi that say that the GPU itself is broken."""

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")
_VERSION = re.compile(r"\s*(\d{1,6}\.\d{1,6}(?:\.\d{1,6})?)(?![\w.])")
_INTEGER = re.compile(r"\s*(\d{1,18})\s*(?:x|MiB|C|bank\(s\))?\s*\Z")
_BUS_ID = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{2}):([0-9a-f]{2})(?:\.([0-7]))?\Z", re.IGNORECASE)
_YES_NO = {"yes": True, "no": False, "enabled": True, "disabled": False, "1": True, "0": False}


def value(text: str | None) -> str | None:
    """The text without surrounding blanks, or None when it is one of the words for "no value"."""
    bare = (text or "").strip()
    word = bare[1:-1].strip() if bare.startswith("[") and bare.endswith("]") else bare
    return None if word.lower() in NO_VALUE or word.lower() in FAULTS else bare


def fault(text: str | None) -> str | None:
    """The text when it says that the GPU itself is broken, else None."""
    bare = (text or "").strip().strip("[]").strip()
    return bare if bare.lower() in FAULTS else None


def integer(text: str | None) -> int | None:
    """A whole number, with the units that nvidia-smi adds: ``81559 MiB``, ``16x``, ``31 C``, ``0``."""
    match = _INTEGER.match(text or "")
    return int(match.group(1)) if match else None


def version(text: str | None) -> str | None:
    """The version at the start of the text; driver 610 adds ``[Deprecated; ...]`` behind it."""
    match = _VERSION.match(text or "")
    return match.group(1) if match else None


def yes_no(text: str | None) -> bool | None:
    """Yes/No, Enabled/Disabled or 1/0 as a boolean."""
    return _YES_NO.get((text or "").strip().lower())


def bus_id(text: str | None) -> str | None:
    """A PCI address as 8-digit lower case domain:bus:device.function.

    nvidia-smi prints ``00000000:0B:00.0`` (before driver 384 ``0000:0B:00.0``), the kernel
    ``0000:0b:00.0`` and an Xid line ``0000:0b:00`` without the function: all become
    ``00000000:0b:00.0``.
    """
    match = _BUS_ID.match((text or "").strip())
    if not match:
        return None
    domain, bus, device, function = match.groups()
    return f"{int(domain or '0', 16):08x}:{bus}:{device}.{function or '0'}".lower()


def model(text: str | None) -> str | None:
    """A product name without the vendor: drivers since about 465 put ``NVIDIA`` before it."""
    name = value(text)
    if name and name.upper().startswith("NVIDIA "):
        name = name[len("NVIDIA ") :].strip()
    return name or None


def plain(text: str) -> str:
    """The text without terminal colours: ``topo -m`` underlines its header even into a pipe."""
    return _ANSI.sub("", text)


def is_broken(text: str) -> bool:
    """True when the text holds bytes that no tool prints: not UTF-8, or control characters."""
    return bool(_BROKEN.search(text))


def without_broken(text: str) -> str:
    """The text without the characters that :func:`is_broken` looks for."""
    return _BROKEN.sub("", text)


def first_line(text: str, limit: int = 160) -> str:
    """The first line that is not empty, as evidence in a sentence; at most ``limit`` characters."""
    for line in without_broken(plain(text)).splitlines():
        if line.strip():
            return line.strip()[:limit]
    return ""
