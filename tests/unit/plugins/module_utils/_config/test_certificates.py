# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in certificates of OpenSSH is read as ssh-keygen shows it, and what is none is told apart."""

from __future__ import annotations

import subprocess

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import certificates

KINDS = (("ed25519", ""), ("rsa", "2048"), ("ecdsa", "256"), ("ecdsa", "521"))


def keygen(*words):
    return subprocess.run(["ssh-keygen", *words], check=True, capture_output=True, text=True, input="").stdout


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca"
    keygen("-q", "-t", "ed25519", "-N", "", "-f", str(path))
    return path


@pytest.fixture(scope="module", params=KINDS, ids="".join)
def key(request, tmp_path_factory):
    kind, bits = request.param
    path = tmp_path_factory.mktemp("key") / "key"
    keygen("-q", "-t", kind, *(["-b", bits] if bits else []), "-N", "", "-f", str(path))
    return path


@pytest.mark.parametrize("host", [False, True])
def test_a_certificate_is_read_as_it_was_signed(authority, key, host):
    options = ["-h"] if host else ["-O", "clear", "-O", "source-address=10.0.0.1,fd00::/64"]
    keygen("-q", "-s", str(authority), "-I", "cluster/node", "-n", "a,b.c", "-z", "77", *options, f"{key}.pub")
    found = certificates.read(key.with_name("key-cert.pub").read_text())
    public = " ".join(key.with_name("key.pub").read_text().split()[:2])
    assert (found.kind, found.serial, found.key_id) == ("host" if host else "user", 77, "cluster/node")
    assert found.principals == ("a", "b.c") and found.public_key == public
    assert found.sources == (() if host else ("10.0.0.1", "fd00::/64"))
    assert found.valid_after < found.valid_before == 2**64 - 1
    assert f" {found.authority} " in keygen("-l", "-f", f"{authority}.pub")
    assert f" {certificates.fingerprint(public)} " in keygen("-l", "-f", f"{key}.pub")


def test_what_is_no_certificate_is_none(authority, key):
    keygen("-q", "-s", str(authority), "-I", "x", "-n", "a", f"{key}.pub")
    kind, body = key.with_name("key-cert.pub").read_text().split()[:2]
    public = key.with_name("key.pub").read_text()
    for line in (public, "", "None", kind, f"{kind} {body[:-40]}", f"{kind} ?", f"x{kind} {body}", f"{kind} AAAA"):
        assert certificates.read(line) is None
    assert certificates.fingerprint("") == certificates.fingerprint("ssh-rsa ???") == ""


def test_each_type_of_host_key_has_a_file_of_its_own():
    kinds = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256")
    files = [certificates.host_file(f"{kind}-cert-v01@openssh.com AAAA") for kind in kinds]
    assert files == [f"/etc/ssh/trainmesh/{kind}-cert.pub" for kind in kinds]
    assert certificates.drop_in(files[:1]).splitlines()[1:] == [
        "HostCertificate /etc/ssh/trainmesh/ssh-ed25519-cert.pub",
        "RevokedKeys /etc/ssh/trainmesh/revoked_keys",
    ]


def test_an_ssh_that_is_told_to_accept_no_certificates_is_known():
    for key in ("hostkeyalgorithms", "pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes", "casignaturealgorithms"):
        assert not certificates.client_accepts({key: "rsa-sha2-512,ecdsa-sha2-nistp256"})
    asked = subprocess.run(["ssh", "-G", "-F", "none", "host"], check=True, capture_output=True, text=True)
    assert certificates.client_accepts(dict(line.split(" ", 1) for line in asked.stdout.splitlines()))


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ({}, ""),
        ({"hostcertificate": ["/etc/ssh/trainmesh/ssh-ed25519-cert.pub"], "revokedkeys": [certificates.REVOKED]}, ""),
        ({"pubkeyacceptedkeytypes": ["ssh-rsa"]}, "accepts no ed25519 certificates"),
        ({"pubkeyacceptedalgorithms": [f"ssh-rsa,{certificates.ALGORITHM}"], "revokedkeys": ["none"]}, ""),
        ({"hostcertificate": ["/etc/ssh/trainmesh2/x"]}, "/etc/ssh/trainmesh2/x"),
    ],
)
def test_an_sshd_is_not_given_what_it_would_not_take(found, problem):
    assert problem in certificates.server_problem(found, has_drop_ins=True)
    assert bool(certificates.server_problem(found, has_drop_ins=True)) is bool(problem)
    assert "does not include" in certificates.server_problem(found, has_drop_ins=False)
