"""Images that a data set has twice, above all a test image that the model was trained on.

Two images are identical where their levels are, and near where their perceptual hashes differ in
at most MAX_BITS of 64 bits and their 4x4 pixel averages by at most MAX_COLOR of 255 anywhere. The
second matters for drawings and icons, of which very many share a hash.

Near ones are found by banding: the hash is cut into 6 blocks, of which 4 different bits leave 2
untouched. So for each of the 15 pairs of blocks the images are sorted by these bits, and by
brightness where they are equal, and each is compared with the WINDOW images after it that have
the same bits. That takes some seconds for a million images, whatever they are; a pair is missed
where more than WINDOW images of nearly the same brightness share all 15.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MAX_BITS, MAX_COLOR = 4, 3
BLOCKS, UNTOUCHED, WINDOW = 6, 2, 64
CHUNK = 100_000  # pairs whose colors are compared at a time
KINDS = ("identical", "near")
COLUMNS = ["image", "twin", "kind", "bits", "color"]

Pairs = NDArray[np.int64]  # (P, 2)


def find_duplicates(looks: NDArray[np.void], splits: NDArray[np.uint8]) -> pd.DataFrame:
    """Who has a twin: in each split up to its own, the image most like it.

    An image is told once of several that are identical within a split.

    Args:
        looks: of the images, (N,), dtype LOOK.
        splits: number of the split of each, (N,); later splits are held out from earlier ones.

    Returns:
        A row per image and split of its twin: the number of the image, of its twin, which of
        KINDS they are, and how many bits and how much color lie between them.
    """
    order = np.lexsort((splits, looks["content"]))
    same = np.zeros(len(looks), bool)
    same[1:] = looks["content"][order[1:]] == looks["content"][order[:-1]]
    repeats = same.copy()
    repeats[1:] &= splits[order[1:]] == splits[order[:-1]]
    identical = _identical(order, same, splits)
    near = _near(np.sort(order[~repeats]), looks, splits)
    rows = np.concatenate([identical, near])
    rows = rows[np.lexsort((rows[:, 1], *rows[:, 4:1:-1].T, splits[rows[:, 1]], rows[:, 0]))]
    first = np.ones(len(rows), bool)
    of = np.stack([rows[:, 0], splits[rows[:, 1]].astype(np.int64)])
    first[1:] = (of[:, 1:] != of[:, :-1]).any(axis=0)
    return pd.DataFrame(rows[first], columns=COLUMNS)


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


def _identical(
    order: NDArray[np.int64], same: NDArray[np.bool_], splits: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Rows for all that follow an identical one: of each split, the first image."""
    group = np.cumsum(~same)
    rows = []
    for split in range(int(splits.max(initial=0)) + 1):
        there = splits[order] == split
        firsts = np.full(len(order) + 1, -1)
        firsts[group[there][::-1]] = order[there][::-1]
        twin = firsts[group]
        has = (twin >= 0) & (twin != order) & (splits[order] >= split)
        rows.append(np.stack([order[has], twin[has]], axis=1))
    return np.pad(np.concatenate(rows), ((0, 0), (0, 3)))


def _near(
    members: NDArray[np.int64], looks: NDArray[np.void], splits: NDArray[np.uint8]
) -> NDArray[np.int64]:
    colors = looks["colors"]
    by_brightness = members[np.argsort(colors[members].sum(axis=1), kind="stable")]
    found = [np.empty((0, 5), np.int64)]
    for pairs in _candidates(by_brightness, looks["shape"]):
        for start in range(0, len(pairs), CHUNK):
            a, b = pairs[start : start + CHUNK].T
            color = np.abs(colors[a].astype(np.int16) - colors[b]).max(axis=1)
            close = (color <= MAX_COLOR) & (looks["content"][a] != looks["content"][b])
            a, b, color = a[close], b[close], color[close]
            bits = np.bitwise_count(looks["shape"][a] ^ looks["shape"][b])
            later = (splits[a] > splits[b]) | ((splits[a] == splits[b]) & (a > b))
            image, twin = np.where(later, a, b), np.where(later, b, a)
            found.append(np.stack([image, twin, np.ones_like(image), bits, color], axis=1))
    return np.concatenate(found)


def _candidates(members: NDArray[np.int64], shapes: NDArray[np.uint64]) -> list[Pairs]:
    """Pairs whose hashes are near; the same pair may come several times."""
    hashes = shapes[members]
    edges = [64 * block // BLOCKS for block in range(BLOCKS + 1)]
    masks = [(1 << end) - (1 << start) for start, end in pairwise(edges)]
    found = []
    for chosen in combinations(masks, UNTOUCHED):
        keys = hashes & np.uint64(sum(chosen))
        order = np.argsort(keys, kind="stable")
        sorted_keys, sorted_hashes = keys[order], hashes[order]
        starts = np.arange(len(order) - 1)
        for shift in range(1, WINDOW + 1):
            starts = starts[starts + shift < len(order)]
            starts = starts[sorted_keys[starts] == sorted_keys[starts + shift]]
            if not len(starts):
                break
            differ = np.bitwise_count(sorted_hashes[starts] ^ sorted_hashes[starts + shift])
            close = starts[differ <= MAX_BITS]
            found.append(np.stack([members[order[close]], members[order[close + shift]]], axis=1))
    return found
