"""Lossless coding: the very same images back, at the rate that the model promises."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from glow import Glow, GlowConfig, bits_per_dim, dequantize, save_glow
from glow.apps.cli import app
from glow.apps.lossless import WrongImages, code, decode, read_coded
from glow.apps.lossless.codec import Levels
from glow.apps.lossless.file import MAGIC
from glow.apps.lossless.integers import TriangularPair, scale, unscale
from glow.apps.lossless.stack import Stack
from glow.architecture import PERMUTATIONS

SMALL = {"image_size": 8, "n_bits": 5, "n_levels": 2, "depth": 2, "hidden_channels": 5}


def glow_of(*, noise: float = 0.05, **changes: object) -> Glow:
    torch.manual_seed(0)
    glow = Glow(GlowConfig(**{**SMALL, **changes})).eval()
    with torch.no_grad():
        for parameter in glow.parameters():
            parameter += noise * torch.randn_like(parameter)
    return glow


def levels_of(config: GlowConfig, n: int = 20) -> Levels:
    shape = (n, config.channels, config.image_size, config.image_size)
    return np.random.default_rng(0).integers(0, 2**config.n_bits, shape, dtype=np.uint8)


def words(n: int = 4000) -> np.ndarray:
    return np.random.default_rng(1).integers(1, 2**32, n, dtype=np.uint32)


@pytest.mark.proof
@pytest.mark.parametrize("coupling", ["additive", "affine"])
@pytest.mark.parametrize("permutation", PERMUTATIONS)
@pytest.mark.parametrize("n_levels", [1, 2, 3])
@pytest.mark.parametrize("learn_top", [True, False])
def test_images_come_back_at_the_rate_of_the_model(
    coupling: str, permutation: str, n_levels: int, *, learn_top: bool
) -> None:
    glow = glow_of(
        coupling=coupling, permutation=permutation, n_levels=n_levels, learn_top=learn_top
    )
    levels = levels_of(glow.config)
    coded = code(glow, levels, batch_size=7)
    assert np.array_equal(decode(glow, coded), levels)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        draws = [
            glow.log_prob(dequantize(torch.from_numpy(levels), 5, generator)) for _ in range(20)
        ]
    expected = bits_per_dim(torch.stack(draws), glow.config.n_dims, 5).mean()
    assert coded.net_bits / levels.size == pytest.approx(float(expected), abs=0.02)


@pytest.mark.parametrize(
    "changes", [{"n_bits": 1}, {"n_bits": 8}, {"channels": 1}, {"channels": 4}]
)
def test_other_bits_and_channels(changes: dict[str, int]) -> None:
    glow = glow_of(**changes)
    levels = levels_of(glow.config)
    assert np.array_equal(decode(glow, code(glow, levels, batch_size=20)), levels)


def test_latents_far_from_zero_are_coded_too() -> None:
    glow = glow_of()
    with torch.no_grad():
        glow.top.mean += 1000.0
    levels = levels_of(glow.config, 3)
    assert np.array_equal(decode(glow, code(glow, levels, batch_size=3)), levels)


def test_a_flow_that_is_not_finite_is_refused() -> None:
    glow = glow_of()
    with torch.no_grad():
        glow.top.mean += torch.inf
    with pytest.raises(ValueError, match="not finite"):
        code(glow, levels_of(glow.config, 3), batch_size=3)


@pytest.mark.parametrize(
    "changes", [{"classes": ("a", "b")}, {"checkerboard_depth": 1}, {"normalization": "none"}]
)
def test_a_model_that_cannot_code_is_refused(changes: dict[str, object]) -> None:
    glow = glow_of(**changes)
    with pytest.raises(ValueError, match="this model cannot code images"):
        code(glow, levels_of(glow.config, 3), batch_size=3)


def test_a_changed_word_is_noticed() -> None:
    glow = glow_of()
    coded = code(glow, levels_of(glow.config), batch_size=10)
    for index in (len(coded.words) - 2, len(coded.words) // 2, 20):
        damaged = coded.words.copy()
        damaged[index] ^= 1 << 7
        with pytest.raises(WrongImages):
            decode(glow, type(coded)(**{**vars(coded), "words": damaged}))


@pytest.mark.proof
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    x=st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=20),
    log2=st.floats(-15, 15),
    seed=st.integers(0, 99),
)
def test_a_scale_is_undone_and_costs_its_logarithm(x: list[int], log2: float, seed: int) -> None:
    numbers = np.array(x, np.int64)
    by = np.exp2(log2 + np.random.default_rng(seed).uniform(-1, 1, len(x)))
    stack = Stack(words())
    z = scale(stack, numbers, by)
    error = np.abs(z - numbers * by)
    assert np.all(error <= np.abs(numbers * by) / 500 + 2 * np.maximum(by, 1) + 1)
    assert np.array_equal(unscale(stack, z, by), numbers)
    assert np.array_equal(stack.words(), words())


def test_many_scales_cost_their_log_det() -> None:
    by = np.exp(np.random.default_rng(0).normal(0, 1, 20_000))
    stack = Stack(words(100_000))
    before = stack.n_words
    scale(stack, np.random.default_rng(1).integers(-(2**20), 2**20, by.shape), by)
    bits = 32 * (stack.n_words - before)
    assert bits / len(by) == pytest.approx(-np.log2(by).mean(), abs=0.01)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(channels=st.integers(1, 9), seed=st.integers(0, 99))
def test_triangular_matrices_are_undone_exactly(channels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    lower, upper = random.normal(0, 3, (2, channels, channels))
    pair = TriangularPair(np.tril(lower, -1), np.triu(upper, 1))
    x = random.integers(-(2**20), 2**20, (2, channels, 3, 2))
    z = pair.forward(x)
    assert np.array_equal(pair.inverse(z), x)
    eye = np.eye(channels)
    expected = np.einsum(
        "ij,bjhw->bihw", (eye + np.tril(lower, -1)) @ (eye + np.triu(upper, 1)), x
    )
    assert np.abs(z - expected).max() < 1e-3 * np.abs(expected).max() + 100


def test_normal_numbers_cost_their_entropy_and_come_back() -> None:
    bits = 15
    eps = np.random.default_rng(0).normal(0, 1, 50_000)
    eps[:3] = 40.0, -3000.0, 1e6
    values = np.rint(eps * 2**bits).astype(np.int64)
    stack = Stack(words(100))
    before = stack.n_words
    stack.push_normal(values, bits)
    rest = eps[3:]
    expected = (0.5 * rest**2 + 0.5 * np.log(2 * np.pi)).mean() / np.log(2) + bits
    assert 32 * (stack.n_words - before) / len(eps) == pytest.approx(expected, abs=0.01)
    assert np.array_equal(stack.pop_normal(values.shape, bits), values)
    assert np.array_equal(stack.words(), words(100))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A model and five images of it."""
    glow = glow_of()
    save_glow(glow, tmp_path / "model")
    (tmp_path / "in").mkdir()
    for index, image in enumerate(levels_of(glow.config, 5)):
        pixels = (image << 3).transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "in" / f"{index}.png")
    return tmp_path


