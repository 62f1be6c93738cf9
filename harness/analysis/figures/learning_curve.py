"""Learning curves: how fast each variant learns, in steps, tokens, operations or time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.analysis import style
from harness.analysis.figures.curves import BITS, floor, learning_curves
from harness.analysis.statistics import by_seed
from harness.contracts import FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "steps": "Training steps",
    "tokens": "Training tokens",
    "flops": "Training cost (FLOP, log scale): three forward passes a token",
    "exclusive": "Wall-clock (s, log scale): steps × median step time, alone on the machine",
    "recorded": "Recorded training time (s, log scale), other trials may have shared the machine",
}
LOGARITHMIC = ("seconds", "flops")
"""Axes on which variants of very different cost stand side by side."""
SETTLED = 0.1
"""Part of the training after which a curve must fit the axes; the first fall from chance need not."""


class LearningCurve:
    """Validation NLL against steps, tokens or wall-clock: mean and range over seeds."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        x: Literal["steps", "seconds", "tokens", "flops"] = "steps"
        """seconds: steps × the variant's median step time in the exclusive lane, where there is one."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a point of a trial: variant, seed, status, step, x, validation NLL in bits.

        Models that have no curve (counted, not trained) have one row each, without step and x.
        """
        import pandas as pd

        history = learning_curves(data)
        if history.empty:
            raise NotEnoughData("no trial has a learning curve of two points or more")
        status = data.table.drop_duplicates("key").set_index("key")["status"]
        curves = history.assign(x=self._x(data, history), status=history["key"].map(status))
        curves = curves.dropna(subset=["x", "status"])
        if self.config.x in LOGARITHMIC:
            curves = curves[curves["x"] > 0]
        if curves.empty:
            need = "a step time" if self.config.x == "seconds" else "a count of operations"
            raise NotEnoughData(f"no variant with a learning curve has {need}")
        lines = pd.DataFrame(floor(data).items(), columns=["variant", BITS]).astype({BITS: float})
        points = pd.concat([curves, lines], ignore_index=True)
        points["variant"] = pd.Categorical(points["variant"], categories=list(data.variants))
        points = points.sort_values(["variant", "seed", "step"], kind="stable", ignore_index=True)
        return points.astype({"variant": str})[["variant", "seed", "status", "step", "x", BITS]]

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        from matplotlib.lines import Line2D

        points = self.numbers(data)
        curves = points.dropna(subset=["x"])
        looks = style.looks(data.variants, data.base)
        shown = [variant for variant in data.variants if variant in {*curves["variant"]}]
        figure = style.new_figure(style.TEXT_WIDTH, max(3.0, 0.8 + 0.15 * len(shown)))
        whole, enlarged = figure.subplots(1, 2)
        for axes in (whole, enlarged):
            _draw_curves(axes, curves, looks)
        _set_limits(whole, enlarged, points, logarithmic=self.config.x in LOGARITHMIC)
        for axes in (whole, enlarged):
            _draw_failures(axes, curves, looks)
        _draw_references(whole, points[points["x"].isna()])
        whole.set_ylabel(style.axis_label(BITS, data.columns))
        whole.set_title("Whole training", loc="left")
        enlarged.set_title("Enlarged: from half-way", loc="left")
        figure.supxlabel(style.wrapped(self._x_label(data), figure, 8), fontsize=8)
        figure.legend(
            [Line2D([], [], **looks[variant].line()) for variant in shown],
            [looks[variant].label + _failures(data.table, variant) for variant in shown],
            loc="outside right upper",
            title=_marks(curves),
            title_fontsize=7,
            alignment="left",
        )
        return figure

    def _x(self, data: FigureData, history: pd.DataFrame) -> pd.Series:
        if self.config.x == "flops":
            return history["tokens"] * history["key"].map(_flops_per_token(data.table)) * 3
        if self.config.x != "seconds":
            return history["step" if self.config.x == "steps" else "tokens"]
        step_ms = _step_ms(data.table)
        if step_ms is None:
            # Seeds reach a step at different times; a mean over seeds needs a common x.
            return history.groupby(["variant", "step"])["seconds"].transform("mean")
        return history["step"] * history["variant"].map(step_ms) / 1000

    def _x_label(self, data: FigureData) -> str:
        if self.config.x != "seconds":
            return LABELS[self.config.x]
        step_ms = _step_ms(data.table)
        if step_ms is None:
            return LABELS["recorded"]
        trained = {*learning_curves(data)["variant"]}
        untimed = [v for v in data.variants if v in trained and v not in step_ms]
        names = ", ".join(style.label(variant) for variant in untimed)
        return LABELS["exclusive"] + (f"\nnot shown, for want of a step time: {names}" if names else "")


def _flops_per_token(table: pd.DataFrame) -> Mapping[str, float]:
    """key -> operations of a forward pass a token; nothing where nobody counted."""
    if "flops_per_token" not in table:
        return {}
    counted = table.drop_duplicates("key").set_index("key")["flops_per_token"].dropna()
    return {str(key): float(value) for key, value in counted.items()}


