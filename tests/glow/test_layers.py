"""Each layer is its formula."""

import math

import pytest
import torch
import torch.nn.functional as F
from layers import (
    COUPLINGS,
    PERMUTATIONS,
    assert_close,
    batch,
    built,
    flow_step,
    network,
    perturbed,
)

from glow.actnorm import ActNorm
from glow.chain import Chain
from glow.convolution import Conv3x3
from glow.coupling import AdditiveCoupling, AffineCoupling
from glow.permutation import InvertibleConv1x1LU, Reverse, Shuffle
from glow.squeeze import Squeeze

pytestmark = pytest.mark.proof


def test_actnorm_is_its_formula() -> None:
    actnorm, x = built(ActNorm, 2), batch((1, 2, 1, 1))
    expected = [
        (float(x[0, c]) + actnorm.bias[c].item()) * math.exp(3 * actnorm.logs[c].item())
        for c in range(2)
    ]
    assert_close(actnorm(x)[0].flatten(), torch.tensor(expected, dtype=torch.float64), 1e-12)


def test_actnorm_initialize_normalises_every_channel() -> None:
    actnorm = built(ActNorm, 3)
    x = batch((5, 3, 4, 6)) * torch.tensor([0.1, 1.0, 20.0])[:, None, None] + 3
    z = actnorm.initialize(x)
    assert_close(z.mean(dim=(0, 2, 3)), torch.zeros(3, dtype=torch.float64), 1e-9)
    assert_close(z.var(dim=(0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), 1e-4)


def test_actnorm_initialize_survives_a_constant_channel() -> None:
    z = ActNorm(2).initialize(torch.full((3, 2, 4, 4), 0.25))
    assert torch.equal(z, torch.zeros_like(z))


def test_reverse_reverses_the_channels() -> None:
    x = batch((3, 5, 2, 3))
    assert_close(built(Reverse, 5)(x)[0], x.flip(1), 0)


def test_shuffle_permutes_the_channels_as_saved() -> None:
    torch.manual_seed(0)
    shuffle, other = Shuffle(16).double(), Shuffle(16).double()
    x = batch((2, 16, 2, 2))
    z = shuffle(x)[0]
    assert not torch.equal(z, x)
    assert torch.equal(z.sort(dim=1).values, x.sort(dim=1).values)
    assert not torch.equal(other(x)[0], z)
    other.load_state_dict(shuffle.state_dict())
    assert torch.equal(other(x)[0], z)


@pytest.mark.parametrize("permutation", PERMUTATIONS)
def test_a_new_permutation_is_a_rotation(permutation: type) -> None:
    matrix = permutation(12).matrix().detach()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(12), rtol=0, atol=1e-5)
    assert not torch.allclose(matrix, torch.eye(12))


def test_lu_holds_its_matrix_to_the_parameterisation() -> None:
    """Numbers in the wrong triangle are not read, so log|det W| stays the sum."""
    conv = built(InvertibleConv1x1LU, 5)
    assert int((conv.lower.triu() != 0).sum()) == int((conv.upper.tril() != 0).sum()) == 15
    assert_close(conv.log_abs_det(), torch.linalg.slogdet(conv.matrix()).logabsdet, 1e-12)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("channels", [4, 5])
def test_coupling_changes_only_the_second_half_and_by_the_first(
    coupling: type, channels: int
) -> None:
    layer, x = built(lambda c: coupling(c, network), channels), batch((2, channels, 3, 3))
    half = channels // 2
    z = layer(x)[0]
    assert torch.equal(z[:, :half], x[:, :half])
    assert bool((z[:, half:] != x[:, half:]).all())


def test_a_new_coupling_is_nearly_the_identity() -> None:
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(AdditiveCoupling(4, network)(x)[0], x)
    z, log_det = AffineCoupling(4, network)(x)
    scale = 1 / (1 + math.exp(-2.0))
    torch.testing.assert_close(z[:, 2:], x[:, 2:] * scale)
    torch.testing.assert_close(log_det, torch.full((2,), 2 * 9 * math.log(scale)))


def test_affine_coupling_takes_shift_from_even_and_scale_from_odd_channels() -> None:
    layer, x = built(lambda c: AffineCoupling(c, network), 4), batch((2, 4, 3, 3))
    h = layer.conditioner(x[:, :2])
    shift, scale = h[:, [0, 2]], torch.sigmoid(h[:, [1, 3]] + 2)
    z, log_det = layer(x)
    assert_close(z[:, 2:], (x[:, 2:] + shift) * scale, 1e-12)
    assert_close(log_det, scale.log().sum(dim=(1, 2, 3)), 1e-12)


def test_squeeze_orders_channels_by_colour_row_column() -> None:
    x = batch((2, 3, 4, 6))
    z = Squeeze()(x)[0]
    assert z.shape == (2, 12, 2, 3)
    for colour in range(3):
        for row in range(2):
            for column in range(2):
                expected = x[:, colour, row::2, column::2]
                assert torch.equal(z[:, colour * 4 + row * 2 + column], expected)


@pytest.mark.parametrize("permutation", PERMUTATIONS)
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_flow_step_is_its_three_layers_one_after_another(
    permutation: type, coupling: type
) -> None:
    step, x = built(flow_step(permutation, coupling), 4), batch((3, 4, 2, 3))
    z, log_det = Chain([step.actnorm, step.permutation, step.coupling])(x)
    assert_close(step(x)[0], z, 1e-12)
    assert_close(step(x)[1], log_det, 1e-12)


def test_chain_applies_the_first_bijection_first() -> None:
    first, second = built(ActNorm, 3), perturbed(ActNorm(3), seed=9)
    x = batch((2, 3, 2, 2))
    assert_close(Chain([first, second])(x)[0], second(first(x)[0])[0], 0)
    assert not torch.allclose(second(first(x)[0])[0], first(second(x)[0])[0])


@pytest.mark.parametrize("way", ["append_to_input", "add_to_output"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4)])
def test_edge_convolution_sees_a_channel_that_is_one_outside_the_image(
    way: str, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    conv = Conv3x3(3, 4, std=0.5, edge_bias=True).double()
    x, scale, bias = batch((3, 3, *size)), batch((4,), seed=4).exp(), batch((4,), seed=5)
    edge = F.pad(x.new_zeros(3, 1, *size), (1, 1, 1, 1), value=1.0)
    padded = torch.cat((F.pad(x, (1, 1, 1, 1)), edge), dim=1)
    expected = scale[:, None, None] * (F.conv2d(padded, conv.weight) + bias[:, None, None])
    assert_close(getattr(conv, way)(x, conv.fold(bias, scale)), expected, 1e-12)


def test_min_scale_bounds_what_the_inverse_enlarges() -> None:
    bounded = AffineCoupling(4, network, min_scale=0.25).double()
    with torch.no_grad():
        bounded.conditioner.conv3.bias[1::2] = -100.0  # s far below zero: the smallest scale
    z = torch.ones(1, 4, 2, 2, dtype=torch.float64)
    x, log_det = bounded.inverse(z)
    torch.testing.assert_close(x[:, 2:], 4 * z[:, 2:])
    torch.testing.assert_close(log_det, torch.tensor([8 * math.log(4.0)]).double())
