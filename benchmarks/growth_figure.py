"""The figure of `benchmarks.growth`: time above, memory below, one column an axis, one line a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analysis import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COSTS = {"time": ("median_ms", "Training step (ms)"), "memory": ("peak_memory_mib", "Peak memory (MiB)")}
LABELS = {"length": "Length (samples)", "width": "Width", "batch": "Batch (clips)"}


@style.paper()
def draw(table: pd.DataFrame, stem: Path) -> None:
    """Write STEM.png and STEM.svg: the points, and where exponents were fitted their lines, dashed."""
    points = table[table["what"].str.startswith("over") & (table["status"] == "ok")]
    fits = table[table["what"].str.startswith("exponent")]
    axes_names = list(dict.fromkeys(points["axis"]))
    names = list(dict.fromkeys(points["name"]))
    base = points.loc[points["ours"].astype(bool), "name"]
    looks = style.looks(names, base.iloc[0] if len(base) else "")
    figure = style.new_figure(style.TEXT_WIDTH, 4.4)
    grid = figure.subplots(len(COSTS), max(1, len(axes_names)), squeeze=False, sharex="col")
    for column, axis in enumerate(axes_names):
        for row, (cost, (value, label)) in enumerate(COSTS.items()):
            axes = grid[row][column]
            for name in names:
                part = points[(points["name"] == name) & (points["axis"] == axis)]
                fitted = fits[
                    (fits["name"] == name) & (fits["axis"] == axis) & (fits["what"] == f"exponent of {cost}")
                ]
                for _, one in part.groupby("threads"):
                    axes.plot(one[axis], one[value], label=looks[name].label, **looks[name].line())
                _draw_fits(axes, part, fitted, axis, looks[name])
            style.log_axis(axes, "y")
            _mark_sizes(axes, sorted(points.loc[points["axis"] == axis, axis].unique()))
            if column == 0:
                axes.set_ylabel(label)
            if row == len(COSTS) - 1:
                axes.set_xlabel(LABELS[axis])
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="upper left", fontsize=6, handlelength=1.6)
    style.note(
        figure,
        "Each point measured in a process of its own; median of the timed steps. Grey: fitted powers, "
        "extended over all sizes. Numbers behind names: exponent and its 95 % interval.",
    )
    for suffix in (".png", ".svg"):
        style.save(figure, stem.with_suffix(suffix))


def _draw_fits(axes: Axes, part: pd.DataFrame, fitted: pd.DataFrame, axis: str, look: style.Look) -> None:
    """The fitted power in grey, and its exponent written into the label of the line above it."""
    for row in fitted.to_dict("records"):
        own = part[part["threads"] == row["threads"]]
        if own.empty or math.isnan(row["exponent"]):
            continue
        sizes = np.array([own[axis].min(), own[axis].max()], dtype=float)
        axes.plot(
            sizes,
            row["constant"] * sizes ** row["exponent"],
            color="#9a9a9a",
            linewidth=0.8,
            linestyle=(0, (2, 1.5)),
            zorder=1,
        )
        line = next(each for each in axes.get_lines() if each.get_label() == look.label)
        line.set_label(f"{look.label}: {_interval(row)}")


def _mark_sizes(axes: Axes, sizes: list[int]) -> None:
    """A logarithmic axis with ticks at the sizes that were measured, at most six of them."""
    axes.set_xscale("log", base=2)
    ticks = sizes[:: -(-len(sizes) // 6)]
    axes.set_xticks(ticks, [style.compact_number(tick) for tick in ticks])
    axes.minorticks_off()


def _interval(row: Mapping[Any, Any]) -> str:
    words = f"{row['exponent']:.2f}"
    if math.isnan(row["exponent_low"]):
        return words
    return f"{words} [{row['exponent_low']:.2f}, {row['exponent_high']:.2f}]"
