"""How `edit` finds where to move an image: along vectors, or in a direction of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from glow import Glow
from glow.apps.fetch import GUIDE, MEANS, file_beside
from glow.apps.uploads import BadRequest
from glow.apps.vectors import check_weights
from glow.counterfactual import Counterfactual
from glow.guide import Guide
from glow.guided import guided_directions
from glow.latents import Latents

Method = Literal["guided", "counterfactual", "vector"]


@dataclass(frozen=True)
class OwnDirections:
    """What finds a direction for each image; its attributes are those that the guide sees."""

    guide: Guide
    means: Counterfactual

    @classmethod
    def beside(
        cls, folder: Path, n_dims: int, weights: str, device: str
    ) -> "OwnDirections | None":
        """Of a model's folder, where both files are there.

        Raises:
            ValueError: they are not of this model; `weights` is the hash of its weights.
        """
        guide_file, means_file = (file_beside(folder, name) for name in (GUIDE, MEANS))
        if guide_file is None or means_file is None:
            return None
        guide, means = Guide.load(guide_file), Counterfactual.load(means_file)
        sizes = {guide.starts.shape[1], means.effects.shape[1]}
        if sizes != {n_dims} or guide.names != means.names:
            raise ValueError(
                f"{guide_file} and {means_file.name} are not of one model with {n_dims} latents; "
                "`dvc repro attributes` makes them"
            )
        for file in (guide_file, means_file):
            check_weights(file, weights)
        return cls(guide.to(device), means)

    def change(
        self,
        glow: Glow,
        latents: Latents,
        labels: Tensor | None,
        amounts: Mapping[str, float],
        method: Method,
    ) -> Tensor:
        """What is added to the latents of each image, (N, D), for so much of each attribute.

        Args:
            glow: the model.
            latents: of the images, on the model's device.
            labels: their classes.
            amounts: of attributes, each at least 0.
            method: "guided" or "counterfactual".
        """
        names = self.guide.names
        if unknown := sorted(amounts.keys() - set(names)):
            raise BadRequest(
                f"attribute is {unknown[0]!r}, expected one of {', '.join(sorted(names))}"
            )
        with torch.no_grad():
            present = self.guide.sees(glow.decode(latents, labels))
        total = torch.zeros_like(latents.flatten())
        for name, amount in amounts.items():
            number = names.index(name)
            if method == "guided":
                directions = guided_directions(
                    glow, self.guide, self.means, latents, number, present=present, labels=labels
                )
            else:
                directions = self.means.directions(present, number)
            total += amount * directions.to(total)
        return total.cpu()
