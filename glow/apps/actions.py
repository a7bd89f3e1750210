"""What a trained model does on request: sample, score, reconstruct, edit.

Everything is a function of what was sent and of the seed: an image gets the same dequantisation
noise whichever images it comes with.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import torch
from safetensors.torch import load_file
from torch import Tensor

from glow import Glow, bits_per_dim, dequantize, load_glow, quantize, to_pixels
from glow.apps.uploads import BadRequest, check_count
from glow.latents import Latents

ATTRIBUTES = "attributes.safetensors"  # in the folder of the model; it may come later
MAX_DEQUANTIZATIONS = 64
BATCH_SIZE = 64  # images computed at once, so that memory does not grow with the request


@dataclass(frozen=True)
class Scores:
    """Of N images, each float64, (N,): nats of the continuous density, bits per dimension."""

    log_prob: Tensor
    bits_per_dim: Tensor


class Actions:
    """A model that is asked for things, by one thread at a time.

    Images are levels (N, C, H, W), uint8, and come back as 8-bit pixels of that shape.

    Args:
        glow: the model; its weights must not change any more.
        vectors: a latent direction (D,) per attribute; empty where they are not known.
    """

    def __init__(self, glow: Glow, vectors: Mapping[str, Tensor]) -> None:
        self.glow, self.vectors = glow, dict(vectors)
        self._lock = Lock()
        self._frozen = glow.frozen()
        self._frozen.__enter__()

    @classmethod
    def load(cls, folder: Path) -> "Actions":
        """A folder of `save_glow`, perhaps with attribute vectors; on the GPU if there is one."""
        glow = load_glow(folder, device="cuda" if torch.cuda.is_available() else "cpu")
        file = folder / ATTRIBUTES
        return cls(glow, load_file(file) if file.is_file() else {})

    def sample(self, n: int, labels: Tensor | None, *, temperature: float, seed: int) -> Tensor:
        """N new images; the same seed gives the same, and the same noise at each temperature."""
        check_count(n)
        if not 0.0 <= temperature < float("inf"):
            raise BadRequest(f"temperature is {temperature}, expected at least 0.0")
        generator = torch.Generator().manual_seed(seed)

        def draw(rows: slice, labels: Tensor | None) -> Tensor:
            size = min(rows.stop, n) - rows.start
            x = self.glow.sample(size, temperature=temperature, generator=generator, labels=labels)
            return self._pixels(x)

        return self._in_batches(n, labels, draw)

    def score(
        self, levels: Tensor, labels: Tensor | None, *, n_dequantizations: int, seed: int
    ) -> Scores:
        """What each image costs, the mean over draws of the dequantisation noise."""
        if not 1 <= n_dequantizations <= MAX_DEQUANTIZATIONS:
            raise BadRequest(
                f"n_dequantizations is {n_dequantizations}, expected 1 to {MAX_DEQUANTIZATIONS}"
            )

        def mean_log_prob(rows: slice, labels: Tensor | None) -> Tensor:
            draws = self._dequantized(levels[rows], seed, n_dequantizations)
            return torch.stack([self.glow.log_prob(x, labels).double() for x in draws]).mean(dim=0)

        config = self.glow.config
        log_prob = self._in_batches(len(levels), labels, mean_log_prob)
        return Scores(log_prob, bits_per_dim(log_prob, config.n_dims, config.n_bits))

    def reconstruct(self, levels: Tensor, labels: Tensor | None, *, seed: int) -> Tensor:
        """Images encoded and decoded."""
        return self._through_latents(levels, labels, seed, lambda latents: latents)

    def edit(
        self, levels: Tensor, labels: Tensor | None, *, attribute: str, alpha: float, seed: int
    ) -> Tensor:
        """Images with `alpha` times an attribute added: 1.0 is all of it, less than 0 removes."""
        if not self.vectors:
            raise BadRequest(
                "edit needs attribute vectors, which this model lacks; "
                "`dvc repro attributes` adds them, then load the model again"
            )
        if attribute not in self.vectors:
            raise BadRequest(
                f"attribute is {attribute!r}, expected one of {', '.join(sorted(self.vectors))}"
            )
        if not float("-inf") < alpha < float("inf"):
            raise BadRequest(f"alpha is {alpha}, expected a finite number")
        vector = self.vectors[attribute][None] * alpha

        def moved(latents: Latents) -> Latents:
            return latents + latents.unflatten(vector.to(latents[0]))

        return self._through_latents(levels, labels, seed, moved)

    def encode(self, levels: Tensor, labels: Tensor | None, *, seed: int) -> Tensor:
        """The latents of images, all levels side by side, (N, D), on the CPU."""

        def flat(rows: slice, labels: Tensor | None) -> Tensor:
            (x,) = self._dequantized(levels[rows], seed, 1)
            return self.glow.encode(x, labels).flatten()

        return self._in_batches(len(levels), labels, flat)

    def decode(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """The images of latents, (N, D); the inverse of `encode`."""
        device, shapes = self.glow.initialized.device, self.glow.config.latent_shapes
        like = Latents([torch.empty(1, *shape) for shape in shapes])

        def images(rows: slice, labels: Tensor | None) -> Tensor:
            x = self.glow.decode(like.unflatten(latents[rows].to(device)), labels)
            if not x.isfinite().all():
                raise BadRequest("expected latents near those of images, came some too far away")
            return self._pixels(x)

        return self._in_batches(len(latents), labels, images)

    def labels(self, names: Sequence[object] | None, n: int, *, needed: bool) -> Tensor | None:
        """The class of each of n images from its name; None for a model without classes.

        Args:
            names: of classes, or none.
            n: images.
            needed: whether a model with classes must be told; else it takes them in turn.
        """
        classes = self.glow.config.classes
        if not classes and names is not None:
            raise BadRequest(f"class is {names[0]!r}, expected none, as the model has no classes")
        if not classes:
            return None
        if names is None and not needed:
            return torch.arange(n) % len(classes)
        for name in names or [None]:
            if name not in classes:
                came = "missing" if name is None else repr(name)
                raise BadRequest(f"class is {came}, expected one of {', '.join(classes)}")
        found = [classes.index(str(name)) for name in names or []]
        return torch.tensor(found).expand(n) if len(found) == 1 else torch.tensor(found)

    def pixels(self, levels: Tensor) -> Tensor:
        """Levels as 8-bit pixels."""
        return to_pixels(levels, self.glow.config.n_bits)

    def _through_latents(
        self,
        levels: Tensor,
        labels: Tensor | None,
        seed: int,
        change: Callable[[Latents], Latents],
    ) -> Tensor:
        def there_and_back(rows: slice, labels: Tensor | None) -> Tensor:
            (x,) = self._dequantized(levels[rows], seed, 1)
            latents = self.glow.encode(x, labels)
            return self._pixels(self.glow.decode(change(latents), labels))

        return self._in_batches(len(levels), labels, there_and_back)

    def _in_batches(
        self,
        n: int,
        labels: Tensor | None,
        compute: Callable[[slice, Tensor | None], Tensor],
    ) -> Tensor:
        parts = []
        device = self.glow.initialized.device
        for start in range(0, n, BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            some = None if labels is None else labels[rows].to(device)
            with self._lock, torch.inference_mode():
                parts.append(compute(rows, some).cpu())
        return torch.cat(parts)

    def _dequantized(self, levels: Tensor, seed: int, n_draws: int) -> list[Tensor]:
        """Each of the draws for all images."""
        n_bits, device = self.glow.config.n_bits, self.glow.initialized.device
        draws = []
        for image in levels:
            known = hashlib.sha256(f"{seed} ".encode() + image.numpy().tobytes()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(known[:8]))
            image_draws = [dequantize(image[None], n_bits, generator) for _ in range(n_draws)]
            draws.append(torch.cat(image_draws))
        return list(torch.stack(draws, dim=1).to(device))

    def _pixels(self, x: Tensor) -> Tensor:
        return self.pixels(quantize(x, self.glow.config.n_bits))
