# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates are given to an sshd that shows them, and to no other; files that sshd needs are never taken away."""

from __future__ import annotations

import base64
import pathlib

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import search_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import certificates, sshd, sshd_return
from ansible_collections.trainmesh.cluster.plugins.modules import sshd_certificates
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.authority import HOSTS, Authority, Request
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import public_key

LIST = base64.b64encode(b"SSHKRL\n\0\xff").decode()


class Node:
    """A node whose sshd does what its drop-in says as soon as it is reloaded."""

    def __init__(self, directory):
        self.directory, self.waits, self.problem, self.shown, self.reloads = directory, False, "", None, 0

    @property
    def drop_in(self):
        return self.directory / "drop-in.conf"

    def apply(self, _module, change, _proof, _port, backup):
        assert backup is False
        if not self.problem:
            pathlib.Path(change.path).write_text(change.after)
            pathlib.Path(change.path).chmod(change.mode or 0o600)
            self.waits = True
            self.reload()
        return self.problem

    def restore(self, _module, change, existed):
        assert not existed
        pathlib.Path(change.path).unlink()

    def reload(self, _module=None):
        self.reloads += 1
        text = self.drop_in.read_text() if self.drop_in.exists() else ""
        files = [line.split()[1] for line in text.splitlines() if line.startswith("HostCertificate")]
        if self.shown != "nothing":
            (self.directory / "shown").write_text("".join(pathlib.Path(path).read_text() for path in files))
        return ""

    def keep(self):
        self.waits = False


@pytest.fixture
def node(tmp_path, monkeypatch):
    made = Node(tmp_path)
    (tmp_path / "shown").touch()
    tools = {"sshd": f"cat {tmp_path}/settings", "ssh-keyscan": f"cat {tmp_path}/shown"}
    for name, line in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "settings").write_text("port 22\n")
    (tmp_path / "sshd_config").write_text("Include /etc/ssh/sshd_config.d/*.conf\n")
    monkeypatch.setattr(search_path, "which", lambda name: str(tmp_path / name))
    monkeypatch.setattr(certificates, "DIRECTORY", str(tmp_path / "trainmesh"))
    monkeypatch.setattr(certificates, "REVOKED", str(tmp_path / "trainmesh/revoked_keys"))
    monkeypatch.setattr(certificates, "UNREAD", str(tmp_path / "trainmesh/.unread"))
    monkeypatch.setattr(certificates, "DROP_IN", str(made.drop_in))
    monkeypatch.setattr(sshd_certificates, "WAIT_S", 0.0)
    monkeypatch.setattr(sshd, "MAIN", str(tmp_path / "sshd_config"))
    for name in ("apply", "restore", "reload"):
        monkeypatch.setattr(sshd, name, getattr(made, name))
    monkeypatch.setattr(sshd_return, "is_armed", lambda: made.waits)
    monkeypatch.setattr(sshd_return, "keep", made.keep)
    return made


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    authority = Authority(str(tmp_path_factory.mktemp("state")), "abcd1234")
    authority.make()
    return [authority.sign(HOSTS, Request(public_key("H"), ("n",), ("n",)), serial, "1w") for serial in (1, 2)]


def files_of(node):
    return sorted(path.name for path in (node.directory / "trainmesh").glob("*"))


def test_certificates_are_written_once_and_wait_for_a_login(node, lines, capsys):
    answer = modules.run(sshd_certificates, capsys, certificates=lines[:1], revoked=LIST)
    assert (answer["changed"], answer["waits"], answer["problem"]) == (True, True, "")
    assert files_of(node) == ["revoked_keys", "ssh-ed25519-cert.pub"]
    assert (node.directory / "trainmesh/revoked_keys").read_bytes() == base64.b64decode(LIST)
    assert "SSHKRL" not in str(answer["diff"])
    answer = modules.run(sshd_certificates, capsys, certificates=lines[:1], revoked=LIST, keep=True)
    assert (answer["changed"], answer["waits"], node.reloads) == (False, False, 1)


def test_another_certificate_needs_a_reload_and_another_list_none(node, lines, capsys):
    modules.run(sshd_certificates, capsys, certificates=lines[:1], revoked=LIST, keep=True)
    assert modules.run(sshd_certificates, capsys, certificates=lines[1:], revoked=LIST)["changed"]
    assert node.reloads == 2 and lines[1] in (node.directory / "shown").read_text()
    other = base64.b64encode(b"another").decode()
    assert modules.run(sshd_certificates, capsys, certificates=lines[1:], revoked=other)["changed"]
    assert node.reloads == 2 and (node.directory / "trainmesh/revoked_keys").read_bytes() == b"another"


