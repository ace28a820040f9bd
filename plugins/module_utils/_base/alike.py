# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts that say the same of every node, but for its name and address, are said once.

What each of N nodes says of the N others makes N squared rows, nearly all of them as expected. So a node gives
the common form of the rows and only those that differ from it; the controller, which knows for whom it has asked,
restores the others.
"""

from __future__ import annotations

import collections
import hashlib
import ipaddress
import json
import typing as t

Row = dict[str, t.Any]
Common = dict[str, t.Any]
NAME, ADDRESS = '"<name>"', '"<address>"'
LONGEST_FORM = 512


def by_name(names: t.Iterable[str], addresses: t.Iterable[str]) -> dict[str, str]:
    """The address to which each name should lead."""
    return dict(zip(names, addresses))


def by_peer(peers: t.Iterable[str], addresses: t.Iterable[str]) -> dict[str, str]:
    """The address to which each peer should lead: an address is its own."""
    return {peer: peer if _is_address(peer) else address for peer, address in zip(peers, addresses)}


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def fold(rows: t.Mapping[str, Row], expected: t.Mapping[str, str]) -> tuple[dict[str, Row], Common | None]:
    """(the rows that differ from the others, what the others have in common); ``expected`` is name to address.

    The second is a ``form`` of them as JSON, and ``without``: the names that have no row.
    """
    asked = {name: address for name, address in expected.items() if name in rows}
    forms = collections.Counter(form for name in asked if (form := _form(rows[name], name, asked[name])))
    if not forms:
        return dict(rows), None
    form = forms.most_common(1)[0][0]
    alike = {name for name, address in asked.items() if filled(form, name, address) == rows[name]}
    without = [name for name in expected if name not in rows]
    return {name: row for name, row in rows.items() if name not in alike}, {"form": form, "without": without}


def _form(row: Row, name: str, address: str) -> str | None:
    """A row with words for the node's own name and address; None where that could not be undone, or is too long."""
    text = json.dumps(row, sort_keys=True)
    form = text.replace(json.dumps(address), ADDRESS).replace(json.dumps(name), NAME)
    return form if len(form) <= LONGEST_FORM and not (NAME in text or ADDRESS in text) else None


def filled(form: str, name: str, address: str) -> t.Any:
    """The row of a node by the common form. Raises ValueError where that is no JSON."""
    return json.loads(form.replace(ADDRESS, json.dumps(address)).replace(NAME, json.dumps(name)))


def restored(form: str, expected: t.Mapping[str, str]) -> dict[str, t.Any]:
    """The rows of all that are as the form says. Raises ValueError for a form that fold() does not make."""
    if len(form) > LONGEST_FORM:
        raise ValueError("the common form of facts is too long")
    return {name: filled(form, name, address) for name, address in expected.items()}


def digest(rows: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """What tells these rows from others."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
