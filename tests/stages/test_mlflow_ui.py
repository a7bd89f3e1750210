"""`python -m stages.tracking ui`: shows this project's runs, or says in a line why not."""

import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest
from ports import free_port
from tracked import FINGERPRINT, Client, answering, connect, runs
from typer.testing import CliRunner

from stages import tracking


def ui(*options: str) -> tuple[int, str]:
    """Exit status and lines, where it does not start."""
    result = CliRunner().invoke(tracking.app, ["ui", *options])
    return result.exit_code, result.output


@pytest.mark.server
def test_the_ui_has_the_runs_of_the_project(
    client: Client, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracking.training_run(FINGERPRINT, {"depth": 1}):
        pass
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "stages.tracking", "ui", "--port", str(port)]
    with answering(command, f"{address}/health", project / "log"):
        (found,) = runs(connect(address))
        assert found.data.params == {"depth": "1"}
        assert ui("--port", str(port)) == (
            1,
            f"error: port {port} of 127.0.0.1 is in use; take another: "
            f"`python -m stages.tracking ui --port {port + 1}`\n",
        )
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("//", "//me:secret@"))
        elsewhere = f"MLFLOW_TRACKING_URI sends the runs to {address}: open that in a browser"
        assert ui() == (1, f"error: {elsewhere}\n")


def test_a_port_that_anything_listens_on_is_in_use(project: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        status, output = ui("--port", str(other.getsockname()[1]))
    assert (status, output.count("\n")) == (1, 1)
    assert list(project.iterdir()) == []
