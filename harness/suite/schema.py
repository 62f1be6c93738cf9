"""What a suite file may say, and what a profile of it may say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from harness import registry
from harness.contracts import Component, Spec, require
from harness.errors import ConfigError, did_you_mean
from harness.suite.extent import check_extent
from harness.suite.resources import ResourcesConfig
from harness.suite.spending import BudgetConfig
from harness.suite.tune import TuneConfig

DEFAULT_MEASURE = ("nll", "efficiency", "generation")
DEFAULT_FIGURES: tuple[Spec, ...] = (
    {"name": "learning_curve", "x": "steps"},
    {"name": "learning_curve", "x": "seconds"},
    {"name": "pareto"},
    {"name": "forest"},
    {"name": "pooling_sweep"},
    {"name": "generalization"},
    {"name": "memory"},
)


TRAINING_COLUMNS = ("train_seconds", "skipped_updates")
"""What a summary can show that no metric measured."""

BASE = "base"
"""Name of the variant that `base` alone describes."""


@dataclass(frozen=True, kw_only=True)
class MatchConfig:
    """Give every variant the budget of one of them, by its width."""

    by: Literal["parameters", "flops", "step_time"] = "parameters"
    """flops: of a forward pass per token, at the training context. step_time: of a training step, as
    measured on this machine the first time a suite asks."""
    to: str = BASE
    """The variant whose budget the others get."""
    tolerance: float = 0.03
    """Largest difference, as a fraction of the budget."""
    field: str = "width"
    """The model's setting that is solved for."""

    def __post_init__(self) -> None:
        require(self.tolerance > 0, "tolerance", f"must be above 0, got {self.tolerance}")


@dataclass(frozen=True, kw_only=True)
class SuiteConfig:
    """One question: a base configuration, what varies, seeds, what is measured."""

    name: str
    question: str = ""
    plugins: tuple[str, ...] = ()
    """Python files, relative to the suite file, that register models, mixers, data sets, …"""
    base: dict[str, Any] = field(default_factory=dict)
    """Sections model, data, train."""
    vary: dict[str, list[Any]] | None = None
    """One factor at a time, against base: ``model.pooling: [[], [4], [4, 4]]``."""
    grid: dict[str, list[Any]] = field(default_factory=dict)
    """Full product of these, where asked for."""
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Named by hand; `extends` names another variant to start from (default: base), `match` says what is
    different in matching this one (null: it is left alone)."""
    match: MatchConfig | None = None
    """Every variant's width is solved for one budget; see `harness.suite.match`."""
    tune: TuneConfig | None = None
    """A search before the final stage; see `harness.tuning`. No part of a trial's key: its values are."""
    budget: BudgetConfig | None = None
    """A run that is expected to cost more is refused."""
    resources: ResourcesConfig | None = None
    """Several GPUs or processes for each trial. No part of a trial's key."""
    seeds: int | tuple[int, ...] = 3
    measure: Annotated[tuple[Spec, ...], Component("metrics")] = DEFAULT_MEASURE
    figures: Annotated[tuple[Spec, ...], Component("figures")] = DEFAULT_FIGURES
    track: Annotated[tuple[Spec, ...] | None, Component("trackers")] = None
    """Where else trials are logged; None: TensorBoard, where its writer is installed. No part of a key."""
    columns: tuple[str, ...] = ()
    """Of the summary that people read, in this order; none: the usual ones. No part of a trial's key."""
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", self.name) is not None,
            "name",
            f"names a folder: letters, digits, `_`, `-` and `.` only, got {self.name!r}",
        )
        require(
            self.vary is None or len(self.vary) > 0,
            "vary",
            "is empty: name a setting and its values (`model.pooling: [[4], [4, 4]]`), or leave it out",
        )
        for where, factors in (("vary", self.vary or {}), ("grid", self.grid)):
            for path, values in factors.items():
                require(len(values) > 0, where, f"{path!r} has no values to take")
        for name in self.variants:
            require(bool(name.strip()), "variants", "a variant needs a name")
        if self.tune is not None and (
            self.match is not None or any("match" in v for v in self.variants.values())
        ):
            for path in self.tune.over:
                if path.startswith("model."):
                    message = "would undo the equal budgets that `match` has solved; search `train` alone"
                    raise ConfigError(("tune", "over", path), message)
        check_extent(self)
        require(bool(self.seed_list), "seeds", "needs at least one seed")
        require(all(seed >= 0 for seed in self.seed_list), "seeds", "must not be negative")
        require(len(set(self.seed_list)) == len(self.seed_list), "seeds", "the same seed is given twice")
        names = [metric["name"] for metric in self.metrics]
        require(len(set(names)) == len(names), "measure", "the same metric is named twice")
        trackers = [tracker["name"] for tracker in self.trackers]
        require(len(set(trackers)) == len(trackers), "track", "the same tracker is named twice")
        require(len(set(self.columns)) == len(self.columns), "columns", "the same column is named twice")
        if self.columns:
            self._check_columns(names)

    def _check_columns(self, metrics: Sequence[str]) -> None:
        known = {*TRAINING_COLUMNS}
        for metric in {*metrics} & {*registry.names("metrics")}:  # an unknown one is refused elsewhere
            known |= {*registry.get("metrics", metric).columns}
        for index, name in enumerate(self.columns):
            if name not in known:
                raise ConfigError(
                    ("columns", index), f"nothing measures {name!r}; {did_you_mean(name, known)}"
                )

    @property
    def seed_list(self) -> tuple[int, ...]:
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def figure_specs(self) -> Sequence[Mapping[str, Any]]:
        """The figures in their resolved form."""
        figures = [f if isinstance(f, Mapping) else {"name": f} for f in self.figures]
        if self.tune is not None and not any(figure["name"] == "tuning" for figure in figures):
            figures.append({"name": "tuning"})  # a search is shown with what it led to
        return figures

    @property
    def trackers(self) -> Sequence[Mapping[str, Any]]:
        """The trackers in their resolved form."""
        if self.track is None:
            return [{"name": "tensorboard"}] if find_spec("tensorboardX") is not None else []
        return [t if isinstance(t, Mapping) else {"name": t} for t in self.track]

    @property
    def metrics(self) -> Sequence[Mapping[str, Any]]:
        """The metrics in their resolved form."""
        return [m if isinstance(m, Mapping) else {"name": m} for m in self.measure]


MERGED = frozenset({"base", "variants", "match", "tune", "budget", "resources"})
SUITE_LEVEL = frozenset(
    {*MERGED, "vary", "grid", "seeds", "measure", "figures", "track", "columns", "question"}
)
"""What a profile or `--set` may replace in the suite itself; `MERGED` are merged setting by setting."""
