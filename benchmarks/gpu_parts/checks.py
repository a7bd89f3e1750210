"""What a flow must hold to on this device, against float64: each a number and its limit."""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from glow import Glow, bits_per_dim, dequantize
from glow.chain import Backprop
from glow.precision import Precision

BACKPROPS: tuple[Backprop, ...] = get_args(Backprop)
Check = tuple[str, Callable[[], float], float]  # name, what measures it, what it may be
SMALL = 200  # numbers in an image of which a Jacobian is asked for

# how far off may be: log p(x), bits/dim; a pixel after a round trip; a gradient, by its length
LIMITS: dict[Precision, tuple[float, float, float]] = {
    "float32": (1e-4, 1e-3, 5e-3),
    "tf32": (1e-2, 2e-2, 3e-2),
    "bfloat16": (5e-2, 1e-1, 2e-1),
}


def likelihood(glow: Glow, levels: Tensor) -> Iterator[Check]:
    """Round trips and log p(x), in float64 and in every precision of the networks."""
    x = dequantize(levels, glow.config.n_bits).double()
    bits = bits_of(as_is(glow, dtype=torch.float64, device="cpu"), x.cpu())
    here = as_is(glow, dtype=torch.float64)
    yield "log p, float64, bits/dim", lambda: worst(bits_of(here, x), bits), 1e-8
    yield "round trip, float64", lambda: worst(round_trip(here, x), x), 1e-6
    if x[0].numel() <= SMALL:
        yield "log-det against the Jacobian, nats", lambda: by_jacobian(here, x[:1]), 1e-6
    for precision, (limit, of_pixels, _) in LIMITS.items():
        model = as_is(glow, precision=precision)
        found = partial(bits_of, model, x.float())
        yield f"log p, {precision}, bits/dim", partial(compared, worst, found, bits), limit
        # exact however coarse the networks are, but for what they see rounding to another number
        found = partial(round_trip, model, x.float())
        yield f"round trip, {precision}", partial(compared, worst, found, x), of_pixels


def gradients(glow: Glow, levels: Tensor) -> Iterator[Check]:
    """Of every way to backpropagate and every precision, by length of the difference."""
    x = dequantize(levels, glow.config.n_bits).double()
    exact = gradient(as_is(glow, dtype=torch.float64, device="cpu"), x.cpu())
    for backprop in BACKPROPS:
        here = as_is(glow, dtype=torch.float64, backprop=backprop)
        found = partial(gradient, here, x)
        yield f"gradient, float64, {backprop}", partial(compared, off_by, found, exact), 1e-6
        for precision, (_, _, limit) in LIMITS.items():
            model = as_is(glow, precision=precision, backprop=backprop)
            found = partial(gradient, model, x.float())
            name = f"gradient, {precision}, {backprop}"
            yield name, partial(compared, off_by, found, exact), limit


def compared(
    distance: Callable[[Tensor, Tensor], float], found: Callable[[], Tensor], expected: Tensor
) -> float:
    """How far what is found is from what is expected."""
    return distance(found(), expected)


def as_is(
    glow: Glow,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | None = None,
    precision: Precision = "float32",
    backprop: Backprop = "autograd",
) -> Glow:
    """A copy, run in another way."""
    model = copy.deepcopy(glow).to(device=device, dtype=dtype)
    for chain in model._chains:
        chain.backprop = backprop
    model.set_precision(precision)
    return model


@torch.no_grad()
def bits_of(glow: Glow, x: Tensor) -> Tensor:
    """Bits/dim of each image."""
    config = glow.eval().config
    return bits_per_dim(glow.log_prob(x), config.n_dims, config.n_bits)


@torch.no_grad()
def round_trip(glow: Glow, x: Tensor) -> Tensor:
    """The images from their latents."""
    glow.eval()
    return glow.decode(glow.encode(x))


def gradient(glow: Glow, x: Tensor) -> Tensor:
    """Of the mean log p(x), as training has it, all parameters in a row."""
    glow.train()
    with glow.full_products():
        glow.log_prob(x).mean().backward()
    return torch.cat([p.grad.flatten() for p in glow.parameters() if p.grad is not None])


def by_jacobian(glow: Glow, x: Tensor) -> float:
    """How far the log-det of all levels is from that of the (D, D) Jacobian, of one image."""
    glow.eval()

    def of(image: Tensor) -> Tensor:
        return glow.encode(image).flatten()

    n = x.numel()
    jacobian = torch.autograd.functional.jacobian(of, x).reshape(n, n)
    with torch.no_grad():
        encoding = glow(x)
        eps = encoding.latents.flatten()
        normal = -0.5 * float(eps.square().sum()) - 0.5 * n * math.log(2 * math.pi)
        log_det = float(encoding.log_prob) - normal
    return abs(float(torch.linalg.slogdet(jacobian).logabsdet) - log_det)


def worst(found: Tensor, expected: Tensor) -> float:
    """The largest difference; NaN where something is not finite."""
    difference = (found.double().cpu() - expected.double().cpu()).abs()
    return float(difference.max()) if bool(difference.isfinite().all()) else math.nan


def off_by(found: Tensor, expected: Tensor) -> float:
    """The length of the difference, as a share of the length."""
    found, expected = found.double().cpu(), expected.double().cpu()
    return float((found - expected).norm() / expected.norm())
