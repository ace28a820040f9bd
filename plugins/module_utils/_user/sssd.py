# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The users that sssd refuses by its own configuration: access_provider simple or deny, sssd.conf(5), sssd-simple(5).

What a directory decides (ldap, ad, ipa) is not known here, nor which of several domains a user is of.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree

Record = dict[str, t.Any]

MAIN, MORE = "/etc/sssd/sssd.conf", "/etc/sssd/conf.d"
LONGEST = 200
_LISTS = ("simple_deny_users", "simple_deny_groups", "simple_allow_users", "simple_allow_groups")


class Option(t.NamedTuple):
    """One option of a domain, and where it stands."""

    file: str
    line: int
    key: str
    value: str

    def row(self) -> Record:
        """As a fact: it refuses every login of the user."""
        return {"file": self.file, "line": self.line, "text": f"{self.key} = {self.value}"[:LONGEST], "peers": None}

    def names(self) -> set[str]:
        """The users or groups of a list, as they are compared: without the domain, and in lower case."""
        return {_plain(item.strip()) for item in self.value.split(",") if item.strip()}


def _plain(name: str) -> str:
    return name.partition("@")[0].rpartition("\\")[2].replace('"', "").lower()


def refusing(tree: Tree, user: str, groups: t.Sequence[str]) -> Record | None:
    """The option that refuses the user; None where there is none, or where that can't be known."""
    domains = _domains(tree)
    if len(domains) != 1:
        return None
    (options,) = domains.values()
    provider = options.get("access_provider")
    if provider and provider.value == "deny":
        return provider.row()
    if not provider or provider.value != "simple":
        return None
    own = {"users": {_plain(user)}, "groups": {_plain(group) for group in groups}}
    for key in _LISTS[:2]:
        if key in options and options[key].names() & own[key.rpartition("_")[2]]:
            return options[key].row()
    allowed = [options[key] for key in _LISTS[2:] if key in options and options[key].names()]
    if not allowed or any(option.names() & own[option.key.rpartition("_")[2]] for option in allowed):
        return None
    return allowed[-1].row()


ASKING = ("ad", "ipa", "ldap", "krb5", "proxy")


def asking(tree: Tree) -> Record | None:
    """The option by which a directory is asked at each login whether the user may, as by GPO or HBAC; None without."""
    for options in _domains(tree).values():
        provider = options.get("access_provider")
        if provider and provider.value in ASKING:
            return provider.row()
    return None


def _domains(tree: Tree) -> dict[str, dict[str, Option]]:
    """The options of the domains that are enabled; a later file goes above an earlier one."""
    sections: dict[str, dict[str, Option]] = {}
    names = sorted(name for name in tree.names(MORE) if name.endswith(".conf") and not name.startswith("."))
    for path in (MAIN, *(f"{MORE}/{name}" for name in names)):
        section = ""
        for number, line in enumerate((tree.text(path) or "").splitlines(), 1):
            text = line.strip()
            if text.startswith("[") and text.endswith("]"):
                section = text[1:-1].strip()
            elif "=" in text and text[0] not in "#;" and (section == "sssd" or section.startswith("domain/")):
                key, _equals, value = (part.strip() for part in text.partition("="))
                if section == "sssd" or key in ("access_provider", *_LISTS):  # no password is kept
                    sections.setdefault(section, {})[key] = Option(path, number, key, value)
            if section.startswith("domain/"):
                sections.setdefault(section, {})
    enabled = sections.get("sssd", {}).get("domains")
    wanted = [f"domain/{name.strip()}" for name in enabled.value.split(",")] if enabled and enabled.value else None
    return {name: own for name, own in sections.items() if name != "sssd" and (wanted is None or name in wanted)}
