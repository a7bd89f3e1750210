"""The matrix products inside a coupling's network, each with what can be fused into it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_ONEDNN_TYPES = {torch.float32}
if _ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported():
    _ONEDNN_TYPES.add(torch.bfloat16)
# With 512-bit instructions oneDNN is twice as fast as MKL on AMD's, its convolutions as fast as
# its products.
_WIDE = torch.backends.cpu.get_cpu_capability() == "AVX512"
SMALL_PRODUCT = 2**21 if _WIDE else 2**24  # multiplications
ONEDNN_BATCH = 16  # images, with one thread
SMALL_IMAGE = 0 if _WIDE else 64  # pixels


def multiplies(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the device has fast products of numbers of that type: of a CPU, oneDNN knows."""
    return device.type != "cpu" or dtype in _ONEDNN_TYPES


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(W x + b), (..., I) -> (..., O), in one pass if the device can; not differentiable."""
    if weight.is_mkldnn or _onednn(x, len(weight)):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu", [], "")
    if x.is_cuda:
        out = torch._addmm_activation(bias, x.flatten(0, -2), weight.T)
        return out.view(*x.shape[:-1], len(weight))
    return F.linear(x, weight, bias).relu_()


def conv_relu(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """relu(kernel * x + bias), a 3x3 convolution that keeps the size; not differentiable."""
    if not kernel.is_mkldnn and _is_small(x):
        weight = kernel.permute(0, 2, 3, 1).flatten(1)
        return linear_relu(_patches(x), weight, bias).movedim(-1, 1)
    if kernel.is_mkldnn or _onednn(x, 9 * len(kernel)):
        return _fused_convolution(x, kernel, bias, "relu")
    return F.conv2d(x, kernel, bias, padding=1).relu_()


def conv(x: Tensor, kernel: Tensor) -> Tensor:
    """A 3x3 convolution that keeps the size, without bias."""
    if kernel.is_mkldnn:
        return _fused_convolution(x, kernel, None, "none")
    return F.conv2d(x, kernel, padding=1)


def packed_kernel(kernel: Tensor, shape: Sequence[int]) -> Tensor:
    """The kernel as oneDNN has it inside, for images of a shape (B, C, H, W); others as it is.

    Otherwise it is brought into that form every time it is used.
    """
    if not _packs(kernel):
        return kernel
    one = [1, 1]
    return torch.ops.mkldnn._reorder_convolution_weight(kernel, one, one, one, 1, list(shape))


def packed_weight(weight: Tensor, n_rows: int) -> Tensor:
    """The same for the weight of `linear_relu`, for that many rows."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, n_rows) if _packs(weight) else weight


def product(x: Tensor, matrix: Tensor) -> Tensor:
    """X M, (..., I) -> (..., O); not differentiable.

    On a CPU it is oneDNN's, which on AMD's is faster than MKL's.
    """
    if _onednn(x, matrix.shape[1]):
        return torch.ops.mkldnn._linear_pointwise(x, matrix.T, None, "none", [], "")
    return x @ matrix


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of a 1x1 convolution's weight, (O, I), from those of (B, O, H, W) and x.

    x is (B, I, H, W). oneDNN has more to set up for it than for a product, so it is asked from
    twice that size on; and where torch would hand the convolution on to it, which it does not for
    few images and one thread.
    """
    hands_on = len(x) >= ONEDNN_BATCH or torch.get_num_threads() > 1
    if not hands_on or not _onednn(x, grad.shape[1] // 2):
        return _rows(grad).T @ _rows(x)
    kernel = x.new_empty(grad.shape[1], x.shape[1], 1, 1)
    return _conv_backward(grad, x, kernel, mask=[False, True, False])[1].flatten(1)


def widening_backward(grad: Tensor, x: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, kernel and bias of a 3x3 convolution from few channels to many."""
    if grad.is_cuda:
        return _conv_backward(grad, x, kernel, mask=[True, True, True])
    # so many terms are not for bfloat16
    dtype = torch.float32 if grad.dtype == torch.bfloat16 else grad.dtype
    of_bias = grad.sum(dim=(0, 2, 3), dtype=dtype)
    if not _is_small(x):
        return *_conv_backward(grad, x, kernel, mask=[True, True, False])[:2], of_bias
    of_kernel = _patches(x).flatten(0, 2).T @ _rows(grad)
    of_kernel = of_kernel.view(3, 3, x.shape[1], -1).permute(3, 2, 0, 1)
    return _conv_backward(grad, x, kernel, mask=[True, False, False])[0], of_kernel, of_bias


def narrowing_backward(grad: Tensor, x: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of x and kernel of a 3x3 convolution from many channels to few."""
    if not _is_small(x):
        return _conv_backward(grad, x, kernel, mask=[True, True, False])[:2]
    patches = _patches(grad)
    turned = kernel.permute(2, 3, 0, 1).flip(0, 1).flatten(0, 2)
    of_kernel = (patches.flatten(0, 2).T @ _rows(x)).view(3, 3, grad.shape[1], -1).flip(0, 1)
    return product(patches, turned).movedim(-1, 1), of_kernel.permute(2, 3, 0, 1)


def through_relu(grad: Tensor, h: Tensor) -> Tensor:
    """The gradient before a ReLU from that after it, in the place of h, the ReLU's output."""
    return torch.ops.aten.threshold_backward.grad_input(grad, h, 0, grad_input=h)


def _conv_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, *, mask: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten.convolution_backward(
        grad,
        x,
        kernel,
        bias_sizes=[len(kernel)],
        stride=[1, 1],
        padding=[kernel.shape[2] // 2, kernel.shape[3] // 2],
        dilation=[1, 1],
        transposed=False,
        output_padding=[0, 0],
        groups=1,
        output_mask=mask,
    )


def _fused_convolution(x: Tensor, kernel: Tensor, bias: Tensor | None, then: str) -> Tensor:
    one = [1, 1]
    return torch.ops.mkldnn._convolution_pointwise(x, kernel, bias, one, one, one, 1, then, [], "")


def _packs(weight: Tensor) -> bool:
    return _ONEDNN and weight.device.type == "cpu" and weight.dtype == torch.float32


def _is_small(x: Tensor) -> bool:
    """Whether images are so small that a CPU is faster at products than at convolutions."""
    return x.device.type == "cpu" and x.shape[2] * x.shape[3] <= SMALL_IMAGE


def _patches(x: Tensor) -> Tensor:
    """What a 3x3 kernel sees at every pixel, (B, H, W, 9 C), by row, column, channel."""
    batch, channels, height, width = x.shape
    padded = x.new_zeros(batch, height + 2, width + 2, channels)
    padded[:, 1:-1, 1:-1] = x.movedim(1, -1)
    image, row, pixel, _ = padded.stride()
    windows = padded.as_strided(
        (batch, height, width, 3, 3, channels), (image, row, pixel, row, pixel, 1)
    )
    return windows.reshape(batch, height, width, 9 * channels)


def _rows(x: Tensor) -> Tensor:
    """A channels-last image batch (B, C, H, W) as the matrix (B H W, C) that it is in memory."""
    return x.movedim(1, -1).flatten(0, 2)


def _onednn(x: Tensor, outputs: int) -> bool:
    """Whether oneDNN is asked for a product; for a small one MKL has less to set up."""
    return (
        _ONEDNN
        and x.device.type == "cpu"
        and x.dtype in _ONEDNN_TYPES
        and x.numel() * outputs > SMALL_PRODUCT
    )
