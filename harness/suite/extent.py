"""How large a suite may be: what no machine could list is refused before it is expanded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.errors import ConfigError

if TYPE_CHECKING:
    from harness.suite.schema import SuiteConfig

MOST_TRIALS = 100_000
"""A plan of ten thousand takes seconds; a typing error asks for milliards."""

LARGEST_SEED = 2**63 - 1
"""What the tables keep as a whole number."""


def check_extent(suite: SuiteConfig) -> None:
    """Raises: ConfigError for more trials than `MOST_TRIALS`, or seeds that a table cannot hold."""
    seeds = suite.seeds if isinstance(suite.seeds, int) else len(suite.seeds)
    if seeds > MOST_TRIALS:
        raise ConfigError("seeds", f"asks for {seeds:,} seeds; a suite may have {MOST_TRIALS:,} trials")
    if not isinstance(suite.seeds, int) and max(suite.seeds, default=0) > LARGEST_SEED:
        raise ConfigError("seeds", f"must be at most {LARGEST_SEED}")
    product = math.prod(len(values) for values in suite.grid.values()) if suite.grid else 0
    factors = sum(len(values) for values in (suite.vary or {}).values())
    trials = (1 + factors + product + len(suite.variants)) * seeds
    if trials > MOST_TRIALS:
        where = "grid" if product > factors else "seeds"
        raise ConfigError(where, f"asks for {trials:,} trials; a suite may have {MOST_TRIALS:,}")
