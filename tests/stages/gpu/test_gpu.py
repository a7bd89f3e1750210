"""What takes other ways on a GPU, with a stand-in for one (stand_in.cpp)."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import ROOT
from training import UNTRACKED, Training

from stages.shards import ShardSet

pytestmark = pytest.mark.slow

ON_CPU = {"PYTHONPATH": f"{UNTRACKED}{os.pathsep}{ROOT}"}
STAGES = {
    "evaluate": [
        "results/evaluate.json",
        "results/likelihoods.csv",
        "results/scores.csv",
        "results/evaluate",
    ],
    "attributes": [
        "models/attributes.safetensors",
        "results/attributes.csv",
        "results/attributes",
        "models/counterfactual.safetensors",
        "models/guide.safetensors",
    ],
    "samples": ["results/samples", "results/samples.json"],
}
OF_COMMANDS = ["test_apps.py", "test_doctor.py", "test_guided.py", "test_scores.py"]


def curve(training: Training, name: str = "bits_per_dim") -> list[float]:
    return pd.read_csv(training.folder / "results" / "curves.csv")[name].tolist()


def call(folder: Path, env: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


STRICT = """
import torch
x, here = torch.ones(3, device="cuda"), torch.ones(3)
def refused(work):
    try:
        work()
    except RuntimeError as error:
        return str(error)
print(refused(lambda: x + here))
print(refused(lambda: torch.addmm(x, x[None], here[:, None])))
print(refused(lambda: torch.rand(3, generator=torch.Generator(), device="cuda")))
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    y = (2 * x).cumsum(0)
    x.add_(1)
    print(refused(lambda: float(y[0])))
    print(refused(lambda: x.copy_(here)))
    print(refused(lambda: x.normal_()))
assert x.tolist() == [1, 1, 1]
for times in range(1, 4):
    graph.replay()
    assert y.tolist() == [2 * times, 4 * times, 6 * times]
    assert x.tolist() == [1 + times] * 3
"""


def test_the_stand_in_is_as_strict_as_a_gpu(gpu: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "strict.py").write_text(STRICT)
    env = {**gpu, "PYTHONPATH": f"{tmp_path}{os.pathsep}{gpu['PYTHONPATH']}"}
    said = call(tmp_path, env, "strict").splitlines()
    assert ["same device" in line for line in said[:2]] == [True] * 2
    assert "generator" in said[2]
    assert ["not permitted when stream is capturing" in line for line in said[3:]] == [True] * 3


@pytest.fixture(scope="module")
def on_cpu(shards: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training without a GPU."""
    training = Training.new(tmp_path_factory.mktemp("on_cpu") / "a", shards.folder)
    training.finish()
    return training


