"""The samples of a WebDataset shard: consecutive members of one name up to its suffixes.

In `0.seg.png` these are `.seg.png`, as for the library. In `IMG_1.2024.jpg` it is `.jpg`, since a
number is taken for part of the name.
"""

import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from glow.apps.pictures import SUFFIXES
from stages.errors import InputError
from stages.sources.archive import plain_members
from stages.sources.files import Location, reached

TEXTS = {".json", ".cls"}
LARGEST_TEXT = 2**20  # bytes


class Member(NamedTuple):
    """Where a file of a sample lies in the shard, and its content where it is a text."""

    start: int
    size: int
    text: bytes


Sample = dict[str, Member]  # by suffix, as .jpg or .seg.png


def samples(shard: Location) -> Iterator[tuple[str, Sample]]:
    """Keys and samples, from one walk over the headers.

    A name may have dots of its own: `St.Gallen.jpg`, `St.Moritz.jpg`. So where no image is called
    as its key is, each that is there has a key of its own, `St.gallen`, as have its texts.

    Raises:
        InputError: the shard is damaged, compressed, or holds links or paths out of it; a key
            comes again after others.
    """
    for key, sample in _samples(shard):
        stems = {PurePosixPath(s).stem for s in sample if PurePosixPath(s).suffix in SUFFIXES}
        if not stems or not sample.keys().isdisjoint(SUFFIXES):
            yield key, sample
            continue
        parts: dict[str, Sample] = {stem: {} for stem in sorted(stems)}
        rest: Sample = {}
        for suffix, member in sample.items():
            path = PurePosixPath(suffix)
            if path.stem in parts:
                parts[path.stem][path.suffix] = member
            else:
                rest[suffix] = member
        yield from ((f"{key}{stem}", part) for stem, part in parts.items())
        if rest:
            yield key, rest


def _samples(shard: Location) -> Iterator[tuple[str, Sample]]:
    keys: set[str] = set()
    sample: Sample = {}
    current = ""
    for key, suffix, member in _members(shard):
        if key != current:
            if sample:
                yield current, sample
            if key in keys:
                raise _damaged(shard, f"{key} comes again after other keys")
            keys.add(key)
            current, sample = key, {}
        if suffix in sample:
            raise _damaged(shard, f"{key}{suffix} is in it twice")
        sample[suffix] = member
    if sample:
        yield current, sample


def _members(shard: Location) -> Iterator[tuple[str, str, Member]]:
    with reached(shard), shard.open() as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in plain_members(tar):
                    folder, slash, base = member.name.rpartition("/")
                    if base.startswith("."):  # what macOS puts beside each file
                        continue
                    stem, suffix = _split(base)
                    text = _text(tar, member, suffix)
                    place = Member(member.offset_data, member.size, text)
                    yield f"{folder}{slash}{stem}", suffix, place
        except InputError:
            raise
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise _damaged(shard, str(error)) from None


def _split(base: str) -> tuple[str, str]:
    """The stem of a file's name and its suffixes, in lower case."""
    parts = base.split(".")
    n_suffixes = 0
    while n_suffixes + 1 < len(parts) and parts[-1 - n_suffixes].isidentifier():
        n_suffixes += 1
    stem = ".".join(parts[: len(parts) - n_suffixes])
    return stem, base[len(stem) :].lower()


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> bytes:
    if PurePosixPath(suffix).suffix not in TEXTS and suffix not in TEXTS:
        return b""
    content = tar.extractfile(member) if member.size <= LARGEST_TEXT else None
    if content is not None:
        return content.read()
    if suffix in TEXTS:
        raise ValueError(f"{member.name} has {member.size} bytes, expected at most {LARGEST_TEXT}")
    return b""


def _damaged(shard: Location, how: str) -> InputError:
    return InputError(
        f"{shard}: expected an uncompressed tar of images, came a damaged or foreign one ({how}); "
        "copy it again or leave it out"
    )
