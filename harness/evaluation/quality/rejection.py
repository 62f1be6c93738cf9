"""Which drawn clips are scored: all, or those that the published protocol keeps.

The published protocol of autoregressive models on SC09 (state-spaces/s4, models/sashimi/README.md)
orders the clips by their log-likelihood in the model itself and drops the lowest 40 % and the
highest 5 %: of 5,120 clips 2,816 stay. The paper calls these thresholds tuned; the published search
always ends at its last grid point, which they are. A second half of as many clips, on which they
were to be tuned, is drawn and never scored.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from harness.evaluation.quality.embedding import QualityError

Rule = Literal["none", "published"]
RULES: tuple[Rule, ...] = get_args(Rule)
KEPT_PER_CENT = 40, 95
"""From here to there in increasing order of likelihood."""


def kept(log_likelihood: np.ndarray, rule: Rule) -> np.ndarray:
    """Float64[N], of any unit -> indices of the clips to score.

    ``published``: in increasing order of likelihood, as the published script reads them. Clips of
    equal likelihood stay in their order.
    Raises: QualityError for a likelihood that is not a number, or when no clip would be left.
    """
    values = np.asarray(log_likelihood, dtype=np.float64)
    if rule == "none":
        return np.arange(len(values))
    if rule != "published":
        raise ValueError(f"unknown rejection rule {rule!r}; known: {', '.join(RULES)}")
    if np.isnan(values).any():
        raise QualityError(
            f"{int(np.isnan(values).sum())} of {len(values)} clips have no log-likelihood, which the "
            "rejection rule 'published' needs; score without it (rule 'none')"
        )
    order = np.argsort(values, kind="stable")
    first, last = (len(order) * per_cent // 100 for per_cent in KEPT_PER_CENT)
    indices = order[first:last]
    if not len(indices):
        raise QualityError(f"the rejection rule 'published' leaves none of {len(values)} clips; draw more")
    return indices
