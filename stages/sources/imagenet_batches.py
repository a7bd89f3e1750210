"""Downsampled ImageNet of 2017 (Chrabaszcz et al.): batches of labelled images."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from stages.errors import InputError
from stages.sources.published import Part, Publication
from stages.sources.unpickle import load_arrays

TRAIN = [f"train_data_batch_{number}" for number in range(1, 11)]
VALID = "val_data"
NAMES = "map_clsloc.txt"
N_CLASSES = 1000


def batch_files(folder: Path) -> list[Path]:
    """The batches that are there, pickled or as npz, also in folders as their zips unpack to."""
    names = {f"{stem}{suffix}" for stem in [*TRAIN, VALID] for suffix in ("", ".npz")}
    places = [folder, *sorted(folder.glob("Imagenet*/"))]
    return [place / name for place in places for name in sorted(names) if (place / name).is_file()]


def imagenet_2017(folder: Path, side: int) -> Publication:
    """What the release is, with the names of its classes where `map_clsloc.txt` is there."""
    title = f"ImageNet {side}x{side} of 2017"
    return Publication(
        title=title,
        credit=(
            f"{title} by Patryk Chrabaszcz, Ilya Loshchilov and Frank Hutter "
            "(https://arxiv.org/abs/1707.08819); not the release that likelihoods are reported "
            "on; for non-commercial research and education, under the terms of ImageNet "
            "(https://image-net.org/download), which does not own the photographs"
        ),
        url="https://image-net.org/download-images",
        layout="train_data_batch_1 to train_data_batch_10 and val_data, pickled or .npz, unzipped",
        side=side,
        classes=_classes(folder / NAMES),
        counts={"train": 1281167, "valid": 50000},
        md5={},
        parts=_parts,
    )


def _classes(names: Path) -> tuple[str, ...]:
    if not names.is_file():
        return tuple(f"class_{number:04d}" for number in range(1, N_CLASSES + 1))
    rows = [line.split() for line in names.read_text(encoding="utf-8").splitlines()]
    found = {row[1]: f"{row[0]}_{row[2]}" for row in rows if len(row) == 3}
    if set(found) != {str(number) for number in range(1, N_CLASSES + 1)}:
        raise InputError(
            f"{names}: expected a line `n02119789 1 kit_fox` for each of {N_CLASSES} classes, "
            f"came {len(found)}; delete it, or get it from "
            "https://github.com/PatrykChrabaszcz/Imagenet32_Scripts"
        )
    return tuple(found[str(number)] for number in range(1, N_CLASSES + 1))


def _parts(publication: Publication, folder: Path) -> Iterator[Part]:
    files: dict[str, Path] = {}
    for file in batch_files(folder):
        stem = file.name.removesuffix(".npz")
        if stem in files:
            raise InputError(
                f"{folder}: expected each batch once, came {stem} as {files[stem]} and {file}; "
                "move one of them away"
            )
        files[stem] = file
    for stem in [*TRAIN, VALID]:
        if stem not in files:
            raise publication.missing(folder, f"no {stem}")
        file, part = files[stem], "valid" if stem == VALID else "train"
        with publication.reading(file):
            yield publication.check_part(file, _part(part, _batch(file)))


def _batch(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return _npz(stream) if file.suffix == ".npz" else load_arrays(stream)


def _part(part: str, batch: dict[str, Any]) -> Part:
    """Labels count from 1; a row is all of the red, then green, then blue."""
    rows, labels = batch.get("data"), batch.get("labels")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2:
        raise ValueError("no batch with data and labels")
    side = round((rows.shape[1] / 3) ** 0.5)
    images = rows.reshape(-1, 3, side, side).transpose(0, 2, 3, 1)
    return Part(part, images, np.asarray(labels, np.int64).ravel() - 1)


def _npz(stream: IO[bytes]) -> dict[str, Any]:
    try:
        with np.load(stream, allow_pickle=False) as content:
            return {name: content[name] for name in ("data", "labels")}
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from None
