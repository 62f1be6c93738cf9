"""What a suite's tuning stage is to do: for each variant a search, a list of short trainings.

A search trial is a trial as any other, with a key of its own: the variant's configuration, the drawn
settings, `max_steps` updates, nothing measured but the learning curve. The test split is never read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness import configuration, registry
from harness.contracts import ClosedForm
from harness.errors import ConfigError
from harness.suite.layers import has_setting
from harness.suite.settings import Origin
from harness.suite.suite import Suite, Variant, laid_over
from harness.suite.trial import PROTOCOL_VERSION, Trial, canonical
from harness.suite.tune import TuneConfig, draws

SEARCH_VERSION = 1
"""Raised when the same search would find something else: rules of stopping, how the best is chosen."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """The search of one variant."""

    variant: Variant
    tune: TuneConfig
    over: Mapping[str, Mapping[str, Any]]
    """Of what the suite names, the settings that this variant has and the command line does not say."""
    trials: Sequence[Trial]
    values: Sequence[Mapping[str, Any]]
    """What each trial tries. Where optuna draws, only an example of it."""

    @property
    def key(self) -> str:
        """sha256 of all that the outcome depends on; equal searches are not run twice."""
        rules = {name: said for name, said in asdict(self.tune).items() if name != "over"}
        identity = {
            "search": SEARCH_VERSION,
            "protocol": PROTOCOL_VERSION,
            "rules": rules,
            "over": self.over,
            "trials": [trial.key for trial in self.trials],
        }
        return hashlib.sha256(canonical(identity).encode()).hexdigest()

    @property
    def steps(self) -> int:
        """Updates of a search trial that runs to its end."""
        return int(self.trials[0].config["train"]["steps"])

    @property
    def grace_steps(self) -> int:
        """Before which none is stopped; not before the first point of the learning curve."""
        asked = self.tune.grace_steps or 1
        return min(max(asked, int(self.trials[0].config["train"]["validate_every"])), self.steps)


def searches(suite: Suite) -> list[Search]:
    """One for each variant that has something to search, in the order of the suite.

    A model in closed form has nothing, as it is not trained by steps.
    Raises: SuiteError for a setting that no variant has, or a draw that a model refuses.
    """
    tune, layers = suite.config.tune, suite.layers
    if tune is None or layers is None:
        return []
    open_ = {p: drawn for p, drawn in tune.over.items() if not layers.option_says(tuple(p.split(".")))}
    found = []
    used: set[str] = set()
    for variant in suite.variants:
        model = variant.config["model"]["name"]
        over = {path: drawn for path, drawn in open_.items() if _concerns(path, model)}
        used |= {*over}
        if over and not issubclass(registry.get("models", model), ClosedForm):
            found.append(_search(suite, variant, tune, over))
    for path in open_:
        if path not in used:
            message = f"no model of this suite has a setting {path.partition('.')[2]!r}"
            raise layers.located(("tune", "over", path), message)
    return found


def with_values(trial: Trial, values: Mapping[str, Any]) -> Trial:
    """The same search trial with other values: for draws that are made only as the search goes.

    Raises: ConfigError
    """
    config = dict(trial.config)
    for path, value in values.items():
        section, *inner = path.split(".")
        config[section] = _with(config[section], inner, value)
    config["model"] = configuration.resolve("models", config["model"]).plain()
    return Trial(trial.variant, trial.seed, config, trial.plugin_files, trial.plugin_texts)


def _search(
    suite: Suite, variant: Variant, tune: TuneConfig, over: Mapping[str, Mapping[str, Any]]
) -> Search:
    values = draws(tune, over)
    origin = Origin("tune", ("tune", "over"))
    trials = []
    for drawn in values:
        config = dict(laid_over(suite, variant, drawn, origin).config)
        steps = config["train"]["steps"]
        config["train"] = {**config["train"], "steps": min(steps, tune.max_steps or steps)}
        config["measure"] = []
        trials.append(Trial(variant.name, tune.seed, config, suite.plugin_files, suite.plugin_texts))
    return Search(variant=variant, tune=tune, over=over, trials=trials, values=values)


def _concerns(path: str, model: str) -> bool:
    section, setting = path.split(".")[:2]
    return section == "train" or has_setting(model, setting, None)


def _with(settings: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy with the value at `path` replaced."""
    first, *rest = path
    if not rest:
        return {**settings, first: value}
    inner = settings.get(first)
    if not isinstance(inner, Mapping):
        raise ConfigError(tuple(path), f"{first} is {inner!r}, it has no setting {rest[0]!r}")
    return {**settings, first: _with(inner, rest, value)}