def _step_ms(table: pd.DataFrame) -> Mapping[str, float] | None:
    """variant -> median over seeds of the exclusive step time; None if nobody measured it."""
    if "train_step_ms" not in table or not table["train_step_ms"].notna().any():
        return None
    medians = by_seed(table, "train_step_ms").median().dropna()
    return {str(variant): float(value) for variant, value in medians.items()}


def _draw_curves(axes: Axes, curves: pd.DataFrame, looks: Mapping[str, style.Look]) -> None:
    """Means over the seeds that succeeded, with bands from the lowest to the highest."""
    for variant, mine in curves.groupby("variant", sort=False):
        look = looks[str(variant)]
        ok = mine[mine["status"] == "ok"].groupby("x")[BITS]
        if len(ok):
            mean = ok.mean()
            every = max(1, len(mean) // 6)
            axes.fill_between(mean.index, ok.min(), ok.max(), color=look.colour, alpha=0.15, linewidth=0)
            axes.plot(mean.index, mean, markevery=((len(mean) - 1) % every, every), **look.line())


def _draw_failures(axes: Axes, curves: pd.DataFrame, looks: Mapping[str, style.Look]) -> None:
    """A thin line that ends in a cross, at the edge of the axes where it ends beyond them."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for (variant, _), trial in curves[curves["status"] != "ok"].groupby(["variant", "seed"], sort=False):
        colour = looks[str(variant)].colour
        x, bits = trial["x"].to_numpy(), trial[BITS].to_numpy()
        axes.plot(x, bits, color=colour, linewidth=0.6)
        inside = np.flatnonzero((bits >= bottom) & (bits <= top))
        if not len(inside):
            continue
        last = inside[-1]
        end, height = x[last], bits[last]
        if last + 1 < len(bits):
            height = top if bits[last + 1] > top else bottom
            end += (x[last + 1] - end) * (height - bits[last]) / (bits[last + 1] - bits[last])
        if left <= end <= right:
            axes.plot(end, height, "x", color=colour, markersize=5, clip_on=False)


def _set_limits(whole: Axes, enlarged: Axes, points: pd.DataFrame, *, logarithmic: bool) -> None:
    """Fit the settled part of what succeeded; a curve that explodes leaves the axes."""
    import pandas as pd
    from matplotlib.ticker import MaxNLocator

    curves = points.dropna(subset=["x"])
    sound = curves[curves["status"] == "ok"] if (curves["status"] == "ok").any() else curves
    part = sound["x"] / sound.groupby("variant")["x"].transform("max")
    lines = points.loc[points["x"].isna(), BITS]
    settled = pd.concat([sound.loc[part >= SETTLED, BITS], lines])
    _fit(whole, settled)
    late = sound[part >= 0.5]
    _fit(enlarged, late[BITS])
    left, right = late["x"].min(), late["x"].max()
    for axes in (whole, enlarged):
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if logarithmic:
        whole.set_xlim(curves["x"].min() / 1.1, curves["x"].max() * 1.1)
        enlarged.set_xlim(left / 1.05, right * 1.05)
        style.log_axis(whole, "x")
        style.log_axis(enlarged, "x")
    elif right > left:
        enlarged.set_xlim(left - 0.04 * (right - left), right + 0.04 * (right - left))
    if not logarithmic:
        style.linear_axis(whole, "x")
        style.linear_axis(enlarged, "x")


def _fit(axes: Axes, values: pd.Series) -> None:
    room = 0.06 * (values.max() - values.min()) or 0.05
    axes.set_ylim(values.min() - room, values.max() + room)


def _draw_references(axes: Axes, lines: pd.DataFrame) -> None:
    """A dashed line each, with its name above it."""
    from matplotlib.patheffects import withStroke

    for variant, value in zip(lines["variant"], lines[BITS], strict=True):
        axes.axhline(value, color=style.GREY, linestyle=(0, (3, 2)), linewidth=0.9, zorder=1)
        axes.annotate(
            f"{style.label(variant)} {value:.2f}",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(0, 1.5),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=6.5,
            color=style.GREY,
            zorder=10,  # above the curves
            path_effects=[withStroke(linewidth=1.8, foreground="white")],  # readable where it crosses one
        )


def _failures(table: pd.DataFrame, variant: str) -> str:
    statuses = table.loc[table["variant"] == variant, "status"]
    ok = int((statuses == "ok").sum())
    return "" if ok == len(statuses) else f" ({ok} of {len(statuses)} ok)"


def _marks(curves: pd.DataFrame) -> str:
    """What lines and bands are."""
    ok = curves["status"] == "ok"
    several = (curves[ok].groupby("variant")["seed"].nunique() > 1).any()
    lines = ["Line: mean of seeds", "Band: lowest to highest"] if several else ["Line: one seed"]
    return "\n".join(lines if ok.all() else [*lines, "Thin, ending in ×: failed"])
