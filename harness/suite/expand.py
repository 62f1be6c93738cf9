"""From a checked suite to its variants: base, one factor at a time, full product, named by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import ConfigError, did_you_mean
from harness.suite.schema import BASE, SuiteConfig
from harness.suite.settings import SECTIONS, Origin, Settings

ABOUT_A_VARIANT = frozenset({"extends", "match"})
"""What a variant says beside its settings."""


def expand(suite: SuiteConfig) -> dict[str, Settings]:
    """variant name -> its settings, in the order of the file.

    Raises: ConfigError whose path leads into the suite.
    """
    found = {BASE: _base(suite)}
    for name, settings in itertools.chain(_one_factor(suite, found[BASE]), _product(suite, found[BASE])):
        found.setdefault(name, settings)  # `vary` and `grid` may meet in one point
    for name in suite.variants:
        if name in found:
            raise ConfigError(("variants", name), f"the name {name!r} is taken by another variant")
        found[name] = _by_hand(suite, name, found[BASE])
    return found


def factor_path(path: str, where: str) -> tuple[str, ...]:
    """``"model.pooling"`` -> ``("model", "pooling")``; it must start with a section."""
    parts = tuple(path.split("."))
    if len(parts) < 2 or parts[0] not in SECTIONS or not all(parts):
        raise ConfigError(
            (where, path),
            f"{path!r} names no setting; write `section.setting` with one of {', '.join(SECTIONS)}",
        )
    return parts


def label(path: tuple[str, ...], value: Any) -> str:
    """``pooling=[4,4]``, ``mixer=attention(window=64)``, ``train.width`` -> ``width=…``."""
    return f"{path[-1] if path[-1] != 'name' else path[0]}={_short(value)}"


def _base(suite: SuiteConfig) -> Settings:
    settings = Settings()
    _merge(settings, suite.base, Origin("base", ("base",)), ("base",))
    return settings


def _one_factor(suite: SuiteConfig, base: Settings) -> Iterator[tuple[str, Settings]]:
    for text, values in (suite.vary or {}).items():
        path = factor_path(text, "vary")
        for index, value in enumerate(values):
            yield label(path, value), _with(base, path, value, ("vary", text, index), label(path, value))


def _product(suite: SuiteConfig, base: Settings) -> Iterator[tuple[str, Settings]]:
    if not suite.grid:
        return
    paths = {text: factor_path(text, "grid") for text in suite.grid}
    for chosen in itertools.product(*(range(len(values)) for values in suite.grid.values())):
        points = [
            (text, index, suite.grid[text][index]) for text, index in zip(suite.grid, chosen, strict=True)
        ]
        name = ",".join(label(paths[text], value) for text, _, value in points)
        settings = base
        for text, index, value in points:
            settings = _with(settings, paths[text], value, ("grid", text, index), name)
        yield name, settings


def lineage(suite: SuiteConfig, name: str) -> list[str]:
    """A variant named by hand, the one that it extends, and so on down to base, which is left out.

    Raises: ConfigError
    """
    chain = [name]
    while (parent := suite.variants[chain[-1]].get("extends")) is not None:
        if parent == BASE:
            break
        if not isinstance(parent, str):
            raise ConfigError(("variants", chain[-1], "extends"), "must be the name of a variant")
        if parent not in suite.variants:
            raise ConfigError(
                ("variants", chain[-1], "extends"),
                f"no variant is called {parent!r}; {did_you_mean(str(parent), suite.variants)}",
            )
        if parent in chain:
            circle = " -> ".join([*chain[chain.index(parent) :], parent])
            raise ConfigError(("variants", chain[-1], "extends"), f"goes round in a circle: {circle}")
        chain.append(parent)
    return chain


def _by_hand(suite: SuiteConfig, name: str, base: Settings) -> Settings:
    settings = base.copy()
    for link in reversed(lineage(suite, name)):
        said = suite.variants[link].items()
        layer = {key: value for key, value in said if key not in ABOUT_A_VARIANT}
        path = ("variants", link)
        _merge(settings, layer, Origin(f"variant {link}", path), path)
    return settings


def _with(
    settings: Settings, path: tuple[str, ...], value: Any, where: tuple[str | int, ...], name: str
) -> Settings:
    """A copy with one setting laid over it."""
    changed = settings.copy()
    origin = Origin(f"variant {name}", where)
    try:
        changed.lay(path, value, origin)
    except ConfigError as error:
        raise ConfigError(where, error.message) from None
    return changed


def _merge(settings: Settings, layer: Mapping[str, Any], origin: Origin, path: tuple[str, ...]) -> None:
    try:
        settings.merge(layer, origin)
    except ConfigError as error:
        raise error.under(*path) from None


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "name" in value:
        options = ",".join(f"{k}={_short(v)}" for k, v in value.items() if k != "name")
        return f"{value['name']}({options})" if options else str(value["name"])
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))
