# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values of a script come out differently on each node that runs it.

The texts are those of a Command's ``written``: what comes from outside is a reference, with its default if it has one.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import shell

DRAWN, TIMED, OWN = "drawn by lot", "taken from the clock", "the node's own"

_DRAWN = re.compile(
    r"\$\{?S?RANDOM\b|\bRANDOM\b|\bSRANDOM\b|\bshuf\b|\buuidgen\b|u?random\b|\bopenssl\s+rand\b|\bmktemp\b|\bjot\b|\brand\(|"
    r"\$\$|\$\{?BASHPID\b|\$\{?PPID\b|\buuid[14]?\b|kernel/random|\bsecrets\b|\.bind\(|\bgetsockname\b|free_?port|"
    r"\bss\s+-\w|\bnetstat\b|ephemeral-port"
)
_CLOCK = re.compile(r"\$\{?EPOCH(?:SECONDS|REALTIME)\b|\$\{?SECONDS\b|\btime\.time\b|\bstrftime\b|%\([^)]*\)T")
_DATE = re.compile(r"\bdate\b(?:\s+(?:-\w+|--\w+))*\s*(?:\+(\S+))?")
_OWN = re.compile(
    r"(?<![\w.-])hostname(?![\w=.])|\$\{?HOST(?:NAME)?\b|\buname\s+-n|/etc/hostname|\bip\s+(?:-\S+\s+)*(?:a|r|addr|address|route)\b|"
    r"\bifconfig\b|\bgethostname\b|\bgethostbyname\b|\bifconfig\.me\b|\bipify\b|\bicanhazip\b|\bifconfig\.co\b|/etc/machine-id|"
    r"\$\{?SLURMD_NODENAME\b|\$\{?(?:POD|NODE|HOST)_IP\b"
)
# asked of one node, whichever runs the script
_ELSEWHERE = re.compile(r"\b(?:ssh|srun|scontrol|pdsh|kubectl|getent|dig|host|nslookup)\b")
_DEFAULT = re.compile(r"\$\{([A-Za-z_]\w*|\d):-(.*)\}\Z", re.DOTALL)
_OUTSIDE = re.compile(r"\$(?:\{?[A-Za-z_]\w*|\{?\d)")


def default_of(written: str) -> tuple[str, str] | None:
    """(NAME, default) where the whole text is ``${NAME:-default}``."""
    match = _DEFAULT.match(written.strip())
    if not match or shell.bracket_end(written.strip(), 1) != len(written.strip()):
        return None
    return match.group(1), match.group(2)


def without_default(written: str) -> str:
    """The text with each ``${NAME:-default}`` as ``$NAME``: what it is where everything is set from outside."""
    while True:
        at = written.find(":-")
        start = written.rfind("${", 0, at) if at >= 0 else -1
        if start < 0:
            return written
        end = shell.bracket_end(written, start + 1)
        if end <= at:
            return written
        written = f"{written[:start]}${written[start + 2 : at]}{written[end:]}"


def computed(written: str, own: bool = True) -> str:
    """How a text comes out differently on each node: DRAWN, TIMED or OWN; empty where it need not.

    ``own``: whether what the node says of itself counts, as it does for a master but not for a rank.
    """
    if _DRAWN.search(written) and not _ELSEWHERE.search(written):
        return DRAWN
    if _CLOCK.search(written) or any(not _coarse(form.group(1)) for form in _dates(written)):
        return TIMED
    if own and _OWN.search(written) and not _ELSEWHERE.search(written):
        return OWN
    return ""


def _dates(written: str) -> t.Iterator[re.Match[str]]:
    """The calls of ``date`` in command substitutions."""
    if "$(" in written or "`" in written:
        yield from _DATE.finditer(written)


def _coarse(form: str | None) -> bool:
    """Whether a format of ``date`` gives days or more, which are the same on all nodes that start together."""
    return bool(form) and not re.search(r"%[-_0^]?[sSNMTXcHIRrklp]", str(form))


def outside(written: str) -> bool:
    """Whether a text depends on something that is set from outside, or computed."""
    return bool(_OUTSIDE.search(written)) or "$(" in written or "`" in written or "%" in written
