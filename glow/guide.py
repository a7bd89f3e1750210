"""A guide: a small classifier of pixels that says which attributes an image shows.

It steers edits (`glow/guided.py`), so that its gradients matter as much as its answers: a mean of
a few networks without kinks, that see their images through noise while they learn.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from glow.bits import dequantize
from glow.marks import has, is_known
from glow.weights import save_of

SIDE = 32  # pixels; larger images are averaged down to it
MEMBERS = 2
CHANNELS = (32, 48, 64)
HIDDEN = 64
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
NOISE = 0.1  # largest standard deviation, of pixels in [-0.5, 0.5)


class Member(nn.Module):
    """Convolutions that halve the side down to about 4, then two linear layers, SiLU between."""

    def __init__(self, n_attributes: int, image_size: int, channels: int) -> None:
        super().__init__()
        self.shrink = max(1, image_size // SIDE)
        side = image_size // self.shrink
        layers: list[nn.Module] = []
        for out in CHANNELS:
            halves = side >= 8
            size, stride = (4, 2) if halves else (3, 1)
            layers += [nn.Conv2d(channels, out, size, stride, padding=1), nn.SiLU()]
            channels, side = out, side // stride
        layers += [nn.Flatten(), nn.Linear(channels * side**2, HIDDEN), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(HIDDEN, n_attributes))

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, A)."""
        logits: Tensor = self.layers(F.avg_pool2d(x, self.shrink))
        return logits


class Guide(nn.Module):
    """Logits of the attributes of an image, by each of its members.

    Args:
        names: of the attributes.
        starts: a direction of the latents per attribute, (A, D), from where edits may start.
        image_size: side of the images.
        channels: of the images.
    """

    starts: Tensor

    def __init__(
        self, names: Sequence[str], starts: Tensor, *, image_size: int, channels: int
    ) -> None:
        super().__init__()
        self.names, self.image_size, self.channels = tuple(names), image_size, channels
        self.register_buffer("starts", starts.float().clone())
        self.members = nn.ModuleList(
            Member(len(names), image_size, channels) for _ in range(MEMBERS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-0.5, 0.5) to logits (M, B, A)."""
        return torch.stack([member(x) for member in self.members])

    @torch.no_grad()
    def sees(self, x: Tensor) -> Tensor:
        """Whether images show the attributes, by the mean of the members: (B, A), bool."""
        return self(x).mean(dim=0).cpu() > 0

    @classmethod
    def load(cls, file: Path) -> "Guide":
        """What `to_bytes` gave, from a file.

        Raises:
            ValueError: it holds no guide.
        """
        try:
            with safe_open(file, "pt") as content:
                about = json.loads(content.metadata()["guide"])
                tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 - no dict
            names = about.pop("attributes")
            guide = cls(names, tensors["starts"], **about)
            guide.load_state_dict(tensors)
        except (OSError, SafetensorError, RuntimeError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{file} does not hold a guide ({reason}); `dvc repro attributes` makes one"
            ) from None
        return guide.eval()

    def to_bytes(self, *, weights: str) -> bytes:
        """As a safetensors file, in float16 as `train_guide` leaves it.

        Args:
            weights: `weights_hash` of the model whose latents `starts` are of.
        """
        about = {
            "attributes": self.names,
            "image_size": self.image_size,
            "channels": self.channels,
        }
        tensors = {name: value.cpu().half() for name, value in self.state_dict().items()}
        return save_of(weights, tensors, guide=json.dumps(about))


def train_guide(
    batches: Iterable[tuple[Tensor, Tensor]],
    names: Sequence[str],
    starts: Tensor,
    *,
    image_size: int,
    channels: int,
    n_bits: int,
    steps: int,
    seed: int,
    device: torch.device,
) -> Guide:
    """A guide of all attributes; where there are none it has nothing to learn.

    The loss is the sum of the binary cross-entropies of all members and known attributes, on
    dequantised images with Gaussian noise of a random strength; AdamW, whose rate rises and falls
    in one cycle.

    Args:
        batches: levels (B, C, H, W), uint8, and attributes (B, A), see `glow/marks.py`; as many
            as steps.
        names: of the attributes.
        starts: see `Guide`.
        image_size: side of the images.
        channels: of the images.
        n_bits: of their levels.
        steps: updates.
        seed: of the weights and of the noise.
        device: to train on.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        guide = Guide(names, starts, image_size=image_size, channels=channels).to(device)
    if not guide.names:
        return guide.eval()
    optimizer = torch.optim.AdamW(guide.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for levels, present in batches:
        x = dequantize(levels, n_bits, generator)
        strength = NOISE * torch.rand(len(x), 1, 1, 1, generator=generator)
        noisy = x + strength * torch.randn(x.shape, generator=generator)
        logits = guide(noisy.to(device))
        wanted = has(present).float().to(device).expand_as(logits)
        weight = is_known(present).float().to(device)
        loss = MEMBERS * F.binary_cross_entropy_with_logits(logits, wanted, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return guide.half().float().eval()  # what the file will hold
