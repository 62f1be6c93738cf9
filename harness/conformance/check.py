"""Put whatever is registered before its laws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from harness import configuration, registry
from harness.conformance.laws import FIT_LAWS, MIXER_LAWS, MODEL_LAWS, construction
from harness.conformance.subjects import MixerSubject, ModelSubject, Subject
from harness.conformance.verdict import Verdict, judge
from harness.errors import PluginError

Options = Mapping[str, Any]


def check_file(path: str | Path) -> list[Verdict]:
    """Check all that a plugin file registers.

    Raises: PluginError for a file that does not load or registers nothing; ConfigError for an example
    that its own configuration refuses.
    """
    return [verdict for kind, name in registered_by(path) for verdict in check_registered(kind, name)]


def registered_by(path: str | Path) -> list[tuple[str, str]]:
    """(kind, name) of all that a plugin file registers; it is loaded, unless it is already.

    Raises: PluginError
    """
    before = {kind: set(registry.names(kind)) for kind in registry.KINDS}
    registry.load_plugin(path)
    mine = f"{Path(path).resolve()}:"
    found = [
        (kind, name)
        for kind in registry.KINDS
        for name in registry.names(kind)
        if name not in before[kind] or registry.origin(kind, name).startswith(mine)
    ]
    if not found:
        raise PluginError(
            f'{path} registers nothing; put @register("models", "my_name") from harness.registry '
            f"before the class (kinds: {', '.join(registry.KINDS)})"
        )
    return found


def check_registered(kind: str, name: str) -> Iterator[Verdict]:
    """All that can be checked of one registered thing: its laws and, of models and mixers, ten steps
    of training.

    Raises: ConfigError, PluginError.
    """
    from harness.conformance.plugins import LAWS, check_plugin
    from harness.conformance.training import check_training

    if kind in LAWS:
        yield from check_plugin(kind, name)
        return
    for options in examples_of(_class(kind, name)):
        verdicts = check_model(name, options) if kind == "models" else check_mixer(name, options)
        yield from verdicts
        if verdicts[0].passed:  # it can be built
            yield from check_training(kind, name, options)


def check_model(
    name_or_class: str | type, config: Options | None = None, vocab_size: int = 64
) -> list[Verdict]:
    """Check a registered model, or a class, on a configuration (default: each of its examples).

    A model with `fit` is checked twice, as built and after fitting random clips.
    Raises: ConfigError for an unknown name or a refused configuration, PluginError.
    """
    cls = _class("models", name_or_class)
    verdicts = []
    for options in _options(cls, config):
        label = _label(name_or_class, options)
        subject = ModelSubject(cls, configuration.parse(cls.Config, options), vocab_size)
        verdicts += _judge(subject, MODEL_LAWS, label)
        if hasattr(cls, "fit"):
            fitted = ModelSubject(cls, subject.config, vocab_size, fitted=True)
            verdicts += _judge(fitted, FIT_LAWS, label, " (fitted)")
    return verdicts


def check_mixer(
    name_or_class: str | type, config: Options | None = None, width: int = 16, stride: int = 1
) -> list[Verdict]:
    """Check a registered mixer, or a class, on a configuration (default: each of its examples).

    Raises: ConfigError for an unknown name or a refused configuration, PluginError.
    """
    cls = _class("mixers", name_or_class)
    verdicts = []
    for options in _options(cls, config):
        subject = MixerSubject(cls, configuration.parse(cls.Config, options), width, stride)
        verdicts += _judge(subject, MIXER_LAWS, _label(name_or_class, options))
    return verdicts


def examples_of(cls: type) -> tuple[Options, ...]:
    """The small configurations on which a class asks to be checked; all defaults, if it says none."""
    return tuple(getattr(cls, "examples", ())) or ({},)


def _judge(subject: Subject, laws: Any, label: str, suffix: str = "") -> list[Verdict]:
    """The laws need something that can be built: without it, that is the one verdict."""
    with torch.random.fork_rng(devices=[]):
        verdicts = judge((construction,), subject, label, suffix)
        if verdicts[0].passed:
            verdicts += judge(laws, subject, label, suffix)
    return verdicts


def _class(kind: str, name_or_class: str | type) -> Any:
    cls = registry.get(kind, name_or_class) if isinstance(name_or_class, str) else name_or_class
    if not isinstance(getattr(cls, "Config", None), type):
        raise PluginError(
            f"{cls.__qualname__} has no configuration class; give it a frozen, keyword-only dataclass "
            f"in the class attribute `Config`"
        )
    return cls


def _options(cls: type, config: Options | None) -> tuple[Options, ...]:
    return examples_of(cls) if config is None else (config,)


def _label(name_or_class: str | type, options: Options) -> str:
    name = name_or_class if isinstance(name_or_class, str) else name_or_class.__qualname__
    return f"{name} {dict(options)}" if options else name
