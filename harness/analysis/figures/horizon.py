"""Memory horizon: level by distance, of what the metric `horizon` left in the trials' folders.

Three columns on one axis of distance, a row a variant: what is lost when a level's state is cut so often,
which level carries the gradient over so far, and how long the channels of a level remember.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.analysis import style
from harness.analysis.statistics import estimate
from harness.contracts import FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {
    # series: (the column of its distances, the column of its values, what the panel is called)
    "horizon_cut": ("distance", "late_bits", "State of a level cut"),
    "horizon_gradient": ("distance", "share", "Gradient: share of a level"),
    "horizon_memory": ("quantile", "memory", "Decays of the channels"),
}
TOKENS = {"late": "late_bits", "all": "rise_bits"}
EVERYTHING, DELAYS = "all", "delays"
SHADES = "viridis"
"""Of the levels, in order; cut off before its yellow, which is too light for lines."""
LINEAR_BITS = 0.01
"""Below it the axis of rises is linear, since they may be zero or less."""


class Horizon:
    """Memory horizon: rise of NLL, gradient and decays by level and distance."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        variants: tuple[str, ...] = ()
        """A row each; none: every variant that was measured, the first three at most."""
        tokens: Literal["late", "all"] = "late"
        """Whose rise of the NLL is shown: of tokens in the second half of the way between two cuts, which
        have the distance, or half of it at least, to remember; or of all."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a variant, series, level and distance (or quantile): mean, its 95 % interval, range."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        unit = _unit(data)
        for variant in self._variants(data):
            for series, (axis, value, _) in PANELS.items():
                frame = _succeeded(data, series)
                if frame.empty:
                    continue
                x = axis if axis == "quantile" else f"{axis}_{unit}"
                value = TOKENS[self.config.tokens] if series == "horizon_cut" else value
                y = value if value in frame else f"{value}_{unit}"
                own = frame[frame["variant"] == variant]
                for (level, stride, place), group in own.groupby(["level", "stride", x], sort=False):
                    # the rest of a row says where it stands; only the value differs from seed to seed
                    spread = estimate(group[y])
                    rows.append(
                        {
                            "variant": variant,
                            "series": series,
                            "level": str(level),
                            "stride": stride,
                            "at": place,
                            "unit": axis if axis == "quantile" else unit,
                            **spread._asdict(),
                            "lowest": group[y].min(),
                            "highest": group[y].max(),
                        }
                    )
        return pd.DataFrame(rows)

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        numbers = self.numbers(data)
        variants = list(dict.fromkeys(numbers["variant"]))
        shown = [series for series in PANELS if (numbers["series"] == series).any()]
        unit = _unit(data)
        figure = style.new_figure(style.TEXT_WIDTH, 0.75 + 1.85 * len(variants))
        widths = [1.25 if series == "horizon_cut" else 1.0 for series in shown]
        grid = figure.subplots(
            len(variants), len(shown), squeeze=False, sharex="col", gridspec_kw={"width_ratios": widths}
        )
        limits = _limits(numbers)
        for row, variant in enumerate(variants):
            own = numbers[numbers["variant"] == variant]
            levels = _levels(own)
            for axes, series in zip(grid[row], shown, strict=True):
                DRAWN[series](axes, own[own["series"] == series], levels)
                axes.set_xlim(*limits)
                style.log_axis(axes, "x", decades=True)
                if row == 0:
                    axes.set_title(PANELS[series][2], loc="left")
                if row == len(variants) - 1:
                    axes.set_xlabel(
                        f"Distance ({unit})" if series != "horizon_memory" else f"Memory ({unit})"
                    )
            name = "" if len(variants) == 1 else f"{style.label(variant)}\n"
            grid[row][0].set_ylabel(f"{name}Rise of NLL (bits/sample)")
        _legend(figure, numbers)
        style.note(figure, _note(numbers, shown, self.config.tokens))
        return figure

    def _variants(self, data: FigureData) -> Sequence[str]:
        measured = {str(v) for series in PANELS for v in _succeeded(data, series)["variant"].unique()}
        wanted = self.config.variants or [v for v in data.variants if v in measured][:3]
        missing = [variant for variant in wanted if variant not in measured]
        if missing or not wanted:
            of = f" of {', '.join(missing)}" if missing else ""
            raise NotEnoughData(f"no trial{of} left the series of the metric `horizon`")
        return list(wanted)


def _succeeded(data: FigureData, series: str) -> pd.DataFrame:
    """A series of the trials that are not failures; an empty frame where there is none."""
    import pandas as pd

    if series not in data.series:
        return pd.DataFrame(columns=["variant", "seed", "key", "level", "stride"])
    frame = data.series[series]
    return frame[frame["key"].isin(data.table.loc[data.table["status"] == "ok", "key"])]


def _unit(data: FigureData) -> str:
    """Milliseconds, or samples where the data have no rate."""
    frame = _succeeded(data, "horizon_cut")
    known = not frame.empty and frame["distance_ms"].notna().all()
    return "ms" if known else "samples"


def _levels(numbers: pd.DataFrame) -> list[str]:
    return sorted({level for level in numbers["level"] if level.isdigit()}, key=int)


def _limits(numbers: pd.DataFrame) -> tuple[float, float]:
    """Of all distances, and of the middle half of all memories."""
    distances = numbers.loc[numbers["unit"] != "quantile", "at"]
    middle = numbers[(numbers["unit"] == "quantile") & numbers["at"].between(0.25, 0.75)]["mean"]
    every = np.concatenate([distances.to_numpy(float), middle.to_numpy(float)])
    every = every[np.isfinite(every) & (every > 0)]
    return float(every.min()) / 1.4, float(every.max()) * 1.4


def _colours(levels: Sequence[str]) -> dict[str, Any]:
    from matplotlib import colormaps

    shades = colormaps[SHADES](np.linspace(0.85, 0.0, max(len(levels), 2)))
    return dict(zip(levels, shades, strict=False))


def _draw_cuts(axes: Axes, numbers: pd.DataFrame, levels: Sequence[str]) -> None:
    """A line a level, in the band of its seeds; all levels together dashed."""
    colours = _colours(levels)
    for place, level in enumerate((*levels, EVERYTHING)):
        own = numbers[numbers["level"] == level].sort_values("at")
        together = level == EVERYTHING
        look = (
            {"color": style.BASE_COLOUR, "linestyle": (0, (4, 1.5)), "linewidth": 1.0}
            if together
            else {"color": colours[level], "marker": _marker(place), "markersize": 3.2}
        )
        axes.plot(own["at"], own["mean"], **look)
        band = own["at"], own["lowest"], own["highest"]
        axes.fill_between(*band, color=look["color"], alpha=0.18, linewidth=0)
    axes.set_yscale("symlog", linthresh=LINEAR_BITS)
    axes.axhline(0, color=style.GREY, linewidth=0.6)


def _draw_gradients(axes: Axes, numbers: pd.DataFrame, levels: Sequence[str]) -> None:
    """How much of the gradient each level holds, as shares that fill the panel; the delays' on top."""
    parts = [*levels, DELAYS]
    shares = numbers[numbers["level"].isin(parts)].pivot(index="at", columns="level", values="mean")
    shares = shares.reindex(columns=parts).fillna(0.0).sort_index()
    colours = [*_colours(levels).values(), "#dddddd"]
    axes.stackplot(shares.index, shares.to_numpy().T, colors=colours, edgecolor="white", linewidth=0.3)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])


