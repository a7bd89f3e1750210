"""What later stages could not do with the images is refused before an image is read."""

import torch
from torch import Tensor

from glow.marks import UNKNOWN
from stages.counts import check_batch, check_splits
from stages.labels import check_all_come, classes_of, labels_of
from stages.listing import Listing
from stages.params import Params
from stages.shards import SPLITS
from stages.sources.source import Entry, Source


def check_later_stages(params: Params, source: Source, listing: Listing) -> None:
    """All that the names of the images, and what is known of them, say about later stages.

    Raises:
        InputError: a split has no image, the training split no batch, or `model.conditional` names
            no classes of all images.
    """
    places = {split: [s for s in listing.shards if s.split == split] for split in SPLITS}
    counts = {split: sum(len(s.places) for s in shards) for split, shards in places.items()}
    check_splits(counts)
    check_batch(counts["train"], params.train.batch_size)
    classes = classes_of(params.model.conditional)
    names = [*source.attribute_names, *source.classes]
    labels_of(classes, names, torch.zeros(0, len(names)))
    if not any(entry.attributes or entry.label is not None for entry in listing.entries):
        return  # what is drawn is known once it is drawn
    used = [name for name in names if name in classes]
    for split, shards in places.items():
        members = [entry for shard in shards for entry in listing.members(shard)]
        labels = labels_of(classes, used, _marks(members, used, source.classes))
        if split == "train" and labels is not None:
            check_all_come(classes, labels)


def _marks(entries: list[Entry], names: list[str], classes: tuple[str, ...]) -> Tensor:
    """Of attributes and classes, (N, A), as `glow/marks.py` has them."""
    columns = []
    for name in names:
        if name in classes:
            number = classes.index(name)
            labels = (entry.label for entry in entries)
            columns.append([UNKNOWN if label is None else label == number for label in labels])
        else:
            columns.append([entry.attributes.get(name, UNKNOWN) for entry in entries])
    return torch.tensor(columns, dtype=torch.int8).reshape(len(names), len(entries)).T
