"""Which optimiser learns most in the same CPU time, and how it is best set.

One change at a time from the base, in equal time (equal_time.py); then the best ones and what
they are measured by, with more seeds. Validation images, averaged weights. SOAP is that of
pytorch-optimizer (`pip install pytorch-optimizer`).

    python benchmarks/optimizers.py data/shards --name avatars
    python benchmarks/optimizers.py data/shards --name avatars --only "muon;adamw" --seeds 0,1,2
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from equal_time import Setting, study
from torch import Tensor, nn

import glow.muon
import glow.update
from glow.conditioner import Conditioner
from glow.muon import Matrix
from glow.permutation import InvertibleConv1x1
from glow.prior import SplitPrior
from glow.trainer import Trainer
from glow.update import Update

MODEL: dict[str, Any] = {"n_levels": 3, "depth": 8, "hidden_channels": 64, "min_scale": 0.3}
NETWORKS = "first+second+last"
ALL = NETWORKS + "+mixes"
BASE: dict[str, Any] = {
    "optimizer": "muon",
    "muon_learning_rate": 0.01,
    "learning_rate": 3.0e-3,
    "momentum": 0.95,
    "beta2": 0.999,
    "matrices": NETWORKS,
    "rounds": 5,
    "factor": "rows over columns",
    "permutation": "conv1x1_lu",
    "batch_size": 32,
    "warmup_steps": 100,
    "decay": 0.5,
    "ema_decay": 0.99,
}
FREE = {"permutation": "conv1x1", "matrices": ALL}
CHANGES: dict[str, dict[str, Any]] = {
    "muon": {},
    "adamw": {"optimizer": "adamw"},
    "adamw, rate 5e-3": {"optimizer": "adamw", "learning_rate": 5.0e-3},
    "adamw, beta2 0.99": {"optimizer": "adamw", "beta2": 0.99},
    "adamax, rate 8e-3": {"optimizer": "adamax", "learning_rate": 8.0e-3},
    "soap, rate 3e-3": {"optimizer": "soap"},
    "soap, rate 6e-3": {"optimizer": "soap", "muon_learning_rate": 6.0e-3},
    "muon, rate 0.005": {"muon_learning_rate": 0.005},
    "muon, rate 0.02": {"muon_learning_rate": 0.02},
    "muon, momentum 0.9": {"momentum": 0.9},
    "muon, momentum 0.98": {"momentum": 0.98},
    "muon, 3 rounds": {"rounds": 3},
    "muon, 4 rounds": {"rounds": 4},
    "muon, adamw 1.5e-3": {"learning_rate": 1.5e-3},
    "muon, adamw 6e-3": {"learning_rate": 6.0e-3},
    "muon, beta2 0.99": {"beta2": 0.99},
    "muon, warm-up 20": {"warmup_steps": 20},
    "muon, warm-up 300": {"warmup_steps": 300},
    "muon, decay from the start": {"decay": 1.0},
    "muon, decay from 3/4": {"decay": 0.25},
    "muon, batch 8": {"batch_size": 8},
    "muon, batch 16": {"batch_size": 16},
    "muon, batch 64": {"batch_size": 64},
    "muon, average 0.98": {"ema_decay": 0.98},
    "muon, average 0.995": {"ema_decay": 0.995},
    "muon, rates by RMS": {"factor": "rms", "muon_learning_rate": 5.0e-3},
    "muon, rates by RMS, 0.0025": {"factor": "rms", "muon_learning_rate": 2.5e-3},
    "muon, last kernels by adamw": {"matrices": "first+second"},
    "muon, whole 1x1 matrices": {"permutation": "conv1x1"},
    "muon, whole 1x1 matrices by muon": FREE,
    "all, batch 16": FREE | {"batch_size": 16},
    "all, rate 0.02": FREE | {"muon_learning_rate": 0.02},
    "all, batch 16, warm-up 20": FREE | {"batch_size": 16, "warmup_steps": 20},
    "all, batch 16, momentum 0.9": FREE | {"batch_size": 16, "momentum": 0.9},
    "all, batch 16, rate 0.007": FREE | {"batch_size": 16, "muon_learning_rate": 0.007},
    "all and priors, batch 16": FREE | {"batch_size": 16, "matrices": ALL + "+priors"},
    "all, batch 16, 3 rounds": FREE | {"batch_size": 16, "rounds": 3},
    "all, batch 16, adamw 6e-3": FREE | {"batch_size": 16, "learning_rate": 6.0e-3},
}
CHANGES["soap, rate 3e-3"]["muon_learning_rate"] = 3.0e-3
COSTS = (
    "optimizer",
    "matrices",
    "permutation",
    "batch_size",
    "rounds",
)  # what a step's time depends on


class Soap:
    """Update's place taken by SOAP for the kernels (Vyas et al. 2024), AdamW for the rest."""

    def __init__(self, trainer: Trainer) -> None:
        from pytorch_optimizer import SOAP

        spans = {matrix.start: matrix for matrix in matrices_of(trainer.glow, NETWORKS)}
        kernels, rest, start = [], [], 0
        for parameter in trainer.glow.parameters():
            end = start + parameter.numel()
            view = parameter.detach().reshape(len(parameter), -1) if start in spans else parameter
            view = view.detach()  # of the trainer's vector of weights, and so is its gradient
            view.grad = trainer.gradients[start:end].view_as(view)
            (kernels if start in spans else rest).append(view)
            start = end
        self.kernels = SOAP(kernels, lr=0.0, weight_decay=0.0, precondition_frequency=10)
        self.rest = torch.optim.AdamW(rest, lr=0.0, weight_decay=0.0, fused=True)
        self.trainer = trainer

    @torch.no_grad()
    def __call__(
        self, *, learning_rate: float, scale: float, ema_decay: float, muon_learning_rate: float
    ) -> None:
        """One step, as Update's."""
        self.trainer.gradients *= scale
        self.kernels.param_groups[0]["lr"] = muon_learning_rate
        self.rest.param_groups[0]["lr"] = learning_rate
        self.kernels.step()
        self.rest.step()
        self.trainer.ema.lerp_(self.trainer.weights, 1 - ema_decay)


