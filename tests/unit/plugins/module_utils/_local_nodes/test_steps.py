# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that make embedded nodes."""

from __future__ import annotations

import json
import pathlib
import socketserver
import threading
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes import steps
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import Host, LocalNodesError
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.nodes import NodeWish, make_plan


def test_a_missing_ssh_keygen_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "ensure_engine", lambda *_given, **_options: pytest.fail("made an engine"))
    monkeypatch.setattr(steps, "find_tool", lambda name: None if name == "ssh-keygen" else f"/bin/{name}")
    with pytest.raises(LocalNodesError, match="install openssh-client"):
        steps.STEPS["engine"]({}, apply=True)


class RecordedHost(Host):
    """A client that notes what it is asked; an answer is looked up by the first two words."""

    def __init__(self, answers: dict[str, t.Callable[[tuple[str, ...]], Outcome]] | None = None) -> None:
        self.root_prefix, self.docker_prefix = [], []
        self.asked: list[tuple[str, ...]] = []
        self.answers = answers or {}

    def docker(self, *argv: str, limit: float = 60, stdin: str = "") -> Outcome:
        self.asked.append(argv)
        answer = self.answers.get(" ".join(argv[:2]))
        return answer(argv) if answer else said("")


def said(text: str, rc: int = 0) -> Outcome:
    return Outcome(rc, text if rc == 0 else "", text if rc else "", False, False, 0.0)


ADDRESSES = ["10.213.0.11", "10.213.0.12"]


def test_each_node_is_made_from_the_image_of_its_base_at_the_next_address() -> None:
    host, plan = RecordedHost(), make_plan([NodeWish("a"), NodeWish("b", base="debian:11")], [])
    steps.apply_plan(host, "x", plan, ADDRESSES, {"": "image:own", "debian:11": "image:11"})
    made = [argv for argv in host.asked if argv[0] == "create"]
    assert [argv[-2] for argv in made] == ["image:own", "image:11"]
    assert [argv[argv.index("--ip") + 1] for argv in made] == ADDRESSES


@pytest.mark.parametrize(
    ("images", "addresses", "message"),
    [
        ({"": "image:own"}, ADDRESSES, "base debian:11"),
        ({"": "image:own", "debian:11": "image:11"}, ADDRESSES[:1], "2 new nodes need an address, .* has 1 left"),
    ],
)
def test_what_is_missing_is_told_before_a_node_is_made(
    images: dict[str, str], addresses: list[str], message: str
) -> None:
    host, plan = RecordedHost(), make_plan([NodeWish("a"), NodeWish("b", base="debian:11")], [])
    with pytest.raises(LocalNodesError, match=message):
        steps.apply_plan(host, "x", plan, addresses, images)
    assert not any(argv[0] == "create" for argv in host.asked)


def networks(created: t.Callable[[tuple[str, ...]], Outcome], held: str = "[]") -> RecordedHost:
    """A client that knows one network of another program and none of ours."""
    return RecordedHost(
        {
            "network ls": lambda _argv: said("f00\n"),
            "network inspect": lambda argv: said(held) if argv[2] == "f00" else said("No such network", 1),
            "network create": created,
        }
    )


def asked_for(host: RecordedHost) -> list[str]:
    return [argv[argv.index("--subnet") + 1] for argv in host.asked if argv[:2] == ("network", "create")]


def test_a_subnet_that_another_program_takes_meanwhile_gives_way_to_the_next() -> None:
    taken = said("Error response from daemon: Pool overlaps with other one on this address space", 1)
    host = networks(lambda argv: taken if len(asked_for(host)) < 3 else said("id"))
    assert steps.ensure_networks(host, "x", extra=False, apply=True)
    assert len(set(asked_for(host))) == 3


@pytest.mark.parametrize(("text", "tried"), [("overlaps", 20), ("Error: no space left", 1)])
def test_a_network_that_cannot_be_made_is_told(text: str, tried: int) -> None:
    host = networks(lambda _argv: said(text, 1))
    with pytest.raises(LocalNodesError, match=f"could not make the network trainmesh-x: {text}"):
        steps.ensure_networks(host, "x", extra=True, apply=True)
    assert len(asked_for(host)) == tried


