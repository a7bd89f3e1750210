"""A training as a user starts it, tracked: what MLflow has of it, also when its server dies."""

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ports import free_port
from tiny import ROOT
from tracked import Client, connect, history, mlflow_server, runs
from training import Training
from waiting import wait_for

from glow.weights import weights_hash
from stages import machine
from stages.machine import Machine
from stages.run import Run
from stages.shards import ShardSet
from stages.spool import SPOOLS, spool_folders

pytestmark = [pytest.mark.server, pytest.mark.slow]

STEPS, VALID_EVERY = 200, 5
LOAD = {
    "system/cpu_utilization_percentage",
    "system/system_memory_usage_megabytes",
    "system/disk_usage_percentage",
}


def test_a_server_that_is_killed_during_a_training_has_all_of_it_after_a_replay(
    shards: ShardSet, tmp_path: Path
) -> None:
    training = Training.new(
        tmp_path / "a", shards.folder, **{"train.steps": STEPS, "train.valid_every": VALID_EVERY}
    )
    (training.folder / "dvc.lock").write_text("schema: '2.0'\n")
    port = free_port()
    environment = {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}

    with mlflow_server(port, tmp_path / "server") as client:
        process = training.start(**environment)
        wait_for(lambda: runs(client), "the run is on the server", 60.0)
        training.wait_for(10, process)
        assert process.poll() is None
        (before,) = runs(client)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert output.count("`python -m stages.tracking replay` sends it later") == 1
    assert all(training.contents().values())
    assert len(spool_folders(training.folder)) == 1

    command = [sys.executable, "-m", "stages.tracking", "replay"]
    with mlflow_server(port, tmp_path / "server") as client:
        replayed = subprocess.run(
            command,
            cwd=training.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert replayed.returncode == 0, replayed.stderr
        assert replayed.stdout.startswith("sent: train ")
        assert "glow version 1 is the champion, as the first one" in replayed.stderr
        check_complete(client, before.info.run_id, training, shards)
    assert not spool_folders(training.folder), list((training.folder / SPOOLS).iterdir())


def test_the_run_of_a_training_that_goes_on_has_the_whole_curve(
    shards: ShardSet, tmp_path: Path
) -> None:
    training = Training.new(tmp_path / "a", shards.folder)
    tracked = {"PYTHONPATH": str(ROOT)}
    process = training.start(log=tmp_path / "log", **tracked)
    training.wait_for(12, process)
    process.terminate()
    assert process.wait(60) == 143
    assert "goes on from step" in training.finish(**tracked)

    client = connect(f"sqlite:///{training.folder / 'mlflow.db'}")
    newest, first = runs(client)
    assert [newest.info.status, first.info.status] == ["FINISHED", "FAILED"]
    steps = [step for step, _ in history(client, newest.info.run_id, "valid_bits_per_dim")]
    assert steps == list(range(5, 41, 5))
    before = history(client, first.info.run_id, "bits_per_dim")
    assert before == history(client, newest.info.run_id, "bits_per_dim")[: len(before)]


def check_complete(client: Client, run_id: str, training: Training, shards: ShardSet) -> None:
    """What a training reports from its beginning to its end."""
    (found,) = runs(client)
    assert (found.info.run_id, found.info.status) == (run_id, "FINISHED")
    assert found.data.params["train.steps"] == str(STEPS)
    curve = history(client, run_id, "valid_bits_per_dim")
    assert [step for step, _ in curve] == list(range(VALID_EVERY, STEPS + 1, VALID_EVERY))
    results = json.loads((training.folder / "results/train.json").read_text())
    assert curve[-1][1] == pytest.approx(results["valid_bits_per_dim"], abs=1e-6)

    assert found.data.metrics.keys() >= LOAD
    assert 0.0 < found.data.metrics["system/cpu_utilization_percentage"] <= 100.0
    lock = sha256((training.folder / "dvc.lock").read_bytes()).hexdigest()
    assert found.data.tags["glow.dvc_lock"] == lock

    (used,) = found.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("avatars", shards.checksum[:36])
    profile = json.loads(used.dataset.profile)
    assert (profile["num_rows"], profile["image_size"]) == (96, 8)
    assert len(used.dataset.profile) < 10_000
    papers = {artifact.path for artifact in client.list_artifacts(run_id, "dataset")}
    assert papers == {f"dataset/{name}" for name in ("dataset.json", "duplicates.csv", "figures")}

    version = client.get_model_version_by_alias("glow", "champion")
    assert (version.run_id, version.tags["glow.data"]) == (run_id, shards.checksum)
    assert float(version.tags["glow.valid_bits_per_dim"]) == pytest.approx(curve[-1][1], abs=1e-6)
    assert found.data.tags["glow.fingerprint"] == version.tags["glow.fingerprint"]
    weights = weights_hash(training.folder / "models/glow")
    assert found.data.tags["glow.weights"] == version.tags["glow.weights"] == weights


def test_the_load_of_gpus_is_reported_as_far_as_the_driver_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(gpu: object) -> None:
        raise RuntimeError("Not Supported")

    driver = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(used=2e9, total=8e9),
        nvmlDeviceGetUtilizationRates=refuse,
        nvmlDeviceGetPowerUsage=lambda gpu: 350_000,
        nvmlDeviceGetEnforcedPowerLimit=lambda gpu: 700_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr(machine, "SECONDS", 0.01)
    seen: list[dict[str, Any]] = []
    with Machine(Run(lambda operation, files=None: seen.append(operation))) as watched:

        def has_reported() -> bool:
            watched.report()
            return len(seen) > 2

        wait_for(has_reported, "three looks at the machine")
    values = seen[-1]["values"]
    assert values["system/gpu_0_memory_usage_percentage"] == 25.0
    assert values["system/gpu_0_power_usage_percentage"] == 50.0
    assert "system/gpu_0_utilization_percentage" not in values
    assert [operation["step"] for operation in seen] == list(range(len(seen)))
    taken = [operation["time"] for operation in seen]
    assert taken == sorted(taken)
