"""The rows of Parquet files of encoded images, a few at a time."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import InputError
from stages.sources.files import Location, reached
from stages.sources.parquet_columns import Columns, columns_of

ROWS = 16  # decoded at a time
Cells = tuple[bytes | None, int | None, dict[str, bool | None]]  # image, label, flags


def parquet_files(root: Location) -> list[str]:
    """Sorted paths of the Parquet files below a folder; none where there is no such folder."""
    return root.files({".parquet"}) if root.is_folder() else []


def parquet_rows(file: Location) -> Iterator[tuple[Columns, int, Cells]]:
    """What the columns are, the number of the row, and the cells of each row.

    Raises:
        InputError: it is damaged, no Parquet file, or none of images.
    """
    with reached(file), file.open() as stream:
        try:
            parquet = pq.ParquetFile(stream)
            columns, row = columns_of(f"{file}", parquet.schema_arrow), 0
            for batch in parquet.iter_batches(ROWS, columns=columns.wanted):
                for cells in _cells(columns, batch):
                    yield columns, row, cells
                    row += 1
        except (pa.ArrowException, OSError) as error:
            if file.is_remote and isinstance(error, OSError):
                raise
            raise InputError(
                f"{file}: expected a Parquet file of images, came a damaged or foreign one "
                f"({' '.join(str(error).split())[:200]}); get it again"
            ) from None


def _cells(columns: Columns, batch: pa.RecordBatch) -> Iterator[Cells]:
    """Image, label and flags of each row."""
    images = batch.column(columns.image).to_pylist()
    labels = batch.column(columns.label).to_pylist() if columns.label else [None] * len(images)
    flags = [batch.column(name).to_pylist() for name in columns.attributes]
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        values = zip(columns.attributes, (column[row] for column in flags), strict=True)
        data = image["bytes"] if columns.nested and image is not None else image
        yield data, label, dict(values)
