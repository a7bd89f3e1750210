"""The sweep: the flow `glow` at every point of a grid of params, each a flow run of its own."""

import itertools
import time
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling, Completed, Failed
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.checkout import one_flow_at_a_time
from pipeline.dag import project_root
from pipeline.errors import InputError, PipelineError
from pipeline.experiment import experiment_name, reference
from pipeline.flow import glow, refuse

POLL_SECONDS = 2.0

Point = dict[str, Any]


def parse_grid(settings: Iterable[str]) -> dict[str, list[Any]]:
    """Reads `key=value,value` as typed in a shell: `model.depth=4,8` has two, `a=[1,2],[3]` too.

    Raises:
        InputError: there is no `=`, or the values are not YAML.
    """
    grid = {}
    for setting in settings:
        key, equals, values = setting.partition("=")
        if not equals:
            raise InputError(f"{setting!r} is no axis; write key=values, as in model.depth=4,8,16")
        try:
            grid[key.strip()] = YAML(typ="safe").load(f"[{values}]")
        except YAMLError:
            raise InputError(
                f"the values in {setting!r} are not YAML; put quotes around"
            ) from None
    return grid


def points(grid: Mapping[str, Any]) -> list[Point]:
    """All combinations, the last key's values changing fastest.

    Raises:
        InputError: a key has no list of values, or an empty one; or there is no key.
    """
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{key!r} has {values!r}, expected a list of values, as [4, 8, 16]")
    if not grid:
        raise InputError('the grid is empty; it wants values by key, as {"model.depth": [4, 8]}')
    return [dict(zip(grid, choice, strict=True)) for choice in itertools.product(*grid.values())]


def title(sweep: str, number: int, point: Point) -> str:
    """The name of a point's flow run and DVC experiment; the number tells points apart."""
    values = (f"{key.rpartition('.')[2]}={value}" for key, value in point.items())
    return reference("-".join([experiment_name(sweep), str(number), *values]))


@flow(name="glow", persist_result=False)
def sweep(grid: dict[str, list[Any]], deployment: str | None = None) -> State[Any]:
    """Brings the outputs up to date once for every combination of values.

    One after another in this checkout, which is left as it was; the results are DVC experiments
    and MLflow runs. Or as runs of a deployment, as many at once as its work pool has workers.
    A point that fails does not keep the others from running.

    Args:
        grid: values by key of params.yaml: `{"model.depth": [4, 8], "seed": [0, 1, 2]}`.
        deployment: of the flow, as `glow/train`, whose workers have checkouts of their own.
    """
    root, logger = project_root(), get_run_logger()
    try:
        combinations = points(grid)
        refuse(root, combinations[0])
        own = str(flow_run.name)
        names = {title(own, i, point): point for i, point in enumerate(combinations, start=1)}
        logger.info("%d points: %s", len(names), ", ".join(names))
        if deployment:
            states = _elsewhere(deployment, names)
        else:
            with one_flow_at_a_time(root, logger.info):
                states = {name: _here(name, point) for name, point in names.items()}
    except (InputError, PipelineError) as error:
        return Failed(message=str(error), data=error)
    failed = [name for name, state in states.items() if not state.is_completed()]
    if not failed:
        return Completed(message=f"all {len(states)} points")
    told = f"{len(failed)} of {len(states)} points failed: {', '.join(failed)}"
    return Failed(message=told, data=PipelineError(told))


def _here(name: str, point: Point) -> State[Any]:
    one = glow.with_options(flow_run_name=name)
    state: State[Any] = one(overrides=point, return_state=True)
    return state


def _elsewhere(deployment: str, names: Mapping[str, Point]) -> dict[str, State[Any]]:
    """Starts all, then waits for all; if that is interrupted, they are cancelled."""
    runs: list[UUID] = []
    states: dict[UUID, State[Any]] = {}
    with get_client(sync_client=True) as client:
        try:
            for name, point in names.items():
                run: Any = run_deployment(  # a coroutine only where an event loop runs
                    deployment, parameters={"overrides": point}, flow_run_name=name, timeout=0
                )
                runs.append(run.id)
            while waiting := [run for run in runs if run not in states]:
                time.sleep(POLL_SECONDS)
                now = {run: client.read_flow_run(run).state for run in waiting}
                states |= {run: state for run, state in now.items() if state and state.is_final()}
        except ObjectNotFound:
            raise InputError(
                f"there is no deployment {deployment!r}; see `prefect deployment ls`"
            ) from None
        except BaseException:
            for run in runs:
                if run not in states:
                    client.set_flow_run_state(run, Cancelling())
            raise
    return dict(zip(names, (states[run] for run in runs), strict=True))
