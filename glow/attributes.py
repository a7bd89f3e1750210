"""Attribute vectors: directions of the latents that add a property to an image (section 6).

Two estimators from the same streaming sums, in memory that does not grow with the images:
the paper's difference of means, z_pos - z_neg, and a ridge regression of z on all attributes at
once, which takes apart attributes that come together.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["regression", "difference"]
RIDGE = 1.0  # images' worth of doubt


@dataclass
class AttributeStatistics:
    """Sums over images of 1, a, a a^T, z and a z^T, in float64, for attributes a in {0, 1}^A."""

    count: int
    attributes: Tensor  # (A,)
    together: Tensor  # (A, A)
    latents: Tensor  # (D,)
    products: Tensor  # (A, D)

    @classmethod
    def empty(cls, n_attributes: int, n_dims: int) -> "AttributeStatistics":
        """Of no images yet."""
        zeros = torch.zeros
        kind = torch.float64
        return cls(
            0,
            zeros(n_attributes, dtype=kind),
            zeros(n_attributes, n_attributes, dtype=kind),
            zeros(n_dims, dtype=kind),
            zeros(n_attributes, n_dims, dtype=kind),
        )

    def add(self, latents: Tensor, attributes: Tensor) -> None:
        """Takes in a batch: latents (B, D), attributes (B, A) of booleans."""
        z, a = latents.double().cpu(), attributes.double().cpu()
        self.count += len(z)
        self.attributes += a.sum(dim=0)
        self.together += a.T @ a
        self.latents += z.sum(dim=0)
        self.products += a.T @ z

    def vectors(self, estimator: Estimator) -> Tensor:
        """A direction per attribute, (A, D); alpha = 1 is the whole mean effect.

        An attribute that all or no images have gets the zero vector.
        """
        return self._regression() if estimator == "regression" else self._difference()

    def _difference(self) -> Tensor:
        positives = self.attributes[:, None]
        negatives = self.count - positives
        of_positives = self.products / positives.clamp(min=1)
        of_negatives = (self.latents - self.products) / negatives.clamp(min=1)
        return (of_positives - of_negatives) * ((positives > 0) & (negatives > 0))

    def _regression(self) -> Tensor:
        mean_a, mean_z = self.attributes / self.count, self.latents / self.count
        covariance = self.together - self.count * mean_a.outer(mean_a)
        cross = self.products - self.count * mean_a.outer(mean_z)
        ridge = RIDGE * torch.eye(len(mean_a), dtype=covariance.dtype)
        return torch.linalg.solve(covariance + ridge, cross)

    def midpoints(self, vectors: Tensor) -> Tensor:
        """For each attribute, halfway between the mean projections of those with and without."""
        positives = self.attributes[:, None]
        of_positives = self.products / positives.clamp(min=1)
        of_negatives = (self.latents - self.products) / (self.count - positives).clamp(min=1)
        return ((of_positives + of_negatives) / 2 * vectors).sum(dim=1)
