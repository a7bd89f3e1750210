"""Images that a data set has twice, above all a test image that the model was trained on.

Two images are identical where their levels are, and near where they show the same photograph,
though cut, scaled, brightened or compressed otherwise: each image is compared with those most like
it in its own split and in earlier ones.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.likeness import likeness, near_from
from stages.neighbors import Numbers, neighbors
from stages.progress import progress

KINDS = ("identical", "near")
KIND, APART, TWIN = 48, 32, 0  # places in a score, of which the least is the best
DIGITS = 3  # of a likeness
NONE = np.uint64(2**64 - 1)


def find_duplicates(
    looks: NDArray[np.void], splits: NDArray[np.uint8]
) -> tuple[pd.DataFrame, float]:
    """Who has a twin: in each split up to its own, the image most like it.

    Within a split an image is told once of several that are identical.

    Args:
        looks: of the images, (N,), dtype LOOK.
        splits: number of the split of each, (N,); later splits are held out from earlier ones.

    Returns:
        A row per image and split of its twin: the number of the image, of its twin, which of
        KINDS they are, and how alike they are; and the likeness from which images are near.
    """
    best = np.full((len(looks), int(splits.max(initial=0)) + 1), NONE)
    unique = _score_identical(best, looks, splits)
    least = near_from(looks, unique[splits[unique] == 0])
    _score_near(best, unique, least, looks, splits)
    image, within = np.nonzero(best != NONE)
    score = best[image, within]
    apart = ((score >> np.uint64(APART)) & np.uint64(2**16 - 1)).astype(np.int64)
    found = {
        "image": image,
        "twin": ((score >> np.uint64(TWIN)) & np.uint64(2**32 - 1)).astype(np.int64),
        "kind": (score >> np.uint64(KIND)).astype(np.int64),
        "likeness": (10**DIGITS - apart) / 10**DIGITS,
    }
    return pd.DataFrame(found), least


def count_duplicates(
    found: pd.DataFrame, splits: NDArray[np.uint8], names: Sequence[str]
) -> dict[str, dict[str, int]]:
    """How many images of a split have a twin in it or in an earlier one, by kind and splits."""
    pairs = [(a, b) for b in range(len(names)) for a in range(b + 1)]
    of, within = splits[found["image"]], splits[found["twin"]]
    return {
        name: {
            f"{names[b]} in {names[a]}": int(((of == b) & (within == a) & kind).sum())
            for a, b in pairs
        }
        for name, kind in ((name, found["kind"] == k) for k, name in enumerate(KINDS))
    }


def table(
    found: pd.DataFrame, names: Sequence[str], splits: NDArray[np.uint8], of: Sequence[str]
) -> pd.DataFrame:
    """The rows in words, twins across splits first, and of these the closest."""
    image, twin = found["image"], found["twin"]
    gap = splits[image].astype(np.int64) - splits[twin]
    order = np.lexsort((image, -found["likeness"], found["kind"], -gap))
    return pd.DataFrame(
        {
            "image": [names[i] for i in image],
            "split": [of[k] for k in splits[image]],
            "twin": [names[i] for i in twin],
            "twin_split": [of[k] for k in splits[twin]],
            "kind": [KINDS[k] for k in found["kind"]],
            "likeness": found["likeness"],
        }
    ).iloc[order]


def _score_identical(
    best: NDArray[np.uint64], looks: NDArray[np.void], splits: NDArray[np.uint8]
) -> Numbers:
    """Scores all that follow an identical one, against the first of each split.

    Returns:
        The images that follow none within their split.
    """
    order = np.lexsort((splits, looks["content"]))
    new = np.ones(len(order), bool)
    new[1:] = looks["content"][order[1:]] != looks["content"][order[:-1]]
    group = np.cumsum(new) - 1
    for split in range(best.shape[1]):
        there = splits[order] == split
        firsts = np.full(len(order), -1)
        firsts[group[there][::-1]] = order[there][::-1]
        twin = firsts[group]
        has = (twin >= 0) & (twin != order) & (splits[order] >= split)
        best[order[has], split] = twin[has]
    own = best[np.arange(len(best)), splits] if len(best) else np.empty(0, np.uint64)
    return np.flatnonzero(own == NONE)


def _score_near(
    best: NDArray[np.uint64],
    members: Numbers,
    least: float,
    looks: NDArray[np.void],
    splits: NDArray[np.uint8],
) -> None:
    """Scores all that are at least that much like another one."""
    wanted = [
        (members[splits[members] == split], members[splits[members] >= split])
        for split in range(best.shape[1])
    ]
    total = sum(len(of) for among, of in wanted if len(among))
    with progress("twins", total, "images") as advance:
        for among, of in wanted:
            for images, others in neighbors(looks["colors"], among, of):
                image, twin = _pairs(images, others, splits)
                different = looks["content"][image] != looks["content"][twin]
                image, twin = image[different], twin[different]
                alike = likeness(looks, image, twin)
                near = alike >= least
                image, twin = image[near], twin[near]
                apart = np.round((1 - alike[near]) * 10**DIGITS).astype(np.uint64)
                score = np.uint64(1 << KIND) | (apart << np.uint64(APART))
                np.minimum.at(best, (image, splits[twin]), score | twin.astype(np.uint64))
                advance(len(images))


def _pairs(images: Numbers, others: Numbers, splits: NDArray[np.uint8]) -> tuple[Numbers, Numbers]:
    """Images and their neighbours, each pair in the order in which it is told, and once."""
    a, b = np.repeat(images, others.shape[1]), others.ravel()
    there = (b >= 0) & (a != b)
    a, b = a[there], b[there]
    turned = (splits[a] == splits[b]) & (a < b)
    image, twin = np.where(turned, b, a), np.where(turned, a, b)
    once = np.unique(image * len(splits) + twin)
    return once // len(splits), once % len(splits)
