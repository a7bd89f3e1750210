"""Tables beside a folder of images: attributes and splits, as CSV or as CelebA has them."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TypeVar
from unicodedata import normalize

from stages.errors import InputError
from stages.sources.files import Location

VALUES = {
    **{"0": False, "-1": False, "1": True},
    **{"0.0": False, "-1.0": False, "1.0": True, "false": False, "true": True},  # as pandas writes
}
UNKNOWN = {"", "nan", "na", "<na>", "none", "null"}
INDEX = {"", "Unnamed: 0"}  # headers of the numbers that pandas puts before the rows
SPLIT_NAMES = {
    **{split: split for split in ("train", "valid", "test")},
    **{"0": "train", "1": "valid", "2": "test"},  # CelebA's numbers
}
N_NAMED = 3  # of many names an error shows so many

T = TypeVar("T")
Rows = Iterator[tuple[int, list[str]]]  # line number, cells


def read_attribute_names(file: Location) -> tuple[str, ...]:
    """The attributes of a table, from its header alone."""
    return _attribute_table(file)[0]


def read_attributes(file: Location) -> dict[str, dict[str, bool]]:
    """Reads a CSV (file name, then 0/1, -1/1 or False/True), or list_attr_celeba.txt as it is.

    Returns:
        The attributes by the file name of the image, as the table writes it; where a field is
        empty, the image has no such key.

    Raises:
        InputError: what is wrong in which line.
    """
    names, rows = _attribute_table(file)
    table: dict[str, dict[str, bool]] = {}
    for line, (image, *cells) in _checked(file, rows, 1 + len(names)):
        known = table.setdefault(image, {})
        for name, cell in zip(names, cells, strict=True):
            value = cell.lower()
            if value in VALUES:
                known[name] = VALUES[value]
            elif value not in UNKNOWN:
                raise InputError(
                    f"{file} line {line}, column {name}: expected 0, 1 or -1, False or True, or "
                    f"nothing, came {cell!r}; correct it"
                )
    never = [name for name in names if not any(name in known for known in table.values())]
    if never:
        raise InputError(
            f"{file}, column {never[0]}: expected a value for some image, came none; fill in the "
            "column or delete it"
        )
    return table


def read_splits(file: Location) -> dict[str, str]:
    """Reads a CSV `name,split` (train, valid or test), or list_eval_partition.txt as it is.

    Returns:
        train, valid or test by the file name of the image, as the table writes it.

    Raises:
        InputError: what is wrong in which line.
    """
    lines = _lines(file)
    if "," in lines[0]:
        rows = _without_numbers(_csv(file, lines))
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


def read_columns(file: Location, key: str, value: str) -> dict[str, str]:
    """Reads two columns of a table of words, whose first line names them, such as image_list.txt.

    Raises:
        InputError: what is wrong in which line.
    """
    lines = _lines(file)
    names = lines[0].split()
    if key not in names or value not in names:
        raise InputError(
            f"{file} line 1: expected the columns {key} and {value}, came {lines[0][:60]!r}; "
            "get it again"
        )
    rows = _checked(file, _whitespace(lines[1:], first=2), len(names))
    return {cells[names.index(key)]: cells[names.index(value)] for _, cells in rows}


def match_rows(file: Location, table: Mapping[str, T], images: Sequence[str]) -> dict[str, T]:
    """Finds the row of every image, by its path in the folder or by its base name.

    Some systems write an accented letter as one character, others as two: names that differ in
    that alone are the same, unless the table has both.

    Raises:
        InputError: a row without an image, an image without a row, a base name that two have.
    """
    by_form = {normalize("NFC", row): row for row in table}
    rows: dict[str, str | None] = {}
    names: set[str] = set()
    for image in images:
        spellings = [image, image.rpartition("/")[2]]
        forms = [normalize("NFC", name) for name in spellings]
        found = [name for name in spellings if name in table]
        found += [by_form[form] for form in forms if form in by_form]
        rows[image] = found[0] if found else None
        names.update(forms)
    _refuse(
        f"{file}: expected only images of the folder, came rows without an image:",
        [row for form, row in by_form.items() if form not in names],
        "add the images or delete the rows",
    )
    _refuse(
        f"{file}: expected a row for every image, came images without a row:",
        [image for image, row in rows.items() if row is None],
        "add the rows or remove the images",
    )
    uses = Counter(rows.values())
    _refuse(
        f"{file}: expected one image for a row, came images with the same base name:",
        [image for image, row in rows.items() if uses[row] > 1],
        "write their paths into the table",
    )
    return {image: table[row] for image, row in rows.items() if row is not None}


def _refuse(trouble: str, names: list[str], remedy: str) -> None:
    if names:
        shown = ", ".join(sorted(names)[:N_NAMED]) + (", ..." if len(names) > N_NAMED else "")
        raise InputError(f"{trouble} {len(names)} ({shown}); {remedy}")


def _attribute_table(file: Location) -> tuple[tuple[str, ...], Rows]:
    lines = _lines(file)
    if lines[0].strip().isdecimal():
        count, found = int(lines[0]), sum(1 for line in lines[2:] if line.strip())
        if count != found:
            raise InputError(
                f"{file} line 1: expected {count} rows as it says, came {found}; "
                "copy the file again, or correct the count"
            )
        number, names, rows = 2, lines[1].split(), _whitespace(lines[2:], first=3)
    else:
        rows = _without_numbers(_csv(file, lines))
        number, (_, *names) = next(rows)
    where = f"{file} line {number}"
    if not names or set(names) & VALUES.keys():
        raise InputError(
            f"{where}: expected a header of the file name and attribute names, separated by "
            f"commas, came {lines[number - 1][:60]!r}; write it as the first line"
        )
    if "" in names:
        raise InputError(
            f"{where}: expected a name for every column, came an empty one in column "
            f"{names.index('') + 2}; name it or delete the column"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"{where}: expected different column names, came {twice[0]!r} twice; rename one"
        )
    return tuple(names), rows


def _lines(file: Location) -> list[str]:
    try:
        text = file.read().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise InputError(
            f"{file}: expected a table, came no such file; copy it there, or set its key in "
            "data.folder to null"
        ) from None
    except UnicodeDecodeError:
        raise InputError(
            f"{file}: expected text in UTF-8, came other bytes; save it as UTF-8"
        ) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not any(line.strip() for line in lines[1:]):
        raise InputError(f"{file}: expected a header and rows, came no row; fill the table")
    return lines


def _csv(file: Location, lines: list[str]) -> Rows:
    reader = csv.reader(lines)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) or reader.line_num == 1:
                yield reader.line_num, [cell.strip() for cell in cells] or [""]
    except csv.Error as error:
        raise InputError(
            f"{file} line {reader.line_num}: expected CSV, came a line that is not ({error}); "
            "correct it"
        ) from None


def _without_numbers(rows: Rows) -> Rows:
    """Rows without the column in which pandas numbers them, if they have it."""
    first = list(islice(rows, 2))
    numbered = len(first) == 2 and first[0][1][0] in INDEX and first[1][1][0].isdecimal()
    for line, cells in chain(first, rows):
        yield line, cells[1:] if numbered else cells


def _whitespace(lines: list[str], first: int) -> Rows:
    for number, line in enumerate(lines, start=first):
        if line.strip():
            yield number, line.split()


def _checked(file: Location, rows: Rows, n_cells: int) -> Rows:
    """Rows with so many cells and a file name that came only once."""
    seen: dict[str, int] = {}
    for line, cells in rows:
        if len(cells) != n_cells:
            raise InputError(
                f"{file} line {line}: expected {n_cells} columns, came {len(cells)}; correct it"
            )
        if cells[0] in seen:
            raise InputError(
                f"{file} line {line}: expected every image once, came {cells[0]!r} again after "
                f"line {seen[cells[0]]}; delete one"
            )
        seen[cells[0]] = line
        yield line, cells
