"""The train stage: a killed training goes on and ends in the same bytes; NaN is named."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML
from tiny import ROOT, SMALL, tiny

from glow import load_glow
from stages.shards import ShardSet

TRAINING = {
    **SMALL,
    "train.steps": 60,
    "train.valid_every": 25,
    "train.checkpoint_minutes": 0.0,
    "train.warmup_steps": 5,
    "train.decay_steps": 5,
}
OUTS = ["models/glow", "results/train.json", "results/curves.csv"]
WHAT = ["models/glow/model.safetensors", "models/glow/config.json", *OUTS[1:]]


def project(folder: Path, **changes: object) -> Path:
    folder.mkdir()
    params = tiny(**{**TRAINING, **changes}).model_dump()
    with (folder / "params.yaml").open("w") as stream:
        YAML().dump(params, stream)
    return folder


def start(folder: Path, shards: ShardSet, processes: int = 1) -> "subprocess.Popen[str]":
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    env["GLOW_NPROC"] = str(processes)
    env["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    command = [sys.executable, "-m", "stages.train", str(shards.folder), *OUTS]
    return subprocess.Popen(
        command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finished(folder: Path, shards: ShardSet, processes: int = 1) -> str:
    process = start(folder, shards, processes)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return output


def wait_for_a_checkpoint(folder: Path, process: "subprocess.Popen[str]") -> None:
    checkpoints = folder / ".cache" / "checkpoints"
    while process.poll() is None and not list(checkpoints.glob("*/trainer.safetensors")):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)],
    ids=["SIGTERM", "SIGINT", "SIGKILL"],
)
def test_a_killed_training_ends_in_the_same_bytes(
    shards: ShardSet, tmp_path: Path, number: int, code: int
) -> None:
    changes = {"train.steps": 400, "train.valid_every": 150}
    whole, killed = project(tmp_path / "a", **changes), project(tmp_path / "b", **changes)
    finished(whole, shards)
    process = start(killed, shards)
    wait_for_a_checkpoint(killed, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert not (killed / OUTS[0]).exists()
    assert "goes on from step" in finished(killed, shards)
    assert not list(killed.glob(".cache/checkpoints/*"))
    for name in WHAT:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_and_keeps_the_weights(
    shards: ShardSet, tmp_path: Path
) -> None:
    folder = project(
        tmp_path / "a",
        **{"train.learning_rate": 1e12, "train.max_grad_norm": 1e30, "train.warmup_steps": 0},
    )
    process = start(folder, shards)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1, output
    assert "error: training stopped: loss" in output
    assert "at step" in output
    assert "Traceback" not in output
    assert list(folder.glob(".cache/checkpoints/*/before_non_finite.safetensors"))
    assert not (folder / OUTS[0]).exists()


@pytest.mark.slow
def test_two_processes_learn_what_one_does(shards: ShardSet, tmp_path: Path) -> None:
    one, two = project(tmp_path / "a"), project(tmp_path / "b")
    finished(one, shards)
    finished(two, shards, processes=2)
    curves = [pd.read_csv(folder / "results" / "curves.csv") for folder in (one, two)]
    assert curves[0]["step"].tolist() == curves[1]["step"].tolist()
    learned = [list(curve["valid_bits_per_dim"]) for curve in curves]
    assert learned[1] == pytest.approx(learned[0], abs=0.1)
    assert learned[0][0] - learned[0][-1] > 0.3, "too little was learned to tell them apart"
    assert load_glow(two / "models" / "glow").initialized
