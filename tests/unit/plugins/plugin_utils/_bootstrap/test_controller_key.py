# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which key of the controller is installed."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap import controller_key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.failures import Stop
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client

DEFAULTS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of our own; gives its .ssh."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh"


def client(*keys) -> Client:
    return Client("n1", 22, "alice", "n1", keys=tuple(map(str, keys)))


def test_of_the_defaults_ed25519_comes_first_whatever_the_order_of_ssh(home):
    keys = [str(home / name) for name in DEFAULTS]
    assert controller_key.choose(keys) == (str(home / "id_ed25519"), False)
    (home / "id_rsa").touch()
    assert controller_key.choose(keys) == (str(home / "id_rsa"), True)
    (home / "id_ed25519.pub").touch()  # its private half is in an agent
    assert controller_key.choose(keys) == (str(home / "id_ed25519"), True)


def test_a_key_that_the_inventory_names_comes_before_the_defaults_also_if_it_is_missing(home):
    (home / "id_ed25519").touch()
    keys = [str(home / "id_ed25519"), str(home / "cluster")]
    assert controller_key.choose(keys) == (str(home / "cluster"), False)
    (home / "cluster").touch()
    assert controller_key.choose(keys) == (str(home / "cluster"), True)


def test_a_key_is_made_once_and_read_with_a_plain_comment(home):
    path = home / "cluster"
    assert controller_key.read(client(path)) is None
    assert "trainmesh_make_key" in controller_key.missing(client(path)).remedy
    controller_key.make(str(path))
    made = controller_key.read(client(path))
    assert made.line.startswith(f"ssh-ed25519 {made.blob}") and made.fingerprint.startswith("ssh-ed25519 SHA256:")
    public = path.with_suffix(".pub")
    public.write_text(f"ssh-ed25519 {made.blob} it's $(me)\x1b[2J!\n")
    assert controller_key.read(client(path)).line == f"ssh-ed25519 {made.blob} it-s-me-2J"
    public.unlink()
    assert controller_key.read(client(path)).blob == made.blob, "from the private half"


@pytest.mark.parametrize("text", ["", 'command="x" ssh-ed25519 AAAA', "ssh-ed25519 AAAA\nssh-rsa BBBB", "\xff"])
def test_what_is_no_public_key_goes_to_no_host(home, text):
    (home / "cluster.pub").write_bytes(text.encode("latin-1"))
    with pytest.raises(Stop, match=r"cluster\.pub"):
        controller_key.read(client(home / "cluster"))
