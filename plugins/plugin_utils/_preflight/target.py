# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible's ssh connection would do with a host, from its variables and the settings.

Ansible's own option tables are asked, so that variables, their aliases, the command line, the environment and
ansible.cfg count in its own order.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import typing as t

from ansible import constants as C
from ansible import context
from ansible.plugins.loader import become_loader, connection_loader

SSH = ("ssh", "smart", "paramiko", "paramiko_ssh")
AUTO = ("auto", "auto_silent", "auto_legacy", "auto_legacy_silent")
PROMPT = "[sudo via ansible, key=trainmesh] password:"
SWITCHES = re.compile(r"-[AbBEHiKkNnPSsv]+\Z")  # short flags of sudo that take no value
Values = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Target:
    """What the inventory says of one host. Secrets never show: passwords are kept out of the text of a Target.

    ``args`` are the arguments that Ansible gives to ssh, ``pythons`` the interpreters it would try, in order, and
    ``become`` the command that becomes root, () where none is wanted. ``terminal``: Ansible would bring a terminal, as
    it does without pipelining. ``untested`` is a reason to leave it alone, such as a connection that is not
    ``by_ssh``.
    """

    name: str
    host: str
    args: tuple[str, ...] = ()
    executable: str = "ssh"
    password: str | None = dataclasses.field(default=None, repr=False)
    pythons: tuple[str, ...] = ("python3",)
    become: bool | None = None
    become_command: tuple[str, ...] = ("sudo", "-n")
    become_password: str = dataclasses.field(default="", repr=False)
    become_untested: str = ""
    terminal: bool = False
    untested: str = ""
    by_ssh: bool = True


class Play(t.NamedTuple):
    """What the play and the command line add: keywords, the password of -k and that of -K."""

    keywords: dict[str, t.Any]
    password: str | None
    become_pass: str | None


def play_of(task: t.Any, context_of_task: t.Any, variables: Values) -> Play:
    """The Play of an action that runs once for all hosts.

    Ansible puts the passwords of the host that such a task happens to run on over those of -k and -K: they are that
    host's alone, and no other host may get them. With ``delegate_to: localhost`` those of -k and -K are left.
    """
    own = variables
    if task.delegate_to is not None:
        own = (variables.get("ansible_delegated_vars") or {}).get(task.delegate_to) or {}

    def typed(name: str) -> str | None:
        if any(variable in own for variable in C.MAGIC_VARIABLE_MAPPING[name]):
            return None
        return getattr(context_of_task, name) or None

    keywords = {"remote_user": task.remote_user, "port": task.port}
    return Play(keywords, typed("password"), typed("become_pass"))


def target(name: str, values: Values, play: Play) -> Target:
    """The Target of a host; one whose variables can't be read is untested, with the reason."""
    try:
        return _target(name, values, play)
    except Exception as error:  # a template or a type in one host's variables
        return Target(name, name, untested=f"its variables can't be read: {error}")


def _target(name: str, values: Values, play: Play) -> Target:
    connection = str(values.get("ansible_connection") or context.CLIARGS.get("connection") or C.DEFAULT_TRANSPORT)
    if connection.rpartition(".")[2] not in SSH:
        return Target(name, name, untested=f"its ansible_connection is {connection}, not ssh", by_ssh=False)
    options = _options("connection", "ssh", values, play.keywords)
    for option, variable in (
        ("private_key", "ansible_private_key"),
        ("pkcs11_provider", "ansible_ssh_pkcs11_provider"),
    ):
        if options.get(option):
            return Target(name, str(options["host"]), untested=f"the preflight does not support {variable}")
    become, command, secret, unsure = _become(values, play)
    return Target(
        name=name,
        host=str(options["host"]),
        args=tuple(arguments(options)),
        executable=str(options["ssh_executable"]),
        password=options["password"] or play.password,
        pythons=tuple(_pythons(values)),
        become=become,
        become_command=command,
        become_password=secret,
        become_untested=unsure,
        terminal=bool(options["use_tty"] and not options["pipelining"]),
    )


