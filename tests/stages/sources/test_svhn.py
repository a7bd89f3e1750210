"""SVHN: MATLAB files, of which one may be absent."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from official import noise, read_all, small
from scipy.io import savemat

from stages.errors import InputError
from stages.sources.arrays import ArraySource
from stages.sources.source import NOT_TEST, Pixels
from stages.sources.svhn import SVHN

LABELS = {"train": [1, 10, 9], "extra": [5, 5], "test": [10, 2]}
IMAGES = {name: noise(len(labels), seed=len(name)) for name, labels in LABELS.items()}


def publish(folder: Path, *parts: str) -> None:
    for part in parts:
        write(folder / f"{part}_32x32.mat", IMAGES[part], np.array(LABELS[part], np.uint8))


def write(file: Path, images: Pixels, labels: object) -> None:
    arrays = {"X": images.transpose(1, 2, 3, 0), "y": np.reshape(labels, (-1, 1))}
    savemat(file, arrays, do_compression=True)


def test_ten_is_the_digit_zero(tmp_path: Path) -> None:
    publish(tmp_path, "train", "test")
    source = small(SVHN, tmp_path)
    entries = source.entries()
    digits = [source.classes[entry.label or 0] for entry in entries]
    assert digits == ["digit_1", "digit_0", "digit_9", "digit_0", "digit_2"]
    assert [entry.split for entry in entries] == [NOT_TEST] * 3 + ["test"] * 2
    assert (read_all(source) == np.concatenate([IMAGES["train"], IMAGES["test"]])).all()


def test_the_extra_part_is_trained_on(tmp_path: Path) -> None:
    publish(tmp_path, "train", "extra", "test")
    source = small(SVHN, tmp_path)
    extra = [entry for entry in source.entries() if entry.name.startswith("extra/")]
    assert [(entry.split, entry.label) for entry in extra] == [(NOT_TEST, 5)] * 2
    assert (source.read(extra[1]).pixels == IMAGES["extra"][1]).all()


@pytest.mark.parametrize("there", ["train", "test"])
def test_a_missing_file(tmp_path: Path, there: str) -> None:
    publish(tmp_path, there)
    lost = {"train": "test", "test": "train"}[there]
    with pytest.raises(InputError, match=rf"came no {lost}_32x32.mat; get it from http://ufldl"):
        small(SVHN, tmp_path).entries()


@pytest.mark.parametrize(
    ("images", "labels", "line"),
    [
        (IMAGES["train"], [0, 1, 2], "labels that are not 1 to 10"),
        (IMAGES["train"], [11.0, 1.0, 2.0], "labels that are not 1 to 10"),
        (IMAGES["train"], [1, 2], "3 images, 2 labels"),
        (IMAGES["train"].astype(float), [1, 2, 3], "no images X and labels y"),
        (noise(3, 16), [1, 2, 3], "expected images of 32x32, came 16x16"),
    ],
)
def test_files_of_something_else(
    tmp_path: Path, images: Pixels, labels: object, line: str
) -> None:
    publish(tmp_path, "train", "test")
    write(tmp_path / "train_32x32.mat", images, labels)
    with pytest.raises(InputError, match=rf"train_32x32.mat: .*{line}.* get it again from"):
        small(SVHN, tmp_path).entries()


def test_a_damaged_file(tmp_path: Path) -> None:
    publish(tmp_path, "train", "test")
    file = tmp_path / "train_32x32.mat"
    for content in (file.read_bytes()[:-500], b"no matrix", b""):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"train_32x32.mat: .* damaged") as error:
            small(SVHN, tmp_path).entries()
        assert "\n" not in str(error.value)


def test_files_that_are_not_the_official_ones(tmp_path: Path) -> None:
    publish(tmp_path, "train", "test")
    with pytest.raises(InputError, match=r"official train_32x32.mat of SVHN, md5 e26dedc"):
        ArraySource(SVHN, tmp_path, 32).entries()
    with pytest.raises(InputError, match=r"expected 73257 images in the part train .* came 3;"):
        ArraySource(replace(SVHN, md5={}), tmp_path, 32).entries()
