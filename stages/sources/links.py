"""Links that are followed: within the folder of a data set, or into the cache it came from."""

import configparser
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# What is called after its content, below the caches of Hugging Face and DVC.
BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
OBJECT = re.compile(r"(files/md5/)?[0-9a-f]{2}/[0-9a-f]{30}")


@dataclass(frozen=True)
class Links:
    """Of the files below a folder.

    Attributes:
        base: the folder, resolved.
    """

    base: Path

    def follows(self, link: Path) -> bool:
        """Whether a link ends below the folder, or at what a cache of the folder keeps."""
        target = link.resolve()
        return target.is_relative_to(self.base) or any(
            target.is_relative_to(cache) and kept.fullmatch(target.relative_to(cache).as_posix())
            for cache, kept in self._caches
        )

    @cached_property
    def _caches(self) -> list[tuple[Path, re.Pattern[str]]]:
        above = [self.base, *self.base.parents]
        return [
            # datasets--OWNER--NAME/snapshots/REVISION links to ../../blobs
            *((of.parent / "blobs", BLOB) for of in above if of.name == "snapshots"),
            *((cache, OBJECT) for cache in _of_dvc(above)),
        ]


def _of_dvc(above: list[Path]) -> Iterator[Path]:
    """The cache of the project around the folder, wherever its configuration has it."""
    project = next((of / ".dvc" for of in above if (of / ".dvc").is_dir()), None)
    if project is None:
        return
    config = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        config.read([project / "config", project / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return
    yield (project / config.get("cache", "dir", fallback="cache")).resolve()
