"""Batches: held and streamed are the same, from any step, with any workers, on any ranks."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import synchronize
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from numbered import SIDE, TOTAL, numbered, numbers

from stages import stream
from stages.batches import Batches
from stages.errors import InputError, StageError
from stages.shards import ShardSet

BATCH = 6
WINDOW_BYTES = 12 * 3 * SIDE**2  # three windows
TWO_EPOCHS = range(2 * (TOTAL // BATCH))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return numbered(tmp_path_factory.mktemp("numbered"))


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fits on the device."""
    monkeypatch.setenv("GLOW_CACHE_BYTES", "0")


@pytest.fixture(params=[0, 1, 2, 3], ids=lambda n: f"{n} workers")
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("GLOW_WORKERS", str(request.param))
    return int(request.param)


def open_batches(shards: ShardSet, rank: int = 0, world_size: int = 1, **more: object) -> Batches:
    options = {"classes": ("not Odd", "Odd"), "flip": True, "shift": 0.3, **more}
    return Batches.load(
        shards,
        BATCH,
        seed=1,
        rank=rank,
        world_size=world_size,
        device=torch.device("cpu"),
        window_bytes=WINDOW_BYTES,
        **options,
    )


def held(shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> Batches:
    monkeypatch.setenv("GLOW_CACHE_BYTES", str(10**9))
    batches = open_batches(shards)
    monkeypatch.setenv("GLOW_CACHE_BYTES", "0")
    return batches


@pytest.fixture(autouse=True)
def strangers() -> set[int]:
    """Processes that other tests have left running, such as Python's resource tracker."""
    STRANGERS.clear()
    STRANGERS.update(child.pid for child in psutil.Process().children())
    return STRANGERS


STRANGERS: set[int] = set()


def children() -> Iterator[psutil.Process]:
    """Those that this test has started and that still run."""
    yield from (child for child in psutil.Process().children() if child.pid not in STRANGERS)


@pytest.mark.usefixtures("workers")
def test_held_and_streamed_are_the_same(shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = held(shards, monkeypatch)
    with closing(open_batches(shards)) as stream:
        for step in TWO_EPOCHS:
            one, other = whole(step), stream(step)
            assert torch.equal(one.levels, other.levels), step
            assert one.levels.shape == (BATCH, 3, SIDE, SIDE)
            assert one.levels.is_contiguous()
            assert other.levels.is_contiguous()
            assert one.labels is not None
            assert other.labels is not None
            assert one.labels.tolist() == other.labels.tolist()
            assert one.labels.tolist() == [number % 3 == 0 for number in numbers(one.levels)]
    assert not list(children())


@pytest.mark.usefixtures("streamed")
def test_an_epoch_has_every_image_once_but_those_that_fill_no_batch(shards: ShardSet) -> None:
    with closing(open_batches(shards)) as stream:
        first = [image for step in range(TOTAL // BATCH) for image in numbers(stream(step).levels)]
    assert len(set(first)) == len(first) == TOTAL - TOTAL % BATCH


@pytest.mark.usefixtures("streamed", "workers")
def test_a_stream_begins_at_any_step(shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = held(shards, monkeypatch)
    with closing(open_batches(shards)) as stream:
        for step in (7, 8, 3, 4, 0):
            assert torch.equal(stream(step).levels, whole(step).levels)


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_together_have_the_batch(
    shards: ShardSet, monkeypatch: pytest.MonkeyPatch, ranks: int
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", "0")
    whole = held(shards, monkeypatch)
    parts = [open_batches(shards, rank, ranks) for rank in range(ranks)]
    for step in TWO_EPOCHS:
        drawn = [part(step) for part in parts]
        assert torch.equal(torch.cat([part.levels for part in drawn]), whole(step).levels)
    for part in parts:
        part.close()


def test_a_batch_that_does_not_part_is_refused(shards: ShardSet) -> None:
    with pytest.raises(InputError, match="expected a multiple of the 4 processes"):
        open_batches(shards, 0, 4)


@pytest.mark.parametrize(
    ("variable", "text"), [("GLOW_WORKERS", "two"), ("GLOW_CACHE_BYTES", "1e9")]
)
@pytest.mark.usefixtures("streamed")
def test_a_variable_that_is_no_number_is_named(
    shards: ShardSet, monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(InputError, match=f"{variable} is '{text}', expected a number"):
        open_batches(shards)


@pytest.mark.usefixtures("streamed")
def test_a_missing_shard_is_named_at_once(tmp_path: Path) -> None:
    shards = numbered(tmp_path)
    shards.files("train")[2].tar.file.unlink()
    with pytest.raises(InputError, match=r"train-000002.tar is missing; `dvc checkout"):
        open_batches(shards, classes=())


def steps_of(batches: Batches, *steps: int) -> list[list[int]]:
    return [numbers(batches(step).levels) for step in steps]


def damage(kind: str, content: bytes) -> bytes:
    if kind == "cut off":
        return content[: len(content) // 2]
    if kind == "overwritten":
        return b"\xff" * len(content)
    return content[:1024] + content[2048:]


@pytest.mark.parametrize("kind", ["cut off", "overwritten", "with a hole"])
@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.usefixtures("streamed")
def test_a_damaged_shard_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, count: int
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", str(count))
    shards = numbered(tmp_path)
    file = shards.files("train")[2].tar.file
    file.write_bytes(damage(kind, file.read_bytes()))
    with (
        closing(open_batches(shards, classes=())) as stream,
        pytest.raises(InputError, match=r"^shard .*train-000002.tar (is damaged|holds).*$"),
    ):
        steps_of(stream, *range(TOTAL // BATCH))
    assert not list(children())


@pytest.mark.usefixtures("streamed")
def test_a_killed_worker_is_an_error_and_not_a_wait(
    shards: ShardSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", "2")
    with closing(open_batches(shards)) as stream:
        steps_of(stream, 0)
        os.kill(next(children()).pid, signal.SIGKILL)
        with pytest.raises(StageError, match=r"^a worker that reads shards ended .*GLOW_WORKERS"):
            steps_of(stream, *range(1, 100))
    assert not list(children())


@pytest.mark.usefixtures("streamed")
def test_a_worker_that_asks_whether_all_is_over_is_not_ended_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else the lock that it asks with is held for ever, and this process waits for it."""

    def slow(event: Any) -> bool:  # noqa: ANN401 - what multiprocessing's is made of
        with event._cond:
            time.sleep(0.3)
            return bool(event._flag.get_value())

    def late(*_: object) -> None:
        raise TimeoutError("the loader still waits for the lock")

    monkeypatch.setenv("GLOW_WORKERS", "1")
    monkeypatch.setattr(synchronize.Event, "is_set", slow)
    shards = numbered(tmp_path)
    file = shards.files("train")[2].tar.file
    file.write_bytes(damage("cut off", file.read_bytes()))
    monkeypatch.setattr(stream, "PORTION_BYTES", 1)
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        with closing(open_batches(shards, classes=())) as batches, pytest.raises(InputError):
            steps_of(batches, *range(TOTAL // BATCH))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not list(children())


@pytest.mark.usefixtures("streamed")
def test_workers_outlive_a_signal_to_the_group_of_the_training(
    shards: ShardSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", "1")
    with closing(open_batches(shards)) as stream:
        stream(0)
        (worker,) = children()
        assert os.getpgid(worker.pid) == worker.pid
        assert os.getsid(worker.pid) == os.getsid(0)


@pytest.mark.usefixtures("streamed")
def test_a_stream_leaves_the_global_random_numbers_alone(shards: ShardSet) -> None:
    before = torch.get_rng_state()
    with closing(open_batches(shards)) as stream:
        stream(0)
    assert torch.equal(torch.get_rng_state(), before)
