# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import sshd


def test_the_drop_in_keeps_the_ports_of_today():
    main = "Include /etc/ssh/sshd_config.d/*.conf\n"
    wish = sshd.wish(main, [22], 2222)
    assert (wish.path, wish.mode) == (sshd.DROP_IN, 0o600)
    assert "Port 22\nPort 2222\n" in wish.text
    assert wish.proof == wish.text + main, "what sshd will read, before it is there"


def test_without_drop_ins_a_block_stands_ahead_of_match():
    wish = sshd.wish("Match User x\n  PermitTTY no\n", [22], 2222)
    assert (wish.path, wish.mode) == (sshd.MAIN, None), "the file keeps its mode"
    assert wish.text.index("Port 2222") < wish.text.index("Match")
    assert wish.proof == wish.text


def test_a_commented_include_does_not_count():
    assert sshd.wish("#Include /etc/ssh/sshd_config.d/*.conf\n", [22], 23)[0] == sshd.MAIN


def test_nothing_listens_on_a_closed_port():
    assert sshd.listens(1, 0) is False


class Module:
    """AnsibleModule as far as sshd is concerned: ``refuses`` are the commands that end badly, ``ran`` all of them.

    ``restore`` is what happens after two minutes, if anything.
    """

    def __init__(self, *refuses):
        self.params, self.refuses, self.ran, self.restore = {"backup": True}, refuses, [], None

    def run_command(self, argv):
        words = " ".join(argv)
        self.ran.append(words)
        if "-f" in argv:
            with open(argv[-1]) as stream:
                assert "Port 2222" in stream.read(), "the copy that is proved"
        return (255, "", "no such option") if any(words.startswith(one) for one in self.refuses) else (0, "", "")

    def log(self, text):
        self.logged = text

    def set_default_selinux_context(self, path, changed):
        assert os.path.exists(path)


def apply(tmp_path, monkeypatch, module, before, answers):
    monkeypatch.setattr(sshd.sshd_return, "arm", lambda restore: setattr(module, "restore", restore))
    monkeypatch.setattr(sshd.sshd_return, "keep", lambda: setattr(module, "restore", None))
    monkeypatch.setattr(sshd, "listens", lambda port, limit: answers)
    monkeypatch.setattr(sshd.search_path, "which", lambda name: None if name == "systemctl" else name)
    path = tmp_path / "sshd_config"
    if before:
        path.write_text(before)
        path.chmod(0o644)
    wish = sshd.wish(before, [22], 2222)
    change = textfile.Change(str(path), before, wish.text, wish.mode)
    problem = sshd.apply(module, change, wish.proof, 2222)
    return problem, path.read_text() if path.exists() else None


def test_a_new_port_that_answers_stays(tmp_path, monkeypatch):
    problem, text = apply(tmp_path, monkeypatch, Module(), "UseDNS no\n", True)
    assert (problem, "Port 2222" in text) == ("", True)
    assert (tmp_path / "sshd_config").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / f"sshd_config{textfile.BACKUP}").read_text() == "UseDNS no\n"


def test_what_sshd_refuses_is_never_written(tmp_path, monkeypatch):
    module = Module("sshd -t -f")
    problem, text = apply(tmp_path, monkeypatch, module, "UseDNS no\n", True)
    assert "nothing was written: no such option" in problem and text == "UseDNS no\n"
    assert len(module.ran) == 1


@pytest.mark.parametrize("before", ["UseDNS no\n", ""])
@pytest.mark.parametrize(
    ("refuses", "answers", "words"),
    [(("sshd -t",), True, ""), (("pkill",), True, "no running sshd"), ((), False, "nothing answers on port 2222")],
)
def test_all_goes_back_when_it_does_not_work(tmp_path, monkeypatch, before, refuses, answers, words):
    module = Module(*refuses)
    problem, text = apply(tmp_path, monkeypatch, module, before, answers)
    assert words in problem
    assert text == (before or None)
    assert module.restore is None, "nothing is left to come back"
    if not refuses:
        assert [line.split()[0] for line in module.ran[-2:]] == ["pkill", "pkill"], "sshd reads the old one again"


@pytest.mark.parametrize("before", ["UseDNS no\n", ""])
def test_a_change_that_nobody_keeps_comes_undone(tmp_path, monkeypatch, before):
    module = Module()
    assert apply(tmp_path, monkeypatch, module, before, True)[0] == ""
    path, ran = tmp_path / "sshd_config", len(module.ran)
    module.restore()
    assert (path.read_text() if path.exists() else "") == before
    assert [line.split()[0] for line in module.ran[ran:]] == ["pkill"]
    assert f"120 s of the change: the old {path} comes back" in module.logged


def test_a_change_that_was_never_written_has_nothing_to_undo(tmp_path, monkeypatch):
    change = textfile.Change(str(tmp_path / "new.conf"), "", "Port 22\n", 0o600)
    monkeypatch.setattr(sshd.search_path, "which", lambda name: None if name == "systemctl" else name)
    sshd.restore(Module(), change, existed=False)
    assert not os.listdir(tmp_path)
