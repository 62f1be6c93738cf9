"""What columns are called in tables and figures: a short label, the unit, which way is better.

A metric describes its own columns (`contracts.Column`), and what it says goes first. Figures are
drawn from frames alone, so the columns of our own metrics are known here by name as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.contracts import Column


@dataclass(frozen=True)
class Quantity:
    """A column as a reader meets it."""

    label: str
    unit: str = ""
    better: Literal["lower", "higher"] | None = None
    terse: str = ""  # where there is little room

    @property
    def short(self) -> str:
        return self.terse or self.label

    @property
    def arrow(self) -> str:
        return {"lower": "↓", "higher": "↑", None: ""}[self.better]

    @property
    def with_unit(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label


KNOWN: Mapping[str, Quantity] = {
    "nll_bits_train": Quantity("Train NLL", "bits/sample", "lower"),
    "nll_bits_validation": Quantity("Validation NLL", "bits/sample", "lower"),
    "nll_bits_test": Quantity("Test NLL", "bits/sample", "lower"),
    "generalization_gap_bits": Quantity("Gap test − train", "bits/sample", "lower", "Gap"),
    "train_step_ms": Quantity("Training step", "ms", "lower", "Step"),
    "tokens_per_second": Quantity("Training speed", "samples/s", "higher", "Speed"),
    "peak_memory_mib": Quantity("Peak memory", "MiB", "lower", "Memory"),
    "saved_for_backward_mib": Quantity("Saved for backward", "MiB", "lower"),
    "state_bytes": Quantity("Generation state", "B", "lower"),
    "generate_samples_per_second": Quantity("Generation speed", "samples/s", "higher"),
    "real_time_factor": Quantity("Real-time factor", "", "higher"),
    "flops_per_token": Quantity("Forward cost", "FLOP", "lower"),
    "fid": Quantity("FID", "", "lower"),
    "inception_score": Quantity("Inception score", "", "higher", "IS"),
    "parameters": Quantity("Parameters", terse="Params"),
    "length": Quantity("Length of a clip", "samples"),
    "train_step_ms_iqr": Quantity("Training step, interquartile range", "ms"),
    "train_seconds": Quantity("Training time", "s"),
}

COMPACT = (
    *("nll_bits_test", "generalization_gap_bits", "fid", "inception_score"),
    *("train_step_ms", "tokens_per_second"),
    *("peak_memory_mib", "state_bytes", "generate_samples_per_second", "parameters"),
)
"""The columns of a summary for people, in this order; a plugin's own follow."""

NOT_NARROW = frozenset({"state_bytes", "generate_samples_per_second"})
"""Of these, what a terminal has no room for."""

ACRONYMS = frozenset({"fid", "kid", "nll", "am"})

_UNITS = {"_per_second": "1/s", "_seconds": "s", "_ms": "ms", "_mib": "MiB", "_bytes": "B", "_bits": "bits"}


def quantity(name: str, columns: Mapping[str, Column] | None = None) -> Quantity:
    """What is known of a column: its metric's word, then ours, then what its name says."""
    known = KNOWN.get(name)
    declared = (columns or {}).get(name)
    if declared is not None:
        return Quantity(
            known.label if known else _words(name),
            declared.unit,
            declared.better,
            known.terse if known else "",
        )
    if known is not None:
        return known
    unit = next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")
    return Quantity(_words(name), unit)


def compact(names: list[str], columns: Mapping[str, Column], *, narrow: bool = False) -> list[str]:
    """Of the columns at hand, those that a summary shows people.

    A plugin's column is shown if the plugin says which direction is better: that is a result, and
    the rest (counts, sample sizes) is circumstance, which stays in the CSV file.
    """
    ours = [name for name in COMPACT if name in names and not (narrow and name in NOT_NARROW)]
    theirs = [name for name in names if name not in KNOWN and quantity(name, columns).better]
    return ours + theirs


def scale_of(value: float) -> tuple[float, str]:
    """Ten thousand and more is written in thousands, millions and so forth, each with its letter."""
    scales = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
    large = abs(value) >= 1e4
    return next(((scale, letter) for scale, letter in scales if large and abs(value) >= scale), (1.0, ""))


def _words(name: str) -> str:
    stem = next((name.removesuffix(suffix) for suffix in _UNITS if name.endswith(suffix)), name)
    words = [word.upper() if word in ACRONYMS else word for word in (stem or name).split("_") if word]
    text = " ".join(words)
    return text[:1].upper() + text[1:]
