"""The benchmark `cifar10`: all kinds learn by one rule, go on when killed, and compare."""

import importlib
import json
import math
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny import ROOT
from waiting import wait_for

from stages.shards import ShardSet

SIZES = {
    "glow": {"n_levels": 2, "depth": 1, "hidden_channels": 8},
    "normflows": {"n_levels": 2, "depth": 1, "hidden_channels": 8},
    "antsnormflows": {"n_levels": 2, "depth": 1, "hidden_channels": 8},
    "jet": {
        "patch_size": 2,
        "coupling_layers": 6,
        "block_depth": 1,
        "block_width": 16,
        "num_heads": 2,
    },
}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("cifar10")


@pytest.fixture(params=list(SIZES))
def contender(request: pytest.FixtureRequest, benchmark: ModuleType) -> Any:  # noqa: ANN401 - of a script
    """A small one of each kind, with Muon."""
    found = benchmark.CONTENDERS[f"{request.param}-muon"]
    if package := benchmark.missing(found):
        pytest.skip(f"needs the package {package}")
    return replace(found, size=SIZES[request.param], batch_size=8)


def test_all_kinds_learn_in_the_minutes_they_are_given(
    benchmark: ModuleType,
    contender: Any,  # noqa: ANN401 - of a script
    shards: ShardSet,
    tmp_path: Path,
) -> None:
    training = benchmark.trainings.Training(
        name=f"{contender.kind}-muon",
        contender=contender,
        shards=shards.folder,
        seconds_per_step=0.5,
        compiled=False,
        minutes=0.25,
        seed=0,
        every=0.1,
        valid_images=10,
    )
    found = benchmark.trainings.run(training, tmp_path)
    assert [point["minutes"] for point in found["curve"]] == [0.1, 0.2, 0.25]
    assert found["row"]["steps"] == 30
    assert found["row"]["test_bits_per_dim"] < 2 * shards.n_bits
    assert benchmark.trainings.run(training, tmp_path) == found  # which is whole
    with pytest.raises(ValueError, match="other settings"):
        benchmark.trainings.run(replace(training, every=0.05), tmp_path)


def test_log_density_of_other_packages_is_that_of_their_jacobian(
    benchmark: ModuleType,
    contender: Any,  # noqa: ANN401 - of a script
    shards: ShardSet,
) -> None:
    """So that their bits are counted as ours are, whose own proof stands elsewhere."""
    if contender.kind == "glow":
        pytest.skip("tests/glow shows it")
    learner = contender.learner(shards, 1, seed=0)
    flow = learner.average.double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "q0" not in name:  # which stays the standard normal
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter += 0.05 * noise

    def latents(x: torch.Tensor) -> torch.Tensor:
        if contender.kind == "jet":
            return flow.jet((2 * x).permute(0, 2, 3, 1))[0].flatten()
        return torch.cat([z.flatten() for z in flow.flow.inverse_and_log_det(x)[0]])

    x = torch.rand((1, 3, 8, 8), generator=generator, dtype=torch.float64) - 0.5
    jacobian = torch.autograd.functional.jacobian(latents, x).reshape(192, 192)
    normal = -0.5 * (latents(x).square() + math.log(2 * math.pi)).sum()
    torch.testing.assert_close(flow(x)[0], normal + torch.linalg.slogdet(jacobian)[1])


def test_resumed_is_uninterrupted(
    benchmark: ModuleType,
    contender: Any,  # noqa: ANN401 - of a script
    shards: ShardSet,
    tmp_path: Path,
) -> None:
    file = tmp_path / "state.safetensors"
    whole, first, second = (contender.learner(shards, 4, seed=0) for _ in range(3))
    for _ in range(4):
        whole.update(1.0)
    for _ in range(2):
        first.update(1.0)
    first.notes["curve"] = [1]
    first.save(file)
    assert second.resume(file)
    assert (second.step, second.notes) == (2, {"curve": [1]})
    for _ in range(2):
        second.update(1.0)
    levels, _ = shards.load("test", 4)
    bits = [sys.modules["learners"].bits(who, levels, 5, seed=0) for who in (whole, second)]
    torch.testing.assert_close(*bits, rtol=0, atol=0)


