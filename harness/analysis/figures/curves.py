"""Which trials have a learning curve, and which models are references: counted, not trained."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.contracts import FigureData

BITS = "nll_bits_validation"


def learning_curves(data: FigureData) -> pd.DataFrame:
    """The finite points of validation, of the trials with two or more."""
    history = data.history[np.isfinite(data.history[BITS].astype(float))]
    return history[history.groupby("key")["step"].transform("nunique") > 1]


def references(data: FigureData) -> list[str]:
    """Variants that succeeded without a learning curve, where others have one.

    They are a floor that every trained model must beat: lines and notes, not competitors.
    """
    trained = {*learning_curves(data)["variant"]}
    succeeded = {*data.table.loc[data.table["status"] == "ok", "variant"]}
    return [v for v in data.variants if trained and v in succeeded and v not in trained]
