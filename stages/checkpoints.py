"""Checkpoints of a training: outside of DVC's outputs, so that a stopped one can go on."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from glow.parallel import average, rank
from glow.state import DamagedState
from glow.trainer import Trainer
from stages.errors import StageError

LOCK_SECONDS = 10.0  # processes whose parent was killed need a moment to notice and to end


@dataclass
class Checkpoints:
    """Of the training with a fingerprint; its first process alone writes them.

    Attributes:
        folder: `.cache/checkpoints/<fingerprint>` in the main checkout.
        minutes: between two.
    """

    folder: Path
    minutes: float
    _saved: float = field(default_factory=time.monotonic, init=False)

    @classmethod
    @contextmanager
    def open(cls, fingerprint: str, minutes: float) -> Iterator["Checkpoints"]:
        """The folder, locked while this training runs.

        Raises:
            StageError: another training of the same fingerprint runs.
        """
        folder = Path(os.environ.get("DVC_ROOT", ".")) / ".cache" / "checkpoints" / fingerprint
        with _locked(folder) if rank() == 0 else nullcontext():
            yield cls(folder, minutes)

    @property
    def file(self) -> Path:
        """The one checkpoint that is kept."""
        return self.folder / "trainer.safetensors"

    def resume(self, trainer: Trainer) -> None:
        """Goes on from the checkpoint, if there is one; one that is damaged is named.

        Raises:
            StageError: the processes of a training see different checkpoints.
        """
        said = ""
        try:
            if trainer.resume(self.file):
                said = f"goes on from step {trainer.step}, kept in {self.file}"
        except DamagedState as error:
            said = f"warning: {error}; the training starts anew"
        if said and rank() == 0:
            print(said, flush=True)
        step = torch.tensor(
            float(trainer.step), dtype=torch.float64, device=trainer.weights.device
        )
        if float(average(step.clone())) != float(step):
            raise StageError(
                f"process {rank()} is at step {trainer.step} in {self.file.absolute()}, others "
                "are not; expected a folder that all nodes share"
            )

    def due(self) -> bool:
        """Whether it is time for another."""
        return time.monotonic() - self._saved > 60 * self.minutes

    def save(self, trainer: Trainer) -> None:
        """Writes one; where the disk cannot take it a line says so, and the former one stays."""
        if rank() > 0:
            return
        try:
            trainer.save(self.file)
        except OSError as error:
            print(
                f"warning: no checkpoint of step {trainer.step}: {error}; the former one is as it "
                f"was; make room, the next is written in {self.minutes:g} minutes",
                file=sys.stderr,
                flush=True,
            )
        self._saved = time.monotonic()

    def keep(self, trainer: Trainer, name: str) -> None:
        """Writes the state beside the checkpoint, to look at; OSError where the disk is full."""
        if rank() == 0:
            trainer.save(self.folder / name)

    def remove(self) -> None:
        """After a success."""
        if rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise StageError(
            f"another training of these very params and data runs and holds {lock.lock_file}; "
            "wait for it, or stop it and try again"
        ) from None
    try:
        for left_behind in folder.glob(".*.tmp"):  # of writers that were killed
            left_behind.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
