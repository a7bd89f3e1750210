"""What a data set is: dataset.json, duplicates.csv and pictures, beside its shards."""

import hashlib
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages import bad_images
from stages.counts import check_splits
from stages.dataset_figures import save_frequencies, save_sheet, save_together
from stages.duplicates import KINDS, count_duplicates, find_duplicates, table
from stages.listing import Listing
from stages.outputs import write_text
from stages.params import DataParams
from stages.shards import DUPLICATES, FIGURES, SPLITS, ShardSet
from stages.sources.source import Source
from stages.unfinished import Made, Unfinished

Counts = dict[str, Counter[str]]  # by split, then by attribute or class


@dataclass(frozen=True)
class Description:
    """Of shards that are all made.

    Attributes:
        source: of the images.
        listing: of them, and of the shards.
        data: of params.yaml.
        made: what is known of each shard, by name.
        into: where they are.
    """

    source: Source
    listing: Listing
    data: DataParams
    made: dict[str, Made]
    into: Unfinished

    def write(self) -> dict[str, Any]:
        """Writes all but dataset.json, and says what is worth a look.

        Returns:
            The content of dataset.json.

        Raises:
            InputError: a split has no images.
        """
        splits = {split: self._split(split) for split in SPLITS}
        total = len(self.listing.entries)
        check_splits({split: about["count"] for split, about in splits.items()})
        checksum = hashlib.sha256()
        for about in splits.values():
            checksum.update("".join(s["sha256"] for s in about["shards"].values()).encode())
        names = (*self.source.attribute_names, *self.source.classes)
        positives, known = self._by_split("positives"), self._by_split("known")
        for split, about in splits.items():
            unknown = {name: about["count"] - known[split][name] for name in names}
            if any(unknown.values()):
                about["unknown"] = {name: n for name, n in unknown.items() if n}
        skipped = {name: why for made in self.made.values() for name, why in made.skipped.items()}
        content = {
            "source": self.data.source,
            "credit": self.source.credit,
            "image_size": self.data.image_size,
            "channels": 3,
            "n_bits": self.data.n_bits,
            "attributes": {name: _share(name, positives, known) for name in names},
            **({"classes": list(self.source.classes)} if self.source.classes else {}),
            "splits": splits,
            "skipped": dict(sorted(skipped.items())),
            "reasons": {kind: len(of) for kind, of in bad_images.reasons(skipped).items()},
            **self._duplicates(),
            "checksum": checksum.hexdigest(),
        }
        for line in bad_images.report(skipped, total):
            say(line)
        self._draw(ShardSet(self.into.shards, content), positives, known)
        return content

    def _split(self, split: str) -> dict[str, Any]:
        made = [(s.name, self.made[s.name]) for s in self.listing.shards if s.split == split]
        shards = {
            name: {"count": about.count, "sha256": about.sha256}
            for name, about in made
            if about.count
        }
        return {"count": sum(about.count for _, about in made), "shards": shards}

    def _by_split(self, what: str) -> Counts:
        counted: Counts = {split: Counter() for split in SPLITS}
        for shard in self.listing.shards:
            counted[shard.split].update(getattr(self.made[shard.name], what))
        return counted

    def _names(self) -> list[str]:
        """Of the images in the shards, in their order."""
        return [
            entry.name
            for shard in self.listing.shards
            for entry in self.listing.members(shard)
            if entry.name not in self.made[shard.name].skipped
        ]

    def _duplicates(self) -> dict[str, Any]:
        shards = self.listing.shards
        numbers = np.array([SPLITS.index(shard.split) for shard in shards], np.uint8)
        splits = np.repeat(numbers, [self.made[shard.name].count for shard in shards])
        looks = self.into.all_looks(shards, len(splits))
        found, near_from = find_duplicates(looks, splits)
        rows = table(found, self._names(), splits, SPLITS)
        write_text(self.into.shards / DUPLICATES, rows.to_csv(index=False))
        counts = count_duplicates(found, splits, SPLITS)
        for split in SPLITS[1:]:
            of = [counts[kind][f"{split} in {SPLITS[0]}"] for kind in KINDS]
            if any(of):
                each = ", ".join(f"{n} {kind}" for n, kind in zip(of, KINDS, strict=True))
                say(
                    f"warning: {sum(of)} of {(splits == SPLITS.index(split)).sum()} {split} "
                    f"images have a twin among those trained on ({each}), which flatters the "
                    f"number measured on them; {DUPLICATES} names them"
                )
        return {"duplicates": counts, "near_from": near_from}

    def _draw(self, shards: ShardSet, positives: Counts, known: Counts) -> None:
        folder = self.into.shards / FIGURES
        folder.mkdir(exist_ok=True)
        for split in SPLITS:
            save_sheet(folder / f"{split}.png", shards, split)
        if shards.attribute_names:
            counts = {split: shards.count(split) for split in SPLITS}
            names = shards.attribute_names
            save_frequencies(folder / "frequencies.png", names, positives, known, counts)
        attributes = self.source.attribute_names
        if len(attributes) > 1:
            together = np.sum([made.together for made in self.made.values()], axis=0)
            comparable = np.sum([made.comparable for made in self.made.values()], axis=0)
            shares = together / np.maximum(1, comparable)
            save_together(folder / "together.png", attributes, shares)


def _share(name: str, positives: Counts, known: Counts) -> float | None:
    """Of the images of which it is known whether they have it, the share that has it."""
    of = sum(counted[name] for counted in known.values())
    return sum(counted[name] for counted in positives.values()) / of if of else None


def say(message: str) -> None:
    """A line on stderr."""
    print(message, file=sys.stderr, flush=True)
