"""The splits of a data set that names its files after them: train-00000-of-00002.parquet."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from stages.errors import InputError
from stages.sources.source import NOT_TEST

WORDS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


def splits_by_name(where: str, files: Sequence[str]) -> dict[str, str | None]:
    """The split of the images of each file, by the last such word in its path.

    Where only one part besides the training part is there, it is the test part, whatever it is
    called, and the validation images are drawn from the training part.

    Raises:
        InputError: some files have such a word, others have none.
    """
    named = {file: split_word(file) for file in files}
    there = set(named.values())
    if None in there and len(there) > 1:
        without = next(file for file, split in named.items() if split is None)
        raise InputError(
            f"{where}: expected train, validation or test in the name of every file or of none, "
            f"came {without}; rename it, or take it out of the folder"
        )
    return settled(named)


def settled(named: Mapping[str, str | None]) -> dict[str, str | None]:
    """What each part is for, by the words in their names; None where the hash is to decide."""
    there = set(named.values())
    if there == {"train", "valid", "test"}:
        return dict(named)
    if "train" not in there or len(there) == 1:
        return dict.fromkeys(named)
    return {part: NOT_TEST if split == "train" else "test" for part, split in named.items()}


@lru_cache(maxsize=2**12)  # a million images lie in few folders
def split_word(name: str) -> str | None:
    """What the last such word in a name says."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word in WORDS]
    return WORDS[words[-1]] if words else None
