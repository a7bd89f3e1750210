"""Decoded images are shared by processes, and forgotten with the one that has decoded them."""

import gc
import multiprocessing
import pickle
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
from official import noise

from stages.sources.mapped import MappedImages


def open_files() -> set[str]:
    links = Path("/proc/self/fd").iterdir()
    return {str(link.readlink()) for link in links if link.is_symlink()}


def test_other_processes_see_the_images() -> None:
    images = MappedImages()
    expected = noise(9)
    with images.filling() as put:
        put(expected[:4])
        put(expected[4:])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seen = pool.map(itemgetter(8), [images])[0]
    assert (seen == expected[8]).all()
    assert len(pickle.dumps(images)) < 500


def test_nothing_stays_behind() -> None:
    before = open_files()
    images = MappedImages()
    assert not images.filled
    for _ in range(2):
        with images.filling() as put:
            put(noise(3))
    assert images.filled
    assert len(open_files() - before) == 1
    del images, put
    gc.collect()
    assert open_files() <= before


def test_images_of_different_shapes_are_refused() -> None:
    with MappedImages().filling() as put:
        put(noise(1))
        with pytest.raises(
            ValueError, match=r"expected images of \(32, 32, 3\), came \(8, 8, 3\)"
        ):
            put(noise(1, 8))


def test_any_order_of_bytes_in_memory_is_written_as_images() -> None:
    images = MappedImages()
    turned = noise(3).transpose(0, 2, 1, 3)
    with images.filling() as put:
        put(turned)
    assert (np.stack([images[number] for number in range(3)]) == turned).all()
