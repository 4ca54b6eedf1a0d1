"""Distributed training with two processes, as on two hosts of a cluster."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import yaml
from bench.experiment.parallel import run_single

PROGRAM = """
import sys
from bench.cli.main import main
sys.argv = ["bench", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
def test_two_hosts_equal_one_device_with_gradient_accumulation(small_grid, tmp_path):
    """The same batches per step, so the same weights up to rounding."""
    grid = small_grid.model_copy(
        update={"splits": ("random",), "long_range": ("none",)}
    )
    training = lambda **x: {"train": grid.train.model_copy(update={"epochs": 2, **x})}
    single = grid.model_copy(update=training(accumulate_grad_batches=2, devices=1))
    run = grid.runs()[0]
    (tmp_path / "single").mkdir()
    assert run_single(single, tmp_path / "single", run) is None
    config = tmp_path / "two.yaml"
    distributed = grid.model_copy(update=training())
    config.write_text(yaml.safe_dump(distributed.model_dump(mode="json")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    out = tmp_path / "two"
    command = [sys.executable, "-c", PROGRAM, "train", str(config), run.name]
    command += ["--out", str(out), "--coordinator", address, "--num-processes", "2"]
    processes = [
        subprocess.Popen(
            [*command, "--process-id", str(i)],
            env=os.environ | {"XLA_FLAGS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    # Only the main process prints epochs.
    assert ["epoch" in text for text in outputs] == [True, False], outputs
    rows = []
    for name in ("single", "two"):
        lines = (tmp_path / name / run.name / "metrics.jsonl").read_text().splitlines()
        rows.append([json.loads(line) for line in lines])
    assert len(rows[0]) == len(rows[1]) == 2
    for a, b in zip(*rows, strict=True):
        np.testing.assert_allclose(a["train_loss"], b["train_loss"], rtol=1e-4)
        np.testing.assert_allclose(
            a["validation_loss"], b["validation_loss"], rtol=1e-3
        )
    results = [
        json.loads((tmp_path / name / run.name / "result.json").read_text())
        for name in ("single", "two")
    ]
    errors = [result["errors"]["test"]["force_mae"] for result in results]
    np.testing.assert_allclose(*errors, rtol=1e-3)


LISTENING = """
import pathlib
import sys
from bench.execution.hosts import join_processes

join_processes(sys.argv[1], 1, 0)
port = f"{int(sys.argv[1].rpartition(':')[2]):04X}"
for name in ("tcp", "tcp6"):
    table = pathlib.Path("/proc/net", name)
    for line in table.read_text().splitlines()[1:] if table.exists() else ():
        _, local, _, state, *_ = line.split()
        if state == "0A" and local.endswith(":" + port):
            print("listens", local.partition(":")[0])
"""


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="needs Linux")
def test_the_coordinator_listens_only_at_its_address():
    """The port has no authentication, so other hosts must not reach it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"localhost:{free.getsockname()[1]}"
    done = subprocess.run(
        [sys.executable, "-c", LISTENING, address],
        capture_output=True,
        text=True,
        env=os.environ | {"XLA_FLAGS": ""},
        timeout=120,
    )
    ipv4, ipv6 = "0100007F", 24 * "0" + "01000000"
    loopback = {ipv4, 16 * "0" + "FFFF0000" + ipv4, ipv6}
    lines = [line.split() for line in done.stdout.splitlines()]
    addresses = {words[1] for words in lines if words[0] == "listens"}
    assert addresses and addresses <= loopback, done
