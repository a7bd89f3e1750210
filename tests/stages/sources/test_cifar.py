"""CIFAR: every official version gives the same images, and bad files say what to do."""

import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from official import Hostile, noise, python2_pickle, read_all, rows, small, tar, write

from stages.errors import InputError
from stages.sources.arrays import ArraySource
from stages.sources.cifar import CIFAR
from stages.sources.source import NOT_TEST, Pixels

PER_FILE = 2
FOLDERS = {
    ("cifar10", "python"): "cifar-10-batches-py",
    ("cifar10", "binary"): "cifar-10-batches-bin",
    ("cifar100", "python"): "cifar-100-python",
    ("cifar100", "binary"): "cifar-100-binary",
}
TRAIN_FILES = {"cifar10": [f"data_batch_{i}" for i in range(1, 6)], "cifar100": ["train"]}
TEST_FILE = {"cifar10": "test_batch", "cifar100": "test"}
EVERY = pytest.mark.parametrize(("name", "version"), FOLDERS)


def files(name: str, version: str) -> tuple[dict[str, bytes], Pixels, list[int]]:
    """The official files; the images and labels in them."""
    stems = [*TRAIN_FILES[name], TEST_FILE[name]]
    images = noise(PER_FILE * len(stems))
    labels = [(7 * number) % len(CIFAR[name].classes) for number in range(len(images))]
    content = {}
    for index, stem in enumerate(stems):
        part = slice(PER_FILE * index, PER_FILE * (index + 1))
        if version == "python":
            content[stem] = batch(name, rows(images[part]), labels[part])
        else:
            coarse = [b"\x13"] if name == "cifar100" else []
            content[f"{stem}.bin"] = b"".join(
                b"".join([*coarse, bytes([label]), row.tobytes()])
                for row, label in zip(rows(images[part]), labels[part], strict=True)
            )
    return content, images, labels


def batch(name: str, data: object, labels: list[int]) -> bytes:
    more = {b"batch_label": b"a batch", b"filenames": [b"leptodactylus_s_000004.png"]}
    key = b"labels" if name == "cifar10" else b"fine_labels"
    return python2_pickle({b"data": data, key: labels, **more})


def unpacked(folder: Path, name: str, version: str = "python") -> Path:
    for file, content in files(name, version)[0].items():
        write(folder / FOLDERS[name, version] / file, content)
    return folder / FOLDERS[name, version]


@EVERY
@pytest.mark.parametrize("packed", [False, True])
def test_every_version_gives_images_labels_and_splits(
    tmp_path: Path, name: str, version: str, *, packed: bool
) -> None:
    content, images, labels = files(name, version)
    directory = FOLDERS[name, version]
    if packed:
        stem = {"cifar10": "cifar-10", "cifar100": "cifar-100"}[name]
        members = {f"{directory}/{file}": data for file, data in reversed(content.items())}
        tar(tmp_path / f"{stem}-{version}.tar.gz", {f"{directory}/readme.html": b"", **members})
    else:
        unpacked(tmp_path, name, version)
    source = small(CIFAR[name], tmp_path)
    entries = source.entries()
    n_train = len(images) - PER_FILE
    assert [entry.name for entry in entries[:2]] == ["train/0000000", "train/0000001"]
    assert [entry.name for entry in entries[n_train:]] == ["test/0000000", "test/0000001"]
    assert [entry.split for entry in entries] == [NOT_TEST] * n_train + ["test"] * PER_FILE
    assert [entry.label for entry in entries] == labels
    assert (read_all(source) == images).all()


def test_classes_are_named() -> None:
    assert CIFAR["cifar10"].classes[9] == "truck"
    assert len(CIFAR["cifar100"].classes) == 100
    assert CIFAR["cifar100"].classes[99] == "worm"


def test_images_are_resized_where_asked(tmp_path: Path) -> None:
    unpacked(tmp_path, "cifar10")
    assert read_all(small(CIFAR["cifar10"], tmp_path, size=16)).shape == (12, 16, 16, 3)


def test_an_image_is_read_by_a_reader_that_has_listed_none(tmp_path: Path) -> None:
    unpacked(tmp_path, "cifar100")
    last = small(CIFAR["cifar100"], tmp_path).entries()[-1]
    read = small(CIFAR["cifar100"], tmp_path).read(last).pixels
    assert (read == files("cifar100", "python")[1][-1]).all()


