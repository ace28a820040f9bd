# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sudo, Python and shells of a host say, and what is made of it."""

from __future__ import annotations

import types

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import failures, host_words

CLIENT = types.SimpleNamespace(user="ubuntu", port=22, hostname="10.0.0.12")
NOSUID = "sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the 'nosuid' option set or an NFS file"


@pytest.mark.parametrize("ask", [failures.sudo, failures.sudo_password])
@pytest.mark.parametrize(
    ("said", "cause", "fix"),
    [
        (f"{NOSUID} system without root privileges?", "can't become root", "chown root:root /usr/bin/sudo"),
        ("sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set", "setuid", "chown root:root"),
        ('sudo: The "no new privileges" flag is set, which prevents sudo', "no-new-privileges", "ansible_user: root"),
        ("ubuntu is not in the sudoers file.", "ubuntu is not allowed", "usermod -aG sudo ubuntu"),
        ("Sorry, user ubuntu is not allowed to execute '/usr/bin/true' as root on n1.", "not allowed", "usermod -aG"),
        ("sudo: account validation failure, is your account locked?", "PAM does not let", "chage -E -1 -I -1"),
        ("sudo: Account or password is expired, reset your password and try again", "PAM does not let", "chage"),
        ("/etc/sudoers.d/90-x:1:10: syntax error", "files of sudo on the host are broken", "visudo -c as root"),
        (">>> /etc/sudoers: syntax error near line 3 <<<", "files of sudo", "visudo -c"),
        ("sudo: /etc/sudoers.d/x is world writable", "files of sudo", "visudo -c"),
        ("/bin/sh: 1: sudo: not found", "sudo is not installed", "apt-get install -y sudo"),
        ("bash: sudo: command not found", "sudo is not installed", "apt-get install -y sudo"),
        ("sudo: unable to fork: Resource temporarily unavailable", "no further process", "ps -u ubuntu"),
    ],
)
def test_a_sudo_that_no_password_helps(ask, said, cause, fix):
    stop = ask(CLIENT, said, "sudo")
    assert (stop.step, stop.evidence) == ("sudo", said)
    assert cause in stop.cause and stop.remedy.startswith(fix)


@pytest.mark.parametrize("said", ["sudo: a password is required", "sudo: unable to resolve host n1", "Sorry, try."])
def test_a_sudo_that_wants_a_password(said):
    assert failures.sudo(CLIENT, said, "sudo").remedy.startswith("run with --ask-become-pass (-K)")
    assert "rejects the password" in failures.sudo_password(CLIENT, said, "sudo").cause


@pytest.mark.parametrize(
    ("said", "cause", "fix"),
    [
        ("Fatal Python error: init_fs_encoding: failed to get the Python codec of the file", "PYTHONHOME", "grep -rn"),
        ("ModuleNotFoundError: No module named 'encodings'", "PYTHONHOME", "grep -rn"),
        ("python3: error while loading shared libraries: libpython3.11.so.1.0", "damaged", "ldd "),
        ("python3: /lib/libc.so.6: version `GLIBC_2.34' not found (required by python3)", "damaged", "ldd "),
        ("bash: /usr/bin/python3: cannot execute binary file: Exec format error", "another processor", "file -L"),
        ("/bin/sh: 1: Cannot fork", "no further process", "ps -u ubuntu"),
        ("sh: python3: not found", "does not run", "ssh ubuntu@10.0.0.12, then as root: apt-get install -y python3"),
    ],
)
def test_a_python_that_does_not_run(said, cause, fix):
    stop = failures.python(CLIENT, said, (), "apt-get")
    assert stop.step == "python" and cause in stop.cause and stop.remedy.startswith(fix)


@pytest.mark.parametrize(
    ("said", "cause", "fix"),
    [
        ("WARNING: Your password has expired. Password change required but no TTY available.", "changed", "ssh -t"),
        ("This service allows sftp connections only.", "ForceCommand internal-sftp", "take ubuntu out"),
        ("bash: fork: retry: Resource temporarily unavailable", "no further process", "ps -u ubuntu"),
        ("-bash: cannot create temp file: No space left on device", "is full", "df -h / /tmp"),
        ("the command printed nothing", "a start-up file of the shell leaves it", "grep -nE"),
        ("This account is currently not available.", "its login shell", "usermod -s /bin/bash ubuntu"),
        ("Welcome to the menu", "its login shell or a forced command", "usermod -s /bin/bash ubuntu"),
    ],
)
def test_a_login_that_runs_nothing(said, cause, fix):
    stop = failures.shell(CLIENT, said)
    assert stop.step == "python" and cause in stop.cause and stop.remedy.startswith(fix)


def test_words_of_all_kinds_are_whole():
    for words in (host_words.SUDO, host_words.PYTHON, host_words.SHELL):
        assert host_words.because(words, "ubuntu", "nobody said this") is None
        for _pattern, cause, remedy in words:
            assert "{" not in cause.replace("{user}", "") + remedy.replace("{user}", "")
