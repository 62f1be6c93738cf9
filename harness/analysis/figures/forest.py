"""Differences to the base, paired by seed: one row a variant, one panel a metric.

Two intervals, one drawn over the other: of a comparison asked alone, and the wider one that agrees with
the verdict of the table, which counts how many comparisons the column has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from harness.analysis import style
from harness.analysis.figures.curves import references, without_references
from harness.analysis.quantities import quantity
from harness.analysis.statistics import Contrast, by_seed, contrasts
from harness.contracts import Column, FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("nll_bits_test", "train_step_ms", "peak_memory_mib")


class Forest:
    """Differences to the base with their intervals, paired by seed (forest plot)."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        columns: tuple[str, ...] = COLUMNS
        """One panel each; those that no pair of seeds has are left out."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a variant and column: mean difference, both intervals, pairs of seeds, verdict."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "variant": variant,
                    "column": column,
                    **found.difference._asdict(),
                    "low_corrected": found.low_corrected,
                    "high_corrected": found.high_corrected,
                    "verdict": found.verdict,
                }
                for column, differences in self._panels(data).items()
                for variant, found in differences.items()
            ]
        ).sort_values(
            "variant", key=lambda c: c.map({v: n for n, v in enumerate(data.variants)}), kind="stable"
        )

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        panels = self._panels(data)
        variants = [v for v in data.variants if any(v in values for values in panels.values())]
        looks = style.looks(data.variants, data.base)
        figure = style.new_figure(style.TEXT_WIDTH, 1.0 + 0.19 * len(variants))
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (column, differences) in zip(grid, panels.items(), strict=True):
            _draw_panel(axes, differences, variants, looks)
            axes.set_xlabel(_label(column, data.columns))
        grid[0].set_yticks(range(len(variants)), [looks[variant].label for variant in variants])
        grid[0].set_ylim(len(variants) - 0.4, -0.6)
        style.note(
            figure,
            f"Differences to {style.label(data.base)}, paired by seed; {_bars(panels)}"
            f"{without_references(data)}",
        )
        return figure

    def _panels(self, data: FigureData) -> dict[str, dict[str, Contrast]]:
        """column -> variant -> difference, of what some variant shares a seed with the base in."""
        counted = references(data)
        panels = {}
        for column in self.config.columns:
            if column not in data.table:
                continue
            values = by_seed(data.table, column)
            if data.base not in values:
                continue
            better = quantity(column, data.columns).better
            found = {
                variant: each
                for variant, each in contrasts(values, data.base, better).items()
                if variant not in counted and each.difference.n and not isnan(each.difference.mean)
            }
            found = {variant: found[variant] for variant in data.variants if variant in found}
            if found:
                panels[column] = found
        if not panels:
            raise NotEnoughData(
                f"no variant shares a seed with {data.base} in any of {', '.join(self.config.columns)}"
            )
        return panels


def _bars(panels: Mapping[str, Mapping[str, Contrast]]) -> str:
    """What the bars are, in the small print."""
    if all(each.difference.n < 2 for found in panels.values() for each in found.values()):
        return "one pair of seeds each."
    return (
        "thick bar: 95 % t interval of one comparison asked alone; thin bar: widened for all comparisons "
        "of the column (Holm), it leaves out zero exactly where the verdict is better or worse."
    )


def _draw_panel(
    axes: Axes, differences: Mapping[str, Contrast], variants: list[str], looks: Mapping[str, style.Look]
) -> None:
    axes.axvline(0.0, color=style.GREY, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
    for row, variant in enumerate(variants):
        if variant not in differences:
            continue
        found, look = differences[variant], looks[variant]
        ends = ((found.low_corrected, found.high_corrected, 0.7), (*found.difference[1:3], 2.4))
        for low, high, thickness in ends:
            if not isnan(low):
                axes.plot(
                    [low, high],
                    [row, row],
                    color=look.colour,
                    linewidth=thickness,
                    solid_capstyle="butt",
                    zorder=2,
                )
        axes.plot(found.difference.mean, row, linestyle="none", markersize=5, zorder=3, **look.point())
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="y", visible=False)
    axes.tick_params(left=False)


def _label(column: str, columns: Mapping[str, Column]) -> str:
    """``Δ Test NLL (bits/sample)``, and on which side of zero the better ones lie."""
    what = quantity(column, columns)
    side = {"lower": "← better", "higher": "better →", None: ""}[what.better]
    return "\n".join(filter(None, [f"Δ {what.with_unit}", side]))