@EVERY
def test_missing_files(tmp_path: Path, name: str, version: str) -> None:
    source = small(CIFAR[name], tmp_path)
    with pytest.raises(InputError, match=r"python\.tar\.gz, .* came none of these; get it from"):
        source.entries()
    folder = unpacked(tmp_path, name, version)
    lost = next(folder.glob("test*"))
    lost.unlink()
    with pytest.raises(InputError, match=rf"came {folder.name} without {lost.name}") as error:
        source.entries()
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_not_the_official_ones(tmp_path: Path) -> None:
    unpacked(tmp_path, "cifar10")
    with pytest.raises(InputError, match=r"data_batch_1 of CIFAR-10, md5 c99cafc.* came [0-9a-f]"):
        ArraySource(CIFAR["cifar10"], tmp_path, 32).entries()
    tar(tmp_path / "cifar-100-python.tar.gz", {})
    with pytest.raises(InputError, match=r"official cifar-100-python.tar.gz .* get it again from"):
        ArraySource(CIFAR["cifar100"], tmp_path, 32).entries()


def test_too_few_images(tmp_path: Path) -> None:
    unpacked(tmp_path, "cifar10")
    with pytest.raises(InputError, match=r"expected 50000 images in the part train .* came 10;"):
        ArraySource(replace(CIFAR["cifar10"], md5={}), tmp_path, 32).entries()


def test_a_hostile_pickle_does_not_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    folder = unpacked(tmp_path, "cifar10")
    content = batch("cifar10", Hostile(made), [0])
    write(folder / "data_batch_1", content)
    line = r"data_batch_1: .* asks for posix.mkdir, .* nothing of it was run"
    with pytest.raises(InputError, match=line):
        small(CIFAR["cifar10"], tmp_path).entries()
    assert not made.exists()
    pickle.loads(content)
    assert made.exists()  # it is what it is said to be


@pytest.mark.parametrize(
    ("data", "labels", "line"),
    [
        (np.zeros((2, 3072), np.float32), [0, 1], "no batch with data"),
        (np.array([None, "x"], object), [0, 1], "array of type O"),
        (np.zeros((2, 3071), np.uint8), [0, 1], "cannot reshape"),
        (np.zeros((2, 3072), np.uint8), [0], "2 images, 1 labels"),
        (np.zeros((2, 3072), np.uint8), [0, 10], "class number 10 of 10"),
        (np.zeros((2, 3072), np.uint8), [0, -1], "class number -1 of 10"),
        (np.zeros((2, 3072), np.uint8), [0, b"x"], "invalid literal"),
        (np.zeros((2, 3072), np.uint8), 7, "no batch with data"),
        (b"", [], "no batch with data"),
    ],
)
def test_batches_of_something_else(
    tmp_path: Path, data: object, labels: list[int], line: str
) -> None:
    folder = unpacked(tmp_path, "cifar10")
    write(folder / "data_batch_3", batch("cifar10", data, labels))
    with pytest.raises(InputError, match=f"data_batch_3: .*{line}.* get it again from"):
        small(CIFAR["cifar10"], tmp_path).entries()


@EVERY
def test_cut_files(tmp_path: Path, name: str, version: str) -> None:
    folder = unpacked(tmp_path, name, version)
    file = next(folder.glob("test*"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match=rf"{file.name}: .* damaged or foreign"):
        small(CIFAR[name], tmp_path).entries()


def test_a_cut_archive(tmp_path: Path) -> None:
    content = {f"cifar-100-python/{k}": v for k, v in files("cifar100", "python")[0].items()}
    archive = tar(tmp_path / "cifar-100-python.tar.gz", content)
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"tar\.gz: .* damaged"):
        small(CIFAR["cifar100"], tmp_path).entries()
    archive.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"tar\.gz: .* damaged"):
        small(CIFAR["cifar100"], tmp_path).entries()


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        (link("cifar-100-python/train", "/etc/passwd"), "cifar-100-python/train is a link"),
        (tarfile.TarInfo("../outside"), "the path ../outside leads out of it"),
        (tarfile.TarInfo("/outside"), "the path /outside leads out of it"),
        (tarfile.TarInfo("cifar-100-python/train"), "cifar-100-python/train is in it twice"),
    ],
)
def test_archives_with_tricks(tmp_path: Path, extra: tarfile.TarInfo, line: str) -> None:
    content = {f"cifar-100-python/{k}": v for k, v in files("cifar100", "python")[0].items()}
    tar(tmp_path / "cifar-100-python.tar.gz", content, extra)
    with pytest.raises(InputError, match=line):
        small(CIFAR["cifar100"], tmp_path).entries()
    assert [file.name for file in tmp_path.iterdir()] == ["cifar-100-python.tar.gz"]


def test_an_archive_without_a_file(tmp_path: Path) -> None:
    content = files("cifar100", "python")[0]
    tar(tmp_path / "cifar-100-python.tar.gz", {"cifar-100-python/test": content["test"]})
    with pytest.raises(InputError, match=r"came cifar-100-python.tar.gz without train; get it"):
        small(CIFAR["cifar100"], tmp_path).entries()
