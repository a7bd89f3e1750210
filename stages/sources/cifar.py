"""CIFAR-10 and CIFAR-100, in the Python and in the binary version, packed or unpacked.

CIFAR-10 also as Hugging Face's hub has it.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stages.sources.archive import read_members
from stages.sources.files import Location
from stages.sources.parquet_rows import parquet_files
from stages.sources.published import Part, Publication
from stages.sources.published_parquet import parquet_parts
from stages.sources.unpickle import load_arrays

TEN = "airplane automobile bird cat deer dog frog horse ship truck"
HUNDRED = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree
orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum
rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train
trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
PIXELS = 3 * 32 * 32
TRAIN_TEST = {"train": 50000, "test": 10000}
BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
BINARIES = [f"{batch}.bin" for batch in BATCHES]

# folder, archive, files of the training part, file of the test part
Version = tuple[str, str, list[str], str]
VERSIONS: dict[str, list[Version]] = {
    "CIFAR-10": [
        ("cifar-10-batches-py", "cifar-10-python.tar.gz", BATCHES, "test_batch"),
        ("cifar-10-batches-bin", "cifar-10-binary.tar.gz", BINARIES, "test_batch.bin"),
    ],
    "CIFAR-100": [
        ("cifar-100-python", "cifar-100-python.tar.gz", ["train"], "test"),
        ("cifar-100-binary", "cifar-100-binary.tar.gz", ["train.bin"], "test.bin"),
    ],
}


def _parts(publication: Publication, folder: Path) -> Iterator[Part]:
    versions = VERSIONS[publication.title]
    for directory, archive, train, test in versions:
        if (folder / directory).is_dir():
            yield from _unpacked(publication, folder / directory, train, test)
            return
        if (folder / archive).is_file():
            yield from _packed(publication, folder / archive, directory, train, test)
            return
    if publication.title == "CIFAR-10" and parquet_files(Location(str(folder))):
        yield from parquet_parts(publication, folder)
        return
    raise publication.missing(folder, "none of these")


def _unpacked(
    publication: Publication, folder: Path, train: list[str], test: str
) -> Iterator[Part]:
    for name in [*train, test]:
        file = folder / name
        if not file.is_file():
            raise publication.missing(folder.parent, f"{folder.name} without {name}")
        with file.open("rb") as stream:
            publication.check(file, stream)
            part = "test" if name == test else "train"
            yield _part(publication, file, part, io.BytesIO(stream.read()))


def _packed(
    publication: Publication, archive: Path, directory: str, train: list[str], test: str
) -> Iterator[Part]:
    with archive.open("rb") as stream:
        publication.check(archive, stream)
    with publication.reading(archive):
        members = read_members(archive, {f"{directory}/{name}" for name in [*train, test]})
    for name in [*train, test]:
        content = members.pop(f"{directory}/{name}", None)
        if content is None:
            raise publication.missing(archive.parent, f"{archive.name} without {name}")
        yield _part(publication, archive / name, "test" if name == test else "train", content)


def _part(publication: Publication, file: Path, part: str, content: io.BytesIO) -> Part:
    with publication.reading(file):
        if file.suffix == ".bin":
            return publication.check_part(file, _of_records(publication, part, content))
        return publication.check_part(file, _of_pickle(part, content))


def _of_records(publication: Publication, part: str, content: io.BytesIO) -> Part:
    """CIFAR-100's records begin with two labels, of which the second is the fine one."""
    n_labels = 2 if publication.title == "CIFAR-100" else 1
    flat = np.frombuffer(content.getbuffer(), np.uint8)
    if len(flat) == 0 or len(flat) % (n_labels + PIXELS):
        raise ValueError(f"{len(flat)} bytes, no multiple of {n_labels + PIXELS}")
    records = flat.reshape(-1, n_labels + PIXELS)
    images = records[:, n_labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Part(part, images, records[:, n_labels - 1])


def _of_pickle(part: str, content: io.BytesIO) -> Part:
    batch = load_arrays(content)
    labels = batch.get("labels", batch.get("fine_labels"))
    rows = batch.get("data")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or not isinstance(labels, list):
        raise ValueError("no batch with data and labels")
    images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Part(part, images, np.array(labels, np.int64))


def _credit(title: str) -> str:
    return (
        f"{title} by Alex Krizhevsky, Vinod Nair and Geoffrey Hinton "
        "(https://www.cs.toronto.edu/~kriz/cifar.html), from the 80 Million Tiny Images; no "
        "license is stated, the authors ask to cite 'Learning Multiple Layers of Features from "
        "Tiny Images', 2009"
    )


CIFAR = {
    "cifar10": Publication(
        title="CIFAR-10",
        credit=_credit("CIFAR-10"),
        url="https://www.cs.toronto.edu/~kriz/cifar.html",
        layout=(
            "cifar-10-python.tar.gz, cifar-10-binary.tar.gz, a folder unpacked from one, "
            "cifar-10-batches-py/ or cifar-10-batches-bin/, or the Parquet files of Hugging "
            "Face's hub"
        ),
        side=32,
        classes=tuple(TEN.split()),
        counts=TRAIN_TEST,
        md5={
            "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
            "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
        sha256={
            "train": "5615682f5cfb6bb7b3c71a67faa1d0ffde776302c09d040a71af5ed5f98fa678",
            "test": "39e27d3f6341dd5786a997e808fccd71e885eb154533fa37d7ad574dc296633b",
        },
        parts=_parts,
    ),
    "cifar100": Publication(
        title="CIFAR-100",
        credit=_credit("CIFAR-100"),
        url="https://www.cs.toronto.edu/~kriz/cifar.html",
        layout=(
            "cifar-100-python.tar.gz, cifar-100-binary.tar.gz, or a folder unpacked from one, "
            "cifar-100-python/ or cifar-100-binary/"
        ),
        side=32,
        classes=tuple(HUNDRED.split()),
        counts=TRAIN_TEST,
        md5={
            "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
            "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        },
        parts=_parts,
    ),
}
