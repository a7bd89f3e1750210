"""Runs of the flow `glow`, and what the server knows of them."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import State, TaskRun
from waiting import wait_for

from pipeline.flow import glow


def run(**parameters: Any) -> State[Any]:  # noqa: ANN401 - as the flow's own
    state: State[Any] = glow(**parameters, return_state=True)
    return state


def dvc(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout


def git(project: Path, *arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=project, text=True)


def task_runs(client: SyncPrefectClient, state: State[Any]) -> dict[str, TaskRun]:
    """By name, in the order in which they began; they reach the server a little later."""
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_of(state)]))
    runs: list[TaskRun] = []

    def all_are_final() -> bool:
        runs[:] = client.read_task_runs(flow_run_filter=this_run)
        return all(run.state is not None and run.state.is_final() for run in runs)

    wait_for(lambda: all_are_final() and runs, "the task runs are known to the server")
    return {run.name: run for run in sorted(runs, key=lambda run: str(run.start_time))}


def flow_run_of(state: State[Any]) -> UUID:
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id
