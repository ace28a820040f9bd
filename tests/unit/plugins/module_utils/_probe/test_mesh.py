# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import threading
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import ssh_options
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import (
    listener,
    mesh,
    path_mtu,
    resolve,
    ssh_login,
)

LOGIN = ssh_login.Wish(5, 20, 5.0)


def wish(address="127.0.0.1", token="tok", limit=5):
    return mesh.Wish(address, token, limit, LOGIN, ssh_options.of_user(limit))


def target(name="n", ports=(), address="127.0.0.1", ssh_names=()):
    return mesh.Target(name, address, name, ssh_names, ports)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def port(request):
    """A port with a listener called n, whose token is the test's name, for one caller."""
    found = free_port()
    assert listener.start(listener.Wish("127.0.0.1", [found], "n", request.node.name, 1, 20)) == {}
    yield found
    listener.stop(request.node.name, "n")


def test_every_node_begins_behind_itself():
    targets = [target(name, address=f"10.0.0.{number}") for number, name in enumerate("abc")]
    assert [found.name for found in mesh.turned(targets, wish("10.0.0.1"))] == ["c", "a", "b"]
    assert [found.name for found in mesh.turned(targets, wish("10.0.0.9"))] == ["a", "b", "c"]


def test_without_an_address_the_own_node_is_told_by_its_host_name():
    own = mesh.Target("x", "10.0.0.1", socket.gethostname(), [], [])
    assert wish("").is_own(own) and not wish("").is_own(own._replace(hostname="another"))


def test_a_good_port_tells_as_whom_it_saw_us_and_is_free_afterwards(port, request):
    found, burst = mesh.try_tcp(target(), port, wish(token=request.node.name), burst=False)
    assert (found["ok"], found["failure"], found["seen_as"], burst) == (True, "", "127.0.0.1", None)
    time.sleep(1)
    assert mesh.try_tcp(target(), port, wish("127.0.0.9"), burst=False)[0]["failure"] == "refused"


def test_bursts_go_both_ways_before_good_bye(port, request):
    found, burst = mesh.try_tcp(target(), port, wish(token=request.node.name), burst=True)
    assert found["ok"] and burst["ok"] and (burst["interface"], burst["stalls"]) == ("lo", [])


def test_another_source_address_than_the_data_address_is_noticed(port, request):
    found, burst = mesh.try_tcp(target(), port, wish("127.0.0.9", request.node.name), burst=True)
    assert (found["ok"], found["failure"], found["seen_as"]) == (False, "wrong_interface", "127.0.0.1")
    assert "sees 127.0.0.1, while the data address here is 127.0.0.9" in found["evidence"] and burst["ok"]


def test_a_second_address_of_the_data_interface_is_no_other_interface(port, request, monkeypatch):
    held = {"127.0.0.1": ("eth0", 1500), "127.0.0.9": ("eth0", 1500)}
    monkeypatch.setattr(path_mtu, "interface_of", lambda address: held[address])
    found, _burst = mesh.try_tcp(target(), port, wish("127.0.0.9", request.node.name), burst=True)
    assert (found["ok"], found["failure"], found["seen_as"]) == (True, "", "127.0.0.1")


@pytest.mark.parametrize(("said", "failure"), [(None, "silent"), (b"SSH-2.0-x\r\n", "stranger"), (b"", "stranger")])
def test_a_stranger_on_the_port_is_noticed(said, failure):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        if said is not None:

            def answer():
                connection = other.accept()[0]
                connection.sendall(said)
                connection.close()

            threading.Thread(target=answer, daemon=True).start()
        found, burst = mesh.try_tcp(target(), other.getsockname()[1], wish("127.0.0.9", limit=1), burst=True)
    assert (found["ok"], found["failure"], found["seen_as"], burst) == (False, failure, None, None)


def test_the_listener_of_another_run_is_a_stranger(port):
    assert mesh.try_tcp(target(), port, wish(token="older"), burst=False)[0]["failure"] == "stranger"


def scripted(monkeypatch, names, logins):
    """resolve() and log_in() from tables; returns the names that were logged in to."""
    called = []
    monkeypatch.setattr(mesh.names, "resolve", lambda name, *rest: names[name])
    monkeypatch.setattr(mesh.ssh, "log_in", lambda name, *rest: called.append(name) or logins[name])
    return called


