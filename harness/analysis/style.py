"""How figures look, in one place: seaborn's paper theme at our sizes, one colour and marker a variant.

Colours are those of Okabe and Ito (2008), told apart by the colour-blind; yellow is left out, which
is too light for lines. Nothing rests on colour alone: every variant has a marker of its own, and
from the seventh on lines are dashed and markers hollow.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.analysis.quantities import quantity, scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from harness.contracts import Column

TEXT_WIDTH = 6.75
"""Inches across both columns of a conference paper; figures are drawn at their printed size."""

BASE_COLOUR = "#000000"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d", "8", "*")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
GREY = "#5f5f5f"

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.6,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "svg.hashsalt": "harness",  # else the ids in an SVG change with every drawing
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Look:
    """How one variant is drawn, in every figure of a suite."""

    label: str
    colour: str
    marker: str
    dashes: Any
    filled: bool

    def line(self) -> dict[str, Any]:
        """Keywords of `Axes.plot`."""
        return {"color": self.colour, "linestyle": self.dashes, **self.point()}

    def point(self) -> dict[str, Any]:
        """Keywords of a marker without a line."""
        return {
            "marker": self.marker,
            "markerfacecolor": self.colour if self.filled else "white",
            "markeredgecolor": self.colour,
        }


@contextmanager
def paper() -> Iterator[None]:
    """Inside the block (or the decorated function) matplotlib draws and saves in this style."""
    import matplotlib
    import seaborn

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc must not change our bytes
        theme = {**seaborn.axes_style("ticks"), **seaborn.plotting_context("paper")}
        with matplotlib.rc_context({**theme, **_SETTINGS}):
            yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this many inches that belongs to nobody: pyplot does not keep it alive."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def looks(variants: Sequence[str], base: str) -> dict[str, Look]:
    """variant -> its look: black circles for the base, the others by their place in the suite."""
    found = {base: Look(label(base), BASE_COLOUR, "o", "-", True)} if base in variants else {}
    for index, variant in enumerate(name for name in variants if name != base):
        turn = index // len(COLOURS)
        found[variant] = Look(
            label(variant),
            COLOURS[index % len(COLOURS)],
            MARKERS[index % len(MARKERS)],
            DASHES[turn % len(DASHES)],
            filled=turn % 2 == 0,
        )
    return {variant: found[variant] for variant in variants}


def label(variant: str, longest: int = 36) -> str:
    """A variant's name for a figure: ``pooling=[2,4]`` reads ``pooling [2, 4]``."""
    text = re.sub(r",(?=\S)", ", ", " ".join(variant.split())).replace("=", " ")
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    text = text.replace("$", r"\$")  # a dollar sign would start mathematics
    return f" {text}" if text.startswith("_") else text  # matplotlib hides such labels


def axis_label(column: str, columns: Mapping[str, Column], *, remark: str = "", lines: int = 1) -> str:
    """``Test NLL (bits/sample), lower is better``; on two lines where the axis is short.

    `columns`: what metrics say of theirs (`FigureData.columns`).
    """
    what = quantity(column, columns)
    hints = [hint for hint in (remark, f"{what.better} is better" if what.better else "") if hint]
    separator = "\n" if lines == 2 else ", "
    return separator.join(filter(None, [what.with_unit, ", ".join(hints)]))


def note(figure: Figure, text: str) -> None:
    """Small print below the figure that says what its marks are."""
    figure.supxlabel(wrapped(text, figure, 6.5), fontsize=6.5, color=GREY, x=0.01, ha="left")


def wrapped(text: str, figure: Figure, fontsize: float) -> str:
    """Lines no longer than the figure is wide."""
    width = int(figure.get_figwidth() * 72 / (0.56 * fontsize))  # a letter is about this wide
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())


SAVED_BY_US = {".png": b"Software\0harness", ".svg": b"<dc:title>harness</dc:title>"}
"""Suffix -> the mark near the start of every picture that `save` wrote."""


def save(figure: Figure, path: Path) -> None:
    """Write PNG or SVG by the suffix of `path`; the same figure gives the same bytes."""
    metadata = {".png": {"Software": "harness"}, ".svg": {"Creator": "harness", "Date": None}}
    with paper():
        figure.savefig(path, format=path.suffix[1:], metadata=metadata[path.suffix])


def saved_by_us(path: Path) -> bool:
    with path.open("rb") as file:
        return SAVED_BY_US[path.suffix] in file.read(2048)


def log_axis(axes: Axes, which: Literal["x", "y"], *, decades: bool = False) -> None:
    """A logarithmic axis whose ticks are written as people say them: 20, 50, 100.

    `decades`: only powers of ten, where there is little room.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(getattr(axes, f"get_{which}lim")())
    subs = (1.0,) if decades or high / low >= 500 else (1.0, 2.0, 5.0)
    if high / low < 2:  # hardly a power of ten, or of two, lies within
        axis.set_major_locator(MaxNLocator(nbins=5))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8) if high / low < 6 else subs))
    axis.set_major_formatter(FuncFormatter(lambda value, position: compact_number(value)))
    axis.set_minor_formatter(NullFormatter())


def linear_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Ten thousand and more is written as in tables: 120k. The limits of the axis must be final."""
    from matplotlib.ticker import FuncFormatter

    scale, letter = scale_of(max(map(abs, getattr(axes, f"get_{which}lim")())))
    if letter:
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_major_formatter(
            FuncFormatter(lambda value, position: f"{value / scale:g}{letter if value else ''}")
        )


def compact_number(value: float) -> str:
    """``0.5``, ``200``, ``20k``, ``6.4M``: three digits at most."""
    scale, letter = scale_of(value)
    return f"{value / scale:.3g}{letter}" if letter or abs(value) < 1000 else f"{value:.0f}"
