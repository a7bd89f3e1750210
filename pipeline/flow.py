"""The Prefect flow `glow`: one task run per stage of dvc.yaml, each of them `dvc repro` of it.

DVC decides what has to run and is the cache; Prefect starts, shows, schedules and cancels.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from pipeline.checkout import one_flow_at_a_time, with_params
from pipeline.dag import choose, project_root, stage_order
from pipeline.errors import InputError, PipelineError
from pipeline.experiment import experiment_name, keep_as_experiment
from pipeline.overrides import PARAMS_FILE, override, write_atomically
from pipeline.reproduce import reproduce


class _Untold(logging.Filter):
    """Keeps back the traceback of an error of ours, which the final state has told in words."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, InputError | PipelineError)


logging.getLogger("prefect.flow_runs").addFilter(_Untold())


def refuse(
    root: Path,
    overrides: Mapping[str, Any] | None = None,
    stages: Sequence[str] | None = None,
    *,
    keep: bool = False,
) -> None:
    """Refuses what cannot be run, as far as that shows without a change of params.yaml.

    Raises:
        InputError: a key or a stage is not known, or the results would be kept nowhere.
    """
    if not overrides:
        choose(stage_order(root), stages)
        return
    override((root / PARAMS_FILE).read_bytes().decode(), overrides)
    if stages is not None and not keep:
        raise InputError(
            "the results of some of the stages make no experiment; with overrides run all stages, "
            "or give keep, which leaves results and overrides in the checkout"
        )


@contextmanager
def overridden(
    root: Path, overrides: Mapping[str, Any] | None, *, keep: bool, say: Callable[[str], Any]
) -> Iterator[None]:
    """The overrides are in params.yaml, with `keep` also afterwards, as by `dvc exp run -S`.

    Raises:
        InputError: a key is not known, or what is run refuses the input; then params.yaml is as
            it was.
    """
    if not overrides:
        yield
        return
    params = root / PARAMS_FILE
    before = params.read_bytes()
    text = override(before.decode(), overrides)
    if not keep:
        with with_params(root, text, say):
            yield
        return
    write_atomically(params, text.encode())
    try:
        yield
    except InputError:
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
    keep: bool = False,  # noqa: FBT001, FBT002 - as above
) -> State[Any] | None:
    """Brings the outputs of dvc.yaml up to date, one stage after another.

    With overrides, the result is a DVC experiment, and the checkout is afterwards as it was.

    Args:
        overrides: values to write into params.yaml first, with keys as in `dvc exp run -S`:
            `{"model.depth": 16, "samples.temperatures": [0.7, 1.0]}`.
        force: run stages also when nothing they depend on has changed.
        stages: only these; what they depend on is taken as it is. All if left out.
        keep: leave the overrides and the outputs in the checkout.
    """
    root, logger = project_root(), get_run_logger()
    try:
        refuse(root, overrides, stages, keep=keep)
        with (
            _hangup_terminates(),
            one_flow_at_a_time(root, logger.info),
            overridden(root, overrides, keep=keep, say=logger.warning),
        ):
            params = (root / PARAMS_FILE).read_bytes()
            for stage in choose(stage_order(root), stages):
                reproduce(stage, force=force)
            # else DVC would take what is stale for up to date
            if (root / PARAMS_FILE).read_bytes() != params:
                logger.warning("no DVC experiment: %s was edited meanwhile", PARAMS_FILE)
            elif stages is None:
                keep_as_experiment(experiment_name(str(flow_run.name)))
    except (InputError, PipelineError) as error:
        return Failed(message=str(error), data=error)
    return None
