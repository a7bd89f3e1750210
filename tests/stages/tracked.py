"""MLflow as the tests see it: its runs, what waits to be sent, and a real server to kill."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from typer.testing import CliRunner
from waiting import wait_for

from stages import delivery, tracking
from stages.spool import Operation, Spool

for setting in tracking.SETTINGS.items():
    os.environ.setdefault(*setting)
mlflow = import_module("mlflow")  # reads them when it is imported

Client = Any  # mlflow is untyped
FINGERPRINT = "0123456789abcdef"
OTHER = "fedcba9876543210"
LOSS = {"kind": "metrics", "values": {"loss": 2.5}, "step": 7}
FACTS = {"weights": "0" * 64, "data": "of these images", "valid_bits_per_dim": 2.5}


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


class Accepting:
    """A `Server` that takes everything and keeps none of it."""

    uri = "nowhere"

    def __init__(self) -> None:
        self.got = 0

    def perform(self, spool: Spool, operations: list[Operation]) -> None:
        """Counts them."""
        spool.run_id = "a"
        self.got += len(operations)

    def has(self, run_id: str) -> bool:
        """Every run."""
        return True

    def answers(self) -> bool:
        """Always."""
        return True

    def refuses(self, error: Exception) -> bool:
        """Nothing."""
        return False


@contextmanager
def mlflow_server(port: int, folder: Path) -> Iterator[Client]:
    """A real server, until it is killed as a machine that loses power would kill it."""
    folder.mkdir(exist_ok=True)
    command = ["server", "--host", "127.0.0.1", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    address = f"http://127.0.0.1:{port}"
    with answering(
        [sys.executable, "-m", "mlflow", *command], f"{address}/health", folder / "log"
    ):
        yield connect(address)


@contextmanager
def answering(command: list[str], address: str, log: Path) -> Iterator[None]:
    """Inside, the command runs and answers at the address; afterwards it is killed."""
    with log.open("a") as stream:
        process = subprocess.Popen(
            command,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()
        return answers(address)

    try:
        wait_for(is_up, f"{command} answers at {address}", 60.0)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
