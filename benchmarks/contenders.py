"""Who trains on CIFAR-10, and how: models, sizes, optimisers, rates.

Of the other packages only AdamW's rates were searched (`cifar10.py search`), in half a minute of
one core: normflows 2e-3 and 4e-3 alike; antsnormflows 2e-3 (at 4e-3 its likelihood breaks down,
which its clamps keep finite); Jet 3e-3 before 1e-3. Their sizes are those whose parameters are as
many as ours. Optimisers of the other packages' own examples: Adamax at 1e-3 (normflows; its
fork antsnormflows has no example of images), AdamW at 3e-4 (jet-pytorch). Weight decay, 1e-5
there, is none here.
"""

import importlib.util
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from foreign import BUILD, PACKAGES
from learners import Foreign, Learner, Ours, Task

from glow import GlowConfig
from glow.trainer import TrainConfig
from stages.shards import ShardSet

WARMUP = 0.05  # of all steps


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model, its size, and how it is trained.

    Attributes:
        kind: "glow" for ours, or a key of foreign.BUILD.
        optimizer: of glow.trainer, for all kinds.
        learning_rate: after the warm-up; with "muon" of what is no network's matrix.
        muon_learning_rate: of those, with "muon".
        batch_size: images in a step.
        max_grad_norm: of the loss in bits per dimension.
        ema_decay: of the average of the weights.
        size: of the model: fields of GlowConfig, or what foreign.jet asks for.
    """

    kind: str
    optimizer: str
    learning_rate: float
    muon_learning_rate: float = 0.01
    batch_size: int = 16
    max_grad_norm: float = 50.0
    ema_decay: float = 0.99
    size: dict[str, Any] = field(default_factory=dict)

    def learner(
        self, shards: ShardSet, steps: int, *, seed: int, compiled: bool = False
    ) -> Learner:
        """It before its first of so many steps."""
        ours = self.size if self.kind == "glow" else {}
        task = Task(
            folder=Path(shards.folder),
            model=GlowConfig(image_size=shards.image_size, n_bits=shards.n_bits, **ours),
            train=self.train(steps),
            batch_size=self.batch_size,
            initialize_images=256,
            seed=seed,
        )
        if self.kind == "glow":
            return Ours(task)
        build = partial(BUILD[self.kind], task.model, self.size)
        return Foreign(task, build, compiled=compiled)

    def train(self, steps: int) -> TrainConfig:
        """Rates that rise first and then fall to zero along a cosine over all steps."""
        return TrainConfig(
            steps=steps,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            muon_learning_rate=self.muon_learning_rate,
            warmup_steps=max(1, round(WARMUP * steps)),
            decay_steps=steps,
            max_grad_norm=self.max_grad_norm,
            ema_decay=self.ema_decay,
        )

    def changed(self, key: str, value: object) -> "Contender":
        """With another value of a field, or of one of the model's size."""
        if key in {known.name for known in fields(self)} - {"kind", "size"}:
            return replace(self, **{key: value})
        return replace(self, size=self.size | {key: value})


OURS = {"n_levels": 3, "depth": 8, "hidden_channels": 64, "min_scale": 0.0}
NORMFLOWS = {"n_levels": 3, "depth": 8, "hidden_channels": 64}
FREE = {"permutation": "conv1x1"}  # whose matrices Muon moves, too
JET = {
    "patch_size": 4,
    "coupling_layers": 16,
    "block_depth": 1,
    "block_width": 64,
    "num_heads": 4,
}

CONTENDERS = {
    "glow-adamax": Contender(kind="glow", optimizer="adamax", learning_rate=4e-3, size=OURS),
    "glow-adamw": Contender(kind="glow", optimizer="adamw", learning_rate=4e-3, size=OURS),
    "glow-muon": Contender(kind="glow", optimizer="muon", learning_rate=3e-3, size=OURS | FREE),
    "normflows-adamax": Contender(
        kind="normflows", optimizer="adamax", learning_rate=3e-3, size=NORMFLOWS
    ),
    "normflows-adamw": Contender(
        kind="normflows", optimizer="adamw", learning_rate=3e-3, size=NORMFLOWS
    ),
    "normflows-muon": Contender(
        kind="normflows", optimizer="muon", learning_rate=3e-3, size=NORMFLOWS | FREE
    ),
    "antsnormflows-adamax": Contender(
        kind="antsnormflows", optimizer="adamax", learning_rate=2e-3, size=NORMFLOWS
    ),
    "antsnormflows-adamw": Contender(
        kind="antsnormflows", optimizer="adamw", learning_rate=2e-3, size=NORMFLOWS
    ),
    "antsnormflows-muon": Contender(
        kind="antsnormflows", optimizer="muon", learning_rate=2e-3, size=NORMFLOWS
    ),
    "jet-adamw": Contender(
        kind="jet", optimizer="adamw", learning_rate=2e-3, max_grad_norm=1.0, size=JET
    ),
    "jet-muon": Contender(
        kind="jet", optimizer="muon", learning_rate=2e-3, max_grad_norm=1.0, size=JET
    ),
}


def missing(contender: Contender) -> str | None:
    """The package that it needs and that is not installed, or None."""
    needed = [PACKAGES[contender.kind]] if contender.kind in PACKAGES else []
    needed += ["einops"] if contender.kind == "jet" else []
    return next((name for name in needed if importlib.util.find_spec(name) is None), None)