def login(failure="", session=None):
    result = {"ok": not failure, "failure": failure, "evidence": "", "seconds": 0.1}
    return ssh_login.Login(result, session)


def test_a_name_that_leads_elsewhere_is_not_logged_in_to(monkeypatch):
    names = {
        "n": resolve.Names("loopback", "n resolves to 127.0.1.1", ["127.0.1.1"]),
        "10.0.0.2": resolve.Names("", "", ["10.0.0.2"], "way"),
    }
    called = scripted(monkeypatch, names, {"10.0.0.2": login(session={"path": "/bin"})})
    row = mesh.probe([target(address="10.0.0.2", ssh_names=list(names))], wish("10.0.0.1"), 4)
    assert called == ["10.0.0.2"]
    assert row["n"]["ssh"]["n"]["failure"] == "loopback" and row["n"]["ssh"]["n"]["addresses"] == ["127.0.1.1"]
    assert row["n"]["ssh"]["10.0.0.2"]["ok"] and row["n"]["session"] == {"path": "/bin"}
    assert (row["n"]["tcp"], row["n"]["mtu"]) == ({}, None)


def test_silence_is_waited_for_once(monkeypatch):
    names = {name: resolve.Names("", "", ["10.0.0.2"], way) for name, way in (("n", "a"), ("m", "a"), ("o", "b"))}
    called = scripted(monkeypatch, names, {"n": login("timeout"), "o": login()})
    tried = mesh.try_logins(target(ssh_names=list(names)), wish())
    assert called == ["n", "o"]
    assert tried["m"].result["failure"] == "timeout" and "leads where n leads" in tried["m"].result["evidence"]


def plain(name="", limit=0):
    """A resolver for which every name is fine and a way of its own."""
    return lambda alias, *rest: resolve.Names("", "", ["10.0.0.2"], f"way {alias}")


def in_turn(monkeypatch, answers):
    """log_in() from lists of answers by name, the last of which repeats; returns the calls, and how many at once."""
    calls, lock, now, most = [], threading.Lock(), [0], [0]

    def log_in(name, *rest):
        with lock:
            calls.append(name)
            now[0] += 1
            most[0] = max(most[0], now[0])
            found = answers[name].pop(0) if len(answers[name]) > 1 else answers[name][0]
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return found

    monkeypatch.setattr(mesh.names, "resolve", plain())
    monkeypatch.setattr(mesh.ssh, "log_in", log_in)
    return calls, most


def crowd(count):
    return [target(f"n{number}", address=f"10.0.0.{number}", ssh_names=[f"n{number}"]) for number in range(count)]


@pytest.mark.parametrize("failure", ["closed", "timeout", "no_answer", "other"])
def test_what_the_crowd_broke_is_tried_again_alone_and_only_that_counts(monkeypatch, failure):
    answers = {f"n{number}": [login(failure), login(session={"path": "/bin"})] for number in range(8)}
    calls, _most = in_turn(monkeypatch, answers)
    row = mesh.probe(crowd(8), wish("10.0.0.99"), 6)
    assert all(row[name]["ssh"][name]["ok"] for name in answers) and len(calls) == 16
    assert all(row[name]["session"] for name in answers)
    assert row["n3"]["ssh"]["n3"]["first"].startswith(failure)


def test_the_second_look_is_one_login_at_a_time(monkeypatch):
    answers = {f"n{number}": [login("closed")] for number in range(6)}
    calls, most = in_turn(monkeypatch, answers)
    monkeypatch.setattr(mesh, "try_logins", lambda target, wish: {target.name: login("closed")})
    row = mesh.probe(crowd(6), wish("10.0.0.99"), 6)
    assert (len(calls), most[0]) == (6, 1)
    assert row["n1"]["ssh"]["n1"]["failure"] == "closed"


def test_never_more_logins_at_once_than_asked_for(monkeypatch):
    answers = {f"n{number}": [login()] for number in range(12)}
    _calls, most = in_turn(monkeypatch, answers)
    monkeypatch.setattr(mesh.os, "sched_getaffinity", lambda pid: set(range(64)))
    mesh.probe(crowd(12), wish("10.0.0.99"), 3)
    assert most[0] <= 3 and mesh.at_once(6) == 6
    monkeypatch.setattr(mesh.os, "sched_getaffinity", lambda pid: {0})
    assert mesh.at_once(6) == 2 and mesh.at_once(1) == 1


