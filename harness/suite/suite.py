"""Reading a suite whole: file, profile and overrides in, ordered trials out, or one clear error."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import configuration, registry
from harness.errors import ConfigError, PluginError, did_you_mean
from harness.suite.expand import expand
from harness.suite.layers import Layers
from harness.suite.match import Match, asks_to_match, match_variants
from harness.suite.schema import SuiteConfig
from harness.suite.settings import Origin, Settings
from harness.suite.source import Document, SuiteError, read_document
from harness.suite.trial import Trial, canonical

DEFAULT_PROFILE = "default"


@dataclass(frozen=True)
class Variant:
    """A named configuration, without a seed."""

    name: str
    settings: Settings
    config: Mapping[str, Any]
    aliases: tuple[str, ...] = ()
    """Other names in the suite for the very same configuration."""
    match: Match | None = None
    """How its width was solved, where the suite asks for equal budgets."""
    tuned: Mapping[str, Any] | None = None
    """What its search has found, where the suite has a tuning stage that is over; JSON-ready."""


@dataclass(frozen=True)
class Suite:
    """A question, ready to run."""

    config: SuiteConfig
    profile: str
    document: Document
    variants: Sequence[Variant]
    plugin_files: tuple[str, ...]
    plugin_texts: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    layers: Layers | None = field(default=None, repr=False, compare=False)
    """Who said what: for laying more over a variant."""

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def trials(self) -> list[Trial]:
        """Variant by variant, seed by seed, in the order of the file."""
        seeds = self.config.seed_list
        return [
            trial
            for variant in self.variants
            for trial in Trial(
                variant.name, seeds[0], variant.config, self.plugin_files, self.plugin_texts
            ).seeds(seeds)
        ]

    @property
    def base(self) -> str:
        return self.variants[0].name


def load_suite(path: str | Path, *, profile: str | None = None, overrides: Sequence[str] = ()) -> Suite:
    """Read, check and expand a suite.

    `path` is a file, or the name of a suite that comes with the harness. `profile` None takes the
    suite's `gpu` profile where a GPU is at hand, its `laptop` profile elsewhere, or none if it has
    none. `overrides` are ``section.setting=value`` strings, as given to ``--set``.

    Raises: SuiteError, ConfigError, PluginError; the message says where.
    """
    document = read_document(find_suite(path))
    data = document.data
    if not isinstance(data, Mapping):
        raise document.error((), "a suite is a mapping with `name`, `base`, `vary`, …")
    plugin_files, plugin_texts = _load_plugins(document)
    chosen = _profile_name(document, profile)
    layers = Layers(document)
    if chosen != DEFAULT_PROFILE:
        layers.add_profile(chosen)
    for text in overrides:
        layers.add_override(text)
    try:
        config = configuration.parse(SuiteConfig, {k: v for k, v in layers.suite.items() if k != "plugins"})
        settings = expand(config)
        for each in settings.values():
            layers.lay_over(each)
        layers.check_used()
    except ConfigError as error:
        raise layers.located(error.path, error.message) from None
    plugins = {
        Path(file).name: hashlib.sha256(text.encode()).hexdigest()
        for file, text in zip(plugin_files, plugin_texts, strict=True)
    }
    resolved = {name: layers.resolve(name, each, config, plugins) for name, each in settings.items()}
    matches: Mapping[str, Match] = {}
    if asks_to_match(config):
        try:
            matches = match_variants(config, settings, resolved)
        except ConfigError as error:
            raise layers.located(error.path, error.message) from None
        for name in matches:
            resolved[name] = layers.resolve(name, settings[name], config, plugins)
    variants = _merge_equal(
        Variant(name, each, resolved[name], match=matches.get(name)) for name, each in settings.items()
    )
    return Suite(config, chosen, document, variants, plugin_files, plugin_texts, tuple(overrides), layers)


def laid_over(suite: Suite, variant: Variant, values: Mapping[str, Any], origin: Origin) -> Variant:
    """The variant with more said about it: ``{"train.learning_rate": 0.01}``, checked and resolved.

    Raises: SuiteError
    """
    assert suite.layers is not None
    settings = variant.settings.copy()
    for path, value in values.items():
        settings.lay(tuple(path.split(".")), value, origin.below(path))
    plugins = variant.config.get("plugins", {})
    config = suite.layers.resolve(variant.name, settings, suite.config, plugins)
    return dataclasses.replace(variant, settings=settings, config=config)


def find_suite(path: str | Path) -> Path:
    """A file as given, or ``<name>.yaml`` among the suites that come with the harness."""
    given = Path(path)
    if given.suffix in {".yaml", ".yml"} or given.exists():
        return given
    known = suite_files()
    if given.name in known and given.name == str(path):
        return known[given.name]
    raise SuiteError(
        f"no file and no suite of ours is called {str(path)!r}; {did_you_mean(str(path), known)}"
    )


def suite_files() -> dict[str, Path]:
    """name -> file of the suites that come with the harness: the checkout's, or the wheel's."""
    package = Path(__file__).parents[1]
    for folder in (package.parent / "suites", package / "suites"):
        files = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
        if files:
            return files
    return {}


def _merge_equal(found: Iterable[Variant]) -> list[Variant]:
    """Variants whose configurations are equal are one variant with aliases; the first name stays."""
    merged: dict[str, Variant] = {}
    for variant in found:
        identity = canonical(variant.config)
        if identity in merged:
            first = merged[identity]
            variant = dataclasses.replace(first, aliases=(*first.aliases, variant.name))
        merged[identity] = variant
    return list(merged.values())


def _load_plugins(document: Document) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files, loaded, and what stood in them."""
    plugins = document.data.get("plugins", [])
    if not isinstance(plugins, list) or not all(isinstance(p, str) for p in plugins):
        raise document.error(("plugins",), "plugins: expected a list of Python files")
    found: dict[Path, str] = {}
    for index, text in enumerate(plugins):
        file = (document.file.parent / text).resolve()
        if any(file.name == other.name and file != other for other in found):  # a key knows names alone
            raise document.error(("plugins", index), f"two plugins are called {file.name}; rename one")
        try:
            registry.load_plugin(file)
            found[file] = file.read_bytes().decode()
        except (PluginError, OSError) as error:
            raise document.error(("plugins", index), str(error)) from None
    return tuple(map(str, found)), tuple(found.values())


def _profile_name(document: Document, asked: str | None) -> str:
    profiles = document.data.get("profiles") or {}
    if not isinstance(profiles, Mapping):
        raise document.error(("profiles",), "profiles: expected a mapping of name to settings")
    if asked is None:
        wanted = "gpu" if _gpu_at_hand() else "laptop"
        return wanted if wanted in profiles else DEFAULT_PROFILE
    if asked not in profiles and asked != DEFAULT_PROFILE:
        raise SuiteError(
            f"{document.file} has no profile {asked!r}; {did_you_mean(asked, [*profiles, DEFAULT_PROFILE])}"
        )
    return asked


def _gpu_at_hand() -> bool:
    import torch

    return torch.cuda.is_available()
