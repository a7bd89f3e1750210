"""Images that end the process that reads them, as a decoder's bug does."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.sources.source import Entry, RawImage


@dataclass(frozen=True)
class DeadlySource:
    """Noise of 8x8 pixels; reading one of the killers is a segmentation fault.

    Attributes:
        n_images: called 0000, 0001, ...
        killers: their names.
        weapon: once this file is there, nothing is deadly; it is made by the first killer.
    """

    n_images: int
    killers: frozenset[str]
    weapon: Path | None = None
    credit: str = "nobody"
    attribute_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    passed_over: dict[str, int] = field(default_factory=dict)

    def entries(self) -> list[Entry]:
        """All of them."""
        return [Entry(f"{index:04d}") for index in range(self.n_images)]

    def read(self, entry: Entry) -> RawImage:
        """Noise that depends on the name, or death."""
        if entry.name in self.killers and not (self.weapon and self.weapon.exists()):
            if self.weapon:
                self.weapon.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        generator = np.random.default_rng(int(entry.name))
        return RawImage(generator.integers(0, 256, (8, 8, 3), np.uint8), {})
