# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch one file of an index without running anything of it.

pip has no way to do that for a source distribution: it runs its build back end for the metadata.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import netrc
import os
import shutil
import ssl
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.index import Index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError

_STALL_SECONDS = 60.0
_SECONDS = 600.0
_ANSWER_SECONDS = 10.0
_CHUNK = 1 << 20


def fetch(url: str, target: str, index: Index) -> None:
    """Copy or download ``url`` (or a path) to ``target``; raises ToolError."""
    try:
        if not url.startswith(("http://", "https://")):
            path = urllib.request.url2pathname(urllib.parse.urlsplit(url).path) if url.startswith("file:") else url
            shutil.copyfile(path, target)
            return
        with _opener(url, index).open(_request(url, index), timeout=_STALL_SECONDS) as answer:
            _save(answer, target)
    except (OSError, http.client.HTTPException) as error:
        name = os.path.basename(target)
        raise ToolError(f"{name} could not be fetched from {masked(url)}: {masked(str(error))}") from error


def answers(url: str, index: Index, seconds: float = _ANSWER_SECONDS) -> None:
    """See that a server has this file, of which nothing is read; raises ToolError."""
    try:
        with _opener(url, index).open(_request(url, index), timeout=seconds):
            return
    except (OSError, http.client.HTTPException) as error:
        raise ToolError(f"{masked(url)} can't be had: {masked(str(error))}") from error


def _save(answer: t.Any, target: str) -> None:
    deadline = time.monotonic() + _SECONDS
    with open(target, "wb") as stream:
        while chunk := answer.read(_CHUNK):
            stream.write(chunk)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not complete after {_SECONDS:.0f} s")


def _opener(url: str, index: Index) -> urllib.request.OpenerDirector:
    """With the certificates, the trusted hosts and the proxy that pip was given."""
    context = ssl.create_default_context(cafile=index.certificate or None)
    parts = urllib.parse.urlsplit(url)
    if {parts.hostname, f"{parts.hostname}:{parts.port}"} & set(index.trusted_hosts):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if index.proxy:
        handlers.append(urllib.request.ProxyHandler({"http": index.proxy, "https": index.proxy}))
    return urllib.request.build_opener(*handlers)


def _request(url: str, index: Index) -> urllib.request.Request:
    """With the name and password of the index of this host, or of ~/.netrc; a redirect elsewhere is not told them."""
    parts = urllib.parse.urlsplit(url)
    plain = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(plain)
    for place in (url, index.default, *index.extra, *index.find_links):
        known = urllib.parse.urlsplit(place)
        if known.username and (known.hostname, known.port) == (parts.hostname, parts.port):
            name, word = urllib.parse.unquote(known.username), urllib.parse.unquote(known.password or "")
            return _with_login(request, name, word)
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        login = netrc.netrc().authenticators(parts.hostname or "")
        if login and parts.scheme == "https":
            return _with_login(request, login[0], login[2] or "")
    return request


def _with_login(request: urllib.request.Request, name: str, word: str) -> urllib.request.Request:
    token = base64.b64encode(f"{name}:{word}".encode()).decode()
    request.add_unredirected_header("Authorization", f"Basic {token}")
    return request
