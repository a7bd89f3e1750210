"""The checkout that flows run in: one of them at a time, and as it was before a sweep."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from filelock import FileLock, Timeout

from pipeline.command import dvc
from pipeline.overrides import PARAMS_FILE, write_atomically

LOCK_FILE = "flow.lock"  # below .dvc/tmp; the system frees it when its process ends, however
DVC_LOCK = "dvc.lock"


@contextlib.contextmanager
def one_flow_at_a_time(root: Path, say: Callable[[str], Any]) -> Iterator[None]:
    """Waits until no other flow runs in this checkout.

    DVC's own locks are held for a stage; between two stages another flow could put other numbers
    into params.yaml, and the rest of this one would run on those.
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
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def left_as_it_was(root: Path, say: Callable[[str], Any]) -> Iterator[None]:
    """Puts params.yaml and all outputs back afterwards; what DVC has in its cache is not lost."""
    with Repo(str(root)) as repo:
        uncached = [Path(out.fs_path) for out in repo.index.outs if not out.use_cache]
    files = [root / PARAMS_FILE, root / DVC_LOCK, *uncached]
    before = {file: file.read_bytes() if file.is_file() else None for file in files}
    try:
        yield
    finally:
        for file, content in before.items():
            if content is None:
                file.unlink(missing_ok=True)
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(file, content)
        if before[root / DVC_LOCK] is not None and dvc("checkout", "--quiet", log=say) != 0:
            say("not all outputs are as before; `dvc repro` makes them again")
