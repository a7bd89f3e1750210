"""What a Glow is made of."""

from dataclasses import dataclass
from typing import Literal, get_args

from glow.chain import Backprop

Coupling = Literal["additive", "affine"]
PermutationName = Literal["reverse", "shuffle", "conv1x1", "conv1x1_lu"]
Normalization = Literal["actnorm", "batchnorm", "none"]
Network = Literal["plain", "residual"]


@dataclass(frozen=True, kw_only=True)
class GlowConfig:
    """What a Glow is made of; saved beside its weights.

    The defaults are the paper's; NICE and RealNVP, its ancestors, are other choices of the same
    parts (`pipeline/presets/`).

    Attributes:
        image_size: side of the square images, a multiple of 2^n_levels.
        channels: of the images.
        n_bits: of the discrete data that the density is about.
        n_levels: L, scales of the flow.
        depth: K, steps of flow per level.
        checkerboard_depth: steps per level before the squeeze whose couplings mask pixels in a
            checkerboard (RealNVP, section 3.4); the paper has none.
        hidden_channels: width of the networks inside the couplings.
        coupling: "affine" or "additive".
        permutation: "conv1x1_lu", "conv1x1", "shuffle" or "reverse".
        normalization: what a step starts with: "actnorm", "batchnorm" (RealNVP) or "none" (NICE).
        conditioner: the network inside a coupling: "plain", the paper's three convolutions, or
            "residual" (RealNVP).
        conditioner_actnorm: whether ActNorms follow its convolutions, or biases alone.
        edge_bias: whether 3x3 convolutions see where the image ends.
        log_scale_factor: f in the learned scales exp(f logs); the authors' code has 3.
        min_scale: of an affine coupling, in [0, 1); 0 is the paper's, more keeps samples and
            edits from exploding.
        learn_top: whether the prior of the last level has a learned mean and scale.
        classes: names of the classes, whose prior of the last level is learned for each;
            empty for a model without.
        backprop: "autograd", "reversible" for memory that does not grow with depth, or
            "balanced" for about half of autograd's, in less time than that (see Chain).
    """

    image_size: int
    channels: int = 3
    n_bits: int = 8
    n_levels: int = 3
    depth: int = 32
    checkerboard_depth: int = 0
    hidden_channels: int = 512
    coupling: Coupling = "affine"
    permutation: PermutationName = "conv1x1_lu"
    normalization: Normalization = "actnorm"
    conditioner: Network = "plain"
    conditioner_actnorm: bool = True
    edge_bias: bool = True
    log_scale_factor: float = 3.0
    min_scale: float = 0.0
    learn_top: bool = True
    classes: tuple[str, ...] = ()
    backprop: Backprop = "autograd"

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))  # JSON has lists
        for name in ("image_size", "channels", "n_levels", "depth", "hidden_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.checkerboard_depth < 0:
            raise ValueError(
                f"checkerboard_depth is {self.checkerboard_depth}, expected at least 0"
            )
        if not 1 <= self.n_bits <= 8:
            raise ValueError(f"n_bits is {self.n_bits}, expected 1 to 8")
        if not 0.0 <= self.min_scale < 1.0:
            raise ValueError(f"min_scale is {self.min_scale}, expected at least 0 and below 1")
        if self.log_scale_factor <= 0.0:
            raise ValueError(f"log_scale_factor is {self.log_scale_factor}, expected more than 0")
        if self.image_size % 2**self.n_levels:
            raise ValueError(
                f"image_size is {self.image_size}, expected a multiple of {2**self.n_levels}, "
                f"because each of n_levels = {self.n_levels} levels halves the side"
            )
        if len(self.classes) == 1 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes are {self.classes}, expected none or different ones")
        self._check_choices()

    def _check_choices(self) -> None:
        choices = (
            ("coupling", Coupling),
            ("permutation", PermutationName),
            ("normalization", Normalization),
            ("conditioner", Network),
            ("backprop", Backprop),
        )
        for name, kind in choices:
            if getattr(self, name) not in get_args(kind):
                expected = ", ".join(get_args(kind))
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {expected}")
        if self.normalization == "batchnorm" and self.backprop != "autograd":
            raise ValueError(
                f"backprop is {self.backprop!r}, expected autograd with batchnorm, "
                "whose input cannot be recomputed from its output"
            )

    @property
    def n_dims(self) -> int:
        """D, the numbers in an image."""
        return self.channels * self.image_size**2

    @property
    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """(C, H, W) of the latents of each level, finest first; their sizes add up to D."""
        shapes = []
        channels, side = self.channels, self.image_size
        for _ in range(self.n_levels - 1):
            channels, side = channels * 2, side // 2
            shapes.append((channels, side, side))
        return [*shapes, (channels * 4, side // 2, side // 2)]
