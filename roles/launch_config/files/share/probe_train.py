# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small real training job, the same under every launcher, in which each rank writes its own record.

It proves what an exit status does not: one world, on the nodes and interfaces meant for it, in which
a sum over all ranks is right and a model really learns.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import json
import os
import socket
import struct
import sys
import time
import traceback

FEATURES, STEPS, BATCH = 32, 8, 16
IFNAMES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def main():
    """Train, write the record, and end with status 0 when all was well."""
    options = parse()
    started = time.monotonic()
    record = origin()
    try:
        ENGINES[options.engine](options, record)
        record["loss_decreased"] = record["losses"][-1] < record["losses"][0]
        record["ok"] = record["loss_decreased"] and record["allreduce"]["ok"]
        if not record["ok"]:
            record["error"] = f"sum {record['allreduce']}, losses {record['losses']}"
    except BaseException:  # whatever it was, the record must say it
        record["error"] = traceback.format_exc()[-4000:]
    record["seconds"] = round(time.monotonic() - started, 3)
    write(options.record_dir, record)
    # one write a rank, else the ranks' lines run into each other
    sys.stdout.write(f"rank {record['rank']} of {record['world_size']} on {record['hostname']}: {verdict(record)}\n")
    sys.stdout.flush()
    if not record["ok"]:
        sys.stderr.write(f"{record['error']}\n")
    finish(record)


def parse():
    """The command line; ``--local_rank`` comes from DeepSpeed's launcher."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=sorted(ENGINES), required=True)
    parser.add_argument("--record-dir", required=True, help="directory for this rank's record, on its own node")
    parser.add_argument("--timeout", type=float, default=120, help="seconds that ranks wait for one another")
    parser.add_argument("--deepspeed_config", help="DeepSpeed JSON file for --engine deepspeed")
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def origin():
    """What is known of this rank before anything else runs."""
    address = source_address(os.environ.get("MASTER_ADDR", ""), int(os.environ.get("MASTER_PORT", "29500")))
    later = ("backend", "device", "zero_stage", "precision", "seconds", "error")
    return {
        **dict.fromkeys(later),
        "rank": int(os.environ.get("RANK", "-1")),
        "world_size": int(os.environ.get("WORLD_SIZE", "-1")),
        "local_rank": int(os.environ.get("LOCAL_RANK", "-1")),
        "node": os.environ.get("TRAINMESH_NODE_NAME"),
        "hostname": socket.gethostname(),
        "address": address,
        "interface": interface_of(address),
        "ifname": {name: os.environ[name] for name in IFNAMES if name in os.environ},
        "addresses_used": [],
        "versions": {},
        "allreduce": {"expected": None, "got": None, "ok": False},
        "losses": [],
        "loss_decreased": False,
        "launcher": os.environ.get("TRAINMESH_LAUNCHER"),
        "run_id": os.environ.get("TRAINMESH_RUN_ID"),
        "pid": os.getpid(),
        "ok": False,
    }


def source_address(host, port):
    """The own address on the route to the master; None when there is no route. Nothing is sent."""
    try:
        family, _type, _protocol, _name, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.connect(target)
            return probe.getsockname()[0]
    except OSError:
        return None


def interface_of(address):
    """The interface that has this IPv4 address (SIOCGIFADDR); None when none has it as its first."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        for _index, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe.fileno(), 0x8915, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None


def addresses_used():
    """The node's own addresses of this process's open TCP connections, without loopback (proc_net_tcp(5))."""
    inodes = set()
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{entry}")
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with contextlib.suppress(OSError), open(f"/proc/self/net/{table}", encoding="ascii") as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[9] in inodes and fields[3] == "01":
                    found.add(readable(fields[1].split(":")[0], family))
    return sorted(address for address in found if not address.startswith("127.") and address != "::1")


