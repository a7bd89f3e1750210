"""The whole pipeline through DVC, on the tiny preset: the one real end-to-end run."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PARTS = ["glow", "stages", "pipeline", "dvc.yaml", ".dvcignore", ".gitignore"]

pytestmark = pytest.mark.slow


def call(project: Path, *command: str, code: int = 0) -> str:
    env = {**os.environ, "PYTHONPATH": str(project)}
    env.pop("MLFLOW_TRACKING_URI", None)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def dvc(project: Path, *arguments: str, code: int = 0) -> str:
    return call(project, sys.executable, "-m", "dvc", *arguments, code=code)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project in which everything was built once."""
    folder = tmp_path_factory.mktemp("project")
    for part in PARTS:
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / part)
    tiny = (ROOT / "pipeline" / "presets" / "tiny.yaml").read_text()
    tiny = tiny.replace("n_images: 600", "n_images: 200").replace("steps: 40", "steps: 20")
    (folder / "params.yaml").write_text(tiny)
    (folder / "data" / "raw").mkdir(parents=True)
    call(folder, "git", "init", "--quiet")
    dvc(folder, "init", "--quiet")
    dvc(folder, "config", "core.analytics", "false")
    dvc(folder, "repro")
    return folder


def change(project: Path, old: str, new: str) -> None:
    text = (project / "params.yaml").read_text()
    assert old in text
    (project / "params.yaml").write_text(text.replace(old, new, 1))


def ran(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def test_every_artifact_of_the_design_is_there(project: Path) -> None:
    report = json.loads((project / "results/evaluate.json").read_text())
    for split in ("train", "valid", "test"):
        assert report[split]["non_finite"] == 0
        assert 0 < report[split]["bits_per_dim"] < 8
        assert report[split]["reconstruction_error_steps"] < 0.5
    images = json.loads((project / "data/shards/dataset.json").read_text())["splits"]
    rows = list(csv.DictReader((project / "results/likelihoods.csv").open()))
    assert len(rows) == min(images["train"]["count"], 64) + sum(
        images[split]["count"] for split in ("valid", "test")
    )
    assert len(list(csv.DictReader((project / "results/attributes.csv").open()))) == 10
    grid = Image.open(project / "results/samples/temperatures.png")
    assert grid.getextrema() != ((0, 0), (0, 0), (0, 0))
    assert (project / "models/glow/model.safetensors").stat().st_size > 1000
    assert (project / "models/attributes.safetensors").is_file()
    assert (project / "results/samples/interpolation.png").is_file()


def test_the_runs_of_mlflow_can_be_compared(project: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    found = {
        name: client.search_runs([client.get_experiment_by_name(name).experiment_id])
        for name in ("glow", "glow-samples")
    }
    (training,) = found["glow"]
    trained = json.loads((project / "results/train.json").read_text())
    drawn = json.loads((project / "results/samples.json").read_text())
    assert {run.info.run_name for run in found["glow-samples"]} == {
        f"depth 2, T = {temperature}" for temperature in drawn
    }
    for run in found["glow-samples"]:
        params, metrics = run.data.params, run.data.metrics
        assert (params["depth"], params["train_steps"]) == ("2", "20")
        number = {"valid_bits_per_dim": trained["valid_bits_per_dim"]}
        assert metrics == drawn[f"{float(params['temperature']):g}"] | number
        images = client.list_artifacts(run.info.run_id, "images")
        assert {entry.path.partition("+")[0] for entry in images} == {"images/samples"}

    curve = client.get_metric_history(training.info.run_id, "valid_bits_per_dim")
    assert [point.step for point in curve] == [20]
    evaluated = json.loads((project / "results/evaluate.json").read_text())
    number = training.data.metrics["evaluate/valid_bits_per_dim"]
    assert number == evaluated["valid"]["bits_per_dim"]


def test_a_second_repro_does_nothing(project: Path) -> None:
    assert ran(dvc(project, "repro")) == []


def test_what_is_deleted_comes_back(project: Path) -> None:
    before = (project / "models/glow/model.safetensors").read_bytes()
    shutil.rmtree(project / "models")
    dvc(project, "checkout")
    assert (project / "models/glow/model.safetensors").read_bytes() == before


def test_a_stage_again_gives_the_same_bytes(project: Path) -> None:
    kept = [
        "data/shards/dataset.json",
        "models/glow/model.safetensors",
        "results/train.json",
        "results/curves.csv",
        "results/evaluate.json",
        "results/samples/temperatures.png",
        "models/attributes.safetensors",
    ]
    before = {name: (project / name).read_bytes() for name in kept}
    dvc(project, "repro", "--force")
    assert {name: (project / name).read_bytes() for name in kept} == before


def test_temperatures_rebuild_the_samples_alone(project: Path) -> None:
    change(project, "temperatures: [0.0, 0.7, 1.0]", "temperatures: [0.0, 0.5]")
    assert ran(dvc(project, "repro")) == ["samples"]
    names = {file.name for file in (project / "results/samples").iterdir()}
    assert names == {
        "temperature-0.00.png",
        "temperature-0.50.png",
        "temperatures.png",
        "interpolation.png",
    }


def test_depth_rebuilds_training_and_what_follows(project: Path) -> None:
    change(project, "depth: 2", "depth: 1")
    assert ran(dvc(project, "repro", "train")) == ["train"]
    stale = json.loads(dvc(project, "status", "--json"))
    assert set(stale) == {"evaluate", "attributes", "samples"}


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("depth: 1", "dept: 1", "error: params.yaml: model.dept is not a known key"),
        ("batch_size: 16", "batch_size: 5000", "fewer than train.batch_size = 5000"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    project: Path, old: str, new: str, line: str
) -> None:
    kept = (project / "params.yaml").read_text()
    change(project, old, new)
    paths = ["data/shards", "out/model", "out/train.json", "out/curves.csv"]
    output = call(project, sys.executable, "-m", "stages.train", *paths, code=2)
    (project / "params.yaml").write_text(kept)
    assert line in output
    assert "Traceback" not in output
    assert not (project / "out/model").exists()