def matrices_of(model: nn.Module, kinds: str) -> list[Matrix]:
    """Those that Muon moves, of some kinds: first, second, last of the networks, mixes, priors."""
    layers: dict[str, list[Tensor]] = {kind: [] for kind in kinds.split("+")}

    def add(kind: str, weight: Tensor) -> None:
        if kind in layers:
            layers[kind].append(weight)

    for module in model.modules():
        match module:
            case Conditioner():
                add("first", module.conv1.weight)
                add("second", module.weight2)
                add("last", module.conv3.conv.weight)
            case InvertibleConv1x1():
                add("mixes", module.weight)
            case SplitPrior():
                add("priors", module.network.conv.weight)
    wanted = {id(weight) for weights in layers.values() for weight in weights}
    found, start = [], 0
    for parameter in model.parameters():
        rows = len(parameter)
        if id(parameter) in wanted:
            found.append(Matrix(start, rows, parameter.numel() // rows))
        start += parameter.numel()
    return found


def rms(rows: int, columns: int) -> float:
    """On the rate: changes of all shapes have AdamW's root mean square (Liu et al. 2025)."""
    return 0.2 * max(rows, columns) ** 0.5


def adapt(trainer: Trainer, *, values: dict[str, Any]) -> None:
    """Sets what TrainConfig has no field for."""
    glow.muon.MOMENTUM, glow.muon.ROUNDS = values["momentum"], values["rounds"]
    glow.update.BETA2 = values["beta2"]
    if values["factor"] == "rms":
        glow.muon.factor = rms
    if values["optimizer"] == "soap":
        trainer.update = Soap(trainer)  # type: ignore[assignment]  # called as Update is
    elif values["optimizer"] == "muon":
        matrices = matrices_of(trainer.glow, values["matrices"])
        vectors: tuple[Tensor, ...] = (trainer.weights, trainer.gradients, trainer.ema)
        trainer.update = Update(*vectors, optimizer="muon", matrices=matrices)


def setting_of(name: str, seed: int) -> Setting:
    """The base with a change."""
    values = BASE | CHANGES[name]
    train = ("optimizer", "muon_learning_rate", "learning_rate", "warmup_steps", "ema_decay")
    return Setting(
        name,
        MODEL | {"permutation": values["permutation"]},
        {key: values[key] for key in train} | ({"optimizer": "muon"} if "soap" in name else {}),
        values["batch_size"],
        seed,
        values["decay"],
        partial(adapt, values=values),
    )


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards, of preprocess")],
    *,
    name: Annotated[str, typer.Option(help="of the data, in the file that is written")],
    seconds: Annotated[float, typer.Option(help="of one core, for every trial")] = 120.0,
    processes: Annotated[int, typer.Option(help="trials at once")] = 2,
    only: Annotated[str, typer.Option(help="names of settings, divided by semicolons")] = "",
    seeds: Annotated[str, typer.Option(help="of weights, order and noise")] = "0",
    results: Annotated[Path, typer.Option(help="folder to write to")] = Path("benchmarks/results"),
) -> None:
    """Train every setting for the same CPU time; what was measured before is kept."""
    names = only.split(";") if only else list(CHANGES)
    study(
        shards,
        results / f"optimizers-{name}.json",
        [setting_of(change, int(seed)) for seed in seeds.split(",") for change in names],
        seconds=seconds,
        processes=processes,
        about={
            "command": f"python benchmarks/optimizers.py {shards} --name {name} "
            f"--seconds {seconds:g}",
            "base": MODEL | BASE,
        },
        kind=lambda setting: [(BASE | CHANGES[setting.name])[key] for key in COSTS],
    )


if __name__ == "__main__":
    typer.run(command)
