# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts that say the same of every node, but for its name and address, are said once.

What each of N nodes says of the N others makes N squared rows, nearly all of them as expected. So a node gives
the common form of the rows and only those that differ from it; the controller, which knows the nodes that it named,
restores the others.
"""

from __future__ import annotations

import collections
import hashlib
import ipaddress
import json
import re
import typing as t

Row = dict[str, t.Any]
Common = dict[str, t.Any]
# The name and the address of a node, which stand in its row where others have theirs.
Own = tuple[str, str]
NAME, ADDRESS, SECONDS = '"<name>"', '"<address>"', '"<seconds>"'
LONGEST_FORM, MOST_BRACKETS = 2048, 64
_SECONDS = re.compile(r'(?<="seconds": )-?[0-9][0-9.e+-]*')


def by_name(names: t.Iterable[str], addresses: t.Iterable[str]) -> dict[str, Own]:
    """The address to which each name should lead."""
    return {name: (name, address) for name, address in zip(names, addresses)}


def by_peer(peers: t.Iterable[str], addresses: t.Iterable[str]) -> dict[str, Own]:
    """The address to which each peer should lead: an address is its own."""
    return {peer: (peer, peer if _is_address(peer) else address) for peer, address in zip(peers, addresses)}


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def fold(rows: t.Mapping[str, Row], expected: t.Mapping[str, Own]) -> tuple[dict[str, Row], Common | None]:
    """(the rows that differ from the others, what the others have in common).

    The second is a ``form`` of them as JSON, and ``without``: the names that have no row.
    """
    asked = {name: own for name, own in expected.items() if name in rows}
    forms = collections.Counter(form for name, own in asked.items() if (form := _form(rows[name], own)))
    if not forms:
        return dict(rows), None
    form = forms.most_common(1)[0][0]
    alike = {name for name, own in asked.items() if _filled(form, own) == rows[name]}
    without = [name for name in expected if name not in rows]
    return {name: row for name, row in rows.items() if name not in alike}, {"form": form, "without": without}


def _form(row: Row, own: Own) -> str | None:
    """A row with words for the node's own name and address; None where that could not be undone."""
    text = json.dumps(row, sort_keys=True)
    form = text.replace(json.dumps(own[1]), ADDRESS).replace(json.dumps(own[0]), NAME)
    return form if is_sound(form) and not (NAME in text or ADDRESS in text) else None


def is_sound(form: str) -> bool:
    """Whether it is no larger, and no deeper, than that of an honest node."""
    return len(form) <= LONGEST_FORM and form.count("[") + form.count("{") <= MOST_BRACKETS


def _filled(form: str, own: Own) -> t.Any:
    return json.loads(form.replace(ADDRESS, json.dumps(own[1])).replace(NAME, json.dumps(own[0])))


def restored(form: str, expected: t.Mapping[str, Own]) -> dict[str, t.Any]:
    """The rows of all that are as the form says. Raises ValueError for a form that fold() does not make."""
    if not is_sound(form):
        raise ValueError("the common form of facts is too large")
    return {name: _filled(form, own) for name, own in expected.items()}


def fold_timed(rows: t.Mapping[str, Row], expected: t.Mapping[str, Own]) -> tuple[dict[str, Row], Common | None]:
    """As fold() for rows that tell how long things took: of those that are alike, the ``seconds`` are told of each."""
    texts = {name: json.dumps(row, sort_keys=True) for name, row in rows.items()}
    plain = {name: json.loads(_SECONDS.sub(SECONDS, text)) for name, text in texts.items() if SECONDS not in text}
    odd, common = fold(plain, expected)
    if common is None:
        return dict(rows), None
    alike = {name: [float(text) for text in _SECONDS.findall(texts[name])] for name in plain if name not in odd}
    return {name: row for name, row in rows.items() if name not in alike}, {"form": common["form"], "seconds": alike}


def digest(rows: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """What tells these rows from others."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
