# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh sync`` with the real rsync over a stand-in for ssh: each node is a directory of this machine."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

if shutil.which("rsync") is None:
    pytest.skip("rsync is not installed", allow_module_level=True)

# As ssh does, it joins the words and gives them to a shell; paths of the node that calls become those of the other one.
SSH = r"""#!/bin/sh
while case $1 in -*) true ;; *) false ;; esac; do shift; done
node=$1
shift
[ ! -e {root}/$node/dead ] || {{ echo "ssh: connect to host $node port 22: No route to host" >&2; exit 255; }}
echo "$node" >>{root}/calls
exec sh -c "$(printf %s "$*" | sed "s#{root}/node[0-9]*/#{root}/$node/#g")"
"""
COUNT = 5


class Nodes:
    """Some nodes, of which the first is the head."""

    def __init__(self, root, install, count=COUNT):
        from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
        from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render.node_files import node_files

        self.root, self.names = root, [f"node{number + 1}" for number in range(count)]
        nodes = [
            Node(name, rank, f"10.0.0.{11 + rank}", 22, 1, "eth7", name, name) for rank, name in enumerate(self.names)
        ]
        made = install(*nodes)
        made.real_python()
        for node in nodes:
            prefix = root / node.name / "prefix"
            shutil.copytree(made.root, prefix)
            for file in node_files(Cluster(nodes, "user", str(prefix), 29500, "fp32"), node):
                (prefix / file["path"]).write_text(file["content"])
        (root / "path").mkdir()
        (root / "path/ssh").write_text(SSH.format(root=root))
        (root / "path/ssh").chmod(0o755)
        self.data = self.at("node1") / "data"
        self.data.mkdir()

    def at(self, name):
        return self.root / name

    @property
    def environment(self):
        return {"PATH": f"{self.root}/path:/usr/bin:/bin", "PWD": str(self.data)}

    @property
    def command(self):
        return [str(self.at("node1") / "prefix/bin/trainmesh"), "sync"]

    def sync(self, *words):
        return subprocess.run(
            [*self.command, *map(str, words)], cwd=self.data, env=self.environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    def result(self, *words):
        """(exit status, what has become of each node)."""
        done = self.sync("--json", *words)
        assert done.stdout, done.stderr
        answer = json.loads(done.stdout)
        return done.returncode, {**answer["paths"][0]["nodes"], "changed": answer["changed"]}

    def left(self):
        """Command lines of processes that still have to do with these nodes."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                place = os.readlink(path / "cwd")
            except OSError:
                continue
            if (str(self.root) in words or place.startswith(str(self.root))) and path.name != str(os.getpid()):
                found.append(words)
        return found


@pytest.fixture
def nodes(tmp_path, install):
    return Nodes(tmp_path, install)


def tree(place):
    """What is in a directory: path to (kind, mode, content or target)."""
    found = {}
    for path in sorted(place.rglob("*")):
        name, mode = str(path.relative_to(place)), path.lstat().st_mode
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[name] = (mode, content)
    return found


def fill(place):
    """Files of every kind."""
    (place / "two words/sub").mkdir(parents=True)
    (place / "two words/it's $HOME `x`").write_text("a")
    (place / "two words/sub/#hash").write_text("b")
    (place / "; semicolon").write_text("c")
    (place / "new\nline").write_text("d")
    (place / os.fsdecode(b"latin-\xe4")).write_text("e")
    (place / "run.sh").write_text("#!/bin/sh\n")
    (place / "run.sh").chmod(0o755)
    (place / "closed").write_text("f")
    (place / "closed").chmod(0o600)
    (place / "empty").mkdir(mode=0o750)
    (place / "link").symlink_to("two words/sub")
    (place / "dangling").symlink_to("/nowhere")
    with open(place / "sparse", "wb") as target:
        target.truncate(8 << 20)
        target.seek(4 << 20)
        target.write(b"x")


def test_every_kind_of_file_arrives_on_every_node_and_a_second_run_changes_nothing(nodes):
    fill(nodes.data)
    done = nodes.sync()
    assert done.returncode == 0, done.stderr + done.stdout
    assert "node2 node3 node4 node5: 13 copied" in done.stdout and "same content" in done.stdout
    for name in nodes.names[1:]:
        assert tree(nodes.at(name) / "data") == tree(nodes.data)
        assert (nodes.at(name) / "data/sparse").stat().st_blocks * 512 < 1 << 20
        times = [int((place / "data/run.sh").stat().st_mtime) for place in (nodes.at(name), nodes.at("node1"))]
        assert times[0] == times[1]
    (nodes.root / "calls").unlink()
    status, result = nodes.result()
    assert (status, result["changed"]) == (0, False)
    assert {result[name]["state"] for name in nodes.names[1:]} == {"same"}
    # a look and a comparison, no copy
    assert sorted((nodes.root / "calls").read_text().split()) == sorted(nodes.names[1:] * 2)
    assert nodes.left() == []


def test_nodes_serve_each_other(nodes):
    (nodes.data / "file").write_text("x")
    lines = nodes.sync().stdout.splitlines()
    servers = {line.split(" from ")[1].split()[0] for line in lines if " has it, from " in line}
    assert len(servers) > 1 and "node1" in servers


def test_a_file_and_several_paths(nodes):
    (nodes.data / "one file").write_text("1")
    (nodes.data / "other").write_text("2")
    (nodes.at("node1") / "code").mkdir()
    (nodes.at("node1") / "code/a.py").write_text("3")
    done = nodes.sync("one file", nodes.at("node1") / "code")
    assert done.returncode == 0, done.stderr
    assert sorted(tree(nodes.at("node4") / "data")) == ["one file"]
    assert sorted(tree(nodes.at("node4") / "code")) == ["a.py"]


def test_what_is_only_on_a_node_stays_and_is_not_handed_on(nodes):
    (nodes.data / "file").write_text("x")
    for name in nodes.names[1:]:
        (nodes.at(name) / "data").mkdir()
        (nodes.at(name) / f"data/own-{name}").write_text("mine")
    assert nodes.sync().returncode == 0
    for name in nodes.names[1:]:
        assert sorted(tree(nodes.at(name) / "data")) == ["file", f"own-{name}"]


def test_delete_on_request_spares_what_is_left_out(nodes):
    (nodes.data / "sub").mkdir()
    (nodes.data / "sub/file").write_text("x")
    (nodes.data / "changed").write_text("file here")
    for name in nodes.names[1:]:
        place = nodes.at(name) / "data"
        (place / "changed/below").mkdir(parents=True)
        (place / "sub").mkdir()
        (place / "sub/old").write_text("old")
        (place / "run.ckpt").write_text("kept")
    (nodes.at("node2") / "outside").write_text("kept")
    status, result = nodes.result("--delete", "--exclude", "*.ckpt", "--dry-run")
    assert status == 0 and result["node3"]["deleted"] == 1 and "deleted sub/old" in result["node3"]["names"]
    assert (nodes.at("node3") / "data/sub/old").exists()
    status, result = nodes.result("--delete", "--exclude", "*.ckpt")
    assert status == 0 and result["node3"]["deleted"] == 1
    for name in nodes.names[1:]:
        assert sorted(tree(nodes.at(name) / "data")) == ["changed", "run.ckpt", "sub", "sub/file"]
    assert (nodes.at("node2") / "outside").exists()
    assert nodes.result("--delete", "--exclude", "*.ckpt")[1]["changed"] is False


def test_a_dry_run_tells_the_truth_and_changes_nothing(nodes):
    fill(nodes.data)
    before = nodes.data.stat().st_mtime_ns
    status, result = nodes.result("--dry-run")
    assert (status, result["changed"], result["node5"]["files"]) == (0, True, 13)
    assert nodes.data.stat().st_mtime_ns == before
    assert not any((nodes.at(name) / "data").exists() for name in nodes.names[1:])
    shown = nodes.sync("-n").stdout
    assert "node2 node3 node4 node5: 13 would be copied" in shown and "    run.sh" in shown


def test_a_dead_node_is_named_and_the_others_get_it(nodes):
    (nodes.data / "file").write_text("x")
    (nodes.at("node2") / "dead").touch()
    status, result = nodes.result()
    assert status == 1
    assert result["node2"]["trouble"] == "ssh: connect to host node2 port 22: No route to host"
    assert all((nodes.at(name) / "data/file").exists() for name in nodes.names[2:])
    assert not any(result[name]["trouble"] for name in nodes.names[2:])


def wrap_rsync(nodes, name, text):
    """A program in the place of rsync on one node, which is found first there."""
    path = nodes.at(name) / "prefix/lib/trainmesh/sync_files.py"
    path.write_text(path.read_text().replace('return shutil.which("rsync", path=SYSTEM_PATH)', text))


def test_a_node_that_dies_in_the_middle_has_no_subtree(nodes):
    """It has got it, and is gone when it is to serve others."""
    (nodes.data / "file").write_text("x")
    send = nodes.at("node2") / "prefix/lib/trainmesh/sync_node.py"
    send.write_text(send.read_text().replace('    program = rsync()\n', '    open("%s", "w"); os._exit(9)\n'
                                             % (nodes.at("node2") / "dead"), 1))  # fmt: skip
    status, result = nodes.result()
    assert status == 1
    assert [name for name in nodes.names[1:] if result[name]["trouble"]] == ["node2"]
    assert "No route to host" in result["node2"]["trouble"]
    assert all((nodes.at(name) / "data/file").exists() for name in nodes.names[1:])


def test_rsync_that_is_missing_is_said(nodes):
    (nodes.data / "file").write_text("x")
    wrap_rsync(nodes, "node3", "return None")
    status, result = nodes.result()
    assert status == 1 and result["node3"]["trouble"].startswith("rsync is missing: run the site playbook")
    wrap_rsync(nodes, "node1", "return None")
    done = nodes.sync()
    assert done.returncode == 64 and "rsync is missing" in done.stderr and not done.stdout


def test_a_shared_directory_is_not_copied_again(nodes):
    (nodes.data / "file").write_text("x")
    (nodes.at("node3") / "data").symlink_to(nodes.data)
    status, result = nodes.result()
    assert status == 0 and result["node3"]["state"] == "shared" and result["node4"]["state"] == "copied"
    assert sorted(tree(nodes.data)) == ["file"]


def test_nodes_that_share_a_network_file_system_get_it_once(tmp_path):
    from trainmesh import sync_node

    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"30 22 0:40 / {tmp_path} rw,relatime shared:5 - nfs4 filer:/export/my\\040data rw,vers=4.2\n"
    )
    (tmp_path / "there").mkdir()
    found = sync_node.place(str(tmp_path / "there/not yet"), str(mounts))
    assert found == ["nfs4", "filer:/export/my\\040data", (tmp_path / "there").stat().st_ino, "not yet"]
    mounts.write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    assert sync_node.place(str(tmp_path), str(mounts)) is None


def test_other_content_under_the_same_size_and_time_is_found_and_copied(nodes):
    (nodes.data / "weights").write_text("good")
    assert nodes.sync().returncode == 0
    bad = nodes.at("node5") / "data/weights"
    facts = bad.stat()
    bad.write_text("evil")
    os.utime(bad, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    status, result = nodes.result("--dry-run")
    assert status == 0 and result["node5"]["names"] == ["weights"] and result["node4"]["files"] == 0
    status, result = nodes.result()
    assert status == 0 and result["node5"]["files"] == 1 and bad.read_text() == "good"


def test_a_file_that_can_not_be_made_equal_is_named_by_node(nodes):
    (nodes.data / "weights").write_text("good")
    check = nodes.at("node4") / "prefix/lib/trainmesh/sync_node.py"
    check.write_text(check.read_text().replace("return made_of.hexdigest()", 'return "a bad disk"'))
    status, result = nodes.result()
    assert status == 1
    assert result["node4"]["trouble"] == "1 files differ from the head's after the copy: weights"
    assert not result["node5"]["trouble"]


def test_no_room_is_told_with_the_bytes_before_anything_is_copied(nodes):
    (nodes.data / "model").write_bytes(os.urandom(1 << 16))
    look = nodes.at("node2") / "prefix/lib/trainmesh/sync_node.py"
    look.write_text(look.read_text().replace("facts.f_bavail * facts.f_frsize", "4096"))
    status, result = nodes.result()
    place = nodes.at("node2") / "data"
    assert status == 1
    assert result["node2"]["trouble"] == f"no room for it: {place} needs 65536 bytes more and has 4096"
    assert not (place / "model").exists() and (nodes.at("node3") / "data/model").exists()


def begun(nodes, *words):
    return subprocess.Popen([*nodes.command, *words], cwd=nodes.data, env=nodes.environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip


def wait_for(what, seconds=40):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.1)
    return what()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_sync_leaves_no_process_and_goes_on_later(nodes, number):
    (nodes.data / "model").write_bytes(os.urandom(6 << 20))
    process = begun(nodes, "--bwlimit", "1M")
    temporary = nodes.at("node2") / "data"
    assert wait_for(lambda: any(path.stat().st_size > 1 << 20 for path in temporary.glob(".model.*")))
    process.send_signal(number)
    status = process.wait(20)
    assert status == (-number if number == signal.SIGKILL else 130)
    assert wait_for(lambda: nodes.left() == []), nodes.left()
    assert not any((nodes.at(name) / "data/model").exists() for name in nodes.names[1:])
    partial = temporary / ".trainmesh-partial/model"
    assert partial.stat().st_size >= 1 << 19
    done = nodes.sync()
    assert done.returncode == 0, done.stdout
    assert all(sorted(tree(nodes.at(name) / "data")) == ["model"] for name in nodes.names[1:])
    assert sorted(tree(nodes.data)) == ["model"]


def test_what_a_killed_rsync_has_left_is_gone_on_with(tmp_path):
    from trainmesh import sync_files, sync_node

    (tmp_path / ".model.aB3xYz").write_text("half")
    (tmp_path / ".other.aB3xYz").write_text("of somebody else")
    (tmp_path / ".busy.aB3xYz").write_text("half")
    files = [sync_files.File(name, "f", 9, 9, 0, 0o644, "") for name in ("model", "busy")]
    with open(tmp_path / ".busy.aB3xYz", encoding="ascii"):
        sync_node.salvage(str(tmp_path), files)
    assert (tmp_path / ".trainmesh-partial/model").read_text() == "half"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".busy.aB3xYz", ".other.aB3xYz", ".trainmesh-partial",
    ]  # fmt: skip


def test_a_second_sync_at_the_same_time_is_refused(nodes):
    (nodes.data / "model").write_bytes(os.urandom(4 << 20))
    process = begun(nodes, "--bwlimit", "1M")
    try:
        assert wait_for((nodes.at("node2") / "data").exists)
        done = nodes.sync()
        assert done.returncode == 64 and "another sync goes on" in done.stderr
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/"], "/ is the root of the file system"),
        (["/etc"], "/etc belongs to the operating system"),
        (["/usr/share/misc"], "/usr/share/misc belongs to the operating system"),
        (["/tmp/../home"], "/home has files of others"),
        (["{prefix}/etc"], "has files that differ from node to node: sync what is in {prefix}/workspace"),
        (["--delete", "~"], "is a home: --delete would remove what only that node has"),
        (["nothing"], "there is no {data}/nothing here"),
        (["--delete", "."], "has nothing to copy: --delete would empty it on every node"),
        (["to-etc"], "{data}/to-etc is /etc, which belongs to the operating system"),
        (["--bwlimit", "fast"], "bytes per second, such as 800K or 50M, not fast"),
    ],
)
def test_what_is_dangerous_or_wrong_is_refused_in_one_line(nodes, words, message):
    prefix = nodes.at("node1") / "prefix"
    if words == ["to-etc"]:
        (nodes.data / "to-etc").symlink_to("/etc")
    words = [word.format(prefix=prefix).replace("~", os.path.expanduser("~")) for word in words]
    done = nodes.sync(*words)
    assert done.returncode == 64 and not done.stdout
    assert message.format(prefix=prefix, data=nodes.data) in done.stderr and done.stderr.count("\n") == 1
    assert not (nodes.root / "calls").exists()


def test_keys_and_what_differs_from_node_to_node_are_left_out_above_it(nodes, monkeypatch):
    from trainmesh import sync_files

    monkeypatch.setattr(sync_files, "homes", lambda: ["/data/users/ann"])
    rules = sync_files.ours("/data/trainmesh", "/data")
    assert "- /trainmesh/" in rules and "- /users/ann/.ssh/" in rules
    assert sync_files.dangerous("/opt/trainmesh", "/data/users", True).startswith("/data/users has the home")
    assert sync_files.dangerous("/opt/trainmesh", "/data/users", False) == ""
    assert "has this node's keys" in sync_files.dangerous("/opt/trainmesh", "/data/users/ann/.ssh", False)


def test_only_the_head_copies(nodes):
    program = nodes.at("node2") / "prefix/bin/trainmesh"
    done = subprocess.run([program, "sync", "/data"], capture_output=True, text=True, check=False,
                          env=nodes.environment)  # fmt: skip
    assert done.returncode == 64 and "copies from the head, node1 (this is node2)" in done.stderr


def test_a_star_is_served_by_the_head_alone(nodes):
    for name in nodes.names:
        path = nodes.at(name) / "prefix/etc/cluster.env"
        path.write_text(path.read_text().replace("TOPOLOGY=mesh", "TOPOLOGY=head"))
    (nodes.data / "file").write_text("x")
    done = nodes.sync()
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "has it, from" in line and "from node1" not in line] == []
    assert all((nodes.at(name) / "data/file").exists() for name in nodes.names[1:])


IGNORED = """# comment
*.log
!keep.log
/build
cache/
doc/*.txt
**/deep/*.bin
a/**/b
\\#odd
"""


def test_gitignore_as_git_reads_it(nodes):
    subprocess.run(["git", "init", "-q", nodes.data], check=True)
    (nodes.data / ".gitignore").write_text(IGNORED)
    names = [
        "x.log", "keep.log", "build/x", "sub/build/x", "cache/x", "sub/cache/x", "doc/a.txt", "sub/doc/a.txt",
        "deep/x.bin", "sub/deep/x.bin", "a/b", "a/c/d/b", "a/c/e", "#odd", "sub/own", "sub/x.log", "sub/in/own",
        "excluded", "train.py",
    ]  # fmt: skip
    for name in names:
        (nodes.data / name).parent.mkdir(parents=True, exist_ok=True)
        (nodes.data / name).write_text(name)
    (nodes.data / "sub/.gitignore").write_text("own\n!x.log\n")
    (nodes.data / ".git/info/exclude").write_text("/excluded\n")
    listed = ["git", "-C", nodes.data, "ls-files", "-z", "--others", "--exclude-standard"]
    wanted = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.strip("\0").split("\0")
    assert nodes.sync("--gitignore").returncode == 0
    place = nodes.at("node4") / "data"
    assert sorted(name for name, (_mode, content) in tree(place).items() if content is not None) == sorted(wanted)
    shutil.rmtree(place)
    assert nodes.sync("--gitignore", nodes.data / "sub").returncode == 0, "the repository's own rules count below it"
    found = sorted(name for name, (_mode, content) in tree(place / "sub").items() if content is not None)
    assert found == sorted(name[len("sub/") :] for name in wanted if name.startswith("sub/"))


def test_trainmeshignore_always_counts(nodes):
    (nodes.data / ".trainmeshignore").write_text("*.ckpt\n/wandb/\n")
    for name in ("a.ckpt", "train.py", ".gitignore"):
        (nodes.data / name).write_text("*")
    (nodes.data / "wandb").mkdir()
    assert nodes.sync().returncode == 0
    assert sorted(tree(nodes.at("node2") / "data")) == [".gitignore", ".trainmeshignore", "train.py"]


def test_run_brings_the_directory_first(nodes):
    (nodes.data / "train.py").write_text("")
    (nodes.at("node1") / "prefix/env/bin/pdsh").write_text("#!/bin/sh\necho started\n")
    (nodes.at("node1") / "prefix/env/bin/pdsh").chmod(0o755)

    def run():
        return subprocess.run([nodes.command[0], "run", "--sync", "train.py"], cwd=nodes.data, env=nodes.environment,
                              capture_output=True, text=True, timeout=60, check=False)  # fmt: skip

    done = run()
    assert done.returncode == 0 and "started" in done.stdout, done.stderr
    assert "node2 node3 node4 node5: 1 copied, 0 B, same content" in done.stderr
    (nodes.at("node3") / "dead").touch()
    done = run()
    assert done.returncode == 64 and "started" not in done.stdout
    assert "node3: FAILED: ssh: connect to host node3" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("is not the same on every node (see above): the job was not started")


def test_the_controller_can_only_send_to_what_is_a_destination(nodes):
    program = nodes.at("node1") / "prefix/bin/trainmesh"

    def receive(place, delete="0", dry="0"):
        words = [program, "sync-part", "receive", place, delete, dry, "--version"]
        return subprocess.run(words, capture_output=True, text=True, check=False, env=nodes.environment)

    for place in ("/etc", "/", str(nodes.at("node1") / "prefix/etc")):
        assert receive(place).returncode == 64
    assert "is a home" in receive(os.path.expanduser("~"), delete="1").stderr
    assert receive(nodes.root / "new/place", dry="1").returncode == 0 and not (nodes.root / "new").exists()
    assert receive(nodes.root / "new/place").stdout.startswith("rsync  version") and (nodes.root / "new/place").is_dir()
