# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take out of a text what must not leave the machine, or the house.

``harmless`` (characters that a terminal obeys) is applied to all that is shown or written down;
``secrets`` (tokens, passwords, logins in addresses, private keys) is applied to every report;
``keys`` (public keys, fingerprints) and, on request, ``Pseudonyms`` (host names, addresses) to what
is meant for strangers.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import re
import string
import typing as t
import unicodedata

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked

MASK = "***"
# By category of Unicode: controls and separators of lines, formats (among them those of direction), half characters.
_INSTEAD = {"Cc": " ", "Zl": " ", "Zp": " ", "Cf": "", "Cs": "\ufffd"}

_KEYS: tuple[tuple[re.Pattern[str], str], ...] = (
    # the body of a public key or certificate, whatever its type is called
    (re.compile(r"\b(AAAA[A-Za-z0-9+/]{4})[A-Za-z0-9+/]{16,}={0,3}"), rf"\1{MASK}"),
    (re.compile(r"\b(SHA256:[A-Za-z0-9+/]{6})[A-Za-z0-9+/]{10,}=?"), rf"\1{MASK}"),
    (re.compile(r"\b(MD5:[0-9a-f]{2}:[0-9a-f]{2}):[0-9a-f:]{20,}", re.IGNORECASE), rf"\1:{MASK}"),
    (re.compile(r"\b((?:GPU|MIG)-[0-9a-f]{4})[0-9a-f]{4}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), rf"\1{MASK}"),
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{3,39}(?![\w:])")
_MAC = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![\w:])")
# Names that are the same everywhere, and say more when they stay.
_COMMON = frozenset(("localhost", "localhost.localdomain", "localdomain", "ip6-localhost", "ip6-loopback"))
_DOCUMENTATION = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15")


def harmless(text: str) -> str:
    """The text without what a terminal obeys or what turns its direction; the ends of its lines stay."""
    if text.isprintable():
        return text
    kinds = ((char, unicodedata.category(char)) for char in text)
    return "".join(char if char == "\n" else _INSTEAD.get(kind, char) for char, kind in kinds)


@functools.lru_cache(maxsize=4096)  # a matrix has the same word thousands of times
def secrets(text: str) -> str:
    """The text without tokens, passwords, logins in addresses and private keys."""
    return masked(text, MASK)


@functools.lru_cache(maxsize=4096)
def keys(text: str) -> str:
    """The text without public keys; fingerprints and the numbers of GPUs keep their beginning, to be told apart."""
    for pattern, instead in _KEYS:
        text = pattern.sub(instead, text)
    return text


def walk(data: t.Any, mask: t.Callable[[str], str]) -> t.Any:
    """Plain data with ``mask`` applied to every text in it, keys of mappings too."""
    if isinstance(data, str):
        return mask(data)
    if isinstance(data, t.Mapping):
        return {walk(key, mask): walk(value, mask) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [walk(value, mask) for value in data]
    return data


class Pseudonyms:
    """Names and addresses replaced by made-up ones, the same one for the same thing all through.

    ``names`` has, for each node in rank order, all names it is known by; these become ``node-a``,
    ``node-b``. ``keep`` are texts that look like addresses and are none, such as versions of four
    numbers. Addresses become those that are set aside for documentation (RFC 5737, 2544, 3849, 7042);
    loopback and "any" addresses stay, because they are often the fault itself.
    """

    def __init__(self, names: t.Sequence[t.Sequence[str]], keep: t.Iterable[str] = ()) -> None:
        self._names: dict[str, str] = {}
        for number, group in enumerate(names):
            for name in group:
                if name and name.lower() not in _COMMON and not _is_address(name):
                    self._names.setdefault(name.lower(), f"node-{_letters(number)}")
        self._keep = frozenset(keep)
        self._v4 = (
            str(address) for net in map(ipaddress.ip_network, _DOCUMENTATION) for address in list(net.hosts())[:4096]
        )
        self._v6 = (f"2001:db8::{number:x}" for number in itertools.count(1))
        self._mac = (f"00:00:5e:00:53:{number % 256:02x}" for number in itertools.count(1))
        self._known: dict[str, str] = {}
        self._done: dict[str, str] = {}
        self._domains = sorted({name.partition(".")[2] for name in self._names} - {""}, key=len, reverse=True)
        self._pattern = self._compile()

    def _compile(self) -> re.Pattern[str] | None:
        """All names at once, the longest first; other machines of the nodes' own domains are names, too."""
        ordered = sorted(self._names, key=len, reverse=True)
        parts = [re.escape(name) for name in ordered]
        # "lan" or "local" alone is a word; example.org alone is a name
        parts += [
            rf"(?:[\w-]{{1,63}}\.){{{0 if '.' in domain else 1},4}}{re.escape(domain)}" for domain in self._domains
        ]
        return re.compile(rf"(?<![\w-])(?:{'|'.join(parts)})(?![\w-])", re.IGNORECASE) if parts else None

    def __call__(self, text: str) -> str:
        """The text with made-up names and addresses."""
        if text in self._keep:
            return text
        if text not in self._done:
            self._done[text] = self._masked(text)
        return self._done[text]

    def _masked(self, text: str) -> str:
        text = _MAC.sub(lambda found: self._take(found[0].lower(), self._mac), text)
        text = _IPV4.sub(self._address, text)
        text = _IPV6.sub(self._address, text)
        return self._pattern.sub(self._name, text) if self._pattern else text

    def _name(self, found: re.Match[str]) -> str:
        name = found[0].lower()
        return self._names.get(name) or self._take(name, (f"host-{n}.example" for n in itertools.count(1)))

    def _address(self, found: re.Match[str]) -> str:
        if found[0] in self._keep:
            return found[0]
        try:
            address = ipaddress.ip_address(found[0])
        except ValueError:
            return found[0]
        if address.is_loopback or address.is_unspecified:
            return found[0]
        return self._take(str(address), self._v4 if address.version == 4 else self._v6)

    def _take(self, real: str, supply: t.Iterator[str]) -> str:
        """The made-up one for ``real``, a new one when it is seen for the first time."""
        if real not in self._known:
            used = set(self._known.values())
            self._known[real] = next((one for one in supply if one not in used), MASK)
        return self._known[real]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _letters(number: int) -> str:
    """0 is a, 25 is z, 26 is aa."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = string.ascii_lowercase[rest] + text
    return text
