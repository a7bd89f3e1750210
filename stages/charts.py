"""Charts, saved as PNG with the same bytes each time; what is written in them is text."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure

from stages.fonts import families_with

LONGEST = 30  # letters of a name, so that there is room for what it names


@contextmanager
def chart(file: Path, names: Iterable[str] = (), **settings: Any) -> Iterator[Figure]:  # noqa: ANN401 - as Figure takes
    """A figure to fill, which is saved in the end.

    Inside, no `$` begins a formula, and letters that matplotlib's own font lacks come from others.

    Args:
        file: PNG to write.
        names: from data, that stand in it.
        settings: of the figure.
    """
    families = [*rcParams["font.family"], *families_with(frozenset().union(*names))]
    as_text = rc_context({"text.parse_math": False, "font.family": families})
    with as_text, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # families_with has said so
        figure = Figure(**settings)
        yield figure
        figure.savefig(file, metadata={"Software": None})


def short(name: str) -> str:
    """The name, or its beginning where it would fill the chart."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
