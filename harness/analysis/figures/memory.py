"""What a variant needs: peak memory of training, what backward keeps, the state of generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from harness.analysis import style
from harness.analysis.statistics import Estimate, estimates
from harness.contracts import FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS = ("peak_memory_mib", "saved_for_backward_mib")
STATE = "state_bytes"


class Memory:
    """Peak memory in training, bytes saved for backward, and the state that generation carries."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        state: bool = True
        """With a panel of the generation state."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a variant and column: mean and 95 % interval over seeds."""
        import pandas as pd

        rows = [
            {"variant": variant, "column": column, **value._asdict()}
            for column, values in self._panels(data).items()
            for variant, value in values.items()
        ]
        return pd.DataFrame(rows)

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        panels = self._panels(data)
        variants = [v for v in data.variants if any(v in values for values in panels.values())]
        looks = style.looks(data.variants, data.base)
        figure = style.new_figure(style.TEXT_WIDTH, 0.9 + 0.19 * len(variants))
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (column, values) in zip(grid, panels.items(), strict=True):
            draw = _draw_state if column == STATE else _draw_bars
            draw(axes, values, variants, looks)
            remark = "log scale" if column == STATE else ""
            axes.set_xlabel(style.axis_label(column, data.columns, remark=remark, lines=2))
            axes.grid(axis="y", visible=False)
            axes.tick_params(left=False)
        grid[0].set_yticks(range(len(variants)), [looks[variant].label for variant in variants])
        grid[0].set_ylim(len(variants) - 0.4, -0.6)
        style.note(figure, _note(data, panels, variants))
        return figure

    def _panels(self, data: FigureData) -> dict[str, dict[str, Estimate]]:
        columns = (*BARS, STATE) if self.config.state else BARS
        panels = {column: estimates(data.table, column, data.variants) for column in columns}
        panels = {column: values for column, values in panels.items() if values}
        if not set(panels) & set(BARS):
            raise NotEnoughData(f"no trial has {' or '.join(BARS)}")
        return panels


def _draw_bars(
    axes: Axes, values: Mapping[str, Estimate], variants: list[str], looks: Mapping[str, style.Look]
) -> None:
    """Bars from zero with their value behind them."""
    for row, variant in enumerate(variants):
        if variant in values:
            value, look = values[variant], looks[variant]
            axes.barh(
                row,
                value.mean,
                height=0.66,
                facecolor=look.colour if look.filled else "white",
                edgecolor=look.colour,
                hatch=None if look.filled else "//////",
                linewidth=0.8,
            )
            if not isnan(value.half_width) and value.half_width > 0:
                axes.errorbar(value.mean, row, xerr=value.half_width, ecolor=style.GREY, elinewidth=0.8)
            _write(axes, max(value.mean, value.high if value.n > 1 else value.mean), row, value.mean)
    axes.set_xlim(0, 1.28 * max(value.high if value.n > 1 else value.mean for value in values.values()))


def _draw_state(
    axes: Axes, values: Mapping[str, Estimate], variants: list[str], looks: Mapping[str, style.Look]
) -> None:
    """Points, since a logarithmic axis has no zero for bars to stand on; zero itself is written."""
    positive = [value.mean for value in values.values() if value.mean > 0]
    axes.set_xlim(min(positive, default=1) / 3, max(positive, default=1) * 60)
    style.log_axis(axes, "x", decades=True)
    left = axes.get_xlim()[0]
    for row, variant in enumerate(variants):
        mean = values[variant].mean if variant in values else None
        if mean:
            axes.plot([left, mean], [row, row], color="#d0d0d0", linewidth=0.8, zorder=1)
            axes.plot(mean, row, linestyle="none", markersize=5.5, **looks[variant].point())
        if mean is not None:
            _write(axes, mean or left, row, mean)


def _write(axes: Axes, x: float, row: int, value: float) -> None:
    axes.annotate(
        style.compact_number(value),
        (x, row),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=6.5,
    )


def _note(data: FigureData, panels: Mapping[str, Mapping[str, Estimate]], variants: list[str]) -> str:
    """How the peak was measured, and who is missing."""
    several = any(value.n > 1 for values in panels.values() for value in values.values())
    lines = ["Mean of seeds; grey bar: 95 % t interval." if several else "One seed each."]
    ok = data.table[data.table["status"] == "ok"]
    if BARS[0] in panels and "memory_method" in ok:
        methods = sorted(ok.loc[ok[BARS[0]].notna(), "memory_method"].dropna().unique())
        lines[0] += f" Peak memory measured as: {', '.join(methods).replace('_', ' ')}."
    absent = [style.label(variant) for variant in data.variants if variant not in variants]
    if absent:
        lines.append(f"Not shown, for want of a value: {', '.join(absent)}.")
    return "\n".join(lines)
