"""A second `dvc repro` of a project in which a stage runs: refused, and nothing is harmed."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from waiting import wait_for

from pipeline.flow import glow

DVC = [sys.executable, "-m", "dvc"]
WAITS = "touch begun; until test -e go; do sleep 0.05; done; cp first.txt middle.txt"


def repro(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DVC, "repro"], cwd=project, capture_output=True, text=True, timeout=60)


def assert_right(project: Path) -> None:
    """Everything was built, of the params as they are, and DVC knows it."""
    params = (project / "params.yaml").read_text()
    assert (project / "last.txt").read_text() == params
    again = repro(project)
    assert again.returncode == 0
    assert "Running stage" not in again.stdout
    assert "Data and pipelines are up to date." in again.stdout


@pytest.fixture
def waiting(project: Path) -> Path:
    """A project whose second stage ends when there is a file `go`."""
    params = (project / "params.yaml").read_text()
    params = params.replace("cp first.txt middle.txt", WAITS)
    assert WAITS in params
    (project / "params.yaml").write_text(params)
    return project


def test_a_second_repro_names_the_first_and_ends_while_it_runs(waiting: Path) -> None:
    first = subprocess.Popen([*DVC, "repro"], cwd=waiting, stdout=subprocess.DEVNULL)
    try:
        wait_for((waiting / "begun").exists, "the stage begins")
        second = repro(waiting)
        assert first.poll() is None
        assert second.returncode == 255
        assert "is busy, it is being blocked by:" in second.stderr
        assert f"(PID {first.pid})" in second.stderr
        assert "Traceback" not in second.stderr
        (waiting / "go").touch()
        assert first.wait(30) == 0
    finally:
        first.kill()
        first.wait()
    assert_right(waiting)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server")
def test_a_repro_during_a_flow_run_is_refused_and_the_flow_goes_on(waiting: Path) -> None:
    seconds: list[subprocess.CompletedProcess[str]] = []

    def interfere() -> None:
        try:
            wait_for((waiting / "begun").exists, "the stage begins", 60.0)
            seconds.append(repro(waiting))
        finally:
            (waiting / "go").touch()

    interfering = threading.Thread(target=interfere)
    interfering.start()
    state = glow(return_state=True)
    interfering.join()
    assert state is not None
    assert state.is_completed()
    assert [second.returncode for second in seconds] == [255]
    assert "is busy, it is being blocked by:" in seconds[0].stderr
    assert "repro --single-item middle" in seconds[0].stderr
    assert_right(waiting)
