"""The report can't flatter: what overflows is counted, and every number is what it says."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from tiny import ROOT, SMALL, tiny

from glow import Glow, GlowConfig, dequantize, save_glow
from glow.weights import weights_hash
from stages.likelihood import Likelihood, measure
from stages.shards import ShardSet
from stages.without_twins import without_twins

SCORES = ["bits_per_dim", "corrected_bits", "typicality", "norm", "norm_1", "norm_2"]
TABLES = ["results/likelihoods.csv", "results/scores.csv"]
CHANGES = {"evaluate.n_dequantizations": 4, "evaluate.batch_size": 4}
OUTS = ["results/evaluate.json", *TABLES, "results/evaluate"]


def new_glow(shards: ShardSet) -> Glow:
    torch.manual_seed(0)
    config = GlowConfig(
        image_size=shards.image_size,
        n_bits=shards.n_bits,
        n_levels=2,
        depth=2,
        hidden_channels=8,
        min_scale=0.3,
    )
    glow = Glow(config)
    levels, _ = shards.load("train")
    glow.initialize(dequantize(levels, config.n_bits, torch.Generator().manual_seed(0)))
    return glow.eval()


def evaluated(
    folder: Path, shards: ShardSet, glow: Glow, code: int, processes: int = 1
) -> tuple[dict, str]:
    save_glow(glow, folder / "model", about={"fingerprint": "0" * 16})
    save_glow(glow, folder / "model" / "raw", about={"fingerprint": "0" * 16})
    params = tiny(**SMALL, **CHANGES).model_dump()
    with (folder / "params.yaml").open("w") as stream:
        YAML().dump(params, stream)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    env["GLOW_NPROC"] = str(processes)
    env["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    command = [sys.executable, "-m", "stages.evaluate", str(shards.folder), "model", *OUTS]
    done = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads((folder / OUTS[0]).read_text()), done.stderr


def test_the_report_names_all_of_it(tmp_path: Path, shards: ShardSet) -> None:
    report, printed = evaluated(tmp_path, shards, new_glow(shards), 0)
    for split in ("train", "valid", "test"):
        about = report[split]
        bounds = list(about["importance_weighted"].values())
        assert list(about["importance_weighted"]) == ["1", "2", "4"]
        assert bounds[2] <= bounds[1] <= bounds[0] + 1e-6
        assert bounds[2] <= about["bits_per_dim"] < 8
        assert about["non_finite"] == about["raw_non_finite"] == 0
        assert about["raw_bits_per_dim"] == pytest.approx(about["bits_per_dim"], abs=0.1)
        assert about["reconstruction_error_steps"] < 0.5
    test = report["test"]["bits_per_dim"]
    parts = sum(level["log_det"] + level["prior"] for level in report["levels"])
    assert shards.n_bits + parts == pytest.approx(test, abs=1e-4)
    assert report["gap"]["bits_per_dim"] == pytest.approx(
        test - report["train"]["bits_per_dim"], abs=1e-5
    )
    assert report["data"] == shards.checksum
    assert report["weights"] == weights_hash(tmp_path / "model")
    assert set(report["round_trip_steps"]) == {"noise", "samples"}
    assert f"{test:.3f}" in printed
    alone = report["test"]["without_twins"]
    twins = pd.read_csv(shards.folder / "duplicates.csv")
    twins = twins[(twins["split"] == "test") & (twins["twin_split"] == "train")]
    assert alone["n_images"] == report["test"]["n_images"] - twins["image"].nunique()
    for name in ("histogram", "extremes", "scores", "oddest", "typical"):
        assert Image.open(tmp_path / OUTS[3] / f"{name}.png").width > 100
    panels = np.asarray(Image.open(tmp_path / OUTS[3] / "scores.png").convert("RGB"))
    coloured = np.ptp(panels, axis=2) > 60
    assert coloured.sum() > 200 * len(SCORES), "panels are empty"
    likelihoods, scores = (pd.read_csv(tmp_path / table) for table in TABLES)
    held_out = likelihoods[likelihoods["split"] != "train"].reset_index(drop=True)
    pd.testing.assert_frame_equal(scores[list(held_out)], held_out)
    assert set(report["false_alarms"]) == set(SCORES)
    for name in SCORES:
        valid, test = (scores[scores["split"] == split] for split in ("valid", "test"))
        count, percentile = len(valid), f"{name}_percentile"
        # the oddest of the calibration's own has all others below it
        assert valid[percentile].max() == pytest.approx(100 * (count - 1) / (count + 1))
        alarms = (test[percentile] > 95).mean()
        assert report["false_alarms"][name] == pytest.approx(alarms, abs=1e-6)


@pytest.mark.slow
def test_two_processes_measure_every_image_once(tmp_path: Path, shards: ShardSet) -> None:
    glow = new_glow(shards)
    reports = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        reports.append(evaluated(folder, shards, glow, 0, processes)[0])
    batches = [-(-reports[0][split]["n_images"] // 4) for split in ("train", "valid", "test")]
    assert any(number % 2 for number in batches), "all splits are shared evenly"
    assert reports[1] == reports[0]
    tables = [(tmp_path / str(n) / OUTS[1]).read_bytes() for n in (1, 2)]
    assert tables[1] == tables[0]


def test_a_broken_model_is_reported_and_fails_the_stage(tmp_path: Path, shards: ShardSet) -> None:
    glow = new_glow(shards)
    with torch.no_grad():
        glow.levels[0].steps.bijections[1].coupling.conditioner.weight2[0, 0] = torch.inf
    report, printed = evaluated(tmp_path, shards, glow, 1)
    for split in ("train", "valid", "test"):
        assert report[split]["non_finite"] == report[split]["n_images"] > 0
        assert report[split]["bits_per_dim"] is None
    last = printed.strip().splitlines()[-1]
    assert "not finite" in last
    assert "Traceback" not in printed


def test_one_image_that_overflows_is_counted_and_not_averaged_away() -> None:
    draws = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, torch.inf]], dtype=torch.float64)
    found = Likelihood(draws, *torch.zeros(3, 1, 3), n_dims=12)
    assert found.non_finite == 1
    assert found.mean_and_error() == (None, None)
    assert found.importance_weighted() == {"1": None, "2": None}


def test_the_bound_of_several_draws_is_the_mean_of_their_densities() -> None:
    draws = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    found = Likelihood(draws, *torch.zeros(3, 1, 1), n_dims=3)
    expected = -math.log2((2**-3 + 2**-6) / 2) / 3
    assert found.importance_weighted() == {"1": 1.5, "2": pytest.approx(expected, abs=1e-6)}
    assert found.mean_and_error() == (1.5, 0.0)


def test_every_image_counts_once_whatever_the_batch(shards: ShardSet) -> None:
    glow = new_glow(shards)
    levels, _ = shards.load("train")
    means = {
        size: measure(
            glow,
            levels,
            None,
            n_draws=20,
            batch_size=size,
            generator=torch.Generator().manual_seed(0),
        ).bits
        for size in (7, 1000)
    }
    assert means[7].shape == means[1000].shape == (len(levels),)
    torch.testing.assert_close(means[7], means[1000], rtol=0, atol=0.1)


def test_images_with_a_twin_among_those_trained_on_are_left_out(
    tmp_path: Path, shards: ShardSet
) -> None:
    own = ShardSet(tmp_path, shards.manifest)
    draws = torch.tensor([[1.0, 2.0, 6.0], [1.0, 4.0, 6.0]], dtype=torch.float64)
    found = Likelihood(draws, *torch.zeros(3, 1, 3), n_dims=12)
    assert without_twins(own, "test", ["a", "b", "c"], found) == {}, "older shards tell nothing"
    rows = ["a,test,x,train", "a,test,c,test", "b,test,y,valid", "c,valid,x,train"]
    lines = ["image,split,twin,twin_split,kind,likeness", *(f"{row},near,0.9" for row in rows)]
    (tmp_path / "duplicates.csv").write_text("\n".join(lines))
    assert without_twins(own, "test", ["a", "b", "c"], found)["without_twins"] == {
        "bits_per_dim": 4.5,
        "standard_error": 1.5,
        "n_images": 2,
    }
    only = Likelihood(draws[:, :1], *torch.zeros(3, 1, 1), n_dims=12)
    assert without_twins(own, "test", ["a"], only)["without_twins"] == {
        "bits_per_dim": None,
        "standard_error": None,
        "n_images": 0,
    }