def test_a_run_that_was_killed_before_the_reload_is_seen_and_goes_on(node, lines, monkeypatch, capsys):
    modules.run(sshd_certificates, capsys, certificates=lines[:1], revoked=LIST, keep=True)
    wanted = certificates.wanted_of_sshd(lines[1:], LIST)
    with monkeypatch.context() as context:
        context.setattr(sshd, "reload", lambda _module: pytest.exit("killed"))
        with pytest.raises(pytest.exit.Exception):
            modules.run(sshd_certificates, capsys, certificates=lines[1:], revoked=LIST)
    assert lines[1] in str(certificates.of_sshd().files) and certificates.of_sshd() != wanted
    modules.run(sshd_certificates, capsys, certificates=lines[1:], revoked=LIST)
    assert lines[1] in (node.directory / "shown").read_text() and certificates.of_sshd() == wanted


def test_a_removal_that_was_killed_before_the_reload_goes_on(node, lines, capsys):
    modules.run(sshd_certificates, capsys, certificates=lines[:1], revoked=LIST, keep=True)
    node.drop_in.unlink()
    assert modules.run(sshd_certificates, capsys, keep=True)["changed"]
    assert node.reloads == 2 and not (node.directory / "shown").read_text() and not files_of(node)


def test_check_mode_writes_nothing_even_of_what_is_still_to_be_signed(node, lines, capsys):
    for wanted, revoked in ((lines[:1], LIST), (["(signed on the controller by the run)"], "")):
        answer = modules.run(sshd_certificates, capsys, certificates=wanted, revoked=revoked, check=True)
        assert answer["changed"] and files_of(node) == [] and not node.drop_in.exists()


@pytest.mark.parametrize("wanted", [["ssh-ed25519 AAAA"], ["x"]])
def test_what_is_no_certificate_is_refused(node, wanted, capsys):
    answer = modules.run(sshd_certificates, capsys, certificates=wanted, revoked=LIST)
    assert answer["failed"] and files_of(node) == []


@pytest.mark.parametrize(
    ("settings", "config", "why"),
    [
        ("hostcertificate /etc/ssh/company-cert.pub", None, "somebody else"),
        ("revokedkeys /etc/ssh/company_revoked", None, "revoked keys already"),
        ("pubkeyacceptedalgorithms ssh-ed25519,rsa-sha2-512", None, "no ed25519 certificates"),
        ("casignaturealgorithms rsa-sha2-512", None, "no ed25519 certificates"),
        ("", "Port 22\n", "does not include"),
    ],
)
def test_an_sshd_that_can_not_have_them_is_left_alone(node, lines, settings, config, why, capsys):
    (node.directory / "settings").write_text(f"port 22\n{settings}\n")
    if config:
        (node.directory / "sshd_config").write_text(config)
    answer = modules.run(sshd_certificates, capsys, certificates=lines[:1], revoked=LIST)
    assert (answer["changed"], files_of(node)) == (False, []) and why in answer["problem"]


def test_an_sshd_that_does_not_show_them_gets_its_configuration_back(node, lines, capsys):
    node.shown = "nothing"
    answer = modules.run(sshd_certificates, capsys, certificates=lines[:1], revoked=LIST)
    assert "nothing shows the certificates" in answer["problem"] and "failed" not in answer
    assert not node.drop_in.exists() and not node.waits


def test_the_list_stays_until_nothing_can_bring_the_drop_in_back(node, lines, capsys):
    modules.run(sshd_certificates, capsys, certificates=lines[:1], revoked=LIST, keep=True)
    node.waits = False
    answer = modules.run(sshd_certificates, capsys)
    assert answer["changed"] and answer["waits"]
    assert node.drop_in.read_text() == "" and files_of(node) == ["revoked_keys", "ssh-ed25519-cert.pub"]
    assert modules.run(sshd_certificates, capsys, keep=True)["changed"]
    assert not node.drop_in.exists() and not (node.directory / "trainmesh").exists()
    assert modules.run(sshd_certificates, capsys)["changed"] is False


def test_the_documentation_is_the_specification(monkeypatch):
    documented.check(sshd_certificates, monkeypatch)
