"""params.yaml as strict, frozen models: the one place where the stages read it.

Every section is named after what reads it; `dvc.yaml` lists for each stage the sections it
depends on. An unknown key, a wrong type or a number out of range is refused with one line that
names the key, what came and what was expected.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from stages.errors import InputError

PARAMS_FILE = Path("params.yaml")

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A section of params.yaml: unknown keys, wrong types and out-of-range numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AvatarsParams(Section):
    """The embedded data set: cartoon faces, rendered from a seed."""

    n_images: Positive
    zoom: float = Field(
        ge=0.5, le=4.0
    )  # 1.0 is the whole bust; more fills the frame with the face


class FolderParams(Section):
    """A directory tree of images; every source but avatars and elpv has its files in `path`."""

    path: str
    attributes: str | None  # a CSV, or CelebA's list_attr_celeba.txt, inside `path`
    splits: str | None  # a CSV of file name and split, or CelebA's partition, inside `path`
    # Of `source: folder`; params files of before they were there mean what new ones do.
    split_folders: bool = True  # train/, val/ and test/ are kept apart
    class_folders: bool = True  # cat/ and dog/ are classes
    crop: Literal["center", "celeba", "tiles"]
    tile_size: Positive  # for `crop: tiles`: side of the tiles in pixels of the scaled photograph
    tile_scale: float = Field(gt=0.0, le=1.0)  # for `crop: tiles`: scale before it is cut


class SplitParams(Section):
    """Shares of the images, by a hash of their names; what remains is for training."""

    valid: Fraction
    test: Fraction

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> "SplitParams":
        if self.valid + self.test >= 1.0:
            raise ValueError(f"valid + test is {self.valid + self.test}, expected less than 1")
        return self


class DataParams(Section):
    """Read by preprocess."""

    source: Literal[
        "avatars",
        "folder",
        "cifar10",
        "cifar100",
        "mnist",
        "fashion_mnist",
        "svhn",
        "imagenet32",
        "imagenet64",
        "elpv",
        "celeba",
        "celeba_hq",
        "ffhq",
        "lsun",
        "webdataset",
        "parquet",
    ]
    image_size: int = Field(ge=4, le=1024)
    n_bits: int = Field(ge=1, le=8)
    shard_size: Positive
    on_error: Literal["raise", "skip"]
    max_bad: Fraction  # of all images: more that cannot be read are too many, with skip too
    split: SplitParams
    avatars: AvatarsParams
    folder: FolderParams


class ModelParams(Section):
    """Read by train: the architecture; the names are GlowConfig's."""

    n_levels: Positive
    depth: Positive
    checkerboard_depth: int = Field(ge=0)
    hidden_channels: Positive
    coupling: Literal["additive", "affine"]
    permutation: Literal["reverse", "shuffle", "conv1x1", "conv1x1_lu"]
    normalization: Literal["actnorm", "batchnorm", "none"]
    conditioner: Literal["plain", "residual"]
    conditioner_actnorm: bool
    edge_bias: bool
    log_scale_factor: float = Field(gt=0.0)
    min_scale: float = Field(ge=0.0, lt=1.0)
    learn_top: bool
    conditional: str | list[str] | None  # an attribute, or several of which each image has one

    @model_validator(mode="after")
    def _classes_differ(self) -> "ModelParams":
        names = [self.conditional] if isinstance(self.conditional, str) else self.conditional or []
        alone = isinstance(self.conditional, list) and len(names) == 1
        if alone or "" in names or len(set(names)) < len(names):
            raise ValueError(
                f"conditional is {self.conditional}, expected an attribute, or a list of two or "
                "more different ones, or null"
            )
        return self


