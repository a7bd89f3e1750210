"""Samples of a model with classes are shown class by class."""

import pytest
import torch

from stages.samples import arranged


def numbered(count: int) -> torch.Tensor:
    """Images (N, 3, 4, 4) of which each is its number."""
    return torch.arange(count).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)


def numbers(rows: list[torch.Tensor]) -> list[list[int]]:
    return [row[:, 0, 0, 0].tolist() for row in rows]


def test_a_row_per_class() -> None:
    rows, labels = arranged(numbered(12), ["cat", "dog", "x" * 99])
    assert numbers(rows) == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    assert labels == ["cat", "dog", "x" * 29 + "…"]


def test_few_classes_take_several_rows_each() -> None:
    rows, labels = arranged(numbered(9), ["cat", "dog"])
    assert numbers(rows) == [[0, 2, 4], [6, 8], [1, 3, 5], [7]]
    assert labels == ["cat", "", "dog", ""]


@pytest.mark.parametrize("classes", [[], list("abcde")])
def test_no_classes_or_too_many_to_be_seen(classes: list[str]) -> None:
    rows, labels = arranged(numbered(9), classes)
    assert numbers(rows) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert labels == []