def _options(sort: str, plugin: str, values: Values, keywords: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of a plugin as Ansible would set them; only the variables that it knows are templated."""
    loader = connection_loader if sort == "connection" else become_loader
    loader.get(plugin, class_only=True)  # makes its options known
    known = C.config.get_configuration_definitions(sort, plugin).values()
    names = {entry["name"] for option in known for entry in option.get("vars") or []}
    variables = {name: values[name] for name in names if name in values}
    options: dict[str, t.Any] = C.config.get_plugin_options(sort, plugin, keys=keywords, variables=variables)
    return options


def arguments(options: Values) -> list[str]:
    """The arguments that Ansible gives to ssh, in its order: the first value of an option counts."""
    argv = shlex.split(options["ssh_args"] or "")
    if options["host_key_checking"] is False:
        argv += ["-o", "StrictHostKeyChecking=no"]
    if options["port"] is not None:
        argv += ["-o", f"Port={options['port']}"]
    if options["private_key_file"]:
        argv += ["-o", f'IdentityFile="{os.path.expanduser(options["private_key_file"])}"']
    if options["remote_user"]:
        argv += ["-o", f'User="{options["remote_user"]}"']
    for name in ("ssh_common_args", "ssh_extra_args"):
        argv += shlex.split(options[name] or "")
    return argv


def _become(values: Values, play: Play) -> tuple[bool | None, tuple[str, ...], str, str]:
    """Whether root is wanted (None: unless the login is root's), the command, its password, why it can't be tried."""
    chosen = values.get("ansible_become_method") or context.CLIARGS.get("become_method") or C.DEFAULT_BECOME_METHOD
    method = str(chosen).rpartition(".")[2]
    wanted = None if values.get("ansible_become") is None else _truth(values["ansible_become"])
    if method != "sudo":
        return wanted, (), "", f"the preflight does not support becoming root with {method}"
    options = _options("become", "sudo", values, {})
    exe, user = shlex.split(options["become_exe"] or "sudo"), str(options["become_user"] or "root")
    secret = str(options["become_pass"] or play.become_pass or "")
    flags, asks_program = _flags(shlex.split(options["become_flags"] or ""))
    if asks_program:
        return wanted, (), "", "the preflight does not support ansible_become_flags with a password program"
    # -k: a password of an earlier login must not count. The prompt is of Ansible's form, and in no language.
    how = ("-k", "-S", "-p", PROMPT) if secret else ("-n",)
    return wanted, (*exe, *flags, *how, "-u", user), secret, ""


def _flags(words: t.Iterable[str]) -> tuple[list[str], bool]:
    """The flags for sudo without those that we set ourselves (-S, and -n, which Ansible drops with a password).

    And whether a program is to be asked for the password, which goes with neither of them.
    """
    bare = [re.sub("[nS]", "", word) if SWITCHES.match(word) else word for word in words]
    flags = [word for word in bare if word not in ("-", "--non-interactive", "--stdin")]
    return flags, any(flag == "--askpass" or (SWITCHES.match(flag) and "A" in flag) for flag in flags)


def understands(said: str) -> bool:
    """Whether this Ansible takes what sudo said for its prompt; sudo-rs wraps it, which older ones wait for in vain."""
    begin = said.find("[sudo")
    if begin < 0:
        return True  # sudo asked for nothing
    plugin = become_loader.get("sudo")
    plugin.prompt = PROMPT
    return bool(plugin.check_password_prompt(said[begin:].encode()))


def _truth(value: t.Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1", "y", "t")


def _pythons(values: Values) -> list[str]:
    """The interpreters that Ansible would try, in its order."""
    names = ("ansible_python_interpreter", "ansible_interpreter_python_fallback")
    variables = {name: values[name] for name in names if name in values}
    chosen = str(C.config.get_config_value("INTERPRETER_PYTHON", variables=variables))
    if chosen not in AUTO:
        return [chosen]
    return [str(name) for name in C.config.get_config_value("INTERPRETER_PYTHON_FALLBACK", variables=variables)]
