"""The Street View House Numbers, cropped digits: MATLAB files."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from scipy.io import loadmat

from stages.sources.published import Part, Publication

TEN = 10  # the label of the digit 0


def _parts(publication: Publication, folder: Path) -> Iterator[Part]:
    for part in ("train", "extra", "test"):
        file = folder / f"{part}_32x32.mat"
        if file.is_file():
            with file.open("rb") as stream:
                publication.check(file, stream)
                with publication.reading(file):
                    yield publication.check_part(file, _part(part, stream))
        elif part != "extra":
            raise publication.missing(folder, f"no {file.name}")


def _part(part: str, stream: IO[bytes]) -> Part:
    try:
        content: dict[str, Any] = loadmat(stream, variable_names=["X", "y"])
    except Exception as error:  # scipy lets through whatever a damaged file makes it run into
        raise ValueError(f"no MATLAB file of version 5: {error}") from None
    images, labels = content.get("X"), content.get("y")
    if images is None or labels is None or images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError("no images X and labels y")
    if labels.dtype.kind not in "ui" or labels.min(initial=1) < 1:
        raise ValueError("labels that are not 1 to 10")
    return Part(part, images.transpose(3, 0, 1, 2), labels.ravel() % TEN)


SVHN = Publication(
    title="SVHN",
    credit=(
        "SVHN, the Street View House Numbers, by Yuval Netzer, Tao Wang, Adam Coates, Alessandro "
        "Bissacco, Bo Wu and Andrew Y. Ng, Stanford and Google, 2011 "
        "(http://ufldl.stanford.edu/housenumbers/), for non-commercial use only"
    ),
    url="http://ufldl.stanford.edu/housenumbers/",
    layout="train_32x32.mat and test_32x32.mat, and extra_32x32.mat for more to train on",
    side=32,
    classes=tuple(f"digit_{digit}" for digit in range(10)),
    counts={"train": 73257, "extra": 531131, "test": 26032},
    md5={
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        "extra_32x32.mat": "a93ce644f1a588dc4d68dda5feec44a7",
    },
    parts=_parts,
)
