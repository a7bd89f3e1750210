"""The samples of a WebDataset shard: consecutive members of one name up to its first dot."""

import tarfile
from collections.abc import Iterator
from typing import NamedTuple

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

    Raises:
        InputError: the shard is damaged, compressed, or holds links or paths out of it; a key
            comes again after others.
    """
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
                    stem, dot, rest = base.partition(".")
                    suffix = f"{dot}{rest}".lower()
                    text = _text(tar, member) if suffix in TEXTS else b""
                    place = Member(member.offset_data, member.size, text)
                    yield f"{folder}{slash}{stem}", suffix, place
        except InputError:
            raise
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise _damaged(shard, str(error)) from None


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(member) if member.size <= LARGEST_TEXT else None
    if content is None:
        raise ValueError(f"{member.name} has {member.size} bytes, expected at most {LARGEST_TEXT}")
    return content.read()


def _damaged(shard: Location, how: str) -> InputError:
    return InputError(
        f"{shard}: expected an uncompressed tar of images, came a damaged or foreign one ({how}); "
        "copy it again or leave it out"
    )
