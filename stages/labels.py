"""From attributes to the classes of a conditional model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from glow.marks import has, is_known
from stages.errors import InputError
from stages.shards import SPLITS, ShardSet


def classes_of(conditional: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names that `model.conditional` gives the classes.

    An attribute makes two, without and with it; a list of attributes, of which every image has
    exactly one, makes as many.
    """
    if conditional is None:
        return ()
    if isinstance(conditional, str):
        return (f"not {conditional}", conditional)
    return tuple(conditional)


def check_all_come(classes: Sequence[str], labels: Tensor) -> None:
    """InputError where a class has none of the training images, whose labels these are, (N,)."""
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    never = [name for name, count in zip(classes, counts, strict=True) if not count]
    if never:
        raise InputError(
            f"no training image is of the class {', '.join(never)}, expected some of every class "
            "that model.conditional makes; add images, or set another model.conditional"
        )


def check_held_out(classes: Sequence[str], shards: ShardSet) -> None:
    """What `labels_of` raises of images that only stages after the training would read.

    Shards that lie elsewhere are not fetched for it.
    """
    if classes and shards.remote is None:
        for split in SPLITS[1:]:
            labels_of(classes, shards.attribute_names, shards.attributes(split))


def labels_of(classes: Sequence[str], names: Sequence[str], present: Tensor) -> Tensor | None:
    """The class of each image, (N,), int64, or None where the model has no classes.

    Args:
        classes: of the model.
        names: of the attributes.
        present: whether images have them, (N, A), as `glow/marks.py` has them.

    Raises:
        InputError: a class is no attribute of the data set, or images have none or several, or
            it is not known of them.
    """
    if not classes:
        return None
    wanted = [name for name in classes if name != f"not {classes[-1]}"]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        there = ", ".join(names) or "none"
        raise InputError(
            f"model.conditional names {', '.join(unknown)}, expected attributes of the data set; "
            f"there are: {there}"
        )
    columns = present[:, [list(names).index(name) for name in wanted]]
    if len(wanted) < len(classes):
        n_unknown = int((~is_known(columns)).sum())
        if n_unknown:
            raise InputError(
                f"{wanted[0]} is not known of {n_unknown} of {len(columns)} images, expected it "
                "of all, as model.conditional names it; complete it, or leave these images out"
            )
        return columns[:, 0].long()
    counts = has(columns).sum(dim=1)
    if bool((counts != 1).any()):
        wrong = int((counts != 1).sum())
        raise InputError(
            f"{wrong} of {len(counts)} images have none or several of {', '.join(wanted)}, "
            "expected exactly one, as model.conditional lists classes"
        )
    return has(columns).long().argmax(dim=1)
