"""An official test part stays whole; what is trained on gives the validation images."""

import pytest

from stages import listing
from stages.params import SplitParams
from stages.sources.source import NOT_TEST, Entry

SHARES = SplitParams(valid=0.1, test=0.2)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_settled_split_is_kept(split: str) -> None:
    assert listing.split_of(Entry("a", split), SHARES) == split


def test_training_parts_are_cut_in_two() -> None:
    splits = [listing.split_of(Entry(f"train/{n}", NOT_TEST), SHARES) for n in range(2000)]
    assert set(splits) == {"train", "valid"}
    assert splits.count("valid") / len(splits) == pytest.approx(SHARES.valid, abs=0.02)


def test_the_rest_is_cut_in_three() -> None:
    splits = [listing.split_of(Entry(str(n)), SHARES) for n in range(2000)]
    assert splits.count("test") / len(splits) == pytest.approx(SHARES.test, abs=0.03)
    assert splits.count("valid") / len(splits) == pytest.approx(SHARES.valid, abs=0.02)
