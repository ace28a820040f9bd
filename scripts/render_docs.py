# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what repeats the code: each role's README.md, docs/variables.md, docs/rules.md, the catalogue, rules.json, and
what the command on the head says of failed ranks, causes.json.

``python scripts/render_docs.py`` writes them, ``--check`` says which are out of date and exits 1.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import catalogue, engine  # noqa: E402
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import thresholds as diagnosis_thresholds  # noqa: E402
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.variables import PREFIX, VARIABLES  # noqa: E402
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _job_causes  # noqa: E402


def markdown(text: str) -> str:
    """Ansible's markup as Markdown, safe inside a table."""
    return re.sub(r"[A-Z]\(([^)]*)\)", r"`\1`", text).replace("|", r"\|")


def role_readme(role: pathlib.Path) -> str:
    """A role's README from its argument specification and defaults."""
    spec = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"]
    defaults_file = role / "defaults/main.yml"
    defaults = (yaml.safe_load(defaults_file.read_text(encoding="utf-8")) or {}) if defaults_file.exists() else {}
    description = spec.get("description") or []
    lines = [f"# trainmesh.cluster.{role.name}", "", spec["short_description"] + ".", ""]
    lines += [f"- {markdown(line)}" for line in ([description] if isinstance(description, str) else description)]
    lines += ["", "| variable | type | default | meaning |", "|---|---|---|---|"]
    for name, option in sorted((spec.get("options") or {}).items()):
        about = option["description"]
        meaning = about if isinstance(about, str) else " ".join(about)
        default = f"`{defaults[name]!r}`" if name in defaults else ""
        lines.append(
            f"| `{name}` | {option.get('type', 'str')} | {default.replace('|', chr(92) + '|')} | {markdown(meaning)} |"
        )
    return "\n".join([*lines, "", "Generated from `meta/argument_specs.yml` by `scripts/render_docs.py`.", ""])


def variables() -> str:
    """The table of the variables that an inventory may set."""
    lines = [
        "# Inventory variables",
        "",
        "Every variable has a default; a minimal inventory has names and addresses only.",
        "",
    ]
    for scope, about in (("host", "Host variables"), ("cluster", "Cluster variables (one value, in `all.vars`)")):
        lines += [f"## {about}", "", "| variable | default | meaning |", "|---|---|---|"]
        for name, variable in VARIABLES.items():
            if variable.scope == scope:
                default = "" if variable.default in (None, "") else f"`{variable.default!r}`"
                lines.append(f"| `{PREFIX}{name}` | {default} | {markdown(variable.meaning)} |")
        lines.append("")
    group = "`trainmesh_group` is read before the inventory: set it on the command line (`-e trainmesh_group=NAME`)."
    return "\n".join(
        [
            *lines,
            group,
            "",
            "Generated from `plugins/plugin_utils/_inventory/variables.py` by `scripts/render_docs.py`.",
            "",
        ]
    )


LAYERS = {
    "reach": "From the controller to a host",
    "ssh": "ssh between the nodes",
    "launcher": "Launchers, hostfiles, files of a job",
    "accelerate": "Accelerate",
    "name": "Names and addresses",
    "network": "Network, firewalls, rendezvous",
    "nccl": "NCCL, Gloo and InfiniBand",
    "gpu": "GPUs",
    "versions": "Versions, builds, drivers",
    "precision": "Precision, batches, checkpoints",
    "job": "Jobs, memory, disks",
}


# What a user may want of the rules; tests/unit/scripts/test_render_docs.py reads it as the collection does.
WISHES = """\
trainmesh_rules:
  build-aio-missing: "off"          # nobody here offloads to NVMe disks
  drv-differs: fail                 # a warning otherwise

trainmesh_thresholds:
  clock_skew_warn_s: 0.5
  nvlink_links: {H200 NVL: 4}       # a limit by GPU: a name's beginning, or one number for all

trainmesh_extra_rules:
  - id: site-jumbo-frames
    severity: warn
    expression: "fabric.interfaces[?name == 'eth0' && mtu < `9000`].mtu"
    cause: Our switches carry frames of 9000 bytes, and this interface does not use them.
    remedy: ip link set eth0 mtu 9000, and the same in the network's configuration.
  - id: site-unlike-cpus
    scope: cluster
    severity: info
    expression: "max(hosts[].fabric.cpus) != min(hosts[].fabric.cpus)"
    cause: The nodes have unlike numbers of processors.
    remedy: Set the workers of data loaders for the smallest.
"""