class TrainParams(Section):
    """Read by train."""

    steps: Positive
    batch_size: Positive
    optimizer: Literal["adamax", "adamw", "muon"]
    learning_rate: float = Field(gt=0.0)
    muon_learning_rate: float = Field(default=0.01, gt=0.0)  # of networks' kernels, with muon
    warmup_steps: int = Field(ge=0)
    decay_steps: int = Field(ge=0)  # the last steps, in which the rate falls to zero by a cosine
    max_grad_norm: float = Field(gt=0.0)
    ema_decay: float = Field(ge=0.0, lt=1.0)
    class_weight: float = Field(ge=0.0)  # of the classifier's loss, with model.conditional
    flip: bool  # mirrors images at random
    shift: float = Field(ge=0.0, lt=1.0)  # moves them at random, up to this fraction of the side
    initialize_images: Positive
    backprop: Literal["autograd", "balanced", "reversible"]
    valid_every: Positive
    valid_images: Positive
    checkpoint_minutes: float = Field(ge=0.0)

    @model_validator(mode="after")
    def _schedule_fits(self) -> "TrainParams":
        if self.warmup_steps + self.decay_steps > self.steps:
            raise ValueError(
                f"warmup_steps + decay_steps is {self.warmup_steps + self.decay_steps}, "
                f"expected at most steps, {self.steps}"
            )
        return self


class EvaluateParams(Section):
    """Read by evaluate."""

    batch_size: Positive
    n_dequantizations: Positive
    train_images: Positive  # of the training split, as many as this are evaluated


class AttributesParams(Section):
    """Read by attributes."""

    estimator: Literal["regression", "difference"]
    batch_size: Positive
    max_images: Positive
    alphas: list[float] = Field(min_length=1)
    n_faces: Positive
    judge_steps: Positive  # updates of the classifier that judges the edits
    judged_alphas: list[Annotated[float, Field(gt=0.0)]] = Field(min_length=1)
    judged_faces: Positive  # of the test split, per attribute
    guide_steps: Positive  # updates of the classifier that steers guided edits
    guided_alphas: list[Annotated[float, Field(gt=0.0)]] = Field(min_length=1)


class SamplesParams(Section):
    """Read by samples."""

    temperatures: list[Annotated[float, Field(ge=0.0)]] = Field(min_length=1)
    n_images: Positive
    batch_size: Positive
    n_interpolations: Positive
    interpolation_steps: int = Field(ge=2)

    @model_validator(mode="after")
    def _temperatures_have_files_of_their_own(self) -> "SamplesParams":
        if len({f"{temperature:.2f}" for temperature in self.temperatures}) < len(
            self.temperatures
        ):
            raise ValueError(
                f"temperatures are {self.temperatures}, expected each once, to two decimals, as "
                "files of grids are named by them"
            )
        return self


class Params(Section):
    """The whole of params.yaml."""

    seed: int = Field(ge=0, lt=2**32)  # generators take 64 bits, and orders of images multiply it
    data: DataParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    attributes: AttributesParams
    samples: SamplesParams

    @model_validator(mode="after")
    def _levels_divide_the_image(self) -> "Params":
        factor = 2**self.model.n_levels
        if self.data.image_size % factor:
            raise ValueError(
                f"data.image_size is {self.data.image_size}, expected a multiple of {factor}, "
                f"because each of model.n_levels = {self.model.n_levels} levels halves the side"
            )
        return self


def load_params(file: Path = PARAMS_FILE) -> Params:
    """Reads and checks params.yaml.

    Raises:
        InputError: a line for each key that is missing, unknown, mistyped or out of range.
    """
    try:
        raw: Any = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file} is not there; `git checkout {file}` brings it back") from None
    except MarkedYAMLError as error:
        where = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{file}{where} is not YAML: {error.problem}") from None
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise InputError("\n".join(_lines(file, error))) from None


def _lines(file: Path, error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        found = problem["input"]
        match problem["type"]:
            case "extra_forbidden":
                lines.append(f"{file}: {key} is not a known key; remove it or correct its name")
            case "missing":
                lines.append(f"{file}: {key} is missing")
            case "value_error":
                lines.append(f"{file}: {key}: {problem['ctx']['error']}".replace(": :", ":"))
            case _:
                hint = (
                    " (write it with a dot, as in 1.0e-4)"
                    if _is_a_float_read_as_text(problem)
                    else ""
                )
                lines.append(f"{file}: {key} is {found!r}, {_expected(problem['msg'])}{hint}")
    return lines


def _expected(message: str) -> str:
    return message.replace("Input should be", "expected")


def _is_a_float_read_as_text(problem: Any) -> bool:  # noqa: ANN401 - pydantic's error dict
    return bool(problem["type"] == "float_type" and isinstance(problem["input"], str))
