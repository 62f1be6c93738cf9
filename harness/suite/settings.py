"""Layers of settings: default < base < variant < profile < command line, each value with its origin.

A trial's configuration has three sections: `model`, `data`, `train`. Every layer says a part of it;
`Settings` puts the layers together and remembers which layer each value came from.

Where a layer changes `name`:
- in `model`, what lower layers said is forgotten: a width meant for one model means nothing for another;
- in `data`, it is kept where the new data set has a setting of that name: the sample rate and the
  length of a clip belong to the question, not to the source.

A layer may say a `preset`, which stands for the settings that it holds; what the layer says beside it
wins over them.
- ``model: {name: sashimi, preset: paper}`` is the published configuration: what lower layers said of the
  model is forgotten, as with another name;
- ``train: {preset: sashimi/paper}`` are the published settings of training, laid over what is there.
  They are never taken along with the model: models are compared under equal training unless a suite
  says otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness import configuration
from harness.errors import ConfigError, Path, PluginError, dotted

SECTIONS = ("model", "data", "train")
FIRST = {"name": 0, "preset": 1}
"""Settings of a layer that bring or drop others, and so come before them; in this order."""


@dataclass(frozen=True)
class Origin:
    """The layer that said a value, and where: a path into the suite file, or the option as typed."""

    layer: str
    document_path: Path | None = None
    option: str | None = None

    @property
    def place(self) -> str:
        """Of a value that stands in no suite file: ``--set train.steps=5``, ``tuned .../tuned.json``."""
        return f"{self.layer} {self.option}"

    def below(self, *keys: str | int) -> Origin:
        """The origin of a value inside the one that this origin said."""
        if self.document_path is None:
            return self
        return Origin(self.layer, (*self.document_path, *keys), self.option)


class Settings:
    """Nested settings of one trial, with the origin of every leaf."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {section: {} for section in SECTIONS}
        self.origins: dict[Path, Origin] = {}

    def copy(self) -> Settings:
        twin = Settings()
        twin.values = copy.deepcopy(self.values)
        twin.origins = dict(self.origins)
        return twin

    def merge(self, layer: Mapping[str, Any], origin: Origin) -> None:
        """Lay a mapping of sections over what is there.

        Raises: ConfigError for what is no section, or not a mapping.
        """
        for section, content in layer.items():
            if section not in SECTIONS:
                raise ConfigError((section,), f"unknown section {section!r}; known: {', '.join(SECTIONS)}")
            if isinstance(content, str) and section != "train":
                content = {"name": content}
            if not isinstance(content, Mapping):
                raise ConfigError((section,), f"expected a mapping, got {content!r}")
            for key in sorted(map(str, content), key=order):
                self.lay((section, key), content[key], origin.below(section, key))

    def lay(self, path: Path, value: Any, origin: Origin) -> None:
        """Set one value, or what a preset stands for; another model's name drops what was said of the last.

        Raises: ConfigError for an unknown preset, or a path through what is no mapping.
        """
        if path == ("model", "name"):
            if value != self.values["model"].get("name"):
                self._clear_model()
        elif path in (("model", "preset"), ("train", "preset")):
            self._expand_preset(str(path[0]), value, origin)
            return
        self.put(path, value, origin)

    def _expand_preset(self, section: str, value: Any, origin: Origin) -> None:
        model, preset = self.values["model"].get("name"), value
        if section == "train":
            model, slash, preset = str(value).partition("/")
            if not slash:
                raise ConfigError((section, "preset"), f"expected `model/preset`, got {value!r}")
        try:
            found = configuration.preset_of(model, preset)
        except (ConfigError, PluginError) as error:
            message = error.message if isinstance(error, ConfigError) else str(error)
            raise ConfigError((section, "preset"), message) from None
        if section == "model":
            name = self.origins.get(("model", "name"), origin)
            self._clear_model()
            self.put(("model", "name"), model, name)
        source = replace(origin, layer=f"preset {value}")
        for key, inner in (found.config if section == "model" else found.train).items():
            self.put((section, key), inner, source)

    def _clear_model(self) -> None:
        self.forget(("model",))
        self.values["model"] = {}

    def put(self, path: Path, value: Any, origin: Origin) -> None:
        """Set one value; a mapping is merged into a mapping of the same name.

        ``mixer.hidden`` laid over ``mixer: rg_lru`` gives ``mixer: {name: rg_lru, hidden: …}``.
        """
        parent: Any = self.values
        for depth, part in enumerate(path[:-1]):
            child = parent.get(part)
            if isinstance(child, str):
                child = {"name": child}
                parent[part] = child
            if child is None:
                child = parent[part] = {}
            if not isinstance(child, dict):
                raise ConfigError(path[: depth + 1], f"is {child!r}, it has no {dotted(path[depth + 1 :])!r}")
            parent = child
        present = parent.get(path[-1])
        if isinstance(value, Mapping) and isinstance(present, dict) and not _renames(value, present):
            for key, inner in value.items():
                self.put((*path, str(key)), inner, origin.below(str(key)))
            return
        self.forget(path)
        parent[path[-1]] = copy.deepcopy(value) if not isinstance(value, Mapping) else dict(value)
        self.origins[path] = origin

    def forget(self, prefix: Path) -> None:
        """Drop origins at and below a path whose value is being replaced."""
        for path in [p for p in self.origins if p[: len(prefix)] == prefix]:
            del self.origins[path]

    def origin(self, path: Path) -> tuple[Origin, Path] | None:
        """Who said the value at `path`, and the rest of the path below what they said."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]], path[end:]
        return None

    def drop_inherited(self, section: str, known: set[str]) -> None:
        """Drop settings that are not `known`, unless the layer that said `name` said them too.

        What that very layer says and the class does not know is a mistake, and worth an error.
        """
        name = self.origins.get((section, "name"))
        for key in [k for k in self.values[section] if k != "name" and k not in known]:
            own = self.origin((section, key))
            if name and own and own[0].layer != name.layer:
                del self.values[section][key]
                self.forget((section, key))


def order(setting: str) -> int:
    """Sorts the settings of one layer into the order in which they are to be laid."""
    return FIRST.get(setting, len(FIRST))


def _renames(value: Mapping[str, Any], present: Mapping[str, Any]) -> bool:
    return "name" in value and value["name"] != present.get("name")
