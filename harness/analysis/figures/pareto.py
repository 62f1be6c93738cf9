"""What quality costs: one result against one cost, and which variants nobody beats in both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from harness.analysis import style
from harness.analysis.figures.curves import references
from harness.analysis.placement import name_points
from harness.analysis.quantities import quantity
from harness.analysis.statistics import Estimate, estimates
from harness.contracts import FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 5
"""From this ratio of largest to smallest on, an axis of costs is logarithmic."""
ROOM = 0.12
"""Part of the axis that stays free on either side, for names."""


class Pareto:
    """Test NLL against training-step time (or any other pair of columns), with the Pareto front."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        x: str = "train_step_ms"
        """The column of the cost: train_step_ms, peak_memory_mib, parameters, state_bytes, …"""
        y: str = "nll_bits_test"
        """The column of the result."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a variant: means and 95 % intervals of both columns, and whether it is on the front."""
        import pandas as pd

        both = self._estimates(data)
        front = self._front(data, both)
        rows = []
        for variant, (x, y) in both.items():
            row: dict[str, object] = {"variant": variant, "on_front": variant in front}
            for column, each in ((self.config.x, x), (self.config.y, y)):
                row |= {f"{column}_{part}": value for part, value in each._asdict().items()}
            rows.append(row)
        return pd.DataFrame(rows)

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        both = self._estimates(data)
        looks = style.looks(data.variants, data.base)
        figure = style.new_figure(0.8 * style.TEXT_WIDTH, 3.5)
        axes = figure.subplots()
        for variant, (x, y) in both.items():
            look = looks[variant]
            axes.errorbar(
                x.mean,
                y.mean,
                xerr=_half_width(x),
                yerr=_half_width(y),
                linestyle="none",
                ecolor=look.colour,
                elinewidth=0.8,
                markersize=5.5,
                zorder=3,
                **look.point(),
            )
        axes.margins(y=0.06)
        _set_costs(axes, [x for x, _ in both.values()])
        style.linear_axis(axes, "y")
        axes.set_xlabel(style.axis_label(self.config.x, data.columns))
        axes.set_ylabel(style.axis_label(self.config.y, data.columns))
        style.note(figure, self._note(data, both))
        front = self._draw_front(axes, data, both)
        points = [(x.mean, y.mean) for x, y in both.values()]
        name_points(axes, points, [looks[variant].label for variant in both], [front, *_bars(axes, both)])
        return figure

    def _estimates(self, data: FigureData) -> dict[str, tuple[Estimate, Estimate]]:
        """variant -> cost and result, of the trained variants that have both."""
        trained = [variant for variant in data.variants if variant not in references(data)]
        x = estimates(data.table, self.config.x, trained)
        y = estimates(data.table, self.config.y, trained)
        both = {variant: (x[variant], y[variant]) for variant in x if variant in y}
        if len(both) < 2:
            raise NotEnoughData(
                f"fewer than two trained variants have both {self.config.x} and {self.config.y}"
            )
        return both

    def _front(self, data: FigureData, both: Mapping[str, tuple[Estimate, Estimate]]) -> list[str]:
        """The variants whose means no other beats in one column and equals in the other, cheapest first.

        A cost without a better direction (parameters) counts as better when lower.
        """
        x_sign = -1 if quantity(self.config.x, data.columns).better == "higher" else 1
        y_sign = -1 if quantity(self.config.y, data.columns).better == "higher" else 1
        cheapest_first = sorted(both, key=lambda v: (x_sign * both[v][0].mean, y_sign * both[v][1].mean))
        front: list[str] = []
        for variant in cheapest_first:
            if not front or y_sign * both[variant][1].mean < y_sign * both[front[-1]][1].mean:
                front.append(variant)
        return front

    def _draw_front(
        self, axes: Axes, data: FigureData, both: Mapping[str, tuple[Estimate, Estimate]]
    ) -> list[tuple[float, float]]:
        """A step line: the best result that a given cost buys. Returns its corners."""
        means = [(both[variant][0].mean, both[variant][1].mean) for variant in self._front(data, both)]
        corners = [means[0]]
        for (_, before), (x, y) in pairwise(means):
            corners += [(x, before), (x, y)]
        dearest = min if quantity(self.config.x, data.columns).better == "higher" else max
        corners.append((dearest(axes.get_xlim()), corners[-1][1]))
        axes.plot(*zip(*corners, strict=True), color="#9a9a9a", linewidth=1.0, zorder=1)
        return corners

    def _note(self, data: FigureData, both: Mapping[str, tuple[Estimate, Estimate]]) -> str:
        floor = estimates(data.table, self.config.y, references(data))
        absent = [v for v in data.variants if v not in both and v not in floor]
        intervals = any(y.n > 1 for _, y in both.values())
        lines = [
            ("Points: mean of seeds; bars: 95 % t interval." if intervals else "Points: one seed each.")
            + " Grey line: Pareto front of the means."
        ]
        if floor:
            values = [f"{style.label(v)} {style.compact_number(y.mean)}" for v, y in floor.items()]
            lines.append(f"{quantity(self.config.y, data.columns).label} of references: {', '.join(values)}.")
        if absent:
            lines.append(f"Not shown, for want of a value: {', '.join(map(style.label, absent))}.")
        return "\n".join(lines)


def _half_width(value: Estimate) -> float | None:
    return None if math.isnan(value.half_width) else value.half_width


def _set_costs(axes: Axes, costs: list[Estimate]) -> None:
    """Room for all costs, their intervals and names; logarithmic where they are far apart.

    A wide interval may reach down to zero and below, where no cost is and no logarithm.
    """
    means = [cost.mean for cost in costs]
    ends = [*means, *(end for cost in costs for end in (cost.low, cost.high) if not math.isnan(end))]
    if min(means) > 0 and max(means) > WIDE * min(means):
        low, high = max(min(ends), min(means) / 2), max(ends)
        room = (high / low) ** ROOM
        axes.set_xlim(low / room, high * room)
        style.log_axis(axes, "x")
    else:
        low, high = min(ends), max(ends)
        room = ROOM * (high - low) or 1.0
        axes.set_xlim(max(low - room, 0.0) if min(means) > 0 else low - room, high + room)
        style.linear_axis(axes, "x")


def _bars(axes: Axes, both: Mapping[str, tuple[Estimate, Estimate]]) -> list[list[tuple[float, float]]]:
    """The error bars, as far as they are seen, as lines for names to keep clear of."""
    left, right = axes.get_xlim()
    bars = []
    for x, y in both.values():
        if not math.isnan(x.low):
            bars.append([(max(x.low, left), y.mean), (min(x.high, right), y.mean)])
        if not math.isnan(y.low):
            bars.append([(x.mean, y.low), (x.mean, y.high)])
    return bars
