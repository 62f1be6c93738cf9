"""Which width brings a cost closest to a budget, from few evaluations of the cost.

The cost n(w) is taken to grow with the width, roughly as a power of it: between two widths already
tried it is interpolated, log n over log w, and the bracket closes in a handful of evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from harness.errors import ConfigError

LARGEST = 65_536
EXPONENT = 2.0
"""Of the first guess: parameters and FLOPs of a layer grow with the square of its width."""
LARGEST_JUMP = 4.0
"""Between two widths outside the bracket: the guess may be wrong, and a large model is slow to count."""
FARTHEST = 1024
"""How far from the wished width an accepted one is looked for."""
SECANTS = 8
"""Evaluations after which the bracket is halved instead: interpolation may crawl along a staircase."""


def search(
    cost: Callable[[int], float],
    accepted: Callable[[int], bool],
    *,
    start: int,
    budget: float,
    enough: float = 0.0,
    limit: int = 64,
) -> dict[int, float]:
    """Costs of the widths that were tried, the closest to the budget among them.

    A width that is not accepted, or whose cost raises ConfigError, is skipped. Ends as soon as a cost
    is within the fraction `enough` of the budget, or after `limit` evaluations.
    """
    tried: dict[int, float] = {}
    refused: set[int] = set()
    low, high = 0, LARGEST + 1
    wish = float(start)
    while len(tried) < limit:
        width = _nearest(lambda w: w not in refused and accepted(w), wish, low, high)
        if width is None:
            break
        try:
            tried[width] = cost(width)
        except ConfigError:
            refused.add(width)
            continue
        if abs(tried[width] / budget - 1) <= enough:
            break
        low, high = (width, high) if tried[width] < budget else (low, width)
        wish = _guess(tried, low, high, budget)
    return tried


def closest(tried: Mapping[int, float], budget: float, count: int | None = None) -> list[int]:
    """The widths whose costs are closest to the budget; closest first; of equal ones the smaller."""
    return sorted(tried, key=lambda width: (abs(tried[width] - budget), width))[:count]


def _nearest(accepted: Callable[[int], bool], wish: float, low: int, high: int) -> int | None:
    """The accepted width nearest to the wish, strictly between low and high."""
    middle = min(max(round(wish), low + 1), high - 1)
    for distance in range(FARTHEST):
        for width in dict.fromkeys((middle - distance, middle + distance)):
            if low < width < high and accepted(width):
                return width
        if middle - distance <= low and middle + distance >= high:
            return None
    return None


def _guess(tried: Mapping[int, float], low: int, high: int, budget: float) -> float:
    if low in tried and high in tried:
        rise = _exponent(tried, low, high)
        if len(tried) > SECANTS or rise is None:
            return (low + high) / 2
        return low * (budget / tried[low]) ** (1 / rise)
    known = low if low in tried else high
    others = [width for width in closest(tried, budget) if width != known]
    exponent = (_exponent(tried, *sorted((known, others[0]))) if others else None) or EXPONENT
    if tried[known] <= 0:
        return known * LARGEST_JUMP
    # In logarithms: where the cost hardly rises, the power itself may be beyond any number.
    jump, most = math.log(budget / tried[known]) / exponent, math.log(LARGEST_JUMP)
    return known * math.exp(min(max(jump, -most), most))


def _exponent(tried: Mapping[int, float], low: int, high: int) -> float | None:
    """Of the power law through two points; None where the cost does not rise between them."""
    if tried[low] <= 0 or tried[high] <= tried[low]:
        return None
    return math.log(tried[high] / tried[low]) / math.log(high / low)
