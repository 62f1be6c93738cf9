"""Train beside test NLL, of the same weights: how much of what a variant learnt is not general."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis import style
from harness.analysis.figures.curves import references, without_references
from harness.analysis.quantities import quantity
from harness.analysis.statistics import Estimate, by_seed, estimates
from harness.contracts import FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, VALIDATION, TEST = "nll_bits_train", "nll_bits_validation", "nll_bits_test"


class Generalization:
    """NLL of train, validation and test from the same weights, a row a variant."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a variant and split: mean and 95 % interval over seeds."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"variant": variant, "column": column, **value._asdict()}
                for variant, values in self._values(data).items()
                for column, value in values.items()
            ]
        )

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        values = self._values(data)
        looks = style.looks(data.variants, data.base)
        figure = style.new_figure(0.8 * style.TEXT_WIDTH, 1.0 + 0.2 * len(values))
        axes = figure.subplots()
        for row, (variant, splits) in enumerate(values.items()):
            look = looks[variant]
            ends = [splits[TRAIN].mean, splits[TEST].mean]
            axes.plot(ends, [row, row], color=look.colour, linewidth=1.6, alpha=0.6, zorder=1)
            _point(axes, splits[TRAIN], row, look.colour, marker="|")
            if VALIDATION in splits:
                _point(axes, splits[VALIDATION], row, look.colour, marker="D")
            _point(axes, splits[TEST], row, look.colour, marker="o")
            for at in _seeds(data, variant):
                axes.plot(at, row + 0.27, ".", markersize=2.5, color=look.colour, alpha=0.8)
        axes.set_yticks(range(len(values)), [looks[variant].label for variant in values])
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.tick_params(left=False)
        axes.set_xlabel(f"NLL ({quantity(TEST, data.columns).unit}), lower is better")
        style.note(
            figure,
            "Bar: train; diamond: validation; circle: test; means of seeds. Dots: test of each seed. "
            f"A circle right of its bar is worse on data that it has not seen.{without_references(data)}",
        )
        return figure

    def _values(self, data: FigureData) -> dict[str, dict[str, Estimate]]:
        """variant -> split's column -> mean and interval, of those that have train and test."""
        trained = [variant for variant in data.variants if variant not in references(data)]
        columns = {name: estimates(data.table, name, trained) for name in (TRAIN, VALIDATION, TEST)}
        found = {
            variant: {name: values[variant] for name, values in columns.items() if variant in values}
            for variant in trained
            if variant in columns[TRAIN] and variant in columns[TEST]
        }
        if not found:
            raise NotEnoughData(f"no variant has both {TRAIN} and {TEST}")
        return found


def _point(axes: Axes, value: Estimate, row: int, colour: str, *, marker: str) -> None:
    axes.plot(
        value.mean,
        row,
        marker=marker,
        linestyle="none",
        markersize=9 if marker == "|" else 4.5,
        color=colour,
        markerfacecolor="white" if marker == "D" else colour,
        zorder=3,
    )


def _seeds(data: FigureData, variant: str) -> list[float]:
    """The test NLL of each seed, where there are several."""
    values = by_seed(data.table, TEST)
    own = [float(value) for value in values[variant].dropna()] if variant in values else []
    return own if len(own) > 1 else []
