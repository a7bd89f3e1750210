"""The commands as a user types them, with servers of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port
from waiting import is_running, wait_for

from pipeline.server import answers

ROOT = Path(__file__).resolve().parents[2]
PREFECT = [sys.executable, "-m", "prefect"]

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def url() -> str:
    return f"http://127.0.0.1:{free_port()}/api"


@pytest.fixture(scope="module")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty before the first test; making its database takes seconds."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def environment(project: Path, url: str, prefect_home: Path) -> dict[str, str]:
    """Of a user without any server."""
    apart = {
        "GLOW_ROOT": str(project),
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_API_URL": url,
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "DO_NOT_TRACK": "true",
    }
    inherited = {key: value for key, value in os.environ.items() if "PREFECT" not in key}
    return inherited | apart


@pytest.fixture
def serving(
    environment: dict[str, str], prefect_home: Path, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m pipeline up`, once it serves, on a machine that lost power with a server."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (prefect_home / "server.pid").write_text(str(gone.pid))
    output = tmp_path / "up.log"
    with output.open("wb") as stream:
        up = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "up"],
            cwd=ROOT,
            env=environment,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        wait_for(lambda: "prefect deployment run" in output.read_text(), "it serves", 150.0)
        yield up
    finally:
        up.kill()
        up.wait()
        stop = [*PREFECT, "server", "stop"]
        subprocess.run(stop, cwd=ROOT, env=environment, check=True, capture_output=True)


def test_up_is_all_that_a_deployment_run_needs(
    serving: subprocess.Popen[bytes], environment: dict[str, str], project: Path, url: str
) -> None:
    command = [*PREFECT, "deployment", "run", "glow/train", "--watch", "-p"]
    watched = subprocess.run(
        [*command, 'overrides={"number": 7}', "-p", "keep=true"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert watched.returncode == 0, watched.stdout
    assert "finished successfully" in watched.stdout
    assert "number: 7 " in (project / "last.txt").read_text()

    os.killpg(serving.pid, signal.SIGINT)  # Ctrl-C
    serving.wait(timeout=30)
    assert answers(url)  # the server is there for what was run, and for the next time


def test_ctrl_c_ends_a_run_its_stage_and_its_temporary_server(
    environment: dict[str, str], project: Path
) -> None:
    pid = project / "pid.log"
    stage = f"echo $$ > {pid}.part; mv {pid}.part {pid}; sleep 60"
    run = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", "-S", f"commands.first={stage}"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: pid.exists() or run.poll() is not None, "the stage begins", 150.0)
        os.killpg(run.pid, signal.SIGINT)  # a terminal sends it to the whole group
        _, told = run.communicate(timeout=30)
    finally:
        run.kill()
    assert run.returncode == 130, told
    assert "Crashed('Execution was aborted by an interrupt signal.')" in told
    assert "Traceback" not in told
    assert not is_running(int(pid.read_text()))
    server = told.partition("View at ")[2].partition("/runs")[0]
    assert server.startswith("http://127.0.0.1:")
    assert not answers(f"{server}/api")