@pytest.mark.parametrize("apply", [True, False])
def test_a_machine_without_a_free_subnet_is_told_so(apply: bool) -> None:
    everything = [{"Subnet": subnet} for subnet in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
    host = networks(lambda _argv: said("id"), json.dumps([{"IPAM": {"Config": everything}}]))
    with pytest.raises(LocalNodesError, match="no private /24 network is free"):
        steps.ensure_networks(host, "x", extra=False, apply=apply)
    assert asked_for(host) == []


@pytest.mark.parametrize(("extra", "made"), [(False, 1), (True, 2)])
def test_check_mode_makes_no_network_and_says_what_is_missing(extra: bool, made: int) -> None:
    host = networks(lambda _argv: said("id"))
    assert steps.ensure_networks(host, "x", extra=extra, apply=False)
    assert asked_for(host) == []
    assert steps.ensure_networks(host, "x", extra=extra, apply=True)
    assert len(asked_for(host)) == made


def container(name: str, init: str | None = None) -> dict[str, t.Any]:
    """What ``docker inspect`` says of a container of another cluster; without ``init`` nothing is known of it."""
    label = json.dumps(NodeWish(name, init=init).settings) if init else "no JSON"
    labels = {"io.trainmesh.local-node": name, "io.trainmesh.local-node-settings": label}
    return {"Name": f"/y-{name}", "State": {"Running": True}, "Config": {"Labels": labels}, "NetworkSettings": {}}


def test_only_nodes_with_systemd_count_for_what_systemd_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [container("a", "systemd"), container("b", "sshd"), container("c")]
    host = RecordedHost(
        {
            "version --format": lambda _argv: said("20.10"),
            "ps -aq": lambda argv: said("" if argv[-1].endswith("=x") else "1 2 3"),
            "inspect 1": lambda _argv: said(json.dumps(others)),
            "network ls": lambda _argv: said("f00"),
            "network inspect": lambda argv: said("[]") if argv[2] == "f00" else said("No such network", 1),
        }
    )
    counted: list[tuple[int, int]] = []
    monkeypatch.setattr(steps, "Host", lambda: host)
    monkeypatch.setattr(steps.limits, "check_resources", lambda *_given: None)
    monkeypatch.setattr(steps.limits, "warnings", lambda systemd, cluster, _tree: counted.append((systemd, cluster)))
    listed = [{"name": "node1"}, {"name": "node2", "init": "sshd"}]
    params = {"cluster": "x", "nodes": listed, "defaults": None, "count": 0, "images": {}}
    result = steps.STEPS["nodes"](params, apply=False)
    assert (result["created"], result["changed"]) == (["node1", "node2"], True)
    assert counted == [(3, 2)]


def absent(monkeypatch: pytest.MonkeyPatch, host: RecordedHost, **given: bool) -> dict[str, t.Any]:
    monkeypatch.setattr(steps, "Host", lambda: host)
    return steps.STEPS["absent"]({"cluster": "x", "purge": given.get("purge", False)}, apply=given.get("apply", True))


def cluster() -> RecordedHost:
    """A client that knows two nodes on one network."""
    return RecordedHost(
        {
            "version --format": lambda _argv: said("20.10"),
            "ps -a": lambda _argv: said("trainmesh-x-b\ntrainmesh-x-a\n"),
            "network ls": lambda _argv: said("trainmesh-x\n"),
        }
    )


@pytest.mark.parametrize("apply", [True, False])
def test_nodes_go_before_their_networks_and_check_mode_removes_neither(
    monkeypatch: pytest.MonkeyPatch, apply: bool
) -> None:
    host = cluster()
    result = absent(monkeypatch, host, apply=apply)
    assert result["changed"]
    assert result["summary"] == "removed trainmesh-x-a, trainmesh-x-b, trainmesh-x"
    removing = [argv[:2] for argv in host.asked if "rm" in argv]
    assert removing == ([("rm", "-f"), ("network", "rm")] if apply else [])
    assert all("label=io.trainmesh.local-nodes=x" in argv for argv in host.asked if argv[0] == "ps")


@pytest.mark.parametrize(
    ("command", "what", "busy"),
    [
        ("network rm", "networks", "error while removing network: network x has active endpoints"),
        ("rm -f", "nodes", "Error response from daemon: removal of container trainmesh-x-a is already in progress."),
    ],
)
def test_what_the_engine_is_still_removing_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, command: str, what: str, busy: str
) -> None:
    host = cluster()
    answers = iter([said(busy, 1), said(busy, 1), said("")])
    host.answers[command] = lambda _argv: next(answers)
    monkeypatch.setattr(steps.time, "sleep", lambda _seconds: None)
    assert "trainmesh-x" in absent(monkeypatch, host)["summary"] and next(answers, None) is None
    host.answers[command] = lambda _argv: said("permission denied", 1)
    with pytest.raises(LocalNodesError, match=f"could not remove the {what}: permission denied"):
        absent(monkeypatch, host)
    host.answers[command] = lambda _argv: said(busy, 1)
    monkeypatch.setattr(steps, "PATIENCE_S", -1.0)
    with pytest.raises(LocalNodesError, match=busy):
        absent(monkeypatch, host)


