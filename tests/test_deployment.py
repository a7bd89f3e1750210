"""Operated by name on a machine with an empty home: started, watched, queued, cancelled, swept."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest
from ports import free_port
from waiting import wait_for

ROOT = Path(__file__).resolve().parents[1]
PARTS = ["glow", "stages", "pipeline", "dvc.yaml", ".dvcignore", ".gitignore", "pyproject.toml"]
STAGES = ["preprocess", "train", "evaluate", "attributes", "samples"]
PREFECT, DVC = [sys.executable, "-m", "prefect"], [sys.executable, "-m", "dvc"]
SMALL = {"data.avatars.n_images": 200, "train.steps": 20}

pytestmark = [pytest.mark.server, pytest.mark.slow]


@dataclass
class Site:
    """A checkout of the project, and a user in it who has set up nothing."""

    folder: Path
    env: dict[str, str]
    url: str

    def call(self, *command: str, code: int = 0) -> str:
        """What a command prints, in the checkout."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def deploy(self, name: str, *options: str, **parameters: Any) -> list[str]:  # noqa: ANN401
        """`prefect deployment run` of a name, as typed."""
        given = [f"{key}={json.dumps(value)}" for key, value in parameters.items()]
        flags = [word for text in given for word in ("-p", text)]
        return [*PREFECT, "deployment", "run", name, *options, *flags]

    def api(self, path: str, **body: Any) -> Any:  # noqa: ANN401 - JSON
        """An answer of the server."""
        request = Request(f"{self.url}/{path}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=10.0) as reply:
            return json.load(reply)

    def runs(self, name: str | None = None) -> list[dict[str, Any]]:
        """Flow runs, newest first."""
        found: list[dict[str, Any]] = self.api("flow_runs/filter", sort="EXPECTED_START_TIME_DESC")
        return [run for run in found if name in (None, run["name"])]

    def content(self) -> dict[str, str]:
        """Digests of params.yaml, dvc.lock and the outputs."""
        files = [self.folder / "params.yaml", self.folder / "dvc.lock"]
        for name in ("data/shards", "models", "results"):
            files += sorted((self.folder / name).rglob("*"))
        return {
            file.relative_to(self.folder).as_posix(): sha256(file.read_bytes()).hexdigest()
            for file in files
            if file.is_file()
        }

    def processes(self) -> list[psutil.Process]:
        """DVC and the stages, while they work in this checkout."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = process.info["cmdline"] or []
            ours = str(process.info["cwd"] or "").startswith(str(self.folder))
            if ours and any(word == "dvc" or word.startswith("stages.") for word in words):
                found.append(process)
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With `python -m pipeline up` in the background, on a port of its own."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    port = free_port()
    settings = (folder / "pyproject.toml").read_text()
    assert "http://127.0.0.1:4200/api" in settings
    (folder / "pyproject.toml").write_text(settings.replace(":4200/", f":{port}/"))
    shutil.copy(ROOT / "pipeline/presets/tiny.yaml", folder / "params.yaml")
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/README.md").touch()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {"HOME": str(home), "PATH": path, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    site = Site(folder, env, f"http://127.0.0.1:{port}/api")
    site.call("git", "init", "--quiet")
    site.call(*DVC, "init", "--quiet")
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    for metrics in ("attributes.csv", "curves.csv", "evaluate.json", "samples.json", "train.json"):
        (folder / "results").mkdir(exist_ok=True)
        (folder / "results" / metrics).touch()  # in git, as here
    site.call("git", "add", "--all")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    site.call("git", *identity, "commit", "--quiet", "-m", "first")

    with (home / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "up"],
            cwd=folder,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        told = home / "up.log"
        wait_for(lambda: "glow/sweep" in told.read_text() or up.poll() is not None, "up", 120.0)
        assert up.poll() is None, told.read_text()
        yield site
    finally:
        up.terminate()
        up.wait()
        site.call(*PREFECT, "server", "stop")


def test_a_run_by_name_brings_params_in_and_results_out(site: Site) -> None:
    overrides = {**SMALL, "model.depth": 1, "samples.temperatures": [0.5, 0.9]}
    told = site.call(*site.deploy("glow/train", "--watch", overrides=overrides, keep=True))
    assert "finished successfully" in told

    (run,) = site.runs()
    tasks = site.api("task_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})
    assert sorted(task["name"] for task in tasks) == sorted(STAGES)
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    assert "  depth: 1\n" in (site.folder / "params.yaml").read_text()
    experiments = json.loads(site.call(*DVC, "exp", "show", "--json"))
    (saved,) = [
        exp
        for base in experiments
        for found in base["experiments"] or []
        for exp in found["revs"]
        if found["name"] == run["name"]
    ]
    assert saved["data"]["params"]["params.yaml"]["data"]["model"]["depth"] == 1
    metrics = saved["data"]["metrics"]["results/evaluate.json"]["data"]
    bits = json.loads((site.folder / "results/evaluate.json").read_text())["test"]["bits_per_dim"]
    tracked = _mlflow(site)
    (training,) = tracked["glow"]
    assert training["params"]["model.depth"] == "1"
    assert (
        training["metrics"]["evaluate/test_bits_per_dim"]
        == bits
        == metrics["test"]["bits_per_dim"]
    )
    assert sorted(run["params"]["temperature"] for run in tracked["glow-samples"]) == [
        "0.5",
        "0.9",
    ]
    artifacts = {artifact["key"] for artifact in site.api("artifacts/filter")}
    assert {"evaluate-evaluate-metrics", "samples-temperatures"} <= artifacts


def test_a_stage_that_fails_says_why_on_the_screen(site: Site) -> None:
    before = site.content()
    wrong = {"data.source": "folder", "data.folder.path": "data/raw"}
    command = site.deploy("glow/train", "--watch", overrides=wrong)
    told = site.call(*command, code=1)
    assert "error: data/raw: expected images" in " ".join(told.split())
    assert "Traceback" not in told
    assert site.content() == before  # so that a run without overrides, as on Mondays, does nothing
    told = site.call(*site.deploy("glow/train", "--watch"))
    assert "finished successfully" in told
    assert told.count("didn't change, skipping") == len(STAGES)


def test_a_second_run_queues_and_a_cancelled_one_is_gone_in_seconds(site: Site) -> None:
    before, endless = site.content(), {"train.steps": 1_000_000}
    site.call(*site.deploy("glow/train", "--flow-run-name", "endless", overrides=endless))
    wait_for(lambda: any("stages.train" in p.cmdline() for p in site.processes()), "train", 60.0)
    with subprocess.Popen(
        site.deploy("glow/train", "--watch", "--flow-run-name", "second", overrides=SMALL),
        cwd=site.folder,
        env=site.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as second:
        wait_for(lambda: _state(site, "second") == "AwaitingConcurrencySlot", "it queues", 60.0)
        (run,) = site.runs("endless")
        busy = site.call(*DVC, "repro", "train", code=255)
        assert "is busy, it is being blocked by" in busy
        training = [p for p in site.processes() if "stages.train" in p.cmdline()]
        began = time.monotonic()
        site.call(*PREFECT, "flow-run", "cancel", run["id"])
        psutil.wait_procs(training, timeout=10.0)
        assert not any(process.is_running() for process in training)
        assert time.monotonic() - began < 10.0 + 10.0  # the command itself takes some
        wait_for(lambda: _state(site, "endless") == "Cancelled", "it is cancelled", 30.0)
        told, _ = second.communicate(timeout=120.0)
    assert second.returncode == 0, told
    assert site.content() == before
    assert site.call(*DVC, "status").strip().endswith("Data and pipelines are up to date.")


def test_a_sweep_is_a_run_per_point_of_the_other_deployment(site: Site) -> None:
    grid = {"samples.n_images": [4, 9]}
    sweep = site.deploy("glow/sweep", "--watch", grid=grid, deployment="glow/train")
    told = site.call(*sweep)
    assert "finished successfully" in told
    points = [run for run in site.runs() if "n_images=" in run["name"]]
    assert sorted(run["parameters"]["overrides"]["samples.n_images"] for run in points) == [4, 9]
    names = {run["name"] for run in points}
    assert names <= set(site.call(*DVC, "exp", "list", "--name-only").split())


def test_a_sweep_here_leaves_every_output_as_it_was(site: Site) -> None:
    before = site.content()
    told = site.call(sys.executable, "-m", "pipeline", "sweep", "-S", "samples.n_images=5,6")
    assert "all 2 points" in told
    assert site.content() == before
    assert site.call(*DVC, "status").strip().endswith("Data and pipelines are up to date.")
    experiments = site.call(*DVC, "exp", "list", "--name-only").split()
    assert {name[-10:] for name in experiments} >= {"n_images=5", "n_images=6"}


def test_an_event_retrains(site: Site) -> None:
    before = len(site.runs())
    site.call(*PREFECT, "event", "emit", "glow.data.changed", "--resource-id", "glow.data")
    wait_for(lambda: len(site.runs()) > before, "a run is started", 60.0)
    wait_for(lambda: site.runs()[0]["state_type"] == "COMPLETED", "and completed", 90.0)
    assert len(site.runs()) == before + 1


def _state(site: Site, name: str) -> str | None:
    found = site.runs(name)
    state: str | None = found[0]["state_name"] if found else None
    return state


def _mlflow(site: Site) -> dict[str, list[dict[str, Any]]]:
    """The runs of every experiment, read as a user would: with MLflow."""
    import mlflow

    client: Any = mlflow.MlflowClient(f"sqlite:///{site.folder / 'mlflow.db'}")
    return {
        experiment.name: [
            {"params": run.data.params, "metrics": run.data.metrics}
            for run in client.search_runs([experiment.experiment_id])
        ]
        for experiment in client.search_experiments()
    }
