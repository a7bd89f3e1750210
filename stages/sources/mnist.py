"""MNIST and Fashion-MNIST: IDX files, gzipped or not, of either naming."""

import gzip
import io
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stages.sources.published import Part, Publication
from stages.sources.source import Pixels

UNSIGNED_BYTES = 0x08
LARGEST = 2**28  # bytes of one unpacked file
PARTS = {"train": "train", "t10k": "test"}


def _parts(publication: Publication, folder: Path) -> Iterator[Part]:
    for prefix, part in PARTS.items():
        images = _find(publication, folder, f"{prefix}-images", "idx3-ubyte")
        labels = _find(publication, folder, f"{prefix}-labels", "idx1-ubyte")
        yield publication.check_part(
            images,
            Part(part, _read(publication, images, 3)[..., None], _read(publication, labels, 1)),
        )


def _find(publication: Publication, folder: Path, stem: str, kind: str) -> Path:
    for name in (f"{stem}-{kind}", f"{stem}.{kind}"):
        for file in (folder / f"{name}.gz", folder / name):
            if file.is_file():
                return file
    raise publication.missing(folder, f"no {stem}-{kind}.gz")


def _read(publication: Publication, file: Path, n_dimensions: int) -> Pixels:
    with file.open("rb") as packed, publication.reading(file):
        stream = gzip.GzipFile(fileobj=packed) if file.suffix == ".gz" else packed
        header = stream.read(4 + 4 * n_dimensions)
        if header[:4] != bytes((0, 0, UNSIGNED_BYTES, n_dimensions)):
            raise ValueError(
                f"expected the first bytes of an IDX file of {n_dimensions} dimensions, "
                f"came {header[:4].hex(' ') or 'an empty file'}"
            )
        shape = struct.unpack(f">{n_dimensions}I", header[4:].ljust(4 * n_dimensions, b"\0"))
        size = math.prod(shape)
        if not 0 < size <= LARGEST:
            raise ValueError(f"its header speaks of {size} bytes")
        content = stream.read(size + 1)
        if len(content) != size:
            came = "more" if len(content) > size else len(content)
            raise ValueError(f"expected {size} bytes after the header, came {came}")
    official = file.name.removesuffix(".gz").replace(".idx", "-idx")
    publication.check(file, io.BytesIO(header + content), official)
    return np.frombuffer(content, np.uint8).reshape(shape)


GARMENTS = "T-shirt_top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle_boot"
LAYOUT = (
    "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
    "t10k-labels-idx1-ubyte.gz, gzipped or not"
)
MNIST = {
    "mnist": Publication(
        title="MNIST",
        credit=(
            "MNIST by Yann LeCun, Corinna Cortes and Christopher J. C. Burges "
            "(http://yann.lecun.com/exdb/mnist/), CC BY-SA 3.0"
        ),
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        layout=LAYOUT,
        side=28,
        margin=2,
        classes=tuple(f"digit_{digit}" for digit in range(10)),
        counts={"train": 60000, "test": 10000},
        md5={
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
        parts=_parts,
    ),
    "fashion_mnist": Publication(
        title="Fashion-MNIST",
        credit=(
            "Fashion-MNIST by Han Xiao, Kashif Rasul and Roland Vollgraf, Zalando Research "
            "(https://github.com/zalandoresearch/fashion-mnist), MIT license"
        ),
        url="https://github.com/zalandoresearch/fashion-mnist",
        layout=LAYOUT,
        side=28,
        margin=2,
        classes=tuple(GARMENTS.split()),
        counts={"train": 60000, "test": 10000},
        md5={
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
        parts=_parts,
    ),
}