@pytest.mark.parametrize(("answers", "words"), [(True, "nothing to remove"), (False, "no Docker Engine answers")])
def test_a_user_to_whom_no_engine_answers_is_not_told_that_there_is_nothing(
    monkeypatch: pytest.MonkeyPatch, answers: bool, words: str
) -> None:
    host = RecordedHost({"version --format": lambda _argv: said("20.10" if answers else "")})
    result = absent(monkeypatch, host)
    assert not result["changed"]
    assert words in result["summary"]
    assert ("nothing to remove" in result["summary"]) is answers
    assert result["looked"] is answers


@pytest.mark.parametrize(("tools", "started"), [(["dockerd"], True), ([], False)])
def test_an_engine_that_was_started_here_is_started_again_for_the_purge_unless_it_was_uninstalled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, tools: list[str], started: bool
) -> None:
    (tmp_path / "engine.json").write_text("{}")
    monkeypatch.setattr(steps, "RECORD", str(tmp_path / "engine.json"))
    monkeypatch.setattr(steps, "find_tool", lambda name: name if name in tools else None)
    monkeypatch.setattr(steps, "stop_engine", lambda _host, *, apply: (True, "the package stays"))
    monkeypatch.setattr(steps, "remove_images", lambda _host, *, apply: ["trainmesh-node:1"])
    ensured: list[bool] = []
    monkeypatch.setattr(steps, "ensure_engine", lambda _host, *, apply: ensured.append(apply))
    result = absent(monkeypatch, cluster(), purge=True)
    assert ensured == [True] * started
    assert result["summary"].endswith("trainmesh-node:1, the Docker Engine's process; the package stays")


def set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, *, ready: bool) -> tuple[RecordedHost, t.Any]:
    (tmp_path / "setup.sh").write_text("true\n")
    endpoint = {"IPAddress": "10.213.0.11"}
    node = {**container("a", "systemd"), "NetworkSettings": {"Networks": {"trainmesh-x": endpoint}}}

    def run(argv: tuple[str, ...]) -> Outcome:
        if "cat /etc/ssh" in argv[-1]:
            return said("ssh-ed25519 AAAA root@localhost\n")
        return said("", 0 if ready or "-s" in argv else 1)

    host = RecordedHost(
        {
            "version --format": lambda _argv: said("20.10"),
            "ps -aq": lambda _argv: said("1"),
            "inspect 1": lambda _argv: said(json.dumps([node])),
            "exec -i": run,
        }
    )
    monkeypatch.setattr(steps, "Host", lambda: host)
    monkeypatch.setattr(steps, "_wait_for_ssh", lambda *_given: None)
    params = {"cluster": "x", "nodes": [{"name": "a"}], "defaults": None, "count": 0, "recipe": str(tmp_path)}
    return host, steps.STEPS["setup"]({**params, "account": "trainer", "public_key": "ssh-ed25519 BBBB\n"}, apply=True)


@pytest.mark.parametrize("ready", [True, False])
def test_the_first_boot_is_finished_once(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, ready: bool) -> None:
    host, result = set_up(monkeypatch, tmp_path, ready=ready)
    assert result["changed"] is not ready
    assert result["hosts"][0]["known_hosts"] == ["10.213.0.11 ssh-ed25519 AAAA"]
    scripts = [argv for argv in host.asked if "-s" in argv]
    assert [argv[-5:] for argv in scripts] == [("22", "none", "trainer", "ssh-ed25519 BBBB", "systemd")] * (not ready)


class Door(socketserver.BaseRequestHandler):
    """Says something that is no greeting first, as a port that another program still holds."""

    words: t.ClassVar[list[bytes]] = []

    def handle(self) -> None:
        self.request.sendall(self.words.pop(0) if len(self.words) > 1 else self.words[0])


def test_a_node_is_up_when_its_sshd_greets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps.time, "sleep", lambda _seconds: None)
    with socketserver.TCPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address, port = server.server_address[:2]
        Door.words = [b"220 mail\r\n", b"SSH-2.0-OpenSSH\r\n"]
        steps._wait_for_ssh("a", str(address), port)
        assert Door.words == [b"SSH-2.0-OpenSSH\r\n"]
        Door.words = [b"220 mail\r\n"]
        monkeypatch.setattr(steps, "SSH_LIMIT", 0.0)
        with pytest.raises(LocalNodesError, match=f"sshd of a does not answer on {address} port {port} .*no ssh"):
            steps._wait_for_ssh("a", str(address), port)
        server.shutdown()
    with pytest.raises(LocalNodesError, match="refused"):
        steps._wait_for_ssh("a", str(address), port)
