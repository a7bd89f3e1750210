"""What is known of the images of a container: attributes and classes that every image has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stages.errors import InputError

Attributes = dict[str, bool]


@dataclass
class Facts:
    """Gathers attributes and labels image by image; equal ones are held once.

    Attributes:
        attributes: of each image.
        labels: of each image; None where it has none.
    """

    attributes: list[Attributes] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)
    _seen: dict[tuple[tuple[str, bool], ...], Attributes] = field(default_factory=dict)

    def add(self, attributes: Mapping[str, bool], label: int | None) -> None:
        """Those of the next image."""
        key = tuple(attributes.items())
        self.attributes.append(self._seen.setdefault(key, dict(key)))
        self.labels.append(label)

    def names(self) -> tuple[str, ...]:
        """Attributes that every image has, in the order of the first."""
        first, *others = self._seen.values() or [{}]
        return tuple(name for name in first if all(name in other for other in others))

    def common(self) -> list[Attributes]:
        """The attributes of each image that every image has."""
        names = self.names()
        kept = {id(known): {name: known[name] for name in names} for known in self._seen.values()}
        return [kept[id(known)] for known in self.attributes]


def class_names(names: Sequence[str], facts: Facts, where: str) -> tuple[str, ...]:
    """These names, or class_0, class_1, ... where there are none; () unless all have a label.

    Raises:
        InputError: a label is beyond the names, or a name comes twice.
    """
    labels = [label for label in facts.labels if label is not None]
    if not labels or len(labels) < len(facts.labels):
        return ()
    if not names:
        return tuple(f"class_{number}" for number in range(1 + max(labels)))
    if max(labels) >= len(names) or len(set(names)) < len(names):
        raise InputError(
            f"{where}: expected different names of at least {1 + max(labels)} classes, came "
            f"{len(names)} ({', '.join(names[:3])}, ...); complete them"
        )
    return tuple(names)
