# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the home directory that ``ansible-test sanity`` works in: ``sanity_home.py DIRECTORY``.

ansible-test keeps its virtual environments in the home directory and gives pip only what stands there: of the caller's
environment it passes on neither ``PIP_*`` nor a configuration elsewhere. So the home gets a pip.conf that says the same
as the caller's settings. It also gets a bootstrap script that uses the interpreter's own ``ensurepip``, at the place
for which ansible-test would else download one from a host of its own, which a package mirror does not carry.
"""

from __future__ import annotations

import configparser
import io
import os
import pathlib
import re
import subprocess
import sys

BOOTSTRAP = '''\
"""Install pip and the packages asked for, in the way of get-pip, without a download of the script."""

import subprocess
import sys

subprocess.run([sys.executable, "-m", "ensurepip", "--upgrade", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=False).returncode)
'''

# Read by pip from the environment but of no use, or of harm, inside ansible-test's own environments.
NOT_CARRIED = {"PIP_CONFIG_FILE", "PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}


def bootstrap_name() -> str:
    """Name of the bootstrap script for the pip version that the installed ansible-test pins, as in its
    ``_internal/python_requirements.py``; raises LookupError where that cannot be read any more."""
    import ansible_test

    source = pathlib.Path(next(iter(ansible_test.__path__)), "_internal", "python_requirements.py")
    found = re.search(r"pip='([0-9.]+)'", source.read_text(encoding="utf-8"))
    if found is None:
        raise LookupError(f"{source} does not tell the version of pip any more")
    return f"get_pip_{found.group(1).replace('.', '_')}.py"


def caller_settings() -> configparser.RawConfigParser:
    """The caller's pip settings: the user's configuration files, then ``PIP_CONFIG_FILE``, then the environment."""
    settings = configparser.RawConfigParser({"quiet": "2"})  # errors only
    home = pathlib.Path.home()
    config_home = pathlib.Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [home / ".pip" / "pip.conf", config_home / "pip" / "pip.conf"]
    if os.environ.get("PIP_CONFIG_FILE"):
        files.append(pathlib.Path(os.environ["PIP_CONFIG_FILE"]))
    settings.read(files, encoding="utf-8")
    if not settings.has_section("global"):
        settings.add_section("global")
    for name, value in os.environ.items():
        if name.startswith("PIP_") and name not in NOT_CARRIED:
            settings.set("global", name[4:].lower().replace("_", "-"), value)
    return settings


def write_if_changed(path: pathlib.Path, content: str) -> None:
    """Write ``content``, readable by its owner only (an index address may hold a password)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        path.touch(mode=0o600)
        path.write_text(content, encoding="utf-8")


def main() -> int:
    """Make the home and check that the interpreter can make virtual environments at all."""
    home = pathlib.Path(sys.argv[1]).resolve()
    if subprocess.run([sys.executable, "-c", "import ensurepip"], check=False, capture_output=True).returncode:
        print(f"{sys.executable} has no ensurepip: install the venv package of this Python.", file=sys.stderr)
        return 1
    text = io.StringIO()
    caller_settings().write(text)
    write_if_changed(home / ".config" / "pip" / "pip.conf", text.getvalue())
    write_if_changed(home / ".ansible" / "test" / "cache" / bootstrap_name(), BOOTSTRAP)
    return 0


if __name__ == "__main__":
    sys.exit(main())
