"""The flow: a task run per stage, in order, each of them `dvc repro` of a real DVC project."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterTaskRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import State, TaskRun
from prefect.client.schemas.sorting import FlowRunSort
from waiting import is_running, wait_for

from pipeline.checkout import one_flow_at_a_time
from pipeline.errors import StageLocked
from pipeline.experiment import experiment_name
from pipeline.flow import glow
from pipeline.reproduce import LOCK_RETRY_SECONDS, failure, reproduce

pytestmark = pytest.mark.server


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


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
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[_flow_run(state)]))
    runs: list[TaskRun] = []

    def all_are_final() -> bool:
        runs[:] = client.read_task_runs(flow_run_filter=this_run)
        return all(run.state is not None and run.state.is_final() for run in runs)

    wait_for(lambda: all_are_final() and runs, "the task runs are known to the server")
    return {run.name: run for run in sorted(runs, key=lambda run: str(run.start_time))}


def _flow_run(state: State[Any]) -> UUID:
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id


def test_a_task_run_per_stage_in_order(client: SyncPrefectClient, project: Path) -> None:
    state = run(overrides={"number": 7, "temperatures": [0.25]}, keep=True)

    assert state.is_completed()
    assert list(task_runs(client, state)) == ["first", "middle", "last"]
    params = (project / "params.yaml").read_text()
    assert "number: 7          # of the first stage\n" in params
    assert "temperatures: [0.25]       # a list on one line\n" in params
    assert (project / "last.txt").read_text() == params  # it ran on the overridden numbers
    assert (project / "flow_run.log").read_text().strip() == str(_flow_run(state))


def test_a_run_is_kept_as_an_experiment_and_leaves_the_checkout_as_it_was(
    client: SyncPrefectClient, project: Path
) -> None:
    assert run().is_completed()
    before = (project / "params.yaml").read_text()
    git(project, "add", "--all", ".", ":!*.log")
    staged = git(project, "diff", "--cached")

    free_text = "tiefe 7 / größe 1e-3"
    named = glow.with_options(flow_run_name=free_text)
    state = named(overrides={"number": 7}, return_state=True)

    assert state.is_completed()
    assert (project / "params.yaml").read_text() == before
    assert (project / "last.txt").read_text() == before
    assert git(project, "diff", "--cached") == staged
    assert git(project, "diff") == ""
    name = experiment_name(free_text)
    assert name in dvc(project, "exp", "list", "--name-only").split()
    assert (project / "experiment.log").read_text().strip() == name
    dvc(project, "exp", "apply", name)
    assert "number: 7 " in (project / "params.yaml").read_text()
    assert "number: 7 " in (project / "last.txt").read_text()


def test_a_run_has_its_metrics_and_pictures_to_look_at(
    client: SyncPrefectClient, project: Path
) -> None:
    state = run()
    last = task_runs(client, state)["last"]
    made = client.read_artifacts(
        artifact_filter=ArtifactFilter(task_run_id=ArtifactFilterTaskRunId(any_=[last.id]))
    )
    artifacts = {artifact.key: artifact for artifact in made}
    assert set(artifacts) == {"last-last-metrics", "last-last"}
    assert artifacts["last-last-metrics"].data == (
        "| metric | value |\n| --- | --- |\n| loss | 1.5 |\n\n|  | b |\n| --- | --- |\n| a | 2 |"
    )
    prefix, _, data = str(artifacts["last-last"].data).partition(",")
    assert prefix == "data:image/png;base64"
    assert base64.b64decode(data) == (project / "logo.png").read_bytes()


def test_stages_that_were_left_out_are_not_taken_for_up_to_date(project: Path) -> None:
    assert run().is_completed()
    assert run(overrides={"number": 7}, stages=["last"], keep=True).is_completed()
    assert "first:" in dvc(project, "status")


def test_params_that_were_edited_meanwhile_are_not_taken_for_those_of_the_run(
    client: SyncPrefectClient, project: Path
) -> None:
    edit = "echo '# edited' >> params.yaml; cp first.txt middle.txt"
    assert run(overrides={"commands.middle": edit}).is_completed()
    assert dvc(project, "exp", "list", "--name-only") == ""
    assert (project / "params.yaml").read_text().endswith("# edited\n")


def test_a_second_flow_waits_for_the_first_even_if_that_is_killed(project: Path) -> None:
    holding = """
import sys
from pathlib import Path
from pipeline.checkout import one_flow_at_a_time
with one_flow_at_a_time(Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(project)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            first.kill()

        with one_flow_at_a_time(project, say), one_flow_at_a_time(project, say):
            assert said == [
                "another flow runs in this checkout; this one waits until it has ended"
            ]


def test_what_is_up_to_date_runs_only_when_forced(
    project: Path, client: SyncPrefectClient
) -> None:
    counting = {"commands.first": "echo run >> count.log; cp params.yaml first.txt"}
    for force in (False, False, True):
        assert run(overrides=counting, stages=["first"], force=force, keep=True).is_completed()
    assert (project / "count.log").read_text() == "run\nrun\n"


def test_only_the_named_stages_run(client: SyncPrefectClient, project: Path) -> None:
    state = run(stages=["middle", "first"])
    assert list(task_runs(client, state)) == ["first", "middle"]
    assert not (project / "last.txt").exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"overrides": {"numbr": 7}}, "'numbr' is not in params.yaml; did you mean number?"),
        ({"stages": ["lsat"]}, "'lsat' is no stage of dvc.yaml"),
        (
            {"overrides": {"number": 7}, "stages": ["lsat"], "keep": True},
            "'lsat' is no stage of dvc.yaml",
        ),
        (
            {"overrides": {"number": 7}, "stages": ["last"]},
            "the results of some of the stages make no experiment; with overrides run all stages",
        ),
    ],
)
def test_what_is_not_known_is_refused_before_anything_runs(
    client: SyncPrefectClient, project: Path, parameters: dict[str, Any], message: str
) -> None:
    before = (project / "params.yaml").read_bytes()
    state = run(**parameters)
    assert state.is_failed()
    assert state.message is not None
    assert state.message.startswith(message)
    assert (project / "params.yaml").read_bytes() == before
    assert not (project / "first.txt").exists()


