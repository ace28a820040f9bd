# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a first contact: a row for each host, the tables, and one line for each failure."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.host import Host

Row = dict[str, t.Any]
COLUMNS = {"host_key": "host key", "key": "login key", "python": "python", "sudo": "sudo"}


def row(host: Host) -> Row:
    """What first_contact returns for a host; no text of it holds a password, whatever the host says."""
    stop, client = host.stop, host.client
    texts = {
        "step": stop.step if stop else "",
        "evidence": stop.evidence if stop else "",
        "cause": stop.cause if stop else "",
        "remedy": stop.remedy if stop else "",
    }
    # Hosts that ssh does not reach are none of ours; all else that could not be done is a failure here.
    ok = None if not host.target.by_ssh or (stop and stop.step == "later") else stop is None
    answer: Row = {
        "ok": ok,
        "changed": host.changed,
        **texts,
        "address": client.hostname if client else host.target.host,
        "port": client.port if client else None,
        "user": client.user if client else None,
        **{column: host.done.get(column, "-") for column in COLUMNS},
    }
    answer["line"] = line(answer)
    secrets = [secret for secret in (host.target.password, host.target.become_password) if secret]
    return {key: _clean(value, secrets) if isinstance(value, str) else value for key, value in answer.items()}


def _clean(text: str, secrets: t.Sequence[str]) -> str:
    """On one line, without the passwords."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "****")
    return " ".join(text.split())


def result(answer: Row, check: bool) -> str:
    """The last column."""
    if answer["ok"] is None:
        return "not tried"
    if not answer["ok"]:
        return f"FAILED: {answer['step']}"
    if answer["changed"]:
        return "would be changed" if check else "ready, changed"
    return "ready"


def line(answer: Row) -> str:
    """One line about a host: what, why, and what to do."""
    if answer["step"]:
        fix = f". Fix: {answer['remedy']}" if answer["remedy"] else ""
        if answer["step"] == "untested":  # its cause says the same
            return f"{answer['evidence']}{fix}"
        return f"{answer['evidence'].rstrip(':')}: {answer['cause']}{fix}"
    return ", ".join(f"{title} {answer[column]}" for column, title in COLUMNS.items() if answer[column] != "-")


def keys(hosts: t.Mapping[str, Host]) -> str:
    """The unknown host keys, as a person compares them."""
    cells = [
        (name, f"{host.client.hostname}:{host.client.port}", host.shown.kind, host.shown.fingerprint)
        for name, host in hosts.items()
        if host.client and host.shown
    ]
    return "\n".join(["", "Host keys that the controller does not know:", *_aligned(cells)])


def summary(rows: t.Mapping[str, Row], check: bool) -> str:
    """All hosts, then a line for each failure, and how many there are."""
    head = ("host", "address", *COLUMNS.values(), "result")
    cells = [
        (name, f"{one['address']}:{one['port'] or '?'}", *(one[column] for column in COLUMNS), result(one, check))
        for name, one in rows.items()
    ]
    lines = ["", *_aligned([head, *cells])]
    lines += [f"  {name}: {one['line']}" for name, one in rows.items() if one["step"]]
    ready, changed = (sum(bool(one[key]) for one in rows.values()) for key in ("ok", "changed"))
    untried = sum(one["ok"] is None for one in rows.values())
    what = f"{changed} {'would be ' if check else ''}changed" if changed else "nothing changed on any host"
    lines.append(
        f"{ready} of {len(rows)} hosts {'have no obstacle' if check and changed else 'are ready'}, "
        f"{len(rows) - ready - untried} failed{f', {untried} not tried' if untried else ''}; {what}"
    )
    return "\n".join(lines)


def _aligned(cells: t.Sequence[t.Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))] if cells else []
    return [
        "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
