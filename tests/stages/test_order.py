"""The order of an epoch: every image once, within windows, the same for any number of ranks."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.order import Order

counts_of_shards = st.lists(st.integers(1, 30), min_size=1, max_size=12)


def test_a_split_of_one_window_is_shuffled_as_a_whole() -> None:
    order = Order([30, 20, 10], window=60, batch_size=8, seed=3)
    generator = torch.Generator().manual_seed(3 * 1_000_003 + 5)
    assert torch.equal(order.epoch(5), torch.randperm(60, generator=generator))


@given(counts=counts_of_shards, window=st.integers(1, 100), epoch=st.integers(0, 3))
def test_every_image_comes_once(counts: list[int], window: int, epoch: int) -> None:
    images = Order(counts, window, batch_size=1, seed=0).epoch(epoch)
    assert sorted(images.tolist()) == list(range(sum(counts)))


@given(counts=counts_of_shards, window=st.integers(1, 100))
def test_a_window_holds_whole_shards_and_little_more_than_it_should(
    counts: list[int], window: int
) -> None:
    images = Order(counts, window, batch_size=1, seed=0).epoch(0)
    shard_of = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    places: dict[int, list[int]] = {}
    for place, image in enumerate(images.tolist()):
        places.setdefault(int(shard_of[image]), []).append(place)
    for spread in places.values():
        assert spread[-1] - spread[0] < window + 2 * max(counts)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [Order([9, 9, 9], 9, 3, seed).epoch(epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order.tolist()) for order in orders}) == 4


@given(counts=counts_of_shards, window=st.integers(1, 100), step=st.integers(0, 40))
def test_the_shards_from_a_step_on_are_those_of_what_is_left_of_two_windows(
    counts: list[int], window: int, step: int
) -> None:
    order = Order(counts, window, batch_size=2, seed=1)
    if order.steps_per_epoch == 0:
        return
    epoch, index = divmod(step, order.steps_per_epoch)
    shard_of = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    before, after = (shard_of[order.epoch(epoch + more)].tolist() for more in (0, 1))
    last = 2 * index + 1
    found = order.shards_from(step)
    assert len(set(found)) == len(found)
    run = list(itertools.takewhile(lambda shard: shard in found, [*before, *after][last:]))
    assert run
    assert set(found) <= {*before[:last], *run}
    assert len(run) == len([*before, *after][last:]) or sum(counts) > window


@given(
    counts=counts_of_shards,
    window=st.integers(1, 100),
    ranks=st.sampled_from([1, 2, 3]),
    steps=st.lists(st.integers(0, 40), min_size=1, max_size=5),
)
def test_the_parts_of_all_ranks_are_the_batch_whatever_came_before(
    counts: list[int], window: int, ranks: int, steps: list[int]
) -> None:
    batch = 6
    if sum(counts) < batch:
        counts = [*counts, batch]
    whole = Order(counts, window, batch, seed=1)
    parts = [Order(counts, window, batch, 1, rank, ranks) for rank in range(ranks)]
    for step in steps:
        fresh = Order(counts, window, batch, seed=1).part(step)
        assert torch.equal(whole.part(step), fresh)
        assert torch.equal(torch.cat([part.part(step) for part in parts]), fresh)
