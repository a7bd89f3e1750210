"""What no stage could do with a data set is refused before its images are read."""

from collections.abc import Iterable
from unicodedata import category, normalize

from stages.errors import InputError
from stages.sources.source import Source

UNUSABLE = {"", "__metadata__"}  # the latter is safetensors' own, in models/attributes.safetensors
LONGEST = 200
NO_TEXT = {"Cc", "Cs", "Zl", "Zp"}  # control characters, halves of letters, ends of lines


def check_names(source: Source) -> None:
    """Attributes and classes become one list, and what is known of an image goes by the name.

    Raises:
        InputError: two names are the same, or look it: they differ in spaces around them or in
            how accents are encoded; or one cannot be used.
    """
    seen: dict[str, tuple[str, str]] = {}
    for kind, name in _named(source):
        form = normalize("NFC", name).strip()
        if form in UNUSABLE or len(form) > LONGEST or any(category(a) in NO_TEXT for a in form):
            raise InputError(
                f"expected names of 1 to {LONGEST} letters in one line that can be used, "
                f"came the {kind} {name[:60]!a}; rename it"
            )
        if form in seen:
            other, before = seen[form]
            raise InputError(
                f"expected different names of attributes and classes, came the {other} "
                f"{before!a} and the {kind} {name!a}; rename one of them"
            )
        seen[form] = kind, name


def _named(source: Source) -> Iterable[tuple[str, str]]:
    for name in source.attribute_names:
        yield "attribute", name
    for name in source.classes:
        yield "class", name
