"""What more data buy: likelihood of training, validation and test against the number of training clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import style
from harness.analysis.statistics import estimate
from harness.contracts import FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLIPS = "train_split_clips"
SPLITS = {
    "nll_bits_train": ("#0072b2", "s", "training clips themselves"),
    "nll_bits_validation": ("#e69f00", "^", "validation"),
    "nll_bits_test": ("#000000", "o", "test"),
}
SAME = ("model", "mixer", "pooling", "layers", "width")
"""Settings that variants of one panel share."""
PANELS = 3
"""At most; of more, those with the most sizes."""


class Overfitting:
    """NLL on training, validation and test against the number of clips trained on."""

    @dataclass(frozen=True, kw_only=True)
    class Config: ...

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a successful trial: settings, seed, clips, bits on each split; fewest clips first."""
        table = data.table
        if CLIPS not in table:
            raise NotEnoughData("no trial says how many clips it was trained on (metric nll)")
        shown = [name for name in SPLITS if name in table]
        rows = table[(table["status"] == "ok") & table[CLIPS].notna()]
        several = rows.groupby([*SAME], dropna=False)[CLIPS].transform("nunique") > 1
        if not several.any():
            raise NotEnoughData("no model was trained on two numbers of clips or more")
        return (
            rows.loc[several, ["variant", *SAME, "seed", CLIPS, *shown]]
            .sort_values([*SAME, CLIPS, "seed"])
            .reset_index(drop=True)
        )

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        rows = self.numbers(data)
        groups = sorted(
            (group for _, group in rows.groupby([*SAME], dropna=False)),
            key=lambda group: -group[CLIPS].nunique(),
        )[:PANELS]
        figure = style.new_figure(style.TEXT_WIDTH, 2.6)
        panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
        differing = [setting for setting in SAME[2:] if len({group[setting].iloc[0] for group in groups}) > 1]
        for axes, group in zip(panels, groups, strict=True):
            _draw_panel(axes, group)
            axes.set_title("\n".join(style.label(line) for line in _name(group, differing)))
            axes.set_xlabel("Training clips")
        panels[0].set_ylabel("NLL (bits/sample)\nlower is better")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(handles))
        style.note(figure, "Points: mean over seeds; bars: 95 % t interval. Subsets of one seed are nested.")
        return figure


def _draw_panel(axes: Axes, group: pd.DataFrame) -> None:
    for column, (colour, marker, words) in SPLITS.items():
        if column not in group:
            continue
        sizes = np.unique(group[CLIPS])
        values = [estimate(group.loc[group[CLIPS] == clips, column].dropna()) for clips in sizes]
        half_widths = [0.0 if np.isnan(own.half_width) else own.half_width for own in values]
        axes.errorbar(
            sizes,
            [own.mean for own in values],
            yerr=half_widths,
            label=words,
            color=colour,
            marker=marker,
            markersize=4,
            elinewidth=1.0,
        )
    style.log_axis(axes, "x")


def _name(group: pd.DataFrame, differing: Sequence[str]) -> list[str]:
    """Lines: model and mixer, and the settings that tell the panel from the others."""
    first = group.iloc[0]
    settings = ", ".join(f"{setting} {first[setting]}" for setting in differing)
    return [line for line in (f"{first['model']} {first['mixer']}".strip(), settings) if line]
