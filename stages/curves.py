"""Learning curves: a row per validation, means over the updates since the last one."""

from typing import Any

from glow.trainer import StepReport


class Curves:
    """The learning curves, kept in the trainer's notes, so that a checkpoint has both or none."""

    def __init__(self, notes: dict[str, Any]) -> None:
        self.rows: list[dict[str, float]] = notes.setdefault("rows", [])
        self._since: list[list[float]] = notes.setdefault("since", [])

    def add(self, report: StepReport) -> None:
        """An update since the last row."""
        self._since.append([report.bits_per_dim, report.grad_norm])

    def row(self, step: int, valid: float, learning_rate: float) -> dict[str, float]:
        """One more row: means over the updates since the last one, and the validation."""
        bits, norms = zip(*self._since, strict=True)
        row = {
            "step": step,
            "bits_per_dim": sum(bits) / len(bits),
            "valid_bits_per_dim": valid,
            "grad_norm": sum(norms) / len(norms),
            "learning_rate": learning_rate,
        }
        self.rows.append(row)
        self._since.clear()
        return row
