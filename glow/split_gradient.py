"""The prior of the half of the channels that leaves at a split, with its gradient by hand.

The same mathematics as SplitPrior's, for training: autograd would record fifty small operations.
"""

import math
from typing import Any

import torch
from torch import Tensor

from glow.convolution import outside
from glow.products import conv, narrowing_backward


class ByHand(torch.autograd.Function):
    """eps = (z - mean) / std and log N(z; mean, std^2), with h = conv(kept).

    mean is in h's even and log std in its odd channels. With d the gradient of eps, to which
    log_prob adds -eps of its own: d / std of z, -d / std of the mean, -d eps - 1 of log std.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        z: Tensor,
        kept: Tensor,
        weight: Tensor,
        bias: Tensor,
        logs: Tensor,
        log_scale_factor: float,
        edge: bool,  # noqa: FBT001 - autograd functions have no keywords
    ) -> tuple[Tensor, Tensor]:
        """Eps (B, C, H, W) and log_prob (B,), nats."""
        scale = (log_scale_factor * logs).exp()
        stored = weight.permute(0, 2, 3, 1)
        response = bias[:, None]
        if edge:
            response = response + stored[..., -1].flatten(1) @ outside(z)
            stored = stored[..., :-1]
        response = response * scale[:, None]
        kernel = (stored * scale[:, None, None, None]).contiguous().permute(0, 3, 1, 2)
        seen = kept.contiguous(memory_format=torch.channels_last)
        h = conv(seen, kernel)
        h += response.unflatten(1, z.shape[2:] if edge else (1, 1))
        log_std = h[:, 1::2].contiguous()
        unscale = (-log_std).exp()
        eps = (z - h[:, 0::2]).mul_(unscale)
        terms = torch.addcmul(log_std, eps, eps, value=0.5)
        constant = eps[0].numel() * 0.5 * math.log(2 * math.pi)
        ctx.save_for_backward(eps, unscale, seen, kernel, response, scale)
        ctx.log_scale_factor, ctx.edge = log_scale_factor, edge
        ctx.set_materialize_grads(False)
        return eps, -terms.sum(dim=(1, 2, 3)) - constant

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_eps: Tensor | None, grad_log_prob: Tensor | None) -> Any:  # noqa: ANN401
        """Of z, kept, weight, bias and logs."""
        eps, unscale, seen, kernel, response, scale = ctx.saved_tensors
        each = eps.new_zeros(1) if grad_log_prob is None else grad_log_prob
        each = each[:, None, None, None]
        of_eps = -each * eps
        if grad_eps is not None:
            of_eps += grad_eps
        of_z = of_eps * unscale
        shape = len(eps), kernel.shape[0], *eps.shape[2:]
        of_h = torch.empty(
            shape, dtype=eps.dtype, device=eps.device, memory_format=torch.channels_last
        )
        torch.neg(of_z, out=of_h[:, 0::2])
        torch.sub(-each, of_eps.mul_(eps), out=of_h[:, 1::2])
        of_kept, of_kernel = narrowing_backward(of_h, seen, kernel)
        of_kernel = of_kernel.permute(0, 2, 3, 1)
        of_response = of_h.sum(dim=0).flatten(1)
        of_scale = (of_kernel * kernel.permute(0, 2, 3, 1)).sum(dim=(1, 2, 3))
        of_scale += (of_response * response).sum(dim=1)
        of_weight = of_kernel * scale[:, None, None, None]
        of_response = of_response * scale[:, None]
        if ctx.edge:
            of_edge = (of_response @ outside(eps).T).unflatten(1, (3, 3))
            of_weight = torch.cat((of_weight, of_edge[..., None]), dim=3)
        of_weight = of_weight.permute(0, 3, 1, 2)
        of_logs = of_scale * ctx.log_scale_factor
        return of_z, of_kept, of_weight, of_response.sum(dim=1), of_logs, None, None
