"""Tracking: a server that is away for a while is tried again, at next to no cost."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from ports import free_port
from tracked import (
    FINGERPRINT,
    LOSS,
    Accepting,
    history,
    left_behind,
    mlflow_server,
    runs,
)

from stages import delivery, tracking
from stages.delivery import MAX_PAUSE_SECONDS, Delivery, Recorder
from stages.spool import Operation, Spool

DAY = 24 * 3600.0
TIMEOUT = 20.0  # of MLflow's client with one retry


@pytest.mark.server
def test_curves_are_live_again_when_the_server_is_back(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(delivery, "SEND_SECONDS", 0.0)
    monkeypatch.setattr(delivery, "MAX_SHARE", 1e9)
    monkeypatch.setattr(delivery, "PAUSE_SECONDS", 0.1)
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    with mlflow_server(port, project / "server"):
        training = tracking.training_run(FINGERPRINT, {})
        run = training.__enter__()
        run.metrics({"loss": 1.0}, step=1)
    run.metrics({"loss": 2.0}, step=2)
    with mlflow_server(port, project / "server") as client:
        run.metrics({"loss": 3.0}, step=3)
        (live,) = runs(client)
        curve = history(client, live.info.run_id, "loss")
        training.__exit__(None, None, None)
        assert (live.info.status, curve) == ("RUNNING", [(1, 1.0), (2, 2.0), (3, 3.0)])
    away, back = capsys.readouterr().err.splitlines()
    assert "fails (" in away
    assert "answers again" in back


class Silent(Accepting):
    """A server that does not answer for a while; and the clock beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.spent, self.tries = 0.0, 0.0, 0
        self.is_silent = False

    def perform(self, spool: Spool, operations: list[Operation]) -> None:
        """Lets whoever asks wait for the timeout, or takes it all."""
        self.tries += 1
        if self.is_silent:
            self.now += TIMEOUT
            self.spent += TIMEOUT
            raise ConnectionError("timed out")
        super().perform(spool, operations)


def test_a_day_of_silence_costs_a_training_minutes_and_is_over_ten_minutes_after_it_ended(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Silent()
    monkeypatch.setattr(delivery, "time", SimpleNamespace(monotonic=lambda: server.now))
    recorder = Recorder(left_behind(project), Delivery(project, server))
    recorder(LOSS)
    assert server.got == 2
    server.is_silent = True
    began = server.now
    while server.now < began + DAY:
        server.now += 30.0  # of training
        recorder(LOSS)
    assert server.spent < 0.06 * DAY
    assert server.tries > 100
    server.is_silent = False
    back = server.now
    while server.got == 2:
        server.now += 30.0
        recorder(LOSS)
    assert server.now - back <= MAX_PAUSE_SECONDS + 30.0
    recorder.close("FINISHED")
    assert len(capsys.readouterr().err.splitlines()) == 2
