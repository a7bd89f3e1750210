"""A shard that is a file of data/shards."""

import os
from dataclasses import dataclass
from pathlib import Path

from stages.errors import InputError


@dataclass(frozen=True)
class LocalShard:
    """A shard by its path."""

    file: Path

    remedy = "`dvc checkout data/shards` or `dvc repro --force preprocess` restores it"

    def __str__(self) -> str:
        return str(self.file)

    def check(self) -> None:
        """InputError where it is missing."""
        if not self.file.is_file():
            raise InputError(f"shard {self} is missing; {self.remedy}")

    def open(self) -> int:
        """A descriptor of the tar; raises as `check` does."""
        self.check()
        return os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