@pytest.fixture(scope="module")
def on_gpu(
    shards: ShardSet, gpu: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Training:
    """The same with one."""
    training = Training.new(tmp_path_factory.mktemp("on_gpu") / "a", shards.folder)
    training.finish(**gpu)
    return training


@pytest.mark.parametrize("name", ["bits_per_dim", "valid_bits_per_dim", "learning_rate"])
def test_a_training_has_the_curve_of_one_on_a_cpu(
    on_cpu: Training, on_gpu: Training, name: str
) -> None:
    assert curve(on_gpu, name) == pytest.approx(curve(on_cpu, name), abs=1e-4)


@pytest.mark.parametrize(
    "how",
    [
        {"GLOW_GRAPHS": "1"},
        {"GLOW_CACHE_BYTES": "0"},
        {"GLOW_CACHE_BYTES": "0", "GLOW_WORKERS": "0", "GLOW_GRAPHS": "1"},
    ],
    ids=["graphs", "streamed", "streamed without workers, graphs"],
)
def test_how_it_is_run_changes_no_byte(
    shards: ShardSet, gpu: dict[str, str], on_gpu: Training, tmp_path: Path, how: dict[str, str]
) -> None:
    training = Training.new(tmp_path / "a", shards.folder)
    assert "CUDA graph" not in training.finish(**gpu, **how)  # no word of them where they work
    assert training.contents() == on_gpu.contents()


@pytest.mark.parametrize(
    ("how", "changes", "close"),
    [
        ({"GLOW_NPROC": "2"}, {}, 1e-4),
        ({"GLOW_MICRO_BATCH": "3"}, {}, 1e-4),
        ({"GLOW_PRECISION": "tf32"}, {}, 1e-4),
        ({"GLOW_PRECISION": "bfloat16", "GLOW_GRAPHS": "1"}, {}, 0.01),
        ({}, {"train.backprop": "reversible"}, 1e-4),
        ({"GLOW_GRAPHS": "1"}, {"train.backprop": "balanced"}, 1e-4),
    ],
    ids=["two processes", "micro batches", "tf32", "bfloat16", "reversible", "balanced"],
)
def test_how_it_is_computed_changes_little(
    shards: ShardSet,
    gpu: dict[str, str],
    on_gpu: Training,
    tmp_path: Path,
    how: dict[str, str],
    changes: dict[str, str],
    close: float,
) -> None:
    training = Training.new(tmp_path / "a", shards.folder, **changes)
    assert "CUDA graph" not in training.finish(**gpu, **how)
    for name in ("bits_per_dim", "valid_bits_per_dim"):
        assert curve(training, name) == pytest.approx(curve(on_gpu, name), abs=close, rel=0)


def test_a_killed_training_ends_in_the_same_bytes(
    shards: ShardSet, gpu: dict[str, str], on_gpu: Training, tmp_path: Path
) -> None:
    training = Training.new(tmp_path / "a", shards.folder)
    process = training.start(**gpu)
    training.wait_for(3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert "goes on from step" in training.finish(**gpu)
    assert training.contents() == on_gpu.contents()


def numbers(file: Path) -> list[float]:
    """All that a file has, in its order; none of a picture."""
    if file.suffix == ".safetensors":
        tensors = load_file(file)
        return torch.cat([tensors[name].flatten() for name in sorted(tensors)]).tolist()
    if file.suffix == ".csv":
        return pd.read_csv(file).select_dtypes("number").to_numpy().flatten().tolist()
    return _leaves(json.loads(file.read_text())) if file.suffix == ".json" else []


def _leaves(value: Any) -> list[float]:  # noqa: ANN401 - JSON
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [leaf for part in parts for leaf in _leaves(part)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_finds_what_it_finds_on_a_cpu(
    shards: ShardSet, gpu: dict[str, str], on_cpu: Training, tmp_path: Path, name: str
) -> None:
    in_two = {**gpu, "GLOW_NPROC": "2"}  # which only evaluate heeds
    for folder, env in ((tmp_path / "cpu", ON_CPU), (tmp_path / "gpu", in_two)):
        shutil.copytree(on_cpu.folder, folder)
        call(folder, env, f"stages.{name}", str(shards.folder), "models/glow", *STAGES[name])
    assert all((tmp_path / "gpu" / output).exists() for output in STAGES[name])
    for file in [file for file in (tmp_path / "cpu").rglob("*") if file.is_file()]:
        found = numbers(tmp_path / "gpu" / file.relative_to(tmp_path / "cpu"))
        assert found == pytest.approx(numbers(file), abs=1e-3, rel=1e-3, nan_ok=True), file


def test_a_command_uses_it(gpu: dict[str, str], on_gpu: Training) -> None:
    Image.new("RGB", (8, 8), "red").save(on_gpu.folder / "face.png")
    assert "models/glow on cuda" in call(on_gpu.folder, gpu, "glow", "doctor", "face.png")


def test_the_benchmark_for_one_runs_with_it(gpu: dict[str, str], tmp_path: Path) -> None:
    command = [str(ROOT / "benchmarks" / "gpu.py"), "--dry-run", "--minutes", "30"]
    command += ["--only", "fast,deep,profile,speedrun", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *command], env={**os.environ, **gpu}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(file.read_text()) for file in tmp_path.glob("*.json")]
    assert [part["warnings"] for part in found] == [[]] * 4  # no word of graphs that do not work
    rows = [row for part in found for rows in part["tables"].values() for row in rows]
    assert not any(row.get("error") for row in rows)


def test_all_commands_pass_their_tests_with_it(gpu: dict[str, str]) -> None:
    files = [str(ROOT / "tests" / "glow" / name) for name in OF_COMMANDS]
    output = call(ROOT, gpu, "pytest", "-q", "-p", "no:cacheprovider", *files)
    assert " passed" in output
