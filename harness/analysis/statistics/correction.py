"""Holm's step-down correction of p values, weighted where some comparisons matter more.

    order by p_i / w_i;   corrected p_(j) = max over i <= j of  min(1, p_(i) · W_(i) / w_(i)),
    W_(i) = the sum of the weights not yet passed, from i on

Holm (1979), A simple sequentially rejective multiple test procedure, eq. of section 3; weighted:
section 4 of the same. It keeps the chance of even one false verdict in a family at the level asked
for, whatever the comparisons have in common, and comparisons to one base have the base in common.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike, *, weights: ArrayLike | None = None, comparisons: int | None = None) -> NDArray[Any]:
    """Corrected p values along the last axis; NaN: no comparison was made, which costs the others nothing.

    comparisons: of how many these are a part; more than are given where those at hand were chosen by
        the data, as all comparisons with the best are among the comparisons of all pairs.
    """
    return np.minimum(1.0, uncut(p, weights=weights, comparisons=comparisons))


def uncut(p: ArrayLike, *, weights: ArrayLike | None = None, comparisons: int | None = None) -> NDArray[Any]:
    """As `holm`, not cut off at 1: the p values multiplied by what each of them is corrected by."""
    values = np.asarray(p, dtype=float)
    given = np.ones_like(values) if weights is None else np.broadcast_to(weights, values.shape)
    weight = np.where(np.isnan(values), 0.0, given)
    with np.errstate(invalid="ignore", divide="ignore"):
        order = np.argsort(values / weight, axis=-1, kind="stable")  # NaN goes last
    p_sorted = np.take_along_axis(values, order, axis=-1)
    w_sorted = np.take_along_axis(weight, order, axis=-1)
    left = np.cumsum(w_sorted[..., ::-1], axis=-1)[..., ::-1]
    if comparisons is not None:
        left = left + np.maximum(0.0, comparisons - left[..., :1])
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(np.isnan(p_sorted), math.nan, p_sorted * left / w_sorted)
    corrected = np.empty_like(values)
    np.put_along_axis(corrected, order, np.fmax.accumulate(scaled, axis=-1), axis=-1)
    return np.where(np.isnan(values), math.nan, corrected)
