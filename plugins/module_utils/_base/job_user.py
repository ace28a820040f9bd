# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Act as the job user for a while.

A module that starts as root gives its rights up before it touches anything below the prefix: what
the job user could have turned into a symbolic link is then the job user's own problem.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import typing as t

from ansible.module_utils.basic import AnsibleModule


def account(name: str) -> pwd.struct_passwd:
    """The account of a user; raises ValueError with one sentence when there is none."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ValueError(f"there is no user {name} here: create it, or set trainmesh_user to one that exists") from None


def user_name(number: int) -> str:
    """The name of a user's number, or the number as text when it has none here."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


# What a command of the user's needs of root's environment: its language, and the way to an index.
_KEPT = (
    *("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
)


@contextlib.contextmanager
def acting_as(name: str | None) -> t.Iterator[None]:
    """Within this block the process is ``name``; nothing changes when it is that already, or when none is named.

    Root is kept in the saved ids alone, so that this process comes back at the end, while commands
    it starts can't: a command's saved ids are its effective ones. Root's variables stay behind, as
    the user can read those of each of these commands. Import what is needed before, as Ansible's
    archive of the module can be read by root only. Raises ValueError when the user does not exist,
    or when this process is neither root nor that user.
    """
    if name is None:
        yield
        return
    user = account(name)
    if os.geteuid() == user.pw_uid:
        yield
        return
    if os.geteuid() != 0:
        raise ValueError(f"only root can work for {name}: run this task with become")
    groups, group, environment = os.getgroups(), os.getegid(), dict(os.environ)
    os.initgroups(name, user.pw_gid)
    os.setresgid(user.pw_gid, user.pw_gid, group)
    os.setresuid(user.pw_uid, user.pw_uid, 0)
    os.environ.clear()
    os.environ.update({key: environment[key] for key in _KEPT if key in environment})
    os.environ.update(HOME=user.pw_dir, USER=name, LOGNAME=name)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(group, group, group)
        os.setgroups(groups)
        os.environ.clear()
        os.environ.update(environment)


@contextlib.contextmanager
def working_for(module: AnsibleModule, user: str | None) -> t.Iterator[None]:
    """Within this block the module is the user, as acting_as() has it; it fails where it can't become that user."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(acting_as(user))
        except ValueError as error:
            module.fail_json(msg=str(error))
        yield
