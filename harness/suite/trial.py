"""One unit of work: a variant with a seed, fully resolved, and its identity."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness import registry

PROTOCOL_VERSION = 2
"""Raised when the meaning of a number changes though the configuration did not."""

KEY_DIGITS = 12
"""Hexadecimal digits of a key that folder names carry."""


@dataclass(frozen=True)
class Trial:
    """Runs alone, anywhere. `config` has the sections model, data, train, measure and plugins."""

    variant: str
    seed: int
    config: Mapping[str, Any]
    plugin_files: tuple[str, ...] = ()
    """Files to load before the configuration makes sense; their content is in the key, not their place."""
    plugin_texts: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """What stood in them when the suite was read: a worker on another machine has no such files, and on
    this one they may have been edited since."""

    @cached_property
    def key(self) -> str:
        """sha256 of what the result depends on: configuration, seed and protocol, nothing else."""
        return _key(canonical(self.config), self.seed)

    @property
    def short_key(self) -> str:
        return self.key[:KEY_DIGITS]

    @property
    def folder_name(self) -> str:
        """Readable and safe on any file system; only the key in it is ever looked up."""
        words = re.sub(r"[^A-Za-z0-9._]+", "-", self.variant).strip("-.")[:60] or "variant"
        return f"{words}-s{self.seed}-{self.short_key}"

    def seeds(self, seeds: Iterable[int]) -> list[Trial]:
        """The same with each of these seeds; for their keys the configuration is spelt out once."""
        spelt = canonical(self.config)
        found = []
        for seed in seeds:
            trial = Trial(self.variant, seed, self.config, self.plugin_files, self.plugin_texts)
            trial.__dict__["key"] = _key(spelt, seed)  # where `cached_property` looks
            found.append(trial)
        return found

    def payload(self) -> dict[str, Any]:
        """JSON-ready, for a worker process."""
        return {
            "variant": self.variant,
            "seed": self.seed,
            "config": self.config,
            "plugin_files": list(self.plugin_files),
            "plugin_texts": list(self.plugin_texts),
        }

    def load_plugins(self) -> None:
        """Raises: PluginError"""
        for file, text in itertools.zip_longest(self.plugin_files, self.plugin_texts):
            registry.load_plugin(file, text)

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Trial:
        files, texts = tuple(payload["plugin_files"]), tuple(payload["plugin_texts"])
        return cls(payload["variant"], payload["seed"], payload["config"], files, texts)


def _key(config: str, seed: int) -> str:
    """Of a configuration in its canonical spelling."""
    identity = f'{{"config":{config},"protocol":{PROTOCOL_VERSION},"seed":{seed:d}}}'
    return hashlib.sha256(identity.encode()).hexdigest()


def canonical(value: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces; equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=True)
