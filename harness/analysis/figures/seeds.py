"""Every seed as a point: how far repetitions of one configuration lie apart, and who shares luck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import style
from harness.analysis.figures.curves import references, without_references
from harness.analysis.statistics import by_seed
from harness.contracts import FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SPREAD = 0.3
"""Half the height of a row over which its seeds are spread, in order."""


class Seeds:
    """One point a trial, a row a variant; thin lines join the trials of one seed."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        column: str = "nll_bits_test"
        lines: int = 5
        """Seeds that are joined across variants; with more, none are, as nobody could follow them."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a trial: variant, seed, value."""
        values = self._values(data)
        rows = values.T.rename_axis("variant").reset_index()
        return rows.melt("variant", var_name="seed", value_name=self.config.column).dropna()

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        values = self._values(data)
        looks = style.looks(data.variants, data.base)
        figure = style.new_figure(0.8 * style.TEXT_WIDTH, 1.0 + 0.22 * values.shape[1])
        axes = figure.subplots()
        offsets = np.linspace(-SPREAD, SPREAD, len(values)) if len(values) > 1 else np.zeros(1)
        if 1 < len(values) <= self.config.lines:
            for (_, row), offset in zip(values.iterrows(), offsets, strict=True):
                axes.plot(row, np.arange(len(row)) + offset, color="#c4c4c4", linewidth=0.7, zorder=1)
        for place, variant in enumerate(values):
            points = {"linestyle": "none", "markersize": 4, **looks[str(variant)].point()}
            axes.plot(values[variant], place + offsets, zorder=3, **points)
            mean, height = values[variant].mean(), 0.42
            axes.vlines(mean, place - height, place + height, color=looks[str(variant)].colour, linewidth=1)
        axes.set_yticks(range(values.shape[1]), [looks[str(variant)].label for variant in values])
        axes.set_ylim(values.shape[1] - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.tick_params(left=False)
        axes.set_xlabel(style.axis_label(self.config.column, data.columns))
        joined = " Grey: one seed." if 1 < len(values) <= self.config.lines else ""
        style.note(
            figure,
            f"Points: trials, in the order of their seeds; bar: mean.{joined}{without_references(data)}",
        )
        return figure

    def _values(self, data: FigureData) -> pd.DataFrame:
        """Seeds down, variants across, in the order of the suite."""
        column = self.config.column
        if column not in data.table:
            raise NotEnoughData(f"no trial has {column}")
        values = by_seed(data.table, column)
        trained = [variant for variant in data.variants if variant not in references(data)]
        shown = [variant for variant in trained if variant in values and values[variant].notna().any()]
        if not shown:
            raise NotEnoughData(f"no successful trial has {column}")
        return values[shown].dropna(how="all")
