"""The images most like an image: nearest neighbours of small descriptors, by faiss.

The descriptor is the image's 8x8 averages without their mean and contrast, so that it barely
changes when an image is brightened, compressed, or cut at its edges. It is of whole numbers so
small that float32 adds their squares exactly, and the cells of the index are images of a seeded
draw rather than means of k-means: every machine with any number of threads finds the same.
"""

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from stages.looks import CELLS

DIMS = CELLS * CELLS * 3
LEAST_CONTRAST = 2.0  # of 255, in the mean square; what is flatter is not amplified as much
SCALE = 512.0  # of the descriptor of length 1; few numbers are clipped at 127
NEIGHBORS = 6  # that are looked at for each image
LARGE, PROBED = 100_000, 64  # images that are worth an index of cells, and the cells then searched
CHUNK = 10_000  # images at a time

Numbers = NDArray[np.int64]


def neighbors(
    colors: NDArray[np.uint8], among: Numbers, of: Numbers
) -> Iterator[tuple[Numbers, Numbers]]:
    """The nearest NEIGHBORS of images, CHUNK images at a time.

    Args:
        colors: of all images, (N, CELLS, CELLS, 3).
        among: numbers of the images that are searched.
        of: numbers of the images whose neighbours are wanted.

    Yields:
        Numbers of n images, (n,), and of their neighbours, nearest first, (n, NEIGHBORS + 1): the
        image itself among them if it is searched, and -1 where there are no more.
    """
    if not len(among):
        return
    index = _index(colors, among)
    for some in _chunks(of):
        _, places = index.search(_described(colors[some]), NEIGHBORS + 1)
        yield some, np.where(places < 0, -1, among[places])


def distances(colors: NDArray[np.uint8], images: Numbers, others: Numbers) -> NDArray[np.float32]:
    """Of pairs of images, squared, from 0 to 4: 2 where they have nothing in common."""
    apart = _described(colors[images]) - _described(colors[others])
    found: NDArray[np.float32] = (apart * apart).sum(axis=1) / np.float32(SCALE**2)
    return found


def _index(colors: NDArray[np.uint8], among: Numbers) -> faiss.Index:
    flat = faiss.IndexFlatL2(DIMS)
    index = flat if len(among) <= LARGE else _in_cells(flat, colors, among)
    for some in _chunks(among):
        index.add(_described(colors[some]))
    return index


def _in_cells(flat: faiss.Index, colors: NDArray[np.uint8], among: Numbers) -> faiss.Index:
    n_cells = int(4 * len(among) ** 0.5)
    middles = np.random.default_rng(0).choice(among, n_cells, replace=False)
    flat.add(_described(colors[middles]))
    kind = faiss.ScalarQuantizer.QT_8bit_direct  # whole numbers below 256, as they are
    index = faiss.IndexIVFScalarQuantizer(flat, DIMS, n_cells, kind)
    index.by_residual = False
    index.is_trained = True
    index.nprobe = PROBED
    return index


def _described(colors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, DIMS): whole numbers from 0 to 255."""
    values = colors.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values = values.reshape(len(values), DIMS)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    values *= SCALE / np.maximum(length, LEAST_CONTRAST * DIMS**0.5)
    return np.clip(np.round(values), -127, 127) + 128


def _chunks(numbers: Numbers) -> Iterator[Numbers]:
    for start in range(0, len(numbers), CHUNK):
        yield numbers[start : start + CHUNK]
