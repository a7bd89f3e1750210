"""How many images there have to be."""

from collections.abc import Mapping

from stages.errors import InputError


def check_splits(counts: Mapping[str, int]) -> None:
    """InputError where a split has no image; counts by split."""
    empty = [split for split, count in counts.items() if not count]
    if empty:
        raise InputError(
            f"no image fell to the split {', '.join(empty)} of {sum(counts.values())} images; "
            "add images or raise its share in data.split"
        )


def check_batch(n_images: int, batch_size: int) -> None:
    """InputError where the training split has too few images for a batch."""
    if n_images < batch_size:
        raise InputError(
            f"the training split has {n_images} images, fewer than train.batch_size = "
            f"{batch_size}; add images or lower it"
        )
