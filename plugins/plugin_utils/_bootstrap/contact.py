# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first contact with all hosts at once: see their keys, have them confirmed, set them up, prove it."""

from __future__ import annotations

import dataclasses
import functools
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.threads import in_threads
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap import (
    controller_key,
    failures,
    host_key,
    known_hosts_file,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.host import Host, Wish
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.known_hosts_file import Line
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import check as preflight
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import failures as words

# Asks a person about the keys of these hosts; returns why they are not confirmed, empty where they are.
Confirm = t.Callable[[t.Mapping[str, Host]], str]
GRACE_S = 5.0


def meet_all(hosts: t.Mapping[str, Host], wish: Wish, workers: int, confirm: Confirm) -> None:
    """The whole first contact; each Host tells how it went."""
    _each(_going(hosts), Host.read, wish.limit, workers)
    if wish.make_key and not wish.check:
        _make_keys(_going(hosts))
    # Hosts behind others come last: their jump host may be one of these, and lets no key in before.
    for behind in (False, True):
        wave = {name: host for name, host in _going(hosts).items() if bool(host.client and host.client.proxy) is behind}
        _each(wave, Host.meet, len(host_key.KINDS) * wish.limit, workers)
        if behind and wish.check and any(host.changed for host in hosts.values()):
            _put_off(wave)
        _confirm(_going(wave), wish, confirm)
        _each(_going(wave), Host.work, 10 * wish.limit + wish.install_limit, workers)
    _prove(_going(hosts), wish, workers)


def _going(hosts: t.Mapping[str, Host]) -> dict[str, Host]:
    """Those that nothing has stopped."""
    return {name: host for name, host in hosts.items() if host.stop is None}


def _each(hosts: t.Mapping[str, Host], step: t.Callable[[Host], None], limit: float, workers: int) -> None:
    """One step on all hosts at once; a host that hangs in a library is left behind."""

    jobs = {name: functools.partial(host.guarded, functools.partial(step, host)) for name, host in hosts.items()}
    turns = -(-len(hosts) // max(1, workers))
    done = in_threads(jobs, turns * limit + GRACE_S, workers)
    for name in hosts.keys() - done.keys():
        hosts[name].stop = words.stuck(hosts[name].client, "command", limit)


def _put_off(hosts: t.Mapping[str, Host]) -> None:
    """In check mode the jump host stays as it is, and may let nobody through yet."""
    for host in hosts.values():
        if host.stop and host.client and host.stop.step == "banner":
            host.stop = failures.later(f"behind its jump host: {host.stop.evidence}")


def _make_keys(hosts: t.Mapping[str, Host]) -> None:
    """The missing keys of the controller; several hosts may share one."""
    for host in hosts.values():
        if host.client:
            path, there = controller_key.choose(host.client.keys)
            if not there:
                host.guarded(functools.partial(controller_key.make, path))


def _confirm(hosts: t.Mapping[str, Host], wish: Wish, confirm: Confirm) -> None:
    """Have the unknown keys confirmed: by the inventory, by the command line, or by a person; then record them."""
    new = {name: host for name, host in hosts.items() if host.shown}
    open_ = {name: host for name, host in new.items() if not host.fingerprints and not wish.accept_new}
    why = confirm(open_) if open_ else ""
    for name, host in new.items():
        if name in open_ and why and host.client and host.shown:
            host.stop = host_key.unconfirmed(host.client, host.shown, why)
            if wish.check:
                host.stop = failures.later(host.stop.evidence)
        else:
            host.guarded(functools.partial(_record, host, wish))


def _record(host: Host, wish: Wish) -> None:
    """Into the file that ssh reads for the host; the login has to meet this very key, also where nothing is written."""
    if host.client and host.shown:
        if not wish.check:
            line = Line(host.client.lookup, host.shown.kind, host.shown.key, host.client.hashes)
            known_hosts_file.record(host.client.keeps_in, [line])
        host.confirm()


def _prove(hosts: t.Mapping[str, Host], wish: Wish, workers: int) -> None:
    """The preflight of site.yml, without the password of the login: with the key alone."""
    ready = {name: host for name, host in hosts.items() if not (wish.check and host.changed)}
    targets = [dataclasses.replace(host.target, password=None) for host in ready.values()]
    for name, row in preflight.check(targets, wish.limit, workers).items() if targets else ():
        host = hosts[name]
        if row["ok"] is not True:
            host.stop = words.Stop(row["step"], row["evidence"], row["cause"], row["remedy"])
            if row["step"] == "auth" and host.loose_home and host.client:
                host.stop = failures.loose_home(host.client, host.loose_home)
