"""What the folders of images say: the part that an image belongs to, and its class.

`train/cat/1.png`, `test/cat/2.png` is how torchvision's ImageFolder and most downloads have it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from stages.errors import InputError
from stages.sources.split_names import WORDS, settled, split_word

MAX_CLASSES = 1000  # ImageNet's; more folders are an archive's
SHELF = re.compile(r"(?=.*\d)[\da-f_-]{2,}")  # all of one length: dates, or parts of hashes
N_NAMED = 3

Folders = tuple[str, ...]  # of an image, from the outermost


@dataclass(frozen=True)
class Meaning:
    """What was understood.

    Attributes:
        splits: of each image, where its folder settles it.
        classes: names of the classes, in the order of their labels.
        labels: of the images whose class is known.
        parts: what each folder of a part is for.
        doubt: why folders that are there make no classes; "" where nothing is to be said.
    """

    splits: dict[str, str | None] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    doubt: str = ""

    def line(self) -> str:
        """It in words; "" where the folders say nothing."""
        said = []
        if self.parts:
            each = [f"{folder} is {split}" for folder, split in self.parts.items()]
            said.append(f"keeps their parts ({_some(each)}): data.folder.split_folders")
        if self.classes:
            said.append(
                f"takes {len(self.classes)} classes ({_some(self.classes)}): "
                "data.folder.class_folders"
            )
        elif self.doubt:
            said.append(f"takes none for classes, {self.doubt}")
        return "; ".join(said)


def meaning_of(
    where: str, images: Sequence[str], *, split_folders: bool, class_folders: bool
) -> Meaning:
    """Reads the paths of images.

    Args:
        where: they are, for what is said of them.
        images: POSIX paths.
        split_folders: whether folders called train, valid, test or alike are parts.
        class_folders: whether the outermost folders that differ, parts aside, are classes.

    Raises:
        InputError: folders train and test lie beside images that are of no part.
    """
    folders = [tuple(image.split("/")[:-1]) for image in images]
    level = _part_level(where, images, folders) if split_folders else None
    splits: dict[str, str | None] = {}
    parts: dict[str, str] = {}
    if level is not None:
        names = sorted({of[level] for of in folders})
        kept = settled({name: split_word(name) for name in names})
        parts = {name: split for name, split in kept.items() if split is not None}
        splits = {image: kept[of[level]] for image, of in zip(images, folders, strict=True)}
        folders = _without_parts(folders, level)
    if not class_folders:
        return Meaning(splits, parts=parts)
    classes, labels, doubt = _classes(splits, images, folders, numbers=bool(parts))
    return Meaning(splits, classes, labels, parts, doubt)


def _part_level(where: str, images: Sequence[str], folders: list[Folders]) -> int | None:
    """The outermost level at which all folders are called after parts, of which there are more."""
    for level in range(max(map(len, folders), default=0)):
        names = {of[level] if level < len(of) else "" for of in folders}
        said = {split_word(name) for name in names}
        if len(said) > 1 and None not in said:
            return level
        if {"train"} < {WORDS[name.lower()] for name in names if name.lower() in WORDS}:
            alone = next(
                image
                for image, of in zip(images, folders, strict=True)
                if split_word("".join(of[level : level + 1])) is None
            )
            raise InputError(
                f"{where}: expected every image in a folder of its part, as others are in train "
                f"and test, came {alone}; move it, or set data.folder.split_folders to false"
            )
    return None


def _without_parts(folders: list[Folders], level: int) -> list[Folders]:
    """Without the folders of parts, also where they come again: seg_train/seg_train/cat."""
    said = [split_word(of[level]) for of in folders]
    again = {
        other
        for other in range(min(map(len, folders)))
        if [split_word(of[other]) for of in folders] == said
    }
    return [tuple(name for at, name in enumerate(of) if at not in again) for of in folders]


def _classes(
    splits: dict[str, str | None], images: Sequence[str], folders: list[Folders], *, numbers: bool
) -> tuple[tuple[str, ...], dict[str, int], str]:
    """Names, labels, and why there are none; `numbers` may be names.

    The class of a test image may be unknown: many parts for testing are published so.
    """
    level = 0
    while len({of[level] for of in folders if len(of) > level}) == 1:
        level += 1
    of_images = {image: of[level] for image, of in zip(images, folders, strict=True) if of[level:]}
    names = sorted(set(of_images.values()))
    if not names:
        return (), {}, ""
    alone = [i for i in images if i not in of_images and splits.get(i) not in ("valid", "test")]
    if alone:
        return (), {}, f"since {alone[0]} is in none"
    if len(names) > MAX_CLASSES:
        return (), {}, f"since there are {len(names)} of them ({_some(names)})"
    if not numbers and len(set(map(len, names))) == 1 and all(map(SHELF.fullmatch, names)):
        return (), {}, f"since they are numbers ({_some(names)})"
    labels = {name: label for label, name in enumerate(names)}
    return tuple(names), {image: labels[name] for image, name in of_images.items()}, ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:N_NAMED]) + (", ..." if len(names) > N_NAMED else "")
