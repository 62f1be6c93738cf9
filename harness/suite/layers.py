"""The suite with a profile and the command line laid over it, remembering who said what."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from harness import configuration, registry
from harness.errors import ConfigError, PluginError, did_you_mean, dotted
from harness.errors import Path as KeyPath
from harness.suite.schema import BASE, MERGED, SUITE_LEVEL, SuiteConfig
from harness.suite.settings import SECTIONS, Origin, Settings, order
from harness.suite.source import Document, SuiteError, read_scalar
from harness.training.config import TrainConfig


class Layers:
    """The suite with a profile and overrides laid over it, remembering who said what."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.suite: dict[str, Any] = copy.deepcopy(dict(document.data))
        self.profiles = self.suite.get("profiles")
        self.suite.pop("profiles", None)
        self.moved: dict[KeyPath, Origin] = {}  # path in the merged suite -> who said it
        self.over: list[tuple[KeyPath, Any, Origin]] = []  # laid over every trial, in this order
        self.used: set[int] = set()

    def add_profile(self, name: str) -> None:
        content = self.document.data["profiles"][name]
        where = ("profiles", name)
        if not isinstance(content, Mapping):
            raise self.document.error(where, "a profile is a mapping")
        for key, value in content.items():
            origin = Origin(f"profile {name}", (*where, key))
            if key in SECTIONS:
                if not isinstance(value, Mapping):
                    raise self.document.error((*where, key), f"expected a mapping, got {value!r}")
                for setting, inner in sorted(value.items(), key=lambda said: order(str(said[0]))):
                    place = Origin(origin.layer, (*where, key, setting))
                    self.over.append(((key, str(setting)), inner, place))
            elif key in SUITE_LEVEL:
                self._replace((key,), value, origin)
            else:
                known = [*SECTIONS, *sorted(SUITE_LEVEL)]
                raise self.document.error((*where, key), f"unknown in a profile; {did_you_mean(key, known)}")

    def add_override(self, text: str) -> None:
        path, separator, value = text.partition("=")
        parts = tuple(path.strip().split("."))
        if not separator or not all(parts):
            raise SuiteError(f"--set {text}: expected `section.setting=value`")
        try:
            parsed = read_scalar(value)
        except SuiteError as error:
            raise SuiteError(f"--set {text}: {error}") from None
        origin = Origin("--set", option=text)
        if parts[0] in SECTIONS and len(parts) > 1:
            self.over.append((parts, parsed, origin))
        elif parts[0] in SUITE_LEVEL:
            self._replace(parts, parsed, origin)
        else:
            known = [*SECTIONS, *sorted(SUITE_LEVEL)]
            raise SuiteError(f"--set {text}: no setting {path!r}; {did_you_mean(parts[0], known)}")

    def option_says(self, path: KeyPath) -> bool:
        """Whether the command line says the setting at `path`, something in it, or all that it is in."""
        return any(
            origin.option is not None and said[: len(path)] == path[: len(said)]
            for said, _, origin in self.over
        )

    def _replace(self, path: KeyPath, value: Any, origin: Origin) -> None:
        """Replace a value of the suite, or merge it setting by setting."""
        merges = path[0] in MERGED and isinstance(value, Mapping) and len(path) < 4
        if merges and value:
            for key, inner in value.items():
                self._replace((*path, key), inner, origin.below(key))
            return
        parent: Any = self.suite
        for depth, part in enumerate(path[:-1]):
            if parent.get(part) is None:
                parent[part] = {}
            parent = parent[part]
            if not isinstance(parent, dict):
                raise self._at(origin, f"{dotted(path[: depth + 1])} is no mapping")
        parent[path[-1]] = copy.deepcopy(value)
        self.moved[path] = origin

    def lay_over(self, settings: Settings) -> None:
        """Put the profile's and the command line's settings over one variant.

        A setting of `model` is laid over those models that have it, a preset over those that have one
        of that name; `check_used` refuses one that none has.
        """
        in_order = sorted(
            enumerate(self.over), key=lambda each: (each[1][2].option is not None, order(str(each[1][0][1])))
        )
        for number, (path, value, origin) in in_order:
            model = settings.values["model"].get("name")
            if path[0] == "model" and not has_setting(model, str(path[1]), value):
                continue
            self.used.add(number)
            try:
                settings.lay(path, value, origin)
            except ConfigError as error:
                raise self._at(origin, error.message) from None

    def check_used(self) -> None:
        for number, (path, value, origin) in enumerate(self.over):
            if number not in self.used:
                what = f"preset {value!r}" if path[1] == "preset" else f"setting {path[1]!r}"
                raise self._at(origin, f"no model of this suite has a {what}")

    def resolve(
        self, name: str, settings: Settings, suite: SuiteConfig, plugins: Mapping[str, str]
    ) -> dict[str, Any]:
        """The complete configuration of one variant: every default filled in, everything checked."""
        try:
            data_name = settings.values["data"].get("name")
            if isinstance(data_name, str):
                settings.drop_inherited("data", _fields("datasets", data_name))
            model = _section(configuration.resolve, "models", settings, "model")
            data = _section(configuration.resolve, "datasets", settings, "data")
            train = _section(configuration.parse, TrainConfig, settings, "train")
            _check_together(model, data.config, train)
        except ConfigError as error:
            raise self._blame(name, settings, error) from None
        except PluginError as error:
            raise self._blame(name, settings, ConfigError(("model",), str(error))) from None
        config = {
            "model": model.plain(),
            "data": data.plain(),
            "train": configuration.plain(train),
            "measure": list(suite.metrics),
        }
        return {**config, "plugins": dict(plugins)} if plugins else config

    def located(self, path: KeyPath, message: str) -> SuiteError:
        """An error about the suite itself, placed in the file or in an override."""
        moved = self._moved_to(path)
        if moved is not None:
            return self._at(moved, message, path)
        return self.document.error(path, f"{dotted(path)}: {message}" if path else message)

    def _blame(self, name: str, settings: Settings, error: ConfigError) -> SuiteError:
        """An error in a trial's configuration, placed where the value was said."""
        said = settings.origin(error.path)
        text = f"{dotted(error.path)}: {error.message}"
        if name != BASE:
            text += f" (in variant {name!r})"
        if said is None:  # a default, or something missing: point at the layer that named the class
            said = settings.origin((error.path[0], "name")) if error.path else None
        if said is None:
            return self.document.error(("base", *error.path), text)
        origin, rest = said
        if origin.document_path is not None:
            inner = (*origin.document_path, *rest)
            moved = self._moved_to(inner)
            return self._at(moved, text) if moved else self.document.error(inner, text)
        return self._at(origin, text)

    def _moved_to(self, path: KeyPath) -> Origin | None:
        for end in range(len(path), 0, -1):
            if path[:end] in self.moved:
                return self.moved[path[:end]].below(*path[end:])
        return None

    def _at(self, origin: Origin, message: str, path: KeyPath = ()) -> SuiteError:
        text = f"{dotted(path)}: {message}" if path else message
        if origin.document_path is not None:
            return self.document.error(origin.document_path, text)
        return SuiteError(f"{origin.place}: {text}")


def _section(read: Callable[[Any, Any], Any], what: Any, settings: Settings, section: str) -> Any:
    try:
        return read(what, settings.values[section])
    except ConfigError as error:
        raise error.under(section) from None


def _check_together(model: Any, data: Any, train: TrainConfig) -> None:
    """Settings that are each fine and cannot work together."""
    if train.crop is not None and train.crop > data.length:
        raise ConfigError(("train", "crop"), f"is longer than a clip, which has {data.length} tokens")
    check = getattr(model.config, "check_data", None)
    if check is not None:
        try:
            check(data.vocab_size, train.crop or data.length)
        except ConfigError as error:
            raise error.under("model") from None


def has_setting(model: Any, setting: str, value: Any) -> bool:
    """Does a setting that is laid over all models concern this one?"""
    if setting == "name":
        return True
    if not isinstance(model, str):
        return False
    if setting == "preset":
        try:
            return isinstance(value, str) and value in getattr(registry.get("models", model), "presets", {})
        except ConfigError:
            return False
    return setting in _fields("models", model)


def _fields(kind: str, name: str) -> set[str]:
    try:
        return {field.name for field in dataclasses.fields(registry.get(kind, name).Config)}
    except ConfigError:
        return set()  # an unknown name gets its own error when it is resolved
