"""From a plain mapping to a checked, frozen configuration of a registered class, and back.

Types are checked by pydantic against the dataclass's annotations, strictly: no string becomes a
number. Nested components (``mixer: rg_lru``) are resolved with all their defaults, so that the
plain form of a configuration says everything that a run depends on.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from harness import registry
from harness.contracts import Component, Preset
from harness.errors import ConfigError, did_you_mean


class Resolved(NamedTuple):
    """A registered class with a configuration for it."""

    name: str
    cls: Any
    config: Any

    def plain(self) -> dict[str, Any]:
        """JSON-ready, complete: the name and every field."""
        return {"name": self.name, **plain(self.config)}


def resolve(kind: str, spec: Any) -> Resolved:
    """``"rg_lru"`` or ``{"name": "rg_lru", "hidden": 64}`` -> class and checked configuration.

    ``{"name": "sashimi", "preset": "paper", "width": 32}``: fields beside a preset win over it.
    Raises: ConfigError whose path is relative to `spec`; PluginError.
    """
    options = {"name": spec} if isinstance(spec, str) else spec
    if not isinstance(options, Mapping):
        raise ConfigError((), f"expected a name or a mapping with `name`, got {spec!r}")
    name = options.get("name")
    if not isinstance(name, str):
        raise ConfigError("name", f"a {kind[:-1]} needs a name; known: {_known(kind)}")
    cls = registry.get(kind, name)
    if kind == "models" and "preset" in options:
        options = {**preset_of(name, options["preset"]).config, **options}
        del options["preset"]
    return Resolved(name, cls, parse(cls.Config, {k: v for k, v in options.items() if k != "name"}))


def preset_of(model: str, preset: Any) -> Preset:
    """A published configuration of a registered model.

    Raises: ConfigError for an unknown model or preset, PluginError.
    """
    known = getattr(registry.get("models", model), "presets", {})
    if not isinstance(preset, str) or preset not in known:
        message = f"the model {model!r} has no preset {preset!r}; {did_you_mean(str(preset), known)}"
        raise ConfigError("preset", message)
    return known[preset]


def build(kind: str, spec: Any, **context: Any) -> Any:
    """Resolve and construct: ``build("mixers", "rg_lru", width=64, stride=1)``."""
    found = resolve(kind, spec)
    return found.cls(found.config, **context)


def parse(config_class: type, options: Mapping[str, Any]) -> Any:
    """A checked instance of a frozen dataclass.

    Raises: ConfigError with the path of the offending value: unknown key (with the nearest known
    one), wrong type, or whatever the class's own `__post_init__` refuses.
    """
    from pydantic import ValidationError

    _refuse_unknown(options, {f.name for f in dataclasses.fields(config_class)})
    _refuse_what_is_not_plain(options)
    options = {**options, **_resolved_components(config_class, options)}
    try:
        config = _adapter(config_class).validate_json(json.dumps(options), strict=True)
    except ValidationError as error:
        raise _translated(error, options) from None
    _refuse_unknown_inside(config, options)
    return config


def plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON-ready values (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _refuse_what_is_not_plain(value: Any, path: tuple[str | int, ...] = ()) -> None:
    """YAML can say more than JSON: dates, sets, infinity. A record could not repeat it."""
    if isinstance(value, Mapping | list | tuple):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            _refuse_what_is_not_plain(item, (*path, key))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(path, f"should be a finite number, got {value!r}")
    elif not isinstance(value, str | int | float | None):
        raise ConfigError(path, f"should be text, a number, a list or a mapping, got {value!r}")


def _refuse_unknown_inside(config: Any, options: Mapping[str, Any]) -> None:
    """Unknown settings of dataclasses inside `config`, which pydantic would drop without a word."""
    for field in dataclasses.fields(config):
        inner, given = getattr(config, field.name), options.get(field.name)
        if dataclasses.is_dataclass(inner) and isinstance(given, Mapping):
            try:
                _refuse_unknown(given, {f.name for f in dataclasses.fields(inner)})
                _refuse_unknown_inside(inner, given)
            except ConfigError as error:
                raise error.under(field.name) from None


def _refuse_unknown(options: Mapping[str, Any], known: set[str]) -> None:
    for key in options:
        if key not in known:
            raise ConfigError((str(key),), f"unknown setting {str(key)!r}; {did_you_mean(str(key), known)}")


def _known(kind: str) -> str:
    return ", ".join(registry.names(kind))


@cache
def _adapter(config_class: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(config_class)


@cache
def _components(config_class: type) -> dict[str, str]:
    """field name -> registry kind, of fields annotated with Component."""
    found = {}
    for name, hint in typing.get_type_hints(config_class, include_extras=True).items():
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, Component):
                found[name] = extra.kind
    return found


def _resolved_components(config_class: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The component fields of a configuration, defaults included, in their complete form.

    A mapping without a name refines the default: ``mixer: {hidden: 64}``.
    """
    found: dict[str, Any] = {}
    kinds = _components(config_class)
    for field in dataclasses.fields(config_class):
        if field.name not in kinds:
            continue
        default = None if field.default is dataclasses.MISSING else field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        value = options.get(field.name, default)
        if isinstance(value, Mapping) and "name" not in value and isinstance(default, str):
            value = {"name": default, **value}
        if value is not None:
            found[field.name] = _component(kinds[field.name], value, (field.name,))
    return found


def _component(kind: str, spec: Any, path: tuple[str | int, ...]) -> Any:
    """The complete form of a Spec, or of each in a list of them, to any depth."""
    if isinstance(spec, list | tuple):
        return [_component(kind, item, (*path, index)) for index, item in enumerate(spec)]
    try:
        return resolve(kind, spec).plain()
    except ConfigError as error:
        # `mixer: rg_lruu` has no `name` key to point at.
        raise (ConfigError(path, error.message) if isinstance(spec, str) else error.under(*path)) from None


def _translated(error: Any, options: Mapping[str, Any]) -> ConfigError:
    """The complaint of pydantic that reaches deepest into the user's own keys, in our words."""
    complaints = [(_user_path(e["loc"], options), e) for e in error.errors()]
    path, deepest = max(complaints, key=lambda complaint: len(complaint[0]))
    cause = deepest.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return cause.under(*path)
    if deepest["type"] == "missing":
        return ConfigError(deepest["loc"], "is required")
    value: Any = options
    for part in path:
        value = value[part]
    text = deepest["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    return ConfigError(path, f"{text}, got {value!r}")


def _user_path(loc: tuple[str | int, ...], options: Mapping[str, Any]) -> tuple[str | int, ...]:
    """pydantic puts the names of union members into the path; keep the user's own keys."""
    path: list[str | int] = []
    value: Any = options
    for part in loc:
        in_mapping = isinstance(value, Mapping) and part in value
        in_list = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        if in_mapping or in_list:
            path.append(part)
            value = value[part]
    return tuple(path)
