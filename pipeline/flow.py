"""The Prefect flow `glow`: one task run per stage of dvc.yaml, each of them `dvc repro` of it.

DVC decides what has to run and is the cache; Prefect starts, shows, schedules and cancels.
"""

import os
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.states import Failed

from pipeline import process
from pipeline.dag import choose, project_root, stage_order
from pipeline.errors import InputError, StageFailed, StageLocked
from pipeline.overrides import PARAMS_FILE, override, write_atomically

LAST_LINES = 20  # of a failed stage, in the message of the state
LOCK_RETRY_SECONDS = [2.0, 10.0, 30.0, 60.0]
LOCKED = re.compile(r"^ERROR: .*(is busy, it is being blocked by:|Unable to acquire lock\.)")
FAILED_ITSELF = re.compile(r"^ERROR: .*: failed to run: ")


def plan(
    root: Path, overrides: Mapping[str, Any] | None, stages: Sequence[str] | None
) -> list[str]:
    """Writes the overrides into params.yaml and names the stages to run, in order.

    As with `dvc exp run -S` the overrides stay there. The order is taken after they are written,
    since a template in dvc.yaml may read them; if anything is refused, they are taken back.

    Raises:
        InputError: a key or a stage is not known; then params.yaml is as it was.
    """
    if not overrides:
        return choose(stage_order(root), stages)
    params = root / PARAMS_FILE
    before = params.read_bytes()
    write_atomically(params, override(before.decode(), overrides).encode())
    try:
        return choose(stage_order(root), stages)
    except BaseException:
        write_atomically(params, before)
        raise


def stage_environment(flow_run_id: str | None) -> dict[str, str]:
    """What a stage sees: this Python first in PATH, since dvc.yaml says no more than `python`."""
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    environment = {**os.environ, "PATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
    if flow_run_id:
        environment["GLOW_FLOW_RUN"] = flow_run_id
    return environment


def failure(stage: str, exit_code: int, last_lines: Sequence[str]) -> StageFailed:
    """The error of a stage that ended with an exit code; a lock of DVC's is one of its own."""
    locked = any(map(LOCKED.match, last_lines)) and not any(map(FAILED_ITSELF.match, last_lines))
    told = "\n".join(last_lines)
    if locked:
        return StageLocked(f"stage {stage!r} waits for another DVC process:\n{told}")
    return StageFailed(f"stage {stage!r} failed, `dvc repro` with exit code {exit_code}:\n{told}")


def _is_locked(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again: a lock goes away by itself, an error of the stage does not."""
    return isinstance(state.data, StageLocked)


@contextmanager
def _hangup_terminates() -> Iterator[None]:
    """A closed terminal ends the flow as SIGTERM does, instead of leaving the stage running."""
    wanted = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL  # not under nohup
    )
    if not wanted:
        yield
        return
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@task(
    task_run_name="{stage}",
    retries=len(LOCK_RETRY_SECONDS),
    retry_delay_seconds=LOCK_RETRY_SECONDS,
    retry_condition_fn=_is_locked,
    persist_result=False,
    cache_policy=NO_CACHE,
)
def reproduce(stage: str, *, force: bool = False) -> None:
    """Brings one stage up to date; `--single-item`, as the flow walks through those before it."""
    logger = get_run_logger()
    last_lines: deque[str] = deque(maxlen=LAST_LINES)

    def log(line: str) -> None:
        logger.info(line)
        last_lines.append(line)

    forced = ["--force"] if force else []
    exit_code = process.run(
        [sys.executable, "-m", "dvc", "repro", "--single-item", *forced, stage],
        cwd=project_root(),
        environment=stage_environment(flow_run.id),
        log=log,
    )
    if exit_code != 0:
        raise failure(stage, exit_code, last_lines)


@flow(name="glow", persist_result=False)
def glow(
    overrides: dict[str, Any] | None = None,
    force: bool = False,  # noqa: FBT001, FBT002 - Prefect passes parameters by name
    stages: list[str] | None = None,
) -> State[Any] | None:
    """Brings the outputs of dvc.yaml up to date, one stage after another.

    Args:
        overrides: values to write into params.yaml first, with keys as in `dvc exp run -S`:
            `{"model.depth": 16, "samples.temperatures": [0.7, 1.0]}`.
        force: run stages also when nothing they depend on has changed.
        stages: only these; what they depend on is taken as it is. All if left out.
    """
    try:
        with _hangup_terminates():
            for stage in plan(project_root(), overrides, stages):
                reproduce(stage, force=force)
    except (InputError, StageFailed) as error:
        return Failed(message=str(error), data=error)
    return None
