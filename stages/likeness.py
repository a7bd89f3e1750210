"""How alike two images are, 1 for the same, and from where on that means the same photograph.

Images that are alike by chance are common in some data sets: faces drawn from a few dozen parts,
frames of one film. So a twin must be much closer than what is usual there, which is how far the
sixth-nearest of an image is: that one is hardly ever its twin.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from stages.agreement import agreement
from stages.neighbors import NEIGHBORS, Numbers, distances, neighbors

LEAST = 0.78  # of a near twin, where images are not alike
SAMPLE = 2_000  # images that show what is usual
COLOR_WEIGHT = 0.25  # of the distance of descriptors, beside the correlation of edges
MAX_DISTANCE = 4 * (1 - LEAST)  # from which no correlation makes a twin
BATCH = 64  # pairs whose pictures fit a processor's cache


def likeness(looks: NDArray[np.void], images: Numbers, others: Numbers) -> NDArray[np.float32]:
    """Of pairs of images, by their numbers in `looks`: at most 1, below 0 where unlike."""
    found = np.empty(len(images), np.float32)

    def compare(start: int) -> None:
        part = slice(start, start + BATCH)
        a, b = images[part], others[part]
        apart = distances(looks["colors"], a, b)
        gray = looks["gray"]
        found[part] = -COLOR_WEIGHT * apart
        some = apart < MAX_DISTANCE
        found[part][some] += agreement(gray[a[some]], gray[b[some]])

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        for _ in threads.map(compare, range(0, len(images), BATCH)):
            pass
    return found


def near_from(looks: NDArray[np.void], among: Numbers) -> float:
    """The likeness from which images of a data set are near twins.

    Args:
        looks: of all images.
        among: numbers of the images that show what is usual, of which none are identical.
    """
    seeded = np.random.default_rng(0)
    some = np.sort(seeded.choice(among, min(SAMPLE, len(among)), replace=False))
    found = neighbors(looks["colors"], among, some)
    usual = [likeness(looks, *_farthest(*part)) for part in found]
    if not sum(map(len, usual)):
        return LEAST
    apart = min(1.0, 1 - float(np.median(np.concatenate(usual))))
    return round(1 - (1 - LEAST) * apart**2, 3)


def _farthest(images: Numbers, others: Numbers) -> tuple[Numbers, Numbers]:
    """Images and the last of their neighbours, if they have that many."""
    last = others[:, NEIGHBORS]
    return images[last >= 0], last[last >= 0]
