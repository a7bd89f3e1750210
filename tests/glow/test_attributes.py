"""Attribute vectors and counterfactual edits, against numbers computed another way."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from glow import Latents
from glow.attributes import AttributeStatistics, edit
from glow.counterfactual import Counterfactual, choose_pairs, find_exclusive, with_pairs
from glow.marks import UNKNOWN, filled, is_known, shares_of

N, A, D = 4000, 4, 6


@pytest.fixture
def latents() -> Latents:
    torch.manual_seed(0)
    return Latents([torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)])


def images(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Attributes of which 0 and 1 come together and 2 excludes 3, a law of z, and z by it."""
    random = torch.Generator().manual_seed(seed)
    present = torch.rand(n, A, generator=random) < 0.4
    present[:, 1] = torch.where(
        torch.rand(n, generator=random) < 0.8, present[:, 0], present[:, 1]
    )
    present[:, 3] &= ~present[:, 2]
    law = 2 * torch.randn(A + 1, D, generator=torch.Generator().manual_seed(7)).double()
    both = present[:, 0] & present[:, 2]
    means = torch.cat([present, both[:, None]], dim=1).double() @ law
    return present, law, means + 0.5 * torch.randn(n, D, generator=random).double()


def sums(present: Tensor, z: Tensor, pairs: Tensor) -> AttributeStatistics:
    """In batches of odd sizes."""
    features = with_pairs(present, pairs)
    found = AttributeStatistics.empty(features.shape[1], z.shape[1])
    for rows in torch.arange(len(z)).split(333):
        found.add(z[rows], features[rows])
    return found


def test_an_edit_moves_the_chosen_levels_alone(latents: Latents) -> None:
    vector = torch.randn(68)
    moved = edit(latents, vector, 0.5, levels=[1])
    assert torch.equal(moved[0], latents[0])
    assert torch.allclose(moved[1], latents[1] + 0.5 * vector[48:].view(1, 5, 2, 2))
    everywhere = edit(latents, vector, 0.5)
    assert torch.allclose(everywhere.flatten(), latents.flatten() + 0.5 * vector)


def test_each_image_may_have_a_direction_of_its_own(latents: Latents) -> None:
    directions = torch.randn(2, 68)
    moved = edit(latents, directions, -2.0).flatten()
    assert torch.allclose(moved, latents.flatten() - 2 * directions)


@pytest.mark.parametrize(
    ("size", "levels", "line"),
    [
        (67, None, "the vector has 67 dimensions, expected 68"),
        (68, [2], "no level 2, expected 0 to 1"),
        (68, [-1], "no level -1"),
    ],
)
def test_a_vector_or_level_that_does_not_fit_is_refused(
    latents: Latents, size: int, levels: list[int] | None, line: str
) -> None:
    with pytest.raises(ValueError, match=line):
        edit(latents, torch.zeros(size), 1.0, levels=levels)


def test_difference_is_that_of_the_means_and_regression_takes_attributes_apart() -> None:
    present, law, z = images(N, 0)
    alone = z - (present[:, 0] & present[:, 2]).double()[:, None] * law[A]
    found = sums(present, alone, torch.zeros(0, 2).long())
    has = present[:, 0]
    difference = alone[has].mean(dim=0) - alone[~has].mean(dim=0)
    assert torch.allclose(found.vectors("difference")[0], difference)
    assert (found.vectors("regression") - law[:A]).abs().max() < 0.1
    assert (difference - law[0]).abs().max() > 0.5


def test_sums_of_the_first_attributes_are_those_without_the_pairs() -> None:
    present, _, z = images(500, 0)
    pairs = choose_pairs(present)
    assert len(pairs) > 0
    first, alone = sums(present, z, pairs).of_first(A), sums(present, z, pairs[:0])
    assert torch.equal(first.vectors("regression"), alone.vectors("regression"))
    assert first.squares == alone.squares


def test_exclusive_are_those_that_never_come_together_though_both_are_frequent() -> None:
    present, _, _ = images(N, 0)
    expected = torch.zeros(A, A).bool()
    expected[2, 3] = expected[3, 2] = True
    assert torch.equal(find_exclusive(present), expected)
    present[:] = False
    present[:30, 0], present[30:60, 1] = True, True
    assert not find_exclusive(present).any()


def test_pairs_that_never_come_together_are_left_out() -> None:
    pairs = choose_pairs(images(N, 0)[0]).tolist()
    assert sorted(pairs) == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3]]


