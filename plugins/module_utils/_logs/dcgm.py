# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what dcgmi has printed: diag and health (tables and JSON), discovery -l, nvlink -s; of one or several machines.

Formats of DCGM 2.4 to 4.6. Nothing here raises and nothing is judged.
"""

from __future__ import annotations

import itertools
import json
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import per_host

Record = dict[str, t.Any]

_ROW = re.compile(r"[|+]\s?(?P<left>[^|]*?)\s*[|+] (?P<right>[^|]*?) ?\|\s*\Z")
_RULE = re.compile(r"\s*[+|][-=]")
# "Fail - GPUs: 0, 3" (DCGM 2 and 3), "Fail - All", "Fail"
_STATUS = re.compile(r"(?P<status>Pass|Fail|Warn|Skip|Not Run)(?: - (?:All|GPUs?: ?(?P<gpus>[\d, ]+)))?\s*\Z", re.I)
# "GPU3: Fail" below the test's own line (DCGM 4)
_ENTITY = re.compile(r"(?P<entity>[A-Za-z]{2,12}) ?(?P<number>\d{1,4}): (?P<status>Pass|Fail|Warn|Skip|Not Run)\s*\Z")
_MESSAGE = re.compile(r"(?P<word>Warning|Error|Info)(?:: (?P<entity>[A-Za-z]{2,12}) ?(?P<number>\d{1,4}))?\s*\Z")
# "GPU 0GPU 0's NvLink link 1" names GPU 0
_NAMED = re.compile(r"(?P<entity>GPU|NvSwitch)(?:s?:)? ?(?P<number>\d{1,4})(?!\d)")
_LEVEL = re.compile(r"(?P<depth>\s*)-> (?P<name>.+)")
_FOUND = re.compile(r"(\d{1,3}) GPUs? found")
_LINKS = re.compile(r"(gpuId|physicalId) (\d{1,3}):\s*\Z")
_BODY = re.compile(r'[\[{]\s*[{"]')
_HEADS = ("GPUs", "NvSwitches", "CPUs")
# What dcgmi says where it could not ask or not test.
_PROBLEM = re.compile(r"(?:Error: .{3,300}|GPU \d{1,3}'s MIG configuration is incompatible.{0,200})")
MAX_RESULTS, MAX_ROW, MAX_STARTS = 4000, 400, 20
WIDTH = 45
"""Characters at which dcgmi cuts a message, within words; a blank at the cut is lost in the table."""


def parse(text: str, nodes: t.Container[str] = ()) -> list[Record]:
    """What each machine's output says.

    Each record has ``host`` (empty where nothing names it) and ``what``: ``result`` (of a diagnosis or a health
    check, with ``test``, ``entity`` such as "GPU 3" or empty, ``status`` in lower case, ``messages`` of ``text``),
    ``problem`` (``text``: dcgmi could not do its work), ``found`` (``gpus``: how many it sees, ``text``) or ``links``
    (``entity``, ``up``, ``down``).
    """
    hosts: dict[str, list[str]] = {}
    for word, body in per_host.split(text, nodes):
        rows = body.splitlines()
        own = hosts.setdefault("" if word in _HEADS else word, [])
        own += [f"{word}:", *rows] if word in _HEADS else rows
    found = []
    for host, rows in hosts.items():
        found += [{"host": host, **record} for record in _of_host(rows)]
    return found[:MAX_RESULTS]


def excerpt(text: str, most: int) -> str:
    """A text of at most so many characters that says the same: of a longer one the tests that did not pass, as JSON."""
    if len(text) <= most:
        return text
    hosts: dict[str, list[Record]] = {}
    for record in parse(text):
        if record["what"] == "result" and record["status"] not in ("pass", "skip", "not run"):
            messages = [each["text"][:300] for each in record["messages"][:4]]
            own = {"status": record["status"], "warnings": [{"warning": each} for each in messages]}
            kind, _blank, number = record["entity"].partition(" ")
            own.update({"entity_group": kind, "entity_id": number} if number else {})
            hosts.setdefault(record["host"], []).append({"name": record["test"], "results": [own]})
    lines = [f"{host} | SUCCESS | rc=0 >>\n" * bool(host) + json.dumps(tests) for host, tests in hosts.items()]
    return "\n".join(lines)[:most] or text[:most]


def _of_host(rows: t.Sequence[str]) -> list[Record]:
    whole = "\n".join(rows)
    for body in itertools.islice(_BODY.finditer(whole), MAX_STARTS):
        try:
            data, _end = json.JSONDecoder().raw_decode(whole[body.start() :])
        except (ValueError, RecursionError):
            continue  # cut off, or braces of something else
        return [*_of_json(data), *_health_json(data)]
    found = _of_health(rows) if "Health Monitor Report" in whole else _of_table(rows)
    seen = _FOUND.search(whole)
    if seen:
        found.append({"what": "found", "gpus": int(seen.group(1)), "text": seen.group(0)})
    problems = dict.fromkeys(match.group(0).strip() for row in rows for match in [_PROBLEM.match(row.strip())] if match)
    return [*found, *_of_links(rows), *({"what": "problem", "text": each} for each in problems)]


def _result(test: str, entity: str, status: str, messages: t.Iterable[Record] = ()) -> Record:
    return {"what": "result", "test": test, "entity": entity, "status": status.lower(), "messages": list(messages)}


def _cells(rows: t.Iterable[str]) -> t.Iterator[tuple[str, str]]:
    """(left, right) of the rows of a table."""
    for row in rows:
        match = None if len(row) > MAX_ROW or _RULE.match(row) else _ROW.match(row.strip())
        if match:
            yield match.group("left"), match.group("right").rstrip()


def _of_table(rows: t.Sequence[str]) -> list[Record]:
    """The tests of dcgmi diag: of each its status, those of single GPUs, and its messages."""
    found: list[Record] = []
    test = ""
    text: list[str] | None = None  # of the message that goes on
    for left, right in _cells(rows):
        status, entity, message = _STATUS.match(right), _ENTITY.match(right), _MESSAGE.match(left)
        if message:
            text = [right]
            named = f"{message.group('entity')} {message.group('number')}" if message.group("entity") else ""
            if found and test and message.group("word") != "Info":
                found.append({"what": "message", "test": test, "entity": named, "text": text})
        elif left and status:
            test, text = left, None
            found += _by_gpu(test, status)
        elif not left and test and (status or entity) and (text is None or entity or " - " in right):
            text = None
            found += _by_gpu(test, status) if status else [
                _result(test, f"{entity.group('entity')} {entity.group('number')}", entity.group("status"))
                for entity in [entity] if entity
            ]  # fmt: skip
        elif not left and text is not None:
            text.append(right)
        elif left:
            test, text = "", None
    return _with_messages(found)


def _by_gpu(test: str, status: re.Match[str]) -> list[Record]:
    gpus = [each.strip() for each in (status.group("gpus") or "").split(",") if each.strip()]
    return [_result(test, f"GPU {each}", status.group("status")) for each in gpus] or [
        _result(test, "", status.group("status"))
    ]


def _with_messages(found: t.Sequence[Record]) -> list[Record]:
    """The results, each with the messages on its GPU; those that name none are of the whole test."""
    results = [each for each in found if each["what"] == "result"]
    for message in (each for each in found if each["what"] == "message"):
        text = " ".join("".join(part.ljust(WIDTH) for part in message["text"]).split())
        parts = [text] if message["entity"] else _parts(text)
        for part in parts:
            entity = message["entity"] or entity_of(part)
            own = [each for each in results if each["test"] == message["test"]]
            of_it = [each for each in own if each["entity"] == entity] or [each for each in own if not each["entity"]]
            for each in of_it[:1] or own[:1]:
                each["messages"].append({"text": part})
    return results


def entity_of(message: str) -> str:
    """The GPU or NVSwitch that a message names first, as "GPU 3"; empty where it names none."""
    named = _NAMED.search(message)
    return f"{named.group('entity')} {named.group('number')}" if named else ""


def _parts(text: str) -> list[str]:
    """The messages that DCGM 3 and older put into one: "GPU 0GPU 0's NvLink ... , GPU 0GPU 0's NvLink ..."."""
    return [part.strip(" ,") for part in re.split(r"(?<=\.), ?(?=GPU \d)", text) if part.strip(" ,")]


def _of_json(data: t.Any) -> list[Record]:
    """The tests in the JSON of any version: wherever a test has results with a status."""
    found: list[Record] = []
    todo: list[t.Any] = [data]
    while todo and len(found) < MAX_RESULTS:
        value = todo.pop(0)
        if isinstance(value, list):
            todo = [*value, *todo]
        elif isinstance(value, dict):
            for key in ("runtime_error", "Error"):
                if isinstance(value.get(key), str) and value[key]:
                    found.append({"what": "problem", "text": value[key]})
            rows = value.get("results")
            if isinstance(rows, list) and isinstance(value.get("name"), str):
                found += [each for row in rows if isinstance(row, dict) for each in _json_results(value["name"], row)]
                summary = value.get("test_summary")
                if not rows and isinstance(summary, dict):
                    found += _json_results(value["name"], summary)
            elif isinstance(value.get("test_summary"), dict) and isinstance(value.get("name"), str):
                found += _json_results(value["name"], value["test_summary"])
            else:
                todo = [*value.values(), *todo]
    return found


def _json_results(test: str, row: t.Mapping[str, t.Any]) -> list[Record]:
    status = str(row.get("status") or "")
    warnings = row.get("warnings") or row.get("warning") or ()
    messages = []
    for each in warnings if isinstance(warnings, list) else [warnings] if warnings else ():
        text = each.get("warning") if isinstance(each, dict) else each
        messages.append({"text": " ".join(str(text or "").split())})
    names = [each.strip() for each in str(row.get("gpu_id", row.get("gpu_ids", ""))).split(",") if each.strip()]
    if "entity_id" in row:
        names, kind = [str(row["entity_id"])], str(row.get("entity_group") or "GPU")
    else:
        kind = "GPU"
    return [_result(test, f"{kind} {each}" if each.isdigit() else "", status, messages) for each in names or [""]]


def _of_health(rows: t.Sequence[str]) -> list[Record]:
    """The systems of each GPU that dcgmi health --check does not call healthy, with what it says of them."""
    found: list[Record] = []
    group = number = ""
    for left, right in _cells(rows):
        level = _LEVEL.match(left)
        if not left and found and right:
            found[-1]["messages"][0]["text"] = f"{found[-1]['messages'][0]['text']} {right}".strip()
        elif level and level.group("name").isdigit():
            number = level.group("name")
        elif level and right in ("Warning", "Failure"):
            said = [{"text": ""}]
            found.append(_result(level.group("name"), f"{group} {number}".strip(), _HEALTH[right], said))
        elif left and not level:
            group, number = left.strip(), ""
            if group.startswith("Overall Health") and right:
                found.append(_result("health", "", _HEALTH.get(right, "pass"), [{"text": ""}]))
    return found


_HEALTH = {"Healthy": "pass", "Warning": "warn", "Failure": "fail"}


def _health_json(data: t.Any) -> list[Record]:
    """The same of dcgmi health --check --json: {"body": {"GPU": {"children": {"0": {"children": {"Errors": ..."""
    body = data.get("body") if isinstance(data, dict) else None
    found: list[Record] = []
    for group, value in body.items() if isinstance(body, dict) and "Overall Health" in body else ():
        if group == "Overall Health":
            word = str(value.get("value") if isinstance(value, dict) else value)
            found.append(_result("health", "", _HEALTH.get(word, "pass")))
        for number, entity in _children(value).items():
            for system, said in _children(_children(entity).get("Errors")).items():
                over = said.get("overflow") if isinstance(said, dict) else None
                text = " ".join(str(each) for each in over) if isinstance(over, list) else str(over or "")
                status = _HEALTH.get(str(said.get("value") if isinstance(said, dict) else ""), "pass")
                found.append(_result(system, f"{group} {number}", status, [{"text": text}]))
    return found


def _children(value: t.Any) -> dict[str, t.Any]:
    found = value.get("children") if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _of_links(rows: t.Sequence[str]) -> list[Record]:
    """The NVLinks of dcgmi nvlink --link-status: U is up, D is down; X (disabled) and _ (none) are neither."""
    found = []
    for number, row in enumerate(rows[:-1]):
        head = _LINKS.match(row.strip())
        letters = rows[number + 1].split()
        if head and letters and set(letters) <= set("UDX_"):
            entity = f"{'GPU' if head.group(1) == 'gpuId' else 'NvSwitch'} {head.group(2)}"
            up, down = letters.count("U"), letters.count("D")
            found.append({"what": "links", "entity": entity, "up": up, "down": down})
    return found
