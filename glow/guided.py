"""Guided edits: latents moved, image by image, until a guide sees what is wanted and no more.

A mean says what images with an attribute share; it does not know what this one would lose. Here
d is sought that makes this loss of x = decode(z + d) small, for the guide's logits l,

    |m - l_target|_+ + sum_excluded |m' + l|_+ + sum_kept huber(| |l0| - sign(l0) l |_+)
    + c mean |x - x0|,

with l0 and x0 those of the image: by a few steps of Adam through `decode`, from the best of some
starts. The last term keeps an edit local. Noise on x is drawn at each step, so that no pattern is
found that fools the guide alone. The edit is z + alpha d.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from glow.counterfactual import Counterfactual
from glow.guide import Guide
from glow.latents import Latents
from glow.marks import filled, is_known
from glow.model import Glow

STEPS = 12
RATE = 0.05  # of Adam, in standard deviations of the prior
BETAS = (0.5, 0.9)
MARGIN, ABSENT = 4.0, 2.0  # logits wanted: of the target, and below zero of what it excludes
SURE = 4.0  # beyond, it does not matter how sure the guide is of a kept attribute
LOCAL = 60.0  # weight of the change of pixels
NOISE = 0.05
SCALES = (0.7, 1.2, 1.8, 3.0)  # of the starts
SEED = 0


def guided_directions(
    glow: Glow,
    guide: Guide,
    means: Counterfactual,
    latents: Latents,
    attribute: int,
    *,
    present: Tensor | None = None,
    labels: Tensor | None = None,
    steps: int = STEPS,
) -> Tensor:
    """Directions that add an attribute: (B, D), as `edit` takes; alpha = 1 is all of it.

    What is found for an image does not depend on the others of the batch.

    Args:
        glow: the model.
        guide: of the same attributes as `means`.
        means: says where to start, what the attribute excludes and what is kept.
        latents: of the images.
        attribute: number of the one to add.
        present: what the images have, (B, A), see `glow/marks.py`; what the guide sees where it is
            not known.
        labels: (B,), of a model with classes.
        steps: of Adam; with none the best of the starts is left.
    """
    device = latents[0].device
    search = _Search(glow, guide, latents, attribute, labels)
    if present is None or not is_known(present).all():
        seen = guide.sees(search.image)
        present = seen if present is None else filled(present.cpu(), seen.double()) > 0
    present = present.cpu()
    search.kept = (~means.undefined(present, attribute)).to(search.z)
    search.excluded = means.exclusive[attribute].to(device)
    own = means.directions(present, attribute).to(search.z)
    starts = [own, guide.starts[attribute].to(search.z).expand_as(search.z)]
    return search.descend(search.best(starts), steps)


class _Search:
    """The loss of directions for a batch of images, and its descent."""

    kept: Tensor
    excluded: Tensor

    def __init__(
        self, glow: Glow, guide: Guide, latents: Latents, attribute: int, labels: Tensor | None
    ) -> None:
        self.glow, self.guide, self.attribute = glow, guide, attribute
        self.latents = latents
        self.z = latents.flatten().clone()  # not made in inference mode
        self.labels = None if labels is None else labels.clone()
        self.random = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            self.image = self._decode(self.z)
            logits = guide(self.image)
            self.sides, self.sure = logits.sign(), logits.abs().clamp(max=SURE)

    def best(self, starts: Sequence[Tensor]) -> Tensor:
        """Of each image the start and scale of the least loss."""
        with torch.no_grad():
            tried = torch.stack([scale * start for start in starts for scale in SCALES])
            losses = torch.stack([self.loss(directions) for directions in tried])
            return tried[losses.nan_to_num(torch.inf).argmin(dim=0), torch.arange(len(self.z))]

    def descend(self, start: Tensor, steps: int) -> Tensor:
        """The direction after so many steps."""
        directions = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([directions], lr=RATE, betas=BETAS)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = RATE * min(1.0, 2 * (1 - step / steps))
            with torch.enable_grad(), self.glow.full_products():
                loss = self.loss(directions).sum()
                (directions.grad,) = torch.autograd.grad(loss, directions)
            optimizer.step()
        return directions.detach()

    def loss(self, directions: Tensor) -> Tensor:
        """Of each image, (B,)."""
        x = self._decode(self.z + directions)
        noise = NOISE * torch.randn(x.shape[1:], generator=self.random)
        logits = self.guide(x + noise.to(x))
        missing = F.relu(MARGIN - logits[..., self.attribute]).mean(dim=0)
        left = F.relu(ABSENT + logits[..., self.excluded]).sum(dim=-1).mean(dim=0)
        lost = F.relu(self.sure - self.sides * logits) * self.kept
        kept = F.smooth_l1_loss(lost, torch.zeros_like(lost), reduction="none")
        kept = kept.sum(dim=-1).mean(dim=0)
        return missing + left + kept + LOCAL * (x - self.image).abs().mean(dim=(1, 2, 3))

    def _decode(self, flat: Tensor) -> Tensor:
        return self.glow.decode(self.latents.unflatten(flat), self.labels)
