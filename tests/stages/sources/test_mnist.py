"""MNIST and Fashion-MNIST: IDX files in every naming, and what is wrong with bad ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from official import idx, noise, read_all, small, write

from stages.errors import InputError
from stages.sources.arrays import ArraySource
from stages.sources.mnist import MNIST
from stages.sources.source import NOT_TEST, Pixels

TRAIN, TEST = noise(5, 28, 1), noise(3, 28, 1, seed=1)
TRAIN_LABELS, TEST_LABELS = [0, 9, 3, 3, 1], [2, 2, 7]


def publish(folder: Path, ending: str = "-{}.gz") -> None:
    for prefix, images, labels in (("train", TRAIN, TRAIN_LABELS), ("t10k", TEST, TEST_LABELS)):
        pixels, classes = idx(images[..., 0]), idx(np.array(labels, np.uint8))
        write(folder / f"{prefix}-images{ending.format('idx3-ubyte')}", pixels)
        write(folder / f"{prefix}-labels{ending.format('idx1-ubyte')}", classes)


def framed(images: Pixels) -> Pixels:
    return np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))).repeat(3, axis=3)


@pytest.mark.parametrize("name", MNIST)
@pytest.mark.parametrize("ending", ["-{}.gz", "-{}", ".{}", ".{}.gz"])
def test_every_naming_gives_images_labels_and_splits(
    tmp_path: Path, name: str, ending: str
) -> None:
    publish(tmp_path, ending)
    source = small(MNIST[name], tmp_path)
    entries = source.entries()
    assert [entry.label for entry in entries] == TRAIN_LABELS + TEST_LABELS
    assert [entry.split for entry in entries] == [NOT_TEST] * 5 + ["test"] * 3
    assert (read_all(source) == framed(np.concatenate([TRAIN, TEST]))).all()


def test_classes_are_names_of_files() -> None:
    assert MNIST["mnist"].classes[0] == "digit_0"
    assert MNIST["fashion_mnist"].classes[9] == "Ankle_boot"
    assert not any("/" in name for name in MNIST["fashion_mnist"].classes)


@pytest.mark.parametrize("lost", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_a_missing_file(tmp_path: Path, lost: str) -> None:
    publish(tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(InputError, match=rf"came no {lost}; get it from https://\S+, or") as error:
        small(MNIST["fashion_mnist"], tmp_path).entries()
    assert "\n" not in str(error.value)


IMAGES = idx(TRAIN[..., 0])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\x00\x00\x08\x01" + IMAGES[4:], "came 00 00 08 01"),
        (b"", "came an empty file"),
        (IMAGES[:9], "speaks of 0 bytes"),
        (IMAGES[:4] + b"\xff" * 12, "speaks of 79228162458924105385300197375 bytes"),
        (IMAGES[:-1], "expected 3920 bytes after the header, came 3919"),
        (IMAGES + b"\0", "expected 3920 bytes after the header, came more"),
        (idx(TRAIN[:, :, :14, 0]), "expected images of 28x28, came 14x28"),
        (idx(TRAIN[:4, ..., 0]), "4 images, 5 labels"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes, line: str) -> None:
    publish(tmp_path)
    write(tmp_path / "train-images-idx3-ubyte.gz", content)
    with pytest.raises(InputError, match=rf"train-images-idx3-ubyte.gz: .*{line}.* get it again"):
        small(MNIST["mnist"], tmp_path).entries()


def test_a_cut_gzip(tmp_path: Path) -> None:
    publish(tmp_path)
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    for content in (file.read_bytes()[:-20], b"no gzip"):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte.gz: .* damaged"):
            small(MNIST["mnist"], tmp_path).entries()


@pytest.mark.parametrize("ending", ["-{}.gz", ".{}"])
def test_files_that_are_not_the_official_ones(tmp_path: Path, ending: str) -> None:
    """Whether gzipped, and how, does not matter: what is known is the content."""
    publish(tmp_path, ending)
    with pytest.raises(InputError, match=r"official train-images-idx3-ubyte of MNIST, md5 6bbc"):
        ArraySource(MNIST["mnist"], tmp_path, 32).entries()
    with pytest.raises(InputError, match=r"expected 60000 images in the part train .* came 5;"):
        ArraySource(replace(MNIST["mnist"], md5={}), tmp_path, 32).entries()
