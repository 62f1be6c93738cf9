"""How a result follows a budget: y = c x^k fitted to each family of variants, with its band.

    log y = log c + k log x        least squares over trials

The band is the 95 % interval of the fitted line (Student's t, n - 2 degrees of freedom): of the mean
at x, not of a single trial. Trials of the same budget and other seeds tell the noise from the law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.analysis import style
from harness.analysis.quantities import quantity
from harness.contracts import FigureData, NotEnoughData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

FEWEST = 3
"""Different budgets that a family needs before a law is fitted to it."""


class Law(NamedTuple):
    """k with its 95 % interval, c, and what the band needs."""

    exponent: float
    low: float
    high: float
    constant: float
    mean_log_x: float
    spread: float
    error: float
    n: int

    def line(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The law at x, and the factor by which its band reaches above and below."""
        from scipy.special import stdtrit

        log_x = np.log(x)
        middle = math.log(self.constant) + self.exponent * log_x
        standard = self.error * np.sqrt(1 / self.n + (log_x - self.mean_log_x) ** 2 / self.spread)
        return np.exp(middle), np.exp(stdtrit(self.n - 2, 0.975) * standard)


class Scaling:
    """Scaling law of a result over a budget, one line for each family of variants."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        x: str = "parameters"
        """The budget: parameters, train_tokens, flops_per_token, …"""
        y: str = "nll_bits_test"
        family: str = "model"
        """The configuration column whose values are the families: model, mixer, …"""

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a trial, with its family's law where there is one."""
        rows = self._trials(data)
        laws = {family: fit(own, self.config.x, self.config.y) for family, own in rows.groupby("family")}
        for name in ("exponent", "low", "high", "constant"):
            column = {family: getattr(law, name) for family, law in laws.items() if law is not None}
            rows[f"exponent_{name}" if name in ("low", "high") else name] = rows["family"].map(column)
        return rows

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        rows = self._trials(data)
        families = list(dict.fromkeys(rows["family"]))
        looks = style.looks(families, families[0])
        figure = style.new_figure(0.8 * style.TEXT_WIDTH, 3.2)
        axes = figure.subplots()
        for family in families:
            own, look = rows[rows["family"] == family], looks[family]
            law = fit(own, self.config.x, self.config.y)
            text = look.label
            if law is not None:
                x = np.geomspace(own[self.config.x].min(), own[self.config.x].max(), 50)
                middle, band = law.line(x)
                axes.plot(x, middle, color=look.colour, linewidth=1.2)
                axes.fill_between(x, middle / band, middle * band, color=look.colour, alpha=0.15, linewidth=0)
                text += f": exponent {law.exponent:.3g} [{law.low:.3g}, {law.high:.3g}]".replace("-", "−")
            points = {"linestyle": "none", "markersize": 4, **look.point()}
            axes.plot(own[self.config.x], own[self.config.y], label=text, **points)
        style.log_axis(axes, "x")
        style.log_axis(axes, "y")
        axes.set_xlabel(quantity(self.config.x, data.columns).with_unit)
        axes.set_ylabel(style.axis_label(self.config.y, data.columns))
        figure.legend(loc="outside upper left")
        style.note(
            figure,
            "Points: trials. Line: least squares in logarithms, band: 95 % interval of the line. "
            f"No line with fewer than {FEWEST} budgets.",
        )
        return figure

    def _trials(self, data: FigureData) -> pd.DataFrame:
        config = self.config
        for name in (config.x, config.y, config.family):
            if name not in data.table:
                raise NotEnoughData(f"the table has no column {name}")
        table = data.table[data.table["status"] == "ok"]
        rows = table[["variant", "seed", config.x, config.y]].assign(family=table[config.family].astype(str))
        positive = (rows[config.x].astype(float) > 0) & (rows[config.y].astype(float) > 0)
        rows = rows[positive & rows["family"].ne("")]
        budgets = rows.groupby("family")[config.x].nunique()
        rows = rows[rows["family"].map(budgets).ge(2)]
        if not (budgets >= FEWEST).any():
            raise NotEnoughData(f"no {config.family} has {FEWEST} different values of {config.x}")
        place = {variant: number for number, variant in enumerate(data.variants)}
        return rows.sort_values(
            ["variant", "seed"], key=lambda c: c.map(place) if c.name == "variant" else c, ignore_index=True
        )


def fit(rows: pd.DataFrame, x: str, y: str) -> Law | None:
    """Least squares in logarithms; None for too few budgets."""
    from scipy.stats import linregress, t

    if rows[x].nunique() < FEWEST:
        return None
    log_x, log_y = np.log(rows[x].to_numpy(float)), np.log(rows[y].to_numpy(float))
    found, n = linregress(log_x, log_y), len(rows)
    residuals = log_y - found.intercept - found.slope * log_x
    half = float(t.ppf(0.975, n - 2)) * found.stderr
    return Law(
        exponent=float(found.slope),
        low=float(found.slope - half),
        high=float(found.slope + half),
        constant=math.exp(found.intercept),
        mean_log_x=float(log_x.mean()),
        spread=float(((log_x - log_x.mean()) ** 2).sum()),
        error=math.sqrt(float((residuals**2).sum()) / (n - 2)),
        n=n,
    )
