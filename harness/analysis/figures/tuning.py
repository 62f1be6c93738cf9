"""What the tuning stage has tried: validation NLL over each searched setting, and best so far over trials.

A variant whose best value lies at the edge of what was searched was not searched widely enough; here that
can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import style
from harness.contracts import FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BITS = "nll_bits_validation"
ABOUT = {
    "variant", "search_trial", "steps", "max_steps", BITS, "stopped_early", "chosen", "status", "error",
    "seconds", "key",
}  # fmt: skip
"""Columns that are no searched setting."""

DECADE = 10.0
"""Largest over smallest value of a setting, from which on its axis is logarithmic."""


class Tuning:
    """One panel a searched setting, and one with the best so far; hollow: stopped early; ring: chosen."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        best_so_far: bool = True
        """With the panel of the best NLL so far over search trials."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a search trial, with the best NLL of its variant up to it."""
        rows = self._rows(data).copy()
        ended = rows[BITS].where(~rows["stopped_early"])
        rows["best_so_far"] = ended.groupby(rows["variant"]).cummin()
        rows["best_so_far"] = rows.groupby("variant")["best_so_far"].ffill()
        return rows

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        rows = self.numbers(data)
        looks = style.looks(data.variants, data.base)
        settings = _settings(rows)
        panels = len(settings) + self.config.best_so_far
        figure = style.new_figure(style.TEXT_WIDTH, 2.6)
        grid = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        for variant, tried in rows.groupby("variant", sort=False):
            look = looks[str(variant)]
            for axes, setting in zip(grid, settings, strict=False):
                _scatter(axes, tried, setting, look)
            if self.config.best_so_far:
                grid[-1].plot(
                    tried["search_trial"] + 1,
                    tried["best_so_far"],
                    drawstyle="steps-post",
                    color=look.colour,
                    label=look.label,
                    marker=look.marker,
                    markersize=3,
                )
        for axes, setting in zip(grid, settings, strict=False):
            _scale(axes, rows[setting], setting)
        if self.config.best_so_far:
            grid[-1].set_xlabel("search trials")
        grid[0].set_ylabel(style.axis_label(BITS, data.columns, lines=2))
        handles, labels = grid[-1].get_legend_handles_labels()
        if labels:
            grid[-1].legend(handles, labels, loc="upper right")
        style.note(figure, _note(rows))
        return figure

    def _rows(self, data: FigureData) -> pd.DataFrame:
        if data.tuning is None:
            raise NotEnoughData("the suite has no tuning stage, or it has not run")
        rows = data.tuning[data.tuning["variant"].isin(list(data.variants))]
        rows = rows[(rows["status"] == "ok") & np.isfinite(rows[BITS].astype(float))]
        if rows.empty:
            raise NotEnoughData("no search trial ended well")
        return rows


def _settings(rows: pd.DataFrame) -> list[str]:
    return [name for name in rows.columns if name not in {*ABOUT, "best_so_far"}]


def _scatter(axes: Axes, tried: pd.DataFrame, setting: str, look: style.Look) -> None:
    """Points at the values tried; those that were stopped early are hollow, the chosen one has a ring."""
    values = tried[setting] if tried[setting].dtype.kind in "if" else tried[setting].astype(str)
    stopped = tried["stopped_early"].astype(bool)
    kinds = ((~stopped, look.colour), (stopped, "none"))
    for chosen, fill in kinds:
        axes.scatter(
            values[chosen],
            tried.loc[chosen, BITS],
            s=14,
            marker=look.marker,
            facecolors=fill,
            edgecolors=look.colour,
            linewidths=0.8,
        )
    best = tried["chosen"].astype(bool)
    axes.scatter(values[best], tried.loc[best, BITS], s=70, facecolors="none", edgecolors=look.colour)


def _scale(axes: Axes, values: pd.Series, setting: str) -> None:
    axes.set_xlabel(setting.removeprefix("train.").replace("_", " "))
    if values.dtype.kind in "if" and values.min() > 0 and values.max() / values.min() > DECADE:
        style.log_axis(axes, "x", decades=True)


def _note(rows: pd.DataFrame) -> str:
    each = rows.groupby("variant", sort=False)["search_trial"].size()
    count = f"{each.min()}" if each.min() == each.max() else f"{each.min()} to {each.max()}"
    return (
        f"{count} search trials a variant that ended well, one seed each; hollow: stopped early, at the NLL "
        "they had then; ring: chosen, and frozen into the final stage. Validation split only."
    )
