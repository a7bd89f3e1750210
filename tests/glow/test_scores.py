"""Scores are what their formulas say, and percentiles what the calibration says."""

import io

import pytest
import torch
from PIL import Image
from small import config_of, new_glow

from glow import bits_per_dim, dequantize
from glow.complexity import compressed_bits
from glow.scores import Calibration, Evidence, gather


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def evidence(bits: torch.Tensor, norm: float = 8.0) -> Evidence:
    norms = torch.stack([torch.full_like(bits, 4.0), torch.full_like(bits, norm)])
    return Evidence(bits, torch.full_like(bits, 1.5), norms, [2, 8])


def test_scores_are_their_formulas() -> None:
    calibration = Calibration.of(evidence(column(1.0, 3.0)))
    found = calibration.scores(evidence(column(2.5, 1.0), norm=16.0))
    expected = {
        "bits_per_dim": column(2.5, 1.0),
        "corrected_bits": column(1.0, -0.5),
        "typicality": column(0.5, 1.0),
        "norm": column(2.0, 2.0),
        "norm_1": column(1.0, 1.0),
        "norm_2": column(2.0, 2.0),
    }
    assert list(found) == list(expected)
    torch.testing.assert_close(found, expected)


def test_a_norm_too_small_is_as_odd_as_one_too_large() -> None:
    calibration = Calibration.of(evidence(column(1.0)))
    small, large = (calibration.scores(evidence(column(1.0), norm))["norm_2"] for norm in (4, 12))
    assert small == large == 1.0


def test_a_percentile_counts_the_less_odd_of_the_calibration() -> None:
    calibration = Calibration.of_scores({"bits_per_dim": column(3.0, 1.0, 2.0, 2.0)})
    asked = {"bits_per_dim": column(0.5, 2.0, 2.5, 9.0, torch.inf, torch.nan)}
    found = calibration.percentiles(asked)["bits_per_dim"]
    torch.testing.assert_close(found, column(0, 20, 60, 80, 80, 80))


def test_few_ordinary_images_get_a_small_p_value() -> None:
    generator = torch.Generator().manual_seed(0)
    p = []
    for _ in range(200):
        drawn = torch.randn(50, generator=generator).double()
        calibration = Calibration.of_scores({"bits_per_dim": drawn[:49]})
        p.append(1 - calibration.percentiles({"bits_per_dim": drawn[49:]})["bits_per_dim"] / 100)
    for level in (0.1, 0.5):
        share = float((torch.cat(p) <= level + 1e-9).double().mean())
        assert share == pytest.approx(level, abs=0.1)


def test_what_overflows_is_the_oddest() -> None:
    calibration = Calibration.of(evidence(column(1.0, 3.0)))
    broken = Evidence(column(torch.nan), column(1.0), column(torch.nan, 8.0)[:, None], [2, 8])
    found = calibration.scores(broken)
    assert found.pop("norm_2") == 0.0
    assert all(of_image == torch.inf for of_image in found.values())


def test_calibration_needs_images() -> None:
    with pytest.raises(ValueError, match="no images"):
        Calibration.of(evidence(column()))


def test_the_evidence_of_images_is_the_models() -> None:
    config = config_of(channels=3, n_bits=5)
    glow = new_glow(config).float()
    levels = torch.randint(32, (5, 3, 4, 4), generator=torch.Generator().manual_seed(3))
    found = gather(glow, levels.byte(), batch_size=5, seed=7)
    x = dequantize(levels.byte(), 5, torch.Generator().manual_seed(7))
    with torch.no_grad():
        latents = glow.encode(x)
        bits = bits_per_dim(glow.log_prob(x), config.n_dims, 5)
    norms = torch.stack([level.double().pow(2).flatten(1).sum(1) for level in latents])
    assert found.latent_dims == [level[0].numel() for level in latents]
    torch.testing.assert_close(found.bits, bits.double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.squared_norms, norms, rtol=1e-4, atol=0)
    in_parts = gather(glow, levels.byte(), batch_size=2, n_draws=3)
    assert in_parts.bits.shape == (5,)
    assert in_parts.squared_norms.shape == (2, 5)


@pytest.mark.parametrize("channels", [1, 3])
def test_complexity_is_the_size_of_a_file_that_gives_the_levels_back(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(32, (1, channels, 16, 16), generator=generator).byte()
    flat = torch.full_like(noise, 7)
    simple, rich = compressed_bits(torch.cat([flat, noise]))
    assert simple < 1.5 < 4.5 < rich
    pixels = noise[0].permute(1, 2, 0).squeeze(2) if channels == 1 else noise[0].permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(
        file, "WEBP", lossless=True, quality=100, method=4
    )
    assert rich == 8 * len(file.getvalue()) / noise.numel()


def test_complexity_refuses_what_is_no_picture() -> None:
    with pytest.raises(ValueError, match="expected"):
        compressed_bits(torch.zeros(2, 4, 8, 8, dtype=torch.uint8))
