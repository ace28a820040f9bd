# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of many names is compared with what the real ssh says of each."""

from __future__ import annotations

import shutil

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, ssh_config
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_client import ClientConfig, Patterns
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_options import Options
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import ssh as user_ssh

NODES = range(1, 9)
NAMES = [name for number in NODES for name in (f"n{number}", f"N{number}", f"n{number}.lan", f"10.0.0.{number}")]
BLOCKS = "".join(
    f"Host n{number} n{number}.lan 10.0.0.{number}\n  HostName 10.0.0.{number}\n  User trainer\n  Port 2222\n"
    for number in NODES
)
OURS = f"{BLOCKS}Host {' '.join(NAMES)}\n  ConnectTimeout 10\n"
FEW = {
    "none": "",
    "ours": OURS,
    "names in lower case and patterns": 'Host "n*" !n3*\n HostName %h.Example.ORG\nHost=n?\n  Port=7\n',
    "matches of upper case": f"Match host N1,x\n  Port 8\nMatch originalhost N2\n  Port 9\n{OURS}",
    "an odd node": f"Host n5 # the odd one\n  Port 33\n  ProxyJump gate\nHost n6\n  User me\n{OURS}",
    "a match for all": f"{OURS}Match final all\n  Compression yes\n",
    "a second reading by the address": "Host n?\n  HostName 10.0.0.7\nMatch final all\nHost 10.0.0.7\n  User seven\n",
    "a match of hosts": f"Match originalhost n2,n3\n  Port 1\nMatch host 10.0.0.4 user *\n  Port 2\n{OURS}",
    "a match of where HostName leads": f"{OURS}Match host *.5\n  ProxyJump gate\n",
    "a command without the name": f"Match exec true\n  ProxyCommand gate %h %p\n{OURS}",
    "a comment": f"#Host n1\n# Port 4\n\nHost *\n  # Port 5\n  User all\n{OURS}",
}
EACH = {
    "a command with the name": 'Match exec "test %n = n3"\n  Port 3\n',
    "HostName below a match": "Match originalhost n1\n  HostName other\n",
    "canonical names": f"CanonicalizeHostname yes\nCanonicalDomains lan\n{OURS}",
}


class Counting:
    """ssh with the configuration of one home, and how often it was asked."""

    def __init__(self, home):
        self.home, self.asked = home, []

    def __call__(self, argv, limit, **more):
        self.asked.append(argv[-1])
        return command.run([argv[0], "-F", str(self.home / ".ssh/config"), *argv[1:]], limit, **more)


@pytest.fixture
def ssh(tmp_path):
    """A function of the text of a configuration: (the options, how often ssh was asked)."""
    if not shutil.which("ssh"):
        pytest.skip("there is no ssh client")

    def make(text):
        (tmp_path / ".ssh").mkdir(exist_ok=True)
        (tmp_path / ".ssh/config").write_text(text)
        run = Counting(tmp_path)
        return Options(ClientConfig(Tree(), str(tmp_path)), 30, run), run

    return make


def told(options, name):
    return options.of(name).options or options.of(name).outcome.err


def compare(ssh, text):
    """Every name as it is told among many, and as a question of its own; returns how often ssh was asked."""
    options, run = ssh(text)
    for name in NAMES:
        assert told(options, name) == told(ssh(text)[0], name), name
    return len(run.asked)


@pytest.mark.parametrize("case", FEW)
def test_few_questions_tell_what_one_for_each_name_would(ssh, case):
    assert compare(ssh, FEW[case]) <= 12


@pytest.mark.parametrize("case", EACH)
def test_what_only_ssh_can_tell_is_asked_for_each_name(ssh, case):
    assert compare(ssh, EACH[case]) == len(NAMES)


def test_the_number_of_nodes_does_not_change_the_number_of_questions(ssh):
    options, run = ssh(OURS)
    assert [options.of(f"n{number}").options["hostname"] for number in NODES] == [f"10.0.0.{n}" for n in NODES]
    assert run.asked == ["n1"]


def test_included_files_belong_to_the_host_that_includes_them(ssh, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more/a.conf").write_text("Port 5\nHost n2\n  User two\n")
    (tmp_path / "more/b.conf").write_text("Port 6\n")
    text = f"Host n1 n2\nInclude {tmp_path}/more/*.conf\n  Compression yes\nHost n3\n  Include {tmp_path}/gone\n{OURS}"
    assert compare(ssh, text) <= 6


def test_a_file_that_ssh_alone_knows_has_each_name_asked(ssh, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/hidden").write_text("Host n4\n  Port 4\n")
    assert compare(ssh, f"Include {tmp_path}/d*p/hidden\n{OURS}") == len(NAMES)


def test_a_configuration_that_ssh_refuses_is_refused_for_all(ssh):
    options, run = ssh(f"{OURS}Host n3\n  Prot 22\n")
    said = [options.of(name).outcome for name in NAMES]
    assert {outcome.rc for outcome in said} == {255} and len(run.asked) <= 4
    assert "Bad configuration option: prot" in said[-1].err and "debug1" not in said[-1].err
    assert ssh_config.config_error(said[-1].err) == "syntax"


@pytest.mark.parametrize(
    ("line", "accepted"),
    [
        ("", True),
        ("HostKeyAlgorithms rsa-sha2-512,ssh-ed25519", False),
        ("CASignatureAlgorithms rsa-sha2-512", False),
        ("PubkeyAcceptedAlgorithms ssh-ed25519", False),
        ("HostKeyAlgorithms ^ssh-rsa", True),
    ],
)
def test_whether_certificates_are_accepted_is_known_from_what_ssh_says(ssh, line, accepted):
    options, _run = ssh(f"{OURS}Host *\n  {line}\n")
    assert user_ssh.client(["n1", "n2"], options, 30)["certificates"] is accepted


def test_no_answer_in_time_is_asked_for_again(tmp_path):
    late = command.Outcome(None, "", "", True, False, 1.0)
    asked = []
    options = Options(ClientConfig(Tree(str(tmp_path)), "/h"), 1, lambda argv, *rest, **more: asked.append(1) or late)
    assert all(options.of(name).outcome.timed_out for name in ("a", "b", "a")) and len(asked) == 3


@pytest.mark.parametrize(
    ("words", "fitting", "other"),
    [
        ("n1 n2", ["n1", "n2"], ["n", "n11", "N1"]),
        ("n* !n1* !x", ["n2", "n"], ["n1", "n10", "x"]),
        ("!n1", [], ["n1", "n2"]),
        ("n?.lan", ["n1.lan"], ["n1xlan", "n10.lan"]),
        ("[n]*", ["[n]1"], ["n1"]),
    ],
)
def test_patterns(words, fitting, other):
    patterns = Patterns(words.split())
    assert all(map(patterns.match, fitting)) and not any(map(patterns.match, other))
