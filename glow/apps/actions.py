"""What a trained model does on request: sample, score, reconstruct, edit.

Everything is a function of what was sent and of the seed: an image gets the same dequantisation
noise whichever images it comes with.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from glow import Glow, bits_per_dim, dequantize, load_glow, quantize, to_pixels
from glow.apps.fetch import file_beside
from glow.apps.methods import Method, OwnDirections
from glow.apps.uploads import BadRequest, TooFar, check_count
from glow.apps.vectors import read_vectors
from glow.latents import Latents
from glow.scores import Evidence, measure
from glow.weights import weights_hash

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
        own: what finds a direction for each image, where it is known.
        weights: `weights_hash` of the model, where it has been saved.
    """

    def __init__(
        self,
        glow: Glow,
        vectors: Mapping[str, Tensor],
        own: OwnDirections | None = None,
        weights: str = "",
    ) -> None:
        self.glow, self.vectors, self.own, self.weights = glow, dict(vectors), own, weights
        self._lock = Lock()
        self._frozen = glow.frozen()
        self._frozen.__enter__()

    @classmethod
    def load(
        cls, folder: Path, *, vectors: Path | None = None, device: str | None = None
    ) -> "Actions":
        """A folder of `save_glow`, perhaps with attribute vectors; on the GPU if there is one.

        Raises:
            ValueError: the folder is no model, or a file beside it is not of its weights.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        glow = load_glow(folder, device=device)
        file, weights = vectors or file_beside(folder), weights_hash(folder)
        found = read_vectors(file, glow.config.n_dims, weights) if file else {}
        own = OwnDirections.beside(folder, glow.config.n_dims, weights, device)
        return cls(glow, found, own, weights)

    def sample(self, n: int, labels: Tensor | None, *, temperature: float, seed: int) -> Tensor:
        """N new images; the same seed gives the same, and the same noise at each temperature."""
        check_count(n)
        return torch.cat(list(self.samples(n, labels, temperature=temperature, seed=seed)))

    def samples(
        self, n: int, labels: Tensor | None, *, temperature: float, seed: int
    ) -> Iterator[Tensor]:
        """The same for any n, batch after batch, in memory that does not grow with it."""
        if not 0.0 <= temperature < float("inf"):
            raise BadRequest(f"temperature is {temperature}, expected at least 0.0")
        generator = torch.Generator().manual_seed(seed)

        def draw(rows: slice, labels: Tensor | None) -> Tensor:
            size = min(rows.stop, n) - rows.start
            x = self.glow.sample(size, temperature=temperature, generator=generator, labels=labels)
            return self._pixels(x)

        return self._batches(n, labels, draw)

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

    def evidence(
        self, levels: Tensor, labels: Tensor | None, *, n_dequantizations: int, seed: int
    ) -> Evidence:
        """What tells how odd each image is; see `glow.scores`."""

        def found(rows: slice, labels: Tensor | None) -> Tensor:
            return measure(
                self.glow, self._dequantized(levels[rows], seed, n_dequantizations), labels
            )

        return Evidence.of(self.glow, levels, self._in_batches(len(levels), labels, found))

    def reconstruct(self, levels: Tensor, labels: Tensor | None, *, seed: int) -> Tensor:
        """Images encoded and decoded."""
        return self.decode(self.encode(levels, labels, seed=seed), labels)

    def edit(
        self, levels: Tensor, labels: Tensor | None, *, amounts: Mapping[str, float], seed: int
    ) -> Tensor:
        """Images with so much of each attribute added: 1.0 is all of it, less than 0 removes."""
        change = self.change(amounts)
        return self.decode(self.encode(levels, labels, seed=seed) + change, labels)

    def encode(self, levels: Tensor, labels: Tensor | None, *, seed: int) -> Latents:
        """The latents of images, on the CPU; what `decode` brings back."""

        def flat(rows: slice, labels: Tensor | None) -> Tensor:
            (x,) = self._dequantized(levels[rows], seed, 1)
            return self.glow.encode(x, labels).flatten()

        return self.latents(self._in_batches(len(levels), labels, flat))

    def decode(self, latents: Latents, labels: Tensor | None) -> Tensor:
        """The images of latents, as 8-bit pixels (N, C, H, W)."""
        device = self.glow.initialized.device

        def image(rows: slice, labels: Tensor | None) -> Tensor:
            some = latents.images(rows).map(lambda level: level.to(device))
            x = self.glow.decode(some, labels)
            if not x.isfinite().all():
                raise TooFar("expected latents near those of images, came some too far away")
            return self._pixels(x)

        return self._in_batches(len(latents[0]), labels, image)

    def change(self, amounts: Mapping[str, float]) -> Latents:
        """What is added to the latents of an image for so much of each attribute."""
        if not self.vectors:
            raise BadRequest(
                "edit needs attribute vectors, which this model lacks; "
                "`dvc repro attributes` adds them, then load the model again"
            )
        for attribute, amount in amounts.items():
            if attribute not in self.vectors:
                raise BadRequest(
                    f"attribute is {attribute!r}, "
                    f"expected one of {', '.join(sorted(self.vectors))}"
                )
            if not float("-inf") < amount < float("inf"):
                raise BadRequest(f"alpha is {amount}, expected a finite number")
        flat = torch.zeros(1, self.glow.config.n_dims)
        for attribute, amount in amounts.items():
            flat += amount * self.vectors[attribute]
        return self.latents(flat)

    def changes(
        self,
        latents: Latents,
        labels: Tensor | None,
        amounts: Mapping[str, float],
        method: Method | None = None,
    ) -> Latents:
        """What is added to the latents of each image, found by a method; by default the best.

        What is taken away (an amount below 0) goes along the vector by every method.
        """
        self.change(amounts)  # refuses what is wrong with them
        method = method or ("guided" if self.own else "vector")
        if method == "vector":
            return self.change(amounts)
        if (own := self.own) is None:
            raise BadRequest(
                f"method is {method!r}, which needs guide.safetensors and "
                "counterfactual.safetensors beside the model; `dvc repro attributes` makes them"
            )
        taken = self.change({name: a for name, a in amounts.items() if a < 0})
        added = {name: amount for name, amount in amounts.items() if amount > 0}
        device = self.glow.initialized.device
        parts = []
        for start in range(0, len(latents[0]), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            some = latents.images(rows).map(lambda level: level.to(device))
            classes = None if labels is None else labels[rows].to(device)
            with self._lock:
                parts.append(own.change(self.glow, some, classes, added, method))
        return self.latents(torch.cat(parts)) + taken

    def labels(self, names: Sequence[object] | None, n: int, *, needed: bool) -> Tensor | None:
        """The class of each of n images from its name; None for a model without classes.

        Args:
            names: of classes, or none.
            n: images.
            needed: whether a model with classes must be told; else it takes them in turn.
        """
        return class_labels(self.glow.config.classes, names, n, needed=needed)

    def labelled(self, class_name: str | None) -> Callable[[int], Tensor | None]:
        """Gives the class of each of n images that are all of this one; refuses others at once."""
        names = None if class_name is None else [class_name]
        self.labels(names, 1, needed=True)
        return lambda n: self.labels(names, n, needed=True)

    def pixels(self, levels: Tensor) -> Tensor:
        """Levels as 8-bit pixels."""
        return to_pixels(levels, self.glow.config.n_bits)

    def latents(self, flat: Tensor) -> Latents:
        """Latents from what `flatten` made of them, (N, D)."""
        shapes = self.glow.config.latent_shapes
        return Latents([torch.empty(1, *shape) for shape in shapes]).unflatten(flat)

    def _in_batches(
        self,
        n: int,
        labels: Tensor | None,
        compute: Callable[[slice, Tensor | None], Tensor],
    ) -> Tensor:
        return torch.cat(list(self._batches(n, labels, compute)))

    def _batches(
        self,
        n: int,
        labels: Tensor | None,
        compute: Callable[[slice, Tensor | None], Tensor],
    ) -> Iterator[Tensor]:
        device = self.glow.initialized.device
        for start in range(0, n, BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            some = None if labels is None else labels[rows].to(device)
            with self._lock, torch.inference_mode():
                part = compute(rows, some).cpu()
            yield part

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


def class_labels(
    classes: Sequence[str], names: Sequence[object] | None, n: int, *, needed: bool
) -> Tensor | None:
    """See `Actions.labels`."""
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
