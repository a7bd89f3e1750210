"""Images that a data set has twice, above all a test image that the model was trained on.

Two images are identical where their levels are, and near where their perceptual hashes differ in
at most MAX_BITS of 64 bits and their 4x4 pixel averages by at most MAX_COLOR of 255 anywhere. The
second matters for drawings and icons, of which very many share a hash.

Near ones are found by banding: the hash is cut into 6 blocks, of which 4 different bits leave 2
untouched. So for each of the 15 pairs of blocks the images are sorted by these bits, and by
brightness where they are equal, and each is compared with the WINDOW images after it that have
the same bits. That takes seconds for a million images, a minute where all of them are alike; a
pair is missed where more than WINDOW images of about its brightness share its bits each time.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MAX_BITS, MAX_COLOR = 4, 3
BLOCKS, UNTOUCHED, WINDOW = 6, 2, 16
CHUNK = 100_000  # pairs whose colors are compared at a time
KINDS = ("identical", "near")
KIND, BITS, COLOR, TWIN = 48, 40, 32, 0  # places in a score, of which the least is the best
NONE = np.uint64(2**64 - 1)

Numbers = NDArray[np.int64]


def find_duplicates(looks: NDArray[np.void], splits: NDArray[np.uint8]) -> pd.DataFrame:
    """Who has a twin: in each split up to its own, the image most like it.

    Within a split an image is told once of several that are identical.

    Args:
        looks: of the images, (N,), dtype LOOK.
        splits: number of the split of each, (N,); later splits are held out from earlier ones.

    Returns:
        A row per image and split of its twin: the number of the image, of its twin, which of
        KINDS they are, and how many bits and how much color lie between them.
    """
    best = np.full((len(looks), int(splits.max(initial=0)) + 1), NONE)
    unique = _score_identical(best, looks, splits)
    _score_near(best, unique, looks, splits)
    image, within = np.nonzero(best != NONE)
    score = best[image, within]
    columns = {"image": image, "twin": (score >> np.uint64(TWIN)) & np.uint64(2**32 - 1)}
    columns |= {"kind": score >> np.uint64(KIND)}
    for name, place in (("bits", BITS), ("color", COLOR)):
        columns[name] = (score >> np.uint64(place)) & np.uint64(255)
    return pd.DataFrame({name: column.astype(np.int64) for name, column in columns.items()})


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
    order = np.lexsort((image, found["color"], found["bits"], found["kind"], -gap))
    return pd.DataFrame(
        {
            "image": [names[i] for i in image],
            "split": [of[k] for k in splits[image]],
            "twin": [names[i] for i in twin],
            "twin_split": [of[k] for k in splits[twin]],
            "kind": [KINDS[k] for k in found["kind"]],
            "bits": found["bits"],
            "color": found["color"],
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
    looks: NDArray[np.void],
    splits: NDArray[np.uint8],
) -> None:
    colors, shapes = looks["colors"], looks["shape"]
    members = members[np.argsort(colors[members].sum(axis=1), kind="stable")]
    for a, b in _candidates(members, shapes):
        color = np.abs(colors[a].astype(np.int16) - colors[b]).max(axis=1)
        close = (color <= MAX_COLOR) & (looks["content"][a] != looks["content"][b])
        a, b, color = a[close], b[close], color[close].astype(np.uint64)
        bits = np.bitwise_count(shapes[a] ^ shapes[b]).astype(np.uint64)
        later = (splits[a] > splits[b]) | ((splits[a] == splits[b]) & (a > b))
        image, twin = np.where(later, a, b), np.where(later, b, a)
        score = np.uint64(1 << KIND) | (bits << np.uint64(BITS)) | (color << np.uint64(COLOR))
        score |= twin.astype(np.uint64)
        np.minimum.at(best, (image, splits[twin]), score)


def _candidates(members: Numbers, shapes: NDArray[np.uint64]) -> Iterator[tuple[Numbers, Numbers]]:
    """Pairs whose hashes are near, CHUNK at a time; the same pair may come several times."""
    hashes = shapes[members]
    edges = [64 * block // BLOCKS for block in range(BLOCKS + 1)]
    masks = [(1 << end) - (1 << start) for start, end in pairwise(edges)]
    for chosen in combinations(masks, UNTOUCHED):
        keys = hashes & np.uint64(sum(chosen))
        order = np.argsort(keys, kind="stable")
        sorted_keys, sorted_hashes = keys[order], hashes[order]
        starts = np.arange(len(order))
        for shift in range(1, WINDOW + 1):
            starts = starts[starts + shift < len(order)]
            starts = starts[sorted_keys[starts] == sorted_keys[starts + shift]]
            differ = np.bitwise_count(sorted_hashes[starts] ^ sorted_hashes[starts + shift])
            close = starts[differ <= MAX_BITS]
            for first in range(0, len(close), CHUNK):
                some = close[first : first + CHUNK]
                yield members[order[some]], members[order[some + shift]]
