"""Tables beside a folder of images: attributes and splits, as CSV or as CelebA has them."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from stages.errors import InputError

VALUES = {"0": False, "-1": False, "1": True}
SPLIT_NAMES = {
    **{split: split for split in ("train", "valid", "test")},
    **{"0": "train", "1": "valid", "2": "test"},  # CelebA's numbers
}
N_NAMED = 3  # of many names an error shows so many

T = TypeVar("T")
Rows = Iterator[tuple[int, list[str]]]  # line number, cells


def read_attribute_names(file: Path) -> tuple[str, ...]:
    """The attributes of a table, from its header alone."""
    return _attribute_table(file)[0]


def read_attributes(file: Path) -> dict[str, dict[str, bool]]:
    """Reads a CSV (file name, then 0/1 or -1/1), or list_attr_celeba.txt as it is.

    Returns:
        The attributes by the file name of the image, as the table writes it.

    Raises:
        InputError: what is wrong in which line.
    """
    names, rows = _attribute_table(file)
    table: dict[str, dict[str, bool]] = {}
    for line, (image, *cells) in _checked(file, rows, 1 + len(names)):
        for name, cell in zip(names, cells, strict=True):
            if cell not in VALUES:
                raise InputError(
                    f"{file} line {line}, column {name}: expected 0, 1 or -1, came {cell!r}; "
                    "correct it"
                )
        table[image] = {
            name: VALUES[cell] for name, cell in zip(names, cells, strict=True)
        }
    return table


def read_splits(file: Path) -> dict[str, str]:
    """Reads a CSV `name,split` (train, valid or test), or list_eval_partition.txt as it is.

    Returns:
        train, valid or test by the file name of the image, as the table writes it.

    Raises:
        InputError: what is wrong in which line.
    """
    lines = _lines(file)
    if "," in lines[0]:
        rows = _csv(file, lines)
        _, header = next(rows)
        if len(header) != 2 or header[1] in SPLIT_NAMES:
            raise InputError(
                f"{file} line 1: expected the header name,split, came {','.join(header)}; "
                "write it as the first line"
            )
    else:
        rows = _whitespace(lines, first=1)
    table: dict[str, str] = {}
    for line, (image, split) in _checked(file, rows, 2):
        if split not in SPLIT_NAMES:
            raise InputError(
                f"{file} line {line}, column split: expected train, valid or test "
                f"(CelebA: 0, 1 or 2), came {split!r}; correct it"
            )
        table[image] = SPLIT_NAMES[split]
    return table


def match_rows(file: Path, table: Mapping[str, T], images: Sequence[str]) -> dict[str, T]:
    """Finds the row of every image, by its path in the folder or by its base name.

    Raises:
        InputError: a row without an image, an image without a row, a base name that two have.
    """
    bases = {image: image.rpartition("/")[2] for image in images}
    rows = {image: image if image in table else base for image, base in bases.items()}
    _refuse(
        [row for row in table.keys() - set(images) - set(bases.values())],
        f"{file}: expected only images of the folder, came rows for {{}} that are not there; "
        "add the images or delete the rows",
    )
    _refuse(
        [image for image, row in rows.items() if row not in table],
        f"{file}: expected a row for every image, came none for {{}}; "
        "add the rows or remove the images",
    )
    uses = Counter(rows.values())
    _refuse(
        [image for image, row in rows.items() if uses[row] > 1],
        f"{file}: expected one image for a row, came the same base name of {{}}; "
        "write their paths into the table",
    )
    return {image: table[row] for image, row in rows.items()}


def _refuse(names: list[str], message: str) -> None:
    if names:
        shown = ", ".join(sorted(names)[:N_NAMED]) + (", ..." if len(names) > N_NAMED else "")
        raise InputError(message.format(f"{len(names)} image(s) ({shown})"))


def _attribute_table(file: Path) -> tuple[tuple[str, ...], Rows]:
    lines = _lines(file)
    if lines[0].strip().isdecimal():
        names = tuple(lines[1].split()) if len(lines) > 1 else ()
        count, found = int(lines[0]), sum(1 for line in lines[2:] if line.strip())
        if count != found:
            raise InputError(
                f"{file} line 1: expected {count} rows as it says, came {found}; "
                "copy the file again, or correct the count"
            )
        header, rows = 2, _whitespace(lines[2:], first=3)
    else:
        rows = _csv(file, lines)
        header, (_, *names_read) = next(rows)[0], *next(iter([lines])) if False else (1, [])
    _check_header(file, header, names)
    return names, rows
