"""Tracking: nothing which happens to MLflow loses a run, sends it twice, or stops a stage."""

import math
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from ports import free_port
from tiny import ROOT
from tracked import (
    FACTS,
    FINGERPRINT,
    LOSS,
    Client,
    connect,
    history,
    left_behind,
    mlflow_server,
    replay,
    runs,
)

from stages import delivery, tracking
from stages.shards import ShardSet
from stages.spool import SPOOLS, Spool, spool_folders


def test_a_spool_that_cannot_be_made_is_warned_of(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / ".cache").write_text("a file, not a folder")
    with tracking.training_run(FINGERPRINT, {}) as run:
        run.metrics({"loss": 1.0})
    assert capsys.readouterr().err.count("this stage is not tracked") == 1


def test_a_file_that_is_not_there_does_not_stop_the_run(
    client: Client, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracking.training_run(FINGERPRINT, {}) as run:
        run.artifact(project / "missing.csv")
        run.metrics({"loss": 1.0})
    assert "missing.csv" in capsys.readouterr().err
    assert runs(client)[0].data.metrics == {"loss": 1.0}


def test_what_mlflow_refuses_is_warned_of_and_the_rest_is_sent(
    client: Client, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracking.training_run(FINGERPRINT, {}) as run:
        client.delete_run(runs(client)[0].info.run_id)
        run.tags({"note": "to a run that a user has deleted"})
    assert "MLflow refuses some tags of this run" in capsys.readouterr().err
    assert spool_folders(project) == []


def test_a_training_that_was_killed_is_replayed_as_failed(client: Client, project: Path) -> None:
    spool = left_behind(project, LOSS)
    with (spool.folder / "operations.jsonl").open("ab") as stream:
        stream.write(b'\n{"kind": "metr')
    status, output = replay()
    assert (status, "train 01234567" in output) == (0, True)
    (found,) = runs(client)
    assert (found.info.status, found.data.metrics) == ("FAILED", {"loss": 2.5})
    assert replay() == (0, f"nothing to send: no run waits in {project / SPOOLS}\n")


def test_a_run_that_the_server_lost_is_sent_again_from_its_beginning(
    client: Client, project: Path
) -> None:
    spool = left_behind(project, LOSS)
    spool.run_id = "f" * 32
    spool.mark_sent(1)
    assert replay()[0] == 0
    assert runs(client)[0].data.metrics == {"loss": 2.5}


def test_replay_leaves_a_stage_that_runs_alone(client: Client) -> None:
    with tracking.training_run(FINGERPRINT, {}) as run:
        status, output = replay()
        run.metrics({"loss": 1.0})
    assert (status, "still running" in output) == (0, True)
    assert [found.info.status for found in runs(client)] == ["FINISHED"]


def test_the_next_stage_sends_the_training_first_and_joins_it(
    client: Client, project: Path
) -> None:
    left_behind(project, LOSS)
    with tracking.same_run(FINGERPRINT) as run:
        run.metrics({"test.bits_per_dim": 3.0})
    (found,) = runs(client)
    assert found.data.metrics == {"loss": 2.5, "test.bits_per_dim": 3.0}


def test_sending_can_break_off_anywhere_and_nothing_is_there_twice(
    client: Client,
    project: Path,
    picture: Path,
    model: Path,
    shards: ShardSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server does each operation, and then this process dies before it notes that."""
    mark_sent = Spool.mark_sent

    def die(spool: Spool, count: int) -> None:
        raise ConnectionError("died")

    monkeypatch.setattr(Spool, "mark_sent", die)
    with tracking.training_run(FINGERPRINT, {"depth": 4}) as run:
        run.metrics({"loss": 1.0}, step=1)
        run.metrics({"loss": 0.5}, step=2)
        run.image(picture, "samples")
        run.dataset(shards.folder, shards.manifest)
        run.model(model, **FACTS)
        run.attribute_vectors(model / "model.safetensors")
    for _ in range(20):  # more often than there are operations
        survived = False

        def die_second(spool: Spool, count: int) -> None:
            nonlocal survived
            if survived:
                raise ConnectionError("died")
            survived = True
            mark_sent(spool, count)

        monkeypatch.setattr(Spool, "mark_sent", die_second)
        if replay()[0] == 0:
            break
    assert spool_folders(project) == []

    (found,) = runs(client)
    assert (found.info.status, found.data.params) == ("FINISHED", {"depth": "4"})
    assert history(client, found.info.run_id, "loss") == [(1, 1.0), (2, 0.5)]
    assert len(client.list_artifacts(found.info.run_id, "images")) == 2
    assert [used.dataset.digest for used in found.inputs.dataset_inputs] == [shards.checksum[:36]]
    assert len(client.search_logged_models([found.info.experiment_id])) == 1
    (version,) = client.search_model_versions("name = 'glow'")
    assert client.get_model_version_by_alias("glow", "champion").version == version.version


def test_two_processes_can_make_the_store_at_once(project: Path) -> None:
    code = f"""
import sys, mlflow
from stages import tracking
print("ready", flush=True)
sys.stdin.readline()
with tracking.training_run("{FINGERPRINT}", {{"depth": 1}}) as run:
    run.metrics({{"loss": 1.0}})
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    found = runs(connect(f"sqlite:///{project / 'mlflow.db'}"))
    assert [run.info.status for run in found] == ["FINISHED", "FINISHED"]


def test_a_server_that_does_not_answer_costs_a_timeout_once_per_process(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{address}")
        started = time.monotonic()
        for temperature in (0.5, 0.7, 1.0):
            with tracking.temperature_run(FINGERPRINT, temperature, {}) as run:
                run.metrics({"score": 1.0})
        assert time.monotonic() - started < 5.0
    (line,) = capsys.readouterr().err.splitlines()
    assert f"MLflow at http://{address} fails (timed out)" in line
    assert "`python -m stages.tracking replay` sends it later" in line
    folders = spool_folders(project)
    assert len(folders) == 3
    assert not [
        file for folder in folders for file in folder.iterdir() if b"secret" in file.read_bytes()
    ]


@pytest.mark.server
def test_a_server_that_dies_halfway_loses_nothing(
    project: Path,
    picture: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(delivery, "SEND_SECONDS", 0.0)
    monkeypatch.setattr(delivery, "MAX_SHARE", 1e9)
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")

    with mlflow_server(port, project / "server") as client:
        training = tracking.training_run(FINGERPRINT, {"depth": 4, "path": ""})
        run = training.__enter__()
        run.metrics({"loss": 0.0, "nan": math.nan, "inf": math.inf}, step=0)
        (before,) = runs(client)
        assert before.data.metrics["loss"] == 0.0
    for step in range(1, 200):
        run.metrics({"loss": float(step)}, step=step)
    run.artifact(model, "checkpoint")
    run.image(picture, "samples", step=199)
    run.model(model, **FACTS)
    training.__exit__(None, None, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert "Connection refused" in line
    status, output = replay()
    assert (status, output.count("\n")) == (1, 1)
    assert "Connection refused" in output

    with mlflow_server(port, project / "server") as client:
        status, output = replay()
        assert (status, output.count("sent: train 01234567")) == (0, 1)
        (after,) = runs(client)
        run_id = after.info.run_id
        assert (run_id, after.info.status) == (before.info.run_id, "FINISHED")
        assert after.data.params == {"depth": "4", "path": ""}
        assert history(client, run_id, "loss") == [(step, float(step)) for step in range(200)]
        assert math.isnan(after.data.metrics["nan"])
        assert after.data.metrics["inf"] == sys.float_info.max
        artifacts = {entry.path for entry in client.list_artifacts(run_id, "checkpoint/glow")}
        assert artifacts == {
            f"checkpoint/glow/{name}" for name in ("config.json", "model.safetensors")
        }
        assert len(client.list_artifacts(run_id, "images")) == 2
        assert client.get_model_version_by_alias("glow", "champion").run_id == run_id
    assert spool_folders(project) == []
