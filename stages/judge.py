"""A judge of edits: a small classifier of images, which has never seen the flow or its latents."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow.marks import has, is_known
from stages.progress import progress
from stages.random_images import random_images
from stages.shards import ShardSet

SIDE = 64  # pixels; larger images are averaged down to it
CHANNELS = (32, 64, 64)
HIDDEN = 64
BATCH_SIZE = 64
LEARNING_RATE = 6e-3
WEIGHT_DECAY = 1e-2
NOISE = 0.03  # largest standard deviation: edits are less clean than images


def shrink_of(image_size: int) -> int:
    """By how much to average an image down, to an even side of about SIDE pixels."""
    shrinks = range(max(1, image_size // SIDE), image_size)
    return next(shrink for shrink in shrinks if image_size // shrink % 2 == 0)


class Judge(nn.Module):
    """Logits of the attributes of an image, from its quantised levels.

    Convolutions 3x3, each followed by ReLU and a pooling that halves the side, from the image in
    blocks of 2x2 pixels down to about 4x4, then two linear layers.

    Args:
        n_attributes: logits.
        image_size: side of the images, even.
        n_bits: of their levels.
    """

    def __init__(self, n_attributes: int, image_size: int, n_bits: int) -> None:
        super().__init__()
        self.n_bins = 2**n_bits
        self.shrink = shrink_of(image_size)
        side, channels = image_size // self.shrink // 2, 3 * 4
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        for out in CHANNELS:
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
            channels = out
            if side >= 8:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        layers += [nn.Flatten(), nn.Linear(channels * side**2, HIDDEN), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(HIDDEN, n_attributes))

    def forward(self, levels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Levels (B, C, H, W), uint8, to logits (B, A)."""
        x = (levels.float() + 0.5) / self.n_bins - 0.5
        x = F.avg_pool2d(x if noise is None else x + noise, self.shrink)
        return self.layers(x)

    @torch.inference_mode()
    def sees(self, levels: Tensor) -> Tensor:
        """Whether the images show the attributes: probability over 0.5; (B, A), bool."""
        device = next(self.parameters()).device
        return self(levels.to(device)).cpu() > 0


def train_judge(shards: ShardSet, steps: int, seed: int, device: torch.device) -> Judge:
    """A judge of all attributes, trained on random images of the training split.

    The loss is the sum of the binary cross-entropies of what is known; AdamW, whose rate rises
    and falls in one cycle. Images are read as they are needed, so memory does not grow with their
    number. Where there are no attributes there is nothing to learn.

    Args:
        shards: of images and attributes.
        steps: updates.
        seed: of the weights, the images' order and the noise on them.
        device: to train on.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(len(shards.attribute_names), shards.image_size, shards.n_bits)
    judge.to(device)
    if not shards.attribute_names:
        return judge.eval()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    with progress("judge", steps, "steps") as advance:
        for levels, present in random_images(shards, steps, BATCH_SIZE, seed):
            strength = NOISE * torch.rand(len(levels), 1, 1, 1, generator=generator)
            noise = strength * torch.randn(levels.shape, generator=generator)
            logits = judge(levels.to(device), noise.to(device))
            wanted, weight = has(present).float(), is_known(present).float()
            loss = F.binary_cross_entropy_with_logits(logits, wanted.to(device), weight.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            advance()
    return judge.eval()
