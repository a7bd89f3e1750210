"""Tracking: what reaches MLflow, and that nothing which happens to MLflow loses or stops a run."""

import base64
import io
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from glow import Glow, GlowConfig, save_glow
from stages import delivery, tracking
from stages.spool import SPOOLS, Spool, spool_folders

for setting in tracking.SETTINGS.items():
    os.environ.setdefault(*setting)
mlflow = pytest.importorskip("mlflow")

Client = Any  # mlflow is untyped
ROOT = Path(__file__).resolve().parents[2]
FINGERPRINT = "0123456789abcdef"
OTHER = "fedcba9876543210"


LOSS = {"kind": "metrics", "values": {"loss": 2.5}, "step": 7}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store without runs; making its tables takes seconds."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    tracking._connect(f"sqlite:///{file}")
    return file.read_bytes()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to track into, in a process that has not tracked before."""
    for name in ("MLFLOW_TRACKING_URI", "RANK", "DVC_EXP_NAME", "PREFECT__FLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    as_a_new_process()
    return tmp_path


@pytest.fixture
def client(project: Path, empty_database: bytes) -> Client:
    """Reads the project's own store."""
    (project / "mlflow.db").write_bytes(empty_database)
    return connect(f"sqlite:///{project / 'mlflow.db'}")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "grid.png"
    Image.new("RGB", (20, 10), "red").save(file)
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    glow = Glow(GlowConfig(image_size=8, n_bits=5, n_levels=2, depth=1, hidden_channels=4))
    glow.initialize(torch.rand(4, 3, 8, 8) - 0.5)
    save_glow(glow, tmp_path / "models" / "glow")
    return tmp_path / "models" / "glow"


def connect(uri: str) -> Client:
    return mlflow.MlflowClient(uri, uri)


def as_a_new_process() -> None:
    """Forgets that MLflow was down, and what was warned of."""
    tracking._delivery.cache_clear()
    delivery.warn.cache_clear()


def runs(client: Client, experiment: str = "glow") -> list[Any]:
    """The runs that the UI shows, newest first."""
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def history(client: Client, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, key)]


def replay() -> tuple[int, str]:
    """Exit status and lines of `python -m stages.tracking replay`."""
    as_a_new_process()
    result = CliRunner().invoke(tracking.app, ["replay"])
    return result.exit_code, result.output


def left_behind(root: Path, *operations: dict[str, Any]) -> Spool:
    """What a training that was killed after these operations leaves on the disk."""
    opening = {
        "fingerprint": FINGERPRINT,
        "experiment": "glow",
        "name": "train 01234567",
        "tags": {"glow.fingerprint": FINGERPRINT},
        "reopen": False,
        "uri": None,
    }
    spool = Spool.create(root, opening)
    for operation in operations:
        spool.append(operation)
    spool.release()
    return spool


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
    assert found.data.metrics == {"loss": 1 / 3, "norm_": 2.0, "final": 3.25}
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
            run.model(picture.parent / "nowhere")
    assert capsys.readouterr().err.count("mlflow is not installed") == 1
    assert sorted(project.iterdir()) == before


def test_importing_the_module_does_not_import_mlflow() -> None:
    code = "import sys, stages.tracking; sys.exit('mlflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


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
        run.model(model)
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
    assert len(client.search_logged_models([found.info.experiment_id])) == 1
    (version,) = client.search_model_versions("name = 'glow'")
    assert client.get_model_version_by_alias("glow", "champion").version == version.version


def test_a_model_whose_upload_broke_off_is_uploaded_again_and_registered_once(
    client: Client, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(client: Client, model_id: str, folder: str) -> None:
        raise ConnectionError("reset by peer")

    with monkeypatch.context() as broken:
        broken.setattr(mlflow.MlflowClient, "log_model_artifacts", break_off)
        with tracking.training_run(FINGERPRINT, {}) as run:
            run.model(model)
    assert replay()[0] == 0
    (found,) = runs(client)
    (logged,) = client.search_logged_models([found.info.experiment_id])
    assert logged.status == "READY"
    assert len(client.search_model_versions("name = 'glow'")) == 1


def test_the_registered_model_samples_by_temperature_and_seed(
    client: Client, project: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracking.training_run(FINGERPRINT, {"model": {"depth": 1}}) as run:
        run.model(model)
    version = client.get_model_version_by_alias("glow", "champion")
    assert version.run_id == runs(client)[0].info.run_id
    assert version.tags == {"glow.fingerprint": FINGERPRINT}

    stored = list(Path(version.source).rglob("*"))
    assert {"model.safetensors", "served_model.py", "checkpoint.py"} <= {f.name for f in stored}
    assert not [file for file in stored if file.suffix in (".pkl", ".pickle", ".pyc")]

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlflow.db'}")
    served = mlflow.pyfunc.load_model("models:/glow@champion")

    def sample(n_images: int, **params: float) -> list[str]:
        return list(served.predict(pd.DataFrame({"n_images": [n_images]}), params)["png"])

    first = sample(3, temperature=0.7, seed=1)
    assert first == sample(3, temperature=0.7, seed=1)
    assert first != sample(3, temperature=0.7, seed=2)
    assert first != sample(3, temperature=0.2, seed=1)
    assert len(set(sample(3, temperature=0.0))) == 1
    image = Image.open(io.BytesIO(base64.b64decode(first[0])))
    assert (image.size, image.mode, image.format) == ((8, 8), "RGB", "PNG")
    assert all(level % 8 == 0 for level in image.tobytes())
    with pytest.raises(mlflow.MlflowException, match="n_images is 0, expected at least 1"):
        sample(0)
    with pytest.raises(mlflow.MlflowException, match=r"temperature is -1\.0"):
        sample(1, temperature=-1.0)


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
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
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
    run.model(model)
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


@contextmanager
def mlflow_server(port: int, folder: Path) -> Iterator[Client]:
    """A real server, until it is killed as a machine that loses power would kill it."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60.0
        while not answers(f"{address}/health"):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield connect(address)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
