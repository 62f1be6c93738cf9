"""Equal budgets: the width that gives a variant as many parameters, FLOPs or seconds as another.

    match: {by: parameters, to: base, tolerance: 0.03}
    variants:
      gru:    {model: gru, match: {field: hidden}}     # another setting is solved for
      markov: {model: markov, match: null}             # left alone

The solved width goes into the trial's configuration like one written by hand, so a key does not
know of the match. It wins over every other layer, a profile's or the command line's `model.width`
included: those change the base, and with it the budget.

Left alone, and said to be so, are models in closed form and variants of `vary` or `grid` whose width
is the very thing that varies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness import configuration, registry
from harness.errors import ConfigError, did_you_mean
from harness.errors import Path as KeyPath
from harness.suite.budget import budget_of
from harness.suite.expand import lineage
from harness.suite.schema import MatchConfig, SuiteConfig
from harness.suite.settings import Origin, Settings
from harness.suite.width_search import closest, search

TIMINGS = 12
"""Widths at which a training step is timed at most; a clock never agrees to the last digit."""

COUNTS = 64
"""Widths at which something is counted at most; five or six are enough, unless it grows in stairs."""


@dataclass(frozen=True)
class Match:
    """How one variant was matched, or why it was left alone."""

    by: str
    to: str
    field: str
    tolerance: float
    budget: float
    value: int | None = None
    """Of the field; None: left alone, and `remark` says why."""
    achieved: float | None = None
    remark: str = ""

    @property
    def difference(self) -> float | None:
        """As a fraction of the budget."""
        return None if self.achieved is None else self.achieved / self.budget - 1

    def plain(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "difference": self.difference}


def asks_to_match(suite: SuiteConfig) -> bool:
    return suite.match is not None or any("match" in variant for variant in suite.variants.values())


def match_variants(
    suite: SuiteConfig, settings: Mapping[str, Settings], configs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Match]:
    """Lay the solved widths over `settings`; what was done, by variant. `configs` are resolved.

    Raises: ConfigError whose path leads into the suite.
    """
    found = {}
    for name in settings:
        wanted, where = _wanted(suite, name)
        if wanted is None or wanted.to == name:
            continue
        _check_target(suite, wanted, where, configs)
        budget = budget_of(wanted.by, configs[wanted.to])
        if budget <= 0:
            raise ConfigError((*where, "to"), f"{wanted.to!r} has no {wanted.by} to match")
        match = Match(wanted.by, wanted.to, wanted.field, wanted.tolerance, budget)
        reason = _reason_to_leave(settings[name], configs[name], wanted)
        if reason:
            found[name] = dataclasses.replace(match, remark=reason)
            continue
        found[name] = _solved(match, name, where, configs)
        origin = Origin(f"match {wanted.by} of {wanted.to}", where)
        settings[name].put(("model", wanted.field), found[name].value, origin)
    return found


def _wanted(suite: SuiteConfig, name: str) -> tuple[MatchConfig | None, KeyPath]:
    """What the suite says of matching this variant, and where the last word of it stands."""
    wanted = suite.match
    where: KeyPath = ("match",)
    for link in reversed(lineage(suite, name)) if name in suite.variants else ():
        if "match" not in suite.variants[link]:
            continue
        where = ("variants", link, "match")
        said = suite.variants[link]["match"]
        if said is None:
            wanted = None
        elif not isinstance(said, Mapping):
            raise ConfigError(where, f"expected a mapping or null, got {said!r}")
        else:
            try:
                wanted = configuration.parse(MatchConfig, {**_plain(wanted), **said})
            except ConfigError as error:
                raise error.under(*where) from None
    return wanted, where


def _plain(wanted: MatchConfig | None) -> dict[str, Any]:
    return {} if wanted is None else dataclasses.asdict(wanted)


def _check_target(
    suite: SuiteConfig, wanted: MatchConfig, where: KeyPath, configs: Mapping[str, Any]
) -> None:
    if wanted.to not in configs:
        message = f"no variant is called {wanted.to!r}; {did_you_mean(wanted.to, configs)}"
        raise ConfigError((*where, "to"), message)
    other = _wanted(suite, wanted.to)[0]
    if other is not None and other.to != wanted.to:
        message = f"{wanted.to!r} is matched to {other.to!r} itself; match to {other.to!r}"
        raise ConfigError((*where, "to"), message)


def _reason_to_leave(settings: Settings, config: Mapping[str, Any], wanted: MatchConfig) -> str:
    if hasattr(registry.get("models", config["model"]["name"]), "fit"):
        return "closed form: nothing is trained"
    said = settings.origins.get(("model", wanted.field))
    if said is not None and (said.document_path or ("",))[0] in {"vary", "grid"}:
        return f"its {wanted.field} is what varies"
    return ""


def _solved(match: Match, name: str, where: KeyPath, configs: Mapping[str, Any]) -> Match:
    """Raises: ConfigError where no value of the field comes close enough."""
    config, field = configs[name], match.field
    start = config["model"].get(field)
    if not isinstance(start, int):
        what = "has no setting" if field not in config["model"] else f"has no single number ({start!r}) as"
        known = [key for key, value in config["model"].items() if type(value) is int]
        raise ConfigError(
            where,
            f"the model of variant {name!r}, {config['model']['name']!r}, {what} {field!r}; name another to "
            f"solve for in its `match: {{field: …}}` ({did_you_mean(field, known)}), or leave the variant "
            f"alone with `match: null`",
        )
    timed = match.by == "step_time"
    costs = search(
        lambda value: budget_of(match.by, _with(config, field, value)),
        partial(_accepted, config, field),
        start=start,
        budget=match.budget,
        enough=match.tolerance / 2 if timed else 0.0,
        limit=TIMINGS if timed else COUNTS,
    )
    best = closest(costs, match.budget)
    if not best:
        raise ConfigError(where, f"variant {name!r}: its model accepts no {field} at all near {start}")
    solved = dataclasses.replace(match, value=best[0], achieved=costs[best[0]])
    if abs(solved.difference or 0.0) > match.tolerance:
        near = ", ".join(f"{field} {v} ({costs[v] / match.budget - 1:+.1%})" for v in sorted(best[:2]))
        raise ConfigError(
            where,
            f"variant {name!r}: no {field} brings its {match.by} within {match.tolerance:.3g} of the "
            f"{match.budget:,.6g} of {match.to!r}; closest: {near}. Raise `tolerance`, change another "
            f"setting of its model, or leave it alone with `match: null`",
        )
    return solved


def _with(config: Mapping[str, Any], field: str, value: int) -> dict[str, Any]:
    return {**config, "model": {**config["model"], field: value}}


def _accepted(config: Mapping[str, Any], field: str, value: int) -> bool:
    """Does the model's configuration, with its data, allow this value?"""
    try:
        model = configuration.resolve("models", {**config["model"], field: value})
        data = configuration.resolve("datasets", config["data"]).config
        if hasattr(model.config, "check_data"):
            model.config.check_data(data.vocab_size, config["train"]["crop"] or data.length)
    except ConfigError:
        return False
    return True
