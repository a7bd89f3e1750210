"""What is known of the images of a container: attributes and classes of some or of all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stages.errors import InputError

Attributes = dict[str, bool]


@dataclass
class Facts:
    """Gathers attributes and labels image by image; equal ones are held once.

    Attributes:
        labels: of each image; None where it has none.
    """

    labels: list[int | None] = field(default_factory=list)
    _attributes: list[Attributes] = field(default_factory=list)
    _seen: dict[tuple[tuple[str, bool], ...], Attributes] = field(default_factory=dict)
    _names: dict[str, bool] = field(default_factory=dict)  # and whether some image's is known
    _others: set[str] = field(default_factory=set)

    def add(
        self, values: Mapping[str, bool | None], others: Iterable[str], label: int | None
    ) -> None:
        """Those of the next image.

        Args:
            values: of its attributes, None where they are not known.
            others: names of what is no attribute of any image, being neither true nor false here.
            label: of its class.
        """
        for name, value in values.items():
            self._names[name] = self._names.get(name, False) or value is not None
        key = tuple((name, value) for name, value in values.items() if value is not None)
        self._attributes.append(self._seen.setdefault(key, dict(key)))
        self._others.update(others)
        self.labels.append(label)

    def names(self) -> tuple[str, ...]:
        """Attributes of which that of some image is known, in the order in which they came."""
        known = (name for name, is_known in self._names.items() if is_known)
        return tuple(name for name in known if name not in self._others)

    def attributes(self) -> list[Attributes]:
        """Of each image, as far as they are known."""
        names = set(self.names())
        kept = {
            id(known): {name: value for name, value in known.items() if name in names}
            for known in self._seen.values()
        }
        return [kept[id(known)] for known in self._attributes]


def class_names(names: Sequence[str], facts: Facts, where: str) -> tuple[str, ...]:
    """These names, or class_0, class_1, ... where there are none; () where none has a label.

    Raises:
        InputError: a label is beyond the names, or a name comes twice.
    """
    labels = [label for label in facts.labels if label is not None]
    if not labels:
        return ()
    if not names:
        return tuple(f"class_{number}" for number in range(1 + max(labels)))
    if max(labels) >= len(names) or len(set(names)) < len(names):
        raise InputError(
            f"{where}: expected different names of at least {1 + max(labels)} classes, came "
            f"{len(names)} ({', '.join(names[:3])}, ...); complete them"
        )
    return tuple(names)
