"""Every way of computing a network's products is the convolution that it stands for."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from glow import products

SHAPES = [(2, 5, 4, 4), (3, 4, 2, 6), (2, 3, 12, 10)]


@pytest.fixture(autouse=True, params=["products", "convolutions"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of every processor: which of them is fast depends on it."""
    small = request.param == "products"
    monkeypatch.setattr(products, "SMALL_IMAGE", 2**30 if small else 0)
    monkeypatch.setattr(products, "SMALL_PRODUCT", 2**60 if small else 0)


def operands(
    shape: tuple[int, int, int, int], outputs: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(outputs, shape[1], 3, 3, dtype=dtype)
    bias = torch.randn(outputs, dtype=dtype)
    return x, kernel.contiguous(memory_format=torch.channels_last), bias


def by_autograd(x: Tensor, kernel: Tensor, bias: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    leaves = [tensor.clone().requires_grad_() for tensor in (x, kernel, bias)]
    return torch.autograd.grad(F.conv2d(*leaves, padding=1), leaves, grad)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    tolerance = 1e-11 if actual.dtype == torch.float64 else 1e-4
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


over_types = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


@over_types
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_both_convolutions(
    shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    x, kernel, bias = operands(shape, 7, dtype)
    grad = torch.randn(len(x), 7, *shape[2:], dtype=dtype)
    grad = grad.contiguous(memory_format=torch.channels_last)
    expected = by_autograd(x, kernel, bias, grad)
    for actual, right in zip(products.widening_backward(grad, x, kernel), expected, strict=True):
        assert_close(actual, right)
    for actual, right in zip(
        products.narrowing_backward(grad, x, kernel), expected[:2], strict=True
    ):
        assert_close(actual, right)


@over_types
@pytest.mark.parametrize("shape", SHAPES)
def test_the_fused_convolution(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    x, kernel, bias = operands(shape, 7, dtype)
    assert_close(products.conv_relu(x, kernel, bias), F.conv2d(x, kernel, bias, padding=1).relu())


@pytest.mark.parametrize("images", [3, 16])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-3), (torch.bfloat16, 0.3)]
)
def test_the_gradient_of_a_weight(dtype: torch.dtype, tolerance: float, images: int) -> None:
    torch.manual_seed(0)
    grad = torch.randn(images, 4, 6, 7, dtype=torch.float64).to(dtype)
    x = torch.randn(images, 4, 6, 9, dtype=torch.float64).to(dtype)
    actual = products.weight_gradient(grad.permute(0, 3, 1, 2), x.permute(0, 3, 1, 2))
    expected = grad.double().flatten(0, 2).T @ x.double().flatten(0, 2)
    assert actual.shape == (7, 9)
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", [(5,), (3000,), (3, 7, 5)])
def test_products_in_float32(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(*shape, 96), torch.randn(96, 96), torch.randn(96)
    expected = F.linear(x.double(), weight.double(), bias.double()).relu()
    actual = products.linear_relu(x, weight, bias)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-3)
    back = products.product(x, weight)
    torch.testing.assert_close(back.double(), x.double() @ weight.double(), rtol=1e-4, atol=1e-3)


def test_packed_weights_compute_the_same() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8, 8).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(64, 5, 3, 3).contiguous(memory_format=torch.channels_last)
    bias, weight = torch.randn(64), torch.randn(64, 64)
    packed = products.packed_kernel(kernel, x.shape)
    expected = F.conv2d(x, kernel, bias, padding=1).relu()
    torch.testing.assert_close(products.conv_relu(x, packed, bias), expected, rtol=0, atol=1e-5)
    h = expected.movedim(1, -1)
    torch.testing.assert_close(
        products.linear_relu(h, products.packed_weight(weight, h[..., 0].numel()), bias),
        F.linear(h, weight, bias).relu(),
        rtol=0,
        atol=1e-4,
    )
