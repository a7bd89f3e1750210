"""Spools as a loss of power leaves them: what can be read is sent, what cannot is named."""

import os
from pathlib import Path

import pytest
from tracked import FINGERPRINT, LOSS, Accepting, Client, history, left_behind, replay, runs

from stages import tracking
from stages.delivery import Delivery, Recorder
from stages.spool import BROKEN, Operation, Spool, spool_folders


@pytest.mark.parametrize("left", [b"", bytes(200), b"\n5", b'\n{"kind": "open"}\n{"kind": "me'])
def test_a_broken_spool_is_set_aside_and_named_and_the_others_are_sent(
    client: Client, project: Path, left: bytes
) -> None:
    broken = left_behind(project)
    (broken.folder / "operations.jsonl").write_bytes(left)
    left_behind(project, LOSS)
    status, output = replay()
    assert (status, output.count("sent: train 01234567")) == (1, 1)
    assert f"error: {broken.folder} cannot be read (operations.jsonl does not begin" in output
    aside = broken.folder.with_name(broken.folder.name + BROKEN)
    assert (aside / "operations.jsonl").read_bytes() == left
    assert [found.data.metrics for found in runs(client)] == [{"loss": 2.5}]
    assert replay()[0] == 0


@pytest.mark.parametrize(
    "left", [b"", b"\0\0", b"[]", b'{"run_id": "a"}', b'{"run_id": "a", "sent": 99}']
)
def test_a_state_that_cannot_be_read_is_none_and_nothing_is_there_twice(
    client: Client, project: Path, left: bytes
) -> None:
    spool = left_behind(project, LOSS)
    assert Delivery(project, tracking._server(project, None)).try_to_send(spool)
    (spool.folder / "state.json").write_bytes(left)
    assert replay()[0] == 0
    (found,) = runs(client)
    assert history(client, found.info.run_id, "loss") == [(7, 2.5)]
    assert found.info.status == "FAILED"


def test_a_broken_spool_is_named_by_the_next_stage_which_is_tracked(
    client: Client, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = left_behind(project, LOSS)
    (broken.folder / "operations.jsonl").write_bytes(b"")
    with tracking.same_run(FINGERPRINT) as run:
        run.metrics({"test.bits_per_dim": 3.0})
        assert runs(client)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {broken.folder} cannot be read")
    assert [found.data.metrics for found in runs(client)] == [{"test.bits_per_dim": 3.0}]
    assert spool_folders(project) == []


def test_a_run_that_cannot_be_sent_holds_up_no_other(
    client: Client, project: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow answers, so it is not MLflow that fails."""
    bad = left_behind(project, LOSS)
    picture.write_bytes(b"no picture")
    image: Operation = {"kind": "image", "name": picture.name, "key": "samples", "step": 0}
    bad.append(image, {picture.name: picture})
    with tracking.same_run(FINGERPRINT) as run:
        run.metrics({"test.bits_per_dim": 3.0})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {bad.folder}, of an earlier stage, cannot be sent")
    (found,) = runs(client)
    assert found.data.metrics == {"loss": 2.5, "test.bits_per_dim": 3.0}

    left_behind(project, LOSS)
    status, output = replay()
    assert (status, output.count("sent: train")) == (1, 1)
    assert f"error: {bad.folder} cannot be sent" in output
    assert spool_folders(project) == [bad.folder]


def test_files_that_are_gone_are_named_and_the_rest_is_sent(
    client: Client, project: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = left_behind(project)
    artifact: Operation = {"kind": "artifact", "name": picture.name, "below": None}
    spool.append(artifact, {picture.name: picture})
    spool.append(LOSS)
    (spool.folder / "files/00001" / picture.name).unlink()
    status, output = replay()
    assert status == 0
    assert "some artifact of this run is lost" in output + capsys.readouterr().err
    assert runs(client)[0].data.metrics == {"loss": 2.5}


def test_what_a_stage_killed_at_once_leaves_is_removed(project: Path) -> None:
    spool = left_behind(project)
    (spool.folder / "operations.jsonl").unlink()
    assert replay() == (0, "")
    assert spool_folders(project) == []


def test_what_is_reported_is_on_the_disk_before_it_is_sent(
    project: Path, picture: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: dict[Path, int] = {}
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        file = Path(f"/proc/self/fd/{descriptor}").readlink()
        on_disk[file] = os.fstat(descriptor).st_size

    monkeypatch.setattr(os, "fsync", watched)

    class Watching(Accepting):
        def perform(self, spool: Spool, operations: list[Operation]) -> None:
            super().perform(spool, operations)
            for path in (spool.folder, *spool.folder.rglob("*")):
                if path.name not in ("lock", "state.json"):
                    assert path in on_disk, f"{path} is not synced"
                    assert path.is_dir() or on_disk[path] == path.stat().st_size

    spool, server = left_behind(project), Watching()
    recorder = Recorder(spool, Delivery(project, server))
    for _ in range(3):
        recorder(LOSS)
    recorder({"kind": "artifact", "name": "a", "below": None}, {"a": model})
    recorder({"kind": "artifact", "name": "b", "below": None}, {"b": picture})
    recorder(LOSS)
    recorder.close("FINISHED")
    assert server.got == 8
    assert not spool.folder.exists()
