"""Checkpoints of a training: outside of DVC's outputs, so that a stopped one can go on."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from glow.atomic import make_folder
from glow.parallel import LostProcess, average, rank
from glow.state import DamagedState
from glow.trainer import Trainer
from stages.errors import InputError, StageError
from stages.workplace import Workplace, changed

CHECKPOINTS = Path(".cache/checkpoints")
FILE = "trainer.safetensors"
KEPT = 8  # trainings that were begun: as many as an interrupted sweep on the GPUs of a machine has


@dataclass
class Checkpoints:
    """Of a training; its first process alone writes them.

    Attributes:
        folder: `.cache/checkpoints/<fingerprint>-<code>` in the main checkout.
        minutes: between two.
    """

    folder: Path
    minutes: float
    _time: float = field(default_factory=time.monotonic, init=False)
    _step: int | None = field(default=None, init=False)
    _done: bool = field(default=False, init=False)

    @classmethod
    @contextmanager
    def open(
        cls, fingerprint: str, code: str, minutes: float, device: torch.device
    ) -> Iterator["Checkpoints"]:
        """The folder, locked while this training runs; waits for another one that has it.

        All processes of a training wait, so that a signal reaches each within a second. If the
        other training succeeds meanwhile it leaves its last checkpoint, which has all of it.

        Args:
            fingerprint: of seed, params and data.
            code: a digest of the code: what other code began is not gone on with.
            minutes: between two checkpoints.
            device: of this process.
        """
        place = Workplace(
            CHECKPOINTS, f"{fingerprint}-{code}", "trains with the same params and data"
        )
        checkpoints = cls(place.folder, minutes)
        try:
            while not _all(device, ready=rank() > 0 or place.acquire()):
                pass
            if rank() > 0:
                yield checkpoints
                return
            if not checkpoints.file.exists():
                _pass_over(place.root.glob(f"{fingerprint}*/{FILE}"))
            place.remove_old(KEPT, "trainings that were stopped and did not go on")
            with checkpoints._tidied(place):
                yield checkpoints
        finally:
            place.release()

    @property
    def file(self) -> Path:
        """The one checkpoint that is kept."""
        return self.folder / FILE

    def resume(self, trainer: Trainer) -> None:
        """Goes on from the checkpoint, if there is one; one that is damaged is named.

        Raises:
            StageError: the processes of a training see different checkpoints.
        """
        said = ""
        try:
            if trainer.resume(self.file):
                self._step = trainer.step
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
        return time.monotonic() - self._time > 60 * self.minutes

    def save(self, trainer: Trainer) -> None:
        """Writes one; where the disk cannot take it a line says so, and the former one stays."""
        if rank() > 0:
            return
        try:
            trainer.save(self.file)
            self._step = trainer.step
        except OSError as error:
            print(
                f"warning: no checkpoint of step {trainer.step}: {error}; the former one is as it "
                f"was; make room, the next is written in {self.minutes:g} minutes",
                file=sys.stderr,
                flush=True,
            )
        self._time = time.monotonic()

    @contextmanager
    def left_by(self, trainer: Trainer) -> Iterator[None]:
        """What ends a training inside, between two updates, leaves a checkpoint of the last."""
        try:
            yield
        except (InputError, StageError, LostProcess, OSError, SystemExit):
            if self._step != trainer.step:
                self.save(trainer)
            raise

    def keep(self, trainer: Trainer, name: str) -> None:
        """Writes the state beside the checkpoint, to look at; OSError where the disk is full."""
        if rank() == 0:
            trainer.save(self.folder / name)

    def remove(self) -> None:
        """After a success: at the end, unless another process waits for what this one has."""
        self._done = True

    @contextmanager
    def _tidied(self, place: Workplace) -> Iterator[None]:
        make_folder(self.folder)
        for left_behind in self.folder.glob(".*.tmp"):  # of writers that were killed
            left_behind.unlink(missing_ok=True)
        try:
            yield
        finally:
            if self._done and not place.is_awaited():
                shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # it holds a checkpoint, or is gone
                self.folder.rmdir()


def _all(device: torch.device, *, ready: bool) -> bool:
    """Whether all processes are."""
    return float(average(torch.tensor(float(ready), dtype=torch.float64, device=device))) == 1.0


def _pass_over(files: Iterator[Path]) -> None:
    """Says so of checkpoints that this code cannot go on from."""
    found = sorted(files, key=changed)
    if found:
        print(
            f"the training starts anew: {found[-1]} is of the same params and data, but of other "
            "code (or another torch); with that, `dvc repro` would go on from it",
            file=sys.stderr,
            flush=True,
        )
