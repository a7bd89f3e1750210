"""A published data set as Parquet files of encoded images, as Hugging Face's hub has it."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from glow.apps.pictures import UnreadableImage, decode
from stages.sources.files import Location
from stages.sources.parquet_columns import Columns
from stages.sources.parquet_rows import Cells, parquet_files, parquet_rows
from stages.sources.pictures import from_bytes
from stages.sources.published import Part, Publication
from stages.sources.source import Pixels
from stages.sources.split_names import split_word

PARTS = ("train", "test")
AT_ONCE = 4096  # images that are decoded before they are handed on


def parquet_parts(publication: Publication, folder: Path) -> Iterator[Part]:
    """The parts that the names of the files tell, in their order, some images at a time.

    Raises:
        InputError: a part has no file, a file is of no part, or holds other images or classes.
    """
    root = Location(str(folder))
    parts = {file: split_word(file) for file in parquet_files(root)}
    for wanted in PARTS:
        if wanted not in parts.values():
            raise publication.missing(folder, f"no Parquet file with {wanted} in its name")
    for file, part in parts.items():
        if part is None or part not in PARTS:
            raise publication.missing(folder, f"also {file}, which is of no official part")
        rows = parquet_rows(root / file)
        while some := list(islice(rows, AT_ONCE)):
            with publication.reading(folder / file):
                images = _part(publication, part, some)
            yield publication.check_part(folder / file, images)


def _part(publication: Publication, name: str, rows: list[tuple[Columns, int, Cells]]) -> Part:
    classes = rows[0][0].classes
    if classes not in ((), publication.classes):
        expected, came = (", ".join(names)[:200] for names in (publication.classes, classes))
        raise ValueError(f"expected the classes {expected}, came {came}")
    images = np.stack([_decoded(publication, row, image) for _, row, (image, _, _) in rows])
    labels = [label for _, _, (_, label, _) in rows if label is not None]
    return Part(name, images, np.array(labels, np.int64))


def _decoded(publication: Publication, row: int, data: bytes | None) -> Pixels:
    """Of the right size, which is looked at before the pixels are."""
    if data is None:
        raise ValueError(f"row {row} has no image")
    try:
        with from_bytes(data) as image:
            if image.size != (publication.side, publication.side):
                came = "x".join(map(str, image.size))
                raise ValueError(f"row {row}: expected {publication.side} pixels, came {came}")
            return np.asarray(decode(image))
    except UnreadableImage as error:
        raise ValueError(f"row {row}: {error}") from None