def test_a_failing_stage_says_why_and_stops_the_flow(
    client: SyncPrefectClient, project: Path
) -> None:
    failing = "echo loss is not finite >&2; exit 3"
    state = run(overrides={"commands.middle": failing})

    assert state.is_failed()
    assert state.message is not None
    assert state.message.startswith("stage 'middle' failed, `dvc repro` with exit code 255:\n")
    assert "\nloss is not finite\n" in state.message
    assert state.message.endswith("exited with 3")
    runs = task_runs(client, state)
    assert list(runs) == ["first", "middle"]
    assert runs["middle"].run_count == 1  # it would fail again
    failed = client.read_flow_run(_flow_run(state)).state
    assert failed is not None
    assert failed.message == state.message


def test_a_stage_waits_for_another_dvc_process_as_long_as_that_runs(
    client: SyncPrefectClient, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC itself does not wait: it fails at once, and only then is there another attempt."""
    waits = reproduce.retries * LOCK_RETRY_SECONDS[-1]
    assert waits > timedelta(days=6).total_seconds()
    monkeypatch.setattr(reproduce, "retry_delay_seconds", [0.1])
    other = subprocess.Popen(["sleep", "60"])
    lock = {"read": {}, "write": {str(project / "middle.txt"): {"pid": other.pid, "cmd": "dvc"}}}
    (project / ".dvc" / "tmp").mkdir(exist_ok=True)
    (project / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(lock))

    def end_when_it_was_in_the_way() -> None:
        with get_client(sync_client=True) as client:
            wait_for(
                lambda: any(
                    run.name == "middle" and run.run_count > len(LOCK_RETRY_SECONDS) + 1
                    for run in client.read_task_runs(limit=20)
                ),
                "the stage is tried again and again",
                120.0,
            )
        other.kill()
        other.wait()

    freeing = threading.Thread(target=end_when_it_was_in_the_way)
    freeing.start()
    try:
        state = run()
    finally:
        other.kill()
        freeing.join()
    assert state.is_completed()
    assert task_runs(client, state)["middle"].run_count > len(LOCK_RETRY_SECONDS) + 1


def test_only_dvcs_own_words_are_a_lock() -> None:
    busy = "ERROR: failed to reproduce 'a': 'a.txt' is busy, it is being blocked by:"
    unavailable = "ERROR: Unable to acquire lock. Most likely another DVC process is running"
    itself = "ERROR: failed to reproduce 'a': failed to run: python x, exited with 1"
    assert isinstance(failure("a", 255, [busy, "  (PID 3): dvc repro"]), StageLocked)
    assert isinstance(failure("a", 255, [unavailable]), StageLocked)
    assert not isinstance(failure("a", 255, [unavailable, itself]), StageLocked)
    assert not isinstance(failure("a", 255, ["the disk is busy", itself]), StageLocked)


@pytest.mark.parametrize(
    ("interrupt", "exit_code"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 143)],
    ids=["terminated", "terminal closed"],
)
def test_no_stage_survives_an_interrupted_flow(
    client: SyncPrefectClient,
    prefect_server: str,
    project: Path,
    interrupt: signal.Signals,
    exit_code: int,
) -> None:
    pids = project / "pids.log"
    stage = f"sleep 60 & echo $$ $! > {pids}.part; mv {pids}.part {pids}; sleep 60"
    flow = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", "-S", f"commands.middle={stage}"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "GLOW_ROOT": str(project), "PREFECT_API_URL": prefect_server},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: pids.exists() or flow.poll() is not None, "the stage begins", 60.0)
        flow.send_signal(interrupt)
        _, told = flow.communicate(timeout=30)
    finally:
        flow.kill()
    assert flow.returncode == exit_code, told
    alive = [pid for pid in map(int, pids.read_text().split()) if is_running(pid)]
    assert not alive
    newest = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)[0]
    assert newest.state is not None
    assert newest.state.is_crashed()
    assert not (project / "last.txt").exists()
    assert "number: 1 " in (project / "params.yaml").read_text()
    assert stage not in (project / "params.yaml").read_text()


def test_a_failed_run_is_one_last_line_and_exit_code_1(prefect_server: str, project: Path) -> None:
    flow = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", "-S", "commands.first=exit 3"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "GLOW_ROOT": str(project), "PREFECT_API_URL": prefect_server},
        capture_output=True,
        text=True,
        check=False,
    )
    assert flow.returncode == 1
    last = "error: stage 'first' failed, `dvc repro` with exit code 255"
    assert flow.stderr.splitlines()[-1] == last
    assert "Traceback" not in flow.stderr
