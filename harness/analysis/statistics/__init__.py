"""What a few seeds can say: means with intervals, paired differences, verdicts, and what stays unseen.

Formulas and what the simulations show of them: docs/statistics.md.
"""

from harness.analysis.statistics.bootstrap import (
    ENOUGH,
    RESAMPLES,
    improvement_interval,
    interquartile_mean,
    percentile_interval,
    probability_of_improvement,
    stratified_resamples,
)
from harness.analysis.statistics.correction import holm
from harness.analysis.statistics.estimates import (
    CONFIDENCE,
    Direction,
    Estimate,
    Means,
    best_of,
    by_seed,
    check_one_row_a_trial,
    estimate,
    estimates,
    t_interval,
)
from harness.analysis.statistics.paired import (
    Contrast,
    Verdict,
    contrasts,
    may_be_best,
    p_value,
    paired_difference,
    verdict,
)
from harness.analysis.statistics.power import POWER, seeds_needed, smallest_difference
from harness.analysis.statistics.two_samples import Difference, difference

__all__ = [
    "CONFIDENCE",
    "ENOUGH",
    "POWER",
    "RESAMPLES",
    "Contrast",
    "Difference",
    "Direction",
    "Estimate",
    "Means",
    "Verdict",
    "best_of",
    "by_seed",
    "check_one_row_a_trial",
    "contrasts",
    "difference",
    "estimate",
    "estimates",
    "holm",
    "improvement_interval",
    "interquartile_mean",
    "may_be_best",
    "p_value",
    "paired_difference",
    "percentile_interval",
    "probability_of_improvement",
    "seeds_needed",
    "smallest_difference",
    "stratified_resamples",
    "t_interval",
    "verdict",
]
