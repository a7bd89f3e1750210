"""`python -m glow doctor`: whether a model can be trusted with these images on this device."""

from collections.abc import Iterator
from typing import Annotated

import torch
import typer
from torch import Tensor

from glow import Glow
from glow.apps.actions import class_labels
from glow.apps.checks import (
    Finding,
    finite_likelihoods,
    finite_weights,
    log_det,
    precision,
    round_trip,
)
from glow.apps.fetch import folder_of
from glow.apps.files import Images, Inputs, find_images
from glow.apps.models import TRAINED, ClassName, Model, best_device, load
from glow.apps.saying import say
from glow.apps.uploads import BadRequest


def doctor(
    images: Images,
    *,
    model: Model = TRAINED,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; else the GPU where there is one")
    ] = None,
    class_name: ClassName = None,
    n: Annotated[int, typer.Option("-n", min=1, max=64, help="images to look at, at most")] = 16,
) -> None:
    """Check a model on your own images and device; exit code 1 if something is wrong.

    Weights and likelihoods are finite, decoding brings back the pixels, float32 gives what
    float64 does, and the log-determinant is that of autograd's Jacobian.

    Example: python -m glow doctor faces/

    Example: python -m glow doctor face.png --device cpu
    """
    files = find_images(images)[:n]
    device = device or best_device()
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadRequest(f"device is {device}, expected one that works here: {reason}") from None
    glow = load(folder_of(model), device=device)
    names = None if class_name is None else [class_name]
    class_labels(glow.config.classes, names, 1, needed=True)
    inputs = Inputs(files, glow.config)
    levels = inputs.all("read")[1].to(device)
    labels = class_labels(glow.config.classes, names, len(levels), needed=True)
    say(f"{model} on {device}, {len(levels)} images")
    n_wrong = 0
    for finding in _findings(glow, levels, None if labels is None else labels.to(device)):
        n_wrong += finding.trouble is not None
        say(f"{'WRONG' if finding.trouble else 'OK':5} {finding.name}: {finding.measured}")
        if finding.trouble:
            say(f"      {finding.trouble}")
    say("all is well" if n_wrong == 0 else f"wrong: {n_wrong}")
    inputs.end()
    raise typer.Exit(1 if n_wrong else 0)


def _findings(glow: Glow, levels: Tensor, labels: Tensor | None) -> Iterator[Finding]:
    """The checks one by one; with weights that are no numbers, no other means anything."""
    weights = finite_weights(glow)
    yield weights
    if weights.trouble:
        return
    for check in (finite_likelihoods, round_trip, precision):
        yield check(glow, levels, labels)
    yield log_det(glow, levels[:1], None if labels is None else labels[:1])