def test_the_better_of_two_slow_logins_counts(monkeypatch):
    quick, late = login("slow"), login("slow")
    late.result.update(ok=True, seconds=14.0)
    quick.result.update(ok=True, seconds=6.0)
    in_turn(monkeypatch, {"n0": [late, quick], "n1": [quick, late]})
    row = mesh.probe(crowd(2), wish("10.0.0.99"), 6)
    assert [row[name]["ssh"][name]["seconds"] for name in ("n0", "n1")] == [6.0, 6.0]


def test_a_refused_key_is_not_tried_twice(monkeypatch):
    calls, _most = in_turn(monkeypatch, {"n0": [login("permission")], "n1": [login("hostkey_changed")]})
    mesh.probe(crowd(2), wish("10.0.0.99"), 6)
    assert len(calls) == 2


def test_what_was_not_tried_alone_in_time_is_not_tested(monkeypatch):
    calls, _most = in_turn(monkeypatch, {"n0": [login("closed")]})
    tried = mesh.Again(wish(), seconds=-1).look(crowd(1)[0], {"n0": login("closed")})
    assert calls == [] and tried["n0"].result["failure"] == "not_met" and not tried["n0"].result["ok"]


def test_a_listener_that_ended_is_told_from_a_firewall(port, request):
    token, own = request.node.name, target(ports=[port])
    closed = free_port()  # nothing listens there, as behind a rule that rejects
    blocked, _burst = mesh.try_tcp(own, closed, wish(token=token), burst=False)
    listener.stop(token, "n")
    ended, _burst = mesh.try_tcp(own, port, wish(token=token), burst=False)
    other, _burst = mesh.try_tcp(own, port, wish("127.0.0.9", token=token), burst=False)
    assert [found["failure"] for found in (blocked, ended, other)] == ["refused", "no_listener", "refused"]
    assert "does not answer it either" in ended["evidence"]


@pytest.mark.parametrize(("second", "failure"), [("", ""), ("timeout", "timeout"), ("stranger", "stranger")])
def test_a_port_that_gave_no_answer_is_tried_again_alone(monkeypatch, second, failure):
    answers = {"1": ["timeout", second], "2": ["timeout", second], "3": ["refused"], "4": [""]}
    calls = []

    def try_tcp(target, port, wish, burst):
        calls.append((port, wish.limit))
        found = answers[str(port)].pop(0)
        return {"ok": not found, "failure": found, "evidence": found, "seconds": 0.1, "seen_as": None}, None

    monkeypatch.setattr(mesh, "try_tcp", try_tcp)
    row = mesh.probe([target(ports=[1, 2, 3, 4], address="10.0.0.2")], wish("10.0.0.1", limit=10), 4)["n"]
    assert [row["tcp"][port]["failure"] for port in ("1", "2", "3", "4")] == [failure, failure, "refused", ""]
    # one that stays silent is not waited for at its other ports
    assert calls[4:] == ([(1, 5.0)] if second == "timeout" else [(1, 5.0), (2, 5.0)])


def test_where_something_failed_the_card_that_answers_is_told(monkeypatch):
    known = {"10.0.0.2": "52:54:00:00:00:02", "10.0.0.3": "52:54:00:00:00:03"}
    monkeypatch.setattr(mesh.netlink, "dump", lambda kind: [])
    monkeypatch.setattr(mesh.netlink, "parse_neighbours", lambda data: known)
    monkeypatch.setattr(mesh, "try_tcp", lambda target, port, wish, burst: (tcp(target.address != "10.0.0.2"), None))
    targets = [target(name=f"n{at}", ports=[1], address=f"10.0.0.{at}", ssh_names=[]) for at in (2, 3)]
    row = mesh.probe(targets, wish("10.0.0.1"), 4)
    assert row["n2"]["neighbour"] == "52:54:00:00:00:02" and "neighbour" not in row["n3"]

    def broken(kind):
        raise OSError("no netlink here")

    monkeypatch.setattr(mesh.netlink, "dump", broken)
    assert "neighbour" not in mesh.probe(targets, wish("10.0.0.1"), 4)["n2"]


def tcp(good):
    return {"ok": good, "failure": "" if good else "refused", "evidence": "", "seconds": 0.0, "seen_as": None}
