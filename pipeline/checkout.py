"""The checkout that flows run in: one of them at a time, and as it was before."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.aside import Aside
from pipeline.dag import outputs
from pipeline.errors import PipelineError
from pipeline.overrides import PARAMS_FILE, write_atomically

LOCK_FILE = "flow.lock"  # below .dvc/tmp; the system frees it when its process ends, however

Say = Callable[[str], Any]


@contextlib.contextmanager
def one_flow_at_a_time(root: Path, say: Say) -> Iterator[None]:
    """Waits until no other flow runs in this checkout, and undoes what a killed one has left.

    DVC's own locks are held for a stage; between two stages another flow could put other numbers
    into params.yaml, and the rest of this one would run on those.

    Raises:
        PipelineError: the disk does not take what is to be put back, which is not lost.
    """
    folder = root / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE, is_singleton=True)  # a sweep's flows are within its own
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another flow runs in this checkout; this one waits until it has ended")
        lock.acquire()
    try:
        _undo_a_killed_one(root, say)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def with_params(root: Path, text: str, say: Say) -> Iterator[None]:
    """The text is in params.yaml meanwhile; afterwards the checkout is as it was.

    That is params.yaml, dvc.lock and all outputs. What the stages made is in DVC's cache.

    Raises:
        PipelineError: the disk does not take what is put aside; then nothing has changed.
    """
    try:
        aside = Aside.begin(root, text, outputs(root))
        write_atomically(root / PARAMS_FILE, text.encode())
    except OSError as error:
        raise PipelineError(f"the outputs cannot be put aside: {error}") from None
    try:
        aside.keep(outputs(root))  # those of a template in dvc.yaml that reads the params
        yield
    finally:
        try:
            if aside.edited:
                say(f"{PARAMS_FILE} was edited meanwhile and stays, with this run's overrides")
            aside.put_back()
        except OSError as error:
            say(f"the checkout is not yet as it was ({error}); the next run puts the rest back")


def _undo_a_killed_one(root: Path, say: Say) -> None:
    aside = Aside.left_behind(root)
    if aside is None:
        return
    if aside.edited:  # then what is here may be newer than what was put aside
        say(f"a run was killed, but {PARAMS_FILE} is not as that left it: nothing is put back")
        aside.forget()
    else:
        try:
            aside.put_back()
        except OSError as error:
            raise PipelineError(f"what a killed run changed cannot be put back: {error}") from None
        say("a run was killed that had other params; all is put back as it was before")
