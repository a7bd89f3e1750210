"""A shard that lies elsewhere: once it is needed in the cache, as dataset.json says it is."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from stages.errors import InputError
from stages.remote import Remote
from stages.shard_cache import ShardCache


@dataclass(frozen=True)
class RemoteShard:
    """A shard by its URL.

    Attributes:
        remote: where it lies.
        cache: where it is kept.
        name: below the URL, such as `train/train-000000.tar`.
        sha256: of its content, in hexadecimal.
    """

    remote: Remote
    cache: ShardCache
    name: str
    sha256: str

    remedy = "upload data/shards again (docs/streaming.md)"

    def __post_init__(self) -> None:
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise InputError(
                f"dataset.json says that the sha256 of {self.name} is {self.sha256!r}, expected "
                "64 hexadecimal digits"
            )

    def __str__(self) -> str:
        return f"{self.remote}/{self.name}"

    def check(self) -> None:
        """Nothing: whether it is there shows when it is fetched."""

    def open(self) -> int:
        """A descriptor of the tar, fetched if it is not in the cache.

        Raises:
            InputError: the server does not have it, or has something else under its name.
            StageError: the server does not answer, or the disk is full.
        """
        return self.cache.open(self.sha256, self._fetch)

    def fetch_ahead(self) -> None:
        """Fetches it, unless another process does; without patience, but raises as `open`."""
        self.cache.fetch(self.sha256, lambda file: self._fetch(file, wait=False))

    def _fetch(self, file: Path, *, wait: bool = True) -> None:
        found = ""
        for _ in range(2):  # what arrived may be damaged, and what lies there be whole
            self.remote.fetch(self.name, file, wait=wait)
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found == self.sha256:
                return
        raise InputError(
            f"shard {self} has the sha256 {found[:12]}..., expected {self.sha256[:12]}... of "
            f"dataset.json; {self.remedy}"
        )
