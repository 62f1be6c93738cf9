"""What the pooling factors buy: quality, speed and overfitting of variants that differ in nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, prod
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import style
from harness.analysis.statistics import by_seed, estimate
from harness.contracts import FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("nll_bits_test", "train_step_ms", "generalization_gap_bits")
SAME = ("model", "mixer", "layers")
"""Settings in which a variant must agree with the base to stand beside it."""


class PoolingSweep:
    """Test NLL, training-step time and generalisation gap of the base's pooling variants."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        columns: tuple[str, ...] = COLUMNS
        """One panel each."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a trial, from the least pooling to the most: variant, pooling, factor, seed, columns."""
        poolings = _poolings(data)
        if len(poolings) < 2:
            raise NotEnoughData("fewer than two variants that differ from the base in pooling alone")
        rows = data.table[data.table["variant"].isin(poolings)].copy()
        rows["factor"] = rows["variant"].map({variant: prod(each) for variant, each in poolings.items()})
        place = {variant: index for index, variant in enumerate(poolings)}
        rows = rows.sort_values(["variant", "seed"], key=lambda c: c.map(place) if c.name == "variant" else c)
        shown = self._shown(data, poolings)
        return rows[["variant", "pooling", "factor", "seed", "status", *shown]].reset_index(drop=True)

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        poolings = _poolings(data)
        rows = self.numbers(data)
        shown = self._shown(data, poolings)
        looks = style.looks(data.variants, data.base)
        figure = style.new_figure(style.TEXT_WIDTH, 1.05 + 0.26 * len(poolings))
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, column in zip(panels, shown, strict=True):
            _draw_panel(axes, by_seed(rows, column), poolings, looks)
            axes.set_xlabel(style.axis_label(column, data.columns, lines=2))
            axes.tick_params(left=False)
            axes.spines["left"].set_visible(False)
        panels[0].set_yticks(range(len(poolings)), [_tick(v, poolings, data) for v in poolings])
        panels[0].set_ylim(len(poolings) - 0.5, -0.5)
        several = (rows[rows["status"] == "ok"].groupby("variant").size() > 1).any()
        marks = "Small: one seed; large: mean; bar: 95 % t interval." if several else "One seed each."
        style.note(figure, f"Rows: pooling factors from the first level on = their product. {marks}")
        return figure

    def _shown(self, data: FigureData, poolings: Mapping[str, list[int]]) -> list[str]:
        ok = data.table[(data.table["status"] == "ok") & data.table["variant"].isin(poolings)]
        shown = [column for column in self.config.columns if column in ok and ok[column].notna().any()]
        if not shown:
            raise NotEnoughData(f"no pooling variant has any of {', '.join(self.config.columns)}")
        return shown


def _poolings(data: FigureData) -> dict[str, list[int]]:
    """variant -> factors, of the base and of what differs from it in pooling alone, least first."""
    first = data.table.drop_duplicates("variant").set_index("variant")
    if data.base not in first.index:
        return {}
    same = [name for name in SAME if name in first]
    found = {}
    for variant in data.variants:
        ours = variant == data.base or variant.startswith("pooling")
        if not ours or variant not in first.index or not first.loc[variant, "pooling"]:
            continue
        if (first.loc[variant, same] == first.loc[data.base, same]).all():
            found[variant] = json.loads(str(first.loc[variant, "pooling"]))
    return dict(sorted(found.items(), key=lambda item: (prod(item[1]), item[1])))


def _draw_panel(
    axes: Axes, values: pd.DataFrame, poolings: Mapping[str, list[int]], looks: Mapping[str, style.Look]
) -> None:
    """One row a variant: its seeds above the line, mean and interval on it."""
    import pandas as pd

    for row, variant in enumerate(poolings):
        seeds = values[variant].dropna() if variant in values else pd.Series(dtype=float)
        if seeds.empty:
            continue
        look, own = looks[variant], estimate(seeds)
        if len(seeds) > 1:
            small = {"linestyle": "none", "markersize": 2.5, "alpha": 0.8, **look.point()}
            axes.plot(seeds, np.full(len(seeds), row - 0.24), **small)
        half_width = None if isnan(own.half_width) else own.half_width
        axes.errorbar(
            own.mean, row, xerr=half_width, ecolor=look.colour, elinewidth=1.2, markersize=5.5, **look.point()
        )
    axes.locator_params(axis="x", nbins=4)  # more would touch where numbers are long
    axes.grid(axis="y", visible=False)
    for row in range(len(poolings) - 1):
        axes.axhline(row + 0.5, color="#e4e4e4", linewidth=0.6, zorder=0)


def _tick(variant: str, poolings: Mapping[str, list[int]], data: FigureData) -> str:
    """``[2, 4, 4, 5] = 160``, with what the table has to add."""
    statuses = data.table.loc[data.table["variant"] == variant, "status"]
    ok = int((statuses == "ok").sum())
    remarks = ["base"] if variant == data.base else []
    remarks += [f"{ok} of {len(statuses)} ok"] if ok < len(statuses) else []
    text = f"{poolings[variant]} = {prod(poolings[variant])}"
    return f"{text}\n({', '.join(remarks)})" if remarks else text
