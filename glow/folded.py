"""What a step of flow comes down to (folding.py): a matrix and three convolutions."""

from typing import NamedTuple

from torch import Tensor


class FoldedStep(NamedTuple):
    """A step: z1, y2 = halves(matrix x + shift); h = network(z1); z2 = change(y2, h).

    network: relu(kernel1 * [z1, -1] + bias1), relu(weight2 . + bias2), kernel3 * . + response.
    The gradient of one is another, whose log_det is (B,), of what the step adds to every image's.
    """

    matrix: Tensor  # (C, C)
    shift: Tensor  # (C, 1)
    log_det: Tensor  # of actnorm and permutation, a scalar, nats
    kernel1: Tensor  # (width, channels seen [+ 1], 3, 3), channels last; the network's in its type
    bias1: Tensor
    weight2: Tensor  # (width, width)
    bias2: Tensor
    kernel3: Tensor  # (outputs, width, 3, 3), channels last, outputs in order
    response: Tensor  # (outputs, H, W), or (outputs, 1, 1) without an edge bias