def test_muon_moves_the_matrices_of_the_networks_alone(
    benchmark: ModuleType,
    contender: Any,  # noqa: ANN401 - of a script
    shards: ShardSet,
) -> None:
    if contender.kind == "glow":
        pytest.skip("tests/glow shows it")
    learner = replace(contender, learning_rate=0.0).learner(shards, 2, seed=0)
    before = learner.weights.clone()
    for _ in range(3):  # the first gradient of all layers but the last is zero
        learner.update(1.0)
    moved, start = {}, 0
    for name, parameter in learner.flow.named_parameters():
        part = slice(start, start + parameter.numel())
        moved[name] = not torch.equal(before[part], learner.weights[part])
        start = part.stop
    networks = [name for name in moved if ".param_map." in name or ".dnn." in name]
    assert all(name in networks for name, changed in moved.items() if changed)
    kernels = [name for name, parameter in learner.flow.named_parameters() if parameter.ndim > 1]
    expected = {
        name
        for name in set(networks) & set(kernels)
        if name.endswith("weight") and not name.endswith(".pos_emb")
    }
    assert {name for name, changed in moved.items() if changed} == expected


def test_a_killed_run_goes_on_and_the_report_compares(
    benchmark: ModuleType, shards: ShardSet, tmp_path: Path
) -> None:
    name = "glow-muon"
    cost = {
        "recipe": asdict(benchmark.CONTENDERS[name]),
        "threads": 1,
        "seconds": 0.5,
        "form": "plain",
    }
    for folder in ("killed", "whole"):
        benchmark.measured.write(tmp_path / folder, {name: cost})

    def words(folder: str) -> list[str]:
        options = f"--shards {shards.folder} --out {tmp_path / folder} --minutes 0.5"
        more = "--every 0.1 --valid-images 10 --save-seconds 0"
        return ["run", name, *options.split(), *more.split()]

    script = [sys.executable, str(ROOT / "benchmarks" / "cifar10.py")]
    state = tmp_path / "killed" / f"{name}-0.5min-seed0.safetensors"
    with subprocess.Popen([*script, *words("killed")], stdout=subprocess.DEVNULL) as process:
        wait_for(state.is_file, "a first save", 120)
        process.kill()
    assert state.is_file()
    found = []
    for folder in ("killed", "whole"):
        benchmark.app(words(folder), standalone_mode=False)
        paper = tmp_path / folder / f"{name}-0.5min-seed0.json"
        found.append(json.loads(paper.read_text()))
        del found[-1]["row"]["wall_minutes"]
    assert found[0] == found[1]
    out = tmp_path / "cifar10.json"
    benchmark.cifar10_report.write(tmp_path / "killed", out)
    assert json.loads(out.read_text())["rows"][0]["contender"] == name
    assert "3.35" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").is_file()


def test_when_ours_gets_there(benchmark: ModuleType) -> None:
    values = [5.0, 4.0, 3.5]
    points = [{"minutes": n, "valid_bits_per_dim": v} for n, v in enumerate(values, 1)]
    reached = benchmark.cifar10_report.reached
    assert reached(3.75, [{"curve": points}]) == 2.5
    assert reached(6.0, [{"curve": points}]) == 1.0
    assert reached(3.0, [{"curve": points}]) is None


def test_costs_and_search_measure_and_try(
    benchmark: ModuleType, shards: ShardSet, tmp_path: Path
) -> None:
    words = ["--shards", str(shards.folder), "--out", str(tmp_path)]
    benchmark.app(["costs", "glow-adamw", *words, "--threads", "1"], standalone_mode=False)
    costs = json.loads((tmp_path / "costs.json").read_text())["contenders"]
    assert costs["glow-adamw"]["form"] == "plain"
    options = ["--minutes", "0.01", "--vary", "learning_rate=1e-3,1e-2", "--vary", "depth=1"]
    benchmark.app(["search", "glow-adamw", *words, *options], standalone_mode=False)
    rows = json.loads((tmp_path / "search-glow-adamw.json").read_text())["rows"]
    assert {row["contender"] for row in rows} == {
        "glow-adamw learning_rate=1e-3 depth=1",
        "glow-adamw learning_rate=1e-2 depth=1",
    }
