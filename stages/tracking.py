"""What the stages report to MLflow: runs, curves, images, models. A side effect, never an output.

Nothing here stops a training. What is reported is written to a spool on disk and then sent; if
MLflow cannot be reached, one line says so, the stage goes on and tries again after a pause, and
what is left at its end is sent later: by the next stage that reports on the same model, or by
`python -m stages.tracking replay`. Sending can break off anywhere and be repeated, and nothing is
recorded twice.

Of the stages this module and served_model.py alone import mlflow, and late: without it they run
untracked.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from filelock import FileLock

from stages.delivery import Delivery, Recorder, reason, warn, without_password
from stages.mlflow_server import MlflowServer
from stages.mlflow_ui import HOST, become_ui, is_free
from stages.replay import send_what_waits
from stages.run import Run, ignore, origin
from stages.spool import SPOOLS, Operation, Spool
from stages.store_address import store_address

__all__ = ["Run", "same_run", "temperature_run", "training_run"]

TRAININGS, SAMPLES = "glow", "glow-samples"
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # for a connection that the server closed when idle
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

app = typer.Typer(add_completion=False, no_args_is_help=True)


@contextmanager
def training_run(fingerprint: str, params: Mapping[str, Any]) -> Iterator[Run]:
    """A new run for a training, even of a fingerprint trained before: curves are not mixed.

    Args:
        fingerprint: of the seed, the data and the params; later stages find the run by it.
        params: may be nested; `{"model": {"depth": 8}}` becomes `model.depth`.
    """
    with _run(fingerprint, TRAININGS, f"train {fingerprint[:8]}") as run:
        run.params(params)
        yield run


@contextmanager
def same_run(fingerprint: str, *, weights: str | None = None) -> Iterator[Run]:
    """The newest run of the training with this fingerprint that ended in these weights, reopened.

    If there is none, as when DVC fetched the model from a remote, a new run "cached model". Runs
    of earlier versions do not say theirs.
    """
    with _run(fingerprint, TRAININGS, "cached model", weights, reopen=True) as run:
        yield run


@contextmanager
def temperature_run(
    fingerprint: str,
    temperature: float,
    params: Mapping[str, Any],
    *,
    weights: str | None = None,
    name: str = "samples",
) -> Iterator[Run]:
    """The run of a model and a temperature; once finished, it replaces older ones of the two.

    These runs are flat, in an experiment of their own, so that temperature and depth are columns
    and axes in the UI across all trainings.
    """
    tags = {"glow.temperature": str(float(temperature))}
    with _run(fingerprint, SAMPLES, name, weights, tags=tags) as run:
        run.params({"temperature": float(temperature), "fingerprint": fingerprint, **params})
        yield run


@app.callback()
def about() -> None:
    """The runs that the stages report to MLflow."""


@app.command()
def replay() -> None:
    """Sends the runs that MLflow could not be given when their stages ran.

    They wait in .cache/tracking, and each leaves it once MLflow has all of it.

    A run that was sent in part is completed. Stages that still run are left alone. What cannot be
    read is set aside, and what cannot be sent stays; both are named, and the others are sent.

    Example: python -m stages.tracking replay

    Another server: MLFLOW_TRACKING_URI=http://127.0.0.1:5000 python -m stages.tracking replay
    """
    root = _root()
    if not send_what_waits(root, lambda uri: _server(root, uri)):
        raise typer.Exit(1)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="of 127.0.0.1")] = 5000,
) -> None:
    """Shows the runs of this project in MLflow's UI, until Ctrl-C.

    Example: python -m stages.tracking ui --port 5000
    """
    root = _root()
    server = _server(root, os.environ.get("MLFLOW_TRACKING_URI"))
    if server.artifacts is None:
        where = without_password(server.uri)
        raise _fail(f"MLFLOW_TRACKING_URI sends the runs to {where}: open that in a browser")
    if not is_free(port):
        other = f"python -m stages.tracking ui --port {port % 65535 + 1}"
        raise _fail(f"port {port} of {HOST} is in use; take another: `{other}`")
    try:
        _connect(server.uri)
    except Exception as error:
        raise _fail(f"{server.uri} cannot be opened: {reason(error)}") from None
    print(f"http://{HOST}:{port} has the runs of {root}, the experiments glow and glow-samples")
    become_ui(server.uri, server.artifacts, port, SETTINGS)


@app.command()
def champion(
    version: Annotated[int, typer.Argument(min=1, help="of the registered model glow")],
) -> None:
    """Makes a registered version the champion, whatever its bits per dimension.

    Example: python -m stages.tracking champion 3
    """
    server = _server(_root(), os.environ.get("MLFLOW_TRACKING_URI"))
    try:
        server.registry.make_champion(str(version))
    except Exception as error:
        where = without_password(server.uri)
        raise _fail(f"glow version {version} is no champion at {where}: {reason(error)}") from None
    print(f"glow version {version} is the champion")


@contextmanager
def _run(
    fingerprint: str,
    experiment: str,
    name: str,
    weights: str | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    reopen: bool = False,
) -> Iterator[Run]:
    recorder = _recorder(
        {
            "fingerprint": fingerprint,
            "experiment": experiment,
            "name": name,
            "tags": {**origin(fingerprint, weights), **(tags or {})},
            "reopen": reopen,
        }
    )
    if recorder is None:
        yield Run(ignore)
        return
    try:
        recorder.flush()
        yield Run(recorder)
    except BaseException:
        recorder.close("FAILED")
        raise
    recorder.close("FINISHED")


def _fail(message: str) -> typer.Exit:
    """Says what went wrong, in a line; to be raised."""
    print(f"error: {message}", file=sys.stderr)
    return typer.Exit(1)


def _recorder(opening: Operation) -> Recorder | None:
    if os.environ.get("RANK") not in (None, "0"):
        return None
    if importlib.util.find_spec("mlflow") is None:
        warn(
            "mlflow is not installed, so this stage is not tracked; "
            "`pip install -c constraints.txt -e .` adds it"
        )
        return None
    root, uri = _root(), os.environ.get("MLFLOW_TRACKING_URI")
    try:
        spool = Spool.create(root, {**opening, "uri": uri and without_password(uri)})
    except OSError as error:
        warn(f"this stage is not tracked, since {root / SPOOLS} cannot be written: {error}")
        return None
    return Recorder(spool, _delivery(root, uri))


@cache
def _delivery(root: Path, uri: str | None) -> Delivery:
    return Delivery(root, _server(root, uri))


def _server(root: Path, uri: str | None) -> MlflowServer:
    uri = store_address(uri, root)
    artifacts = root / "mlartifacts" if uri.startswith("sqlite:") else None
    return MlflowServer(uri, artifacts, _connect)


def _root() -> Path:
    """The main checkout: `dvc exp run --temp` works in a copy of it that is thrown away."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).absolute()


def _connect(uri: str) -> tuple[Any, Any]:
    """The mlflow module and a client; the tables of a new SQLite file are there afterwards.

    Two processes that make the tables at once ruin the file for good, hence the lock.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for logger in ("mlflow", "alembic", "urllib3.connectionpool"):  # one line of ours says it all
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    lock: AbstractContextManager[Any] = nullcontext()
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
        lock = FileLock(f"{database}.lock")
    with lock:
        client = mlflow.MlflowClient(uri, uri)
        client.search_experiments(max_results=1)
    return mlflow, client


if __name__ == "__main__":
    app()
