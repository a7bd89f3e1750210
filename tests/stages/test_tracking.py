"""Tracking: what reaches MLflow of a training, its later stages, and its samples."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT
from tracked import FACTS, FINGERPRINT, OTHER, Client, history, runs

from glow.filenames import hashed
from stages import tracking
from stages.spool import spool_folders


def test_a_training_is_a_run_with_params_curves_files_and_origin(
    client: Client, project: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "deep")
    monkeypatch.setenv("GLOW_FLOW_RUN", "flow-1")
    settings = {"seed": 1, "model": {"depth": 8, "taps": [1, 2]}, "data": {"folder": {"path": ""}}}
    with tracking.training_run(FINGERPRINT, settings) as run:
        for step in range(3):
            run.metrics({"loss": 1.0 / (step + 1), "norm?": 2.0}, step=step)
        run.metrics({"final": 3.25})
        run.tags({"note": "first"})
        run.artifact(picture, "figures")
        run.image(picture, "samples/grid", step=2)

    (found,) = runs(client)
    assert (found.info.run_name, found.info.status) == ("train 01234567", "FINISHED")
    assert found.data.params == {
        "seed": "1",
        "model.depth": "8",
        "model.taps": "[1, 2]",
        "data.folder.path": "",
    }
    assert history(client, found.info.run_id, "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    changed = hashed("norm?")
    assert found.data.metrics == {"loss": 1 / 3, changed: 2.0, "final": 3.25}
    origin = {
        "glow.fingerprint": FINGERPRINT,
        "glow.dvc_experiment": "deep",
        "glow.prefect_flow_run": "flow-1",
        "note": "first",
    }
    assert origin.items() <= found.data.tags.items()
    artifacts = project / "mlartifacts" / "glow" / found.info.run_id / "artifacts"
    assert (artifacts / "figures" / "grid.png").read_bytes() == picture.read_bytes()
    images = artifacts.glob("images/samples~grid+step+2+*")
    assert {image.suffix for image in images} == {".png", ".webp"}
    assert spool_folders(project) == []


def test_where_a_run_can_be_looked_at_is_said(
    client: Client, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracking.training_run(FINGERPRINT, {}):
        pass
    with tracking.temperature_run(FINGERPRINT, 0.7, {}):
        pass
    (found,) = runs(client)
    page = f"#/experiments/{found.info.experiment_id}/runs/{found.info.run_id}"
    assert capsys.readouterr().out == f"MLflow run train 01234567: http://127.0.0.1:5000/{page}\n"


def test_the_git_revision_is_a_tag_where_there_is_one(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with tracking.training_run(OTHER, {}):
        pass
    commit = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--allow-empty"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([*commit, "-q", "-m", "first"], check=True)
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
    with tracking.training_run(FINGERPRINT, {}):
        pass
    in_git, before = runs(client)
    assert in_git.data.tags["glow.git_revision"] == head
    assert "glow.git_revision" not in before.data.tags


def test_later_stages_join_the_newest_training_of_their_fingerprint(client: Client) -> None:
    for depth in (1, 2):
        with tracking.training_run(FINGERPRINT, {"model": {"depth": depth}}) as run:
            run.metrics({"loss": 1.0}, step=1)
    with tracking.training_run(OTHER, {}):
        pass
    trained = {found.info.run_id: found for found in runs(client)}
    with tracking.same_run(FINGERPRINT) as run:
        run.metrics({"test.bits_per_dim": 3.0})
    assert len(runs(client)) == 3
    (evaluated,) = (found for found in runs(client) if "test.bits_per_dim" in found.data.metrics)
    assert evaluated.data.params == {"model.depth": "2"}
    assert evaluated.info.status == "FINISHED"
    assert evaluated.info.end_time == trained[evaluated.info.run_id].info.end_time


def test_later_stages_join_the_training_that_ended_in_their_weights(
    client: Client, model: Path
) -> None:
    facts = {"data": "a", "valid_bits_per_dim": 2.5}
    for weights in ("a" * 64, "b" * 64):
        with tracking.training_run(FINGERPRINT, {"model": {"of": weights}}) as run:
            run.model(model, weights=weights, **facts)
    for weights in ("a" * 64, "b" * 64, "c" * 64):
        with tracking.same_run(FINGERPRINT, weights=weights) as run:
            run.tags({"note": weights})
    found = runs(client)
    assert len(found) == 3
    assert all(run.data.tags["glow.weights"] == run.data.tags["note"] for run in found)
    pulled, second, first = found
    assert pulled.info.run_name == "cached model"
    assert (first.data.params["model.of"], second.data.params["model.of"]) == ("a" * 64, "b" * 64)
    version = client.search_model_versions(f"run_id = '{second.info.run_id}'")[0]
    assert version.tags["glow.weights"] == "b" * 64


def test_a_run_of_an_earlier_version_is_joined_by_its_fingerprint(client: Client) -> None:
    with tracking.training_run(FINGERPRINT, {}):
        pass
    with tracking.same_run(FINGERPRINT, weights="a" * 64) as run:
        run.metrics({"test.bits_per_dim": 3.0})
    (found,) = runs(client)
    assert found.data.metrics == {"test.bits_per_dim": 3.0}


def test_samples_of_other_weights_replace_none(client: Client) -> None:
    for weights in (None, "a" * 64, "b" * 64, "b" * 64):
        with tracking.temperature_run(FINGERPRINT, 0.7, {}, weights=weights):
            pass
    found = [run.data.tags["glow.weights"] for run in runs(client, "glow-samples")]
    assert found == ["b" * 64, "a" * 64]


def test_without_its_training_a_model_gets_a_run_that_later_stages_share(client: Client) -> None:
    for name in ("evaluate", "attributes"):
        with tracking.same_run(FINGERPRINT) as run:
            run.metrics({name: 1.0})
    (found,) = runs(client)
    assert found.info.run_name == "cached model"
    assert found.data.metrics == {"evaluate": 1.0, "attributes": 1.0}


def test_a_param_that_changed_is_warned_of_and_the_others_are_kept(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    for batch_size in (16, 32):
        with tracking.same_run(FINGERPRINT) as run:
            run.params({"batch_size": batch_size, f"new{batch_size}": 1})
    (found,) = runs(client)
    assert found.data.params == {"batch_size": "16", "new16": "1", "new32": "1"}
    assert "keeps the param batch_size = 16 of this run; now 32" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("loss"), SystemExit(143), KeyboardInterrupt()])
def test_an_error_ends_the_run_as_failed_and_goes_on(client: Client, error: BaseException) -> None:
    def train() -> None:
        with tracking.training_run(FINGERPRINT, {}) as run:
            run.metrics({"loss": 2.0}, step=1)
            raise error

    with pytest.raises(type(error)):
        train()
    (found,) = runs(client)
    assert found.info.status == "FAILED"
    assert found.data.metrics == {"loss": 2.0}


def test_rendering_again_replaces_the_run_of_the_temperature(
    client: Client, picture: Path
) -> None:
    for fingerprint, temperature, score in [
        (FINGERPRINT, 0.7, 1.0),
        (FINGERPRINT, 1.0, 2.0),
        (OTHER, 0.7, 3.0),
        (FINGERPRINT, 0.7, 4.0),
    ]:
        with tracking.temperature_run(fingerprint, temperature, {"depth": 4}) as run:
            run.metrics({"score": score})
            run.image(picture, "samples")
    found = runs(client, "glow-samples")
    assert sorted(run.data.metrics["score"] for run in found) == [2.0, 3.0, 4.0]
    params = {"temperature": "0.7", "depth": "4", "fingerprint": FINGERPRINT}
    assert params in [run.data.params for run in found]


def test_a_rendering_that_fails_replaces_nothing(client: Client) -> None:
    with tracking.temperature_run(FINGERPRINT, 0.7, {}) as run:
        run.metrics({"score": 1.0})
    with pytest.raises(OSError, match="full"), tracking.temperature_run(FINGERPRINT, 0.7, {}):
        raise OSError("disk full")
    assert [run.info.status for run in runs(client, "glow-samples")] == ["FAILED", "FINISHED"]


def test_other_ranks_do_nothing(
    project: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    before = sorted(project.iterdir())
    with tracking.training_run(FINGERPRINT, {"depth": 1}) as run:
        run.metrics({"loss": 1.0})
        run.image(picture, "samples")
    assert sorted(project.iterdir()) == before


def test_without_mlflow_a_line_says_so_and_nothing_else_happens(
    project: Path,
    picture: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    before = sorted(project.iterdir())
    for _ in range(2):
        with tracking.training_run(FINGERPRINT, {}) as run:
            run.metrics({"loss": 1.0})
            run.model(picture.parent / "nowhere", **FACTS)
    assert capsys.readouterr().err.count("mlflow is not installed") == 1
    assert sorted(project.iterdir()) == before


def test_importing_the_module_does_not_import_mlflow() -> None:
    code = "import sys, stages.tracking; sys.exit('mlflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
