"""Attribute vectors: directions of the latents that add a property to an image (section 6).

Two estimators from the same streaming sums, in memory that does not grow with the images:
the paper's difference of means, z_pos - z_neg, and a ridge regression of z on all attributes at
once, which takes apart attributes that come together.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from glow.latents import Latents

Estimator = Literal["regression", "difference"]
RIDGE = 1.0  # images' worth of doubt


def edit(
    latents: Latents, vector: Tensor, alpha: float, *, levels: Collection[int] | None = None
) -> Latents:
    """The latents moved along an attribute: z + alpha v, at some levels or all.

    Args:
        latents: of a batch of images.
        vector: of the attribute, (D,), or of each image, (B, D).
        alpha: how far; 1 is the whole mean effect, a negative number takes the attribute away.
        levels: numbers of the levels to move, 0 the finest; the others stay as they are.

    Raises:
        ValueError: the vector is not as long as the latents, or there is no such level.
    """
    n_dims = sum(level[0].numel() for level in latents)
    if vector.shape[-1] != n_dims:
        raise ValueError(
            f"the vector has {vector.shape[-1]} dimensions, expected {n_dims} "
            "as the latents have; take the vectors that were found with this model"
        )
    wanted = range(len(latents)) if levels is None else levels
    if unknown := sorted(set(wanted) - set(range(len(latents)))):
        raise ValueError(f"there is no level {unknown[0]}, expected 0 to {len(latents) - 1}")
    direction = latents.unflatten(vector.reshape(-1, n_dims).to(latents[0]))
    return Latents(
        [
            z + alpha * v if number in wanted else z
            for number, (z, v) in enumerate(zip(latents, direction, strict=True))
        ]
    )


@dataclass
class AttributeStatistics:
    """Sums over images of 1, a, a a^T, z, a z^T and |z|^2, in float64, for a in {0, 1}^A.

    Where it is unknown whether an image has an attribute, its a is the share of the others that
    have it. A regression then learns nothing from it, and of a difference of means, which it
    shrinks, the true size is found again from the number of those of which it is known.
    """

    count: int
    known: Tensor  # (A,), images
    attributes: Tensor  # (A,)
    together: Tensor  # (A, A)
    latents: Tensor  # (D,)
    products: Tensor  # (A, D)
    squares: float = 0.0

    @classmethod
    def empty(cls, n_attributes: int, n_dims: int) -> "AttributeStatistics":
        """Of no images yet."""
        zeros = torch.zeros
        kind = torch.float64
        return cls(
            0,
            zeros(n_attributes, dtype=kind),
            zeros(n_attributes, dtype=kind),
            zeros(n_attributes, n_attributes, dtype=kind),
            zeros(n_dims, dtype=kind),
            zeros(n_attributes, n_dims, dtype=kind),
        )

    def add(self, latents: Tensor, attributes: Tensor, known: Tensor | None = None) -> None:
        """Takes in a batch.

        Args:
            latents: (B, D).
            attributes: (B, A), booleans or, where some are unknown, `glow.marks.filled`.
            known: whether they are known, (B, A), bool; all are by default.
        """
        z, a = latents.double().cpu(), attributes.double().cpu()
        self.count += len(z)
        self.known += len(z) if known is None else known.double().cpu().sum(dim=0)
        self.attributes += a.sum(dim=0)
        self.together += a.T @ a
        self.latents += z.sum(dim=0)
        self.products += a.T @ z
        self.squares += float(z.square().sum())

    def of_first(self, n: int) -> "AttributeStatistics":
        """The same sums for the first n attributes alone."""
        together = self.together[:n, :n]
        return AttributeStatistics(
            self.count,
            self.known[:n],
            self.attributes[:n],
            together,
            self.latents,
            self.products[:n],
            self.squares,
        )

    def vectors(self, estimator: Estimator) -> Tensor:
        """A direction per attribute, (A, D); alpha = 1 is the whole mean effect.

        An attribute that all or no images have gets the zero vector.
        """
        return self._regression() if estimator == "regression" else self._difference()

    def _difference(self) -> Tensor:
        positives = self.attributes[:, None]
        of_positives, of_negatives = self._means()
        return (of_positives - of_negatives) * ((positives > 0) & (self.count > positives))

    def _regression(self) -> Tensor:
        mean_a, mean_z = self.attributes / self.count, self.latents / self.count
        covariance = self.together - self.count * mean_a.outer(mean_a)
        cross = self.products - self.count * mean_a.outer(mean_z)
        ridge = RIDGE * torch.eye(len(mean_a), dtype=covariance.dtype)
        return torch.linalg.solve(covariance + ridge, cross)

    def probe(self) -> tuple[Tensor, Tensor]:
        """A linear classifier of z: weights W (A, D) and thresholds (A,); z W^T over them is yes.

        With V of the regression, z = b + V^T a + noise, and a = W (z - b) with W = (V V^T)^+ V is
        the least-squares answer for all attributes at once.
        """
        vectors = self.vectors("regression")
        weights = torch.linalg.pinv(vectors @ vectors.T, hermitian=True) @ vectors
        return weights, self.midpoints(weights)

    def midpoints(self, vectors: Tensor) -> Tensor:
        """For each attribute, halfway between the mean projections of those with and without."""
        of_positives, of_negatives = self._means()
        return ((of_positives + of_negatives) / 2 * vectors).sum(dim=1)

    def _means(self) -> tuple[Tensor, Tensor]:
        """Of the latents of the images with each attribute and of those without, (A, D) each."""
        positives, mean = self.attributes[:, None], self.latents / max(1, self.count)
        of_positives = self.products / positives.clamp(min=1)
        of_negatives = (self.latents - self.products) / (self.count - positives).clamp(min=1)
        shrunk = self.count / self.known.clamp(min=1)[:, None] - 1  # 0 where all is known
        for means in (of_positives, of_negatives):
            means += shrunk * (means - mean)
        return of_positives, of_negatives
