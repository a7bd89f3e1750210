"""How a flow ends that does not succeed, and what it waits for."""

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from flows import flow_run_of, run, task_runs
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.sorting import FlowRunSort
from waiting import is_running, wait_for

from pipeline.errors import StageLocked
from pipeline.reproduce import LOCK_RETRY_SECONDS, failure, reproduce

pytestmark = pytest.mark.server


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
    failed = client.read_flow_run(flow_run_of(state)).state
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
