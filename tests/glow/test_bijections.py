"""Every bijection: its inverse undoes it, and its log_det is that of the Jacobian."""

from collections.abc import Callable

import pytest
import torch
from layers import assert_close, batch, built, log_abs_det_jacobian, over_all

from glow.bijection import Bijection

pytestmark = pytest.mark.proof


@over_all
def test_inverse_undoes_forward_and_negates_log_det(
    make: Callable[[int], Bijection], shape: tuple[int, int, int, int]
) -> None:
    bijection, x = built(make, shape[1]), batch(shape)
    z, log_det = bijection(x)
    back, log_det_back = bijection.inverse(z)
    assert_close(back, x, 1e-10)
    assert_close(log_det_back, -log_det, 1e-10)
    assert log_det.shape == log_det_back.shape == (shape[0],)


@over_all
def test_forward_undoes_inverse(
    make: Callable[[int], Bijection], shape: tuple[int, int, int, int]
) -> None:
    bijection = built(make, shape[1])
    z = bijection(batch(shape))[0].detach()
    other = batch(tuple(z.shape), seed=3)
    assert_close(bijection(bijection.inverse(other)[0])[0], other, 1e-10)


@over_all
def test_log_det_is_that_of_the_jacobian(
    make: Callable[[int], Bijection], shape: tuple[int, int, int, int]
) -> None:
    bijection, x = built(make, shape[1]), batch(shape)
    z, log_det = bijection(x)
    assert_close(log_det, log_abs_det_jacobian(lambda v: bijection(v)[0], x), 1e-9)
    z = z.detach()
    _, log_det_back = bijection.inverse(z)
    assert_close(log_det_back, log_abs_det_jacobian(lambda v: bijection.inverse(v)[0], z), 1e-9)


@over_all
def test_input_is_not_modified(
    make: Callable[[int], Bijection], shape: tuple[int, int, int, int]
) -> None:
    bijection, x = built(make, shape[1]), batch(shape)
    kept = x.clone()
    z, _ = bijection(x)
    z = z.detach().clone()
    kept_z = z.clone()
    bijection.inverse(z)
    bijection.initialize(x)
    assert torch.equal(x, kept)
    assert torch.equal(z, kept_z)


@over_all
def test_images_of_a_batch_do_not_mix(
    make: Callable[[int], Bijection], shape: tuple[int, int, int, int]
) -> None:
    bijection = built(make, shape[1])
    x = batch((3, *shape[1:]))
    z, log_det = bijection(x)
    alone, log_det_alone = bijection(x[1:2])
    assert_close(z[1:2], alone, 1e-12)
    assert_close(log_det[1:2], log_det_alone, 1e-12)


@over_all
def test_initialize_returns_what_forward_then_gives(
    make: Callable[[int], Bijection], shape: tuple[int, int, int, int]
) -> None:
    bijection, x = built(make, shape[1]), batch((7, *shape[1:]))
    assert_close(bijection.initialize(x), bijection(x)[0], 1e-10)