def call(project: Path, command: str, *arguments: str, code: int = 0) -> str:
    options = ["--model", str(project / "model")]
    done = CliRunner().invoke(app, [command, *arguments, *options])
    assert done.exit_code == code, done.output
    if code:
        assert done.output.splitlines()[-1].startswith("error: "), done.output
    return done.output


def test_commands_bring_the_same_pictures_back(project: Path) -> None:
    packed, out = project / "images.glow", project / "out"
    assert "net" in call(project, "compress", str(project / "in"), "-o", str(packed))
    assert "5 images, bit for bit" in call(project, "decompress", str(packed), "-o", str(out))
    for file in sorted((project / "in").glob("*.png")):
        assert np.array_equal(
            np.asarray(Image.open(out / file.name)), np.asarray(Image.open(file))
        )
    assert len(list(out.iterdir())) == 5


def test_bad_images_are_refused(project: Path) -> None:
    def refused(image: Image.Image, message: str) -> None:
        file = project / "bad.png"
        image.save(file)
        assert message in call(project, "compress", str(file), "-o", "none.glow", code=2)

    refused(Image.new("RGB", (9, 8)), "is 9x8 RGB, expected 8x8 RGB")
    refused(Image.new("L", (8, 8)), "is 8x8 L")
    refused(Image.new("RGB", (8, 8), (255, 0, 0)), "--quantize drops")
    (project / "bad.png").write_bytes(b"no image")
    call(project, "compress", str(project / "bad.png"), code=2)
    (project / "empty").mkdir()
    call(project, "compress", str(project / "empty"), code=2)
    assert not Path("none.glow").exists()


def test_files_that_are_damaged_or_hostile_are_refused(project: Path) -> None:
    packed = project / "images.glow"
    call(project, "compress", str(project / "in"), "-o", str(packed))
    whole = packed.read_bytes()
    (length,) = struct.unpack("<I", whole[len(MAGIC) : len(MAGIC) + 4])
    for damaged in (b"", b"PNG", whole[:8], whole[:40], whole[:-2], MAGIC + b"\xff" * 4):
        packed.write_bytes(damaged)
        call(project, "decompress", str(packed), code=2)
    for old, new in (
        (b'"0.png"', b'"../0.g'),
        (b'"n_images": 5', b'"n_images": 6'),
        (b'"n_images": 5', b'"n_images":-5'),
        (b'"threads"', b'"threadz"'),
    ):
        assert old in whole[: length + 20]
        packed.write_bytes(whole.replace(old, new[: len(old)].ljust(len(old))))
        call(project, "decompress", str(packed), code=2)
    packed.write_bytes(whole[:-8] + b"\x01\x02\x03\x04" + whole[-4:])
    call(project, "decompress", str(packed), "-o", str(project / "out"), code=1)
    assert not (project / "out").exists()
    packed.write_bytes(whole)
    assert len(read_coded(packed).names) == 5


def test_another_model_is_refused(project: Path) -> None:
    packed = project / "images.glow"
    call(project, "compress", str(project / "in"), "-o", str(packed))
    save_glow(glow_of(noise=0.06), project / "model")
    assert "another model" in call(project, "decompress", str(packed), code=2)
