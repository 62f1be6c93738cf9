"""template_name: test likelihood over the number of parameters, a point a trial.

Everything below is yours to change. `harness check template_name.py` says whether it still draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.contracts import FigureData, NotEnoughData
from harness.registry import register

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@register("figures", "template_name")
class TemplateName:
    """Test NLL over parameters (the line that `harness list figures` shows)."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        y: str = "nll_bits_test"
        """A column of the table."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """What the figure shows, written beside it as CSV."""
        columns = ["variant", "seed", "parameters", self.config.y]
        if missing := sorted(set(columns) - set(data.table.columns)):
            raise NotEnoughData(f"the table lacks {', '.join(missing)}")
        return data.table[columns].dropna()

    def draw(self, data: FigureData) -> Figure:
        from matplotlib.figure import Figure

        points = self.numbers(data)
        if points.empty:
            raise NotEnoughData(f"no trial has parameters and {self.config.y}")
        figure = Figure(figsize=(4.5, 3.2), layout="constrained")
        axes = figure.subplots()
        for variant in data.variants:
            own = points[points["variant"] == variant]
            axes.plot(own["parameters"], own[self.config.y], "o", label=variant)
        axes.set_xlabel("parameters")
        axes.set_ylabel(self.config.y)
        axes.legend(fontsize="small")
        return figure
