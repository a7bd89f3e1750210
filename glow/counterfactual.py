"""Counterfactual edits: what an image's latents would be on average, had it another attribute.

A vector is the same for every image, so adding long hair adds hair of the average colour, and
adding glasses to who wears sunglasses makes both. Here the direction depends on what the image
shows: with a its attributes and a' those wanted, an edit is

    z + alpha (E[z | a'] - E[z | a]).

The mean is linear in the attributes and in products of two of them, about their means m:

    E[z | a] = b + V^T (a - m) + U^T p(a),    p_ij(a) = (a_i - m_i) (a_j - m_j),

found by a ridge regression whose entries of less than some standard errors are drawn to zero.
Both strengths are those that predict the latents of validation images best.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from glow.attributes import RIDGE, AttributeStatistics
from glow.marks import filled, has, is_known
from glow.weights import save_of

MAX_PAIRS = 64  # products, so that the sums stay small with many attributes
MIN_TOGETHER = 50  # images that have both attributes of a pair
BY_CHANCE = 10  # images that two attributes would share, for their sharing none to say something
RIDGES = (1.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # images' worth of doubt about a product
THRESHOLDS = (0.0, 0.5, 1.0)  # standard errors


def choose_pairs(present: Tensor) -> Tensor:
    """The pairs of attributes whose product varies most over images; (P, 2), int64.

    Args:
        present: (N, A), as `glow/marks.py` has them.
    """
    counts, known = _together(present)
    share = counts / known.clamp(min=1)
    pairs = torch.triu_indices(len(counts), len(counts), offset=1).T
    rows, columns = pairs.unbind(dim=1)
    varies = (share * (1 - share))[rows, columns]
    often = counts[rows, columns] >= MIN_TOGETHER
    order = torch.argsort(varies, descending=True, stable=True)
    return pairs[order[often[order]]][:MAX_PAIRS]


def with_pairs(attributes: Tensor, pairs: Tensor) -> Tensor:
    """Attributes (N, A) and the product of each pair: (N, A + P), bool or `glow.marks.filled`."""
    return torch.cat([attributes, attributes[:, pairs[:, 0]] * attributes[:, pairs[:, 1]]], dim=1)


def find_exclusive(present: Tensor) -> Tensor:
    """Which attributes exclude each other, (A, A), bool: no image has both.

    Only of those that some images would have together, were the two independent.

    Args:
        present: (N, A), as `glow/marks.py` has them.
    """
    counts, known = _together(present)
    own = counts.diagonal()
    by_chance = own.outer(own) / known.diagonal().outer(known.diagonal()).clamp(min=1) * known
    return (counts == 0) & (by_chance >= BY_CHANCE)


def _together(present: Tensor) -> tuple[Tensor, Tensor]:
    """Images that have two attributes, and those of which both are known, (A, A) each, float64."""
    there, known = has(present).double(), is_known(present).double()
    return there.T @ there, known.T @ known


@dataclass(frozen=True)
class Counterfactual:
    """The mean of the latents given the attributes.

    Attributes:
        effects: V and U, (A + P, D).
        means: m, (A,).
        pairs: (P, 2), int64.
        exclusive: attributes that no image has together, (A, A), bool.
        names: of the attributes.
    """

    effects: Tensor
    means: Tensor
    pairs: Tensor
    exclusive: Tensor
    names: tuple[str, ...]

    @classmethod
    def fit(
        cls,
        train: AttributeStatistics,
        valid: AttributeStatistics,
        pairs: Tensor,
        exclusive: Tensor,
        names: Sequence[str],
    ) -> "Counterfactual":
        """From the sums over images of `with_pairs` and their latents.

        Args:
            train: over the images to learn from.
            valid: over others, that choose how strongly to shrink; may be of no images.
            pairs: of `choose_pairs`.
            exclusive: of `find_exclusive`.
            names: of the attributes.
        """
        n = len(train.attributes) - len(pairs)
        means = train.attributes[:n] / train.count
        centre = _centring(means, pairs)
        features, mean_z = centre @ _first(train) / train.count, train.latents / train.count
        gram, cross = _raw(train, centre)
        gram = gram - train.count * features.outer(features)
        cross = cross - train.count * features.outer(mean_z)
        best, least = torch.zeros_like(cross), float("inf")
        for ridge in RIDGES:
            doubt = torch.full((len(gram),), ridge, dtype=gram.dtype)
            doubt[:n] = RIDGE
            inverse = torch.linalg.inv(gram + doubt.diag())
            fitted = inverse @ cross
            errors = (inverse @ gram @ inverse).diagonal().clamp(min=0).sqrt()[:, None]
            for threshold in THRESHOLDS:  # latents have a variance of about 1
                effects = fitted.sign() * (fitted.abs() - threshold * errors).clamp(min=0)
                constant = mean_z - features @ effects
                loss = _squared_error(valid, centre, effects, constant)
                if loss < least:
                    best, least = effects, loss
        return cls(best, means, pairs, exclusive, tuple(names))

    @classmethod
    def load(cls, file: Path) -> "Counterfactual":
        """What `to_bytes` gave, from a file.

        Raises:
            ValueError: it holds none.
        """
        try:
            with safe_open(file, "pt") as content:
                names = json.loads(content.metadata()["attributes"])
                tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 - no dict
            effects, means = tensors["effects"].double(), tensors["means"]
            return cls(effects, means, tensors["pairs"], tensors["exclusive"], tuple(names))
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{file} does not hold counterfactual means ({reason}); `dvc repro attributes` "
                "makes them"
            ) from None

    def rounded(self) -> "Counterfactual":
        """What a file holds: float16's steps are far below the effects' standard errors."""
        return replace(self, effects=self.effects.half().double())

    def to_bytes(self, *, weights: str) -> bytes:
        """As a safetensors file, effects in float16: see `rounded`.

        Args:
            weights: `weights_hash` of the model.
        """
        tensors = {
            "effects": self.effects.half(),
            "means": self.means,
            "pairs": self.pairs.contiguous(),
            "exclusive": self.exclusive,
        }
        return save_of(weights, tensors, attributes=json.dumps(self.names))

    def wanted(self, present: Tensor, attribute: int) -> Tensor:
        """The attributes (B, A) with one added, and without those that exclude it."""
        changed = present.masked_fill(self.exclusive[attribute], 0)
        changed[:, attribute] = 1
        return changed

    def directions(self, present: Tensor, attribute: int) -> Tensor:
        """E[z | a'] - E[z | a] for images with the attributes `present`: (B, D), as `edit` takes.

        Args:
            present: what the images have, (B, A), as `glow/marks.py` has them, known or guessed by
                a probe; what is unknown counts as what images have on average.
            attribute: number of the one to add.
        """
        return self._mean(self.wanted(present, attribute)) - self._mean(present)

    def undefined(self, present: Tensor, attribute: int) -> Tensor:
        """Attributes that the edit cannot be asked to keep, (B, A), bool.

        The attribute itself and those that exclude it; and where one of these has to go, those
        that it excluded: who takes a hat off shows hair of some colour.
        """
        gone = has(present) & self.exclusive[attribute]
        freed = (gone.double() @ self.exclusive.double()) > 0
        free = freed | self.exclusive[attribute]
        free[:, attribute] = True
        return free

    def _mean(self, present: Tensor) -> Tensor:
        centred = filled(present, self.means) - self.means
        products = centred[:, self.pairs[:, 0]] * centred[:, self.pairs[:, 1]]
        return torch.cat([centred, products], dim=1) @ self.effects


def _centring(means: Tensor, pairs: Tensor) -> Tensor:
    """M with (a - m, p(a)) = M (1, a, pairs): (A + P, 1 + A + P)."""
    n = len(means)
    matrix = torch.cat([torch.zeros(n + len(pairs), 1), torch.eye(n + len(pairs))], dim=1).double()
    matrix[:n, 0] = -means
    for row, (i, j) in enumerate(pairs.tolist(), start=n):
        matrix[row, 0] = means[i] * means[j]
        matrix[row, 1 + i], matrix[row, 1 + j] = -means[j], -means[i]
    return matrix


def _squared_error(
    sums: AttributeStatistics, centre: Tensor, effects: Tensor, constant: Tensor
) -> float:
    """Sum over images of |z - b - effects^T features|^2, from the sums alone."""
    gram, cross = _raw(sums, centre)
    features = centre @ _first(sums)
    fitted = (effects * (gram @ effects)).sum() + 2 * (features @ effects) @ constant
    return float(
        sums.squares
        - 2 * (effects * cross).sum()
        - 2 * sums.latents @ constant
        + fitted
        + sums.count * constant @ constant
    )


def _raw(sums: AttributeStatistics, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over images of f f^T and f z^T, for the centred features f."""
    first = _first(sums)
    together = torch.cat(
        [first[None], torch.cat([sums.attributes[:, None], sums.together], dim=1)]
    )
    products = torch.cat([sums.latents[None], sums.products])
    return centre @ together @ centre.T, centre @ products


def _first(sums: AttributeStatistics) -> Tensor:
    """Sums over images of (1, a, pairs)."""
    count = torch.tensor([sums.count], dtype=sums.attributes.dtype)
    return torch.cat([count, sums.attributes])
