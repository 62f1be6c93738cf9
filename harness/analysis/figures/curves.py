"""Which trials have a learning curve, and which models are references: counted, not trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.statistics import estimates
from harness.contracts import FigureData

if TYPE_CHECKING:
    import pandas as pd

BITS = "nll_bits_validation"


def learning_curves(data: FigureData) -> pd.DataFrame:
    """The finite points of validation, of the trials with two or more.

    A model in closed form has one before and one after its only pass; that is no curve.
    """
    history = data.history[np.isfinite(data.history[BITS].astype(float))]
    step = history.groupby("key")["step"]
    return history[(step.transform("nunique") > 1) & (step.transform("max") > 1)]


def floor(data: FigureData) -> dict[str, float]:
    """reference -> its validation NLL: on the clips of the learning curves, where it left a history.

    Curves may read a part of the validation split; the table's number is of the whole, or of more.
    """
    ok = data.table.loc[data.table["status"] == "ok", "key"]
    fitted = data.history[(data.history["step"] > 0) & data.history["key"].isin(ok)]
    last = fitted.sort_values(["step", "seed"]).drop_duplicates("key", keep="last")
    names = references(data)
    values = {variant: each.mean for variant, each in estimates(data.table, BITS, names).items()}
    values |= {str(v): float(bits) for v, bits in last.groupby("variant")[BITS].mean().dropna().items()}
    return {variant: values[variant] for variant in names if variant in values}


def references(data: FigureData) -> list[str]:
    """Variants that succeeded without a learning curve, where others have one.

    They are a floor that every trained model must beat: lines and notes, not competitors.
    """
    trained = {*learning_curves(data)["variant"]}
    succeeded = {*data.table.loc[data.table["status"] == "ok", "variant"]}
    return [v for v in data.variants if trained and v in succeeded and v not in trained]


def without_references(data: FigureData) -> str:
    """A sentence for the small print of figures that leave them out, as they would squeeze the rest."""
    from harness.analysis import style

    names = ", ".join(map(style.label, references(data)))
    return f" Not shown: {names}, counted and not trained." if names else ""
