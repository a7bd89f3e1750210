"""The task `reproduce`: `dvc repro` of one stage, its lines in the log, its results to look at."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run

from pipeline.command import dvc, is_locked
from pipeline.errors import StageFailed, StageLocked
from pipeline.exhibits import exhibit
from pipeline.experiment import experiment_name

LAST_LINES = 20  # of a failed stage, in the message of the state
LOCK_RETRIES = 10_000  # a week: the other one may be training
LOCK_RETRY_SECONDS = [2.0, 10.0, 30.0, 60.0]  # the last again and again


def failure(stage: str, exit_code: int, last_lines: Sequence[str]) -> StageFailed:
    """The error of a stage that ended with an exit code; a lock of DVC's is one of its own."""
    told = "\n".join(last_lines)
    if is_locked(last_lines):
        return StageLocked(f"stage {stage!r} waits for another DVC process:\n{told}")
    return StageFailed(f"stage {stage!r} failed, `dvc repro` with exit code {exit_code}:\n{told}")


def _waits(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again: a lock goes away by itself, an error of the stage does not."""
    return isinstance(state.data, StageLocked)


@task(
    task_run_name="{stage}",
    retries=LOCK_RETRIES,
    retry_delay_seconds=LOCK_RETRY_SECONDS,
    retry_condition_fn=_waits,
    persist_result=False,
    cache_policy=NO_CACHE,
)
def reproduce(stage: str, *, force: bool = False) -> None:
    """Brings one stage up to date; `--single-item`, as the flow walks through those before it."""
    logger = get_run_logger()
    lines: list[str] = []
    last_lines: deque[str] = deque(maxlen=LAST_LINES)

    def log(line: str) -> None:
        logger.info(line)
        last_lines.append(line)
        lines.append(line)

    forced = ["--force"] if force else []
    run = {"GLOW_FLOW_RUN": str(flow_run.id), "DVC_EXP_NAME": experiment_name(str(flow_run.name))}
    exit_code = dvc("repro", "--single-item", *forced, stage, log=log, env=run)
    if exit_code != 0:
        raise failure(stage, exit_code, last_lines)
    exhibit(stage, lines)
