"""The matrix products inside a coupling's network, each with what can be fused into it."""

import torch
import torch.nn.functional as F
from torch import Tensor

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(x W' + b), (N, I) -> (N, O), in one pass where the device can; not differentiable."""
    if _onednn(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu", [], "")
    if x.is_cuda:
        return torch._addmm_activation(bias, x, weight.T)
    return F.linear(x, weight, bias).relu_()


def conv_relu(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """relu(kernel * x + bias), a 3x3 convolution that keeps the size; not differentiable."""
    if _onednn(x):
        one = [1, 1]
        return torch.ops.mkldnn._convolution_pointwise(
            x, kernel, bias, one, one, one, 1, "relu", [], ""
        )
    return F.conv2d(x, kernel, bias, padding=1).relu_()


def product(x: Tensor, matrix: Tensor) -> Tensor:
    """X M, (N, I) -> (N, O); not differentiable.

    On a CPU it is oneDNN's, which on AMD's is faster than MKL's.
    """
    if _onednn(x):
        return torch.ops.mkldnn._linear_pointwise(x, matrix.T, None, "none", [], "")
    return x @ matrix


def rows(x: Tensor) -> Tensor:
    """A channels-last image batch (B, C, H, W) as the matrix (B H W, C) that it is in memory."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def images(matrix: Tensor, like: Tensor) -> Tensor:
    """The inverse of `rows`, with the batch, height and width of `like`."""
    batch, _, height, width = like.shape
    return matrix.view(batch, height, width, -1).permute(0, 3, 1, 2)


def conv_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, *, of_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, kernel and bias of a 3x3 convolution that keeps the image's size."""
    return torch.ops.aten.convolution_backward(
        grad,
        x,
        kernel,
        bias_sizes=[len(kernel)],
        stride=[1, 1],
        padding=[1, 1],
        dilation=[1, 1],
        transposed=False,
        output_padding=[0, 0],
        groups=1,
        output_mask=[True, True, of_bias],
    )


def through_relu_(grad: Tensor, h: Tensor) -> Tensor:
    """The gradient before a ReLU from that after it, in its place; h is the ReLU's output."""
    return torch.ops.aten.threshold_backward.grad_input(grad, h, 0, grad_input=grad)


def _onednn(x: Tensor) -> bool:
    return _ONEDNN and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
