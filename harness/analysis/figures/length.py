"""What longer clips cost: time and memory of a training step, speed of drawing, and where each model ends.

    log y = log c + k log L        least squares over the trials of the longest clips, where constant
                                   costs matter least

k is 1 for work or memory in proportion to the length, 2 for all pairs of positions, 0 for a drawing speed
that does not fall. A trial that ran out of memory or time is a cross at the top, at its length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import style
from harness.analysis.figures.scaling import FEWEST, Law, fit
from harness.analysis.statistics import estimate
from harness.contracts import FigureData, NotEnoughData, require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GENERATION = "generate_samples_per_second"
COLUMNS = ("train_step_ms", "peak_memory_mib", GENERATION)
SETTINGS = ("model", "mixer", "pooling", "layers", "width")
"""What the trials of one line share; length apart."""
DRAWN = "generate_steps"
"""Samples of a clip behind the speed of drawing."""
BEYOND = {"out_of_memory": "x", "timeout": "+"}
"""Status -> mark of a length that a model did not manage."""


class Length:
    """Speed and memory against length, with exponents; out of memory and time are marked."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        columns: tuple[str, ...] = COLUMNS
        """One panel each; those that no trial has are left out."""
        longest: int = 4
        """Lengths behind an exponent, from the longest that a model managed downwards."""

        def __post_init__(self) -> None:
            require(self.longest >= FEWEST, "longest", f"must be at least {FEWEST}, got {self.longest}")

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a trial with a length, in order of line, length and seed; with the exponents of its line.

        A line is called by its model, and by what tells it from other lines of that model.
        """
        columns, rows = self._rows(data)
        for column in columns:
            laws = {line: law for line, law in self._laws(rows, column).items() if law is not None}
            for part in ("exponent", "low", "high"):
                name = f"{column}_exponent" if part == "exponent" else f"{column}_exponent_{part}"
                rows[name] = rows["line"].map({line: getattr(law, part) for line, law in laws.items()})
        return rows

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        columns, rows = self._rows(data)
        lines = list(dict.fromkeys(rows["line"]))
        looks = style.looks(lines, lines[0])
        figure = style.new_figure(style.TEXT_WIDTH, 2.9 + 0.14 * ((len(lines) + 3) // 4))
        panels = figure.subplots(1, len(columns), squeeze=False)[0]
        for axes, column in zip(panels, columns, strict=True):
            _draw_panel(axes, rows, column, looks, self._laws(rows, column))
            axes.set_xlabel("Length of a clip (tokens)")
            axes.set_title(style.axis_label(column, data.columns, lines=2), loc="left")
        handles = [
            panels[0].plot([], [], label=looks[line].label, markersize=4, **looks[line].line())[0]
            for line in lines
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=min(len(lines), 4))
        style.note(figure, _note(rows, self.config.longest))
        return figure

    def _rows(self, data: FigureData) -> tuple[list[str], pd.DataFrame]:
        """The columns that are there, and the trials of settings that were tried at two lengths or more."""
        table = data.table
        columns = [name for name in self.config.columns if name in table and table[name].notna().any()]
        if "length" not in table or not columns:
            raise NotEnoughData(f"no trial has a length and any of {', '.join(self.config.columns)}")
        rows = table[table["length"].notna() & table["status"].isin(["ok", *BEYOND])].copy()
        measured = (rows["status"] == "ok") & rows[columns].notna().any(axis="columns")
        rows = rows[measured | rows["status"].isin([*BEYOND])]
        rows[columns] = rows[columns].where(rows["status"] == "ok")
        own = rows.groupby([*SETTINGS], dropna=False, sort=False)
        several = own["length"].transform("nunique").ge(2) & own[columns[0]].transform("count").gt(0)
        if not several.any():
            raise NotEnoughData("no model was measured at two lengths or more")
        order = {variant: number for number, variant in enumerate(data.variants)}
        first = rows.assign(place=rows["variant"].map(order)).groupby([*SETTINGS], dropna=False)["place"]
        rows = rows.assign(place=first.transform("min"))[several]
        rows["line"] = _names(rows)
        rows = rows.sort_values(["place", "length", "seed"], kind="stable", ignore_index=True)
        drawn = [DRAWN] if GENERATION in columns and DRAWN in rows else []
        return columns, rows[["line", "variant", "seed", "length", "status", *columns, *drawn]]

    def _laws(self, rows: pd.DataFrame, column: str) -> dict[str, Law | None]:
        """line -> the law of its longest clips; None for too few lengths."""
        laws = {}
        for line, own in rows[rows[column] > 0].groupby("line", sort=False):
            longest = np.unique(own["length"])[-self.config.longest :]
            laws[str(line)] = fit(own[own["length"].isin(longest)], "length", column)
        return laws


def _names(rows: pd.DataFrame) -> list[str]:
    """``poolformer pooling=[4, 4]`` of each trial: its model, and settings in which lines of it differ."""
    settings = rows[[*SETTINGS]].astype(str)
    differ = settings.groupby("model")[[*SETTINGS[1:]]].nunique() > 1
    return [
        " ".join([model, *(f"{name}={row[name]}" for name in SETTINGS[1:] if differ.loc[model, name])])
        for model, row in zip(settings["model"], settings.to_dict("records"), strict=True)
    ]


def _draw_panel(
    axes: Axes,
    rows: pd.DataFrame,
    column: str,
    looks: Mapping[str, style.Look],
    laws: Mapping[str, Law | None],
) -> None:
    words = []
    for line, look in looks.items():
        own = rows[(rows["line"] == line) & (rows[column] > 0)]
        values = [
            (int(length), estimate(own.loc[own["length"] == length, column]))
            for length in np.unique(own["length"])
        ]
        if values:
            x, y = [length for length, _ in values], [each.mean for _, each in values]
            axes.plot(x, y, markersize=4, **look.line())
            for length, each in values:
                if each.low > 0:
                    axes.plot([length] * 2, [each.low, each.high], color=look.colour, linewidth=0.8)
            law = laws.get(line)
            words.append((y[-1], line, "" if law is None else f"{law.exponent:.2f}".replace("-", "−")))
    lengths = rows["length"]
    axes.set_xlim(lengths.min() / 1.25, lengths.max() * 2.1)
    axes.set_yscale("log")
    _draw_ends(axes, rows, looks)
    style.log_axis(axes, "x", decades=lengths.max() / lengths.min() >= 50)
    style.log_axis(axes, "y")
    _write_exponents(axes, rows, words, looks)


def _draw_ends(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, style.Look]) -> None:
    """Crosses in a band above the data, a row for each line, so that none covers another."""
    failed = rows[rows["status"].isin([*BEYOND])].drop_duplicates(["line", "length", "status"])
    if failed.empty:
        return
    lines = list(dict.fromkeys(failed["line"]))
    low, high = axes.get_ylim()
    step = 0.075
    share = 1 - step * (len(lines) + 0.5)
    axes.set_ylim(low, low * (high / low) ** (1 / share))
    axes.axhline(high, color=style.GREY, linewidth=0.6, linestyle=(0, (1, 1.5)))
    for _, row in failed.iterrows():
        height = 1 - step * (lines.index(row["line"]) + 0.6)
        axes.plot(
            row["length"],
            height,
            transform=axes.get_xaxis_transform(),
            linestyle="none",
            marker=BEYOND[row["status"]],
            markersize=5,
            markeredgewidth=1.3,
            color=looks[row["line"]].colour,
        )


def _write_exponents(
    axes: Axes, rows: pd.DataFrame, words: list[tuple[float, str, str]], looks: Mapping[str, style.Look]
) -> None:
    """Each exponent behind the end of its line, moved apart where lines end close together."""
    low, high = np.log(axes.get_ylim())
    managed = rows[rows["status"] == "ok"].groupby("line")["length"].max()
    ends: dict[int, list[tuple[float, str, str]]] = {}
    for value, line, text in sorted(word for word in words if word[2]):
        place = (float(np.log(value)) - low) / (high - low)
        ends.setdefault(int(managed[line]), []).append((place, line, text))
    for length, found in ends.items():
        heights = _apart([place for place, _, _ in found])
        inside = length < rows["length"].max()  # where other lines go on to the right
        for height, (_, line, text) in zip(heights, found, strict=True):
            axes.annotate(
                text,
                (length, height),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, 7) if inside else (5, 0),
                textcoords="offset points",
                ha="center" if inside else "left",
                va="center",
                fontsize=6.5,
                color=looks[line].colour,
            )


def _apart(heights: list[float], gap: float = 0.058) -> list[float]:
    """Rising heights, neighbours pushed to either side until they are this far from each other."""
    moved = [*heights]
    for _ in range(100):
        for low in range(len(moved) - 1):
            missing = gap - (moved[low + 1] - moved[low])
            if missing > 0:
                moved[low] -= missing / 2
                moved[low + 1] += missing / 2
    lift = max(0.0, 0.02 - moved[0])  # the lowest stays within the axes
    return [height + lift for height in moved]


def _note(rows: pd.DataFrame, longest: int) -> str:
    several = rows[rows["status"] == "ok"].groupby(["line", "length"]).size().max() > 1
    text = "Points: mean of seeds; bars: 95 % t interval. " if several else "Points: one seed each. "
    text += f"Numbers: exponent of the length, fitted to the {longest} longest lengths of a line."
    if DRAWN in rows:
        ended = rows[(rows["status"] == "ok") & (rows[DRAWN] < rows["length"])]
        if len(ended):
            text += (
                f" Drawing ended before the clip where its time was up, after {_range(ended[DRAWN])} samples."
            )
    found = {*rows["status"]}
    marks = [
        words
        for status, words in (("out_of_memory", "× out of memory"), ("timeout", "+ out of time"))
        if status in found
    ]
    if marks:
        text += f" At the top, in the colours of the lines: {', '.join(marks)} at that length."
    return text


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
