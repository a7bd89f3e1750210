"""Images that cannot be read: counted by reason, and too many of them refused."""

import re
from collections import defaultdict
from collections.abc import Mapping

from stages.errors import InputError

N_NAMED = 3  # of the images of a reason
N_REASONS = 10  # in an error


def reasons(skipped: Mapping[str, str]) -> dict[str, list[str]]:
    """Names by reason, most frequent first; reasons that differ in numbers alone are one."""
    found = defaultdict(list)
    for name, trouble in skipped.items():
        found[_kind(trouble)].append(name)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return {kind: sorted(names) for kind, names in ordered}


def report(skipped: Mapping[str, str], total: int, verb: str = "skipped") -> list[str]:
    """A line for all and one for each reason; none where all is well."""
    if not skipped:
        return []
    share = len(skipped) / total
    lines = [f"{verb} {len(skipped)} of {total} images ({share:.2%}); dataset.json names all"]
    return lines + [f"  {len(names)}: {_line(kind, names)}" for kind, names in _items(skipped)]


def check(skipped: Mapping[str, str], total: int, limit: float) -> None:
    """InputError where more than a share `limit` of all images cannot be read."""
    if len(skipped) > limit * total:
        parts = [f"{len(n)} x {_line(kind, n)}" for kind, n in _items(skipped)[:N_REASONS]]
        raise InputError(
            f"at least {len(skipped)} of {total} images cannot be read, expected at most "
            f"data.max_bad = {limit:g} of them: {'; '.join(parts)}; remove them, or raise "
            "data.max_bad"
        )


def _items(skipped: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    return list(reasons(skipped).items())


def _line(kind: str, names: list[str]) -> str:
    return f"{kind} ({', '.join(names[:N_NAMED])}{', ...' if len(names) > N_NAMED else ''})"


def _kind(trouble: str) -> str:
    """Without what differs from file to file: numbers, and what Python says objects are at."""
    return re.sub(r"0x[0-9a-f]+|b'.*?'|\d+", "N", trouble)
