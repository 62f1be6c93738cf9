"""What a run would do, known before it does it: sizes, costs, and what is already there."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from statistics import median
from typing import Any, Literal, NamedTuple

from harness import configuration
from harness.contracts import ClosedForm
from harness.errors import HarnessError
from harness.store.record import LANES, Record
from harness.store.store import Store
from harness.suite.suite import Suite
from harness.suite.trial import Trial, canonical

log = logging.getLogger("harness")

State = Literal["cached", "to measure", "to run", "failed", "damaged"]

DEFAULT_FLOPS_PER_SECOND = 2.0e10
"""Of one CPU thread training small models; only used until the suite has a finished trial."""

OVERHEAD_SECONDS = 4.0
"""Evaluation and measurement beside training, until a finished trial tells better."""


@dataclass(frozen=True)
class VariantCost:
    """Sizes of one variant, from its configuration alone."""

    parameters: int | None
    flops_per_token: float | None
    """Forward pass, at the context length that it trains with. None, as the parameters, of a model
    that cannot be built or run: its trials will say why."""
    train_tokens: int


@dataclass(frozen=True)
class PlannedTrial:
    """One line of `harness plan`."""

    trial: Trial
    state: State
    cost: VariantCost
    estimated_seconds: float
    detail: str = ""


@dataclass(frozen=True)
class Plan:
    """Every trial of a suite, in order."""

    suite: Suite
    trials: Sequence[PlannedTrial]
    slots: int
    workers: int = 1
    """Processes that train each trial together."""
    speed: Mapping[str, float] = field(default_factory=dict)
    """Training FLOPs per second and process by variant, as finished trials had it; "" for all together."""

    def to_run(self) -> list[PlannedTrial]:
        return [planned for planned in self.trials if planned.state != "cached"]

    @property
    def seconds(self) -> float:
        """Estimated wall-clock of what is left to do."""
        return sum(planned.estimated_seconds for planned in self.to_run()) / self.slots

    def plain(self) -> dict[str, Any]:
        """JSON-ready: the resolved question and every trial."""
        return {
            "name": self.suite.name,
            "question": self.suite.config.question,
            "profile": self.suite.profile,
            "overrides": list(self.suite.overrides),
            "base": self.suite.base,
            "seeds": list(self.suite.config.seed_list),
            "figures": [dict(figure) for figure in self.suite.config.figure_specs],
            "columns": list(self.suite.config.columns),
            "plugin_files": list(self.suite.plugin_files),
            "variants": [
                {
                    "name": v.name,
                    "aliases": list(v.aliases),
                    "config": v.config,
                    "match": None if v.match is None else v.match.plain(),
                    "tuned": v.tuned,
                }
                for v in self.suite.variants
            ],
            "trials": [
                {
                    "variant": planned.trial.variant,
                    "seed": planned.trial.seed,
                    "key": planned.trial.key,
                    "state": planned.state,
                    "detail": planned.detail,
                    "estimated_seconds": round(planned.estimated_seconds, 1),
                    **asdict(planned.cost),
                }
                for planned in self.trials
            ],
            "workers": self.workers,
            "estimated_seconds": round(self.seconds, 1),
        }


def make_plan(suite: Suite, store: Store, *, slots: int = 1, workers: int = 1) -> Plan:
    """Look up every trial and estimate what is missing. Trains nothing, writes nothing."""
    costs = {variant.name: cost_of(variant.config) for variant in suite.variants}
    return _look_up(suite, suite.trials, costs, store, slots, workers)


def looked_up_again(plan: Plan, store: Store) -> Plan:
    """The same plan with the states of now: after waiting for a run that has done some of it."""
    trials = [planned.trial for planned in plan.trials]
    costs = {planned.trial.variant: planned.cost for planned in plan.trials}
    return _look_up(plan.suite, trials, costs, store, plan.slots, plan.workers)


def _look_up(
    suite: Suite,
    trials: Sequence[Trial],
    costs: Mapping[str, VariantCost],
    store: Store,
    slots: int,
    workers: int,
) -> Plan:
    states = [_state(store, trial) for trial in trials]
    speed = _measured_speed(
        costs, [(trial, record) for trial, (_, _, record) in zip(trials, states, strict=True)]
    )
    planned = []
    for trial, (state, detail, _) in zip(trials, states, strict=True):
        cost = costs[trial.variant]
        seconds = _estimate(cost, state, speed, trial.variant, workers)
        planned.append(PlannedTrial(trial, state, cost, seconds, detail))
    return Plan(suite, planned, slots, workers, speed)


def cost_of(config: Mapping[str, Any]) -> VariantCost:
    """Build the model, a large one without memory for its weights, and count."""
    data = configuration.resolve("datasets", config["data"]).config
    train = config["train"]
    context = train["crop"] or data.length
    tokens = train["steps"] * train["batch_size"] * context
    cls = configuration.resolve("models", config["model"]).cls
    counts = _counts_of(cls, canonical(config["model"]), data.vocab_size, context)
    if counts.failure:
        log.warning("%s fails as it is counted (%s)", config["model"]["name"], counts.failure)
    return VariantCost(counts.parameters, counts.flops_per_token, 0 if counts.closed_form else tokens)


class _Counts(NamedTuple):
    parameters: int | None
    flops_per_token: float | None
    closed_form: bool = False
    failure: str = ""


@cache
def _counts_of(cls: type, model: str, vocab_size: int, context: int) -> _Counts:
    """Once for all variants, and for a search, that train the same model otherwise.

    `model` is its JSON; `cls` tells two plugins' models of one name apart.
    """
    from harness.evaluation.flops import build_to_count, count_parameters, flops_per_token

    parameters = None
    try:
        built = build_to_count(json.loads(model), vocab_size=vocab_size)
        parameters = count_parameters(built)
        return _Counts(parameters, flops_per_token(built, context), isinstance(built, ClosedForm))
    except HarnessError:
        raise
    except Exception as error:
        return _Counts(parameters, None, failure=f"{type(error).__name__}: {error}")


def _state(store: Store, trial: Trial) -> tuple[State, str, Record | None]:
    try:
        record = store.record(trial)
    except HarnessError as error:
        return "damaged", str(error), None
    if record is None:
        return "to run", "", None
    if record.status == "diverged" or record.finished:
        return "cached", record.error, record  # divergence repeats: running again would not help
    if record.status == "ok":
        return "to measure", "", record
    return "failed", record.error, record


def _measured_speed(
    costs: Mapping[str, VariantCost], records: Sequence[tuple[Trial, Record | None]]
) -> dict[str, float]:
    """Training FLOPs per second and process by variant, the median of finished ones; "" for all together."""
    rates: dict[str, list[float]] = {}
    for trial, record in records:
        if record is None or not record.columns.get("train_seconds"):
            continue
        if flops := _training_flops(costs[trial.variant]):
            for name in (trial.variant, ""):
                seconds = record.columns["train_seconds"] * record.columns.get("workers", 1)
                rates.setdefault(name, []).append(flops / seconds)
    return {name: median(found) for name, found in rates.items()}


def _estimate(
    cost: VariantCost, state: State, speed: Mapping[str, float], variant: str, workers: int
) -> float:
    if state == "cached":
        return 0.0
    if state == "to measure":
        return OVERHEAD_SECONDS
    return seconds_of(cost, speed, variant, workers)


def seconds_of(cost: VariantCost, speed: Mapping[str, float], variant: str, workers: int = 1) -> float:
    """What a whole trial may take, at the speed of its variant or else of all, times its processes."""
    rate = workers * (speed.get(variant) or speed.get("", DEFAULT_FLOPS_PER_SECOND))
    return _training_flops(cost) / rate + OVERHEAD_SECONDS


def _training_flops(cost: VariantCost) -> float:
    """Forward and backward: three times the forward pass."""
    return 3.0 * (cost.flops_per_token or 0.0) * cost.train_tokens


def missing_lanes(store: Store, trial: Trial) -> list[str]:
    """Lanes still to run for a trial, in order. What was trained well is not trained again because
    measuring it failed, as long as its weights are there."""
    try:
        record = store.record(trial)
    except HarnessError:
        return list(LANES)
    if record is None:
        return list(LANES)
    if record.status == "diverged" or record.finished:
        return []
    trained = (store.trial_folder(trial) / "checkpoint.safetensors").is_file()
    return [lane for lane in LANES if record.lacks(lane)] if trained else list(LANES)
