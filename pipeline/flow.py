"""The Prefect flow `glow`: one task run per stage of dvc.yaml, each of them `dvc repro` of it.

DVC decides what has to run and is the cache; Prefect starts, shows, schedules and cancels.
"""

import logging
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from pipeline.checkout import one_flow_at_a_time
from pipeline.dag import choose, project_root, stage_order
from pipeline.errors import InputError, PipelineError, StageFailed
from pipeline.experiment import keep_as_experiment
from pipeline.overrides import PARAMS_FILE, override, write_atomically
from pipeline.reproduce import reproduce


class _Untold(logging.Filter):
    """Keeps back the traceback of an error of ours, which the final state has told in words."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, InputError | PipelineError)


logging.getLogger("prefect.flow_runs").addFilter(_Untold())


def refuse_unknown(
    root: Path, overrides: Mapping[str, Any] | None, stages: Sequence[str] | None
) -> None:
    """What `plan` would refuse, as far as it can be told without a change of params.yaml.

    Raises:
        InputError: a key or a stage is not known.
    """
    if overrides:
        override((root / PARAMS_FILE).read_text(encoding="utf-8"), overrides)
    else:
        choose(stage_order(root), stages)


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
    root, say = project_root(), get_run_logger().info
    try:
        with _hangup_terminates(), one_flow_at_a_time(root, say):
            for stage in plan(root, overrides, stages):
                reproduce(stage, force=force)
            if stages is None:  # else DVC would take what is stale for up to date
                keep_as_experiment(str(flow_run.name))
    except (InputError, StageFailed) as error:
        return Failed(message=str(error), data=error)
    return None
