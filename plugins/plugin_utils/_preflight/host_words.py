# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sudo, Python and shells of a host say when they can't do their work, and what that means.

No password and no installation helps against these, so that nobody is sent that way.
"""

from __future__ import annotations

import re

# (what is said, cause, fix); {user} is who logs in.
Words = tuple[tuple[str, str, str], ...]

_NO_PROCESS = (
    r"Resource temporarily unavailable|Cannot fork|Cannot allocate memory|unable to fork|can't start new thread",
    "the host can start no further process for {user}: a limit of processes (nproc, TasksMax) or memory is reached",
    "ps -u {user} -o pid,etime,cmd as root on the host, and end what is left over; then raise nproc in "
    "/etc/security/limits.d, or TasksMax (systemctl set-property user-UID.slice TasksMax=infinity)",
)
SUDO: Words = (
    (
        r"no new privileges",
        "no program may become root there: a container or service with no-new-privileges",
        "ansible_user: root for this host; or start its container without --security-opt no-new-privileges (a service "
        "with NoNewPrivileges=no)",
    ),
    (
        r"effective uid is not 0|must be owned by uid 0 and have the setuid bit|must be setuid root",
        "sudo there can't become root: its file has lost the setuid bit, or is on a file system that is mounted nosuid",
        "chown root:root /usr/bin/sudo && chmod 4755 /usr/bin/sudo as root on the host; findmnt -no OPTIONS -T "
        "/usr/bin/sudo must not have nosuid",
    ),
    (
        r"(?:account validation failure|account or password is expired|account management error|account has expired)",
        "PAM does not let {user} use sudo: the account or its password is expired or locked",
        "chage -E -1 -I -1 -M -1 -d $(date +%F) {user}; passwd -S {user}; faillock --user {user} --reset, as root "
        "there",
    ),
    (
        r"sudoers\S*: ?(?:syntax|parse) error|(?:syntax|parse) error (?:in|near) \S*sudoers|no valid sudoers sources|"
        r"sudoers\S* is (?:(?:world|group) writable|owned by|mode)|unable to (?:stat|open) /etc/sudoers",
        "files of sudo on the host are broken, so that their rules do not count, or sudo works for nobody",
        "visudo -c as root at the host's console (su -, not sudo) names file and line; chown root:root /etc/sudoers "
        "/etc/sudoers.d/* && chmod 440 /etc/sudoers /etc/sudoers.d/*",
    ),
    (
        r"sudo: (?:command )?not found|sudo: No such file|not found: sudo|command not found: sudo",
        "sudo is not installed there",
        "apt-get install -y sudo (dnf, zypper) as root on the host, and {user} into the group sudo or wheel; or "
        "ansible_become_method: su; or ansible_user: root",
    ),
    (
        r"not in the sudoers file|may not run sudo|is not allowed to (?:execute|run)",
        "{user} is not allowed to become root with sudo",
        "usermod -aG sudo {user} (wheel in the RHEL family) as root on the host; or set ansible_user to one who may",
    ),
    _NO_PROCESS,
)
PYTHON: Words = (
    (
        r"No module named '?encodings'?|failed to get the Python codec|PYTHONHOME",
        "a variable (PYTHONHOME, PYTHONPATH) or another installation leads its Python to files that are not its own",
        "grep -rn 'PYTHONHOME\\|PYTHONPATH' /etc/environment /etc/profile.d ~/.bashrc ~/.profile ~/.pam_environment on "
        "the host, and take that line out",
    ),
    (
        r"error while loading shared libraries|GLIBC\S* not found|symbol lookup error|undefined symbol",
        "its Python is damaged: a library that it needs is missing or of another version",
        "ldd $(command -v python3) on the host; apt-get install --reinstall -y python3-minimal (dnf reinstall "
        "-y python3) as root; or set ansible_python_interpreter to another one",
    ),
    (
        r"Exec format error|cannot execute binary file|Illegal instruction",
        "its Python is a program for another processor, or not a program at all",
        "file -L $(command -v python3); uname -m on the host; set ansible_python_interpreter to the system's",
    ),
    _NO_PROCESS,
)
SHELL: Words = (
    (
        r"(?i)password (?:has expired|change required)|(?:must|required to) change your password",
        "the password of {user} must be changed, and the login runs nothing until then",
        "ssh -t as {user} by hand and choose a new one; or as root on the host: chage -d $(date +%F) -M -1 {user}",
    ),
    (
        r"(?i)account has expired",
        "the account of {user} has expired",
        "chage -E -1 {user} as root on the host",
    ),
    (
        r"(?i)sftp connections only|only sftp",
        "sshd of the host lets {user} transfer files and run nothing (ForceCommand internal-sftp)",
        "take {user} out of that Match block of sshd_config (sshd -T -C user={user} | grep forcecommand), or set "
        "ansible_user to another one",
    ),
    (
        r"No space left on device|[Dd]isk quota exceeded",
        "the shell of {user} can't write there: the disk, or the user's share of it, is full",
        "df -h / /tmp ~{user}; df -i / /tmp; quota -s -u {user} as root on the host, and remove what is not needed",
    ),
    _NO_PROCESS,
    (
        r"\Athe command printed nothing\Z",
        "{user} can log in and no command is run: a start-up file of the shell leaves it, or a forced command or a "
        "login shell runs something else",
        "grep -nE '\\b(exit|exec|logout|tmux|screen)\\b' ~{user}/.bashrc ~{user}/.profile ~{user}/.bash_profile "
        "/etc/profile.d/*.sh on the host, and put [[ $- == *i* ]] || return above it; getent passwd {user} shows its "
        "shell, its authorized_keys a command=",
    ),
)


def because(words: Words, user: str, said: str) -> tuple[str, str] | None:
    """Cause and fix by what was said; None where nobody knows the words."""
    for pattern, cause, remedy in words:
        if re.search(pattern, said, re.IGNORECASE):
            return cause.replace("{user}", user), remedy.replace("{user}", user)
    return None
