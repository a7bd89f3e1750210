"""Looks as pictures: latents of faces, moved and decoded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glow.apps.actions import Actions
from glow.apps.editor.sessions import Encoded
from glow.apps.editor.wishes import Drawn, Look, Uploaded
from glow.apps.pictures import SENT_KINDS
from glow.apps.uploads import BadRequest, uploaded

SEED = 0  # of the dequantisation noise: the same image has the same latents


@dataclass(frozen=True)
class Reading:
    """An uploaded image as the model sees it: pixels (C, H, W), latents, bits per dimension."""

    pixels: Tensor
    encoded: Encoded
    bits_per_dim: float


class Painter:
    """A model, and what a look means for it. Images are encoded once and decoded at every move."""

    def __init__(self, actions: Actions) -> None:
        self.actions = actions
        self.config = actions.glow.config

    def levels(self, file: bytes) -> Tensor:
        """An image file as levels (C, H, W); see `uploaded`."""
        if not file:
            raise BadRequest(f"expected a {SENT_KINDS} image, came an empty file")
        return uploaded(file, self.config)

    def read(self, levels: Tensor, label: str | None) -> Reading:
        """Encodes an image."""
        batch, labels = levels[None], self._labels([label])
        latents = self.actions.encode(batch, labels, seed=SEED).flatten()[0]
        scores = self.actions.score(batch, labels, n_dequantizations=1, seed=SEED)
        pixels = self.actions.pixels(levels)
        return Reading(pixels, Encoded(latents, label), scores.bits_per_dim.item())

    def draw(self, look: Look, morphs: Sequence[float], uploads: Mapping[str, Encoded]) -> Tensor:
        """A look's pictures (N, C, H, W) at some points of its morph.

        Args:
            look: what to draw.
            morphs: N points from 0 to 1, instead of the look's own.
            uploads: the uploaded images that it names.
        """
        start = self._encoded(look.base, uploads)
        end = start if look.other is None else self._encoded(look.other, uploads)
        t = torch.tensor(morphs)[:, None]
        latents = (1 - t) * start.latents + t * end.latents
        if look.edits:
            latents = latents + self.actions.change(look.edits).flatten()
        labels = self._labels([start.label if point < 0.5 else end.label for point in morphs])
        return self.actions.decode(self.actions.latents(latents), labels)

    def _encoded(self, face: Drawn | Uploaded, uploads: Mapping[str, Encoded]) -> Encoded:
        if isinstance(face, Uploaded):
            return uploads[face.upload]
        generator = torch.Generator().manual_seed(face.seed)
        latents = self.actions.glow.draw_latents(
            1, temperature=face.temperature, generator=generator
        )
        return Encoded(latents.flatten()[0].cpu(), face.label)

    def _labels(self, names: Sequence[str | None]) -> Tensor | None:
        if not self.config.classes and set(names) == {None}:
            return None
        return self.actions.labels(names, len(names), needed=True)
