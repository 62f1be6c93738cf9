"""A result over two settings that a suite's grid varies: depth by pooling, width by mixer, …"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis import style
from harness.analysis.quantities import quantity
from harness.analysis.statistics import by_seed
from harness.contracts import FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


FILLED = 2 / 3
"""Part of the map that variants must fill; one factor at a time makes a cross, which says more as curves."""


class HeatMap:
    """A result over two settings: depth by pooling."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        x: str = "pooling"
        """The setting across: a configuration column of the table (model, mixer, pooling, layers, width)."""
        y: str = "layers"
        """The setting down."""
        column: str = "nll_bits_test"

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a variant that lies on the map: both settings, mean over seeds, n."""
        import pandas as pd

        config = self.config
        for name in (config.x, config.y, config.column):
            if name not in data.table:
                raise NotEnoughData(f"the table has no column {name}")
        values = by_seed(data.table, config.column)
        first = data.table.drop_duplicates("variant").set_index("variant")
        rows = [
            {
                "variant": variant,
                config.x: str(first.loc[variant, config.x]),
                config.y: str(first.loc[variant, config.y]),
                config.column: values[variant].mean(),
                "n": int(values[variant].notna().sum()),
            }
            for variant in data.variants
            if variant in values and self._belongs(first, variant, data.base)
        ]
        found = pd.DataFrame(rows, columns=["variant", config.x, config.y, config.column, "n"])
        found = found.drop_duplicates([config.x, config.y])  # the first of several variants of one place
        across, down = found[config.x].nunique(), found[config.y].nunique()
        if min(across, down) < 2 or len(found) < FILLED * across * down:
            raise NotEnoughData(
                f"too few pairs of {config.x} and {config.y} have a variant; a `grid:` of both makes them"
            )
        return found

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        config, found = self.config, self.numbers(data)
        across, down = (sorted(found[name].unique(), key=_in_order) for name in (config.x, config.y))
        grid = np.full((len(down), len(across)), np.nan)
        for _, row in found.iterrows():
            grid[down.index(row[config.y]), across.index(row[config.x])] = row[config.column]
        figure = style.new_figure(style.TEXT_WIDTH, 1.4 + 0.4 * len(down))
        axes = figure.subplots()
        lower = quantity(config.column, data.columns).better == "lower"
        picture = axes.imshow(grid, cmap="cividis_r" if lower else "cividis", aspect="auto")
        for place, value in np.ndenumerate(grid):
            if not np.isnan(value):
                red, green, blue, _ = picture.cmap(picture.norm(value))
                dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
                text = f"{value:.4g}"
                colour = "white" if dark else "black"
                axes.text(place[1], place[0], text, ha="center", va="center", fontsize=7, color=colour)
        axes.set_xticks(range(len(across)), across)
        axes.set_yticks(range(len(down)), down)
        axes.set_xlabel(config.x.capitalize())
        axes.set_ylabel(config.y.capitalize())
        axes.grid(visible=False)
        figure.colorbar(picture, label=style.axis_label(config.column, data.columns, lines=2))
        style.note(figure, "Means of seeds. Empty: no such variant, or none of its trials succeeded.")
        return figure

    def _belongs(self, first: pd.DataFrame, variant: str, base: str) -> bool:
        """Only what has the base's model, and its other settings, can stand on one map."""
        if base not in first.index:
            return True
        others = [name for name in ("model", "mixer", "pooling", "layers", "width") if name in first]
        fixed = [name for name in others if name not in (self.config.x, self.config.y)]
        return bool((first.loc[variant, fixed].astype(str) == first.loc[base, fixed].astype(str)).all())


def _in_order(text: str) -> tuple[int, float, str]:
    """Numbers by value, lists by the product of their entries, then names."""
    try:
        value = json.loads(text)
    except ValueError:
        return (1, 0.0, text)
    return (0, float(np.prod(value)) if isinstance(value, list) else float(value), text)
