"""MLflow's UI on the runs of this project, for this machine only, in few processes."""

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server can listen there."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def become_ui(store: str, artifacts: Path, port: int, settings: Mapping[str, str]) -> None:
    """Turns this process into the server of the UI; it ends with Ctrl-C.

    Args:
        store: address of the database.
        artifacts: folder for what is uploaded through the server.
        port: of 127.0.0.1.
        settings: of MLflow; the user's environment has precedence.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", store]
    command += ["--artifacts-destination", str(artifacts)]
    # jobs are for evaluating language models, and would be eight more processes
    defaults = {**settings, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    sys.stdout.flush()
    os.execve(sys.executable, command, {**defaults, **os.environ})