def _draw_memories(axes: Axes, numbers: pd.DataFrame, levels: Sequence[str]) -> None:
    """A bar over the middle half of a level's channels, a thin one over nine tenths, a dot for the median."""
    colours = _colours(levels)
    for place, level in enumerate(levels):
        own = numbers[numbers["level"] == level].set_index("at")["mean"]
        if own.empty:
            continue
        y, colour = int(level), colours[level]
        axes.plot([own[0.05], own[0.95]], [y, y], color=colour, linewidth=0.9)
        axes.plot([own[0.25], own[0.75]], [y, y], color=colour, linewidth=4, solid_capstyle="butt")
        axes.plot(own[0.5], y, marker=_marker(place), color="white", markeredgecolor=colour, markersize=4)
    axes.set_yticks([int(level) for level in levels], list(levels))
    axes.set_ylim(max(int(level) for level in levels) + 0.6, -0.6)
    axes.set_ylabel("Level")


DRAWN: Mapping[str, Callable[[Axes, pd.DataFrame, Sequence[str]], None]] = {
    "horizon_cut": _draw_cuts,
    "horizon_gradient": _draw_gradients,
    "horizon_memory": _draw_memories,
}


def _marker(place: int) -> str:
    return ("o", *style.MARKERS)[place % (len(style.MARKERS) + 1)]


def _legend(figure: Figure, numbers: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    levels = _levels(numbers)
    colours = _colours(levels)
    handles: list[Any] = [
        Line2D([], [], color=colours[level], marker=_marker(place), markersize=3.2)
        for place, level in enumerate(levels)
    ]
    labels = [f"level {level}" for level in levels]
    handles.append(Line2D([], [], color=style.BASE_COLOUR, linestyle=(0, (4, 1.5)), linewidth=1.0))
    labels.append("all levels")
    if (numbers["level"] == DELAYS).any():
        handles.append(Patch(facecolor="#dddddd"))
        labels.append("no state: delays")
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 8))


def _note(numbers: pd.DataFrame, shown: Sequence[str], tokens: str) -> str:
    seeds = int(numbers["n"].max())
    lines = [f"Mean of {seeds} seeds; band: their range." if seeds > 1 else "One seed."]
    if "horizon_cut" in shown:
        which = "all tokens" if tokens == "all" else "tokens half the distance after a cut, or more"
        lines.append(f"Rise of {which}.")
    if "horizon_gradient" in shown:
        lines.append("Gradient: by whose state holds it half-way.")
    if "horizon_memory" in shown:
        lines.append("Decays: median, middle half and nine tenths of channels and clips.")
    return " ".join(lines)