def readable(digits, family):
    """An address of /proc/net/tcp: hexadecimal words in the machine's byte order."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    text = socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))
    return text[7:] if text.startswith("::ffff:") else text


def prepare(record):
    """Choose device and backend; returns (torch, device)."""
    import torch

    record["versions"]["torch"] = torch.__version__
    if torch.cuda.is_available():
        torch.cuda.set_device(record["local_rank"] % torch.cuda.device_count())
        record["device"] = f"cuda:{torch.cuda.current_device()}"
        record["gpu"] = torch.cuda.get_device_name()
    else:
        torch.set_num_threads(1)
        record["device"] = "cpu"
    record["backend"] = "nccl" if record["device"] != "cpu" else "gloo"
    torch.manual_seed(20)
    return torch, torch.device(record["device"])


def check_sum(torch, device, record):
    """Every rank adds rank + 1; from here on rank and world are those of the group itself."""
    group = torch.distributed
    record.update(rank=group.get_rank(), world_size=group.get_world_size(), backend=group.get_backend())
    value = torch.full((1024,), float(record["rank"] + 1), device=device)
    group.all_reduce(value)
    expected = record["world_size"] * (record["world_size"] + 1) / 2
    same = bool((value == expected).all())
    record["allreduce"] = {"expected": expected, "got": float(value[0]), "ok": same}
    record["addresses_used"] = addresses_used()


def model_and_data(torch, record):
    """A tiny regression that any working optimizer improves; every rank has data of its own."""
    model = torch.nn.Sequential(torch.nn.Linear(FEATURES, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    generator = torch.Generator().manual_seed(1000 + record["rank"])
    inputs = torch.randn(BATCH, FEATURES, generator=generator)
    return model, inputs, inputs[:, :4].sum(dim=1, keepdim=True)


def mean_loss(torch, loss):
    """The loss over all ranks, so that all of them record the same curve."""
    total = loss.detach().float().clone()
    torch.distributed.all_reduce(total)
    return round(float(total) / torch.distributed.get_world_size(), 6)


def with_ddp(options, record):
    """Plain torch: process group from the environment, DistributedDataParallel."""
    torch, device = prepare(record)
    torch.distributed.init_process_group(record["backend"], timeout=datetime.timedelta(seconds=options.timeout))
    check_sum(torch, device, record)
    model, inputs, wanted = model_and_data(torch, record)
    record["precision"] = "fp32"
    model = torch.nn.parallel.DistributedDataParallel(model.to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    inputs, wanted = inputs.to(device), wanted.to(device)
    for _step in range(STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), wanted)
        loss.backward()
        optimizer.step()
        record["losses"].append(mean_loss(torch, loss))


def with_deepspeed(options, record):
    """DeepSpeed's engine with the ZeRO stage and precision of the given JSON file."""
    torch, device = prepare(record)
    import deepspeed

    record["versions"]["deepspeed"] = deepspeed.__version__
    deepspeed.init_distributed(record["backend"], timeout=datetime.timedelta(seconds=options.timeout))
    check_sum(torch, device, record)
    model, inputs, wanted = model_and_data(torch, record)
    with open(options.deepspeed_config, encoding="utf-8") as source:
        config = json.load(source)
    config["train_micro_batch_size_per_gpu"] = BATCH
    if config.get("fp16", {}).get("enabled"):
        config["fp16"]["initial_scale_power"] = 8  # else the first steps of so few are skipped to find the scale
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    engine, _optimizer, _loader, _scheduler = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    describe_engine(engine, record)
    dtype = next(engine.module.parameters()).dtype
    inputs, wanted = inputs.to(device, dtype), wanted.to(device, dtype)
    for _step in range(STEPS):
        loss = torch.nn.functional.mse_loss(engine(inputs), wanted)
        engine.backward(loss)
        engine.step()
        record["losses"].append(mean_loss(torch, loss))


def with_accelerate(options, record):
    """Accelerate, with its DeepSpeed plugin or without, as its launcher has set it up."""
    torch, _device = prepare(record)
    import accelerate
    from accelerate.utils import InitProcessGroupKwargs

    record["versions"]["accelerate"] = accelerate.__version__
    group = InitProcessGroupKwargs(backend=record["backend"], timeout=datetime.timedelta(seconds=options.timeout))
    accelerator = accelerate.Accelerator(kwargs_handlers=[group])
    if accelerator.num_processes != torch.distributed.get_world_size():
        raise RuntimeError(f"Accelerate counts {accelerator.num_processes} ranks")
    check_sum(torch, accelerator.device, record)
    model, inputs, wanted = model_and_data(torch, record)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, wanted), batch_size=BATCH)
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None and plugin.deepspeed_config.get("fp16", {}).get("enabled") is True:
        plugin.deepspeed_config["fp16"]["initial_scale_power"] = 8
    model, optimizer, _loader = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.01), loader)
    record["precision"] = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    dtype = torch.float32
    if plugin is not None:
        import deepspeed

        record["versions"]["deepspeed"] = deepspeed.__version__
        describe_engine(model, record)
        dtype = next(model.parameters()).dtype
    inputs, wanted = inputs.to(accelerator.device, dtype), wanted.to(accelerator.device, dtype)
    for _step in range(STEPS):
        loss = torch.nn.functional.mse_loss(model(inputs), wanted)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        record["losses"].append(mean_loss(torch, loss))


def describe_engine(engine, record):
    """ZeRO stage and precision as DeepSpeed's engine runs them."""
    record["zero_stage"] = engine.zero_optimization_stage()
    record["precision"] = "fp16" if engine.fp16_enabled() else "bf16" if engine.bfloat16_enabled() else "fp32"


def write(directory, record):
    """The record appears complete or not at all."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"rank-{record['rank']}.json")
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as target:
        json.dump(record, target, indent=1)
    os.replace(temporary, path)


def verdict(record):
    """One line for the log."""
    if not record["ok"]:
        return "FAILED"
    return f"sum {record['allreduce']['got']:.0f} right, loss {record['losses'][0]} -> {record['losses'][-1]}"


def finish(record):
    """End together when all is well, at once when not, and without the interpreter's own shutdown.

    There torch's threads now and then abort a job that has done its work ("terminate called without
    an active exception", seen once in fifteen runs with torch 2.13), or hold a failed one.
    """
    torch = sys.modules.get("torch")
    if record["ok"] and torch is not None and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    sys.stderr.flush()
    os._exit(0 if record["ok"] else 1)


ENGINES = {"accelerate": with_accelerate, "ddp": with_ddp, "deepspeed": with_deepspeed}

if __name__ == "__main__":
    main()
