"""What a run is expected to cost, against what its suite allows.

The expectation is the plan's: FLOPs of what is to do, at the median speed of this store's finished trials,
or at a constant where there is none. What the tuning stage may cost at most is part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.execution.places import device_of
from harness.execution.plan import Plan
from harness.execution.run_suite import RunOptions, plan_suite, results_folder
from harness.tuning.forecast import SearchCost, search_cost
from harness.tuning.stage import look_up, tuned

if TYPE_CHECKING:
    from harness.suite.spending import BudgetConfig
    from harness.suite.suite import Suite

SHRINK = {
    "trials": "fewer seeds or variants",
    "hours": "fewer seeds, variants, search trials or train.steps, more --slots, or a part at a time "
    "with --max-hours",
    "gpu_hours": "fewer seeds, variants, search trials or train.steps",
}


def keep_to_budget(suite: Suite, options: RunOptions) -> None:
    """Raises: HarnessError for a run that is expected to cost more than its suite's `budget`."""
    if suite.config.budget is None:
        return
    tuning = look_up(suite, results_folder(suite, options.results))
    plan = plan_suite(tuned(suite, tuning), options)
    gpu = device_of(options).startswith("cuda")
    if over := over_budget(suite.config.budget, plan, search_cost(tuning, plan), gpu=gpu, options=options):
        raise HarnessError(f"{suite.name} is over its budget: {'; '.join(over)}; or raise `budget`")


def over_budget(
    budget: BudgetConfig, plan: Plan, searching: SearchCost, *, gpu: bool, options: RunOptions
) -> list[str]:
    """What is too much, by how much, and what makes it less."""
    hours = (plan.seconds + searching.seconds) / 3600
    slot_seconds = plan.seconds * plan.slots + searching.slot_seconds
    gpu_hours = slot_seconds * plan.workers / 3600 if gpu else 0.0
    if options.until is not None:
        hours = gpu_hours = 0.0  # the run ends by the clock
    expected = {"trials": float(len(plan.trials)), "hours": hours, "gpu_hours": gpu_hours}
    found = []
    for name, amount in expected.items():
        allowed = getattr(budget, name)
        if allowed is not None and amount > allowed:
            about = "" if name == "trials" else "about "
            found.append(
                f"{name}: {about}{amount:.3g} expected, {allowed:g} allowed, "
                f"{amount - allowed:.3g} too many ({SHRINK[name]})"
            )
    return found
