"""Which Prefect server is used: the one that answers, one started here, or none at all."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped]  # has no types
from prefect.cli._server_utils import SERVER_PID_FILE_NAME
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from pipeline import process
from pipeline.errors import PipelineError

DEFAULT_URL = "http://127.0.0.1:4200/api"
START_SECONDS = 120.0  # the first start makes the tables of its database
STOP_SECONDS = 10.0
POLL_SECONDS = 0.3
START = [sys.executable, "-m", "prefect", "server", "start"]
LOCAL = {"127.0.0.1", "localhost", "::1"}


@contextmanager
def a_server() -> Iterator[str]:
    """The URL of the configured server; a local one is started in the background if it is silent.

    Without a setting (`PREFECT_API_URL`, pyproject.toml, a Prefect profile) it is `DEFAULT_URL`.

    Raises:
        PipelineError: no server answers, and none could be started.
    """
    url = PREFECT_API_URL.value() or DEFAULT_URL
    if not answers(url):
        _start(url)
    with temporary_settings({PREFECT_API_URL: url}):
        yield url


@contextmanager
def a_server_for_now() -> Iterator[str]:
    """The URL of the configured server if it answers, else of one that lives as long as this.

    Prefect's own temporary server would get the Ctrl-C of the terminal too, and be gone before
    the flow could tell it what has happened.

    Raises:
        PipelineError: no server answers, and none could be started.
    """
    url = PREFECT_API_URL.value()
    if url and answers(url):
        yield url
        return
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    server = subprocess.Popen(
        [*START, "--host", "127.0.0.1", "--port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        _wait_for(url, lambda: server.poll() is None)
        with temporary_settings({PREFECT_API_URL: url}):
            yield url
    finally:
        for worker in (APILogWorker, EventsWorker):  # which send in the background
            worker.drain_all(timeout=STOP_SECONDS)
        process.stop(server, grace=STOP_SECONDS)


def answers(url: str) -> bool:
    """Whether a Prefect server is ready at the URL of its API."""
    try:
        with urlopen(f"{url}/health", timeout=3.0) as reply:
            return bool(reply.status == 200)
    except HTTPError as refusal:
        return refusal.code in {401, 403}  # Prefect's own client has the key
    except OSError:
        return False


def _start(url: str) -> None:
    address = urlsplit(url)
    if address.hostname not in LOCAL:
        raise PipelineError(f"no Prefect server answers at {url}, and it is not a local one")
    _forget_a_server_that_is_gone()
    where = ["--host", address.hostname, "--port", str(address.port or 4200)]
    started = subprocess.run(
        [*START, "--background", *where],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # so that Ctrl-C ends what is served, not the server
    )
    if started.returncode != 0:
        told = " ".join((started.stderr + started.stdout).split())
        raise PipelineError(f"`prefect server start` failed: {told}")
    _wait_for(url, lambda: True)


def _forget_a_server_that_is_gone() -> None:
    """Prefect starts none while its PID file is there, as it is after a loss of power."""
    file = Path(PREFECT_HOME.value()) / SERVER_PID_FILE_NAME
    with suppress(OSError, ValueError, psutil.Error):
        pid = int(file.read_text())
        words = psutil.Process(pid).cmdline() if psutil.pid_exists(pid) else []
        if not any("prefect" in word for word in words):
            file.unlink()


def _wait_for(url: str, may_come: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not answers(url):
        if time.monotonic() > end or not may_come():
            raise PipelineError(
                f"no Prefect server came up at {url}; `prefect server start` shows why"
            )
        time.sleep(POLL_SECONDS)