ABOUT_WISHES = f"""\
## Other severities, silence, rules of your own

In `all.vars` of the inventory, or in a file for `-e @FILE`:

```yaml
{WISHES}```

- `trainmesh_rules`: `off`, `info`, `warn` or `fail` by id. A rule that is off is not shown at all. Only `fail` keeps
  the jobs from being run and makes the exit status 2.
- `trainmesh_extra_rules`: [JMESPath](https://jmespath.org) expressions. A rule is violated where its expression gives
  anything but null, false, 0 or something empty; what it gives is the evidence. With `scope: host` (the default) it is
  asked once a node, of `name`, `node` (its part of the plan), `fabric`, `gpu`, `stack` and `user`; with
  `scope: cluster` once, of `plan` and of `hosts`, a list of these. What is in them stands in the documentation of the
  modules `fabric_facts`, `gpu_facts`, `stack_facts` and `user_facts` (`ansible-doc trainmesh.cluster.fabric_facts`).
  `title` is put before the cause; `null_is_untested: true` makes null mean that it could not be tested.
- `trainmesh_thresholds`: [limits](#thresholds) by name. Those in force stand in `report.json`.

A name that does not exist, or an expression that is none, is refused before any machine is touched.
"""


def cell(text: str) -> str:
    """A text safe inside a table."""
    return text.replace("|", r"\|")


def limit(one: t.Mapping[str, t.Any]) -> str:
    """A threshold's default with its unit."""
    if one["by"] is None:
        return f"{one['default']:,} {one['unit']}"
    kinds = (f"{kind}: {'none' if value is None else value}" for kind, value in one["by"].items())
    return f"by GPU, in {one['unit']}: {', '.join(kinds)}"


def thresholds() -> list[str]:
    """The limits that rules compare with."""
    lines = ["## Thresholds", "", "| name | default | meaning | source |", "|---|---|---|---|"]
    for one in diagnosis_thresholds.entries().values():
        lines.append(f"| `{one['name']}` | {cell(limit(one))} | {cell(one['meaning'])} | {cell(one['source'])} |")
    return [*lines, ""]


def every_rule() -> str:
    """The catalogue, of what stands beside the rules."""
    engine.load()
    return catalogue.text()


def rules() -> str:
    """The catalogue of faults, one table for each layer."""
    table = json.loads(every_rule())["rules"]
    count = {home: sum(one["home"] == home for one in table) for home in catalogue.HOMES}
    lines = [
        "# Rules",
        "",
        f"The {len(table)} faults that this collection knows. A report names them by these ids, which do not change.",
        "",
        f"- **rule** ({count['rule']}): `playbooks/verify.yml` looks for it, on any cluster.",
        f"- **prevented** ({count['prevented']}): it does not happen on a cluster that this collection set up.",
        f"- **out of scope** ({count['scope']}): neither, for the reason given.",
        "",
        "The first severity is the usual one; a finding may have another where the rule knows more. *fail*: a job of",
        "several nodes cannot work, hangs or gives wrong results; *warn*: it works, but slowly or by luck; *info*:",
        "worth knowing. In the sources, DS is deepspeedai/DeepSpeed, ACC huggingface/accelerate, PT pytorch/pytorch,",
        "NC NVIDIA/nccl, NT NVIDIA/nccl-tests and TR huggingface/transformers.",
        "",
        *ABOUT_WISHES.splitlines(),
        "",
    ]
    for layer, title in LAYERS.items():
        lines += [f"## {title}", "", "| id | severity | what | seen as | home | source |", "|---|---|---|---|---|---|"]
        for one in table:
            if one["layer"] == layer:
                home = one["home"] if one["home"] == catalogue.RULE else f"{one['home']}: {one['where']}"
                home = home.replace("scope:", "out of scope:")
                severity = ", ".join([one["severity"], *one.get("also", ())])
                cells = (f"`{one['id']}`", severity, one["title"], one["symptom"], home, one["source"])
                lines.append(f"| {' | '.join(map(cell, cells))} |")
        lines.append("")
    made = (
        "Made from the rules in `plugins/plugin_utils/_rules` and from `unchecked.json` and `thresholds.json` in "
        "`plugins/plugin_utils/_diagnosis/data` by `scripts/render_docs.py`."
    )
    return "\n".join([*lines, *thresholds(), made, ""])


def documents() -> t.Iterator[tuple[pathlib.Path, str]]:
    """Every generated document and the text it should have."""
    yield ROOT / "docs/variables.md", variables()
    yield ROOT / "plugins/plugin_utils/_diagnosis/data/rules.json", every_rule()
    yield ROOT / "docs/rules.md", rules()
    yield ROOT / "roles/launch_config/files/share/causes.json", _job_causes.for_the_head()
    for role in sorted((ROOT / "roles").iterdir()):
        if (role / "meta/argument_specs.yml").exists():
            yield role / "README.md", role_readme(role)


def main() -> int:
    """Write, or with --check only compare."""
    stale = [
        (path, text) for path, text in documents() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if "--check" in sys.argv[1:]:
            print(f"{path.relative_to(ROOT)} is out of date: run python scripts/render_docs.py")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