def test_a_counterfactual_depends_on_what_the_image_has() -> None:
    present, law, z = images(N, 0)
    other, _, valid = images(1000, 1)
    pairs = choose_pairs(present)
    train, held_out = sums(present, z, pairs), sums(other, valid, pairs)
    found = Counterfactual.fit(train, held_out, pairs, find_exclusive(present), "abcd")
    faces = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]).bool()
    expected = torch.stack([law[2], law[2] + law[A], law[2] - law[3]])
    assert (found.directions(faces, 2) - expected).abs().max() < 0.25
    kept = ~found.undefined(faces, 2)
    assert kept.tolist() == [[True, True, False, False]] * 3
    assert found.wanted(faces, 2)[2].tolist() == [False, False, True, False]


def test_an_unknown_attribute_says_nothing_of_the_latents() -> None:
    present, law, z = images(N, 0)
    unknown = torch.rand(N, A, generator=torch.Generator().manual_seed(1)) < 0.3
    marks = present.to(torch.int8).masked_fill(unknown, UNKNOWN)
    pairs = choose_pairs(marks)
    features = with_pairs(filled(marks, shares_of(marks)), pairs)
    found = AttributeStatistics.empty(A + len(pairs), D)
    found.add(z, features, with_pairs(is_known(marks), pairs))
    difference = found.of_first(A).vectors("difference")
    for attribute in range(A):
        of = marks[:, attribute]
        expected = z[of == 1].mean(dim=0) - z[of == 0].mean(dim=0)
        assert torch.allclose(difference[attribute], expected)
    assert torch.equal(find_exclusive(marks), find_exclusive(present))
    weights, thresholds = found.of_first(A).probe()
    right = ((z @ weights.T > thresholds) == present).double().mean(dim=0)
    assert (right > 0.7).all()  # 0 and 1 come together: some of one is taken for the other
    assert (right[2:] > 0.95).all()
    fitted = Counterfactual.fit(found, found, pairs, find_exclusive(marks), "abcd")
    faces = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [UNKNOWN, 0, 0, 0]], dtype=torch.int8)
    without, with_a, between = fitted.directions(faces, 2)
    assert torch.cosine_similarity(without, law[2], dim=0) > 0.95
    assert torch.cosine_similarity(with_a, law[2] + law[A], dim=0) > 0.95
    share = shares_of(marks)[0]
    assert torch.allclose(between, share * with_a + (1 - share) * without)


def test_a_counterfactual_is_the_same_when_it_is_loaded(tmp_path: Path) -> None:
    present, _, z = images(500, 0)
    pairs = choose_pairs(present)
    train = sums(present, z, pairs)
    fitted = Counterfactual.fit(train, train, pairs, find_exclusive(present), "abcd")
    found = fitted.rounded()
    assert torch.allclose(found.effects, fitted.effects, rtol=1e-3, atol=1e-7)
    (tmp_path / "file").write_bytes(found.to_bytes(weights=""))
    again = Counterfactual.load(tmp_path / "file")
    assert again.names == ("a", "b", "c", "d")
    for attribute in range(A):
        directions = again.directions(present, attribute)
        assert torch.equal(directions, found.directions(present, attribute))
        kept = again.undefined(present, attribute)
        assert torch.equal(kept, found.undefined(present, attribute))


def test_what_an_excluded_attribute_held_absent_need_not_be_kept() -> None:
    exclusive = torch.zeros(3, 3).bool()
    exclusive[0, 1] = exclusive[1, 0] = exclusive[1, 2] = exclusive[2, 1] = True
    found = Counterfactual(
        torch.zeros(3, D), torch.zeros(3), torch.zeros(0, 2).long(), exclusive, ()
    )
    bare, hat = torch.tensor([[False] * 3]), torch.tensor([[False, True, False]])
    assert found.undefined(bare, 0).tolist() == [[True, True, False]]
    assert found.undefined(hat, 0).tolist() == [[True, True, True]]


def test_no_validation_images_and_no_pairs_are_a_regression() -> None:
    present, _, z = images(N, 0)
    pairs = torch.zeros(0, 2).long()
    train = sums(present, z, pairs)
    empty = AttributeStatistics.empty(A, D)
    found = Counterfactual.fit(train, empty, pairs, find_exclusive(present), "abcd")
    nothing = torch.zeros(1, A).bool()
    expected = train.vectors("regression")[0]
    assert torch.allclose(found.directions(nothing, 0)[0], expected, atol=1e-9)


def test_a_probe_finds_the_attributes_that_explain_the_latents() -> None:
    present, _, z = images(N, 0)
    weights, thresholds = sums(present, z, torch.zeros(0, 2).long()).probe()
    right = ((z @ weights.T > thresholds) == present).double().mean(dim=0)
    assert (right > 0.85).all()
