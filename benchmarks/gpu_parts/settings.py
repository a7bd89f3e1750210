"""What a part is told: as text on the command line of its process."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

PRECISIONS = ("bfloat16", "tf32", "float32")
OPTIMIZERS = ("muon", "adamw", "adamax")


@dataclass(frozen=True, kw_only=True)
class Speedrun:
    """What is trained in the speedrun, and how.

    Attributes:
        n_levels: L.
        depth: K.
        width: hidden channels of the couplings' networks.
        batch: images per step.
        precision: of these networks.
        graphs: whether a step is one CUDA graph.
        autotune: whether cuDNN tries its kernels first and takes the fastest.
        optimizer: "muon", "adamw" or "adamax".
        learning_rate: with Muon of what are no kernels.
        muon_learning_rate: of the kernels.
        warmup: share of the time in which the rates rise.
        decay: share of the time in which they fall to 0, the last.
        ema: decay of the average of the weights.
        min_scale: of the couplings; 0 is the paper's.
        seed: of weights, order and noise.
    """

    n_levels: int = 3
    depth: int = 16
    width: int = 512
    batch: int = 128
    precision: str = "bfloat16"
    graphs: bool = True
    autotune: bool = True
    optimizer: str = "muon"
    learning_rate: float = 3e-3
    muon_learning_rate: float = 1e-2
    warmup: float = 0.01
    decay: float = 0.5
    ema: float = 0.999
    min_scale: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("precision", PRECISIONS), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in choices:
                expected = ", ".join(choices)
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected {expected}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one part.

    Attributes:
        out: the folder of all that is written.
        began: when its process was started, on the machine's monotonic clock.
        seconds: after which it is ended.
        dry: everything tiny: does it run, whatever it says.
        wheels: a folder with the peers' wheels.
        cifar10: a folder with CIFAR-10's Parquet files.
        speedrun: of that part.
    """

    out: Path
    began: float
    seconds: float
    dry: bool = False
    wheels: Path | None = None
    cifar10: Path | None = None
    speedrun: Speedrun = Speedrun()

    @property
    def text(self) -> str:
        """What `parse` reads."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def parse(cls, text: str) -> "Settings":
        """The inverse of `text`."""
        found = json.loads(text)
        for name in ("out", "wheels", "cifar10"):
            found[name] = None if found[name] is None else Path(found[name])
        return cls(**found | {"speedrun": Speedrun(**found["speedrun"])})
