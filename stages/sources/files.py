"""Where the files of a data set lie: in a folder, or behind a URL that fsspec reads."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError
from stages.sources.links import Links

N_SUFFIXES = 20  # of files that are not read
AHEAD = 2**16  # bytes that a remote file is read ahead of what was asked for


@dataclass(frozen=True)
class Location:
    """A file or folder by its path, or by a URL such as s3://bucket/folder.

    What is local raises OSError as Path does. What is remote raises FileNotFoundError where
    there is no such file, and InputError where the store cannot be reached or refuses.
    """

    path: str

    def __str__(self) -> str:
        return self.path

    def __truediv__(self, name: str) -> "Location":
        return Location(
            f"{self.path.rstrip('/')}/{name}" if self.is_remote else f"{self.local / name}"
        )

    @property
    def is_remote(self) -> bool:
        """Whether it is a URL."""
        return "://" in self.path

    @property
    def local(self) -> Path:
        """The path, where it is none of a URL."""
        return Path(self.path)

    def is_folder(self) -> bool:
        """Whether there is such a folder; for a store: whether files lie under it."""
        if not self.is_remote:
            return self.local.is_dir()
        self._system()[0].invalidate_cache()  # somebody may have put files there since
        return bool(self._ask("isdir"))

    def is_file(self) -> bool:
        """Whether there is such a file."""
        return bool(self._ask("isfile")) if self.is_remote else self.local.is_file()

    def files(self, suffixes: set[str] | None = None) -> list[str]:
        """Sorted POSIX paths of the files below it, with one of these suffixes in lower case.

        Hidden ones are left out, and so are links to what is outside, but for the cache of the
        data set; linked folders are not entered, so that none comes twice.

        Raises:
            InputError: a name is not UTF-8.
        """
        return self.sifted(suffixes)[0]

    def sifted(self, suffixes: set[str] | None) -> tuple[list[str], list[str]]:
        """What `files` gives, and the other files that lie there."""
        found: Iterable[str] = self.told() if self.is_remote else _walk(self.local.resolve())
        names: list[str] = []
        others: list[str] = []
        for name in found:
            wanted = suffixes is None or Path(name).suffix.lower() in suffixes
            (names if wanted else others).append(name)
        for name in names:
            if any("\ud800" <= letter <= "\udfff" for letter in name):
                came = os.fsencode(name)
                raise InputError(
                    f"{self}: expected names in UTF-8, came {came!r}; rename the file"
                )
        return sorted(names), others

    def open(self) -> IO[bytes]:
        """The file to read from anywhere in it."""
        if not self.is_remote:
            return self.local.open("rb")
        return self._ask("open", mode="rb", block_size=AHEAD, cache_type="readahead")

    def read(self) -> bytes:
        """All of the file."""
        return self._ask("cat_file") if self.is_remote else self.local.read_bytes()

    def part(self, start: int, length: int) -> bytes:
        """So many bytes from there; fewer where the file ends. One request to a store."""
        if self.is_remote:
            data: bytes = self._ask("cat_file", start=start, end=start + length)
            if len(data) > length:
                raise InputError(
                    f"{self}: expected a server that sends parts of a file (Range), came one that "
                    "sends all of it; copy the data set to a disk"
                )
            return data
        with self.local.open("rb") as stream:
            return os.pread(stream.fileno(), length, start)

    def told(self) -> dict[str, dict[str, Any]]:
        """What a store tells of each file below it, by its path; hidden ones left out."""
        prefix = f"{self._system()[1].rstrip('/')}/"
        told = {}
        for name, about in self._ask("find", detail=True).items():
            relative = name.removeprefix(prefix)
            if prefix.startswith("http"):
                relative = unquote(relative)
            hidden = any(part.startswith(".") for part in relative.split("/"))
            if name.startswith(prefix) and not hidden:
                told[relative] = about
        return told

    def about(self) -> dict[str, Any]:
        """What a store tells of one file, if it is asked; some tell nothing in a list."""
        told: dict[str, Any] = self._ask("info")
        return told

    def _ask(self, method: str, **options: Any) -> Any:  # noqa: ANN401 - fsspec is untyped
        with reached(self):
            system, path = self._system()
            ask: Callable[..., Any] = getattr(system, method)
            return ask(path, **options)

    def _system(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        with reached(self):
            return url_to_fs(self.path)


@contextmanager
def reached(location: Location) -> Iterator[None]:
    """Turns what the library of a store raises into one line; each has errors of its own."""
    try:
        yield
    except (InputError, FileNotFoundError, UnreadableImage):
        raise
    except Exception as error:
        if not location.is_remote:
            raise
        came = " ".join(f"{error}".split()) or type(error).__name__
        raise InputError(
            f"{location}: expected a store that can be read, came {came[:300]}; "
            "check the URL, the credentials and the network"
        ) from None


def by_suffix(names: Iterable[str]) -> dict[str, int]:
    """How many files have each suffix; see `most_frequent`."""
    return most_frequent(Counter(Path(name).suffix for name in names))


def most_frequent(suffixes: Counter[str]) -> dict[str, int]:
    """Suffixes in lower case and how often they come; the rarest are counted as one."""
    counts: Counter[str] = Counter()
    for suffix, count in suffixes.items():
        text = os.fsencode(suffix.lower() or "none").decode(errors="backslashreplace")
        counts[text] += count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ordered[N_SUFFIXES:])
    return dict(ordered[:N_SUFFIXES]) | ({"others": rest} if rest else {})


def _walk(base: Path) -> Iterator[str]:
    links = Links(base)
    for folder, folders, files in os.walk(base):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            file = Path(folder, name)
            if name.startswith(".") or not file.is_file():
                continue
            if not file.is_symlink() or links.follows(file):
                yield file.relative_to(base).as_posix()
