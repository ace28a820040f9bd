# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where packages and installers come from, and whether anybody can forge them.

Pure functions. The inventory check asks them before any machine is touched.
"""

from __future__ import annotations

import re
import typing as t
import urllib.parse

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import line_check
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.index import Index, redacted

# Schemes whose server is proved by a certificate or a key, or that contact none.
_PROVED = ("", "file", "https", "git+https", "git+file", "git+ssh")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_CONDA_TOKEN = re.compile(r"/t/[^/]+/")
ALLOW = "trainmesh_index_insecure: true"


def is_forgeable(place: str) -> bool:
    """Whether whoever is on the way could answer in the place of this server."""
    parts = urllib.parse.urlsplit(place)
    return parts.scheme.lower() not in _PROVED and not _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    """This machine itself; ``host`` may carry a port, as pip's trusted-host does."""
    name = host if host.count(":") > 1 else host.partition(":")[0]
    return name == "localhost" or line_check.is_loopback(name.strip("[]"))


def forgeable(index: Index) -> list[str]:
    """What of an index cannot be trusted, in words; empty when all can."""
    first = [] if index.no_index else [index.default, *index.extra]
    places = [redacted(place) for place in (*first, *index.find_links) if is_forgeable(place)]
    return places + [f"trusted-host {host}" for host in index.trusted_hosts if not _is_loopback(host)]


def refusal(places: t.Sequence[str]) -> str:
    """Why nothing is fetched from there, and the two ways out."""
    return (
        f"packages would come from a server that nobody proves to be the right one: {', '.join(places)}. Use https "
        f"with a certificate that counts here; or, where only you can answer on that network, write {ALLOW} into "
        "the inventory (all: vars:)"
    )


def _holds_login(place: str) -> bool:
    """Whether an address says more than where: a user, a password, or a token of Anaconda's (``/t/TOKEN/``)."""
    parts = urllib.parse.urlsplit(place)
    if parts.scheme.lower().endswith("ssh"):
        return parts.password is not None
    return "@" in parts.netloc or bool(_CONDA_TOKEN.search(parts.path))


def _logins(options: t.Mapping[str, t.Any], urls: t.Sequence[str], conda: bool) -> list[str]:
    """Addresses with a login, which would stand in the plan and in command lines that everybody on a host reads."""
    sources = [("extra_packages", "of whoever runs ansible-playbook", urls)]
    sources += [("conda_channels", "of the job user on every node", options["conda_channels"])] if conda else []
    return [
        f"trainmesh_{name}: {_CONDA_TOKEN.sub('/t/****/', redacted(place))} holds a login, which would be seen in the "
        "plan and in command lines: write the address without it, and the login into the file ~/.netrc "
        f"{whose} (machine HOST login USER password PASSWORD, mode 0600)"
        for name, whose, places in sources
        for place in places
        if _holds_login(place)
    ]


def faults(options: t.Mapping[str, t.Any], index: Index | None) -> list[str]:
    """What is wrong with the sources of an inventory's packages.

    ``options`` are its variables, ``index`` is the one of pip on the controller, None where it is not asked.
    """
    found = []
    conda = options["python_env"] == "conda" or options["python_install"]
    installer = options["conda_installer"] if conda else ""
    if "://" in installer and not options["conda_installer_checksum"]:
        found.append(
            f"trainmesh_conda_installer: {redacted(installer)} is fetched and run on every node, so its checksum is "
            "needed: write trainmesh_conda_installer_checksum: sha256:... as its publisher gives it"
        )
    urls = [url for line in options["extra_packages"] for url in _URL.findall(line)]
    found += _logins(options, urls, conda)
    if options["index_insecure"]:
        return found
    places = [options["index_url"], options["torch_index_url"], *urls, *(options["conda_channels"] if conda else [])]
    insecure = [redacted(place) for place in places if is_forgeable(place)]
    insecure += forgeable(index) if index else []
    return found + ([refusal(list(dict.fromkeys(insecure)))] if insecure else [])
