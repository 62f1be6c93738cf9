"""Numbers with their uncertainty, as a table prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from harness.analysis.quantities import scale_of
from harness.analysis.statistics import Estimate


def decimals(column: Sequence[Estimate]) -> int:
    """Digits after the point for a whole column: two of its typical half width, within reason."""
    known = [each for each in column if math.isfinite(each.mean) and not scale_of(each.mean)[1]]
    if all(float(each.mean).is_integer() for each in known):
        return 0
    magnitude = _exponent(median(abs(each.mean) for each in known if each.mean))
    most = max(0, (3 if magnitude >= 0 else 2) - magnitude)
    half_widths = [each.half_width for each in known if each.half_width > 0]
    return min(max(0, 1 - _exponent(median(half_widths))), most) if half_widths else most


def number(estimate: Estimate, digits: int, *, interval: bool = True, signed: bool = False) -> str:
    """``1.234 ± 0.012``; from ten thousand on in thousands and so forth, ``68.4k ± 0.3k``.

    A half width that vanishes at these digits is left out, as is one that nobody knows.
    """
    mean, half_width = estimate.mean, estimate.half_width
    if math.isnan(mean):
        return ""
    if math.isinf(mean):
        return "∞" if mean > 0 else "−∞"
    scale, suffix = scale_of(mean)
    if suffix:
        digits = max(0, 2 - _exponent(mean / scale))
    text = f"{mean / scale:+z.{digits}f}" if signed else f"{mean / scale:z.{digits}f}"
    half = f"{half_width / scale:.{digits}f}"
    if interval and not math.isnan(half_width) and float(half) > 0:
        text += f"{suffix} ± {half}"
    return f"{text}{suffix}".replace("-", "−")


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0
