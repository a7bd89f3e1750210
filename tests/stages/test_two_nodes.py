"""Two machines, as two of torchrun's agents on two addresses of this one: docs/cluster.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from ports import free_port
from tiny import ROOT
from training import OUTS, UNTRACKED, Training

from stages.shards import ShardSet

pytestmark = pytest.mark.slow

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
LONG = {"train.steps": 120, "train.valid_every": 40}
CPUS = {"CUDA_VISIBLE_DEVICES": ""}


class Nodes:
    """Two machines with one process each, which share a folder.

    Attributes:
        training: in their folder.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self._options = ["--nnodes=2", "--nproc-per-node=1", "--max-restarts=3"]
        self._options += ["--rdzv-backend=c10d", "--rdzv-id=glow"]
        self._options += [f"--rdzv-endpoint=127.0.0.1:{free_port()}"]

    def start(self, number: int, **env: str) -> "subprocess.Popen[bytes]":
        """The command that docs/cluster.md gives, on node 0, where they meet, or on node 1."""
        command = [*TORCHRUN, *self._options, f"--local-addr=127.0.0.{1 + number}"]
        command.append(f"--rdzv-conf=is_host={number == 0}")  # by name both would be
        command += ["-m", "stages.train", str(self.training.shards), *OUTS]
        with self._log(number).open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.training.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": f"{UNTRACKED}{os.pathsep}{ROOT}",
                    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
                    **env,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        """By both."""
        return "".join(self._log(number).read_text() for number in (0, 1))

    def _log(self, number: int) -> Path:
        return self.training.folder / f"node-{number}.log"


def lose(node: "subprocess.Popen[bytes]") -> None:
    """As when the machine is switched off, but that its connections break at once."""
    agent = psutil.Process(node.pid)
    for process in (agent, *agent.children(recursive=True)):
        process.kill()
    node.wait()


def curve(training: Training) -> list[float]:
    return pd.read_csv(training.folder / "results" / "curves.csv")["bits_per_dim"].tolist()


def test_with_a_node_lost_and_back_two_end_in_the_bytes_of_one(
    shards: ShardSet, tmp_path: Path
) -> None:
    one = Training.new(tmp_path / "one", shards.folder, **LONG)
    one.finish(2, **CPUS)

    nodes = Nodes(two := Training.new(tmp_path / "two", shards.folder, **LONG))
    first, second = nodes.start(0, **CPUS), nodes.start(1, **CPUS)
    two.wait_for(10, first)
    lose(second)
    second = nodes.start(1, **CPUS)
    assert [node.wait(200) for node in (first, second)] == [0, 0], nodes.said()
    assert "has lost another one" in nodes.said()
    (again,) = re.findall(r"goes on from step (\d+)", nodes.said())
    assert 10 <= int(again) < 120
    assert two.contents() == one.contents()


def test_two_nodes_with_a_gpu_each_have_the_curve_of_one_with_two(
    shards: ShardSet, tmp_path: Path
) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    one = Training.new(tmp_path / "one", shards.folder)
    one.finish(2)
    nodes = Nodes(two := Training.new(tmp_path / "two", shards.folder))
    both = [nodes.start(number, CUDA_VISIBLE_DEVICES=str(number)) for number in (0, 1)]
    assert [node.wait(200) for node in both] == [0, 0], nodes.said()
    assert curve(two) == pytest.approx(curve(one), abs=1e-4)
